"""The pages in a real browser: Chromium of the system, driven by playwright-core, judged by axe-core."""

import json
import os
import shutil
import subprocess
import urllib.parse
from dataclasses import replace
from pathlib import Path

import pytest

from astra.scheduler.durable import DurableScheduler
from tests.conftest import ON_CI
from tests.web.conftest import Server
from tests.web.example_site import as_json

SCRIPT, VISUALISER = (Path(__file__).with_name(name) for name in ("walk.mjs", "visualiser.mjs"))
PACKAGES = ("playwright-core@1", "axe-core@4")
PROGRAMS = ("node", "npm", "chromium")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with the packages of npm."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing and ON_CI:
        pytest.fail(f"{', '.join(missing)} must be installed: apt-get install chromium nodejs npm")
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    folder = tmp_path_factory.mktemp("npm")
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save", *PACKAGES]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode and not ON_CI:
        pytest.skip(f"npm reaches no registry: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    return folder


def drive(script, *words):
    """Let a script drive the browser; return what it tells."""
    command = ["node", str(script), *map(str, words)]
    command += [os.environ["ASTRA_SCREENSHOTS"]] if os.environ.get("ASTRA_SCREENSHOTS") else []
    environment = {**os.environ, "CHROMIUM": shutil.which("chromium")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=420, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_reader_walks_through_all_pages(server, example, packages):
    told = drive(SCRIPT, server.address, as_json(example), packages)
    assert told["problems"] == []
    assert len(told["steps"]) >= 4 * 6


def test_luigis_page_and_the_page_of_a_task_lead_to_each_other(example, packages):
    made = Server(example.url, example.root, scheduler=DurableScheduler())
    try:
        made.application.settings["site"] = replace(made.site, scheduler_url=made.address)
        needed = {"task_id": example.done, "status": "DONE", "family": "ProcessCcd"}
        running = {
            "task_id": example.failed, "status": "RUNNING", "family": "DiffIm", "deps": [example.done],
            "tracking_url": f"{made.address}/task/{example.failed}",
        }  # fmt: skip
        for task in (needed, running | {"status": "PENDING"}, running):
            data = urllib.parse.urlencode({"data": json.dumps({"worker": "reader", "params": {}, **task})})
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            assert made.ask("/api/add_task", "POST", data.encode(), headers)[0].status == 200
        assert drive(VISUALISER, made.address, example.failed, packages)["problems"] == []
    finally:
        made.stop()
