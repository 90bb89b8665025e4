"""Workers that serve a scheduler: what they load, how they batch, and when they end."""

import os
import signal
import subprocess
import sys
import time

import luigi
import psutil
import pytest

from astra.cli import main
from astra.errors import ConfigError
from astra.scheduler.access import TOKEN_VARIABLE
from astra.scheduler.bulk import BulkScheduler
from astra.scheduler.remote import RemoteScheduler
from astra.tasks import references
from astra.tasks.runner import AstraWorker
from astra.tasks.serving import ServedModules, ServedWork, ServingWorker
from tests.conftest import PROJECT
from tests.scheduler.conftest import Server
from tests.tasks.exit_tasks import ExitAsking
from tests.tasks.merged import Merged
from tests.tasks.served_tasks import ServedFile, ServedSleep
from tests.tasks.test_engine import rows, states
from tests.tasks.toy_tasks import Toy

OWN = ServedModules(("tests.tasks",))


def plan(scheduler, *tasks):
    """Have a worker plan tasks that it does not run."""
    planner = AstraWorker(scheduler=scheduler, worker_processes=1)
    with planner:
        assert all(planner.add(task) for task in tasks)
    return planner


def serve(scheduler, modules=OWN, **options):
    """Serve until there is nothing to do; return the worker and what it told."""
    told = []
    options = {"count": 1, "idle_exit_s": 0.01, "wait_interval": 0.01, "wait_jitter": 0.0, **options}
    worker = ServingWorker(ServedWork(scheduler, modules, told.append), tell=told.append, **options)
    worker.serve()
    return worker, told


def listed(scheduler, status):
    return set(scheduler.task_list(status, ""))


# -- what may be loaded -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "os;x", "a..b", "../x", "1a", "a b"])
def test_only_names_of_modules_can_be_served(name):
    with pytest.raises(ConfigError, match="cannot be the name of a module"):
        ServedModules((name,))


def test_modules_below_a_served_one_are_served():
    modules = ServedModules(("tests.tasks", "mine"))
    served = ["astra", "astra.tasks.diffim", "mine", "mine.deep.er", "tests.tasks.toy_tasks"]
    assert all(map(modules.holds, served))
    assert not any(map(modules.holds, ["", "os", "astral", "tests", "mine2", "my.mine", "astra_x.y"]))


def test_a_module_that_is_not_served_is_not_imported(astra_root):
    scheduler = BulkScheduler()
    scheduler.add_task(worker="evil", task_id="t", family="Evil", module="this", params={})
    planned = Toy(number=1)
    plan(scheduler, planned)
    worker, told = serve(scheduler)
    assert "this" not in sys.modules
    assert listed(scheduler, "FAILED") == {"t"}
    reason = "Evil is of module 'this', but this worker serves astra, tests.tasks alone; see --modules"
    assert f"refused t: {reason}" in told
    assert reason in scheduler.fetch_error("t")["error"]
    assert states(astra_root, "Toy") == {"1": "done"}
    assert (worker.served.n_done, worker.served.n_failed) == (1, 0)


def test_a_task_of_another_module_is_not_loaded_by_way_of_a_served_one(astra_root):
    scheduler = BulkScheduler()
    for module in ("astra", None):
        scheduler.add_task(
            worker="evil", task_id=f"t{module}", family="ServedSleep", module=module, params={"seconds": "0"}
        )
    told = serve(scheduler, ServedModules())[1]
    assert listed(scheduler, "FAILED") == {"tastra", "tNone"}
    assert any("is a task of module tests.tasks.served_tasks" in line for line in told)
    assert not (astra_root / "slept").exists()


def test_a_task_that_is_not_there_fails_with_a_sentence(astra_root):
    scheduler = BulkScheduler()
    scheduler.add_task(worker="w", task_id="t", family="NoSuchTask", module="tests.tasks.nowhere", params={})
    told = serve(scheduler)[1]
    assert any("NoSuchTask of tests.tasks.nowhere cannot be loaded" in line for line in told)
    assert listed(scheduler, "FAILED") == {"t"}


