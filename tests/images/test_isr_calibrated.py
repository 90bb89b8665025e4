"""Signature removal with calibrations: physics, the plain twin, and detectors that are not as they should."""

import dataclasses

import numpy as np
import pytest

from astra.errors import DataError, FormatError
from astra.images.amplifier import Amplifier
from astra.images.calibration import AmplifierResponse, Calibrations
from astra.images.exposure import (
    MASK_BAD,
    MASK_EDGE,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SUSPECT,
    MASK_UNMASKEDNAN,
    MASK_VIGNETTED,
)
from astra.images.isr import correct_raw, remove_signature
from astra.images.isr_config import IsrConfig
from astra.images.overscan import OverscanConfig, measure_overscan
from tests.images.calibration_frames import GAINS, NOISES, REFERENCE_GAIN, SHAPE, Truth, make_amplifiers

TIME_S = 120.0
TRUTH = Truth()
CLIPPED = IsrConfig(overscan_fit=OverscanConfig("clipped_mean"))


def perfect(**changes):
    return Calibrations(**{kind: TRUTH.calibration(kind) for kind in ("bias", "dark", "flat")} | changes)


def science(seed=2, light=800.0, **changes):
    return TRUTH.read_out(np.random.default_rng(seed), light, time_s=TIME_S, **changes)


def plain_correct(raw, calibrations):
    """Overscan, linearity, bias, dark, flat, variance in plain numpy and double precision."""
    image, variance = np.empty(SHAPE), np.empty(SHAPE)
    for amplifier in raw.amplifiers:
        level = measure_overscan(raw.pixels[amplifier.overscan]).level[:, None]
        place, ratio = amplifier.assembled, amplifier.gain / REFERENCE_GAIN
        signal = raw.pixels[amplifier.data] - level
        signal = signal + sum(c * signal ** (k + 2) for k, c in enumerate(amplifier.linearity))
        signal = signal[:, ::-1] if amplifier.readout_corner == "LR" else signal
        charge = signal * ratio - calibrations.bias.image[place]
        flat = calibrations.flat.image[place]
        image[place] = (charge - calibrations.dark.image[place] * TIME_S) / flat
        floor = (amplifier.read_noise / REFERENCE_GAIN) ** 2
        variance[place] = (np.maximum(charge, 0.0) / REFERENCE_GAIN + floor) / flat**2
    return image, variance


@pytest.mark.parametrize("linearity", [(), (2e-7, -1e-12)])
def test_the_compiled_pass_agrees_with_plain_numpy(linearity):
    raw = science(amplifiers=make_amplifiers(linearity=linearity))
    exposure = correct_raw(raw, perfect())
    image, variance = plain_correct(raw, perfect())
    np.testing.assert_allclose(exposure.image, image, rtol=2e-6, atol=1e-3)
    np.testing.assert_allclose(exposure.variance, variance, rtol=1e-5)
    assert not exposure.mask.any()


def test_a_corrected_frame_is_the_light_within_its_own_errors():
    pulls = []
    for seed in range(12):
        exposure = correct_raw(science(seed), perfect(), CLIPPED)
        pulls.append((exposure.image - 800.0) / np.sqrt(exposure.variance))
    pulls = np.array(pulls)
    assert np.mean(pulls) == pytest.approx(0.0, abs=4.0 / np.sqrt(pulls.size) + 0.01)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.02)
    assert np.mean(pulls, axis=0).std() == pytest.approx(1.0 / np.sqrt(12), rel=0.05)


def test_the_noise_of_dark_electrons_counts():
    rng = np.random.default_rng(3)
    raw = [TRUTH.read_out(rng, 0.0, time_s=4000.0) for _ in range(10)]
    frames = [correct_raw(frame, perfect(), CLIPPED) for frame in raw]
    ratio = np.mean([frame.image**2 / frame.variance for frame in frames])
    assert ratio == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("step", ["bias", "dark", "flat"])
