"""Whole DAGs through Luigi's scheduler and ours, with several workers: the same in the end, no rule broken.

Luigi's gets calls one by one, ours many at a time, with tasks that are held and given back. Which task runs
when differs then, but not what becomes of it, and neither may break a rule on the way.
"""

import random
import types
from collections import Counter

import luigi.scheduler
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra.scheduler import bulk, due, leases
from astra.scheduler.bulk import BulkScheduler
from tests.scheduler.lockstep import TIMED, Clock

AVAILABLE = {"db": 1, "disk": 2}
MAX_FAILURES = 2
MAX_BATCH = 3
RETRY_DELAY_S = 20.0
WORKERS = {"w0": 1, "w1": 2, "w2": 1}  # with the number of their processes
HELPER = "helper"  # an assistant, which plans nothing
OPTIONS = {
    "retry_delay": RETRY_DELAY_S,
    "retry_count": MAX_FAILURES,
    "disable_window": 10**6,
    "disable_persist": 10**6,
    "worker_disconnect_delay": 10**6,
    "remove_delay": 10**6,
}

tasks = st.lists(
    st.fixed_dictionaries(
        {
            "needs": st.one_of(st.just([]), st.lists(st.integers(0, 30), max_size=3)),
            "priority": st.integers(0, 3),
            "resources": st.sampled_from([{}, {}, {"db": 1}, {"disk": 1}, {"disk": 2}, {"db": 1, "disk": 1}]),
            "n_failures": st.sampled_from([0, 0, 0, 0, 1, 2]),
            "batchable": st.sampled_from([False, False, True]),
        }
    ),
    min_size=4,
    max_size=24,
)


class Dag:
    """Tasks by id, with what each needs, and how often it fails."""

    def __init__(self, drawn):
        self.tasks = {f"t{number}": self.task(number, dict(one)) for number, one in enumerate(drawn)}

    @staticmethod
    def task(number, one):
        one["needs"] = sorted({f"t{need % number}" for need in one["needs"]}) if number else []
        # Which tasks share a batch is by chance, and they fail together: here they do not fail.
        one["n_failures"] = 0 if one["batchable"] else one["n_failures"]
        return one

    def below(self, task_id):
        """The ids of a task and of all that it needs."""
        found, waiting = set(), [task_id]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self.tasks[one]["needs"]
        return found

    def report(self, task_id):
        one = self.tasks[task_id]
        return {
            "task_id": task_id,
            "deps": one["needs"],
            "priority": one["priority"],
            "resources": one["resources"],
            "family": "Batched" if one["batchable"] else "Single",
            "module": "m",
            "params": {"x": task_id, "y": str(len(task_id))},
            "batchable": one["batchable"],
        }


class Drive:
    """Workers that run a DAG by chance, and watch the rules."""

    def __init__(self, scheduler, dag, chance, clock):
        self.scheduler, self.dag, self.chance, self.clock = scheduler, dag, chance, clock
        self.running = {worker: {} for worker in (*WORKERS, HELPER)}  # ids with the members of their batch
        self.n_failed, self.done = Counter(), set()
        for worker, n_processes in WORKERS.items():
            scheduler.add_worker(worker, {"workers": n_processes})
            scheduler.add_task_batcher(worker, "Batched", ["x"], MAX_BATCH)
        ids = list(dag.tasks)
        planned = {worker: dag.below(chance.choice(ids)) for worker in WORKERS}
        planned["w0"] = set(ids)
        for worker, wanted in planned.items():
            self.plan(worker, [dag.report(task_id) for task_id in sorted(wanted)])

    def plan(self, worker, reports):
        for report in reports:
            self.scheduler.add_task(worker=worker, **report)

    def run(self):
        """Let workers act by chance until there is nothing left to do."""
        while True:
            idle = set()
            while len(idle) < len(self.running):
                worker = self.chance.choice(sorted(self.running))
                if self.act(worker):
                    idle.clear()
                else:
                    idle.add(worker)
            failed = self.scheduler._state.get_active_task_count_for_status("FAILED")
            if not failed:
                return
            self.clock.now += RETRY_DELAY_S + 1.0
            self.scheduler.prune()

    def act(self, worker):
        """Let a worker begin or end something; return whether it did."""
        self.clock.now += 0.01
        slots, n_running = WORKERS.get(worker, 1), len(self.running[worker])
        is_full = n_running == slots or (n_running and self.chance.random() < 0.5)
        reply = None if is_full else self.ask(worker)
        if reply is not None:
            self.begin(worker, reply)
        elif n_running:
            self.end(worker, self.chance.choice(sorted(self.running[worker])))
        return bool(reply or n_running)

    def ask(self, worker):
        reply = self.scheduler.get_work(
            worker=worker, host="h", assistant=worker == HELPER, current_tasks=list(self.running[worker])
        )
        return reply if reply["task_id"] is not None or "batch_id" in reply else None

    def begin(self, worker, reply):
        members = reply.get("batch_task_ids", [])
        begun = members or [reply["task_id"]]
        everywhere = [one for runs in self.running.values() for key, m in runs.items() for one in m or [key]]
        assert not set(begun) & set(everywhere)
        assert not set(begun) & self.done
        for task_id in begun:
            assert set(self.dag.tasks[task_id]["needs"]) <= self.done
            assert self.n_failed[task_id] < MAX_FAILURES
        assert len(begun) <= MAX_BATCH
        assert len({repr(self.dag.tasks[task_id]["resources"]) for task_id in begun}) == 1
        key = begun[0]
        if members:
            key = "b" + "_".join(members)
            details = {"module": "m", "family": "Batched", "params": {"x": ",".join(members)}}
            self.scheduler.add_task(
                worker=worker, task_id=key, status="RUNNING", batch_id=reply["batch_id"], **details
            )
        self.running[worker][key] = members
        self.check_resources()

    def check_resources(self):
        used = Counter()
        for key, members in self.given_out():
            used.update(self.resources_of(key, members))
        assert all(number <= AVAILABLE[name] for name, number in used.items())

    def given_out(self):
        """What runs, with the members of its batch."""
        return [item for runs in self.running.values() for item in runs.items()]

    def end(self, worker, key):
        members = self.running[worker].pop(key)
        fails = not members and self.n_failed[key] < self.dag.tasks[key]["n_failures"]
        if fails:
            self.n_failed[key] += 1
        else:
            self.done.update(members or [key])
        self.report_end(worker, key, "FAILED" if fails else "DONE", self.resources_of(key, members))

    def resources_of(self, key, members):
        return self.dag.tasks[members[0] if members else key]["resources"]

    def report_end(self, worker, key, status, resources):
        self.scheduler.add_task(
            worker=worker,
            task_id=key,
            status=status,
            expl="why",
            runnable=None,
            resources=resources,
            assistant=worker == HELPER,
        )

    def outcome(self):
        return {
            task.id: task.status
            for task in self.scheduler._state.get_active_tasks()
            if task.id in self.dag.tasks
        }


