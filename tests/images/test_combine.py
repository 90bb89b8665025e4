import dataclasses

import numpy as np
import pytest

from astra.errors import DataError
from astra.images.calibration import Calibrations
from astra.images.combine import CombineConfig, combine_bias, combine_dark, combine_flat
from astra.images.combine_kernel import combine_stack
from astra.images.exposure import MASK_BAD
from astra.images.isr import correct_raw
from astra.images.isr_config import IsrConfig
from astra.images.overscan import OverscanConfig
from tests.images.calibration_frames import GAINS, SHAPE, Truth, make_amplifiers

TRUTH = Truth(5)
# One level for an amplifier: levels of rows have noise that pixels of a row share.
CLIPPED = IsrConfig(overscan_fit=OverscanConfig("clipped_mean"))
TIMES_S = (100.0, 200.0, 300.0, 300.0, 300.0, 400.0)


def biases(n=12, seed=1):
    rng = np.random.default_rng(seed)
    return [TRUTH.read_out(rng, 0.0, kind="bias", exposure=k) for k in range(n)]


def darks(seed=2):
    rng = np.random.default_rng(seed)
    return [TRUTH.read_out(rng, 0.0, time_s=t, kind="dark", exposure=k) for k, t in enumerate(TIMES_S)]


def flats(n=10, seed=3, light=9000.0):
    rng = np.random.default_rng(seed)
    levels = np.linspace(0.6, 1.0, n) * light
    return [TRUTH.read_out(rng, level, time_s=5.0, kind="flat", exposure=k) for k, level in enumerate(levels)]


def perfect(*kinds):
    return Calibrations(**{kind: TRUTH.calibration(kind) for kind in kinds})


@pytest.fixture(scope="module")
def combined():
    bias = combine_bias(biases(), isr=CLIPPED)
    dark = combine_dark(darks(), calibrations=Calibrations(bias=bias), isr=CLIPPED)
    flat = combine_flat(flats(), calibrations=Calibrations(bias=bias, dark=dark), isr=CLIPPED)
    return Calibrations(bias=bias, dark=dark, flat=flat)


def chi2(calibration, truth):
    return np.mean((calibration.image - truth) ** 2 / calibration.variance)


@pytest.mark.parametrize(
    ("kind", "combine", "frames", "known"),
    [
        ("bias", combine_bias, biases, ()),
        ("dark", combine_dark, darks, ("bias",)),
        ("flat", combine_flat, flats, ("bias", "dark")),
    ],
)
def test_combined_frames_are_the_truth_within_their_own_variance(kind, combine, frames, known):
    found = combine(frames(), calibrations=perfect(*known), isr=CLIPPED)
    # The levels of the overscans, which an amplifier shares, are not in the variance: a part in 1000 of it.
    assert chi2(found, getattr(TRUTH, kind)) == pytest.approx(1.0, abs=0.06)
    pull = (found.image - getattr(TRUTH, kind)) / np.sqrt(found.variance)
    assert np.abs(pull).max() < 5.5
    assert found.statistics["scatter_ratio_A0"] == pytest.approx(1.0, abs=0.05)
    assert found.statistics["n_frames"] == len(frames())
    assert found.gains == {"A0": GAINS[0], "A1": GAINS[1]}
    assert set(found.sections) == {"A0", "A1"}
    assert sum(found.image[section].size for section in found.sections.values()) == found.image.size
    assert not found.mask.any()


def test_a_flat_has_mean_one_and_darks_count_by_their_time():
    assert np.mean(combine_flat(flats(), calibrations=perfect("bias", "dark")).image) == pytest.approx(1.0)
    one = combine_dark(darks()[2:5], calibrations=perfect("bias"), isr=CLIPPED)
    all_of_them = combine_dark(darks(), calibrations=perfect("bias"), isr=CLIPPED)
    assert np.mean(all_of_them.variance) < np.mean(one.variance) * 3 / 6 * 1.2


def test_the_variance_has_that_of_the_bias_and_dark_that_were_subtracted(combined):
    for kind in ("dark", "flat"):
        assert chi2(getattr(combined, kind), getattr(TRUTH, kind)) == pytest.approx(1.0, abs=0.08)
    perfectly = combine_dark(darks(), calibrations=perfect("bias"), isr=CLIPPED)
    assert np.mean(combined.dark.variance) > 1.05 * np.mean(perfectly.variance)