def test_each_step_can_be_left_out_and_the_header_says_so(step):
    everything = correct_raw(science(), perfect())
    without = correct_raw(science(), perfect(), IsrConfig(**{step: False}))
    assert everything.metadata[f"ISR{step.upper()}"] is True
    assert without.metadata[f"ISR{step.upper()}"] is False
    none = correct_raw(science(), dataclasses.replace(perfect(), **{step: None}))
    np.testing.assert_array_equal(without.image, none.image)
    assert np.abs(without.image - everything.image).max() > 1.0


SWITCH_CARDS = {
    "overscan": "ISROSCAN",
    "parallel_overscan": "ISRPOSCN",
    "saturation": "ISRSAT",
    "suspect": "ISRSUSP",
    "trails": "ISRTRAIL",
    "dead_amplifiers": "ISRDEADA",
    "photon_transfer": "ISRPTC",
    "linearity": "ISRLIN",
    "crosstalk": "ISRXTALK",
    "bias": "ISRBIAS",
    "dark": "ISRDARK",
    "flat": "ISRFLAT",
    "brighter_fatter": "ISRBF",
    "fringe": "ISRFRING",
    "defects": "ISRDEFEC",
    "variance": "ISRVAR",
    "vignetting": "ISRVIGN",
}


def test_every_switch_of_the_configuration_has_a_card():
    switches = {item.name for item in dataclasses.fields(IsrConfig) if isinstance(item.default, bool)}
    assert switches == set(SWITCH_CARDS)
    off = correct_raw(science(), perfect(), IsrConfig(**dict.fromkeys(switches, False))).metadata
    assert {off[card] for card in SWITCH_CARDS.values()} == {False}


def test_defects_that_the_camera_knows_are_told_in_the_header():
    bad = np.zeros(SHAPE, dtype=bool)
    bad[3, 4:7] = True
    raw = dataclasses.replace(science(), defects=bad)
    marked, plain = correct_raw(raw), correct_raw(raw, config=IsrConfig(defects=False))
    assert (marked.metadata["ISRDEFEC"], plain.metadata["ISRDEFEC"]) == (True, False)
    assert (marked.mask[3, 4:7] & MASK_BAD).all()
    assert not plain.mask.any()


def test_vignetted_pixels_are_marked_and_used_all_the_same():
    dark = np.zeros(SHAPE, dtype=bool)
    dark[:5] = True
    raw = dataclasses.replace(science(), vignetted=dark)
    marked, plain = correct_raw(raw), correct_raw(raw, config=IsrConfig(vignetting=False))
    np.testing.assert_array_equal(marked.mask, np.where(dark, MASK_VIGNETTED, 0))
    np.testing.assert_array_equal(marked.image, plain.image)
    assert not plain.mask.any()
    assert (marked.metadata["ISRVIGN"], plain.metadata["ISRVIGN"]) == (True, False)


def test_without_the_variance_plane_the_rest_is_the_same():
    with_it, without = (
        correct_raw(science(), perfect()),
        correct_raw(science(), perfect(), IsrConfig(variance=False)),
    )
    np.testing.assert_array_equal(without.image, with_it.image)
    np.testing.assert_array_equal(without.mask, with_it.mask)
    assert np.isnan(without.variance).all()
    assert (without.metadata["ISRVAR"], with_it.metadata["ISRVAR"]) == (False, True)


def test_the_header_tells_sources_units_and_amplifiers():
    sources = {"bias": ("bias.fits", "ab" * 32), "ptc": ("not-used.fits", "cd" * 32)}
    cards = correct_raw(science(), perfect(sources=sources)).metadata
    assert (cards["BIASFILE"], cards["BIASSUM"]) == ("bias.fits", "ab" * 16)
    assert "DARKFILE" not in cards
    assert (cards["ISRUNIT"], cards["ISRGAIN"], cards["OVERSCAN"]) == ("adu", 2.0, "mean per row")
    assert cards["OSLEVEL2"] == pytest.approx(1200.0, abs=1.0)
    assert cards["OSNOISE1"] == pytest.approx(NOISES[0] / GAINS[0], rel=0.1)
    assert (cards["AMPGAIN1"], cards["AMPRN2"], cards["AMPSAT1"]) == (1.9, 6.0, 60000.0)
    assert (cards["ISROSCAN"], cards["ISRXTALK"], cards["ISRLIN"], cards["DEADAMPS"]) == (
        True,
        False,
        False,
        "",
    )
    assert all(len(key) <= 8 for key in cards)


