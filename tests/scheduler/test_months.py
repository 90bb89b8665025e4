"""A scheduler that runs for months holds no more than what its workers and tasks of today take."""

import sys
import time
import types
from collections import deque

import luigi.scheduler
import pytest

from astra.scheduler.durable import DurableScheduler
from astra.scheduler.journal import Journal
from astra.scheduler.leases import FORGOTTEN_S

REMOVE_S = 600.0
DAY_S = 86_400.0


@pytest.fixture
def clock(monkeypatch):
    now = types.SimpleNamespace(now=1_000_000.0)
    fake = types.SimpleNamespace(time=lambda: now.now, monotonic=time.monotonic)
    ours = [module for name, module in sys.modules.items() if name.startswith("astra.scheduler.")]
    for module in [luigi.scheduler, *(module for module in ours if getattr(module, "time", None) is time)]:
        monkeypatch.setattr(module, "time", fake)
    return now


def sizes(root):
    """Return the lengths of all containers that hang on an object of ours, by path."""
    found, seen, waiting = {}, set(), [("", root)]
    while waiting:
        path, item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict | list | set | frozenset | deque):
            found[path] = len(item)
            values = item.values() if isinstance(item, dict) else item
            waiting += [(f"{path}[]", value) for value in values if isinstance(value, dict | list | set)]
        elif type(item).__module__.startswith(("astra.", "luigi.scheduler")):
            waiting += (
                [(f"{path}.{name}", value) for name, value in vars(item).items()]
                if hasattr(item, "__dict__")
                else []
            )
    return found


def live_a_day(scheduler, clock, day):
    """Have workers come and go, which run, fail, merge, lose and leave tasks."""
    for number, ends in enumerate(("leaves", "is killed", "is killed idle")):
        worker, name = f"w{day}-{number}", f"{day}-{number}"
        scheduler.add_worker(worker, [("workers", 1), ("host", "h")])
        scheduler.add_task_batcher(worker, "B", ["x"], 10)
        common = {"family": "B", "batchable": True, "resources": {"gpu": 1}, "params": {"x": name}}
        plan = [{"task_id": f"{name} {n}", "deps": [f"{name} {n + 1}"], **common} for n in range(4)]
        plan += [{"task_id": f"{name} 4", "family": "S"}, {"task_id": f"{name} 5", "family": "S"}]
        scheduler.add_tasks(worker, plan, sequence=1)
        scheduler.add_tasks(worker, [{"task_id": f"{name} 0", "deps": [f"{name} 5"], **common}], sequence=2)
        work = scheduler.exchange_work(worker, sequence=3, n_wanted=5)
        runs = {reply["task_id"]: reply["run"] for reply in work if reply["task_id"] is not None}
        first = next(iter(runs))
        report = {"task_id": first, "run": runs[first], "status": "FAILED" if number else "DONE"}
        scheduler.exchange_work(worker, [report], sequence=4, current_tasks=list(runs))
        scheduler.exchange_work(f"idle{name}", sequence=1)
        scheduler.set_task_status_message(first, "on its way")
        if ends == "leaves":
            scheduler.leave(worker)
        scheduler.commit()
    for _ in range(24 * 4):
        clock.now += DAY_S / 96
        scheduler.watch()
        scheduler.prune()
        scheduler.commit()


def test_nothing_grows_with_the_workers_that_were_there(tmp_path, clock, monkeypatch):
    monkeypatch.setattr("astra.scheduler.task_state.MAX_GONE", 5)
    monkeypatch.setattr("astra.scheduler.ready.MIN_LEFT_OVER", 2)
    scheduler = DurableScheduler(worker_disconnect_delay=FORGOTTEN_S, remove_delay=REMOVE_S, retry_delay=60.0)
    scheduler.grant_leases()
    scheduler.open_journal(Journal(tmp_path / "j", "never"))
    for day in range(100, 110):
        live_a_day(scheduler, clock, day)
    scheduler.compact()
    before = sizes(scheduler)
    size = scheduler._journal.size
    for day in range(110, 130):
        live_a_day(scheduler, clock, day)
    scheduler.compact()
    after = sizes(scheduler)
    assert {path: (n, before.get(path, 0)) for path, n in after.items() if n > before.get(path, 0)} == {}
    assert scheduler._journal.size <= size + 10  # of longer numbers
    scheduler.close()
