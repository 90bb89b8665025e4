"""What a run answers: each code of the table, and that it speaks of the root, whoever has done the work."""

import os
import subprocess
import sys
import time

import luigi
import pytest
from luigi.retcodes import run_with_retcodes

from astra.scheduler.bulk import BulkScheduler
from astra.scheduler.central import CentralScheduler
from astra.tasks import completeness
from astra.tasks.base import AstraTask
from astra.tasks.exit_status import complete_ids, count_work_of_others, exit_status
from astra.tasks.runner import AstraWorker
from tests.conftest import PROJECT
from tests.tasks.exit_tasks import ExitAll, ExitBad, ExitGood
from tests.tasks.test_engine import rows
from tests.tasks.toy_tasks import Double, Toy

MODULE = ["--module", "tests.tasks.exit_tasks"]


def code_of(*arguments):
    """What the ``luigi`` command exits with, in this process."""
    with pytest.raises(SystemExit) as caught:
        run_with_retcodes([*MODULE, *arguments])
    return caught.value.code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["ExitGood"], 0),
        (["ExitAll", "--kinds", "Good,Good"], 0),
        (["ExitMissing"], 20),
        (["ExitAll", "--kinds", "Good,Missing"], 20),
        (["ExitTooWide"], 25),
        (["ExitBad"], 30),
        (["ExitAll", "--kinds", "Bad,Missing,Good"], 30),
        (["ExitAll", "--kinds", "Good,Killed", "--workers", "2"], 30),
        (["ExitGood", "--pause-s", "30", "--workers", "2", "--worker-timeout", "1"], 30),
        (["ExitUntold"], 35),
        (["ExitAll", "--kinds", "Bad,Untold"], 35),
        (["ExitGood", "--from-table", "no_such_file.csv"], 40),
    ],
)
def test_each_end_has_its_code(astra_root, arguments, code):
    assert code_of(*arguments, "--local-scheduler") == code


def test_an_unknown_option_is_wrong_usage(astra_root):
    assert code_of("ExitGood", "--no-such-option") == 2


def test_without_a_scheduler_the_code_is_that_of_an_unhandled_error(astra_root, run_luigi):
    url = "http://127.0.0.1:9/prefix"
    config = astra_root / "luigi.cfg"
    config.write_text("[core]\nrpc_retry_attempts = 1\nrpc_retry_wait = 1\n")
    environment = {"LUIGI_CONFIG_PATH": str(config), "ASTRA_SCHEDULER_URL": url}
    result = run_luigi("ExitGood", module="tests.tasks.exit_tasks", local=False, env=environment)
    assert result.returncode == 40
    assert f"no scheduler at {url} for 1 s: " in result.stderr
    assert "Traceback" not in result.stderr


