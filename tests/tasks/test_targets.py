"""Rows of a result table as the target of a task."""

import pytest

from astra.database.models.spectra import SignalToNoise
from astra.errors import MissingDataError
from astra.tasks.targets import DatabaseTarget
from tests.tasks.test_engine import rows
from tests.tasks.toy_tasks import Toy

ROW = {
    "row_index": 0,
    "product": "apStar",
    "path": "a.fits",
    "file_size": 1,
    "file_modified_ns": 2,
    "kind": "coadd",
    "flags": 0,
    "snr": 51.5,
    "n_pixels": 10,
    "n_good": 9,
}


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request, astra_root, monkeypatch):
    if request.param == "postgresql":
        monkeypatch.setenv("ASTRA_DATABASE_URL", request.getfixturevalue("postgresql_url"))
    return DatabaseTarget(SignalToNoise, Toy(number=1))


def test_asking_creates_nothing(astra_root):
    target = DatabaseTarget(SignalToNoise, Toy(number=1))
    assert not target.exists()
    assert target.read() == []
    assert rows(astra_root, "SELECT count(*) FROM task") == [(0,)]


def test_rows_are_written_read_and_replaced(target):
    target.write(ROW)
    assert target.exists()
    [row] = target.read()
    assert {name: row[name] for name in ROW} == ROW
    target.write([{**ROW, "snr": 7.0}, {**ROW, "row_index": 1}])
    assert [row["snr"] for row in target.read()] == [7.0, 51.5]


def test_rows_of_another_task_can_be_shared(target):
    other = DatabaseTarget(SignalToNoise, Toy(number=2))
    with pytest.raises(MissingDataError, match="has no rows to copy"):
        target.copy_from(other)
    other.write(ROW)
    target.copy_from(other)
    assert target.read() == other.read()
