import numpy as np
import pytest

from astra.products.spectra import read_ap_visit
from astra.spectra.barycentric import SITES, barycentric_correction, site_of


def test_correction_is_the_earth_s_velocity_towards_the_target():
    jd = 2459000.0 + np.arange(0.0, 365.0, 5.0)
    ra, dec = np.full(jd.size, 270.0), np.full(jd.size, 66.56)
    on_pole = barycentric_correction(ra, dec, jd, SITES["apo25m"])
    assert np.abs(on_pole).max() < 0.6  # the ecliptic pole sees the rotation of the Earth alone
    in_plane = barycentric_correction(np.zeros(jd.size), np.zeros(jd.size), jd, SITES["lco25m"])
    assert 29.0 < in_plane.max() < 31.0
    assert -31.0 < in_plane.min() < -29.0
    opposite = barycentric_correction(np.full(jd.size, 180.0), np.zeros(jd.size), jd, SITES["lco25m"])
    assert in_plane + opposite == pytest.approx(0.0, abs=0.02)


def test_many_at_once_are_each_alone():
    rng = np.random.default_rng(1)
    ra, dec, jd = rng.uniform(0, 360, 20), rng.uniform(-80, 80, 20), rng.uniform(2456000, 2460000, 20)
    together = barycentric_correction(ra, dec, jd, SITES["apo25m"])
    alone = [barycentric_correction(*one, SITES["apo25m"])[0] for one in zip(ra, dec, jd, strict=True)]
    assert together == pytest.approx(alone, abs=1e-9)


def test_what_is_not_known_is_nan_and_the_future_is_not_refused():
    values = barycentric_correction(
        np.array([10.0, np.nan, 10.0, 10.0]),
        np.array([0.0, 0.0, 95.0, 0.0]),
        np.array([2459000.5, 2459000.5, 2459000.5, 2475000.5]),
        SITES["apo25m"],
    )
    assert np.isfinite(values).tolist() == [True, False, False, True]
    assert barycentric_correction(np.empty(0), np.empty(0), np.empty(0), SITES["apo25m"]).shape == (0,)


def test_telescopes_are_known_by_all_their_names():
    assert site_of("apo25m ") is SITES["apo25m"]
    assert site_of("SDSS 2.5-M") == SITES["apo25m"]
    assert site_of("LCO Du Pont") == SITES["lco25m"]
    assert site_of("Keck") is None


def test_headers_of_all_real_visits_are_met_within_10_m_per_s(shared_data):
    visits = [read_ap_visit(path) for path in sorted((shared_data / "apogee").glob("apVisit-*.fits"))]
    ra, dec = (np.array([visit.meta[key] for visit in visits]) for key in ("RA", "DEC"))
    jd = np.concatenate([visit.jd_mid for visit in visits])
    ours = barycentric_correction(ra, dec, jd, SITES["apo25m"])
    theirs = np.concatenate([visit.bc for visit in visits])
    assert len(visits) == 16
    assert np.abs(ours - theirs).max() < 0.010
