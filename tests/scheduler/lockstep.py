"""Luigi's scheduler and ours, driven side by side; both must answer alike at each step."""

import types

import luigi.scheduler
from hypothesis import strategies as st

import astra.scheduler.additions
import astra.scheduler.choice
import astra.scheduler.retries
import astra.scheduler.scheduled_task
import astra.scheduler.task_state
from astra.scheduler.central import CentralScheduler

TIMED = (
    luigi.scheduler,
    astra.scheduler.additions,
    astra.scheduler.choice,
    astra.scheduler.retries,
    astra.scheduler.scheduled_task,
    astra.scheduler.task_state,
)
N_TASKS = 12
WORKERS = ("w0", "w1", "w2", "helper")  # the last one is an assistant
FAMILIES = ("Single", "Batched")
OPTIONS = {
    "retry_delay": 20.0,
    "remove_delay": 60.0,
    "worker_disconnect_delay": 30.0,
    "disable_persist": 80,
    "disable_window": 50,
    "retry_count": 2,
    "disable_hard_timeout": 300,
    "stable_done_cooldown_secs": 3,
}


class Clock:
    """A clock that stands still while a call is answered."""

    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now


def created(number):
    """When a task was made: all at different times, in an order that is not that of their numbers."""
    return 100.0 + number * 7 % N_TASKS


def with_fixed_times(scheduler):
    make = scheduler._make_task

    def make_task(*, task_id, **kwargs):
        task = make(task_id=task_id, **kwargs)
        if task_id.startswith("t"):
            task.time = created(int(task_id[1:]))
        return task

    scheduler._make_task = make_task
    return scheduler


class Lockstep:
    """Two schedulers and what their workers run."""

    def __init__(self, monkeypatch, ours=CentralScheduler, **options):
        self.clock = Clock()
        for module in TIMED:
            monkeypatch.setattr(module, "time", types.SimpleNamespace(time=self.clock.time))
        resources = {"db": 1, "disk": 2}
        kwargs = {**OPTIONS, **options}
        self.stock = with_fixed_times(luigi.scheduler.Scheduler(resources=dict(resources), **kwargs))
        self.ours = with_fixed_times(ours(resources=dict(resources), **kwargs))
        self.ours._state.retries = astra.scheduler.retries.RetryDelay()  # as Luigi's: constant,
        self.ours._max_deaths = 0  # and for ever
        self.runs = {worker: {} for worker in WORKERS}  # task id to the members of its batch

    def both(self, method, *args, **kwargs):
        replies = [getattr(scheduler, method)(*args, **kwargs) for scheduler in (self.stock, self.ours)]
        assert states(self.stock) == states(self.ours)
        return replies

    def apply(self, operation):
        name, *arguments = operation
        getattr(self, name)(*arguments)

    # -- operations -----------------------------------------------------------------------------------------

    def wait(self, seconds):
        self.clock.now += seconds

    def call(self, method, *args):
        stock, ours = self.both(method, *args)
        assert stock == ours

    def batcher_of_all(self, size):
        for worker in WORKERS:
            self.batcher(worker, size)

    def batcher(self, worker, size):
        self.both("add_task_batcher", worker, "Batched", ["x"], size)

    def add(self, worker, number, details):
        needed = [f"t{dep}" for dep in details.pop("needs") if dep < number]
        family = FAMILIES[number % 2]
        self.both(
            "add_task",
            worker=worker,
            task_id=f"t{number}",
            deps=needed,
            family=family,
            module="m",
            params={"x": str(number), "y": str(number % 4)},
            batchable=family == "Batched",
            assistant=worker == "helper",
            **details,
        )

    def get(self, worker, forgetful):
        known = None if forgetful == "silent" else [] if forgetful == "lost" else list(self.runs[worker])
        stock, ours = self.both(
            "get_work", worker=worker, host="h", assistant=worker == "helper", current_tasks=known
        )
        names = ("task_id", "task_family", "task_module", "task_params", "batch_id", "batch_task_ids")
        assert {name: stock.get(name) for name in names} == {name: ours.get(name) for name in names}
        if "batch_id" in stock:
            self.start_batch(worker, stock)
        elif stock["task_id"] is not None:
            self.runs[worker].setdefault(stock["task_id"], [])
        else:
            assert sorted_runs(stock) == sorted_runs(ours)

    def start_batch(self, worker, reply):
        batch = "b" + "_".join(reply["batch_task_ids"])
        self.both(
            "add_task",
            worker=worker,
            task_id=batch,
            module="m",
            family="Batched",
            params={"x": ",".join(reply["task_params"]["x"])},
            status="RUNNING",
            batch_id=reply["batch_id"],
        )
        self.runs[worker][batch] = reply["batch_task_ids"]

    def end(self, worker, which, status, new):
        if not self.runs[worker]:
            return
        task_id = sorted(self.runs[worker])[which % len(self.runs[worker])]
        del self.runs[worker][task_id]
        details = {"status": status, "expl": "why"}
        if status == "PENDING":
            details["new_deps"] = [f"t{new}"] if f"t{new}" != task_id else []
        self.both(
            "add_task", worker=worker, task_id=task_id, runnable=None, assistant=worker == "helper", **details
        )


