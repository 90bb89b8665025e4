import numpy as np
import pytest

from astra.images.blended_fluxes import fit_blended_fluxes
from astra.images.fluxes import fit_psf_fluxes, fit_size
from astra.images.moments import Pixels
from astra.images.psf import Psf, gaussian_psf
from astra.images.stamps import psf_stamps

SHAPE = 90, 130
PSF = gaussian_psf(2.3548 * 1.4, 31)


def draw(positions, flux):
    """Image of point sources."""
    image = np.zeros((SHAPE[0] + 100, SHAPE[1] + 100))
    stamps = psf_stamps(PSF, positions[:, 0], positions[:, 1])
    half = PSF.size // 2
    for stamp, (x, y), f in zip(stamps, np.rint(positions).astype(int) + 50, flux, strict=True):
        image[y - half : y + half + 1, x - half : x + half + 1] += f * stamp
    return image[50:-50, 50:-50]


def nearest_owner(positions, radius=4.0):
    """Pixels go to the nearest source within a radius."""
    y, x = np.indices(SHAPE)
    distance = np.hypot(x[None] - positions[:, 0, None, None], y[None] - positions[:, 1, None, None])
    return np.where(distance.min(axis=0) < radius, distance.argmin(axis=0) + 1, 0).astype(np.int32)


def plain_fluxes(pixels, labels, positions):
    """The numpy twin: one dense system for all sources; fluxes and errors."""
    n, box = len(labels), fit_size(PSF) // 2
    y, x = np.indices(SHAPE)
    models = [draw(positions[k : k + 1], [1.0]).ravel() for k in range(n)]
    rows = np.zeros((n, SHAPE[0] * SHAPE[1]))
    for k in range(n):
        column, row = np.rint(positions[k]).astype(int)
        inside = (np.abs(x - column) <= box) & (np.abs(y - row) <= box)
        mine = inside & ((pixels.owner == 0) | (pixels.owner == labels[k]))
        rows[k] = np.where(mine.ravel(), models[k], 0.0)
    inverse = np.linalg.inv(rows @ np.array(models).T)
    flux = inverse @ (rows @ np.nan_to_num(pixels.image).ravel())
    covariance = inverse @ (rows * pixels.variance.ravel()) @ rows.T @ inverse.T
    return flux, np.sqrt(np.diag(covariance))


@pytest.fixture
def blend():
    positions = np.array([[40.2, 40.4], [44.1, 41.0], [47.0, 45.3], [60.4, 44.0], [3.2, 88.1], [110.3, 20.8]])
    image = draw(positions, [1e4, 3e3, 500.0, 2e4, 800.0, 900.0])
    variance = np.random.default_rng(4).uniform(50.0, 100.0, SHAPE)
    return Pixels(image, variance, nearest_owner(positions)), positions


def test_fluxes_of_blends_are_exact_without_noise(blend):
    pixels, positions = blend
    found = fit_blended_fluxes(pixels, np.arange(1, 7), positions, PSF)
    assert found.flux == pytest.approx([1e4, 3e3, 500.0, 2e4, 800.0, 900.0], abs=0.2)
    alone = fit_psf_fluxes(pixels, np.arange(1, 7), positions, PSF)
    assert alone.flux[2] > 1.08 * found.flux[2]
    assert found.chi2 == pytest.approx(np.zeros(6), abs=1e-2)


def test_fluxes_and_errors_equal_their_numpy_twin(blend):
    pixels, positions = blend
    noisy = pixels._replace(
        image=pixels.image + np.random.default_rng(5).normal(size=SHAPE) * np.sqrt(pixels.variance)
    )
    found = fit_blended_fluxes(noisy, np.arange(1, 7), positions, PSF)
    flux, error = plain_fluxes(noisy, np.arange(1, 7), positions)
    assert np.abs((found.flux - flux) / error).max() < 5e-3
    assert found.flux_err == pytest.approx(error, rel=2e-3)
    assert found.chi2 / found.n_data == pytest.approx(np.ones(6), abs=0.3)


