"""``astra status``: counts, filters, lists, watching; what others wrote does not reach the terminal raw."""

import json

import pytest
from sqlalchemy import insert

from astra.cli import main, status
from astra.cli.moments import night
from astra.database.engine import reading, transaction
from astra.database.lineage import report_task
from astra.database.models.state import Status
from astra.database.queries import family_counts, list_tasks
from astra.database.selection import STATES, Selection
from astra.database.survey import system_table, visit_table
from tests.cli.rows import end, record, start_run
from tests.tasks.night import build
from tests.tasks.toy_tasks import Double, Toy


def test_status_counts_members_by_state(astra_root, capsys):
    build(Double(number=(1, 2, 3), refuse=2))
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"database sqlite:///{astra_root}/astra.db"
    assert lines[1].split() == ["task", "done", "failed", "blocked", "running", "pending", "total"]
    assert lines[2].split() == ["Toy", "2", "1", "0", "0", "0", "3"]
    assert lines[3].split() == ["Double", "2", "0", "1", "0", "0", "3"]
    assert any("number 2 is refused" in line for line in lines[4:])


def test_status_speaks_json(astra_root, capsys):
    build(Toy(number=1))
    assert main(["status", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["families"] == [
        {"family": "Toy", "done": 1, "failed": 0, "blocked": 0, "running": 0, "pending": 0, "total": 1}
    ]
    assert report["failures"] == []


def test_a_state_lists_its_tasks_and_only_them(astra_root, capsys):
    build(Double(number=(1, 2, 3), refuse=2))
    assert main(["status", "--state", "failed", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [family["family"] for family in report["families"]] == ["Toy"]
    assert [task["message"] for task in report["tasks"]] == ["number 2 is refused"]
    assert main(["status", "--state", "done", "--limit", "1"]) == 0
    assert "... and 3 more" in capsys.readouterr().out
    assert main(["status", "--state", "running"]) == 0
    assert "no such task" in capsys.readouterr().out


def test_a_family_and_a_run_choose(astra_root, capsys):
    build(Double(number=(1, 2, 3)))
    build(Toy(number=4))
    assert main(["status", "--family", "Toy", "--json"]) == 0
    assert [f["total"] for f in json.loads(capsys.readouterr().out)["families"]] == [4]
    assert main(["status", "--run", "2", "--json"]) == 0
    assert [f["total"] for f in json.loads(capsys.readouterr().out)["families"]] == [1]


@pytest.mark.parametrize(("code", "word"), [(code, word) for word in STATES for code in STATES[word]])
def test_every_status_code_has_a_word(any_database_url, code, word):
    with transaction(any_database_url) as connection:
        run = start_run(connection)
        end(connection, run, record("Any", {"x": "1"}), code)
    with reading(any_database_url) as connection:
        (counts,) = family_counts(connection, Selection(state=word))
        assert counts.as_dict()[word] == counts.total == 1
        assert report_task(connection, record("Any", {"x": "1"}).task_id).task["state"] == word


def test_all_codes_are_among_the_words():
    assert {code for codes in STATES.values() for code in codes} == set(Status)


def test_a_code_without_a_word_is_told_as_it_is(any_database_url):
    with transaction(any_database_url) as connection:
        task_id = end(connection, start_run(connection), record("Any", {"x": "1"}), 99)
        assert report_task(connection, task_id).task["state"] == "99"


def test_a_night_chooses_by_visit_and_instrument(any_database_url):
    with transaction(any_database_url) as connection:
        write_visits(connection, ("simcam", 7, 20251120), ("simcam", 8, 20251121), ("sdss", 7, 20251121))
        run = start_run(connection)
        for parameters in (
            {"instrument": "simcam", "visit": "7", "detector": "0"},
            {"instrument": "simcam", "visit": "8"},
            {"instrument": "sdss", "visit": "7"},
            {"visit": "7"},
            {"number": "7"},
        ):
            end(connection, run, record("Any", parameters), Status.DONE)
    with reading(any_database_url) as connection:
        assert [count.total for count in family_counts(connection, Selection(night=20251120))] == [2]
        found = list_tasks(connection, Selection(night=20251120), 10)
        assert {task.task_id for task in found} == {
            record("Any", {"instrument": "simcam", "visit": "7", "detector": "0"}).task_id,
            record("Any", {"visit": "7"}).task_id,
        }
        assert family_counts(connection, Selection(night=19990101)) == []


def write_visits(connection, *visits):
    systems = [
        {"instrument": instrument, "visit_system": 0, "name": "one-to-one"}
        for instrument in {visit[0] for visit in visits}
    ]
    connection.execute(insert(system_table), systems)
    for instrument, visit, day_obs in visits:
        text = dict.fromkeys(("name", "observation_reason", "region_source"), "")
        numbers = dict.fromkeys(("seq_num", "exposure_time_s"), 0)
        key = {"instrument": instrument, "visit_system": 0, "visit": visit, "day_obs": day_obs}
        connection.execute(insert(visit_table), [{**key, **text, **numbers, "region": b""}])


@pytest.mark.parametrize("text", ["20251120", "2025-11-20"])
def test_a_night_is_written_in_two_ways(text):
    assert night(text) == 20251120


def test_a_night_that_is_none_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["status", "--night", "20251350"])
    assert caught.value.code == 2
    assert "is not a night as in" in capsys.readouterr().err


def test_hostile_messages_do_not_reach_the_terminal(astra_root, capsys):
    build(Toy(number=1))
    with transaction(f"sqlite:///{astra_root}/astra.db") as connection:
        run = start_run(connection)
        end(
            connection,
            run,
            record("Evil\x1b[31m", {"x": "1"}),
            30,
            message="\x1b]0;owned\x07 \u202e\r\nhidden",
        )
    for arguments in (["status"], ["status", "--state", "failed"], ["status", "--json"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert not set(out) & set("\x1b\x07\r\u202e")
        assert "owned" in out


def interrupt_after(monkeypatch, rounds, between=lambda: None):
    left = iter(range(rounds - 1))

    def sleep(_seconds):
        if next(left, None) is None:
            raise KeyboardInterrupt
        between()

    monkeypatch.setattr(status.time, "sleep", sleep)


def test_watching_prints_what_changed_and_ends_well(astra_root, monkeypatch, capsys):
    build(Toy(number=1))
    interrupt_after(monkeypatch, 3)
    assert main(["status", "--watch"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("Toy: done 1 failed 0 blocked 0 running 0 pending 0 total 1")


def test_watching_in_json_prints_a_line_each_time(astra_root, monkeypatch, capsys):
    build(Toy(number=1))
    interrupt_after(monkeypatch, 2)
    assert main(["status", "--watch", "--json"]) == 0
    assert [json.loads(line)["families"][0]["done"] for line in capsys.readouterr().out.splitlines()] == [
        1,
        1,
    ]


def test_watching_a_terminal_redraws(astra_root, monkeypatch, capsys):
    build(Toy(number=1))
    interrupt_after(monkeypatch, 2)
    monkeypatch.setattr(status.sys.stdout, "isatty", lambda: True)
    assert main(["status", "--watch"]) == 0
    assert capsys.readouterr().out.count(status.CLEAR_SCREEN) == 2