# -- batches ------------------------------------------------------------------------------------------------


def test_an_assistant_batches_as_those_do_who_planned(astra_root):
    scheduler = BulkScheduler()
    plan(scheduler, *[Merged(number=n) for n in range(10)])
    worker, told = serve(scheduler)
    assert worker.served.n_done == 3  # batches of four at most
    assert len(listed(scheduler, "DONE")) >= 10
    assert set(states(astra_root, "Merged").values()) == {"done"}
    sizes = rows(astra_root, "SELECT batch_size FROM task WHERE batch_size IS NOT NULL")
    assert sorted(size for (size,) in sizes) == [2, 4, 4]
    assert sum(line.startswith("done") for line in told) == 3


def test_with_a_stock_luigid_it_batches_once_it_knows_the_family(astra_root, luigid):
    url = f"http://127.0.0.1:{luigid}"
    planner, scheduler = RemoteScheduler(url), RemoteScheduler(url)
    plan(planner, *[Merged(number=n) for n in range(10)])
    worker, _ = serve(scheduler)
    worker.close()
    planner.close()
    assert set(states(astra_root, "Merged").values()) == {"done"}
    assert worker.served.n_done == 4  # the first one alone, then batches of four at most


def test_a_member_of_a_batch_of_an_assistant_fails_alone(astra_root):
    scheduler = BulkScheduler()
    tasks = [Merged(number=n, refuse=2) for n in range(4)]
    plan(scheduler, *tasks)
    worker, told = serve(scheduler)
    assert states(astra_root, "Merged") == {"0": "done", "1": "done", "2": "failed", "3": "done"}
    assert tasks[2].task_id in listed(scheduler, "FAILED")
    assert {tasks[n].task_id for n in (0, 1, 3)} <= listed(scheduler, "DONE")
    assert worker.served.n_failed == 1
    assert any("BatchError" in line for line in told if line.startswith("failed"))


def test_plain_tasks_are_batched_too(astra_root):
    scheduler = BulkScheduler()
    plan(scheduler, *[ServedFile(number=n) for n in range(6)])
    worker, _ = serve(scheduler)
    assert (astra_root / "ran").read_text().split("\n")[:-1] == ["file 2", "file 5"]
    assert worker.served.n_done == 2
    assert listed(scheduler, "PENDING") == listed(scheduler, "FAILED") == set()


def test_the_members_of_a_large_batch_come_from_the_database(astra_root):
    scheduler = BulkScheduler()
    batch = Toy(number=tuple(range(references.LARGE_BATCH + 50)))
    plan(scheduler, batch)
    task = scheduler._state.get_task(batch.task_id)
    assert task.params["number"].startswith("@batch:")
    worker, _ = serve(scheduler)
    assert worker.served.n_done == 1
    assert rows(astra_root, "SELECT count(*) FROM task WHERE status_code = 1") == [(351,)]


def test_what_a_run_asks_for_is_run_too(astra_root):
    scheduler = BulkScheduler()
    plan(scheduler, ExitAsking())
    worker, told = serve(scheduler)
    assert worker.served.n_done == 2
    assert not worker.served.begun
    assert [line.split()[0] for line in told] == ["begun", "waiting", "begun", "done", "begun", "done"]
    assert "it has asked for 1 tasks" in told[1]


# -- how long -----------------------------------------------------------------------------------------------


def test_a_worker_remembers_nothing_of_what_has_ended(astra_root):
    scheduler = BulkScheduler()
    plan(scheduler, *[Toy(number=n) for n in range(20)])
    worker, _ = serve(scheduler, idle_exit_s=0.2)
    assert worker.served.n_done == 20
    assert not worker._scheduled_tasks
    assert not worker.served.begun
    assert len(worker._add_task_history) <= 1
    assert len(worker._get_work_response_history) <= 1


