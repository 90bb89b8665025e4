import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from astra.sky.proper_motion import move_stars


@pytest.mark.parametrize(("ra", "dec"), [(269.45, 4.69), (0.0001, 0.0), (359.9999, -70.0), (123.0, 89.999)])
@pytest.mark.parametrize("years", [-25.0, 0.0, 10.5])
def test_stars_move_as_astropy_moves_them(ra, dec, years):
    motion = -802.0, 10362.0  # Barnard's star [mas/yr]
    moved = move_stars(*(np.array([value]) for value in (ra, dec, *motion, years)))
    start = SkyCoord(ra * u.deg, dec * u.deg)
    east, north = (component * years / 3.6e6 for component in motion)
    wanted = start.directional_offset_by(np.arctan2(east, north) * u.rad, np.hypot(east, north) * u.deg)
    found = SkyCoord(moved[0] * u.deg, moved[1] * u.deg)
    # Their motion is uniform on the sphere, not in space: 0.14 mas apart after 260 arcsec.
    assert found.separation(wanted).mas[0] < 0.2
    assert 0.0 <= moved[0][0] < 360.0


def test_the_motion_in_ra_includes_the_cosine():
    ra, dec = move_stars(
        np.array([10.0]), np.array([60.0]), np.array([1000.0]), np.array([0.0]), np.array([3.6])
    )
    assert (ra[0] - 10.0) * np.cos(np.radians(60.0)) * 3600 == pytest.approx(3.6, rel=1e-6)
    assert dec[0] == pytest.approx(60.0, abs=1e-7)


def test_unknown_motions_move_nothing():
    nan = np.nan
    motions = np.array([nan, 5000.0, nan]), np.array([5000.0, nan, nan])
    ra, dec = move_stars(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]), *motions, np.full(3, 9.0))
    assert ra == pytest.approx([1.0, 2.0, 3.0], abs=1e-12)
    assert dec == pytest.approx([4.0, 5.0, 6.0], abs=1e-12)
    assert move_stars(*(np.zeros(0) for _ in range(5)))[0].shape == (0,)
