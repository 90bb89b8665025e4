import dataclasses
import itertools
import warnings

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from astra.images.amplifier import Amplifier
from astra.images.exposure import MASK_BAD, MASK_SAT
from astra.images.isr import (
    measure_gain,
    measure_overscan,
    remove_signature,
)

ROWS = slice(0, 40)


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
    return image, variance, saturated * MASK_SAT | bad * MASK_BAD


@pytest.mark.parametrize("corner", ["LL", "LR", "UL", "UR"])
@pytest.mark.parametrize("grow", [0, 1, 3])
def test_the_compiled_pass_agrees_with_plain_numpy(corner, grow):
    raw = make_raw().astype(np.float32)
    rng = np.random.default_rng(4)
    raw[rng.integers(0, 40, 9), rng.integers(4, 34, 9)] = 65535
    raw[3, 60], raw[5, 61] = np.nan, np.inf
    amplifiers = two_amplifiers(readout_corner=corner, linearity=(1e-6, -2e-11))
    frame = remove_signature(raw, amplifiers, saturation_grow_pixel=grow)
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


@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize("per_row", [True, False])
def test_overscan_level_and_noise_are_right_and_ignore_outliers(statistic, per_row):
    rng = np.random.default_rng(9)
    section = rng.normal(500.0, 4.0, size=(400, 32))
    section[::7, 3] = 65535
    section[5, 5] = np.nan
    found = measure_overscan(section, statistic=statistic, per_row=per_row)
    assert found.level.shape == (400,)
    assert np.mean(found.level) == pytest.approx(500.0, abs=0.2)
    assert found.noise_adu == pytest.approx(4.0, rel=0.02)
    expected_scatter = 4.0 / np.sqrt(32) * (1.25 if statistic == "median" else 1.0) if per_row else 0.0
    assert np.std(found.level) == pytest.approx(expected_scatter, rel=0.15)


def test_a_level_per_row_follows_a_drifting_bias():
    raw = make_raw() + np.arange(40, dtype=np.uint16)[:, None]
    rows = remove_signature(raw, two_amplifiers()).image[:, :30].mean(axis=1)
    assert np.std(rows) < 2.0
    rows = remove_signature(raw, two_amplifiers(), per_row=False).image[:, :30].mean(axis=1)
    assert np.std(rows) > 10.0


def test_a_quiet_overscan_of_whole_numbers_has_a_level():
    section = np.full((5, 8), 1000, dtype=np.uint16)
    section[:, 0] = 1001
    found = measure_overscan(section, per_row=False)
    assert found.level == pytest.approx(1000.125)


@pytest.mark.parametrize(
    "section", [np.zeros((0, 4)), np.zeros((4, 0)), np.zeros(4), np.full((2, 3), np.nan)]
)
def test_an_overscan_without_values_is_refused(section):
    with pytest.raises(ValueError, match="overscan"):
        measure_overscan(section)


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


def test_gain_of_simulated_flats_is_recovered():
    rng = np.random.default_rng(2)
    illumination = np.linspace(500.0, 20000.0, 300)[None] * (1 + 0.01 * rng.normal(size=(200, 300)))
    flats = [
        (rng.poisson(illumination * 1.7) / 1.7 * scale + rng.normal(0, 4.0, size=illumination.shape))
        for scale in (1.0, 1.0)
    ]
    assert measure_gain(*flats, noise_adu=4.0) == pytest.approx(1.7, rel=0.01)


def test_flats_without_light_or_of_other_shape_have_no_gain():
    dark = np.random.default_rng(1).normal(0.1, 4.0, size=(50, 50))
    with pytest.raises(ValueError, match="no signal above the read noise"):
        measure_gain(dark, dark, noise_adu=40.0)
    with pytest.raises(ValueError, match="one shape"):
        measure_gain(dark, dark[1:], noise_adu=4.0)


@pytest.fixture(scope="module")
def kast_flats(shared_data):
    folder = shared_data / "raw_ccd" / "kast_blue"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [fits.getdata(folder / f"b{number}.fits.gz") for number in range(1020, 1025)]


def kast_amplifiers():
    rows = slice(0, 350)
    return [
        Amplifier(
            "1", (rows, slice(0, 1024)), (rows, slice(2052, 2080)), (rows, slice(0, 1024)), 1.225, 3.64, 65535
        ),
        Amplifier(
            "2",
            (rows, slice(1024, 2048)),
            (rows, slice(2083, 2111)),
            (rows, slice(1024, 2048)),
            1.259,
            3.58,
            65535,
        ),
    ]


def test_photon_transfer_on_real_flats_gives_the_known_gain_and_read_noise(kast_flats):
    frames = [remove_signature(flat, kast_amplifiers()) for flat in kast_flats]
    for index, amplifier in enumerate(kast_amplifiers()):
        noise_adu = np.mean([frame.overscans[index].noise_adu for frame in frames])
        pairs = itertools.combinations([frame.image[amplifier.assembled] for frame in frames], 2)
        gain = np.mean([measure_gain(*pair, noise_adu=noise_adu) for pair in pairs])
        assert gain == pytest.approx(amplifier.gain, rel=0.05)
        assert gain * noise_adu == pytest.approx(amplifier.read_noise, rel=0.05)


def test_predicted_variance_is_the_scatter_between_real_flats(kast_flats):
    first, second = (remove_signature(flat, kast_amplifiers()) for flat in kast_flats[:2])
    ratio = np.median(second.image[100:250, 600:2000] / first.image[100:250, 600:2000])
    pull = (second.image - ratio * first.image) / np.sqrt(second.variance + ratio**2 * first.variance)
    core = pull[100:250, 600:2000]
    assert 1.4826 * np.median(np.abs(core - np.median(core))) == pytest.approx(1.0, abs=0.05)
