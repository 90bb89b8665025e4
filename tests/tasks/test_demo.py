"""The demonstration, as a newcomer runs it: small, and once for all tests of this module."""

import itertools
import os
import re
import shlex
import sqlite3
import subprocess
import sys

import pytest

from astra.alerts.files import read_alerts
from astra.alerts.packet_checks import validate_alert
from tests.conftest import PROJECT

COMMAND = (
    sys.executable,
    "-m",
    "luigi",
    "--module",
    "astra",
    "Demo",
    "--scale",
    "small",
    "--local-scheduler",
)


def run_demo(place, *arguments):
    """Run the command in a folder, as from a shell."""
    environment = {k: v for k, v in os.environ.items() if k not in {"ASTRA_ROOT", "ASTRA_DATABASE_URL"}}
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=place,
        env={**environment, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a space in its name."""
    folder = tmp_path_factory.mktemp("demo") / "a folder"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def first(place):
    """The first run."""
    return run_demo(place)


def query(place, text):
    with sqlite3.connect(place / "astra-demo" / "astra.db") as connection:
        return connection.execute(text).fetchall()


def test_demo_does_all_tasks_and_says_so(first, place):
    assert first.returncode == 0, first.stdout + first.stderr
    total, done, failed, blocked = map(
        int, re.search(r"(\d+) tasks: (\d+) done, (\d+) failed, (\d+) blocked", first.stdout).groups()
    )
    assert (done, failed, blocked) == (total, 0, 0)
    assert query(place, "SELECT count(*) FROM task WHERE batch_size IS NULL AND status_code != 1") == [(0,)]
    families = {family for (family,) in query(place, "SELECT DISTINCT family FROM task")}
    chain = {"IngestRaws", "CombineBias", "CombineDark", "CombineFlat", "DefineVisits", "ProcessCcd"}
    chain |= {"BuildTemplate", "GetTemplate", "DiffIm", "Associate", "PackageAlerts", "ApNight"}
    chain |= {"SignalToNoise", "RadialVelocity", "CombineVisits", "TheCannon", "ExportResults"}
    assert chain <= families


def test_no_detector_is_done_twice(first, place):
    assert first.returncode == 0
    again = query(
        place,
        "SELECT family, count(*) FROM task JOIN task_attempt ON task_attempt.task_pk = task.pk "
        "WHERE batch_size IS NULL GROUP BY task.pk HAVING count(*) > 1",
    )
    assert again == []


def test_demo_writes_its_folder_only(first, place):
    assert first.returncode == 0
    assert [path.name for path in place.iterdir()] == ["astra-demo"]
    assert "Traceback" not in first.stderr
    assert "Luigi Execution Summary" in (place / "astra-demo" / "logs" / "demo.log").read_text()


def test_demo_recovers_the_transients(first, place):
    found, injected = map(int, re.search(r"(\d+) of (\d+) injected transients", first.stdout).groups())
    assert injected >= 10
    assert found >= 0.95 * injected
    n_false = int(re.search(r"(\d+) alerts of the last night where nothing", first.stdout).group(1))
    assert n_false <= 0.2 * found


def test_every_alert_of_demo_is_valid(first, place):
    alerts = [a for path in (place / "astra-demo" / "alerts").glob("*.avro") for a in read_alerts(path)]
    for alert in alerts:
        validate_alert(alert)
    assert f"{len(alerts)} alerts written (all satisfy their schema)" in first.stdout
    assert len(alerts) > 20


def test_objects_of_demo_have_light_curves_and_bodies_are_known(first, place):
    longest = query(place, "SELECT max(nDiaSources) FROM DiaObject WHERE validityEndMjdTai IS NULL")[0][0]
    assert longest >= 3
    assert query(place, "SELECT count(DISTINCT ssObjectId) FROM DiaSource WHERE ssObjectId > 0")[0][0] >= 1


def test_velocities_of_demo_are_those_that_were_simulated(first):
    number, error = map(
        int, re.search(r"(\d+) velocities of stars measured, to (\d+) m/s", first.stdout).groups()
    )
    assert number == 6
    assert error < 500


def test_progress_of_demo_has_plain_lines(first):
    lines = first.stderr.splitlines()
    assert lines[0].startswith("astra demo: night 2026-11-20 (simulated, seed 42)")
    assert all(re.match(r"\[\d\d:\d\d\] \w+ \d+/\d+", line) for line in lines[1:])
    assert "\x1b" not in first.stdout + first.stderr
    seconds = [int(line[1:3]) * 60 + int(line[4:6]) for line in lines[1:-1]]
    assert all(later - earlier >= 4 for earlier, later in itertools.pairwise(seconds))


def test_the_next_commands_of_demo_work(first, place):
    [status, *others] = [line[9:] for line in first.stdout.splitlines() if line.startswith(("Next", " " * 9))]
    assert len(others) == 2
    assert status == "astra --root astra-demo status"
    words = [sys.executable, "-m", "astra.cli", *status.split()[1:]]
    result = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "PackageAlerts" in result.stdout


def test_a_second_run_has_nothing_to_do(first, place):
    assert first.returncode == 0
    before = query(place, "SELECT count(*) FROM task_attempt")
    again = run_demo(place)
    assert again.returncode == 0
    assert "tasks already done - nothing to do (use --fresh to start over)" in again.stdout
    assert re.search(r"\d+ of \d+ injected transients", again.stdout)
    assert again.stderr == ""
    assert query(place, "SELECT count(*) FROM task_attempt") == before


def test_the_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "astra-demo").mkdir()
    (tmp_path / "astra-demo" / "astra.db").write_bytes(b"precious")
    result = run_demo(tmp_path)
    assert result.returncode != 0
    assert "no demonstration has made it" in result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / "astra-demo" / "astra.db").read_bytes() == b"precious"
    assert len(list((tmp_path / "astra-demo").iterdir())) == 1


def test_what_fails_is_named_with_the_command_that_runs_just_that(first, place):
    """A raw frame that is cut off: it is refused, and taken once it is whole again."""
    assert first.returncode == 0
    [dark] = (place / "astra-demo" / "simulation" / "raw").glob("*_09004_0.fits")
    content = dark.read_bytes()
    dark.write_bytes(content[:5000])
    result = run_demo(place)
    dark.write_bytes(content)
    assert result.returncode == 30, result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert re.search(r"[1-9]\d* failed", result.stdout)
    failed = re.search(r"Failed   (\w+)\n  reason (.+)\n  log    (.+)\n  again  (.+)\n", result.stdout)
    assert failed, result.stdout
    assert dark.name in failed.group(2)
    assert "astra-demo/logs/demo.log" in failed.group(3)
    variable, luigi, *words = shlex.split(failed.group(4))
    assert (variable, luigi) == ("ASTRA_ROOT=astra-demo", "luigi")
    again = subprocess.run(
        [sys.executable, "-m", "luigi", *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "ASTRA_ROOT": "astra-demo"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert again.returncode == 0, again.stderr
    states = dict(query(place, "SELECT task_id, status_code FROM task"))
    assert states[failed.group(1)] == 1
    whole = run_demo(place)
    assert whole.returncode == 0, whole.stdout
    assert re.search(r" 0 failed, 0 blocked|nothing to do", whole.stdout)