def test_bad_pixels_of_calibrations_and_defects_are_bad():
    mask = np.zeros(SHAPE, np.uint32)
    mask[3, 4] = MASK_BAD
    flat = TRUTH.flat.copy()
    flat[10, 11], flat[12, 13] = 0.0, np.nan
    defects = np.zeros(SHAPE, bool)
    defects[20, 21] = True
    calibrations = perfect(
        bias=TRUTH.calibration("bias", mask=mask),
        flat=TRUTH.calibration("flat", image=flat.astype(np.float32)),
        defects=defects,
    )
    exposure = correct_raw(science(), calibrations)
    expected = np.zeros(SHAPE, bool)
    expected[[3, 10, 12, 20], [4, 11, 13, 21]] = True
    np.testing.assert_array_equal(exposure.mask & MASK_BAD != 0, expected)
    assert np.isfinite(exposure.image).all()
    assert np.isfinite(exposure.variance).all()


def test_a_flat_is_scaled_by_its_mean_or_median_or_by_the_user():
    doubled = TRUTH.calibration("flat", image=(2.0 * TRUTH.flat).astype(np.float32))
    plain = correct_raw(science(), perfect())
    for config in (
        IsrConfig(flat_scale="mean"),
        IsrConfig(flat_scale="user", flat_user_scale=2.0),
    ):
        image = correct_raw(science(), perfect(flat=doubled), config).image
        np.testing.assert_allclose(image, plain.image, rtol=1e-4, atol=1e-3)
    median = correct_raw(science(), perfect(flat=doubled), IsrConfig(flat_scale="median")).image
    np.testing.assert_allclose(median, plain.image * np.median(TRUTH.flat), rtol=1e-4, atol=1e-3)


def test_gains_measured_since_do_not_spoil_older_calibrations():
    wrong = [
        dataclasses.replace(a, gain=a.gain * f) for a, f in zip(make_amplifiers(), (0.8, 1.3), strict=True)
    ]
    responses = {
        f"A{k}": AmplifierResponse(gain, 0.01, noise)
        for k, (gain, noise) in enumerate(zip(GAINS, NOISES, strict=True))
    }
    old = perfect()
    for kind in ("bias", "dark", "flat"):
        # What was made with wrong gains: the same adu of each amplifier, in other electrons.
        image = getattr(old, kind).image.copy()
        for amplifier, gain in zip(wrong, GAINS, strict=True):
            image[amplifier.assembled] *= amplifier.gain / gain
        image = image / image.mean() if kind == "flat" else image
        changed = TRUTH.calibration(kind, image=image, gains={a.name: a.gain for a in wrong})
        old = dataclasses.replace(old, **{kind: changed})
    raw = science(amplifiers=tuple(wrong))
    exposure = correct_raw(raw, dataclasses.replace(old, responses=responses))
    expected = correct_raw(science(), perfect())
    ratio = exposure.image / expected.image
    assert np.std(ratio) < 1e-4
    assert np.mean(ratio) == pytest.approx(1.0, abs=1e-4)
    assert exposure.metadata["ISRPTC"] is True


def test_calibrations_of_another_detector_are_refused():
    small = TRUTH.calibration("bias")
    small = dataclasses.replace(
        small, image=small.image[1:], variance=small.variance[1:], mask=small.mask[1:]
    )
    with pytest.raises(DataError, match=r"exposure 1, detector 0 of simcam: the bias has shape \(59, 80\)"):
        correct_raw(science(), perfect(bias=small))
    with pytest.raises(DataError, match="made with amplifiers B0, the frame has A0"):
        correct_raw(science(), perfect(dark=TRUTH.calibration("dark", gains={"B0": 1.0})))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"is_dead": True}, "known to be dead"),
        ({"read_noise": 0.3}, "noise of"),
        ({"saturation": 900.0}, "overscan of"),
    ],
)
def test_a_dead_amplifier_is_masked_whole_and_named(change, reason):
    amplifiers = list(make_amplifiers())
    amplifiers[1] = dataclasses.replace(amplifiers[1], **change)
    raw = science(amplifiers=tuple(amplifiers))
    exposure = correct_raw(raw, perfect())
    left, right = exposure.mask[:, :40], exposure.mask[:, 40:]
    assert not left.any()
    assert ((right & (MASK_BAD | MASK_NO_DATA)) == (MASK_BAD | MASK_NO_DATA)).all()
    assert not exposure.image[:, 40:].any()
    assert exposure.metadata["DEADAMPS"] == "A1"
    assert exposure.metadata["NBAD2"] == 60 * 40
    frame = remove_signature(raw.pixels, raw.amplifiers, calibrations=perfect(), reference_gain=2.0)
    assert reason in frame.dead["A1"]
    kept = correct_raw(raw, perfect(), IsrConfig(dead_amplifiers=False))
    assert kept.metadata["DEADAMPS"] == ""


