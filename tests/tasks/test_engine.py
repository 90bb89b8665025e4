"""The engine: identity, batches, state rows, one member failing alone."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import luigi
import pytest

from tests.conftest import PROJECT
from tests.tasks.toy_tasks import Careless, Double, Toy

TOY = "tests.tasks.toy_tasks"


def build(*tasks):
    return luigi.build(list(tasks), local_scheduler=True, log_level="WARNING", no_lock=True)


def rows(root, query):
    with sqlite3.connect(root / "astra.db") as connection:
        return connection.execute(query).fetchall()


def states(root, family="Toy"):
    query = f"SELECT json_extract(parameters, '$.number'), state FROM task_state WHERE family = '{family}'"  # noqa: S608
    return dict(rows(root, query + " AND batch_size IS NULL"))


def test_members_have_the_identity_of_single_tasks():
    batch = Toy(number=(1, 2), name=("a", "b"))
    assert batch.member_ids() == [Toy(number=1, name="a").task_id, Toy(number=2, name="b").task_id]
    assert batch.task_id not in batch.member_ids()


def test_identity_ignores_what_is_not_significant():
    assert Toy(number=1, refuse=3).task_id == Toy(number=1).task_id
    assert Toy(number=1, label="other").task_id != Toy(number=1).task_id


def test_identity_has_sixteen_digits():
    assert len(Toy(number=1).task_id.rpartition("_")[2]) == 16


def test_repr_of_a_family_with_an_underscore():
    text = repr(Careless(number=4))
    assert text.startswith("toy_space.Careless(")
    assert text.endswith(": number=4)")


def test_repr_of_a_batch_counts_its_members():
    assert repr(Toy(number=(1, 2, 3))).endswith(": batch_size=3)")


def test_a_single_value_beside_a_tuple_is_repeated():
    assert Toy(number=(1, 2), name="n").name == ("n", "n")


def test_unequal_lengths_are_an_error_that_names_them():
    with pytest.raises(luigi.parameter.ParameterException, match="number has 2, name has 3"):
        Toy(number=(1, 2), name=("a", "b", "c"))


def test_an_empty_batch_is_an_error():
    with pytest.raises(luigi.parameter.ParameterException, match="at least one member"):
        Toy(number=())


@pytest.mark.parametrize(
    "name", ["15000", "true", "1e5", "a,b", '"quoted"', "[not json", "é", "", "null", "1.0"]
)
def test_parameters_keep_their_type_through_text(name):
    for task in (Toy(number=1, name=name), Toy(number=(1, 2), name=(name, "other"))):
        again = Toy.from_str_params(task.to_str_params())
        assert again.param_kwargs == task.param_kwargs
        assert again.task_id == task.task_id


def test_no_warning_prints_the_tuple(recwarn):
    Toy(number=tuple(range(1000)), name=tuple(str(i) for i in range(1000)))
    assert not list(recwarn)


def test_a_task_is_recorded_with_its_product_and_figures(astra_root):
    assert build(Toy(number=3))
    [(task_id, state, parameters)] = rows(astra_root, "SELECT task_id, state, parameters FROM task_state")
    assert task_id == Toy(number=3).task_id
    assert state == "done"
    assert json.loads(parameters)["number"] == "3"
    [(path, size, checksum)] = rows(astra_root, "SELECT path, size, checksum FROM data_product")
    assert (Path(path).read_text(), size, len(checksum)) == ("3", 1, 64)
    assert rows(astra_root, "SELECT key, value FROM task_metadata") == [("Toy:run.square", 9)]


def test_one_member_fails_alone_and_is_retried_alone(astra_root):
    batch = Toy(number=(1, 2, 3), refuse=2)
    assert not build(batch)
    assert states(astra_root) == {"1": "done", "2": "failed", "3": "done"}
    assert sorted(path.name for path in astra_root.glob("toy-*")) == [
        "toy-plain-1-n.txt",
        "toy-plain-3-n.txt",
    ]
    [(kind, message, context)] = rows(
        astra_root, "SELECT error_class, message, context FROM task_attempt WHERE error_class = 'DataError'"
    )
    assert (kind, message, json.loads(context)) == ("DataError", "number 2 is refused", {"number": 2})
    before = (astra_root / "toy-plain-1-n.txt").stat().st_mtime_ns
    assert build(Toy(number=(1, 2, 3)))
    assert set(states(astra_root).values()) == {"done"}
    assert (astra_root / "toy-plain-1-n.txt").stat().st_mtime_ns == before
    [(attempts,)] = rows(
        astra_root,
        "SELECT count(*) FROM task_attempt JOIN task ON task.pk = task_pk WHERE batch_size IS NULL",
    )
    assert attempts == 4


def test_what_depends_on_the_good_members_goes_on(astra_root):
    assert not build(Double(number=(1, 2, 3), refuse=2))
    assert states(astra_root) == {"1": "done", "2": "failed", "3": "done"}
    assert states(astra_root, "Double") == {"1": "done", "2": "dependency missing", "3": "done"}
    assert (astra_root / "double-3.txt").read_text() == "6"


def test_a_single_task_behind_a_failed_one_is_blocked(astra_root):
    assert not build(Double(number=2, refuse=2))
    assert states(astra_root) == {"2": "failed"}
    assert states(astra_root, "Double") == {"2": "dependency missing"}


def test_a_plain_second_run_does_nothing(astra_root):
    assert build(Double(number=(1, 2)))
    before = rows(astra_root, "SELECT count(*) FROM task_attempt")
    assert build(Double(number=(1, 2)))
    assert rows(astra_root, "SELECT count(*) FROM task_attempt") == before


def test_rerun_runs_once_more(astra_root):
    assert build(Toy(number=1))
    assert build(Toy(number=1, rerun=True))
    assert rows(astra_root, "SELECT count(*) FROM task_attempt") == [(2,)]


def test_strict_checking_asks_for_the_outputs(astra_root):
    assert build(Toy(number=1))
    Path(Toy(number=1).output().path).unlink()
    assert Toy(number=1).complete()
    assert not Toy(number=1, strict_output_checking=True).complete()


def test_lineage_and_membership_are_kept(astra_root):
    assert build(Double(number=(1, 2)))
    query = """SELECT a.task_id, b.task_id FROM task_dependency AS d
               JOIN task AS a ON a.pk = d.task_pk JOIN task AS b ON b.pk = d.required_task_pk"""
    assert set(rows(astra_root, query)) == {
        (Double(number=n).task_id, Toy(number=n).task_id) for n in (1, 2, (1, 2))
    }
    query = """SELECT c.task_id FROM batch_interface AS i JOIN task AS p ON p.pk = i.parent_task_pk
               JOIN task AS c ON c.pk = i.child_task_pk WHERE p.family = 'Toy' ORDER BY position"""
    assert [row[0] for row in rows(astra_root, query)] == [Toy(number=1).task_id, Toy(number=2).task_id]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--number", "1"], 0),
        (["--number", "2", "--refuse", "2"], 30),
        (["--number", "[1,2,3]", "--refuse", "2"], 30),
        (["--number", "[1, 2]", "--name", '["a", "15000"]'], 0),
    ],
)
def test_exit_code_says_whether_the_root_is_complete(astra_root, run_luigi, arguments, expected):
    result = run_luigi("Toy", *arguments, module=TOY)
    assert result.returncode == expected, result.stderr
    assert "Traceback" not in result.stderr


def test_a_batch_with_a_failed_requirement_exits_with_failure(astra_root, run_luigi):
    result = run_luigi("Double", "--number", "[1,2,3]", "--refuse", "2", module=TOY)
    assert result.returncode == 30
    assert "1 of 3 members" in result.stderr


def test_state_rows_are_the_same_on_postgresql(astra_root, run_luigi, postgresql_url):
    from sqlalchemy import create_engine, text

    result = run_luigi(
        "Double",
        "--number",
        "[1,2,3]",
        "--refuse",
        "2",
        module=TOY,
        env={"ASTRA_DATABASE_URL": postgresql_url},
    )
    assert result.returncode == 30
    engine = create_engine(postgresql_url)
    with engine.connect() as connection:
        query = "SELECT family, parameters->>'number', state FROM task_state WHERE batch_size IS NULL"
        found = set(map(tuple, connection.execute(text(query))))
    engine.dispose()
    assert found == {
        ("Toy", "1", "done"),
        ("Toy", "2", "failed"),
        ("Toy", "3", "done"),
        ("Double", "1", "done"),
        ("Double", "2", "dependency missing"),
        ("Double", "3", "done"),
    }


def test_a_database_that_cannot_be_written_fails_the_task(astra_root, run_luigi):
    (astra_root / "astra.db").mkdir()
    result = run_luigi("Toy", "--number", "1", module=TOY)
    assert result.returncode != 0
    assert "cannot be" in result.stderr


def test_workers_that_fork_share_the_run(astra_root, run_luigi):
    result = run_luigi("Double", "--number", "[1,2,3,4]", "--workers", "2", module=TOY)
    assert result.returncode == 0, result.stderr
    assert rows(astra_root, "SELECT count(*) FROM run") == [(1,)]
    assert set(states(astra_root, "Double").values()) == {"done"}


def test_two_workers_of_one_scheduler_both_exit_with_success(astra_root, luigid):
    command = [sys.executable, "-m", "luigi", "--module", TOY, "Double", "--number", "[1,2,3]", "--no-lock"]
    command += ["--scheduler-port", str(luigid), "--worker-keep-alive", "--worker-wait-interval", "1"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    processes = [
        subprocess.Popen(command, cwd=astra_root, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert set(states(astra_root, "Double").values()) == {"done"}
    assert rows(astra_root, "SELECT count(*) FROM task_attempt WHERE status_code != 1") == [(0,)]


def test_hashed_params_are_raw_values_by_name():
    task = Toy(number=(1, 2), name="n")
    assert task.get_hashed_params(only_public=True) == {
        "label": "plain",
        "number": (1, 2),
        "name": ("n", "n"),
    }
    assert "astra_version_major" in task.get_hashed_params()
    assert task.get_hashed_params(only_significant=False)["refuse"] == -1