def test_what_waits_for_others_is_idle_time(astra_root):
    scheduler = BulkScheduler()
    scheduler.add_task(worker="w", task_id="t", family="F", module="m", resources={"telescope": 2})
    worker, _ = serve(scheduler, idle_exit_s=0.3)
    assert worker.served == type(worker.served)()
    assert listed(scheduler, "PENDING") == {"t"}


@pytest.fixture
def environment(astra_root):
    return {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}


def start(server, folder, environment, *options):
    command = [sys.executable, "-m", "astra.cli", "workers", "--scheduler-url", server.url, *options]
    command += ["--modules", "tests.tasks.served_tasks"]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(path):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path.read_text()


@pytest.mark.parametrize("count", ["1", "2"])
def test_asked_to_end_it_finishes_what_runs(central, astra_root, environment, count):
    process = start(central, astra_root, environment, "--count", count)
    central.call("add_task", **report(ServedSleep(seconds=2.0)))
    wait_for(astra_root / "ran")
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert (astra_root / "slept").exists()
    assert "asked to end: 1 tasks may go on" in output
    assert "ended as asked: 1 done, 0 failed" in output


def test_asked_twice_it_ends_and_its_children_with_it(central, astra_root, environment):
    process = start(central, astra_root, environment, "--count", "2")
    central.call("add_task", **report(ServedSleep(seconds=60.0)))
    wait_for(astra_root / "ran")
    children = psutil.Process(process.pid).children()
    assert children
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == -signal.SIGTERM, output
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert not (astra_root / "slept").exists()


def test_what_takes_too_long_waits_again_in_the_scheduler(central, astra_root, environment):
    process = start(central, astra_root, environment, "--count", "2", "--grace", "0.5")
    central.call("add_task", **report(ServedSleep(seconds=60.0)))
    wait_for(astra_root / "ran")
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert f"given back {ServedSleep(seconds=60.0).task_id} after" in output
    assert list(central.call("task_list", status="PENDING", upstream_status="")) == [
        ServedSleep(seconds=60.0).task_id
    ]


def report(task):
    return {
        "worker": "planner",
        "task_id": task.task_id,
        "family": task.task_family,
        "module": task.task_module,
        "params": task.to_str_params(),
    }


# -- the scheduler ------------------------------------------------------------------------------------------


def test_without_a_scheduler_it_says_so(astra_root, capsys, set_patience):
    set_patience(1)
    assert main(["workers", "--scheduler-url", "http://127.0.0.1:9/luigi"]) == 40
    error = capsys.readouterr().err
    assert "no scheduler at http://127.0.0.1:9/luigi for 1 s: " in error
    assert error.count("\n") == 1


def test_a_wrong_token_is_said_at_once(tmp_path, astra_root, monkeypatch, capsys):
    server = Server(tmp_path)
    server.start(**{TOKEN_VARIABLE: "a token of some length"})
    try:
        monkeypatch.setenv(TOKEN_VARIABLE, "another token of some length")
        assert main(["workers", "--scheduler-url", server.url]) == 40
    finally:
        server.stop()
    assert f"answers 401: the scheduler needs its token; set {TOKEN_VARIABLE}" in capsys.readouterr().err


def test_a_module_that_cannot_be_imported_is_said(astra_root, capsys):
    assert main(["workers", "--modules", "no_such_module_anywhere"]) == 1
    assert "no_such_module_anywhere cannot be served" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--count", "0"), ("--idle-exit", "-1"), ("--idle-exit", "nan")])
def test_impossible_numbers_are_wrong_usage(option):
    with pytest.raises(SystemExit) as caught:
        main(["workers", *option])
    assert caught.value.code == 2


@pytest.fixture
def set_patience():
    """Set for how long a scheduler is looked for."""
    stored = luigi.configuration.get_config()

    def patience(seconds):
        stored.set("core", "rpc_retry_attempts", str(seconds))
        stored.set("core", "rpc_retry_wait", "1")

    yield patience
    for name in ("rpc_retry_attempts", "rpc_retry_wait"):
        stored.remove_option("core", name)
