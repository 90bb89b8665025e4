"""Every detection is told apart: injected, known, there without injections too, or new and false."""

import numpy as np
import pytest

from astra.images.injection import INJECTION_DTYPE
from astra.images.injection_search import DETECTION_DTYPE, match_injections, pool_searches, search_for
from tests.images.test_efficiency import make_injections


def detections_at(places, *, negative=False):
    found = np.zeros(len(places), dtype=DETECTION_DTYPE)
    found["x"], found["y"] = np.array(places, float).reshape(-1, 2).T
    found["isNegative"] = negative
    return found


def test_every_detection_serves_one_injection_of_its_sign():
    rng = np.random.default_rng(3)
    injections = make_injections(2, rng)
    injections["x"], injections["y"], injections["isNegative"] = [100, 101.5], [50, 50], [False, False]
    one = np.zeros(1, dtype=DETECTION_DTYPE)
    one["x"], one["y"] = 101.2, 50.0
    assert match_injections(injections, one).tolist() == [-1, 0]
    one["isNegative"] = True
    assert match_injections(injections, one).tolist() == [-1, -1]
    assert match_injections(injections, one[:0]).tolist() == [-1, -1]
    assert match_injections(injections[:0], one).tolist() == []


def test_a_trail_is_found_anywhere_along_it():
    injections = make_injections(1, np.random.default_rng(3))
    injections["x"], injections["y"], injections["isNegative"] = 100.0, 50.0, False
    injections["trailLength"], injections["trailAngle"] = 40.0, 90.0
    found = np.zeros(2, dtype=DETECTION_DTYPE)
    found["x"], found["y"] = [105.0, 101.0], [50.0, 67.0]
    assert match_injections(injections, found).tolist() == [1]


def test_no_part_of_a_trail_is_false():
    injections = make_injections(1, np.random.default_rng(3))
    injections["x"], injections["y"], injections["isNegative"] = 100.0, 50.0, False
    injections["trailLength"], injections["trailAngle"] = 40.0, 0.0
    found = detections_at([(101.0, 50.5), (115.0, 49.0), (87.0, 51.0), (130.0, 50.0), (101.0, 55.0)])
    search = search_for(injections, found)
    assert search.matches["detection"].tolist() == [0]
    assert search.detections["isFalse"].tolist() == [False, False, False, True, True]


def test_detections_that_are_there_anyway_are_not_new():
    injections = make_injections(1, np.random.default_rng(3))
    injections["x"], injections["y"], injections["isNegative"] = 100.0, 50.0, False
    found = detections_at([(100.4, 50.2), (300.0, 80.0), (500.0, 90.0), (700.0, 20.0), (np.nan, 1.0)])
    found["isNegative"][3] = True
    before = detections_at([(301.5, 81.0), (500.0, 93.5), (700.0, 20.0), (np.nan, 1.0)])
    search = search_for(injections, found, uninjected=before)
    assert search.detections["isFalse"].tolist() == [False, True, True, True, True]
    assert search.detections["isNew"].tolist() == [True, False, True, True, True]


def test_without_the_other_difference_all_are_new():
    injections = make_injections(1, np.random.default_rng(3))
    search = search_for(injections, detections_at([(300.0, 80.0)]))
    assert search.detections["isNew"].tolist() == [True]
    none = search_for(injections, detections_at([]), uninjected=detections_at([(3.0, 8.0)]))
    assert len(none.detections) == 0


def test_what_is_known_to_vary_is_not_false():
    found = detections_at([(300.0, 80.0), (500.0, 90.0), (700.0, 20.0)])
    found["ra"], found["dec"] = [359.9999, 10.0, np.nan], [60.0, 60.0, 60.0]
    known = np.zeros(1, dtype=[("ra", "f8"), ("dec", "f8")])
    known["ra"], known["dec"] = 0.0003, 60.0  # 0.72 arcsec away, across the origin
    search = search_for(np.zeros(0, dtype=INJECTION_DTYPE), found, known)
    assert search.detections["isFalse"].tolist() == [False, True, True]


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_pooled_searches_point_to_the_same_detections(empty):
    rng = np.random.default_rng(4)
    searches = []
    for k in range(3):
        injections = make_injections(20, rng)
        order = rng.permutation(20)[: 0 if k == empty else 12]
        found = detections_at(np.stack([injections["x"], injections["y"]], axis=1)[order])
        found["isNegative"] = injections["isNegative"][order]
        searches.append(search_for(injections, found))
    pooled = pool_searches(searches)
    assert pooled.found.sum() == 24
    hits = pooled.detections[pooled.matches["detection"][pooled.found]]
    np.testing.assert_array_equal(hits["x"], pooled.matches["x"][pooled.found])
