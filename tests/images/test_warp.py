import numpy as np
import pytest
from scipy import ndimage

from astra.errors import NoOverlapError
from astra.images.exposure import MASK_CR, MASK_INTRP, MASK_NO_DATA, MASK_SAT
from astra.images.warp import (
    make_pixel_map,
    warp_exposure,
    warp_noise_power,
)
from tests.images.difference_field import make_exposure, make_wcs

SHAPE = (120, 170)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def field(rng, noise=0.01, fwhm=3.5):
    stars = (rng.uniform(20, 150, 12), rng.uniform(20, 100, 12), rng.uniform(1e3, 1e4, 12))
    return make_exposure(rng, SHAPE, stars, fwhm, noise=noise, wcs=make_wcs(80, 60), photons=False), stars


def test_a_warp_is_that_of_scipy_at_the_mapped_places(rng):
    exposure, _ = field(rng, noise=5.0)
    wcs = make_wcs(83.3, 58.4, angle_deg=7.0, scale_arcsec=0.42)
    pixel_map = make_pixel_map(wcs, exposure.wcs, (90, 140))
    warped = warp_exposure(exposure, pixel_map, wcs)
    rows, columns = np.mgrid[:90, :140]
    x, y = pixel_map.positions(columns, rows)
    nodes = np.array([rows, columns]) / pixel_map.step
    jacobian = ndimage.map_coordinates(pixel_map.jacobian, nodes, order=1)
    expected = (
        ndimage.map_coordinates(exposure.image.astype(float), [y, x], order=3, mode="mirror") * jacobian
    )
    variance = ndimage.map_coordinates(exposure.variance.astype(float), [y, x], order=1) * jacobian
    inside = (warped.mask & MASK_NO_DATA) == 0
    core = inside & (x > 1) & (x < 168) & (y > 1) & (y < 118)
    assert core.sum() > 5000
    np.testing.assert_allclose(warped.image[core], expected[core], rtol=1e-4, atol=2e-3)
    np.testing.assert_allclose(warped.variance[core], variance[core], rtol=1e-5)


def test_identity_map_returns_the_image(rng):
    exposure, _ = field(rng)
    warped = warp_exposure(exposure, make_pixel_map(exposure.wcs, exposure.wcs, SHAPE), exposure.wcs)
    np.testing.assert_allclose(warped.image, exposure.image, atol=2e-3 * exposure.image.max() / 100)
    np.testing.assert_allclose(warped.variance, exposure.variance, rtol=1e-5)


def test_there_and_back_returns_the_stars(rng):
    exposure, _ = field(rng)
    wcs = make_wcs(84.37, 66.61, angle_deg=12.0)
    there = warp_exposure(exposure, make_pixel_map(wcs, exposure.wcs, (150, 200)), wcs)
    back = warp_exposure(there, make_pixel_map(exposure.wcs, wcs, SHAPE), exposure.wcs)
    inner = np.s_[25:-25, 25:-25]
    good = (back.mask[inner] & MASK_NO_DATA) == 0
    error = np.abs(back.image[inner] - exposure.image[inner])[good]
    assert error.max() < 0.01 * exposure.image.max()


@pytest.mark.parametrize("scale", [0.3, 0.4, 0.5])
def test_flux_in_is_flux_out(rng, scale):
    exposure, (_, _, flux) = field(rng)
    wcs = make_wcs(110, 90, angle_deg=30.0, scale_arcsec=scale)
    warped = warp_exposure(exposure, make_pixel_map(wcs, exposure.wcs, (260, 300)), wcs)
    assert np.nansum(warped.image) == pytest.approx(flux.sum(), rel=2e-3)


def test_warped_psf_is_that_of_the_warped_stars(rng):
    star = (np.array([85.0]), np.array([60.0]), np.array([1e5]))
    exposure = make_exposure(rng, SHAPE, star, 4.0, noise=0.01, wcs=make_wcs(80, 60))
    wcs = make_wcs(40, 30, scale_arcsec=0.3)
    warped = warp_exposure(exposure, make_pixel_map(wcs, exposure.wcs, (80, 100)), wcs)
    ra, dec = exposure.wcs.all_pix2world(85.0, 60.0, 0)
    x, y = wcs.all_world2pix(ra, dec, 0)
    assert warped.psf.fwhm_pixel(float(x), float(y)) == pytest.approx(4.0 * 0.4 / 0.3, rel=0.01)


