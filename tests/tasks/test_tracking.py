"""The scheduler's page links a task to its own page, and that costs the task nothing of what it needs."""

import json
import urllib.parse

import pytest

from astra.errors import ConfigError
from astra.tasks.tracking import page_of_task, report_page
from tests.products.synthetic_spectra import write_spec
from tests.scheduler.conftest import Server

PAGES = "http://127.0.0.1:8080"


class Reports:
    """A scheduler that keeps what it is told."""

    def __init__(self, *, is_bulk):
        self.is_bulk, self.told = is_bulk, []

    def add_task(self, **report):
        self.told.append(report)


def test_only_our_scheduler_is_told(astra_option):
    astra_option("web_url", f"{PAGES}/")
    stock, ours = Reports(is_bulk=False), Reports(is_bulk=True)
    for scheduler in (stock, ours, object()):
        report_page(scheduler, "w", "A_b/c")
    assert stock.told == []
    address = f"{PAGES}/task/A_b%2Fc"
    assert ours.told == [{"task_id": "A_b/c", "worker": "w", "status": "RUNNING", "tracking_url": address}]


def test_without_an_address_nobody_is_told(astra_option):
    ours = Reports(is_bulk=True)
    report_page(ours, "w", "A_b")
    assert ours.told == []
    astra_option("web_url", "javascript:alert(1)")
    with pytest.raises(ConfigError, match="must be an address"):
        page_of_task("A_b")


def test_a_task_that_has_run_links_to_its_page(tmp_path, run_luigi):
    path = tmp_path / "spec-1-2-3.fits"
    write_spec(path)
    (tmp_path / "luigi.cfg").write_text(f"[astra]\nweb_url = {PAGES}\n[resources]\ndisk = 1\n")
    central = Server(tmp_path)
    central.start()
    try:
        done = run_luigi(
            "SignalToNoise", "--path", path, "--product", "spec", "--scheduler-url", central.url,
            local=False, env={"ASTRA_ROOT": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        listed = central.call("task_list", status="DONE")
    finally:
        central.stop()
    links = {task_id: task["tracking_url"] for task_id, task in listed.items()}
    assert any(task_id.startswith("SignalToNoise") for task_id in links)
    for task_id, task in listed.items():
        if task_id.startswith("SignalToNoise"):
            assert links[task_id] == f"{PAGES}/task/{urllib.parse.quote(task_id)}"
            assert task["params"]["product"] == "spec", json.dumps(task)
