"""What the scheduler tells of itself: right figures, a safe page, at a small cost."""

import re
import time

import pytest

from astra.scheduler.durable import DurableScheduler
from astra.scheduler.health import MAX_WORKERS, duration, exposition, page
from astra.scheduler.journal import Journal
from astra.scheduler.metrics import Histogram
from astra.scheduler.server import HEALTH, with_link
from tests.scheduler.test_server import answer

LINE = re.compile(
    r'[a-z_]+(\{[a-z]+="(?:[^"\\\n]|\\["\\n])*"(,[a-z]+="(?:[^"\\\n]|\\["\\n])*")*\})? [-+0-9.einfEI]+'
)


def values(text):
    """The samples of an exposition, by name and labels; each line must be one or a comment."""
    found = {}
    for line in text.rstrip("\n").split("\n"):
        if line.startswith(("# HELP ", "# TYPE ")):
            continue
        assert LINE.fullmatch(line), line
        name, _, value = line.rpartition(" ")
        assert name not in found
        found[name.removeprefix("astra_scheduler_")] = float(value)
    return found


def busy(tmp_path=None, worker="w"):
    """A scheduler with one task in each state, and two that are ready."""
    scheduler = DurableScheduler(retry_count=2)
    if tmp_path is not None:
        scheduler.open_journal(Journal(tmp_path / "j", "always"))
    reports = [{"task_id": f"t{number}", "family": "F"} for number in range(5)]
    scheduler.add_tasks(
        worker, [*reports, {"task_id": "top", "deps": ["t4"]}, {"task_id": "x", "status": "DONE"}]
    )
    scheduler.add_worker(worker, {"workers": 3})
    given = scheduler.exchange_work(worker, host="h", n_wanted=3)
    for reply, status in zip(given, ("DONE", "FAILED"), strict=False):
        scheduler.add_tasks(worker, [{"task_id": reply["task_id"], "status": status, "run": reply["run"]}])
    scheduler.commit()
    return scheduler


def test_figures_are_those_of_the_tasks(tmp_path):
    scheduler = busy(tmp_path)
    found = values(exposition(scheduler.health()))
    assert {
        name: found[f'tasks{{status="{name}"}}'] for name in ("PENDING", "RUNNING", "DONE", "FAILED")
    } == {
        "PENDING": 3,
        "RUNNING": 1,
        "DONE": 2,
        "FAILED": 1,
    }
    assert found["ready_tasks"] == 2
    assert 0 < found["oldest_ready_seconds"] < 60
    events = ("given", "done", "found_done", "failed", "disabled")
    assert [found[f"tasks_{name}_total"] for name in events] == [3, 1, 1, 1, 0]
    assert found["wait_seconds_count"] == 3
    assert found['run_seconds_bucket{le="+Inf"}'] == found["run_seconds_count"] == 1
    assert found['workers{state="active"}'] == 1
    assert found['worker_running_tasks{worker="w",host="h"}'] == 1
    assert found["journal_bytes"] == (tmp_path / "j").stat().st_size
    assert found["journal_sync_seconds_count"] == found["journal_write_seconds_count"] > 0
    assert found["process_resident_memory_bytes"] > 1e6
    scheduler.close()


def test_the_oldest_that_is_ready_is_told_whatever_became_of_others():
    scheduler = DurableScheduler()
    assert scheduler.health().oldest_ready_s == 0.0
    scheduler.add_tasks("w", [{"task_id": "low", "priority": 0}])
    scheduler.health()
    since = scheduler._state.queue.oldest_since()
    for number in range(300):
        scheduler.add_tasks("w", [{"task_id": f"t{number}", "priority": 1}])
        assert scheduler.exchange_work("w")[0]["task_id"] == f"t{number}"
        scheduler.add_tasks("w", [{"task_id": f"t{number}", "status": "DONE"}])
    scheduler.add_tasks(
        "v", [{"task_id": "low", "priority": 3}]
    )  # another rank and kind, and no shorter wait
    scheduler.health()
    assert scheduler._state.queue.oldest_since() == since
    assert len(scheduler._state.queue._ages._since) < 100
    scheduler.exchange_work("v")
    assert scheduler.health().oldest_ready_s == 0.0


def test_a_silent_worker_is_told():
    scheduler = busy()
    scheduler.grant_leases(20.0)
    scheduler._state.get_worker("w").last_active = time.time() - 25.0
    scheduler.watch()
    found = values(exposition(scheduler.health()))
    assert found['workers{state="silent"}'] == found["leases_expired_total"] == found["runs_lost_total"] == 1
    assert found['worker_silent_seconds{worker="w",host="h"}'] == pytest.approx(25.0, abs=5.0)


