"""What docs/ shows is run as it stands there."""

import configparser
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tests.alerts.simple import packet, write
from tests.conftest import PROJECT
from tests.instruments.cameras import write_raw
from tests.tasks.night import rows

BLOCK = re.compile(r"^<!-- (?:file: (?P<name>\S+)|run) -->\n```\w+\n(?P<text>.*?)^```", re.M | re.S)


class Document:
    """The files and commands of a document, tried in a folder."""

    def __init__(self, name, folder):
        self.folder = folder
        self.commands = []
        for found in BLOCK.finditer((PROJECT / "docs" / name).read_text()):
            if found["name"]:
                (folder / found["name"]).write_text(found["text"])
            else:
                self.commands.append(found["text"])

    def run(self, command):
        """Run a command as a user in that folder would; return the completed process."""
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{self.folder}{os.pathsep}{PROJECT}",
            "ASTRA_ROOT": str(self.folder),
        }
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture
def document(astra_root):
    return lambda name: Document(name, astra_root)


def test_the_task_runs_on_one_and_as_a_batch(document, astra_root):
    for name, level in (("a", 110.0), ("b", 125.0), ("c", 90.0)):
        fits.PrimaryHDU(np.full((4, 6), level, np.float32)).writeto(astra_root / f"{name}.fits")
    task = document("task.md")
    single, batch, status, second = task.commands
    assert task.run(single).returncode == 0
    assert json.loads((astra_root / "brightness" / "a.json").read_text()) == {"median_adu": 110.0}
    done = task.run(batch)
    assert done.returncode == 0, done.stderr
    of_members = "SELECT count(*), sum(status_code) FROM task WHERE batch_size IS NULL"
    assert rows(astra_root, of_members) == [(3, 3)]
    attempts = "SELECT count(*) FROM task_attempt JOIN task ON task.pk = task_pk WHERE batch_size IS NULL"
    assert rows(astra_root, attempts) == [(3,)]  # what was done already is not done again
    assert rows(astra_root, "SELECT count(*) FROM data_product") == [(3,)]
    assert "MedianBrightness" in task.run(status).stdout
    assert task.run(second).returncode == 0
    assert json.loads((astra_root / "brightness" / "b-above-100.json").read_text()) == {"above_adu": 25.0}


def test_the_sink_takes_alerts_once_it_is_installed(document, astra_root):
    sink = document("sink.md")
    project = tomllib.loads((astra_root / "pyproject.toml").read_text())["project"]
    # What pip makes of it, without a build.
    installed = configparser.ConfigParser()
    installed.read_dict(project["entry-points"])
    information = astra_root / "json_lines_sink-1.0.dist-info"
    information.mkdir()
    with (information / "entry_points.txt").open("w") as stream:
        installed.write(stream)
    (information / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    write(astra_root, [packet(7, 3), packet(8)])
    (command,) = sink.commands
    done = sink.run(command)
    assert done.returncode == 0, done.stderr
    (path,) = astra_root.rglob("alerts.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["diaSourceId"], line["diaObjectId"]) for line in lines] == [(7, 3), (8, None)]


def test_the_camera_of_the_document_is_read_and_ingested(document, astra_root):
    (astra_root / "raw").mkdir()
    for number in (12, 13):
        write_raw(astra_root / "raw" / f"t{number}.fits", SEQ=number)
    camera = document("instrument.md")
    check, listing, ingest = camera.commands
    assert "2026112000012" in camera.run(check).stdout
    assert "testcam" in camera.run(listing).stdout
    done = camera.run(f"set -e\n{ingest}")
    assert done.returncode == 0, done.stderr
    assert rows(astra_root, "SELECT visit, band FROM visit ORDER BY visit") == [
        (2026112000012, "r"),
        (2026112000013, "r"),
    ]


def test_documents_link_to_files_that_are_there():
    for path in (PROJECT / "docs").glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
            assert target.startswith("https://") or (path.parent / target).exists(), f"{path.name}: {target}"
