import numpy as np
import pytest

from astra.sky.detection_rules import DetectionRules, count_reasons, distrust_reasons, rejection_reasons

FLAGS = (
    *("sky_source", "centroid_flag", "pixelFlags_crCenter", "pixelFlags_high_varianceCenterAll"),
    *("pixelFlags_offimage", "pixelFlags_saturatedCenter", "glint_trail", "trail_flag", "trail_flag_edge"),
)
NUMBERS = ("scienceFlux", "scienceFluxErr", "exposureTime", "trailLength", "bboxSize", "snr", "reliability")
DTYPE = np.dtype([("ra", "f8"), ("dec", "f8"), *[(n, "f4") for n in NUMBERS], *[(n, "?") for n in FLAGS]])


def sources(n):
    """Good detections of a visit of 30 s, in which 10 deg/d are 12.5 arcsec."""
    rows = np.zeros(n, DTYPE)
    rows["scienceFluxErr"], rows["exposureTime"], rows["snr"], rows["reliability"] = 1.0, 30.0, 9.0, 0.9
    return rows


@pytest.mark.parametrize("flag", FLAGS[:5])
def test_what_is_flagged_as_no_measurement_is_rejected_by_that_name(flag):
    rows = sources(2)
    rows[flag][1] = True
    assert rejection_reasons(rows).tolist() == ["", flag]


def test_a_hole_in_the_science_image_and_a_lost_position_are_rejected():
    rows = sources(4)
    rows["scienceFlux"] = [-1.9, -2.1, np.nan, 0.0]
    rows["ra"][3] = np.nan
    assert rejection_reasons(rows).tolist() == ["", "science_snr", "", "position"]
    assert rejection_reasons(rows, DetectionRules(min_science_snr=-9)).tolist() == ["", "", "", "position"]


def test_trails_of_ten_degrees_a_day_are_rejected():
    rows = sources(4)
    rows["trailLength"] = [12.4, 12.6, np.nan, 12.6]
    rows["exposureTime"][3] = 60.0
    assert rejection_reasons(rows).tolist() == ["", "trail", "", ""]
    slow = DetectionRules(max_trail_deg_per_day=5.0)
    assert rejection_reasons(rows, slow).tolist() == ["trail", "trail", "", "trail"]
    assert not rejection_reasons(rows, DetectionRules(max_trail_deg_per_day=np.inf)).any()


def test_the_footprint_stands_for_a_trail_that_could_not_be_fitted():
    rows = sources(3)
    rows["bboxSize"], rows["trail_flag"] = [63, 63, 62], [True, False, True]
    assert rejection_reasons(rows, pixel_scale_arcsec=0.2).tolist() == ["trail_bbox", "", ""]
    assert not rejection_reasons(rows).any()


def test_half_a_trail_at_the_edge_is_rejected_on_demand():
    rows = sources(3)
    rows["trail_flag_edge"], rows["trailLength"] = [True, True, False], [6.3, 6.2, 6.3]
    assert rejection_reasons(rows).tolist() == ["edge_trail", "", ""]
    assert not rejection_reasons(rows, DetectionRules(reject_edge_trails=False)).any()


def test_saturated_and_glinting_detections_found_no_object():
    rows = sources(3)
    rows["pixelFlags_saturatedCenter"][1] = rows["glint_trail"][2] = True
    assert distrust_reasons(rows).tolist() == ["", "pixelFlags_saturatedCenter", "glint_trail"]
    assert not rejection_reasons(rows).any()


def test_faint_and_unreliable_detections_found_none_on_demand():
    rows = sources(4)
    rows["snr"], rows["reliability"] = [5, -9, 9, 5], [0.9, 0.2, 0.05, 0.2]
    assert not distrust_reasons(rows).any()
    assert distrust_reasons(rows, DetectionRules(min_new_snr=6)).tolist() == ["snr", "", "", "snr"]
    assert distrust_reasons(rows, DetectionRules(min_new_reliability=0.1))[2] == "reliability"
    both = DetectionRules(low_new_snr=6, low_new_reliability=0.3)
    assert distrust_reasons(rows, both).tolist() == ["", "", "", "snr_and_reliability"]


def test_reasons_are_counted_once_each():
    rows = sources(3)
    rows["sky_source"][:2] = rows["centroid_flag"][1:] = True
    assert count_reasons(rejection_reasons(rows)) == {"sky_source": 2, "centroid_flag": 1}
    assert count_reasons(rejection_reasons(sources(0))) == {}


def test_columns_that_are_not_measured_reject_nothing():
    assert rejection_reasons(np.zeros(2, [("ra", "f8"), ("dec", "f8")])).tolist() == ["", ""]
