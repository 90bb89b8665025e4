import numpy as np
import pytest

from astra.simulation.camera import PsfField, paint_galaxies, paint_stars

SHAPE = (120, 160)


def paint(x, y, flux, **changes):
    image = np.zeros(SHAPE)
    psf = PsfField(**({"fwhm_pixel": 3.0, "shape": SHAPE} | changes))
    paint_stars(image, np.atleast_1d(x), np.atleast_1d(y), np.atleast_1d(flux), psf)
    return image


@pytest.mark.parametrize(("x", "y"), [(80.0, 60.0), (80.5, 60.5), (71.234, 53.9), (30.01, 90.49)])
def test_flux_in_is_flux_out(x, y):
    assert paint(x, y, 1000.0).sum() == pytest.approx(1000.0, rel=1e-4)


def test_the_centroid_is_where_the_star_is():
    image = paint(71.3, 53.8, 1.0)
    yy, xx = np.indices(SHAPE)
    assert (image * xx).sum() / image.sum() == pytest.approx(71.3, abs=1e-4)
    assert (image * yy).sum() / image.sum() == pytest.approx(53.8, abs=1e-4)


@pytest.mark.parametrize("fwhm", [2.6, 3.4, 5.0])
def test_a_star_is_a_moffat_profile_of_the_width_asked_for(fwhm):
    image = paint(
        80.0, 60.0, 1.0, fwhm_pixel=fwhm, e1=0.0, e2=0.0, fwhm_curvature=0.0, e1_slope=0.0, e2_slope=0.0
    )
    alpha = 0.5 * fwhm / np.sqrt(2 ** (1 / 3.5) - 1)
    radius = np.hypot(*np.ogrid[-60:60, -80:80])
    moffat = 2.5 / (np.pi * alpha**2) * (1 + (radius / alpha) ** 2) ** -3.5
    within = radius < 4 * fwhm
    assert np.abs(image - moffat)[within].max() < 0.03 * moffat.max()
    assert image[radius < 2 * fwhm].sum() == pytest.approx(moffat[radius < 2 * fwhm].sum(), abs=0.015)


def test_the_psf_varies_over_the_field():
    middle, corner = paint(80.0, 60.0, 1.0), paint(20.0, 20.0, 1.0)
    assert corner.max() < 0.97 * middle.max()


def test_sources_outside_shine_in_only_by_their_wings():
    assert paint(-3.0, 60.0, 1.0).sum() < 0.2
    assert paint(-3.0, 60.0, 1.0).sum() > 0.001
    assert not paint(-300.0, 60.0, 1.0).any()
    assert not paint(80.0, 1000.0, 1.0).any()


def test_sources_add_up():
    both = paint([30.0, 34.0], [40.0, 41.0], [5.0, -2.0])
    np.testing.assert_allclose(both, paint(30.0, 40.0, 5.0) + paint(34.0, 41.0, -2.0), atol=1e-12)


def test_a_galaxy_keeps_its_flux_and_its_direction():
    image = np.zeros(SHAPE)
    shapes = np.array([(4.0, 0.5, 0.0)], dtype=[("scale", float), ("e1", float), ("e2", float)])
    psf = PsfField(3.0, SHAPE)
    paint_galaxies(image, np.array([80.2]), np.array([60.7]), np.array([700.0]), shapes=shapes, psf=psf)
    assert image.sum() == pytest.approx(700.0, rel=1e-4)
    yy, xx = np.indices(SHAPE)
    spread_x = (image * (xx - 80.2) ** 2).sum()
    spread_y = (image * (yy - 60.7) ** 2).sum()
    assert spread_x > 1.5 * spread_y