def test_a_science_frame_corrected_with_combined_frames_is_unbiased(combined):
    pulls = []
    for seed in range(8):
        raw = TRUTH.read_out(np.random.default_rng(100 + seed), 500.0, time_s=60.0)
        exposure = correct_raw(raw, combined, CLIPPED)
        shared = combined.bias.variance + 60.0**2 * combined.dark.variance
        shared = (
            shared + 500.0**2 * combined.flat.variance * combined.flat.image**2
        ) / combined.flat.image**2
        pulls.append((exposure.image - 500.0) / np.sqrt(exposure.variance + shared))
    pulls = np.array(pulls)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.02)
    assert abs(np.mean(pulls)) < 0.1
    assert abs(np.mean(np.array(pulls)[:, :, :40]) - np.mean(np.array(pulls)[:, :, 40:])) < 0.15


def test_cosmic_rays_are_left_out():
    frames = biases(8)
    rng = np.random.default_rng(9)
    for frame in frames:
        for _ in range(40):
            frame.pixels[rng.integers(60), rng.integers(40)] += 3000.0
    found = combine_bias(frames, isr=CLIPPED)
    pull = (found.image - TRUTH.bias) / np.sqrt(found.variance)
    assert np.abs(pull).max() < 6.0
    assert found.statistics["n_used_A0"] < 7.95 < found.statistics["n_used_A1"]


def test_parts_that_are_read_again_give_the_same():
    frames = biases(6)
    reads = []

    def reader(index):
        def read():
            reads.append(index)
            return frames[index]

        return read

    whole = combine_bias(frames)
    parts = combine_bias([reader(k) for k in range(6)], config=CombineConfig(memory_mb=6 * 80 * 4 * 7 / 1e6))
    np.testing.assert_array_equal(parts.image, whole.image)
    np.testing.assert_array_equal(parts.variance, whole.variance)
    assert len(reads) == 6 * 9 + 1  # 60 rows, 7 at a time


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda raw: dataclasses.replace(raw, pixels=raw.pixels + 40.0 * (np.arange(128) < 40)), "level"),
        (
            lambda raw: dataclasses.replace(
                raw, pixels=raw.pixels + np.random.default_rng(1).normal(0, 6, raw.pixels.shape).astype("f4")
            ),
            "read noise",
        ),
        (
            lambda raw: dataclasses.replace(
                raw,
                pixels=raw.pixels
                + np.random.default_rng(1).normal(0, 6, raw.pixels.shape).astype("f4")
                * (np.arange(128) < 40),
            ),
            "noise over that expected",
        ),
    ],
)
def test_a_frame_unlike_the_others_is_dropped_and_named(spoil, reason):
    frames = biases(9)
    expected = combine_bias([*frames[:4], *frames[5:]])
    frames[4] = spoil(frames[4])
    found = combine_bias(frames)
    np.testing.assert_array_equal(found.image, expected.image)
    assert found.statistics["dropped"].startswith(f"4: {reason}")
    assert found.metadata["FRAMES"] == "0 1 2 3 5 6 7 8"


def test_flats_that_are_saturated_dark_or_of_another_shape_are_dropped():
    frames = flats(8)
    frames[1] = dataclasses.replace(frames[1], pixels=np.full_like(frames[1].pixels, 65000.0))
    frames[1].pixels[:, 40:64] = frames[1].pixels[:, 104:] = np.random.default_rng(1).normal(
        1000, 2, (60, 24)
    )
    frames[3] = TRUTH.read_out(np.random.default_rng(1), 0.0, kind="flat", exposure=3)
    frames[5].pixels[:, :40] *= 1.2
    dropped = combine_flat(frames, calibrations=perfect("bias", "dark")).statistics["dropped"].split("; ")
    assert [text[:2] for text in dropped] == ["1:", "3:", "5:"]
    assert "saturated" in dropped[0]
    assert "not above the noise" in dropped[1]
    assert "level" in dropped[2]


def test_pixels_without_any_value_are_bad_and_harmless():
    frames = biases(4)
    for frame in frames:
        frame.pixels[7, 8] = np.nan
    found = combine_bias(frames)
    assert np.argwhere(found.mask & MASK_BAD).tolist() == [[7, 8]]
    assert np.isfinite(found.image).all()


