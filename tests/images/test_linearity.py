import dataclasses

import numpy as np
import pytest

from astra.images.amplifier import Amplifier
from astra.images.isr import remove_signature
from astra.images.isr_config import IsrConfig
from astra.images.linearity import correct_linearity

ROWS, COLUMNS = slice(0, 40), slice(0, 50)
KNOTS = tuple(np.linspace(0.0, 60000.0, 13))


def bent(signal):
    """What an amplifier gives that loses up to three per cent."""
    return signal - 0.03 * signal**2 / 60000.0


def excess_of_knots():
    """What has to be subtracted at the knots of the measured signal."""
    true = np.linspace(0.0, 70000.0, 200001)
    return tuple(knot - np.interp(knot, bent(true), true) for knot in KNOTS)


def table():
    """What has to be added for each whole adu from -10 on."""
    true = np.linspace(-100.0, 70000.0, 400001)
    measured = np.arange(-10.0, 60000.0)
    return tuple(np.interp(measured, bent(true), true) - measured)


def make(kind, values, knots=(), **changes):
    overscan = (ROWS, slice(50, 60))
    amplifier = Amplifier("a", (ROWS, COLUMNS), overscan, (ROWS, COLUMNS), 1.5, 3.0, 65000.0)
    return dataclasses.replace(
        amplifier, linearity_type=kind, linearity=values, linearity_knots=knots, **changes
    )


SPLINE = make("spline", excess_of_knots(), KNOTS)
TABLE = make("lookup_table", table(), (10.0,))


@pytest.mark.parametrize("amplifier", [SPLINE, TABLE], ids=["spline", "table"])
def test_a_bent_response_becomes_straight(amplifier):
    true = np.linspace(0.0, 55000.0, 2000)
    corrected = correct_linearity(bent(true).astype(np.float32), amplifier)
    assert np.abs(corrected - true).max() < 2.0
    assert np.abs(bent(true) - true).max() > 1000.0


@pytest.mark.parametrize("amplifier", [SPLINE, TABLE], ids=["spline", "table"])
def test_beyond_what_is_known_the_last_correction_holds(amplifier):
    ends = correct_linearity(np.array([-500.0, 65000.0, np.nan], np.float32), amplifier)
    assert ends[0] == pytest.approx(-500.0, abs=1.0)
    assert ends[1] - 65000.0 == pytest.approx(-amplifier.linearity[-1], rel=1e-3) or ends[1] > 65000.0
    assert np.isnan(ends[2])


def test_polynomials_and_squares_are_what_they_say():
    signal = np.array([0.0, 100.0, 20000.0], np.float32)
    expected = signal + 2e-7 * signal.astype(float) ** 2 - 1e-12 * signal.astype(float) ** 3
    np.testing.assert_allclose(
        correct_linearity(signal, make("polynomial", (2e-7, -1e-12))), expected, rtol=1e-6
    )
    np.testing.assert_allclose(
        correct_linearity(signal, make("squared", (2e-7,))),
        signal + 2e-7 * signal.astype(float) ** 2,
        rtol=1e-6,
    )
    for kind in ("none", "proportional"):
        np.testing.assert_array_equal(correct_linearity(signal, make(kind, ())), signal)


@pytest.mark.parametrize("amplifier", [SPLINE, TABLE], ids=["spline", "table"])
def test_signature_removal_straightens_any_response(amplifier):
    rng = np.random.default_rng(1)
    raw = rng.normal(1000.0, 2.0, size=(40, 60)).astype(np.float32)
    light = np.linspace(0.0, 50000.0, 50)
    raw[:, :50] += bent(light)
    frame = remove_signature(raw, [amplifier], reference_gain=3.0)
    assert np.abs(frame.image.mean(axis=0) - 0.5 * light).max() < 2.0
    plain = remove_signature(raw, [amplifier], reference_gain=3.0, config=IsrConfig(linearity=False))
    assert np.abs(plain.image.mean(axis=0) - 0.5 * light).max() > 500.0
    assert (frame.variance > 0).all()
    assert frame.mask.sum() == 0


@pytest.mark.parametrize(
    ("kind", "values", "knots"),
    [
        ("cubic", (), ()),
        ("squared", (1.0, 2.0), ()),
        ("spline", (1.0, 2.0), (1.0,)),
        ("spline", (1.0,), (1.0,)),
        ("lookup_table", (), ()),
        ("lookup_table", (1.0,), (1.0, 2.0)),
    ],
)
def test_an_impossible_correction_is_refused(kind, values, knots):
    with pytest.raises(ValueError, match="amplifier a: linearity_type must be one of"):
        make(kind, values, knots)
