"""Tasks that an executor runs, with one that runs them as a test has staged it."""

import logging
import re
import time

import luigi
import numpy as np
import pytest

from astra.errors import ConfigError
from astra.executors.interface import Cause
from astra.plugins import EXECUTORS
from astra.scheduler.bulk import BulkScheduler
from astra.scheduler.central import CentralScheduler
from astra.tasks import array_room, dispatcher
from astra.tasks.patience import Patience
from astra.tasks.runner import AstraWorker
from tests.tasks.night import build, rows
from tests.tasks.staged_executor import stage
from tests.tasks.toy_tasks import Careless, Double, Odd, Sum, Toy


@pytest.fixture(autouse=True)
def staged(monkeypatch, astra_root):
    monkeypatch.setitem(EXECUTORS.built_in, "staged", "tests.tasks.staged_executor:StagedExecutor")
    stored = luigi.configuration.get_config()
    stored.set("astra", "executor", "staged")
    for name, value in {"poll_s": "0.05", "members_per_job": "4"}.items():
        stored.set("staged", name, value)
    stage.forget()
    yield stored
    stored.remove_option("astra", "executor")
    for section in ("staged", "executors", "staged:Toy"):
        stored.remove_section(section)


def states(root, family="Toy"):
    query = """SELECT json_extract(parameters, '$.number'), state FROM task_state
               WHERE family = ? AND batch_size IS NULL""".replace("?", f"'{family}'")
    return {int(number): state for number, state in rows(root, query)}


def jobs(root):
    return rows(root, "SELECT attempt, status_code FROM job ORDER BY pk")


def n_attempts(root, family="Toy"):
    query = f"""SELECT json_extract(parameters, '$.number'), count(*) FROM task_attempt
                JOIN task ON task.pk = task_pk WHERE family = '{family}' AND batch_size IS NULL
                GROUP BY 1"""  # noqa: S608
    return {int(number): count for number, count in rows(root, query)}


def test_a_batch_is_one_array_of_jobs_and_its_members_run_once(astra_root):
    assert build(Double(number=tuple(range(10))))
    assert stage.submitted == [3, 3]
    assert states(astra_root) == states(astra_root, "Double") == dict.fromkeys(range(10), "done")
    assert set(n_attempts(astra_root).values()) == {1}
    assert not list((astra_root / "jobs").iterdir())
    assert build(Double(number=tuple(range(10))))
    assert stage.submitted == [3, 3]  # nothing is done twice


def test_single_tasks_that_may_run_together_share_an_array(astra_root):
    assert build(*[Toy(number=number) for number in range(60)])
    assert stage.submitted == [50, 10]  # no more in one than the executor takes
    assert states(astra_root) == dict.fromkeys(range(60), "done")


def test_a_member_fails_alone_and_is_the_only_one_to_run_again(astra_root):
    assert not build(Toy(number=(1, 2, 3), refuse=2))
    assert states(astra_root) == {1: "done", 2: "failed", 3: "done"}
    ((message,),) = rows(
        astra_root,
        "SELECT DISTINCT message FROM task_attempt JOIN task ON task.pk = task_pk WHERE batch_size = 3 "
        "AND error_class = 'BatchError'",
    )
    assert "1 of 3 members" in message
    assert "DataError: number 2 is refused" in message
    assert build(Toy(number=(1, 2, 3)))
    assert n_attempts(astra_root) == {1: 1, 2: 2, 3: 1}


def test_a_single_task_fails_with_the_error_of_its_job(astra_root, caplog):
    assert not build(Careless(number=-1))
    assert "failed in its job: DataError: number -1 is negative" in caplog.text


def test_what_exits_in_a_job_does_not_end_the_worker(astra_root):
    assert not build(Odd(number=(1, 3, 4)), Toy(number=5))
    assert states(astra_root, "Odd") == {1: "done", 3: "failed", 4: "done"}
    assert states(astra_root) == {5: "done"}


def test_a_lost_job_is_submitted_again(astra_root):
    lost = []

    def lose(name, number):
        if number == 1 and not lost:
            lost.append(name)
            return True
        return False

    stage.lost = lose
    assert build(Toy(number=tuple(range(10))))
    assert stage.submitted == [3, 1]
    assert sorted(jobs(astra_root)) == [(1, 1), (1, 1), (1, 40), (2, 1)]
    assert states(astra_root) == dict.fromkeys(range(10), "done")


def test_jobs_that_are_lost_together_are_submitted_together(astra_root):
    first = []

    def lose(name, number):
        first.append(name)
        return name == first[0] and number in {0, 2}

    stage.lost = lose
    assert build(Toy(number=tuple(range(12))))
    assert stage.submitted == [3, 2]
    assert sorted(jobs(astra_root)) == [(1, 1), (1, 40), (1, 40), (2, 1), (2, 1)]
    assert states(astra_root) == dict.fromkeys(range(12), "done")


