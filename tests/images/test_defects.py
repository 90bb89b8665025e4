from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from astra.errors import DataError
from astra.images.calibration import Calibration
from astra.images.defects import BOX_DTYPE, KINDS, DefectConfig, boxes_of, build_defects, paint_boxes
from astra.images.exposure import MASK_BAD

SHAPE = (120, 200)


def calibration(kind, image, variance=1e-6, mask=None):
    image = image.astype(np.float32)
    mask = np.zeros(SHAPE, np.uint32) if mask is None else mask
    return Calibration(kind, "cam", 0, image, np.full_like(image, variance), mask, gain=2.0)


def gradient(low, high):
    rng = np.random.default_rng(2)
    return np.linspace(low, high, SHAPE[1]) * np.ones(SHAPE) * rng.normal(1.0, 0.005, SHAPE)


def found(defects):
    return {
        name: set(map(tuple, np.argwhere(defects.kinds & bit).tolist()))
        for name, bit in KINDS.items()
        if (defects.kinds & bit).any()
    }


def test_each_kind_of_defect_is_found_where_it_is_and_nowhere_else():
    bias, dark, flat = gradient(-1.0, 4.0), gradient(0.1, 0.4), gradient(0.7, 1.3)
    bias[5, 6] += 90.0
    dark[7, 8] += 0.8
    flat[9, 10] *= 0.02
    flat[11, 12] *= 0.5
    flat[13, 190] *= 1.6
    mask = np.zeros(SHAPE, np.uint32)
    mask[15, 16] = MASK_BAD
    defects = build_defects(
        [calibration("bias", bias), calibration("dark", dark), calibration("flat", flat, mask=mask)]
    )
    assert found(defects) == {
        "unstable_bias": {(5, 6)},
        "hot": {(7, 8)},
        "dead": {(9, 10)},
        "low_response": {(11, 12)},
        "high_response": {(13, 190)},
        "no_data": {(15, 16)},
    }
    assert defects.mask.sum() == len(defects.boxes) == 6


def test_what_is_within_the_noise_of_the_calibration_is_no_defect():
    dark = gradient(0.1, 0.1)
    dark[3, 3] += 0.9
    assert build_defects([calibration("dark", dark)]).mask.sum() == 1
    assert not build_defects([calibration("dark", dark, variance=0.2**2)]).mask.any()
    assert not build_defects([calibration("dark", dark)], DefectConfig(hot_electron_per_s=3.0)).mask.any()


def test_a_column_that_is_mostly_bad_is_bad_in_its_amplifier():
    flat = gradient(1.0, 1.0)
    flat[5:50, 40] = 0.3
    halves = [(slice(0, 60), slice(0, 200)), (slice(60, 120), slice(0, 200))]
    defects = build_defects([calibration("flat", flat)], sections=halves)
    assert defects.mask[:60, 40].all()
    assert not defects.mask[60:].any()
    assert build_defects([calibration("flat", flat)]).mask.sum() == 45
    named = replace(calibration("flat", flat), sections={"lower": halves[0], "upper": halves[1]})
    judged = build_defects([calibration("dark", gradient(0.1, 0.1)), named])
    np.testing.assert_array_equal(judged.kinds, defects.kinds)


def test_a_flat_without_usable_pixels_is_all_bad():
    mask = np.full(SHAPE, MASK_BAD)
    assert build_defects([calibration("flat", np.zeros(SHAPE), mask=mask)]).mask.all()


def test_calibrations_of_one_shape_are_required():
    with pytest.raises(DataError, match="found 0"):
        build_defects([])


@given(arrays(np.uint8, (7, 9), elements=st.sampled_from([0, 0, 1, 2, 3])))
def test_boxes_cover_the_pixels_once_and_exactly(kinds):
    boxes = boxes_of(kinds)
    np.testing.assert_array_equal(paint_boxes(boxes, kinds.shape), kinds)
    assert np.sum(boxes["width"] * boxes["height"]) == np.count_nonzero(kinds)


def test_a_block_is_one_box():
    kinds = np.zeros((20, 30), np.uint8)
    kinds[4:9, 10:25] = 4
    assert boxes_of(kinds).tolist() == [(10, 4, 15, 5, 4)]


def test_a_box_outside_of_the_image_is_refused():
    with pytest.raises(DataError, match="is not in an image"):
        paint_boxes(np.array([(8, 0, 5, 1, 1)], BOX_DTYPE), (10, 10))
