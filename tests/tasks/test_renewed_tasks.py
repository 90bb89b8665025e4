"""Tasks that were done a moment ago and are not any more: they are made again in the same invocation."""

import luigi
import pytest

from astra.tasks.base import AstraTask
from tests.tasks.night import attempts

N_LATE = 3


class Packaged(AstraTask):
    """What tells of others, and is to be made again after each late one."""

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                pass


class Late(AstraTask):
    """Something that comes when what tells of it is done already."""

    number = luigi.IntParameter(description="The number.")

    def requires(self):
        return Closed(number=self.number - 1) if self.number else Packaged()

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                Packaged().delete_state()


class Closed(AstraTask):
    """What needs all to be packaged, with that which came late."""

    number = luigi.IntParameter(description="The number of the late one that it follows.")

    def requires(self):
        return [Packaged(), Late(number=self.number)]

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                pass


@pytest.fixture(params=["local", "central"])
def scheduler(request):
    """Arguments of `luigi.build` for a scheduler in the worker, and for one in a process of its own."""
    if request.param == "local":
        return {"local_scheduler": True}
    return {"scheduler_host": "127.0.0.1", "scheduler_port": request.getfixturevalue("central").port}


def test_what_is_not_done_any_more_is_made_again_however_often(astra_root, scheduler):
    closed = Closed(number=N_LATE - 1)
    assert luigi.build([closed], log_level="WARNING", **scheduler)
    assert closed.complete()
    assert Packaged().complete()
    assert attempts(astra_root)["Late"] == N_LATE
    assert attempts(astra_root)["Closed"] == N_LATE
