"""When a detection is a new object: the share of new ones is learnt, and a pair must be likelier."""

import numpy as np
import pytest

from astra.sky.matching import Closeness, Pairs, worst_cost
from astra.sky.new_object_odds import MAX_DETECTED, WRONG_ERRORS, costs_alone, share_of_new
from astra.sky.position_index import densities_around, index_positions
from astra.sky.regions import unit_vectors
from tests.sky.dense_fields import around, make_field

AREA = 2 * np.pi * 0.1**2


def pairs_of(first, second=None):
    first = np.asarray(first)
    second = np.arange(len(first)) if second is None else np.asarray(second)
    return Pairs(first, second, np.zeros(len(first)))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_the_share_of_new_detections_is_learnt(share):
    rng = np.random.default_rng(1)
    field = make_field(2, 150.0, 2.0, density=0.1, side_arcsec=400.0, detected=0.3, new=share / (1 - share))
    n, density = len(field.truth), 0.1
    rows = np.flatnonzero(field.truth >= 0)
    evidence = np.zeros(n)
    # A known one lies within its errors, a new one has another object beside it by chance.
    evidence[rows] = np.exp(-rng.exponential(size=len(rows))) / AREA / density
    near = rng.uniform(size=n) < density * np.pi
    costs = 0.5 * rng.uniform(size=n) / 0.1**2
    evidence += np.where(near, np.exp(-costs) / AREA / density, 0.0)
    assert share_of_new(evidence) == pytest.approx(np.mean(field.truth < 0), abs=0.02)


def test_a_pair_of_the_cost_alone_is_as_likely_as_a_new_object():
    rng = np.random.default_rng(3)
    n = 400
    pairs, near = pairs_of(np.arange(n)), Closeness(rng.exponential(size=n), rng.uniform(0.05, 0.2, n))
    density = rng.uniform(1.0, 2.0, 2 * n)  # half of the sources have no pair
    cost = costs_alone(pairs, near, density, 10 * n, 1.0)
    spread = WRONG_ERRORS / np.pi
    evidence = np.zeros(2 * n)
    evidence[:n] = ((1 - WRONG_ERRORS) * np.exp(-near.cost) / near.area_arcsec2 + spread) / density[:n]
    new = share_of_new(evidence)
    known = (1 - new) * evidence / ((1 - new) * evidence + new)
    missed = 1 - known.sum() / (10 * n)
    at_cost = (1 - WRONG_ERRORS) * np.exp(-cost[:n]) / near.area_arcsec2 + spread
    np.testing.assert_allclose((1 - new) * at_cost, new * density[:n] * missed, rtol=1e-9)
    assert (cost[n:] > worst_cost(1.0)).all()


def test_on_an_empty_sky_any_pair_within_the_radius_is_likelier_than_a_new_object():
    pairs, near = pairs_of([0]), Closeness(np.array([worst_cost(1.0)]), np.array([AREA]))
    assert costs_alone(pairs, near, np.full(30, 1e-5), 5, 1.0)[0] > worst_cost(1.0)


def test_in_a_crowd_a_pair_must_be_near_and_a_poor_position_has_no_chance():
    n = 50
    pairs = pairs_of(np.arange(n))
    near = Closeness(np.full(n, 1.0), np.full(n, AREA))
    crowded = costs_alone(pairs, near, np.full(2 * n, 0.5), 10 * n, 1.0)[:n]
    denser = costs_alone(pairs, near, np.full(2 * n, 1.0), 10 * n, 1.0)[:n]
    assert (crowded < 0.5 * 4.0**2).all()
    assert (denser < crowded).all()
    poor = Closeness(near.cost, np.full(n, 2 * np.pi))
    assert (costs_alone(pairs, poor, np.full(2 * n, 5.0), 10 * n, 1.0)[:n] < 0.0).all()


def test_objects_that_are_nearly_all_detected_let_a_pair_be_further_away():
    n = 50
    pairs, near = pairs_of(np.arange(n)), Closeness(np.full(n, 1.0), np.full(n, AREA))
    density = np.full(4 * n, 1.0)
    few, all_of_them = (costs_alone(pairs, near, density, size, 1.0)[0] for size in (100 * n, n))
    assert 0.0 < all_of_them - few < -np.log(1.0 - MAX_DETECTED)


def test_without_pairs_nothing_is_near():
    nothing = np.zeros(0)
    cost = costs_alone(pairs_of(np.zeros(0, int)), Closeness(nothing, nothing), np.ones(3), 0, 1.0)
    assert (cost > worst_cost(1.0)).all()


@pytest.mark.parametrize("place", [(150.0, 2.0), (0.0, -30.0), (40.0, 90.0), (200.0, -89.999), (5.0, 89.9)])
def test_the_density_round_a_position_is_measured_everywhere(place):
    rng = np.random.default_rng(7)
    east, north = rng.uniform(-150, 150, (2, 9000))  # 0.1 per square arcsecond
    index = index_positions(*around(*place, east, north))
    inner = np.flatnonzero((np.abs(east) < 100) & (np.abs(north) < 100))[:400]
    ra, dec = around(*place, east[inner], north[inner])
    density = densities_around(index_positions(ra, dec), index)
    assert density.mean() == pytest.approx(0.1, rel=0.06)
    assert density.std() < 0.03


def test_a_lone_position_has_next_to_no_density_and_a_sparse_field_its_own():
    lone = index_positions([10.0], [20.0])
    assert 0.0 < densities_around(lone, lone)[0] < 1e-6
    rng = np.random.default_rng(8)
    sparse = index_positions(*around(10.0, 20.0, *rng.uniform(-900, 900, (2, 3240))))  # 1e-3
    inside = np.linalg.norm(unit_vectors(sparse.ra, sparse.dec) - unit_vectors(10.0, 20.0), axis=1) < 2e-3
    assert densities_around(sparse, sparse)[inside].mean() == pytest.approx(1e-3, rel=0.25)
    nowhere = index_positions([], [])
    assert len(densities_around(nowhere, lone)) == 0