def test_a_dead_amplifier_is_bad_in_what_is_combined():
    amplifiers = list(make_amplifiers())
    amplifiers[1] = dataclasses.replace(amplifiers[1], is_dead=True)
    frames = [dataclasses.replace(frame, amplifiers=tuple(amplifiers)) for frame in flats(5)]
    found = combine_flat(frames, calibrations=perfect("bias", "dark"))
    assert (found.mask[:, 40:] & MASK_BAD).all()
    assert not (found.mask[:, :40] & MASK_BAD).any()
    assert (found.image[:, 40:] == 1.0).all()


def test_too_few_frames_are_an_error_that_names_those_left_out():
    with pytest.raises(DataError, match="a combined bias needs at least 3 frames, found none"):
        combine_bias([])
    with pytest.raises(DataError, match="at least 3 frames, found 2"):
        combine_bias(biases(2))
    frames = biases(3)
    frames[2] = dataclasses.replace(frames[2], pixels=frames[2].pixels + 90.0 * (np.arange(128) < 40))
    with pytest.raises(DataError, match="found 2; left out are 2: level"):
        combine_bias(frames)


def test_frames_that_do_not_belong_together_are_refused():
    frames = flats(4)
    info = dataclasses.replace(frames[2].info, physical_filter="sim-i")
    frames[2] = dataclasses.replace(frames[2], info=info)
    with pytest.raises(DataError, match=r"one detector and filter.*simcam 0 sim-i; simcam 0 sim-r"):
        combine_flat(frames, calibrations=perfect("bias", "dark"))
    other = dataclasses.replace(info, detector=1)
    with pytest.raises(DataError, match="one detector"):
        combine_bias([*biases(3), dataclasses.replace(biases(1)[0], info=other)])


def test_a_dark_without_time_is_refused():
    with pytest.raises(DataError, match=r"dark frame 0 has a dark time of 0\.0 s"):
        combine_dark(biases(3), calibrations=perfect("bias"))


def plain_combine(stack, photon, floor, amplifier, clip):
    """The same in plain numpy."""
    middle = np.nanmedian(stack, axis=0)
    n = np.isfinite(stack).sum(axis=0)
    expected = photon[:, None, None] * np.maximum(middle, 0) + floor[:, amplifier]
    kept = (stack - middle) ** 2 <= clip**2 * (1 + np.pi / 2 / n) * expected
    weights = np.where(kept, 1.0 / expected, 0.0)
    total = weights.sum(axis=0)
    mean = np.sum(weights * np.nan_to_num(stack), axis=0) / np.where(total > 0, total, 1.0)
    chi2 = np.sum(weights * (np.nan_to_num(stack) - mean) ** 2, axis=0)
    return mean, np.where(total > 0, 1.0 / np.maximum(total, 1e-9), 0.0), kept.sum(axis=0), chi2


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_compiled_combination_agrees_with_plain_numpy(n):
    rng = np.random.default_rng(n)
    amplifier = (np.arange(14 * 9).reshape(14, 9) % 3).astype(np.uint8)
    photon, floor = rng.uniform(0.1, 0.5, n), rng.uniform(1.0, 4.0, (n, 3))
    stack = rng.normal(20.0, 3.0, (n, 14, 9)).astype(np.float32)
    stack[0, 3, 3] = 900.0
    stack[-1, 5, 5] = np.nan if n > 1 else 20.0
    mean, variance = np.zeros((2, 14, 9), np.float32)
    count, sums, n_free = np.zeros((14, 9), np.uint16), np.zeros(3), np.zeros(3)
    combine_stack(stack, photon, floor, amplifier, 4.0, mean, variance, count, sums, n_free)
    expected = plain_combine(stack.astype(np.float64), photon, floor, amplifier, 4.0)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-5)
    np.testing.assert_allclose(variance, expected[1], rtol=1e-5)
    np.testing.assert_array_equal(count, expected[2])
    for index in range(3):
        assert sums[index] == pytest.approx(expected[3][amplifier == index].sum(), rel=1e-4, abs=1e-9)
        assert n_free[index] == np.maximum(expected[2] - 1, 0)[amplifier == index].sum()


def test_shapes_are_those_of_the_image():
    assert combine_bias(biases(3)).image.shape == SHAPE