def test_preemption_is_no_attempt(astra_root, staged):
    staged.set("staged:Toy", "attempts", "1")
    seen = []
    stage.cause = Cause.PREEMPTED
    stage.lost = lambda name, number: seen.append((name, number)) or len(seen) <= 5
    assert build(Toy(number=(1, 2)))
    assert jobs(astra_root) == [(1, 40)] * 5 + [(1, 1)]


def test_what_would_be_lost_again_is_submitted_once(astra_root):
    stage.cause = Cause.HOPELESS
    stage.lost = lambda _name, _number: True
    assert not build(Toy(number=(1, 2)))
    assert jobs(astra_root) == [(1, 40)]
    assert states(astra_root) == {1: "failed", 2: "failed"}


def test_an_executor_is_asked_less_often_than_the_database(astra_root, staged):
    staged.set("staged", "ask_s", "0.6")
    looks = []
    stage.waits = lambda: looks.append(time.monotonic()) or len(looks) < 3
    assert build(Toy(number=(1, 2)))
    assert min(np.diff(looks)) >= 0.6


def test_what_is_always_lost_fails_after_the_last_attempt_and_the_rest_is_done(astra_root, staged):
    staged.set("staged:Toy", "attempts", "2")
    lost = set()

    def lose(name, number):
        if number == 1 or (name in lost) or (stage.submitted == [3, 1] and number == 0 and len(lost) < 2):
            lost.add(name)
            return number == 1 or stage.submitted != [3]
        return False

    stage.lost = lose
    assert not build(Toy(number=tuple(range(10))))
    assert sorted(states(astra_root).values()) == ["done"] * 6 + ["failed"] * 4
    found = rows(astra_root, "SELECT DISTINCT message FROM task_attempt WHERE error_class = 'JobLost'")
    ((message,),) = found
    assert re.fullmatch(
        rf"staged job 0 is LOST; attempt 2 of 2, given up; its log: {astra_root}/jobs/[\w-]+/0\.log", message
    )


@pytest.mark.parametrize("is_there", [True, False])
def test_a_submission_of_which_nobody_knows_is_looked_for(astra_root, monkeypatch, is_there):
    monkeypatch.setattr(dispatcher, "DOUBT_S", 0.0)
    monkeypatch.setattr(dispatcher, "AGAIN_S", 0.05)
    stage.submit_fails = [is_there]
    assert build(Toy(number=tuple(range(10))))
    assert stage.submitted == [3]
    assert set(n_attempts(astra_root).values()) == {1}


def test_a_full_queue_is_waited_for_and_nothing_is_in_doubt(astra_root, monkeypatch, caplog):
    monkeypatch.setattr(dispatcher, "AGAIN_S", 0.05)
    stage.refusals = 3
    assert build(*[Toy(number=number) for number in range(60)])
    assert sorted(stage.submitted) == [10, 50]
    assert set(n_attempts(astra_root).values()) == {1}
    # While there is no room for one array, none is asked for the other.
    delays = [record.args[1] for record in caplog.records if "the stage is full" in record.getMessage()]
    assert delays == [0.05, 0.1, 0.2]
    assert stage.comments == ["astra Toy, attempt 1 of 3"] * 2


@pytest.mark.parametrize(("room", "sizes"), [(50, [13]), (7, [7, 6]), (5, [4, 3, 3, 3]), (1, [1] * 13)])
def test_an_array_for_which_there_is_never_room_is_divided(astra_root, caplog, room, sizes):
    stage.room = room
    assert build(Toy(number=tuple(range(50))))
    assert sorted(stage.submitted, reverse=True) == sizes
    assert set(n_attempts(astra_root).values()) == {1}
    assert states(astra_root) == dict.fromkeys(range(50), "done")
    assert "submitted again in" not in caplog.text  # nothing waits
    assert not list((astra_root / "jobs").iterdir())


def test_what_is_divided_and_finds_no_room_is_tried_again(astra_root, monkeypatch, caplog):
    monkeypatch.setattr(dispatcher, "AGAIN_S", 0.05)
    stage.room = 0
    monkeypatch.setattr(Patience, "put_off", lambda *_: setattr(stage, "room", 3) or 0.05)
    assert build(Toy(number=tuple(range(20))))
    assert sorted(stage.submitted) == [1, 1, 1, 2]
    assert caplog.text.count("the stage has no room for 1; it is submitted again in 0.05 s") == 1
    assert set(n_attempts(astra_root).values()) == {1}


def test_a_worker_tells_once_in_a_while_what_is_waited_for(astra_root, monkeypatch, caplog):
    monkeypatch.setattr(array_room, "LONG_S", 0.0)
    caplog.set_level(logging.INFO, "luigi-interface")
    looks = []
    stage.reasons = {"QOSMaxJobsPerUserLimit": 2, "Resources": 1}
    stage.waits = lambda: looks.append(0) or len(looks) < 5
    assert build(Toy(number=tuple(range(10))))
    told = [text for text in caplog.messages if "jobs wait under staged" in text]
    assert told == ["3 jobs wait under staged, up to 0 min: 2 QOSMaxJobsPerUserLimit, 1 Resources"]


