"""The pages in a real browser: Chromium of the system, driven by playwright-core, judged by axe-core."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ON_CI
from tests.web.example_site import as_json

SCRIPT = Path(__file__).with_name("walk.mjs")
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


def test_a_reader_walks_through_all_pages(server, example, packages):
    command = ["node", str(SCRIPT), server.address, as_json(example), str(packages)]
    command += [os.environ["ASTRA_SCREENSHOTS"]] if os.environ.get("ASTRA_SCREENSHOTS") else []
    environment = {**os.environ, "CHROMIUM": shutil.which("chromium")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=420, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["problems"] == []
    assert len(told["steps"]) >= 4 * 6
