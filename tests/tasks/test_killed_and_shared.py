"""Killed runs end complete when run again; several processes give the rows of one.

That PostgreSQL holds them too is told by four hosts, which share one.
"""

import os
import subprocess
import sys

import pytest

from tests.conftest import PROJECT
from tests.tasks.night import rows, sqlite_rows, states

KILLED = "tests.tasks.killed"


@pytest.mark.parametrize(
    "place",
    [
        "half_written_template",
        "half_written_difference",
        "uncommitted_association",
        "unrecorded_association",
    ],
)
def test_a_killed_run_is_completed_by_the_next(processed_root, begun, night, run_luigi, place):
    astra_root = begun("differenced" if place.endswith("association") else "calibrated")
    arguments = ["ApPipe", *night.arguments()]
    killed = run_luigi(*arguments, module=KILLED, env={"KILL_AT": place})
    assert killed.returncode == -9, killed.stderr
    assert rows(astra_root, "SELECT count(*) FROM apdb_marker") < [(4,)]
    if place == "half_written_difference":
        assert len(list(astra_root.rglob("diffexp.fits"))) == 1
        assert list(states(astra_root, "DiffIm").values()).count("done") <= 1
    again = run_luigi(*arguments)
    assert again.returncode == 0, again.stderr
    assert sqlite_rows(astra_root) == sqlite_rows(processed_root)
    for family in ("BuildTemplate", "GetTemplate", "PackageAlerts"):
        assert set(states(astra_root, family).values()) == {"done"}
    assert not list(astra_root.rglob(".tmp*"))
    query = "SELECT kind, size, checksum FROM data_product WHERE kind NOT IN ({}) ORDER BY kind, checksum"
    digests = query.format("'alerts', 'qa'")  # with wall-clock times, and not drawn by all
    assert rows(astra_root, digests) == rows(processed_root, digests)


def test_two_workers_of_a_central_scheduler_give_the_same_rows(processed_root, begun, night, luigid):
    astra_root = begun("calibrated")
    command = [sys.executable, "-m", "luigi", "--module", "astra", "ApPipe", *night.arguments(), "--no-lock"]
    command += ["--scheduler-port", str(luigid), "--worker-keep-alive", "--worker-wait-interval", "1"]
    # With the kernels that are compiled already: another cache would have each process compile them all.
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "ASTRA_ROOT": str(astra_root)}
    processes = [
        subprocess.Popen(
            command,
            cwd=astra_root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sqlite_rows(astra_root) == sqlite_rows(processed_root)
    assert set(states(astra_root, "ApPipe").values()) == {"done"}
