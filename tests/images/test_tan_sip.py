import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from numpy.polynomial.polynomial import polyval2d
from star_field import make_wcs

from astra.images.tan_sip import (
    approximate_tan_sip,
    deproject_gnomonic,
    fit_tan_sip,
    grid_positions,
    project_gnomonic,
)

SHAPE = 600, 900


def bent_sky(wcs):
    """A mapping with cubic distortion of some pixels at the corners."""

    def to_sky(x, y):
        u, v = (x - 450) / 450, (y - 300) / 450
        ra, dec = wcs.all_pix2world(x + 3.0 * u * v + 2.0 * u**3, y - 2.0 * v**2 + u * u * v, 0)
        return np.asarray(ra), np.asarray(dec)

    return to_sky


def separation_mas(ra, dec, ra2, dec2):
    return SkyCoord(ra, dec, unit="deg").separation(SkyCoord(ra2, dec2, unit="deg")).mas


@pytest.mark.parametrize(
    ("ra0", "dec0"), [(10.0, -25.0), (0.01, 0.0), (359.99, 60.0), (120.0, 90.0), (5.0, -89.9)]
)
def test_distorted_sky_is_reproduced_everywhere(ra0, dec0):
    to_sky = bent_sky(make_wcs(SHAPE, ra0, dec0))
    wcs = approximate_tan_sip(to_sky, order=3, shape=SHAPE)
    x, y = np.random.default_rng(0).uniform(0, [[899], [599]], (2, 300))
    assert separation_mas(*wcs.all_pix2world(x, y, 0), *to_sky(x, y)).max() < 0.1


def test_inverse_polynomials_undo_the_distortion():
    wcs = approximate_tan_sip(bent_sky(make_wcs(SHAPE)), order=3, shape=SHAPE)
    x, y = grid_positions(SHAPE, 9)
    u, v = x + 1 - wcs.sip.crpix[0], y + 1 - wcs.sip.crpix[1]
    bent_u, bent_v = u + polyval2d(u, v, wcs.sip.a), v + polyval2d(u, v, wcs.sip.b)
    assert np.abs(bent_u - u).max() > 1.0
    assert bent_u + polyval2d(bent_u, bent_v, wcs.sip.ap) == pytest.approx(u, abs=0.02)
    assert bent_v + polyval2d(bent_u, bent_v, wcs.sip.bp) == pytest.approx(v, abs=0.02)


def test_solution_survives_a_header():
    wcs = approximate_tan_sip(bent_sky(make_wcs(SHAPE)), order=3, shape=SHAPE)
    again = WCS(wcs.to_header(relax=True))
    x, y = grid_positions(SHAPE, 9)
    assert separation_mas(*again.all_pix2world(x, y, 0), *wcs.all_pix2world(x, y, 0)).max() < 0.1


@pytest.mark.parametrize(("amplitude", "order"), [(0.0, 3), (3.0, 5)])
def test_the_degree_is_raised_as_far_as_needed(amplitude, order):
    cubic, plain = bent_sky(make_wcs(SHAPE)), make_wcs(SHAPE)

    def to_sky(x, y):
        u, v = (x - 450) / 450, (y - 300) / 450
        if amplitude == 0.0:
            return cubic(x, y)
        return plain.all_pix2world(x + amplitude * u**5, y - amplitude * u**3 * v**2, 0)

    wcs = approximate_tan_sip(to_sky, order=3, shape=SHAPE, max_order=6)
    assert wcs.sip.a_order == order
    x, y = np.random.default_rng(0).uniform(0, [[899], [599]], (2, 300))
    assert separation_mas(*wcs.all_pix2world(x, y, 0), *to_sky(x, y)).max() < 0.5
    assert approximate_tan_sip(to_sky, order=3, shape=SHAPE, max_order=4).sip.a_order <= 4


def test_weights_decide_between_points_that_disagree():
    wcs = make_wcs(SHAPE)
    x, y = grid_positions(SHAPE, 6)
    ra, dec = wcs.all_pix2world(x, y, 0)
    wrong = np.arange(x.size) % 3 == 0
    fitted = fit_tan_sip(
        x, y, ra, dec + 1e-3 * wrong, order=1, shape=SHAPE, weights=np.where(wrong, 1e-6, 1.0)
    )
    assert separation_mas(*fitted.all_pix2world(x, y, 0), ra, dec).max() < 0.1


def test_fewer_points_than_terms_are_refused():
    three = np.array([0.0, 1.0, 0.0])
    with pytest.raises(ValueError, match="needs at least 6 points, found 3"):
        fit_tan_sip(three, three, three, three, order=2, shape=SHAPE)


def test_projection_and_its_inverse_round_trip_across_ra_zero_and_the_pole():
    ra = np.array([359.9, 0.1, 90.0, 200.0])
    for dec0 in (0.0, 45.0, 89.95):
        dec = np.full(4, dec0)
        keep = np.isfinite(project_gnomonic(ra, dec, 0.0, dec0)[0])
        back = deproject_gnomonic(*project_gnomonic(ra[keep], dec[keep], 0.0, dec0), 0.0, dec0)
        assert separation_mas(*back, ra[keep], dec[keep]).max() < 1e-3


def test_points_on_the_far_hemisphere_have_no_projection():
    assert np.isnan(project_gnomonic(np.array([180.0]), np.array([0.0]), 0.0, 0.0)).all()
