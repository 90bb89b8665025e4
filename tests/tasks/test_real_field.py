"""ApPipe on the real field of Stripe 82, as the README runs it: the moving object becomes an alert."""

import os
from pathlib import Path

import numpy as np
import pytest

from astra.alerts.files import read_alerts
from astra.images.exposure import magnitude_ab
from astra.instruments.sdss import SdssCamera
from astra.sky.regions import contains, decode_polygon
from tests.conftest import PROJECT
from tests.tasks.night import rows

# Position [deg], AB magnitude and least S/N of the object that was in the field in 2003 alone.
MOVING = {
    419220300: (351.70379, 0.19755, 20.47, 28.0),
    419210300: (351.70340, 0.19742, 20.95, 21.0),
}


@pytest.fixture(scope="module")
def real_root(shared_data, tmp_path_factory, warm_interpreter):
    """A root in which ApPipe has run on both bands, from the command line."""
    root = tmp_path_factory.mktemp("real")
    field = shared_data / "sdss_s82"
    command = [
        "--module",
        "astra",
        "ApPipe",
        "--local-scheduler",
        "--instrument",
        "sdss",
        "--raw",
        str(field),
    ]
    command += ["--visit", "[419220300, 419210300]", "--detector", "4"]
    command += ["--template-visits", '["637720399", "637710399"]']
    command += ["--reference-catalog", str(field / "ref_cat" / "stars.fits")]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "ASTRA_ROOT": str(root)}
    done = warm_interpreter.run(command, cwd=root, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.parametrize("visit", list(MOVING))
def test_the_moving_object_is_found(real_root, visit):
    ra, dec, magnitude, least_snr = MOVING[visit]
    query = f"SELECT ra, dec, psfFlux, snr, isNegative FROM DiaSource WHERE visit = {visit}"  # noqa: S608
    sources = np.array(rows(real_root, query), dtype=float)
    distance = np.hypot((sources[:, 0] - ra) * np.cos(np.deg2rad(dec)), sources[:, 1] - dec) * 3600.0
    nearest = sources[np.argmin(distance)]
    assert distance.min() < 0.5
    assert abs(magnitude_ab(nearest[2]) - magnitude) < 0.10
    assert nearest[3] >= least_snr
    assert not nearest[4]


@pytest.mark.parametrize("visit", list(MOVING))
def test_every_detection_of_the_real_field_has_an_alert(real_root, visit):
    [(count,)] = rows(real_root, f"SELECT count(*) FROM DiaSource WHERE visit = {visit}")  # noqa: S608
    alerts = read_alerts(real_root / "alerts" / f"{visit}_4.avro")
    assert len(alerts) == count > 0
    assert all(alert["diaSource"]["visit"] == visit for alert in alerts)


def test_times_are_those_of_the_rows_of_a_drift_scan(real_root):
    query = "SELECT y, midpointMjdTai FROM DiaSource WHERE visit = 419220300 ORDER BY y"
    y, time = np.array(rows(real_root, query)).T
    assert np.allclose(np.diff(time) * 86400.0, np.diff(y) * 0.026322, atol=1e-3)
    assert 52931.0 < time.min() < time.max() < 52931.5


def test_the_two_bands_are_287_seconds_apart(real_root):
    query = "SELECT band, avg(begin_mjd_tai) FROM visit WHERE visit IN (419220300, 419210300) GROUP BY band"
    begins = dict(rows(real_root, query))
    assert (begins["g"] - begins["r"]) * 86400.0 == pytest.approx(287.0, abs=1.0)


@pytest.mark.parametrize("visit", list(MOVING))
def test_the_visit_holds_its_frame_with_the_margin(real_root, visit):
    query = f"SELECT path FROM raw WHERE exposure = {visit} AND detector = 4"  # noqa: S608
    [(path,)] = rows(real_root, query)
    [frame] = SdssCamera().read_frames(Path(path))
    tables = ("visit", "visit_detector_region")
    regions = [
        decode_polygon(rows(real_root, f"SELECT region FROM {table} WHERE visit = {visit}")[0][0])  # noqa: S608
        for table in tables
    ]
    ra, dec = frame.corners.T
    middle_ra, middle_dec = ra.mean(), dec.mean()
    for margin_pixel, is_inside in ((0, True), (250, True), (500, False)):
        further = margin_pixel * 0.396 / 3600
        # The field lies within a degree of the equator: degrees are as long in both directions.
        around = ra + further * np.sign(ra - middle_ra), dec + further * np.sign(dec - middle_dec)
        assert all((contains(region, *around) == is_inside).all() for region in regions)