def test_an_amplifier_that_reads_one_value_is_dead():
    raw = science()
    raw.pixels[:, 64:] = 1111.0
    assert correct_raw(raw).metadata["DEADAMPS"] == "A1"


def test_a_range_of_overscan_levels_may_be_asked_for():
    config = IsrConfig(overscan_min_adu=1100.0)
    assert correct_raw(science(), config=config).metadata["DEADAMPS"] == "A0"


def test_a_frame_of_dead_amplifiers_is_unprocessable():
    with pytest.raises(DataError, match="unprocessable: all amplifiers are dead: amplifier A0 is known"):
        correct_raw(science(amplifiers=make_amplifiers(is_dead=True)))


def test_a_trimmed_overscan_is_a_clear_error():
    raw = science()
    cut = dataclasses.replace(raw, pixels=raw.pixels[:, :120])
    with pytest.raises(
        FormatError, match=r"exposure 1, detector 0 of simcam: amplifier A1: overscan .* trimmed"
    ):
        correct_raw(cut)


def test_a_camera_without_overscan_keeps_its_pedestal_and_says_so():
    amplifiers = [dataclasses.replace(a, overscan=(slice(0, 0), slice(0, 0))) for a in make_amplifiers()]
    exposure = correct_raw(science(amplifiers=tuple(make_amplifiers())), config=IsrConfig(overscan=False))
    bare = correct_raw(dataclasses.replace(science(), amplifiers=tuple(amplifiers)))
    np.testing.assert_array_equal(bare.image, exposure.image)
    assert (bare.metadata["OVERSCAN"], bare.metadata["ISROSCAN"]) == ("none", False)
    assert "OSLEVEL1" not in bare.metadata


@pytest.mark.parametrize("corner", ["LL", "LR", "UL", "UR"])
def test_calibrations_stay_in_place_however_amplifiers_are_read(corner):
    flips = {"LL": (1, 1), "LR": (1, -1), "UL": (-1, 1), "UR": (-1, -1)}
    raw = science()
    expected = correct_raw(raw, perfect())
    pixels, turned = raw.pixels.copy(), []
    for amplifier in raw.amplifiers:
        part = raw.pixels[amplifier.data]
        image_order = part[:, ::-1] if amplifier.readout_corner == "LR" else part
        dy, dx = flips[corner]
        pixels[amplifier.data] = image_order[::dy, ::dx]
        pixels[amplifier.overscan] = raw.pixels[amplifier.overscan][::dy]
        turned.append(dataclasses.replace(amplifier, readout_corner=corner))
    found = correct_raw(dataclasses.replace(raw, pixels=pixels, amplifiers=tuple(turned)), perfect())
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_array_equal(found.variance, expected.variance)


def test_amplifiers_above_each_other_are_assembled_too():
    rows, columns = slice(0, 30), slice(0, 80)
    amplifiers = [
        Amplifier("low", (rows, columns), (rows, slice(80, 90)), (rows, columns), 1.0, 5.0, 6e4),
        Amplifier(
            "high",
            (slice(30, 60), columns),
            (slice(30, 60), slice(80, 90)),
            (slice(30, 60), columns),
            1.0,
            5.0,
            6e4,
            "UL",
        ),
    ]
    rng = np.random.default_rng(6)
    raw = rng.normal(1000.0, 5.0, size=(60, 90)).astype(np.float32)
    light = np.add.outer(np.arange(60.0), 10.0 * np.arange(80.0))
    raw[:30, :80] += light[:30]
    raw[30:, :80] += light[:29:-1]
    image = remove_signature(raw, amplifiers).image
    assert np.std(image - light) == pytest.approx(5.0, rel=0.1)


