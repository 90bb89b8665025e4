"""The central scheduler is killed while workers run, and starts again."""

import os
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.conftest import PROJECT


def start_worker(central, folder, chains, steps, *, kind="astra", pause_s=0.0, patience_s=60):
    folder.mkdir(exist_ok=True)
    config = folder / "luigi.cfg"
    wait_s = 1 if kind == "luigi" else 2
    config.write_text(
        f"[core]\nno_lock = true\nlog_level = WARNING\nrpc-retry-attempts = {patience_s // wait_s}\n"
        f"rpc-retry-wait = {wait_s}\n[worker]\nkeep_alive = true\nwait_interval = 0.2\nwait_jitter = 0.1\n"
        f"[retcode]\nnot_run = 25\ntask_failed = 30\nunhandled_exception = 40\n"
    )
    command = [sys.executable, "-m", "luigi", "--module", "tests.scheduler.layers", "Layers"]
    command += ["--chains", str(chains), "--steps", str(steps)]
    command += ["--scheduler-host", "127.0.0.1", "--scheduler-port", str(central.port)]
    env = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "LAYERS_ROOT": str(folder),
        "LAYERS_WORKER": kind,
        "LAYERS_PAUSE_S": str(pause_s),
        "ASTRA_ROOT": str(folder),
        "LUIGI_CONFIG_PATH": str(config),
    }
    with (folder / "log").open("a") as log:
        return subprocess.Popen(command, cwd=folder, env=env, stderr=log)


def n_ran(folder):
    return (folder / "ran").read_text().count("\n") if (folder / "ran").exists() else 0


def wait_for_runs(folder, n_runs, worker):
    deadline = time.monotonic() + 120
    while n_ran(folder) < n_runs:
        assert worker.poll() is None, (folder / "log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("kind", "chains"), [("astra", 400), ("luigi", 60)])
def test_a_killed_scheduler_goes_on_where_it_was(central, tmp_path, kind, chains):
    folder, n_tasks = tmp_path / "work", 5 * chains
    worker = start_worker(central, folder, chains, 5, kind=kind)
    for part in (0.2, 0.6):
        wait_for_runs(folder, int(part * n_tasks), worker)
        central.kill()
        central.start()
    assert worker.wait(timeout=200) == 0, (folder / "log").read_text()[-3000:]
    lines = (folder / "ran").read_text().split("\n")[:-1]
    assert len(lines) == len(set(lines)) == n_tasks
    assert len(central.call("task_list", status="DONE", limit=False)) == n_tasks + 1


def test_a_worker_without_scheduler_does_not_pretend(central, tmp_path):
    folder = tmp_path / "work"
    worker = start_worker(central, folder, 50, 4, pause_s=0.02, patience_s=2)
    wait_for_runs(folder, 20, worker)
    central.kill()
    assert worker.wait(timeout=60) == 40
    assert 0 < n_ran(folder) < 200


def test_two_workers_share_the_work_fairly(central, tmp_path):
    folder = tmp_path / "work"
    workers = [start_worker(central, folder, 40, 3, pause_s=0.01) for _ in range(2)]
    assert [worker.wait(timeout=100) for worker in workers] == [0, 0]
    lines = (folder / "ran").read_text().split("\n")[:-1]
    assert len(lines) == len(set(lines)) == 120


def test_a_client_that_closes_says_that_its_worker_ends(central):
    from astra.scheduler.remote import RemoteScheduler

    remote = RemoteScheduler(central.url)
    remote.add_task(worker="w", task_id="a", family="F", status="PENDING")
    assert remote.get_work(worker="w")["task_id"] == "a"
    remote.close()
    assert central.call("task_list", status="PENDING").keys() == {"a"}
    with urllib.request.urlopen(f"{central.url}/astra/health", timeout=30) as page:  # noqa: S310
        assert "<td>ended</td>" in page.read().decode()
