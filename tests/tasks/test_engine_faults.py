"""The engine when things go wrong twice, at once, or in odd ways."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from astra.cli import main
from astra.tasks.runner import mask_passwords
from tests.conftest import PROJECT
from tests.tasks.test_engine import TOY, build, rows, states
from tests.tasks.toy_tasks import Double, Odd, Picky, Sum, Sums, Toy, WaitsForAll


def test_what_fails_again_still_blocks_nothing_but_its_own(astra_root):
    assert not build(Toy(number=(1, 2, 3), refuse=2))
    assert not build(Double(number=(1, 2, 3), refuse=2))
    assert states(astra_root, "Double") == {"1": "done", "2": "dependency missing", "3": "done"}


def test_a_single_task_does_not_run_on_a_part_of_a_batch(astra_root):
    assert not build(Sum(numbers=(1, 2, 3), refuse=2))
    assert rows(astra_root, "SELECT state FROM task_state WHERE family = 'Sum'") == [("dependency missing",)]
    assert build(Sum(numbers=(1, 2, 3)))


def test_strict_checking_mends_the_members_whose_outputs_are_gone(astra_root):
    assert build(Toy(number=(1, 2)))
    Path(Toy(number=2).output().path).unlink()
    assert build(Toy(number=(1, 2), strict_output_checking=True))
    assert Path(Toy(number=2).output().path).exists()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_odd_figures_and_messages_spoil_no_other_member(astra_root, database, request, monkeypatch):
    from sqlalchemy import text

    from astra.database.engine import reading

    if database == "postgresql":
        monkeypatch.setenv("ASTRA_DATABASE_URL", request.getfixturevalue("postgresql_url"))
    task = Odd(number=(1, 2, 4))
    assert not build(task)
    with reading(task.database_url) as connection:
        query = "SELECT state, message FROM task_state WHERE batch_size IS NULL ORDER BY task_id"
        found = sorted(map(tuple, connection.execute(text(query))), key=str)
        figures = {row.key for row in connection.execute(text("SELECT key FROM task_metadata"))}
    assert found[:2] == [("done", None), ("done", None)]
    assert found[2] == ("failed", "a header said \\x00 and \\udcff")
    assert figures == {"Odd:run.single", "Odd:run.nothing", "Odd:run.list"}


def test_an_interrupted_batch_keeps_what_was_finished(astra_root, run_luigi):
    run_luigi("Odd", "--number", "[1, 3, 4]", module=TOY)
    assert states(astra_root, "Odd") == {"1": "done", "3": "failed", "4": "dependency missing"}
    assert rows(astra_root, "SELECT count(*) FROM task_state WHERE state = 'running'") == [(0,)]


def test_one_member_that_cannot_say_what_it_requires_is_blocked_alone(astra_root):
    assert not build(Picky(number=(1, 2, 3)))
    assert states(astra_root, "Picky") == {"1": "done", "2": "dependency missing", "3": "done"}


def test_roots_of_their_own_make_tasks_of_their_own(astra_root):
    first, second = (Toy(number=7, output_root=str(astra_root / name)) for name in ("a", "b"))
    assert build(first, second)
    assert Path(first.output().path).exists()
    assert Path(second.output().path).exists()


def test_a_build_from_within_leaves_the_outer_run_alone(astra_root):
    from astra.tasks.runner import current_invocation

    before = current_invocation()
    assert build(Toy(number=1))
    assert current_invocation() is before


def test_a_killed_process_is_found_dead_by_the_next_run(astra_root, run_luigi):
    command = [
        sys.executable,
        "-m",
        "luigi",
        "--module",
        "tests.tasks.sleeper",
        "Sleeper",
        "--local-scheduler",
    ]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(command, cwd=astra_root, env=environment, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        if (astra_root / "asleep").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert rows(astra_root, "SELECT state FROM task_state") == [("running",)]
    assert run_luigi("Toy", "--number", "1", module=TOY).returncode == 0
    query = "SELECT state, message FROM task_state WHERE family = 'Sleeper'"
    assert rows(astra_root, query) == [("process died", "the process that ran it has died")]
    query = "SELECT ended IS NOT NULL, exit_status FROM run WHERE command LIKE '%Sleeper%'"
    assert rows(astra_root, query) == [(1, None)]


def test_a_forked_worker_that_is_killed_is_recorded_by_its_parent(astra_root, run_luigi):
    result = run_luigi("Sleeper", "--die", "--workers", "2", module="tests.tasks.sleeper")
    assert result.returncode == 30
    [(state, message)] = rows(astra_root, "SELECT state, message FROM task_state")
    assert state == "process died"
    assert "exit code -9" in message
    assert rows(astra_root, "SELECT exit_signal FROM task_attempt") == [(signal.SIGKILL,)]


def test_a_batch_in_a_worker_that_is_killed_keeps_the_signal_with_the_member_that_ran(astra_root, run_luigi):
    result = run_luigi("Dying", "--number", "[1, 2, 3]", "--workers", "2", module=TOY)
    assert result.returncode == 30
    query = """SELECT json_extract(parameters, '$.number'), a.status_code, exit_signal, ended IS NOT NULL
               FROM task_attempt AS a JOIN task ON task.pk = task_pk WHERE batch_size IS NULL"""
    assert set(rows(astra_root, query)) >= {("1", 1, None, 1), ("2", 40, signal.SIGKILL, 1)}


def test_a_worker_that_ends_by_itself_has_no_signal(astra_root, run_luigi):
    assert run_luigi("Dying", "--number", "4", "--workers", "2", module=TOY).returncode == 30
    assert rows(astra_root, "SELECT status_code, exit_signal FROM task_attempt") == [(40, None)]


def test_two_processes_with_one_batch_in_two_orders_do_not_lock_each_other_out(astra_root, postgresql_url):
    command = [sys.executable, "-m", "luigi", "--module", TOY, "Picky", "--local-scheduler", "--number"]
    numbers = [n for n in range(3000) if n != 2]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "ASTRA_DATABASE_URL": postgresql_url}
    processes = [
        subprocess.Popen(
            [*command, str(order)], cwd=astra_root, env=environment, stderr=subprocess.PIPE, text=True
        )
        for order in (numbers, numbers[::-1])
    ]
    errors = [process.communicate(timeout=120)[1][-2000:] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors


def test_no_password_is_kept():
    text = "luigi --astra-database-url postgresql://me:secret@host/db?password=hidden&x=1 --n 1"
    masked = mask_passwords(text)
    assert "secret" not in masked
    assert "hidden" not in masked
    assert masked.endswith("&x=1 --n 1")


def test_a_single_task_has_its_lineage_too(astra_root):
    assert build(Double(number=5))
    query = """SELECT a.task_id, b.task_id FROM task_dependency AS d
               JOIN task AS a ON a.pk = d.task_pk JOIN task AS b ON b.pk = d.required_task_pk"""
    assert rows(astra_root, query) == [(Double(number=5).task_id, Toy(number=5).task_id)]


@pytest.mark.parametrize(
    ("where", "message"),
    [("requires", "the requirements cannot be told"), ("complete", "completeness cannot be told")],
)
def test_a_task_that_cannot_be_scheduled_is_broken(astra_root, run_luigi, where, message):
    result = run_luigi("Broken", "--where", where, module=TOY)
    assert result.returncode == 35
    assert rows(astra_root, "SELECT state, message FROM task_state") == [("broken", message)]
    assert run_luigi("Broken", "--where", "nowhere", module=TOY).returncode == 0


def test_a_file_that_is_not_there_is_the_state_of_its_task(astra_root, run_luigi):
    result = run_luigi("Waits", "--name", "absent.fits", module=TOY)
    assert result.returncode == 20
    query = "SELECT state FROM task_state WHERE family = 'Absent'"
    assert rows(astra_root, query) == [("dependency missing",)]
    (astra_root / "absent.fits").touch()
    assert run_luigi("Waits", "--name", "absent.fits", module=TOY).returncode == 0
    assert rows(astra_root, query) == [("done",)]


def test_of_a_batch_of_files_those_that_have_come_since_are_done(astra_root):
    batch = WaitsForAll(names=("a.fits", "b.fits", "c.fits"))
    (astra_root / "a.fits").touch()
    build(batch)
    query = "SELECT json_extract(parameters, '$.name'), state FROM task_state WHERE family = 'Absent'"
    assert dict(rows(astra_root, query)) == {"b.fits": "dependency missing", "c.fits": "dependency missing"}
    (astra_root / "b.fits").touch()
    build(batch)
    assert dict(rows(astra_root, query)) == {"b.fits": "done", "c.fits": "dependency missing"}


def test_a_task_past_its_deadline_is_timed_out(astra_root, run_luigi):
    result = run_luigi("Sleeper", "--worker-timeout", "1", "--workers", "2", module="tests.tasks.sleeper")
    assert result.returncode == 30
    [(state, message)] = rows(astra_root, "SELECT state, message FROM task_state")
    assert state == "timed out"
    assert "timed out after 1 seconds" in message
    assert rows(astra_root, "SELECT exit_signal FROM task_attempt") == [(signal.SIGTERM,)]


@pytest.mark.parametrize(("refuse", "word"), [(2, "blocked"), (-1, "pending")])
def test_what_waits_in_a_run_that_was_killed_is_blocked_by_what_failed(
    astra_root, run_luigi, capsys, refuse, word
):
    assert run_luigi("Sums", "--refuse", str(refuse), module=TOY).returncode == -signal.SIGKILL
    codes = dict(rows(astra_root, "SELECT family, status_code FROM task WHERE batch_size IS NULL"))
    assert (codes["Sums"], codes["Stop"]) == (0, 2)
    assert main(["status", "--state", word, "--json"]) == 0
    listed = {task["task_id"] for task in json.loads(capsys.readouterr().out)["tasks"]}
    waiting = {Sums().task_id} | ({Sum(numbers=(1, 2)).task_id} if refuse == 2 else set())
    assert listed == waiting
    assert main(["retry", "--failed", "--blocked"]) == 0
    commands = capsys.readouterr().out.splitlines()
    assert len(commands) == (3 if refuse == 2 else 0)
