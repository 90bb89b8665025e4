import numpy as np
import pytest

from astra.images.coadd_psf import CoaddPsf, cell_centres, cell_grid, combine_psfs, merge_psfs, warp_psf
from astra.images.psf import Psf, gaussian_psf
from astra.images.stamps import psf_stamps
from astra.images.warp import make_pixel_map
from tests.images.difference_field import make_wcs

SHAPE = (130, 200)
GRID = cell_grid(SHAPE)


def varying_psf(low, high, size=31):
    """From one width at x = 0 to another at x = 200."""
    a, b = gaussian_psf(low, size).coefficients[0], gaussian_psf(high, size).coefficients[0]
    return Psf(np.array([0.5 * (a + b), 0.5 * (b - a), 0 * a]), 1, 100.0, 50.0, 100.0)


def halves():
    """The first input on the left, the second on the right, both in the cells of the middle."""
    weights = np.zeros((2, *GRID), dtype=np.float32)
    weights[0, :, :8], weights[1, :, 6:] = 1.0, 3.0
    return weights


def test_the_psf_is_the_mean_of_those_that_cover_a_place():
    left, right = varying_psf(3.0, 4.0), varying_psf(5.0, 6.0, 25)
    psf = combine_psfs([left, right], halves(), SHAPE)
    assert (psf.size, psf.order, psf.n_inputs) == (31, 1, 2)
    np.testing.assert_allclose(psf.stamp(40.0, 60.0), left.stamp(40.0, 60.0), atol=1e-10)
    np.testing.assert_allclose(psf.stamp(160.0, 60.0)[3:-3, 3:-3], right.stamp(160.0, 60.0), atol=1e-10)
    mean = 0.25 * left.stamp(110.0, 20.0)
    mean[3:-3, 3:-3] += 0.75 * right.stamp(110.0, 20.0)
    np.testing.assert_allclose(psf.stamp(110.0, 20.0), mean, atol=1e-10)
    assert psf.stamp(110.0, 20.0).sum() == pytest.approx(1.0)
    assert 3.0 < psf.fwhm_pixel(10.0, 10.0) < psf.fwhm_pixel(110.0, 20.0) < psf.fwhm_pixel(190.0, 10.0) < 6.0


def test_stars_are_drawn_with_it_as_with_any_psf():
    psf = combine_psfs([varying_psf(3.0, 4.0), varying_psf(5.0, 6.0)], halves(), SHAPE)
    x, y = np.array([40.0, 110.0, 160.0]), np.array([60.0, 20.0, 99.0])
    for stamp, place in zip(psf_stamps(psf, x, y), zip(x, y, strict=True), strict=True):
        np.testing.assert_allclose(stamp, psf.stamp(*place), atol=1e-6)


def test_shares_of_uncovered_cells_are_those_of_the_frame():
    weights = halves()
    weights[:, 2:4] = 0.0
    psf = combine_psfs([gaussian_psf(3.0, 31), gaussian_psf(5.0, 31)], weights, SHAPE)
    np.testing.assert_allclose(psf.shares(20.0, 40.0), weights.sum(axis=(1, 2)) / weights.sum(), rtol=1e-6)
    np.testing.assert_allclose(psf.shares([20.0, 190.0], [10.0, -50.0]), [[1, 0], [0, 1]])


def test_an_input_of_one_corner_is_exact_there():
    weights = np.zeros((2, *GRID), dtype=np.float32)
    weights[0], weights[1, -1, -1] = 1.0, 1e9
    quadratic = Psf(np.random.default_rng(1).normal(size=(6, 9, 9)) * 0.01, 2, 150.0, 100.0, 60.0)
    quadratic.coefficients[0] = gaussian_psf(3.0, 9).coefficients[0]
    quadratic.coefficients[1:] -= quadratic.coefficients[1:].mean(axis=(1, 2), keepdims=True)
    psf = combine_psfs([gaussian_psf(3.0, 9), quadratic], weights, SHAPE)
    np.testing.assert_allclose(psf.stamp(195.0, 128.0), quadratic.stamp(195.0, 128.0), atol=1e-7)


def test_warped_psf_is_that_of_the_place_it_comes_from():
    psf = combine_psfs([gaussian_psf(3.0, 31), gaussian_psf(5.0, 31)], halves(), SHAPE)
    wcs, out = make_wcs(100.0, 65.0), make_wcs(90.0, 80.0, angle_deg=90.0, scale_arcsec=0.2)
    shape = (400, 300)
    warped = warp_psf(psf, make_pixel_map(out, wcs, shape))
    assert isinstance(warped, CoaddPsf)
    for place in ((30.0, 180.0), (20.0, 20.0), (150.0, 350.0)):
        x, y = (float(a) for a in wcs.all_world2pix(*out.all_pix2world(*place, 0), 0))
        assert warped.fwhm_pixel(*place) == pytest.approx(2 * psf.fwhm_pixel(x, y), rel=5e-3)
    assert warped.size == 61


def test_merged_psfs_share_by_cell():
    one = combine_psfs([gaussian_psf(3.0, 31)], np.ones((1, *GRID), np.float32), SHAPE)
    two = combine_psfs([gaussian_psf(4.0, 31), gaussian_psf(6.0, 31)], halves(), SHAPE)
    share = np.zeros((2, *GRID), dtype=np.float32)
    share[0, :4], share[1, 4:] = 1.0, 1.0
    share[:, 4] = 0.5
    merged = merge_psfs([one, two], share, SHAPE)
    assert merged.fwhm_pixel(10.0, 10.0) == pytest.approx(3.0, rel=1e-3)
    assert merged.fwhm_pixel(10.0, 120.0) == pytest.approx(4.0, rel=1e-3)
    assert merged.fwhm_pixel(190.0, 120.0) == pytest.approx(6.0, rel=1e-3)
    np.testing.assert_allclose(merged.shares(190.0, 71.5), [0.5, 0.0, 0.5])


def test_cells_cover_the_frame_and_their_centres_lie_in_it():
    assert GRID == (9, 13)
    x, y = cell_centres(SHAPE)
    assert (x.shape, x[0, 0], y[1, 0]) == (GRID, 7.5, 23.5)
    assert x.max() <= SHAPE[1] - 1
    assert y.max() <= SHAPE[0] - 1


@pytest.mark.parametrize("weights", [None, np.zeros((0, 2, 2)), np.ones((2, 2)), np.ones((3, 2, 2))])
def test_weights_must_fit_the_coefficients(weights):
    with pytest.raises(ValueError, match="needs"):
        CoaddPsf(np.ones((2, 9, 9)), 0, weights=weights)
