import numpy as np
import pytest
from star_field import GAIN, SKY, gaussian_image, grid_stars, make_exposure, make_star_field

from astra.errors import TooFewSourcesError
from astra.images.background import fit_background, subtract_background
from astra.images.detection import detect_sources
from astra.images.measurement import MeasurementConfig, make_pixels, measure_sources
from astra.images.psf import gaussian_psf
from astra.images.psf_fit import _choose_order, _polynomials, _suppress_noise, fit_psf
from astra.images.psf_stars import PsfFitConfig, select_psf_stars
from astra.images.stamps import psf_stamps

CONFIG = PsfFitConfig(size_pixel=25)
FIRST = gaussian_psf(2.3548 * 1.6, 31)


def widening(x, y):
    return 1.4 + 0.25 * x / 460 + 0.1 * y / 330


def fit_field(field, config=CONFIG, sigma=1.5):
    science = subtract_background(field.exposure, fit_background(field.exposure))
    found = detect_sources(science, FIRST)
    sources = measure_sources(science, FIRST, found, MeasurementConfig())
    stars = sources[select_psf_stars(sources, config)]
    return fit_psf(make_pixels(science, found.segments), stars, sigma, config), stars


@pytest.fixture(scope="module")
def fitted():
    return fit_field(make_star_field(sigma_at=widening))


@pytest.mark.parametrize(("x", "y"), [(230, 165), (40, 40), (420, 290), (40, 290)])
def test_psf_is_that_of_the_place(fitted, x, y):
    expected = gaussian_image((25, 25), 12, 12, 1.0, widening(x, y))
    stamp = fitted[0].psf.stamp(x, y)
    assert np.abs(stamp - expected).max() < 0.02 * expected.max()


def test_psf_has_unit_sum_and_is_centred(fitted):
    stamp = fitted[0].psf.stamp(100, 200)
    offset = np.arange(25) - 12
    assert stamp.sum() == pytest.approx(1.0)
    assert stamp.sum(axis=0) @ offset == pytest.approx(0.0, abs=0.05)
    assert stamp.sum(axis=1) @ offset == pytest.approx(0.0, abs=0.05)


def test_residual_is_small_and_most_stars_are_used(fitted):
    fit, stars = fitted
    assert fit.residual < 0.02
    assert fit.used.mean() > 0.8
    assert len(fit.used) == len(stars)


def moffat_image(shape, x, y, fwhm=3.4, beta=3.0):
    """A sampled Moffat profile of unit flux: its wings are far above those of any Gaussian."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    scale = fwhm / 2 / np.sqrt(2 ** (1 / beta) - 1)
    return (beta - 1) / np.pi / scale**2 * (1 + ((rows - y) ** 2 + (columns - x) ** 2) / scale**2) ** -beta


def test_wings_of_very_bright_stars_are_those_of_the_stars():
    rng = np.random.default_rng(8)
    shape = 330, 460
    x, y = grid_stars(shape, 40, rng)
    stars = zip(x, y, rng.uniform(2e6, 2e7, x.size), strict=True)
    image = sum(flux * moffat_image(shape, *place) for *place, flux in stars)
    variance = (image + SKY) / GAIN
    noisy = make_exposure(image + rng.normal(size=shape) * np.sqrt(variance), variance, gain=GAIN)
    found = detect_sources(noisy, FIRST)
    sources = measure_sources(noisy, FIRST, found, MeasurementConfig())
    config = PsfFitConfig(size_pixel=41, order=0)
    stars = sources[select_psf_stars(sources, config)]
    stamp = fit_psf(make_pixels(noisy, found.segments), stars, 1.5, config).psf.stamp(200, 140)
    expected = moffat_image((41, 41), 20, 20)
    assert np.abs(stamp - expected / expected.sum()).max() < 0.004 * expected.max()
    radius = np.hypot(*(np.indices(stamp.shape) - 20))
    rings = [(radius >= low) & (radius < low + 2) for low in range(0, 14, 2)]
    shares = np.array([(stamp[ring].sum(), expected[ring].sum() / expected.sum()) for ring in rings])
    assert np.abs(np.diff(shares, axis=1)).max() < 0.0015


def test_galaxies_do_not_become_psf_stars():
    field = make_star_field(sigma_at=lambda x, y: np.where(np.arange(x.size) % 4 == 0, 2.6, 1.4))
    fit, stars = fit_field(field)
    size = np.sqrt((stars["ixx"] + stars["iyy"]) / 2)
    assert size.max() < 1.8
    assert fit.psf.fwhm_pixel(230, 165) == pytest.approx(2.3548 * 1.4, rel=0.02)


def test_too_few_stars_are_an_error_with_numbers():
    field = make_star_field(spacing=100)
    with pytest.raises(TooFewSourcesError, match="but 30 are required") as caught:
        fit_field(field, PsfFitConfig(size_pixel=25, min_stars=30))
    assert caught.value.context["n_required"] == 30
    assert caught.value.context["n_sources"] < 30


def test_a_sharp_psf_gets_a_fine_grid_and_does_not_alias():
    sigma = 0.88  # FWHM 2.07 pixels
    fit, stars = fit_field(make_star_field(sigma_at=lambda x, y: sigma + 0.0 * x, spacing=20), sigma=sigma)
    assert fit.psf.oversampling == 2
    x, y = np.array([100.5, 200.2]), np.array([90.5, 120.1])
    for k, stamp in enumerate(psf_stamps(fit.psf, x, y)):
        place = 12 + x[k] - np.rint(x[k]), 12 + y[k] - np.rint(y[k])
        expected = gaussian_image((25, 25), *place, 1.0, sigma)
        assert np.abs(stamp - expected).max() < 0.02 * expected.max()
    assert len(stars) > 50


def test_nodes_are_fitted_as_least_squares_does():
    rng = np.random.default_rng(4)
    design, weights = rng.normal(size=(30, 3)), rng.uniform(0.5, 2, (30, 5))
    values = rng.normal(size=(30, 5))
    weights[:, 4] = 0.0
    solution, variance = _polynomials(values, weights, design)
    for k in range(4):
        root = np.sqrt(weights[:, k])[:, None]
        expected = np.linalg.lstsq(root * design, root[:, 0] * values[:, k], rcond=None)[0]
        assert solution[:, k] == pytest.approx(expected, rel=1e-5)
        covariance = np.linalg.inv((root * design).T @ (root * design))
        assert variance[:, k] == pytest.approx(np.diag(covariance), rel=1e-5)
    assert not solution[:, 4].any()
    assert not variance[:, 4].any()


def test_noise_without_signal_is_suppressed_and_signal_kept():
    rng = np.random.default_rng(5)
    star = gaussian_image((41, 41), 20, 20, 1.0, 1.8)
    noise = rng.normal(0, 0.0005, (41, 41))
    filtered = _suppress_noise(np.stack([star + noise, noise]), np.full(2, 0.0005**2 * 41**2))
    assert np.abs(filtered[0] - star).std() < 0.7 * noise.std()
    assert filtered[0].max() == pytest.approx(star.max(), rel=0.02)
    assert filtered[1].std() < 0.5 * noise.std()


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_order_is_that_which_predicts_stars_left_out(order):
    rng = np.random.default_rng(6)
    unit = rng.uniform(-1, 1, (40, 2))
    trend = (1.0, unit[:, 0], unit[:, 0] * unit[:, 1])[order]
    values = np.outer(trend * np.ones(40), np.ones(9)) + rng.normal(0, 0.1, (40, 9))
    assert _choose_order(values, np.full((40, 9), 100.0), unit, 2, np.ones(9, dtype=bool)) == order