def test_pixels_outside_are_nan_and_no_data(rng):
    exposure, _ = field(rng)
    wcs = make_wcs(110.0, 60.0)
    warped = warp_exposure(exposure, make_pixel_map(wcs, exposure.wcs, SHAPE), wcs)
    empty = (warped.mask & MASK_NO_DATA) > 0
    assert empty[:, :29].all()
    assert not empty[:, 31:].any()
    assert np.isnan(warped.image[empty]).all()
    assert np.isfinite(warped.image[~empty]).all()


def test_mask_bits_travel_with_their_pixels(rng):
    exposure, _ = field(rng)
    mask = exposure.mask.copy()
    mask[40, 50] = MASK_SAT
    wcs = make_wcs(82.4, 61.3)
    warped = warp_exposure(exposure.replace(mask=mask), make_pixel_map(wcs, exposure.wcs, SHAPE), wcs)
    rows, columns = np.nonzero(warped.mask & MASK_SAT)
    assert len(rows) == 4
    assert abs(rows.mean() - 41.3) < 0.51
    assert abs(columns.mean() - 52.4) < 0.51


def test_repaired_pixels_are_as_many_after_a_warp_as_before(rng):
    exposure, _ = field(rng)
    mask = exposure.mask.copy()
    mask[10:110:3, 10:160:3] = MASK_CR | MASK_INTRP
    mask[50:60, 80:90] = MASK_INTRP
    wcs = make_wcs(81.4, 61.7, angle_deg=4.0)
    warped = warp_exposure(exposure.replace(mask=mask), make_pixel_map(wcs, exposure.wcs, SHAPE), wcs)
    before, after = (np.sum((plane & MASK_INTRP) > 0) for plane in (mask, warped.mask))
    assert after == pytest.approx(before, rel=0.12)
    x, y = wcs.all_world2pix(*exposure.wcs.all_pix2world(85.0, 55.0, 0), 0)
    assert warped.mask[round(float(y)), round(float(x))] & MASK_INTRP


def test_nan_pixels_become_no_data(rng):
    exposure, _ = field(rng)
    image = exposure.image.copy()
    image[30:33, 70:73] = np.nan
    warped = warp_exposure(
        exposure.replace(image=image), make_pixel_map(exposure.wcs, exposure.wcs, SHAPE), exposure.wcs
    )
    assert ((warped.mask[30:33, 70:73] & MASK_NO_DATA) > 0).all()
    assert np.isfinite(warped.image[60:, :]).all()


def test_images_that_do_not_overlap_are_refused(rng):
    exposure, _ = field(rng)
    wcs = make_wcs(0, 0, ra=12.0)
    with pytest.raises(NoOverlapError):
        warp_exposure(exposure, make_pixel_map(wcs, exposure.wcs, SHAPE), wcs)


def test_noise_power_is_that_of_warped_white_noise(rng):
    shape = (256, 320)
    noise = make_exposure(rng, shape, ([], [], []), 3.0, 1.0, make_wcs(0, 0))
    wcs = make_wcs(0.3, 0.45)
    pixel_map = make_pixel_map(wcs, noise.wcs, shape)
    warped = warp_exposure(noise, pixel_map, wcs)
    inner = warped.image[8:-8, 8:-8].astype(float)
    power = warp_noise_power(pixel_map, 64)
    assert power[0, 0] == pytest.approx(1.0)
    assert inner.var() == pytest.approx(power.mean(), rel=0.03)
    assert warped.variance[20, 20] == pytest.approx(1.0, rel=1e-3)
    blocks = inner[:224, :288].reshape(14, 16, 18, 16).sum(axis=(1, 3))
    assert blocks.var() / 256 == pytest.approx(1.0, abs=0.25)


def test_a_rotated_warp_averages_all_phases(rng):
    wcs = make_wcs(100, 80)
    shift = warp_noise_power(make_pixel_map(make_wcs(100.5, 80.5), wcs, SHAPE), 32)
    rotated = warp_noise_power(make_pixel_map(make_wcs(100, 80, angle_deg=3.0), wcs, SHAPE), 32)
    assert shift.mean() < rotated.mean() < 1.0