def test_names_cannot_break_the_format_or_the_page():
    evil = 'w"\\\n<script>alert(1)</script>'
    scheduler = busy(worker=evil)
    assert any("\\n<script>" in name for name in values(exposition(scheduler.health())))
    html = page(scheduler.health())
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_many_workers_are_counted_and_some_are_listed():
    scheduler = DurableScheduler()
    for number in range(MAX_WORKERS + 5):
        scheduler.ping(worker=f"w{number}")
    found = values(exposition(scheduler.health()))
    assert found['workers{state="active"}'] == MAX_WORKERS + 5
    assert sum(name.startswith("worker_silent_seconds") for name in found) == MAX_WORKERS
    assert page(scheduler.health()).count('scope="row">w') == MAX_WORKERS


def test_a_look_costs_the_same_whatever_the_number_of_tasks():
    def cost(n_tasks):
        scheduler = DurableScheduler()
        scheduler.add_tasks("w", [{"task_id": f"t{number}"} for number in range(n_tasks)])
        exposition(scheduler.health())
        began = time.process_time()
        for _ in range(20):
            exposition(scheduler.health())
        return time.process_time() - began

    assert cost(20_000) < 3 * cost(20) + 0.02


def test_a_histogram_counts_what_is_at_its_bounds_below():
    histogram = Histogram((1.0, 2.0))
    for seconds in (0.5, 1.0, 1.5, 7.0):
        histogram.observe(seconds)
    assert list(histogram.cumulative()) == [(1.0, 2), (2.0, 3), (float("inf"), 4)]
    assert (histogram.quantile(0.5), histogram.quantile(1.0), Histogram().quantile(0.5)) == (1.0, 7.0, 0.0)


def test_rates_are_of_the_last_seconds(monkeypatch):
    from astra.scheduler import metrics

    now = [1000.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
    meter = DurableScheduler().meter
    for _ in range(100):
        meter.sample()
        meter.tasks["done"] += 10
        now[0] += 5.0
    assert meter.rate("done", 60.0) == pytest.approx(2.0)
    now[0] += 120.0
    assert meter.rate("done", 60.0) == 0.0
    assert len(meter._samples) == 61


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 ms"), (0.0123, "12.3 ms"), (3.0, "3 s"), (600.0, "10 min"), (7200.0, "2 h")],
)
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text


def test_pages_are_served_and_linked(central):
    central.call("add_task", worker="w", task_id="a")
    central.call("get_work", worker="w")
    response, html = answer(central, HEALTH)
    assert response.status == 200
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
    assert "RUNNING" in html
    sheet = re.search(r'href="(/astra/health\.css)"', html)[1]
    response, text = answer(central, sheet)
    assert (response.status, response.headers["Content-Type"]) == (200, "text/css; charset=UTF-8")
    assert "border-collapse" in text
    response, text = answer(central, "/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = values(text)
    assert found["tasks_given_total"] == 1
    assert found['call_seconds_count{method="get_work"}'] == 1
    assert f'<a href="{HEALTH}">' in answer(central, "/static/visualiser/index.html")[1]
    assert answer(central, "/static/visualiser/js/visualiserApp.js")[0].status == 200
    assert answer(central, HEALTH, Host="evil.example")[0].status == 403
    assert 'refused_requests_total{code="403"} 1' in answer(central, "/metrics")[1]


def test_the_line_over_luigis_page_tells_queue_rates_latency_and_workers(central):
    for number in range(3):
        central.call("add_task", worker="w", task_id=f"t{number}")
    central.call("get_work", worker="w")
    page_of_luigi = answer(central, "/static/visualiser/index.html")[1]
    source = re.search(r'<div class="content-wrapper"><iframe src="../..(/\S+)"', page_of_luigi)[1]
    response, html = answer(central, source)
    assert response.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert response.headers["Content-Security-Policy"].endswith("frame-ancestors 'self'")
    told = re.sub(r"<[^>]*>", " ", html.partition("<p>")[2])
    assert re.search(r"\b1 worker\b\s+2 ready for [\d.]+ m?s\s+1 running\s+0 done/s\s+0 failed/min", told)
    assert re.search(r"start after [\d.]+ m?s\s+calls [\d.]+ ms, 99 % [\d.]+ ms\s+Health", told)
    assert answer(central, HEALTH)[0].headers["X-Frame-Options"] == "DENY"


def test_a_page_that_has_changed_is_served_as_it_is():
    assert with_link("<p>another</p>") == "<p>another</p>"