def test_errors_are_the_scatter_of_the_fluxes(blend):
    pixels, positions = blend
    rng, labels = np.random.default_rng(6), np.arange(1, 7)
    owner = np.where(pixels.owner > 0, 0, pixels.owner)  # all pixels are shared: the errors are correlated
    fluxes = []
    for _ in range(300):
        image = pixels.image + rng.normal(size=SHAPE) * np.sqrt(pixels.variance)
        found = fit_blended_fluxes(Pixels(image, pixels.variance, owner), labels, positions, PSF)
        fluxes.append(found.flux)
    scatter = np.std(fluxes, axis=0) / found.flux_err
    assert scatter == pytest.approx(np.ones(6), abs=0.13)
    alone = fit_psf_fluxes(Pixels(image, pixels.variance, owner), labels, positions, PSF)
    assert (found.flux_err[:2] > 1.005 * alone.flux_err[:2]).all()
    assert found.flux_err[5] == pytest.approx(alone.flux_err[5], rel=1e-4)


def test_a_source_alone_is_fitted_as_by_itself():
    rng = np.random.default_rng(7)
    position, label = np.array([[30.4, 50.7]]), np.array([3])
    owner = np.zeros(SHAPE, dtype=np.int32)
    owner[48:54, 28:33], owner[60, 30], owner[52, 36:60] = 3, -1, 9
    image = draw(position, [4000.0]) + rng.normal(size=SHAPE)
    image[60, 30] = np.nan
    pixels = Pixels(image, np.ones(SHAPE), owner)
    one, alone = (fit(pixels, label, position, PSF) for fit in (fit_blended_fluxes, fit_psf_fluxes))
    assert one.flux == pytest.approx(alone.flux, rel=1e-6)
    assert one.flux_err == pytest.approx(alone.flux_err, rel=1e-5)
    assert one.chi2 == pytest.approx(alone.chi2, rel=1e-3)
    assert one.n_data.tolist() == alone.n_data.tolist()


def test_bright_wings_beyond_the_box_are_subtracted():
    positions = np.array([[40.0, 40.0], [40.0 + 22.0, 40.0]])
    wide = gaussian_psf(2.3548 * 2.2, 61).coefficients[0]
    halo = gaussian_psf(2.3548 * 8.0, 61).coefficients[0]
    psf = Psf((0.9 * wide + 0.1 * halo)[None])
    big = np.zeros((200, 240))
    for (x, y), f in zip(positions, (1e6, 1e3), strict=True):
        stamp = psf_stamps(psf, np.array([x]), np.array([y]))[0]
        big[int(y) + 50 - 30 : int(y) + 50 + 31, int(x) + 50 - 30 : int(x) + 50 + 31] += f * stamp
    pixels = Pixels(big[50:140, 50:180], np.ones(SHAPE), np.zeros(SHAPE, np.int32))
    labels = np.array([1, 2])
    assert fit_size(psf) // 2 + 1 < 22
    assert fit_blended_fluxes(pixels, labels, positions, psf).flux[1] == pytest.approx(1e3, rel=1e-2)
    assert fit_psf_fluxes(pixels, labels, positions, psf).flux[1] > 1.5e3


def test_hidden_sources_fail_and_do_not_harm_their_neighbours(blend):
    pixels, positions = blend
    owner = pixels.owner.copy()
    owner[owner == 2] = -1
    found = fit_blended_fluxes(pixels._replace(owner=owner), np.arange(1, 7), positions, PSF)
    assert found.failed.tolist() == [False, True, False, False, False, False]
    assert np.isnan(found.flux[1])
    assert found.n_data[1] == 0
    assert found.flux[3:] == pytest.approx([2e4, 800.0, 900.0], rel=1e-2)


def test_two_sources_at_one_place_have_finite_fluxes():
    positions = np.array([[50.3, 40.2], [50.3, 40.2]])
    pixels = Pixels(draw(positions[:1], [2000.0]), np.ones(SHAPE), np.zeros(SHAPE, np.int32))
    found = fit_blended_fluxes(pixels, np.array([1, 2]), positions, PSF)
    assert np.isfinite(found.flux).all()
    assert np.isfinite(found.flux_err).all()


def test_no_source_is_no_flux():
    pixels = Pixels(np.zeros(SHAPE), np.ones(SHAPE), np.zeros(SHAPE, np.int32))
    assert len(fit_blended_fluxes(pixels, np.zeros(0, np.int64), np.zeros((0, 2)), PSF).flux) == 0
