"""How far the tasks in a database are, by family: lines drawn anew on a terminal, else now and then a line.

All comes from the state table, so that work of other processes and hosts shows too. Escape sequences go to a
terminal alone; ``NO_COLOR`` leaves out colours, and names are escaped.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from astra.errors import AstraError
from astra.terminal import escape

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from astra.database.queries import FamilyCounts
    from astra.database.selection import Selection

TERMINAL_INTERVAL_S, PLAIN_INTERVAL_S = 1.0, 5.0
BAR_WIDTH = 20
CLEAR_LINE, LINE_UP = "\x1b[K", "\x1b[{}A"
COLOURS = {"done": "\x1b[32m", "failed": "\x1b[31m", "running": "\x1b[36m"}
PLAIN_COLOUR = "\x1b[0m"
_NAME_WIDTH = 24
_OTHERS = ("running", "failed", "blocked")

Counts = Mapping[str, Any]


def changed_families(before: Sequence[Counts], after: Sequence[Counts]) -> list[Counts]:
    """Return the families whose numbers have changed."""
    known = {family["family"]: family for family in before}
    return [family for family in after if known.get(family["family"]) != family]


def is_terminal(stream: TextIO) -> bool:
    """Say whether a stream is a terminal that knows escape sequences."""
    return stream.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}


def elapsed_text(seconds: float) -> str:
    """Write a length of time [s] as minutes and seconds."""
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def plain_line(families: Sequence[Counts], seconds: float) -> str:
    """Write the numbers of some families in one line, with the time since the begin [s]."""
    return f"[{elapsed_text(seconds)}] " + ", ".join(map(_short, families))


def _short(family: Counts) -> str:
    others = "".join(f" ({family[name]} {name})" for name in ("failed", "blocked") if family[name])
    return f"{escape(family['family'])} {family['done']}/{family['total']}{others}"


def terminal_lines(families: Sequence[Counts], size: tuple[int, int], *, colour: bool = True) -> list[str]:
    """Write a line for each family, as many as a terminal has room for: those that are done go first.

    Parameters
    ----------
    families : sequence of mapping
        Counts by family, with ``family``, ``done``, ``failed``, ``blocked``, ``running``, ``total``.
    size : (int, int)
        Columns and rows of the terminal.
    colour : bool, optional
        Whether to use colours.
    """
    columns, rows = size
    room = max(rows - 2, 1)
    shown = list(families)
    if len(shown) > room:
        open_ones = [family for family in shown if family["done"] != family["total"]]
        shown = open_ones[-room:] or shown[-room:]
    return [_bar_line(family, columns, colour=colour) for family in shown]


def _bar_line(family: Counts, columns: int, *, colour: bool) -> str:
    done, total = family["done"], max(family["total"], 1)
    filled = BAR_WIDTH * done // total
    name = escape(family["family"])[:_NAME_WIDTH].ljust(_NAME_WIDTH)
    bar = "#" * filled + "." * (BAR_WIDTH - filled)
    numbers = f"{done}/{family['total']}".rjust(9)
    parts = [("", f"  {name} "), ("done", bar), ("", numbers)]
    parts += [(word, f"  {family[word]} {word}") for word in _OTHERS if family[word]]
    line, left = "", max(columns - 1, 1)
    for word, text in parts:
        cut = text[:left]
        left -= len(cut)
        line += f"{COLOURS[word]}{cut}{PLAIN_COLOUR}" if colour and word in COLOURS and cut else cut
    return line


class Display:
    """Draws counts on a stream.

    Parameters
    ----------
    stream : TextIO
        Where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.is_terminal = is_terminal(stream)
        self.interval_s = TERMINAL_INTERVAL_S if self.is_terminal else PLAIN_INTERVAL_S
        self._began = time.monotonic()
        self._before: Sequence[Counts] = ()
        self._n_lines = 0

    def draw(self, families: Sequence[Counts]) -> None:
        """Draw the counts, in the place of those before or as a line of what has changed."""
        if self.is_terminal:
            self._redraw(families)
        else:
            told = set(map(_short, self._before))
            changed = [family for family in families if _short(family) not in told]
            if changed:
                line = plain_line(changed, time.monotonic() - self._began)
                print(line, file=self.stream, flush=True)
        self._before = families

    def _redraw(self, families: Sequence[Counts]) -> None:
        columns, rows = shutil.get_terminal_size()
        lines = terminal_lines(families, (columns, rows), colour=not os.environ.get("NO_COLOR"))
        lines.append(f"  {elapsed_text(time.monotonic() - self._began)}")
        up = LINE_UP.format(self._n_lines) if self._n_lines else ""
        gone = [""] * max(self._n_lines - len(lines), 0)
        self.stream.write(up + "".join(f"\r{line}{CLEAR_LINE}\n" for line in [*lines, *gone]))
        self.stream.flush()
        self._n_lines = len(lines) + len(gone)


@contextmanager
def shown_progress(url: str, selection: Selection | None = None) -> Iterator[None]:
    """Show the progress of a database on standard error, from a process of its own.

    A thread would share the interpreter with the work, and hold locks while workers are forked.

    Parameters
    ----------
    url : str
        URL of the database.
    selection : Selection, optional
        Which tasks; by default all.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_show, args=(url, selection, there, os.getpid()), daemon=True)
    process.start()
    there.close()
    try:
        yield
    finally:
        with suppress(OSError):
            here.send(None)
        process.join(timeout=10.0)
        if process.is_alive():
            process.terminate()
        here.close()


def _show(url: str, selection: Selection | None, end: Connection, parent: int) -> None:
    """Draw until the parent says that it is the end, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    display = Display(sys.stderr)
    is_over = False
    while not is_over:
        is_over = end.poll(display.interval_s) or os.getppid() != parent
        with suppress(
            AstraError, OSError
        ):  # the next look may be luckier; the work itself says what is wrong
            display.draw([count.as_dict() for count in _counts(url, selection)])


def _counts(url: str, selection: Selection | None) -> list[FamilyCounts]:
    from astra.database.engine import reading
    from astra.database.queries import EVERYTHING, family_counts

    with reading(url) as connection:
        return family_counts(connection, selection or EVERYTHING)
