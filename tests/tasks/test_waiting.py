"""What a run that waits tells: who works, or that nobody does, and not too often."""

import logging

import pytest

from astra.scheduler.bulk import BulkScheduler
from astra.scheduler.leases import FORGOTTEN_S
from astra.tasks.waiting import LONGEST_S, WaitingLines, what_is_awaited


def test_lines_come_at_growing_intervals_and_begin_anew(caplog):
    now, told = [0.0], []
    lines = WaitingLines(clock=lambda: now[0])
    with caplog.at_level(logging.WARNING, "luigi-interface"):
        for second in range(3000):
            now[0] = float(second)
            lines.tell(lambda: told.append(now[0]) or "waiting")
    assert told[:4] == [30.0, 90.0, 210.0, 450.0]
    assert told[-1] - told[-2] == LONGEST_S
    assert len(caplog.messages) == len(told)
    lines.stop()
    now[0] += 1.0
    lines.tell(lambda: pytest.fail("too early"))


@pytest.mark.parametrize(
    ("work", "plans_only", "end"),
    [
        (None, True, "left"),
        ({"running": {"b": 2, "c": 1}, "connected": ["b", "c"]}, True, ", 3 run elsewhere: b 2, c 1"),
        ({"running": {}, "connected": ["b"]}, True, " and none runs, with 1 other workers: b"),
        ({"running": {}, "connected": list("bcdefgh")}, True, "b, c, d, e, f and 2 more"),
        (
            {"running": {}, "connected": []},
            True,
            "no worker is connected to run them; begin some with: astra workers",
        ),
        ({"running": {}, "connected": []}, False, ", and none may run now"),
    ],
)
def test_the_sentence_names_who_works(work, plans_only, end):
    sentence = what_is_awaited(12, work, plans_only=plans_only)
    assert sentence.startswith("waiting: 12 tasks are left")
    assert sentence.endswith(end)


def test_the_scheduler_knows_who_works(monkeypatch):
    scheduler = BulkScheduler(worker_disconnect_delay=FORGOTTEN_S)
    scheduler.grant_leases()
    scheduler.add_worker("p", [("workers", 0), ("host", "plans")])
    scheduler.add_tasks("p", [{"task_id": name, "family": "F"} for name in "ab"])
    assert scheduler.who_works("p") == {"running": {}, "connected": []}
    for name in ("v", "w"):
        scheduler.add_worker(name, [("workers", 2), ("host", f"host-{name}"), ("name", "")])
        scheduler.renew_lease(name)
    scheduler.exchange_work("w", assistant=True)
    assert scheduler.who_works("p") == {"running": {"host-w": 1}, "connected": ["host-v", "host-w"]}
    scheduler.leave("w")
    assert scheduler.who_works("p") == {"running": {}, "connected": ["host-v"]}
