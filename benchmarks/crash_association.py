"""Kill Associate and PackageAlerts at random moments of a night of three visits, and run two at once.

    python benchmarks/crash_association.py [--kills 20] [--seed 1]

Every trial starts from the night's difference images, is killed once (SIGKILL to the process and its
children) a random time after a random one of its associations and files, and is completed by a further run;
then two runs go at once on one database. The tables and the packets must be those of a run that nothing
disturbed, wall-clock times aside.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import astra.simulation.night
from tests.tasks.association_worker import packets
from tests.tasks.night import rows, sqlite_rows

PROJECT = Path(__file__).resolve().parents[1]
N_VISITS = 3
DETECTORS = (0, 1)
MAX_DELAY_S = 0.3  # longer than a detector takes


def arguments(family, night, raw):
    """Command line of a task on all detectors of the night."""
    pairs = [(visit, detector) for visit in night.science_visits for detector in DETECTORS]
    columns = {"visit": [visit for visit, _ in pairs], "detector": [detector for _, detector in pairs]}
    values = {
        "instrument": "simcam",
        "raw": raw,
        "template-visits": "^".join(map(str, night.template_visits)),
        "reference-catalog": str(night.reference_catalog_path),
        **{name: json.dumps([str(value) for value in column]) for name, column in columns.items()},
    }
    return [family, *(part for name, value in values.items() for part in (f"--{name}", str(value)))]


def start(root, command):
    """Start Luigi on a root, in a process group of its own."""
    line = [sys.executable, "-m", "luigi", "--module", "astra", *command, "--local-scheduler", "--no-lock"]
    environment = {**os.environ, "ASTRA_ROOT": str(root), "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(
        line, cwd=root, env=environment, start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def finish(root, command):
    """Run Luigi to its end."""
    if start(root, command).wait() != 0:
        raise SystemExit(f"{command[0]} failed in {root}; ASTRA_ROOT={root} astra status says why")


def progress(root):
    """Numbers of detectors that are associated, and that are packaged."""
    [(n_markers,)] = rows(root, "SELECT count(*) FROM apdb_marker")
    return n_markers, len(list((root / "alerts").glob("[0-9]*.avro")))


def outcome(root):
    """Rows of the tables and packets."""
    return sqlite_rows(root), packets(root / "alerts")


def killed(base, root, last, moment, expected):
    """Kill a run so many steps and seconds on, complete it, and say whether that made a difference."""
    n_steps, delay_s = moment
    shutil.copytree(base, root)
    process = start(root, last)
    while process.poll() is None and sum(progress(root)) < n_steps:
        time.sleep(0.002)
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    n_markers, n_files = progress(root)
    finish(root, last)
    same = outcome(root) == expected
    verdict = "as the clean run" if same else "DIFFERENT"
    print(
        f"killed with {n_markers} associated, {n_files} packaged, {delay_s:.3f} s on; {verdict}", flush=True
    )
    shutil.rmtree(root)
    return not same


def two_at_once(base, root, last, expected):
    """Run two on one database, and say whether that made a difference."""
    shutil.copytree(base, root)
    codes = [process.wait() for process in [start(root, last) for _ in range(2)]]
    finish(root, last)
    same = outcome(root) == expected
    print(f"two at once (exit status {codes}): {'as the clean run' if same else 'DIFFERENT'}")
    return not same


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    astra.simulation.night.N_SCIENCE_SHOTS = N_VISITS
    draw = random.Random(options.seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        night = astra.simulation.night.simulate_night(folder / "night", 7)
        raw = str(folder / "night" / "raw")
        last = arguments("PackageAlerts", night, raw)
        base, clean = folder / "base", folder / "clean"
        base.mkdir()
        finish(base, arguments("DiffIm", night, raw))
        shutil.copytree(base, clean)
        finish(clean, last)
        expected = outcome(clean)
        n_sources, n_steps = len(expected[0]["DiaSource"]), sum(progress(clean))
        print(f"{len(night.science_visits)} visits, {n_sources} sources")
        steps = [draw.randrange(n_steps) for _ in range(options.kills)]
        moments = [(step, draw.uniform(0.0, MAX_DELAY_S)) for step in steps]
        wrong = sum(killed(base, folder / "trial", last, moment, expected) for moment in moments)
        wrong += two_at_once(base, folder / "two", last, expected)
        print(f"{wrong} of {options.kills + 1} differ")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
