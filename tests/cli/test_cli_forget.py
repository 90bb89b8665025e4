"""``astra forget``: state goes, with what depends on it if asked; files and survey rows stay."""

import io
import json
import os
import socket

import pytest
from sqlalchemy import String, func, insert, select, update

from astra.cli import main
from astra.database.engine import reading, transaction
from astra.database.forget import forget_tasks, forgettable_tasks
from astra.database.lineage import report_task
from astra.database.models import metadata
from astra.database.models.state import Status
from astra.database.state import attempt_table, link_batch, link_dependencies, product_table, task_table
from tests.cli.rows import end, record, start_run
from tests.tasks.night import build
from tests.tasks.toy_tasks import Double, Toy

signal_to_noise = metadata.tables["signal_to_noise"]
STATE_TABLES = ("task", "task_attempt", "batch_interface", "task_dependency", "task_metadata")


@pytest.fixture
def web(any_database_url):
    """A batch of two, and one of c and d behind it; b needs member one, c needs b and member one."""
    names = {name: record(name.upper(), {"x": name}) for name in ("one", "two", "b", "c", "d")}
    batch, after = record("BATCH", {"x": "all"}, 2), record("AFTER", {"x": "all"}, 2)
    with transaction(any_database_url) as connection:
        run = start_run(connection)
        for name, task in [*names.items(), ("batch", batch), ("after", after)]:
            product = {"path": f"/{name}", "kind": "0", "size": 1, "checksum": "0"}
            end(connection, run, task, Status.DONE, products=[product], figures={"a:b.c": 1})
        link_batch(connection, batch.task_id, [names["one"].task_id, names["two"].task_id])
        link_batch(connection, after.task_id, [names["c"].task_id, names["d"].task_id])
        link_dependencies(connection, [(after.task_id, batch.task_id)])
        pairs = [("b", "one"), ("c", "b"), ("c", "one")]
        link_dependencies(connection, [(names[a].task_id, names[b].task_id) for a, b in pairs])
    found = {name: task.task_id for name, task in names.items()}
    return found | {"batch": batch.task_id, "after": after.task_id}


@pytest.mark.parametrize(
    ("start", "cascade", "expected"),
    [
        ("one", False, {"one"}),
        ("one", True, {"one", "b", "c"}),
        ("b", True, {"b", "c"}),
        ("batch", True, {"batch", "after", "one", "two", "b", "c"}),
        ("batch", False, {"batch"}),
        ("d", True, {"d"}),
    ],
)
def test_a_cascade_takes_members_and_dependents(any_database_url, web, start, cascade, expected):
    with transaction(any_database_url) as connection:
        tasks = forgettable_tasks(connection, web[start], cascade=cascade)
        assert {task.task_id for task in tasks} == {web[name] for name in expected}
        forget_tasks(connection, [task.pk for task in tasks])
    with reading(any_database_url) as connection:
        left = set(connection.execute(select(task_table.c.task_id)).scalars())
        assert left == set(web.values()) - {web[name] for name in expected}
        assert connection.execute(select(func.count()).select_from(product_table)).scalar_one() == len(web)


def test_a_circle_in_the_lineage_ends(any_database_url, web):
    with transaction(any_database_url) as connection:
        link_dependencies(connection, [(web["one"], web["c"])])
        assert len(forgettable_tasks(connection, web["one"], cascade=True)) == 3


def test_nothing_of_a_forgotten_task_is_left(any_database_url, web):
    with transaction(any_database_url) as connection:
        tasks = [forgettable_tasks(connection, task_id, cascade=False)[0] for task_id in web.values()]
        forget_tasks(connection, [task.pk for task in tasks])
    with reading(any_database_url) as connection:
        for name in STATE_TABLES:
            table = metadata.tables[name]
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0


def test_results_that_hang_on_a_task_stay(any_database_url, web):
    with transaction(any_database_url) as connection:
        (task,) = forgettable_tasks(connection, web["two"], cascade=False)
        values = {column.name: 1 for column in signal_to_noise.c} | {"task_pk": task.pk}
        values |= {column.name: "x" for column in signal_to_noise.c if isinstance(column.type, String)}
        connection.execute(insert(signal_to_noise), [values])
        forget_tasks(connection, [task.pk])
    with reading(any_database_url) as connection:
        assert connection.execute(select(signal_to_noise.c.task_pk)).scalars().all() == [task.pk]
        report = report_task(connection, web["two"])
        assert report.task["status_code"] == Status.CREATED
        assert report.task["completed"] is None
        assert not any((report.attempts, report.figures, report.batches, report.outputs))


def test_a_forgotten_task_runs_again_and_its_file_stays(astra_root, capsys):
    task = Double(number=(1, 2))
    build(task)
    toy = Toy(number=1).task_id
    assert main(["forget", toy, "--cascade", "--yes"]) == 0
    streams = capsys.readouterr()
    assert {line.split()[0] for line in streams.out.splitlines()} == {toy, Double(number=1).task_id}
    assert "forgot 2 tasks" in streams.err
    assert (astra_root / "toy-plain-1-n.txt").exists()
    assert not task.complete()
    assert build(Double(number=(1, 2)))
    assert main(["status", "--json"]) == 0
    assert [family["done"] for family in json.loads(capsys.readouterr().out)["families"]] == [2, 2]


def test_without_a_terminal_nothing_is_forgotten_unless_told(astra_root, monkeypatch, capsys):
    build(Toy(number=1))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["forget", "Toy_"]) == 1
    assert "say --yes" in capsys.readouterr().err
    assert Toy(number=1).complete()


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("\n", 1), ("no\n", 1), ("", 1)])
def test_a_terminal_is_asked(astra_root, monkeypatch, answer, status):
    build(Toy(number=1))
    stream = io.StringIO(answer)
    stream.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", stream)
    assert main(["forget", "Toy_"]) == status
    assert Toy(number=1).complete() == bool(status)


def test_many_are_told_by_family(astra_root, capsys):
    build(Toy(number=tuple(range(25))))
    assert main(["forget", Toy(number=tuple(range(25))).task_id, "--cascade", "--yes"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["task", "state", "number"], ["Toy", "done", "26"]]


def test_what_runs_is_not_forgotten(astra_root, capsys):
    build(Toy(number=1))
    with transaction(f"sqlite:///{astra_root}/astra.db") as connection:
        run = start_run(connection)
        task_id = end(connection, run, record("Busy", {"x": "1"}), Status.RUNNING)
        place = {"host": socket.gethostname(), "pid": os.getpid()}
        connection.execute(
            update(attempt_table).where(attempt_table.c.status_code == Status.RUNNING).values(**place)
        )
    assert main(["forget", task_id, "--yes"]) == 1
    assert "is running, on host" in capsys.readouterr().err
    assert main(["forget", task_id, "--yes", "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"forgotten": [task_id]}


def test_what_was_killed_on_this_host_can_be_forgotten(astra_root):
    build(Toy(number=1))
    with transaction(f"sqlite:///{astra_root}/astra.db") as connection:
        task_id = end(connection, start_run(connection), record("Dead", {"x": "1"}), Status.RUNNING)
        here = attempt_table.c.status_code == Status.RUNNING
        connection.execute(update(attempt_table).where(here).values(host=socket.gethostname()))
    assert main(["forget", task_id, "--yes"]) == 0
