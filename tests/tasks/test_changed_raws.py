"""A raw frame that changes is processed again from the first step that it concerns, and nothing else is."""

import os
import sqlite3

import pytest
from astropy.io import fits

from tests.tasks.night import attempts, build, rows, sqlite_rows, states

STEPS = ("DefineVisits", "ProcessCcd", "DiffIm", "Associate", "PackageAlerts", "ApPipe")


@pytest.fixture
def raw(alone_with_night, processed_root, processed):
    """The raw frame of one visit and detector, which is put back afterwards."""
    connection = sqlite3.connect(processed / "astra.db")
    query = "SELECT path FROM raw WHERE exposure = ? AND detector = ?"
    [(path,)] = connection.execute(query, alone_with_night.pairs[0]).fetchall()
    # The inputs were recorded where they lay before the root was copied.
    moved = (str(processed_root), str(processed))
    connection.execute("UPDATE file_version SET path = replace(path, ?, ?)", moved)
    connection.commit()
    connection.close()
    status = os.stat(path)
    with open(path, "rb") as stream:
        content = stream.read()
    yield path
    with open(path, "wb") as stream:
        stream.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def runs_of(root, before):
    """How many attempts each step has had since."""
    now = attempts(root)
    return {step: now[step] - before[step] for step in STEPS}


def test_a_header_that_changes_no_result_ends_with_the_calibration(night, processed, raw):
    before, tables = attempts(processed), sqlite_rows(processed)
    with fits.open(raw, mode="update") as hdus:
        hdus[0].header["COMMENT"] = "edited later"
    task = night.pipeline()
    assert not task.complete()
    assert build(task)
    again = runs_of(processed, before)
    assert again["ProcessCcd"] == 1
    assert again["DiffIm"] == again["Associate"] == again["PackageAlerts"] == again["ApPipe"] == 0
    assert task.complete()
    assert sqlite_rows(processed) == tables


def test_pixels_that_change_go_through_all_steps(night, processed, raw):
    before = attempts(processed)
    with fits.open(raw, mode="update") as hdus:
        image = next(hdu for hdu in hdus if hdu.data is not None)
        image.data[40:60, 40:60] += image.data.dtype.type(3)
    task = night.pipeline()
    assert not task.complete()
    assert build(task)
    again = runs_of(processed, before)
    # What was found of the same sky later is associated again with it, and its alerts are packaged again.
    with_later = dict.fromkeys(["PackageAlerts", "ApPipe"], len(night.files.science_visits))
    expected = dict.fromkeys(STEPS[1:], 1) | with_later
    assert {step: number for step, number in again.items() if step != "DefineVisits"} == expected
    assert set(states(processed, "PackageAlerts").values()) == {"done"}
    [(n_duplicates,)] = rows(processed, 'SELECT count(*) - count(DISTINCT "diaSourceId") FROM "DiaSource"')
    assert n_duplicates == 0
    assert task.complete()
