import numpy as np
from astropy.table import Table

from astra.sky.ephemerides import expected_from_orbits
from astra.tasks.solar_system import expected_bodies

MJD = 61364.25
ORBITS = {
    "ssObjectId": [1, 2], "q": [2.0, 2.5], "e": [0.1, 0.2], "inclination": [5.0, 9.0], "node": [10.0, 80.0],
    "argPeri": [30.0, 200.0], "tPeri": [61000.0, 61500.0],
}  # fmt: skip


def test_orbits_are_seen_from_where_the_camera_stands(tmp_path):
    Table(ORBITS).write(tmp_path / "orbits.fits")
    found = expected_bodies("decam", 5, MJD, orbits=str(tmp_path / "orbits.fits"))
    centre = expected_from_orbits(Table(ORBITS).as_array(), MJD)
    shift = np.hypot(found["ra"] - centre["ra"], found["dec"] - centre["dec"]) * 3600
    assert ((shift > 0.05) & (shift < 9.0)).all()


def test_a_body_of_both_tables_is_taken_from_the_ephemeris(tmp_path):
    Table(ORBITS).write(tmp_path / "orbits.fits")
    Table({"ssObjectId": [2, 3], "visit": [5, 6], "ra": [1.0, 2.0], "dec": [3.0, 4.0]}).write(
        tmp_path / "e.fits"
    )
    files = str(tmp_path / "e.fits"), str(tmp_path / "orbits.fits")
    found = expected_bodies("simcam", 5, MJD, *files)
    assert sorted(found["ssObjectId"].tolist()) == [1, 2]
    assert found["ra"][found["ssObjectId"] == 2].tolist() == [1.0]
    assert expected_bodies("simcam", 5, MJD) is None
