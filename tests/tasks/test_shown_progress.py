"""How progress is shown: on a terminal, and elsewhere."""

import io
import re

import pytest

from astra.tasks.progress import Display, changed_families, plain_line, terminal_lines

ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def family(name="ProcessCcd", *, done=3, failed=0, blocked=0, running=1, pending=4):
    total = done + failed + blocked + running + pending
    return {"family": name, "done": done, "failed": failed, "blocked": blocked, "running": running} | {
        "pending": pending,
        "total": total,
    }


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_only_families_with_other_numbers_have_changed():
    before = [family("A"), family("B")]
    assert changed_families(before, [family("A"), family("B", done=4), family("C")]) == [
        family("B", done=4),
        family("C"),
    ]


def test_a_plain_line_tells_time_numbers_and_failures():
    line = plain_line([family("DiffIm", done=2, failed=1, running=0, pending=0), family("A")], 75.0)
    assert line == "[01:15] DiffIm 2/3 (1 failed), A 3/8"


def test_without_a_terminal_there_is_a_line_for_what_changed_and_no_escape_sequence(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    display = Display(stream)
    display.draw([family("A"), family("B")])
    display.draw([family("A"), family("B", done=5)])
    display.draw([family("A"), family("B", done=5)])
    display.draw([family("A"), family("B", done=5, running=0, pending=5)])
    assert [line.split("] ")[1] for line in stream.getvalue().splitlines()] == ["A 3/8, B 3/8", "B 5/10"]
    assert "\x1b" not in stream.getvalue()
    assert display.interval_s >= 5.0


def test_a_terminal_that_knows_no_sequences_gets_plain_lines(monkeypatch, terminal):
    monkeypatch.setenv("TERM", "dumb")
    Display(terminal).draw([family()])
    assert "\x1b" not in terminal.getvalue()


def test_a_terminal_has_one_line_for_each_family_that_is_drawn_anew(terminal):
    display = Display(terminal)
    display.draw([family("A"), family("B")])
    first = terminal.getvalue()
    assert [line.split()[0] for line in ESCAPE.sub("", first).replace("\r", "").splitlines()] == [
        "A",
        "B",
        "00:00",
    ]
    display.draw([family("A", done=8, running=0, pending=0), family("B")])
    second = terminal.getvalue().removeprefix(first)
    assert second.startswith("\x1b[3A")
    assert re.search(r"A +#{20} +8/8", ESCAPE.sub("", second))


def test_no_color_leaves_out_colours_alone(monkeypatch, terminal):
    monkeypatch.setenv("NO_COLOR", "1")
    Display(terminal).draw([family(failed=1)])
    assert set(ESCAPE.findall(terminal.getvalue())) == {"\x1b[K"}


def test_names_are_escaped():
    hostile = family("A\x1b[2J\rB", failed=1)
    for lines in ([plain_line([hostile], 0.0)], terminal_lines([hostile], (80, 24), colour=False)):
        assert all(line.isprintable() for line in lines)
        assert r"\x1b" in lines[0]


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("columns", [1, 10, 34, 80])
def test_lines_are_never_wider_than_the_terminal(columns, colour):
    [line] = terminal_lines([family("A" * 60, failed=20, blocked=30)], (columns, 24), colour=colour)
    assert len(ESCAPE.sub("", line)) < max(columns, 2)


def test_where_there_is_too_little_room_what_is_done_goes_first():
    done = [family(f"Done{n}", running=0, pending=0) for n in range(5)]
    lines = terminal_lines([*done, family("Open")], (80, 4), colour=False)
    assert len(lines) == 1
    assert "Open" in lines[0]
    assert len(terminal_lines(done, (80, 5), colour=False)) == 3


def test_a_family_without_tasks_has_an_empty_bar():
    [line] = terminal_lines([family(done=0, running=0, pending=0)], (80, 24), colour=False)
    assert "." * 20 in line
