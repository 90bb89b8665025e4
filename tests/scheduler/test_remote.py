"""Messages of a worker to a scheduler that cannot be reached for long."""

import luigi.rpc
import pytest

from astra.scheduler.bulk import BulkScheduler
from astra.scheduler.remote import RemoteScheduler


@pytest.fixture
def scheduler():
    return BulkScheduler(retry_delay=900.0, retry_count=5)


@pytest.fixture
def proxy(scheduler, monkeypatch):
    """A caller of that scheduler, whose messages may be lost on the way there or back."""
    proxy = RemoteScheduler("http://127.0.0.1:1")
    proxy.lost = None

    def call(url, data, **_):
        answer = None if proxy.lost == "there" else getattr(scheduler, url.removeprefix("/api/"))(**data)
        if proxy.lost is not None:
            raise luigi.rpc.RPCError("no scheduler for 90 s")
        return answer

    monkeypatch.setattr(proxy, "_call", call)
    return proxy


@pytest.mark.parametrize("lost", ["there", "back"])
@pytest.mark.parametrize("then", ["report", "ask for work"])
def test_reports_that_were_not_answered_are_sent_again_and_count_once(scheduler, proxy, lost, then):
    proxy.add_task(worker="w", task_id="a", family="F", runnable=True)
    assert proxy.get_work(worker="w", host="h", current_tasks=[])["task_id"] == "a"
    proxy.add_task(worker="w", task_id="a", family="F", status="FAILED")
    proxy.lost = lost
    for _ in range(2):
        with pytest.raises(luigi.rpc.RPCError):
            proxy.send_reports("w")
    proxy.lost = None
    if then == "report":
        proxy.add_task(worker="w", task_id="b", family="F")
        proxy.send_reports("w")
    else:
        assert proxy.get_work(worker="w", host="h", current_tasks=[])["task_id"] is None
    task = scheduler._state.get_task("a")
    assert (task.status, task.n_failed) == ("FAILED", 1)
    assert scheduler._state.has_task("b") == (then == "report")
