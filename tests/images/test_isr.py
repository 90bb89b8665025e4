import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from astra.images.amplifier import Amplifier
from astra.images.exposure import MASK_BAD, MASK_SAT, MASK_UNMASKEDNAN
from astra.images.isr import remove_signature
from astra.images.isr_config import IsrConfig
from astra.images.overscan import OverscanConfig, measure_overscan

ROWS = slice(0, 40)
ONE_LEVEL = IsrConfig(overscan_fit=OverscanConfig("clipped_mean"))


def two_amplifiers(**changes):
    """Two amplifiers of 40 x 30; the second is read out from the right, and its overscan comes first."""
    left = Amplifier(
        "left", (ROWS, slice(4, 34)), (ROWS, slice(34, 44)), (ROWS, slice(0, 30)), 2.0, 6.0, 60000.0
    )
    right = Amplifier(
        "right", (ROWS, slice(54, 84)), (ROWS, slice(44, 54)), (ROWS, slice(30, 60)), 1.5, 3.0, 50000.0, "LR"
    )
    return [dataclasses.replace(amplifier, **changes) for amplifier in (left, right)]


def make_raw(seed=1, signal=200.0):
    rng = np.random.default_rng(seed)
    raw = rng.normal(1000.0, 3.0, size=(40, 84))
    raw[:, 4:34] += signal
    raw[:, 54:84] += 2 * signal
    return np.round(raw).astype(np.uint16)


def plain_remove_signature(raw, amplifiers, grow):
    """The same in plain numpy."""
    image, variance = np.zeros((40, 60)), np.zeros((40, 60))
    saturated, bad = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    flips = {"LL": (1, 1), "LR": (1, -1), "UL": (-1, 1), "UR": (-1, -1)}
    for amplifier in amplifiers:
        level = measure_overscan(raw[amplifier.overscan]).level
        values = raw[amplifier.data].astype(np.float64)
        signal = np.where(np.isfinite(values), values - level[:, None], 0.0)
        signal = signal + sum(c * signal ** (k + 2) for k, c in enumerate(amplifier.linearity))
        dy, dx = flips[amplifier.readout_corner]
        place = amplifier.assembled
        noise = np.maximum(signal, 0) / amplifier.gain + (amplifier.read_noise / amplifier.gain) ** 2
        image[place], variance[place] = signal[::dy, ::dx], noise[::dy, ::dx]
        saturated[place] = (np.isfinite(values) & (values >= amplifier.saturation))[::dy, ::dx]
        bad[place] = ~np.isfinite(values)[::dy, ::dx]
    if grow:
        saturated = ndimage.binary_dilation(saturated, np.ones((2 * grow + 1,) * 2))
    return image, variance, saturated * MASK_SAT | bad * (MASK_BAD | MASK_UNMASKEDNAN)


