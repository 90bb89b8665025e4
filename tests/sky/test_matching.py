import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astra.sky.matching import Pairs, find_pairs, keep_nearest, match_one_to_one, positional_score


def brute_force_pairs(ra, dec, other_ra, other_dec, radius_arcsec):
    """All pairs by haversine, one at a time."""
    found = []
    for i, j in itertools.product(range(len(ra)), range(len(other_ra))):
        lon = np.deg2rad(ra[i] - other_ra[j])
        lat, other_lat = np.deg2rad(dec[i]), np.deg2rad(other_dec[j])
        half = np.sin((lat - other_lat) / 2) ** 2 + np.cos(lat) * np.cos(other_lat) * np.sin(lon / 2) ** 2
        separation = np.rad2deg(2 * np.arcsin(np.sqrt(half))) * 3600
        if separation <= radius_arcsec:
            found.append((i, j, separation))
    return found


@pytest.mark.parametrize("dec", [0.0, 89.9999, -89.9999, 45.0])
@pytest.mark.parametrize("ra", [0.0, 180.0])
def test_pairs_agree_with_brute_force_at_the_poles_and_the_ra_wrap(ra, dec):
    rng = np.random.default_rng(7)
    spread = 3.0 / 3600

    def field(n):
        return (ra + rng.normal(0, spread, n) / np.cos(np.deg2rad(dec))) % 360, np.clip(
            dec + rng.normal(0, spread, n), -90, 90
        )

    first, second = field(40), field(50)
    pairs = find_pairs(*first, *second, 2.0)
    expected = brute_force_pairs(*first, *second, 2.0)
    assert expected
    assert list(zip(pairs.first, pairs.second, strict=True)) == [(i, j) for i, j, _ in expected]
    np.testing.assert_allclose(pairs.separation_arcsec, [s for *_, s in expected], atol=1e-6)


def test_radius_is_inclusive_only_within_itself():
    pairs = find_pairs([0.0, 10.0], [0.0, 0.0], [0.99 / 3600, 10.0 + 1.01 / 3600], [0.0, 0.0], 1.0)
    assert pairs.first.tolist() == [0]


def test_nothing_to_match_is_an_empty_result():
    assert len(find_pairs([], [], [1.0], [1.0], 1.0).first) == 0
    assert len(find_pairs([np.nan], [0.0], [1.0], [1.0], 1.0).first) == 0
    assert len(match_one_to_one(find_pairs([], [], [], [], 1.0)).first) == 0


@pytest.mark.parametrize("radius", [0.0, -1.0, np.nan])
def test_a_radius_that_is_not_positive_is_refused(radius):
    with pytest.raises(ValueError, match="radius"):
        find_pairs([1.0], [1.0], [1.0], [1.0], radius)


def make_pairs(triples):
    first, second, separation = zip(*triples, strict=True)
    return Pairs(np.array(first), np.array(second), np.array(separation, dtype=float))


def test_a_source_loses_its_nearest_only_where_the_whole_gains():
    shared = make_pairs([(0, 0, 0.1), (0, 1, 0.3), (1, 0, 0.2)])
    matched = match_one_to_one(shared)
    assert dict(zip(matched.first.tolist(), matched.second.tolist(), strict=True)) == {0: 1, 1: 0}


def test_of_two_sources_near_one_object_the_nearer_wins():
    matched = match_one_to_one(make_pairs([(0, 5, 0.4), (3, 5, 0.2)]))
    assert (matched.first.tolist(), matched.second.tolist()) == ([3], [5])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=9))
def test_total_score_is_the_least_of_all_ways(triples):
    unique = sorted({(i, j): s for i, j, s in triples}.items())
    pairs = make_pairs([(i, j, s) for (i, j), s in unique])
    alone = 1.01
    matched = match_one_to_one(pairs, score_alone=alone)
    rows = sorted(set(pairs.first.tolist()))
    cost = dict(unique)
    best = min(
        sum(alone if j is None else cost[i, j] for i, j in zip(rows, way, strict=True))
        for way in itertools.product([None, 0, 1, 2, 3], repeat=len(rows))
        if all(j is None or (i, j) in cost for i, j in zip(rows, way, strict=True))
        and len([j for j in way if j is not None]) == len({j for j in way if j is not None})
    )
    total = matched.separation_arcsec.sum() + alone * (len(rows) - len(matched.first))
    assert len(set(matched.second.tolist())) == len(matched.second)
    np.testing.assert_allclose(total, best, atol=1e-9)


def test_keep_nearest_lets_objects_be_shared():
    nearest = keep_nearest(make_pairs([(0, 0, 0.3), (0, 1, 0.2), (2, 1, 0.9)]))
    assert (nearest.first.tolist(), nearest.second.tolist()) == ([0, 2], [1, 1])


def test_score_counts_distance_in_errors_with_floor_and_stand_in():
    one = np.ones(4)
    errors = np.array([0.3, 0.0, np.nan, 0.01])
    zeros = np.full(4, 1e-9)
    score = positional_score(one, 0 * one, (errors, zeros), (errors, zeros))
    np.testing.assert_allclose(score, 0.5 / np.array([0.3, 0.2, 0.2, 0.05]) ** 2, rtol=1e-6)
