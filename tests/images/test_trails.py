import numpy as np
import pytest
from numba import njit
from scipy.special import erf

from astra.images.dia_footprints import footprint_moments
from astra.images.dia_shapes import measure_shapes, stamp_moments
from astra.images.exposure import MASK_BAD, MASK_EDGE
from astra.images.local_psf import make_local_psfs
from astra.images.psf import gaussian_psf, sigma_from_fwhm
from astra.images.trail_kernel import choose_nodes, draw_trail
from astra.images.trails import fit_trails, guess_trails, quadratures
from tests.images.difference_field import make_exposure

FWHM = 4.0
SIGMA = sigma_from_fwhm(FWHM)


def gaussian_trail(dx, dy, length, angle):
    """Veres et al. (2012), eq. 3: unit flux."""
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    if length == 0:
        return np.exp(-(along**2 + across**2) / (2 * SIGMA**2)) / (2 * np.pi * SIGMA**2)
    ends = erf((along + length / 2) / (np.sqrt(2) * SIGMA)) - erf((along - length / 2) / (np.sqrt(2) * SIGMA))
    return np.exp(-(across**2) / (2 * SIGMA**2)) * ends / (2 * length * np.sqrt(2 * np.pi) * SIGMA)


def make_field(rng, n, length, flux, pitch=56):
    middle = np.arange(n) * pitch + pitch / 2
    x, y = (g.ravel() + rng.uniform(-0.5, 0.5, g.size) for g in np.meshgrid(middle, middle))
    angle, shape, half = rng.uniform(0, np.pi, x.size), (n * pitch, n * pitch + 11), pitch // 2
    image = np.zeros(shape)
    for xk, yk, ak in zip(x, y, angle, strict=True):
        rows = slice(max(int(yk) - half, 0), int(yk) + half)
        columns = slice(max(int(xk) - half, 0), int(xk) + half)
        dy, dx = np.mgrid[rows, columns][:, : shape[0], : shape[1]]
        part = image[rows, columns]
        part += flux * gaussian_trail(dx - xk, dy - yk, length, ak)[: part.shape[0], : part.shape[1]]
    exposure = make_exposure(rng, shape, ([], [], []), FWHM)
    variance = 100.0 + abs(image)
    image = image + rng.normal(size=shape) * np.sqrt(variance)
    exposure = exposure.replace(image=image.astype(np.float32), variance=variance.astype(np.float32))
    return exposure, np.stack([x, y], axis=1), angle


def fit(exposure, positions, flux=1.0):
    is_negative = np.full(len(positions), flux < 0)
    shapes = measure_shapes(exposure, positions, is_negative, SIGMA, 6.0)
    of_psf = stamp_moments(np.repeat(gaussian_psf(FWHM, 31).coefficients, len(positions), axis=0), SIGMA)
    return fit_trails(exposure, guess_trails(positions, shapes.moments, of_psf))


@pytest.mark.parametrize("length", [0.1, 1.0, 3.0, 8.0, 30.0])
def test_the_model_and_its_derivatives_are_those_of_a_gaussian(length):
    local = make_local_psfs(gaussian_psf(FWHM, 31), np.zeros(1), np.zeros(1))
    columns, drawn = np.empty((5, 61, 61)), np.empty((3, 31, 31))
    psf = local.coefficients[0, 0] * local.design[0, 0], 1
    nodes = njit(choose_nodes)(length, SIGMA, quadratures())
    njit(draw_trail)(psf, np.array([0.3, -0.2, length**2, 0.6]), nodes, drawn, columns)
    dx, dy = np.meshgrid(np.arange(-30, 31) - 0.3, np.arange(-30, 31) + 0.2)
    h = 1e-3
    expected = [
        gaussian_trail(dx, dy, length, 0.6),
        (gaussian_trail(dx - h, dy, length, 0.6) - gaussian_trail(dx + h, dy, length, 0.6)) / (2 * h),
        (gaussian_trail(dx, dy - h, length, 0.6) - gaussian_trail(dx, dy + h, length, 0.6)) / (2 * h),
        (
            gaussian_trail(dx, dy, np.sqrt(length**2 + h), 0.6)
            - gaussian_trail(dx, dy, np.sqrt(length**2 - h), 0.6)
        )
        / (2 * h),
        (gaussian_trail(dx, dy, length, 0.6 + h) - gaussian_trail(dx, dy, length, 0.6 - h)) / (2 * h),
    ]
    for found, true in zip(columns, expected, strict=True):
        np.testing.assert_allclose(found, true, atol=7e-3 * abs(true).max())
    np.testing.assert_allclose(columns[0], expected[0], atol=3e-4 * expected[0].max())


@pytest.mark.parametrize(("length", "flux"), [(4.0, 5000.0), (8.0, -10000.0), (16.0, 16000.0)])
def test_trails_scatter_by_their_errors(length, flux):
    exposure, positions, angle = make_field(np.random.default_rng(3), 11, length, flux)
    fits = fit(exposure, positions, flux)
    assert not fits.failed.any()
    turned = (fits.angle - angle + np.pi / 2) % np.pi - np.pi / 2
    pulls = np.stack(
        [
            (fits.flux - flux) / fits.flux_err,
            (fits.x - positions[:, 0]) / np.sqrt(fits.covariance[:, 0, 0]),
            (fits.y - positions[:, 1]) / np.sqrt(fits.covariance[:, 1, 1]),
            (fits.length - length) / fits.length_err,
            turned / fits.angle_err,
        ]
    )
    assert abs(pulls.mean(axis=1)).max() < 3.5 / np.sqrt(len(angle))
    assert pulls.std(axis=1) == pytest.approx(1.0, abs=0.25)
    assert pulls.std() == pytest.approx(1.0, abs=0.08)
    assert np.median(fits.chi2 / (fits.n_data - 5)) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("flux", [700.0, 2000.0, 20000.0])