@pytest.mark.parametrize("corner", ["LL", "LR", "UL", "UR"])
@pytest.mark.parametrize("grow", [0, 1, 3])
def test_the_compiled_pass_agrees_with_plain_numpy(corner, grow):
    raw = make_raw().astype(np.float32)
    rng = np.random.default_rng(4)
    raw[rng.integers(0, 40, 9), rng.integers(4, 34, 9)] = 65535
    raw[3, 60], raw[5, 61] = np.nan, np.inf
    amplifiers = two_amplifiers(readout_corner=corner, linearity=(1e-6, -2e-11))
    frame = remove_signature(raw, amplifiers, config=IsrConfig(saturation_grow_pixel=grow))
    image, variance, mask = plain_remove_signature(raw, amplifiers, grow)
    np.testing.assert_allclose(frame.image, image, rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(frame.variance, variance, rtol=1e-6)
    np.testing.assert_array_equal(frame.mask, mask)
    assert (frame.image.dtype, frame.variance.dtype, frame.mask.dtype) == (np.float32, np.float32, np.uint32)


def test_overscan_is_removed_and_sections_are_trimmed_and_placed():
    frame = remove_signature(make_raw(signal=200.0), two_amplifiers())
    assert frame.image.shape == (40, 60)
    assert np.mean(frame.image[:, :30]) == pytest.approx(200.0, abs=0.5)
    assert np.mean(frame.image[:, 30:]) == pytest.approx(400.0, abs=0.5)
    assert not frame.mask.any()


def test_an_amplifier_read_from_the_right_is_mirrored():
    raw = make_raw()
    raw[7, 54] += 5000
    image = remove_signature(raw, two_amplifiers()).image
    assert np.unravel_index(np.argmax(image), image.shape) == (7, 59)


def test_variance_is_photons_and_read_noise_in_adu():
    variance = remove_signature(make_raw(signal=10000.0), two_amplifiers()).variance
    assert np.mean(variance[:, :30]) == pytest.approx(10000 / 2.0 + (6.0 / 2.0) ** 2, rel=1e-3)
    assert np.mean(variance[:, 30:]) == pytest.approx(20000 / 1.5 + (3.0 / 1.5) ** 2, rel=1e-3)


def test_a_reference_gain_gives_equal_counts_and_errors_for_equal_light():
    own = remove_signature(make_raw(signal=10000.0), two_amplifiers())
    frame = remove_signature(make_raw(signal=10000.0), two_amplifiers(), reference_gain=1.0)
    np.testing.assert_allclose(frame.image[:, :30], own.image[:, :30] * 2.0, rtol=1e-6)
    np.testing.assert_allclose(frame.image[:, 30:], own.image[:, 30:] * 1.5, rtol=1e-6)
    np.testing.assert_allclose(
        frame.variance, np.maximum(frame.image, 0) + np.repeat([36.0, 9.0], 30), rtol=1e-6
    )


def test_a_negative_signal_has_the_variance_of_the_read_noise():
    variance = remove_signature(make_raw(signal=-500.0), two_amplifiers()).variance
    np.testing.assert_allclose(variance[:, :30], (6.0 / 2.0) ** 2)


def test_saturation_is_judged_on_the_raw_value_and_grows():
    raw = make_raw()
    raw[20, 10], raw[20, 70] = 59999, 50000
    mask = remove_signature(raw, two_amplifiers()).mask
    expected = np.zeros((40, 60), bool)
    expected[19:22, 42:45] = True  # column 70 of the raw is the 17th of a mirrored amplifier: 59 - 16 = 43
    np.testing.assert_array_equal(mask & MASK_SAT != 0, expected)


def test_known_bad_pixels_are_marked():
    bad = np.zeros((40, 60), bool)
    bad[:, 17] = True
    mask = remove_signature(make_raw(), two_amplifiers(), bad_pixels=bad).mask
    np.testing.assert_array_equal(mask == MASK_BAD, bad)


def test_the_raw_frame_is_not_changed():
    raw = make_raw().astype(np.float32)
    before = raw.copy()
    remove_signature(raw, two_amplifiers())
    np.testing.assert_array_equal(raw, before)


def test_a_level_per_row_follows_a_drifting_bias():
    raw = make_raw() + np.arange(40, dtype=np.uint16)[:, None]
    rows = remove_signature(raw, two_amplifiers()).image[:, :30].mean(axis=1)
    assert np.std(rows) < 2.0
    rows = remove_signature(raw, two_amplifiers(), config=ONE_LEVEL).image[:, :30].mean(axis=1)
    assert np.std(rows) > 10.0


def test_sections_that_do_not_fit_are_refused():
    left, right = two_amplifiers()
    with pytest.raises(ValueError, match="do not tile"):
        remove_signature(make_raw(), [right])
    with pytest.raises(ValueError, match=r"amplifier right: data section .* does not have the shape"):
        remove_signature(make_raw()[:, :80], [left, right])
    with pytest.raises(ValueError, match=r"amplifier left: data section"):
        remove_signature(make_raw()[:30], [left, right])
    short = dataclasses.replace(left, overscan=(slice(0, 10), slice(34, 44)))
    with pytest.raises(ValueError, match=r"amplifier left: overscan section .* 40 rows"):
        remove_signature(make_raw(), [short, right])
    with pytest.raises(ValueError, match="2-d and has an amplifier"):
        remove_signature(make_raw(), [])


@pytest.mark.parametrize("change", [{"gain": 0.0}, {"read_noise": -1.0}, {"readout_corner": "XX"}])
def test_an_impossible_amplifier_is_refused(change):
    with pytest.raises(ValueError, match="amplifier left"):
        two_amplifiers(**change)