def test_pixels_that_are_not_finite_are_marked_and_harmless():
    raw = science()
    raw.pixels[5, 7], raw.pixels[6, 64] = np.nan, -np.inf
    exposure = correct_raw(raw, perfect())
    expected = np.zeros(SHAPE, bool)
    expected[5, 7] = expected[6, 79] = True
    np.testing.assert_array_equal(exposure.mask & MASK_UNMASKEDNAN != 0, expected)
    np.testing.assert_array_equal(exposure.mask & MASK_BAD != 0, expected)
    assert not exposure.image[expected].any()
    assert np.isfinite(exposure.image).all()
    assert (exposure.variance > 0).all()


def test_a_row_without_overscan_is_bad_in_its_amplifier_alone():
    raw = science()
    raw.pixels[8, 104:128] = np.nan
    mask = correct_raw(raw, perfect()).mask
    assert (mask[8, 40:] & MASK_BAD).all()
    assert np.count_nonzero(mask) == 40


def test_pixels_without_variance_are_bad():
    amplifiers = tuple(dataclasses.replace(a, read_noise=0.0) for a in make_amplifiers())
    raw = science(amplifiers=amplifiers)
    raw.pixels[3, 4] = 900.0
    exposure = correct_raw(raw, config=IsrConfig(dead_amplifiers=False))
    np.testing.assert_array_equal(exposure.mask & MASK_BAD != 0, exposure.variance <= 0)
    assert np.argwhere(exposure.mask & MASK_BAD).tolist() == [[3, 4]]


def test_a_frame_that_is_saturated_everywhere_is_all_masked():
    raw = science()
    for amplifier in raw.amplifiers:
        raw.pixels[amplifier.data] = 65535
    exposure = correct_raw(raw, perfect())
    assert (exposure.mask & MASK_SAT).all()
    assert exposure.metadata["NSAT1"] == 60 * 40


def test_suspect_values_and_edges_are_marked():
    raw = science(amplifiers=make_amplifiers(suspect=30000.0))
    raw.pixels[9, 9] = 30000.0
    mask = correct_raw(raw, config=IsrConfig(edge_pixel=2)).mask
    assert np.argwhere(mask & MASK_SUSPECT).tolist() == [[9, 9]]
    inner = np.zeros(SHAPE, bool)
    inner[2:-2, 2:-2] = True
    np.testing.assert_array_equal(mask & MASK_EDGE == 0, inner)
    assert not correct_raw(raw, config=IsrConfig(suspect=False)).mask.any()


def test_a_parallel_overscan_removes_what_columns_have_in_common():
    rng = np.random.default_rng(4)
    columns = np.linspace(0.0, 30.0, 40)
    rows = slice(0, 50)
    amplifier = Amplifier(
        "a",
        (rows, slice(0, 40)),
        (rows, slice(40, 60)),
        (rows, slice(0, 40)),
        1.0,
        3.0,
        6e4,
        "LR",
        parallel_overscan=(slice(50, 70), slice(0, 40)),
    )
    raw = rng.normal(500.0, 3.0, size=(70, 60)).astype(np.float32)
    raw[:, :40] += columns
    config = IsrConfig(parallel_overscan=True)
    image = remove_signature(raw, [amplifier], config=config).image
    assert np.ptp(np.median(image, axis=0)) < 5.0
    assert np.ptp(np.median(remove_signature(raw, [amplifier]).image, axis=0)) > 25.0


def test_neither_raw_nor_calibrations_are_changed():
    raw, calibrations = science(), perfect()
    before = [raw.pixels.copy(), *(image.image.copy() for image in calibrations.images)]
    correct_raw(raw, calibrations)
    after = [raw.pixels, *(image.image for image in calibrations.images)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