def test_a_point_source_has_no_length_and_sober_errors(flux):
    exposure, positions, _ = make_field(np.random.default_rng(5), 11, 0.0, flux)
    fits = fit(exposure, positions)
    assert not fits.failed.any()
    significance = fits.length / fits.length_err
    assert np.mean(significance < 3.0) > 0.97
    assert significance.max() < 6.0
    assert fits.length_err.max() < 2.0 * FWHM
    assert fits.angle_err.max() <= np.pi / np.sqrt(12) + 1e-12
    assert np.median(fits.angle_err) == pytest.approx(np.pi / np.sqrt(12))
    pull = (fits.flux - flux) / fits.flux_err
    assert abs(pull).max() < 5
    assert fits.flux_err.max() < 2.0 * np.sqrt(4 * np.pi * SIGMA**2 * 100.0 + flux)


def test_a_long_trail_is_found_from_the_moments_of_its_footprint():
    rng = np.random.default_rng(2)
    exposure, positions, angle = make_field(rng, 2, 40.0, 40000.0, pitch=90)
    footprints = np.zeros(exposure.shape, np.int32)
    footprints[exposure.variance > 110.0] = 1
    footprints[:, 90:] *= 2
    footprints[90:] += 2 * (footprints[90:] > 0)
    peaks = np.rint(positions).astype(np.int64)
    moments = footprint_moments(exposure.image, footprints, peaks, np.full(4, 60), np.zeros(4, dtype=bool))
    of_psf = np.tile([SIGMA**2, 0.0, SIGMA**2], (4, 1))
    fits = fit_trails(exposure, guess_trails(moments[:, :2], moments[:, 2:], of_psf))
    assert not fits.failed.any()
    np.testing.assert_allclose(fits.length, 40.0, atol=1.0)
    np.testing.assert_allclose(np.sin(fits.angle - angle), 0.0, atol=0.02)
    np.testing.assert_allclose(fits.flux, 40000.0, rtol=0.03)


def test_a_trail_as_long_as_a_fast_mover_makes_is_found_whole_from_all_its_peaks():
    flux, length = 200000.0, 210.0
    exposure, positions, angle = make_field(np.random.default_rng(6), 1, length, flux, pitch=280)
    along = np.array([np.cos(angle[0]), np.sin(angle[0])])
    short = [*(positions[0] + 20.0 * along), 80.0**2, angle[0] + 0.03]
    guesses = np.array([[*positions[0], 150.0**2, angle[0]], short, [*positions[0], 150.0**2, angle[0]]])
    fits = fit_trails(exposure, guesses)
    assert not fits.failed.any()
    np.testing.assert_allclose(fits.length, length, atol=4.0 * fits.length_err.max())
    np.testing.assert_allclose(fits.flux, flux, atol=4.0 * fits.flux_err.max())
    np.testing.assert_allclose(np.sin(fits.angle - angle), 0.0, atol=4.0 * fits.angle_err.max())
    np.testing.assert_allclose(np.stack([fits.x, fits.y], axis=1), positions[[0, 0, 0]], atol=0.5)
    assert fits.flux_err.max() < 0.02 * flux
    assert fits.flux[0] == fits.flux[2]


def test_a_poor_guess_of_the_length_is_mended():
    exposure, positions, angle = make_field(np.random.default_rng(2), 3, 20.0, 30000.0)
    guesses = np.column_stack([positions, np.full(9, 16.0), angle + 0.3])
    fits = fit_trails(exposure, guesses)
    assert not fits.failed.any()
    np.testing.assert_allclose(fits.length, 20.0, atol=0.5)


def test_trails_at_the_edge_are_flagged():
    exposure, positions, angle = make_field(np.random.default_rng(2), 3, 10.0, 30000.0)
    mask = exposure.mask.copy()
    x, y, a = *positions[4], angle[4]
    mask[round(y + 4 * np.sin(a)), round(x + 4 * np.cos(a))] |= MASK_EDGE
    cut = exposure.replace(
        **{n: getattr(exposure, n)[28:].copy() for n in ("image", "variance")}, mask=mask[28:]
    )
    fits = fit(cut, positions - [0.0, 28.0])
    np.testing.assert_array_equal(fits.on_edge, [True] * 3 + [False, True] + [False] * 4)


def test_where_nothing_can_be_used_the_fit_fails():
    exposure, positions, _ = make_field(np.random.default_rng(2), 2, 5.0, 9000.0)
    fits = fit(exposure.replace(mask=np.full_like(exposure.mask, MASK_BAD)), positions)
    assert fits.failed.all()
    for name in ("flux", "flux_err", "x", "length", "length_err", "angle", "angle_err", "chi2"):
        assert np.isnan(getattr(fits, name)).all()
    assert fit_trails(exposure, np.zeros((0, 4))).flux.shape == (0,)


def test_an_exposure_without_psf_is_refused():
    exposure, _, _ = make_field(np.random.default_rng(2), 2, 5.0, 9000.0)
    with pytest.raises(ValueError, match="PSF"):
        fit_trails(exposure.replace(psf=None), np.zeros((1, 4)))
