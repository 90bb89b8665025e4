import numpy as np
import pytest

from astra.spectra.cannon import (
    CannonModel,
    fit_scatter,
    n_terms,
    quadratic_terms,
    score_scatter,
    train_cannon,
)
from astra.spectra.cannon_labels import infer_labels, term_slopes
from astra.spectra.flags import SpectrumFlag

NAMES = ("teff", "logg", "fe_h")
CENTRE, SPREAD = np.array([4800.0, 2.5, -0.2]), np.array([300.0, 0.6, 0.25])
N_PIXELS = 600


def make_stars(n, snr=150.0, seed=1):
    """Spectra of a known quadratic model, with a scatter of 0.01 in each third pixel, and holes."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    labels = CENTRE + SPREAD * rng.standard_normal((n, 3))
    theta = np.concatenate(
        [np.ones((1, N_PIXELS)), fixed.normal(0, [[0.03]] * 3 + [[0.006]] * 6, (9, N_PIXELS))]
    )
    flux = quadratic_terms((labels - CENTRE) / SPREAD) @ theta
    scatter = np.where(np.arange(N_PIXELS) % 3 == 0, 0.01, 0.0)
    ivar = snr**2 * rng.uniform(0.5, 1.5, flux.shape)
    flux = flux + rng.standard_normal(flux.shape) * np.sqrt(scatter**2 + 1.0 / ivar)
    holes = rng.random(flux.shape) < 0.03
    flux[holes], ivar[holes] = np.nan, 0.0
    return flux, ivar, labels, scatter


@pytest.fixture(scope="module")
def model():
    flux, ivar, labels, _ = make_stars(800)
    return train_cannon(flux, ivar, labels, NAMES)


def test_labels_of_new_stars_have_normal_pulls(model):
    flux, ivar, labels, _ = make_stars(300, seed=2)
    found = infer_labels(model, flux, ivar)
    inside = found.flags == 0
    assert inside.mean() > 0.9
    pulls = ((found.value - labels) / found.error)[inside]
    assert np.mean(pulls, axis=0) == pytest.approx(0.0, abs=0.2)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.1)
    assert np.median(found.chi2_dof) == pytest.approx(1.0, abs=0.05)
    assert (found.error / SPREAD).max() < 0.05


@pytest.mark.parametrize(("n_stars", "snr"), [(60, 100.0), (250, 60.0)])
def test_errors_hold_what_the_noise_of_few_training_stars_leaves_in_the_model(n_stars, snr):
    flux, ivar, labels, _ = make_stars(n_stars, snr)
    few = train_cannon(flux, ivar, labels, NAMES)
    flux, ivar, labels, _ = make_stars(400, snr, seed=7)
    found = infer_labels(few, flux, ivar)
    inside = found.flags == 0
    pulls = ((found.value - labels) / found.error)[inside]
    assert np.std(pulls) == pytest.approx(1.0, abs=0.1)
    assert np.mean(pulls, axis=0) == pytest.approx(0.0, abs=0.25)
    # Noise in the model's derivatives would draw labels to those of the mean star.
    for k in range(3):
        slope = np.polyfit(labels[inside, k], found.value[inside, k], 1)[0]
        assert slope == pytest.approx(1.0, abs=0.02)


def test_stars_of_the_training_are_not_corrected_for_their_own_noise():
    flux, ivar, labels, _ = make_stars(18, 100.0)
    few = train_cannon(flux, ivar, labels, NAMES)
    found = infer_labels(few, flux, ivar, of_training=True)
    pushed = infer_labels(few, flux, ivar)
    assert np.abs(few.leverage(labels)).max() > 0.7
    off, pushed_off = (np.std((one.value - labels) / SPREAD) for one in (found, pushed))
    assert off < 0.05
    assert pushed_off > 1.5 * off


def test_what_a_model_does_not_know_grows_away_from_its_stars():
    flux, ivar, labels, _ = make_stars(100)
    few = train_cannon(flux, ivar, labels, NAMES)
    assert few.leverage(labels).mean() == pytest.approx(n_terms(3) / 100)
    assert few.leverage((CENTRE + 4.0 * SPREAD)[None])[0] > 10.0 * few.leverage(CENTRE[None])[0]
    # Spread of the models of other stars of the same kind, at one place and in the mean of all pixels.
    others = [train_cannon(*make_stars(100, seed=50 + k)[:3], NAMES) for k in range(12)]
    place = (CENTRE + SPREAD)[None]
    spread = np.var([other.spectra(place)[0] for other in others], axis=0, ddof=1)
    expected = np.mean([other.leverage(place) * other.training_variance for other in others], axis=0)
    assert spread.mean() == pytest.approx(expected.mean(), rel=0.1)


def test_slopes_of_terms_are_their_derivatives():
    scaled = np.random.default_rng(3).normal(size=(4, 3))
    slopes = term_slopes(scaled)
    for k in range(3):
        step = 1e-6 * np.eye(3)[k]
        expected = (quadratic_terms(scaled + step) - quadratic_terms(scaled - step)) / 2e-6
        assert slopes[:, :, k] == pytest.approx(expected, abs=1e-8)


def test_scatter_of_pixels_is_learnt(model):
    scatter = make_stars(4)[3]
    assert np.median(np.sqrt(model.scatter2)[scatter > 0]) == pytest.approx(0.01, rel=0.05)
    assert np.median(np.sqrt(model.scatter2)[scatter == 0]) < 0.002


def test_training_solves_the_weighted_least_squares_of_each_pixel():
    flux, ivar, labels, _ = make_stars(120)
    model = train_cannon(flux, ivar, labels, NAMES, n_iterations=1)
    terms = quadratic_terms((labels - model.centre) / model.scale)
    again = train_cannon(flux, ivar, labels, NAMES, n_iterations=30)
    for pixel in (0, 7, 599):
        good = ivar[:, pixel] > 0
        root = np.sqrt(1.0 / (1.0 / ivar[good, pixel] + again.scatter2[pixel]))
        expected = np.linalg.lstsq(terms[good] * root[:, None], flux[good, pixel] * root, rcond=None)[0]
        assert again.coefficients[:, pixel] == pytest.approx(expected, abs=1e-6)


def test_strange_stars_are_flagged(model):
    far = CENTRE + 9.0 * SPREAD
    flux = model.spectra(np.stack([far, CENTRE, CENTRE, CENTRE]))
    ivar = np.full(flux.shape, 1e4)
    ivar[1] = 0.0
    ivar[2, 250:] = 0.0
    flux[3, ::2] += 0.3
    found = infer_labels(model, flux, ivar)
    assert found.flags[0] & SpectrumFlag.EXTRAPOLATED
    assert found.flags[1] & SpectrumFlag.NO_DATA
    assert np.isnan(found.value[1]).all()
    assert found.flags[2] & SpectrumFlag.FEW_PIXELS
    assert found.value[2] == pytest.approx(CENTRE, rel=1e-3)
    assert found.flags[3] & SpectrumFlag.POOR_FIT
    assert model.is_outside(np.stack([CENTRE, far])).tolist() == [False, True]


def test_spectra_do_not_depend_on_the_others_of_their_block(model):
    flux, ivar, _, _ = make_stars(40, seed=3)
    together = infer_labels(model, flux, ivar)
    alone = infer_labels(model, flux[17:18], ivar[17:18])
    assert together.value[17] == pytest.approx(alone.value[0], rel=1e-5)
    assert infer_labels(model, flux[:0], ivar[:0]).value.shape == (0, 3)


def test_pixels_without_stars_are_not_used():
    flux, ivar, labels, _ = make_stars(100)
    ivar[:, 100:110] = 0.0
    ivar[5:, 120] = 0.0
    model = train_cannon(flux, ivar, labels, NAMES)
    assert np.isinf(model.scatter2[100:110]).all()
    assert np.isinf(model.scatter2[120])
    assert np.isfinite(infer_labels(model, flux, np.ones_like(ivar) * (ivar > 0) * 1e4).value).all()


def test_senseless_training_is_refused():
    flux, ivar, labels, _ = make_stars(40)
    with pytest.raises(ValueError, match="more training stars than 8"):
        train_cannon(flux[:8], ivar[:8], labels[:8], NAMES)
    with pytest.raises(ValueError, match="which fe_h do not"):
        train_cannon(flux, ivar, labels * [1, 1, 0], NAMES)
    with pytest.raises(ValueError, match="must have shape"):
        train_cannon(flux, ivar, labels[:, :2], NAMES)
    with pytest.raises(ValueError, match="a model of 3 labels"):
        CannonModel(
            NAMES, *[CENTRE] * 2, np.ones((3, 5)), *[CENTRE] * 3, np.eye(3), 1.0, np.eye(3), np.ones(5), 9
        )


def test_scatter_is_the_most_likely_one():
    rng = np.random.default_rng(4)
    variance = rng.uniform(0.5, 4.0, (4000, 3))
    residual = rng.standard_normal((4000, 3)) * np.sqrt(variance + np.array([0.0, 1.0, 9.0])) * 0.1
    variance *= 0.01
    variance[::7] = np.inf
    found = fit_scatter(residual, variance)
    assert found == pytest.approx([0.0, 0.01, 0.09], rel=0.15, abs=1e-3)
    plain = np.empty(3)
    score_scatter.py_func(residual[:300], np.where(np.isfinite(variance[:300]), variance[:300], -1.0), plain)
    assert plain == pytest.approx(fit_scatter(residual[:300], variance[:300]))


def test_number_of_terms_is_that_of_a_quadratic_function():
    assert n_terms(15) == 136
    assert quadratic_terms(np.array([[2.0, 3.0]])).tolist() == [[1, 2, 3, 4, 6, 9]]