class BulkDrive(Drive):
    """Workers that speak as ours do: they hold tasks, and give back those that others could run."""

    def __init__(self, *args):
        self.held = {worker: [] for worker in (*WORKERS, HELPER)}
        self.runs, self.reports = {}, {worker: [] for worker in (*WORKERS, HELPER)}
        super().__init__(*args)

    def plan(self, worker, reports):
        self.scheduler.add_tasks(worker, reports)

    def act(self, worker):
        had_reports = bool(self.reports[worker])
        return super().act(worker) or had_reports

    def ask(self, worker):
        self.clock.now += 1.0
        held = self.held[worker]
        if not held:
            replies = self.scheduler.exchange_work(
                worker,
                reports=self.taken(worker),
                host="h",
                assistant=worker == HELPER,
                current_tasks=list(self.running[worker]),
                n_wanted=self.chance.randint(1, 6),
            )
            held += [reply for reply in replies if reply["task_id"] is not None or "batch_id" in reply]
        elif self.chance.random() < 0.5:
            self.ping(worker)
        if not held:
            return None
        reply = held.pop(0)
        self.runs[reply["task_id"]] = reply.get("run")
        return reply

    def given_out(self):
        """What runs or is held, with the members of its batch."""
        held = [reply for replies in self.held.values() for reply in replies]
        return [
            *super().given_out(),
            *((reply["task_id"], reply.get("batch_task_ids", [])) for reply in held),
        ]

    def taken(self, worker):
        reports, self.reports[worker] = self.reports[worker], []
        return reports

    def ping(self, worker):
        """Renew the lease; give back what is held, if that is asked for."""
        held = [reply["task_id"] for reply in self.held[worker] if reply["task_id"] is not None]
        self.scheduler.add_tasks(worker, self.taken(worker))
        answer = self.scheduler.renew_lease(worker, [*self.running[worker], *held])
        assert answer["lost"] == []
        if any(message["name"] == "give_back_work" for message in answer["rpc_messages"]):
            self.scheduler.return_work(worker, held)
            self.held[worker].clear()

    def begin(self, worker, reply):
        for other, replies in self.held.items():
            assert reply["task_id"] is None or reply["task_id"] not in [one["task_id"] for one in replies], (
                other
            )
        super().begin(worker, reply)

    def report_end(self, worker, key, status, resources):
        self.reports[worker].append(
            {
                "task_id": key,
                "status": status,
                "expl": "why",
                "runnable": None,
                "resources": resources,
                "assistant": worker == HELPER,
                "run": self.runs.get(key),
            }
        )


def expected(dag):
    """What must become of each task, whatever the order."""
    found = {}
    for task_id, one in dag.tasks.items():  # what it needs comes before
        waits = any(found[need] != "DONE" for need in one["needs"])
        found[task_id] = "PENDING" if waits else "DISABLED" if one["n_failures"] >= MAX_FAILURES else "DONE"
    return found


@given(tasks, st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_becomes_of_each_task_is_the_same_and_no_rule_is_broken(drawn, seed):
    dag = Dag(drawn)
    outcomes = []
    for make, drive in (
        (luigi.scheduler.Scheduler, Drive),
        (BulkScheduler, Drive),
        (BulkScheduler, BulkDrive),
    ):
        with pytest.MonkeyPatch.context() as monkeypatch:
            clock = Clock()
            for module in (*TIMED, bulk, due, leases):
                monkeypatch.setattr(module, "time", types.SimpleNamespace(time=clock.time))
            scheduler = make(resources=dict(AVAILABLE), **OPTIONS)
            driven = drive(scheduler, dag, random.Random(seed), clock)  # noqa: S311
            driven.run()
            outcomes.append(driven.outcome())
    assert outcomes == [expected(dag)] * 3
