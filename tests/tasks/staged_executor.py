"""An executor whose jobs run in this process when they are looked at, as a test has staged it."""

import json

from astra.errors import BusyError, CrowdedError, UnavailableError
from astra.executors.interface import Cause, Ended, Executor
from astra.tasks.job import run_job
from astra.tasks.runner import current_invocation, restore_invocation


class Stage:
    """What is to happen, and what has."""

    def __init__(self):
        self.submitted = []  # number of jobs of each array
        self.orders = {}
        self.cancelled = []
        self.looks = 0
        self.lost = lambda _name, _number: False  # jobs that end before they begin
        self.waits = lambda: False  # whether jobs wait in the queue
        self.submit_fails = []  # of each submission that does: whether the array is there all the same
        self.look_fails = 0  # how often nothing can be told
        self.refusals = 0  # how often no more jobs are taken
        self.room = None  # most jobs of one array, if there is a limit
        self.reasons = {}  # why jobs wait
        self.comments = []
        self.cause = Cause.MEMORY  # for which jobs are lost

    def forget(self):
        self.__init__()


stage = Stage()


class StagedExecutor(Executor):
    max_jobs = 50

    def submit(self, order):
        if stage.refusals:
            stage.refusals -= 1
            raise BusyError("the stage is full")
        if stage.room is not None and order.n_jobs > stage.room:
            raise CrowdedError(f"the stage has no room for {order.n_jobs}")
        stage.comments.append(order.comment)
        is_there = stage.submit_fails.pop(0) if stage.submit_fails else None
        if is_there is not False:
            stage.submitted.append(order.n_jobs)
            stage.orders[order.name] = json.loads((order.folder / "ticket.json").read_text())
        if is_there is not None:
            raise UnavailableError("the stage does not answer")
        return f"staged-{order.name}"

    def find(self, name):
        return f"staged-{name}" if name in stage.orders else None

    def look(self, handles):
        stage.looks += 1
        assert stage.looks < 500, "jobs are waited for that never end"
        if stage.look_fails:
            stage.look_fails -= 1
            raise UnavailableError("the stage does not answer")
        if stage.waits():
            return {}
        ended = {}
        for handle in handles:
            words = f"staged job {handle.number}"
            if stage.lost(handle.submission, handle.number):
                ended[handle] = Ended(f"{words} is LOST", stage.cause, 9)
                continue
            before = current_invocation()
            url = stage.orders[handle.submission]["database_url"]
            try:
                run_job(url, handle.submission, handle.number)
            finally:
                restore_invocation(before)
            ended[handle] = Ended(f"{words} is over")
        return ended

    def why_waiting(self, handles):
        return stage.reasons if handles else {}

    def cancel(self, handles):
        stage.cancelled += handles
