import dataclasses

import numpy as np
import pytest

from astra.errors import TooFewSourcesError
from astra.images.calibration import Calibrations
from astra.images.fringe import fit_fringes
from astra.images.isr import correct_raw
from astra.images.isr_config import IsrConfig
from tests.images.calibration_frames import Truth

SHAPE = (160, 220)


def pattern(shape=SHAPE, period=17.0):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.sin(2 * np.pi * (x + 0.6 * y) / period) * (1.0 + 0.2 * np.cos(y / 30.0))


def scene(amplitude, seed=1):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    sky = 500.0 + 0.3 * x + 0.1 * y
    image = sky + amplitude * pattern() + rng.normal(0.0, 20.0, SHAPE)
    for _ in range(25):
        r2 = (y - rng.uniform(0, SHAPE[0])) ** 2 + (x - rng.uniform(0, SHAPE[1])) ** 2
        image += rng.uniform(500, 20000) * np.exp(-0.5 * r2 / 4.0)
    return image.astype(np.float32)


@pytest.mark.parametrize("amplitude", [0.0, 15.0, -8.0])
def test_the_amplitude_is_found_under_a_gradient_and_between_stars(amplitude):
    fit = fit_fringes(scene(amplitude), pattern().astype(np.float32), np.zeros(SHAPE, bool))
    assert fit.amplitude == pytest.approx(amplitude, abs=max(0.06 * abs(amplitude), 0.7))
    assert fit.n_used > 1000


def test_bad_pixels_do_not_count():
    image, bad = scene(15.0), np.zeros(SHAPE, bool)
    bad[40:60] = True
    image[40:60] = np.nan
    assert fit_fringes(image, pattern().astype(np.float32), bad).amplitude == pytest.approx(15.0, abs=1.0)


def test_nothing_usable_is_an_error_and_no_pattern_no_amplitude():
    with pytest.raises(TooFewSourcesError, match="0 places are usable"):
        fit_fringes(scene(1.0), pattern().astype(np.float32), np.ones(SHAPE, bool))
    assert fit_fringes(scene(1.0), np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool)).amplitude == 0.0


def test_signature_removal_subtracts_fringes_in_the_filters_that_have_them():
    truth = Truth(1)
    frame = pattern((60, 80)).astype(np.float32)
    fringe = dataclasses.replace(truth.calibration("flat"), kind="fringe", image=frame)
    flat = Calibrations(flat=truth.calibration("flat"), bias=truth.calibration("bias"))
    raw = truth.read_out(np.random.default_rng(1), 3000.0 + 60.0 * frame)
    plain = correct_raw(raw, flat)
    found = correct_raw(raw, dataclasses.replace(flat, fringe=fringe))
    assert found.metadata["FRNGAMP"] == pytest.approx(60.0, rel=0.15)
    assert abs(np.mean(found.image * frame)) < 0.3 * abs(np.mean(plain.image * frame))
    assert (found.metadata["ISRFRING"], plain.metadata["ISRFRING"]) == (True, False)
    other = correct_raw(raw, dataclasses.replace(flat, fringe=fringe), IsrConfig(fringe_filters=("sim-z",)))
    np.testing.assert_array_equal(other.image, plain.image)
    assert other.metadata["ISRFRING"] is False
