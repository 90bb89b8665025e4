import numpy as np
import pytest

from astra.images.exposure import MASK_BAD
from astra.images.point_fit import STAMP_HALF_WIDTH, fit_points
from astra.images.psf import Psf, gaussian_psf
from astra.images.stamps import cut_stamps, psf_stamps
from tests.images.difference_field import make_exposure

SHAPE = (420, 500)


def make_field(rng, flux=1500.0, fwhm=3.5, photons=True):
    y, x = np.mgrid[25:400:25, 25:480:25].astype(float)
    x, y = x.ravel() + rng.uniform(-0.5, 0.5, x.size), y.ravel() + rng.uniform(-0.5, 0.5, x.size)
    flux = np.full(x.size, flux)
    return make_exposure(rng, SHAPE, (x, y, flux), fwhm, photons=photons), x, y, flux


def twin(exposure, x, y):
    """Batched numpy version: positions by weighted Gauss-Newton steps, then the flux without weights."""
    half, side = STAMP_HALF_WIDTH, 2 * STAMP_HALF_WIDTH + 1
    columns, rows = np.rint(x).astype(int), np.rint(y).astype(int)
    n = len(x)
    image = cut_stamps(exposure.image, columns, rows, side).reshape(n, -1)
    variance = cut_stamps(exposure.variance, columns, rows, side).reshape(n, -1)
    bad = cut_stamps((exposure.mask > 0).astype(np.float32), columns, rows, side).reshape(n, -1)
    good = np.isfinite(image) & (bad == 0)
    image, weight = np.where(good, image, 0.0), np.where(good, 1.0 / np.where(good, variance, 1.0), 0.0)

    def psfs(dx, dy):
        stamps = psf_stamps(exposure.psf, columns + dx, rows + dy)
        padded = np.pad(stamps, ((0, 0), (side, side), (side, side)))
        middle, offset = padded.shape[1] // 2, np.arange(-half, half + 1)
        move_y, move_x = np.rint(rows + dy) - rows, np.rint(columns + dx) - columns
        j = (middle + offset[None] - move_y[:, None]).astype(int)
        i = (middle + offset[None] - move_x[:, None]).astype(int)
        return padded[np.arange(n)[:, None, None], j[:, :, None], i[:, None, :]].reshape(n, -1)

    dx, dy, h = x - columns, y - rows, 0.01
    for _ in range(10):
        slope_x = (psfs(dx + h, dy) - psfs(dx - h, dy)) / (2 * h)
        slope_y = (psfs(dx, dy + h) - psfs(dx, dy - h)) / (2 * h)
        design = np.stack([psfs(dx, dy), slope_x, slope_y], axis=1)
        information = (design * weight[:, None]) @ design.swapaxes(1, 2)
        right = np.einsum("nik,nk,nk->ni", design, weight, image)
        solution = np.linalg.solve(information, right[..., None])[..., 0]
        dx = dx + np.clip(solution[:, 1] / solution[:, 0], -0.5, 0.5)
        dy = dy + np.clip(solution[:, 2] / solution[:, 0], -0.5, 0.5)
    point = psfs(dx, dy) * good
    norm = np.sum(point**2, axis=1)
    flux = np.sum(point * image, axis=1) / norm
    error = np.sqrt(np.sum(point**2 * np.where(good, variance, 0.0), axis=1)) / norm
    chi2 = np.sum((image - flux[:, None] * point) ** 2 * weight, axis=1)
    covariance = np.linalg.inv(information)[:, 1:, 1:] / flux[:, None, None] ** 2
    return columns + dx, rows + dy, flux, error, chi2, covariance


def test_it_finds_what_a_plain_batched_fit_finds():
    rng = np.random.default_rng(9)
    exposure, x, y, _ = make_field(rng)
    mask = exposure.mask.copy()
    mask[rng.random(SHAPE) < 0.01] = MASK_BAD
    base = gaussian_psf(3.5, 31).coefficients[0]
    slope = 0.1 * (gaussian_psf(4.0, 31).coefficients[0] - base)
    psf = Psf(np.stack([base, slope, -slope]), 1, 250.0, 210.0, 250.0)
    exposure = exposure.replace(mask=mask, psf=psf)
    fits = fit_points(exposure, np.rint(x), np.rint(y))
    expected_x, expected_y, flux, error, chi2, covariance = twin(exposure, np.rint(x), np.rint(y))
    assert not fits.failed.any()
    np.testing.assert_allclose(fits.x, expected_x, atol=1e-4)
    np.testing.assert_allclose(fits.y, expected_y, atol=1e-4)
    np.testing.assert_allclose(fits.flux, flux, rtol=2e-4)
    np.testing.assert_allclose(fits.flux_err, error, rtol=2e-4)
    np.testing.assert_allclose(fits.chi2, chi2, rtol=2e-4)
    np.testing.assert_allclose(fits.covariance, covariance, rtol=2e-3, atol=1e-6)


def test_the_likelihood_is_that_of_independent_gaussian_pixels():
    rng = np.random.default_rng(2)
    exposure, x, y, _ = make_field(rng, photons=False)
    fits = fit_points(exposure, x, y)
    expected = -0.5 * fits.chi2 - 0.5 * fits.n_data * np.log(2 * np.pi * 10.0**2)
    np.testing.assert_allclose(fits.log_likelihood, expected, rtol=1e-6)


@pytest.mark.parametrize("own_noise", [False, True])
def test_fluxes_are_unbiased_even_if_the_variance_follows_the_noise(own_noise):
    rng = np.random.default_rng(5)
    ratios = []
    for _ in range(4):
        exposure, x, y, flux = make_field(rng, flux=6000.0)
        if own_noise:
            variance = np.maximum(100.0 + exposure.image, 20.0).astype(np.float32)
            exposure = exposure.replace(variance=variance)
        fits = fit_points(exposure, np.rint(x), np.rint(y))
        ratios.append(fits.flux / flux)
    ratios = np.concatenate(ratios)
    assert ratios.mean() == pytest.approx(1.0, abs=3e-3)
    assert 2.5 * ratios.std() / np.sqrt(ratios.size) < 3e-3


def test_where_nothing_can_be_used_the_fit_fails():
    rng = np.random.default_rng(5)
    exposure, _, _, _ = make_field(rng)
    hidden = exposure.replace(mask=np.full_like(exposure.mask, MASK_BAD))
    fits = fit_points(hidden, np.array([100.0, -60.0]), np.array([80.0, 1e4]))
    assert fits.failed.all()
    assert np.isnan(fits.flux).all()
    np.testing.assert_array_equal(fits.n_data, [0, 0])
    np.testing.assert_array_equal(fits.x, [100.0, -60.0])


def test_a_position_that_runs_away_stays_at_the_peak():
    rng = np.random.default_rng(5)
    exposure = make_exposure(rng, (80, 100), ([50.0], [40.0], [9000.0]), 3.5, noise=1.0)
    fits = fit_points(exposure, np.array([54.0]), np.array([40.0]))
    assert fits.failed[0]
    assert fits.x[0] == 54.0


def test_no_positions_give_no_fits():
    exposure = make_exposure(np.random.default_rng(1), (40, 50), ([], [], []), 3.5)
    assert fit_points(exposure, np.zeros(0), np.zeros(0)).x.shape == (0,)


def test_an_exposure_without_psf_is_refused():
    exposure = make_exposure(np.random.default_rng(1), (40, 50), ([], [], []), 3.5).replace(psf=None)
    with pytest.raises(ValueError, match="PSF"):
        fit_points(exposure, np.array([20.0]), np.array([20.0]))