def test_the_same_command_twice_is_told_if_locks_are_asked_for(astra_root):
    config = astra_root / "luigi.cfg"
    config.write_text(f"[core]\nno_lock = false\nlock_pid_dir = {astra_root / 'locks'}\n")
    command = [sys.executable, "-m", "luigi", *MODULE, "ExitGood", "--local-scheduler", "--pause-s", "8"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "LUIGI_CONFIG_PATH": str(config)}
    first = subprocess.Popen(command, cwd=astra_root, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(astra_root.glob("locks/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    second = subprocess.run(command, cwd=astra_root, env=environment, capture_output=True, check=False)
    assert second.returncode == 10, second.stderr
    assert first.wait(timeout=60) == 0


# -- workers that share their work --------------------------------------------------------------------------


def planned(scheduler, *roots):
    """A worker that has planned some tasks, and runs them when asked to."""
    worker = AstraWorker(scheduler=scheduler, worker_processes=1, wait_interval=0.01, wait_jitter=0.0)
    with worker:
        for root in roots:
            worker.add(root)
    return worker


def ran(worker):
    """Run what a worker has planned; return what it answers."""
    with worker:
        worker.run()
    return worker._exit_status()


def test_both_answer_zero_if_the_root_is_complete(astra_root):
    scheduler = BulkScheduler()
    root = ExitAll(kinds="Good,Good,Good")
    first, second = planned(scheduler, root), planned(scheduler, root)
    assert (ran(first), ran(second)) == (0, 0)
    assert luigi.execution_summary.LuigiRunResult(second).status.name == "SUCCESS"


def test_what_a_done_root_requires_is_not_asked_for(astra_root, monkeypatch):
    scheduler = BulkScheduler()
    root = AllToys(size=30)
    first, second = planned(scheduler, root), planned(scheduler, root)
    assert ran(first) == 0
    asked = []
    ask = completeness.known_completeness
    monkeypatch.setattr(completeness, "known_completeness", lambda some: asked.append(len(some)) or ask(some))
    monkeypatch.setattr(AstraTask, "complete", lambda _: pytest.fail("asked one by one"))
    assert ran(second) == 0
    assert asked == [0]  # the root is done, as the scheduler knows


def test_without_word_of_the_scheduler_states_are_asked_for_at_once(astra_root, monkeypatch):
    root = AllToys(size=30)
    assert ran(planned(BulkScheduler(), root)) == 0
    monkeypatch.setattr(AstraTask, "complete", lambda _: pytest.fail("asked one by one"))
    assert root.task_id in complete_ids([root])


def test_a_long_chain_that_has_not_run_has_its_reasons(astra_root):
    length = sys.getrecursionlimit() + 200
    worker = planned(CentralScheduler(), ExitChain(number=length))
    assert ran(worker) == 30
    summary = luigi.execution_summary._summary_dict(worker)
    assert len(summary["upstream_failure"]) == length
    assert not summary["not_run"]


class ExitChain(luigi.Task):
    number = luigi.IntParameter(description="How many stand behind it.")

    def requires(self):
        return [ExitChain(number=self.number - 1)] if self.number else []

    def output(self):
        return luigi.LocalTarget("nowhere")

    def run(self):
        raise ValueError("as it must")


def test_what_failed_with_another_worker_is_a_failure(astra_root):
    scheduler = BulkScheduler()
    root = ExitAll(kinds="Good,Bad")
    first, second = planned(scheduler, root), planned(scheduler, root)
    assert (ran(first), ran(second)) == (30, 30)


def test_what_failed_here_and_was_mended_elsewhere_is_no_failure(astra_root):
    scheduler = BulkScheduler(retry_delay=0)
    root = ExitAll(kinds="Good,Bad")
    worker = planned(scheduler, root)
    assert ran(worker) == 30
    (astra_root / "mended").touch()
    other = planned(scheduler, root)
    scheduler.prune()
    assert ran(other) == 0
    count_work_of_others(worker, [root], list(worker._scheduled_tasks.values()))
    assert exit_status(worker) == 0


def test_a_root_that_cannot_be_planned_here_may_be_complete_by_then(astra_root, monkeypatch):
    scheduler = BulkScheduler()
    root = ExitGood()
    with monkeypatch.context() as patch:
        patch.setattr(ExitGood, "complete", lambda _: 1 / 0)
        worker = planned(scheduler, root)
    other = planned(scheduler, root)
    assert ran(other) == 0
    assert ran(worker) == 0


def test_members_that_failed_elsewhere_are_a_failure_though_the_root_is_there(astra_root):
    scheduler = BulkScheduler()
    root = Double(number=(1, 2, 3), refuse=2)
    first, second = planned(scheduler, root), planned(scheduler, root)
    assert (ran(first), ran(second)) == (30, 30)
    assert rows(astra_root, "SELECT count(*) FROM task_state WHERE state = 'done' AND family = 'Double'")


def test_a_wrapper_is_complete_if_all_below_it_is(astra_root):
    wide = ExitAll(kinds="Good,Bad")
    assert complete_ids([wide]) == set()
    for task in wide.requires():
        task.output().open("w").close()
    assert complete_ids([wide]) == {wide.task_id, *(task.task_id for task in wide.requires())}
    assert complete_ids([wide], {task.task_id for task in wide.requires()}) >= {wide.task_id}
    assert complete_ids([ExitBad(name="other")]) == set()


class AllToys(luigi.WrapperTask):
    size = luigi.IntParameter(description="How many.")

    def requires(self):
        return [Toy(number=number) for number in range(self.size)]


def start(central, folder, *arguments):
    command = [sys.executable, "-m", "luigi", *MODULE, *arguments, "--scheduler-url", central.url]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["ExitAsking", "--pause-s", "3"], 0),
        (["ExitAll", "--kinds", "Good,Bad,Good", "--pause-s", "0.5"], 30),
    ],
)
def test_workers_wait_for_each_other_and_answer_alike(central, astra_root, arguments, code):
    workers = [start(central, astra_root, *arguments), start(central, astra_root, *arguments)]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [code, code], errors


def test_who_plans_for_assistants_waits_for_them(central, astra_root):
    planner = start(central, astra_root, "ExitAll", "--kinds", "Good,Asking", "--workers", "0")
    command = [sys.executable, "-m", "astra.cli", "workers", "--scheduler-url", central.url, "--count", "2"]
    command += ["--modules", "tests.tasks.exit_tasks"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    workers = subprocess.Popen(command, cwd=astra_root, env=environment, stdout=subprocess.PIPE, text=True)
    errors = planner.communicate(timeout=120)[1]
    workers.terminate()
    told = workers.communicate(timeout=60)[0]
    assert planner.returncode == 0, (errors, told)
    assert workers.returncode == 0


def test_who_plans_is_told_why_others_failed_though_they_have_written_it_nowhere(central, astra_root):
    planner = start(central, astra_root, "ExitAll", "--kinds", "Good,Bad", "--workers", "0")
    command = [sys.executable, "-m", "astra.cli", "workers", "--scheduler-url", central.url]  # no --modules
    workers = subprocess.Popen(command, cwd=astra_root, env={**os.environ, "PYTHONPATH": str(PROJECT)})
    told = planner.communicate(timeout=120)[1]
    workers.terminate()
    workers.wait(timeout=60)
    assert planner.returncode == 30
    assert "ExitBad_" in told
    assert (
        "has failed elsewhere: ExitBad is of module 'tests.tasks.exit_tasks', but this worker serves" in told
    )