def sorted_runs(reply):
    running = sorted(reply["running_tasks"], key=lambda task: task["task_id"])
    return {**reply, "running_tasks": running}


def states(scheduler):
    """What a scheduler knows of each task."""
    return {
        task.id: {
            "status": task.status,
            "deps": set(task.deps),
            "priority": task.priority,
            "workers": list(task.workers),
            "stakeholders": set(task.stakeholders),
            "resources": task.resources,
            "running": task.worker_running,
            "uses": getattr(task, "resources_running", None) if task.status == "RUNNING" else None,
            "retry": task.retry if task.status == "FAILED" else None,
            "remove": task.remove,
            "updated": task.updated,
            "failures": list(task.failures),
            "first_failure": task.first_failure_time,
            "disabled": task.scheduler_disable_time,
            "policy": task.retry_policy,
            "batch": task.batch_id,
            "batchable": task.batchable,
            "runnable": task.runnable,
            "params": (task.params, task.public_params, task.hidden_params),
            "expl": task.expl,
        }
        for task in scheduler._state.get_active_tasks()
    }


worker_ids = st.sampled_from(WORKERS)
numbers = st.integers(0, N_TASKS - 1)
task_ids = numbers.map("t{}".format)
details = st.fixed_dictionaries(
    {
        "needs": st.lists(numbers, max_size=3),
        "priority": st.integers(0, 3),
        "resources": st.sampled_from(
            [{}, {}, {}, {}, {"db": 1}, {"disk": 1}, {"disk": 2}, {"db": 1, "disk": 1}]
        ),
        "status": st.sampled_from(["PENDING"] * 16 + ["DONE", "DONE", "UNKNOWN", "DISABLED"]),
        "runnable": st.sampled_from([True, True, True, False]),
        "retry_policy_dict": st.sampled_from([None, None, {"retry_count": 1}, {"disable_window": 5}]),
    }
)
adds = st.tuples(st.just("add"), worker_ids, numbers, details)
gets = st.tuples(st.just("get"), worker_ids, st.sampled_from(["honest"] * 16 + ["lost", "silent"]))
ends = st.tuples(
    st.just("end"),
    worker_ids,
    st.integers(0, 5),
    st.sampled_from(["DONE"] * 5 + ["FAILED"] * 3 + ["PENDING"]),
    numbers,
)
many_batchers = st.tuples(st.just("batcher_of_all"), st.sampled_from([2, 3, float("inf")]))
batchers = st.tuples(st.just("batcher"), worker_ids, st.sampled_from([2, 3, float("inf")]))
calls = st.one_of(
    st.tuples(st.just("disable_worker"), worker_ids),
    st.tuples(st.sampled_from(["pause", "unpause", "unpause"])),
    st.tuples(st.sampled_from(["forgive_failures", "mark_as_done"]), task_ids),
    st.tuples(st.just("update_resource"), st.sampled_from(["db", "disk"]), st.integers(0, 3)),
    st.tuples(st.just("add_worker"), worker_ids, st.just({"workers": 2})),
    st.tuples(st.just("prune")),
).map(lambda call: ("call", *call))
waits = st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 5.0, 25.0, 70.0]))
weights = {adds: 2, gets: 6, ends: 5, batchers: 1, many_batchers: 1, waits: 1, calls: 1}
steps = st.sampled_from([kind for kind, weight in weights.items() for _ in range(weight)]).flatmap(
    lambda s: s
)