def test_nothing_is_lost_because_nothing_can_be_told(astra_root, monkeypatch):
    monkeypatch.setattr(dispatcher, "AGAIN_S", 0.05)
    stage.look_fails = 3
    assert build(Toy(number=(1, 2)))
    assert jobs(astra_root) == [(1, 1)]


def test_a_job_that_does_not_start_in_time_is_cancelled_and_submitted_again(astra_root, staged):
    staged.set("staged:Toy", "start_within_min", "0.001")
    stage.waits = lambda: not stage.cancelled
    assert build(Toy(number=(1, 2)))
    assert len(stage.cancelled) == 1
    assert jobs(astra_root) == [(1, 40), (2, 1)]
    ((message,),) = rows(astra_root, "SELECT message FROM job WHERE status_code = 40")
    assert "has not started within 0.001 min and is cancelled" in message


def test_a_worker_runs_other_tasks_while_jobs_wait(astra_root, staged):
    staged.set("executors", "Sum", "local")
    staged.set("executors", "toy_space.Careless", "local")
    stage.waits = lambda: (
        not rows(astra_root, "SELECT 1 FROM task WHERE family = 'toy_space.Careless' AND status_code = 1")
    )
    assert build(Sum(numbers=(1, 2, 3)), Careless(number=4))
    assert stage.submitted == [1]


def test_an_unknown_executor_is_refused_before_anything_runs(astra_root, staged):
    staged.set("executors", "Toy", "warp-drive")
    with pytest.raises(ConfigError, match=r"executor 'warp-drive' is unknown; known are dask, slurm, staged"):
        build(Double(number=(1, 2)))
    assert stage.submitted == []


def test_a_family_that_is_written_wrongly_in_luigi_cfg_is_told_before_anything_runs(
    astra_root, staged, caplog
):
    staged.set("staged:Duoble", "members_per_job", "2")
    staged.set("staged:EntirelyOther", "members_per_job", "2")  # of another program
    staged.set("executors", "Doble", "local")
    try:
        assert build(Double(number=(1, 2)))
    finally:
        for section in ("staged:Duoble", "staged:EntirelyOther"):
            staged.remove_section(section)
    told = [text for text in caplog.messages if "is for no task family that there is" in text]
    where = ("section [staged:Duoble]", "option Doble of section [executors]")
    words = "of luigi.cfg is for no task family that there is; is Double meant?"
    assert told == [f"{name} {words}" for name in where]


def test_a_host_without_what_an_executor_needs_may_plan_and_runs_nothing(astra_root, staged, monkeypatch):
    staged.set("astra", "executor", "slurm")
    monkeypatch.setenv("PATH", str(astra_root))
    with pytest.raises(ConfigError, match="Slurm is not installed on this host"):
        build(Double(number=(1, 2)))
    assert not rows(astra_root, "SELECT 1 FROM job")
    assert set(states(astra_root, "Double").values()) <= {"failed"}  # to be scheduled
    with AstraWorker(scheduler=CentralScheduler(prune_on_get_work=True), worker_processes=0) as planner:
        assert planner.add(Double(number=(1, 2)))


def test_an_unknown_option_of_a_family_is_refused_before_anything_runs(astra_root, staged):
    staged.set("staged:Toy", "colour", "red")
    with pytest.raises(ConfigError, match=r"the options of executor 'staged' for Toy cannot be used: option"):
        build(Double(number=(1, 2)))
    assert stage.submitted == []


def test_a_worker_that_is_asked_to_end_leaves_its_jobs_to_the_next(astra_root, caplog):
    task = Toy(number=tuple(range(10)))
    worker = AstraWorker(scheduler=CentralScheduler(prune_on_get_work=True), worker_processes=1)
    stage.waits = lambda: worker._start_phasing_out() or True
    with worker:
        assert worker.add(task)
        worker.run()
    assert "1 tasks are left to their jobs" in caplog.text
    assert jobs(astra_root) == [(1, 0)] * 3
    stage.waits = lambda: False
    assert build(task)
    assert stage.submitted == [3]
    assert jobs(astra_root) == [(1, 1)] * 3
    assert set(n_attempts(astra_root).values()) == {1}
    assert not list((astra_root / "jobs").iterdir())


def test_a_central_scheduler_hears_of_what_is_held(astra_root):
    scheduler, seen = BulkScheduler(), []

    def waits():
        seen.append(set(scheduler.task_list("RUNNING", "")))
        return len(seen) < 5

    stage.waits = waits
    tasks = [Toy(number=(1, 2)), Toy(number=3, label="other")]
    worker = AstraWorker(scheduler=scheduler, worker_processes=1)
    with worker:
        assert all(worker.add(task) for task in tasks)
        assert worker.run()
    ids = {task.task_id for task in tasks}
    assert seen == [ids] * 5
    assert set(scheduler.task_list("DONE", "")) == ids
    assert stage.submitted == [2]
