import itertools

import numpy as np
import pytest

from astra.sky.matching import Pairs, find_pairs, pair_costs, worst_cost

ERRORS = [("ra", "f8"), ("dec", "f8"), ("raErr", "f8"), ("decErr", "f8"), ("ra_dec_Cov", "f8")]


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


@pytest.mark.parametrize("dec", [0.0, 89.9999, -89.9999, 90.0, 45.0])
@pytest.mark.parametrize("ra", [0.0, 180.0])
@pytest.mark.parametrize("radius", [2.0, 25.0])
def test_pairs_agree_with_brute_force_at_the_poles_and_the_ra_wrap(ra, dec, radius):
    rng = np.random.default_rng(7)
    spread = 3.0 / 3600

    def field(n):
        cos = max(np.cos(np.deg2rad(dec)), 1e-9)
        return (ra + rng.normal(0, spread, n) / cos) % 360, np.clip(dec + rng.normal(0, spread, n), -90, 90)

    first, second = field(40), field(50)
    pairs = find_pairs(*first, *second, radius)
    expected = brute_force_pairs(*first, *second, radius)
    assert expected
    assert list(zip(pairs.first, pairs.second, strict=True)) == [(i, j) for i, j, _ in expected]
    np.testing.assert_allclose(pairs.separation_arcsec, [s for *_, s in expected], atol=1e-6)


def test_radius_is_inclusive_only_within_itself():
    pairs = find_pairs([0.0, 10.0], [0.0, 0.0], [0.99 / 3600, 10.0 + 1.01 / 3600], [0.0, 0.0], 1.0)
    assert pairs.first.tolist() == [0]


def test_right_ascensions_outside_one_turn_are_the_same_places():
    pairs = find_pairs([-1e-18, 370.0], [0.0, 5.0], [360.0, 10.0], [0.0, 5.0], 1.0)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0, 1], [0, 1])


def test_more_neighbours_than_the_first_buffer_holds_are_all_found():
    rng = np.random.default_rng(3)
    ra, dec = 10 + rng.normal(0, 1e-5, (2, 6000))
    assert len(find_pairs([10.0, 10.0], [10.0, 10.0], ra, dec, 60.0).first) == 12000


def test_nothing_to_match_is_an_empty_result():
    assert len(find_pairs([], [], [1.0], [1.0], 1.0).first) == 0
    assert len(find_pairs([1.0], [1.0], [], [], 1.0).first) == 0
    assert len(find_pairs([np.nan], [0.0], [1.0], [1.0], 1.0).first) == 0
    pairs = find_pairs([np.nan, 1.0], [0.0, 1.0], [np.inf, 1.0], [1.0, 1.0], 1.0)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([1], [1])


@pytest.mark.parametrize("radius", [0.0, -1.0, np.nan])
def test_a_radius_that_is_not_positive_is_refused(radius):
    with pytest.raises(ValueError, match="radius"):
        find_pairs([1.0], [1.0], [1.0], [1.0], radius)


def table(ra, dec, ra_err, dec_err, correlation=0.0):
    """Positions [deg] with errors [arcsec]."""
    rows = np.zeros(np.size(ra), ERRORS)
    rows["ra"], rows["dec"] = ra, dec
    rows["raErr"], rows["decErr"] = np.asarray(ra_err) / 3600, np.asarray(dec_err) / 3600
    rows["ra_dec_Cov"] = correlation * rows["raErr"] * rows["decErr"]
    return rows


def costs(first, second):
    rows = np.arange(len(first))
    return pair_costs(Pairs(rows, rows, np.zeros(len(rows))), first, second)


def test_cost_counts_distance_in_errors_with_floor_and_stand_in():
    sources = table(np.full(4, 1 / 3600), np.zeros(4), [0.3, 0.0, np.nan, 0.01], np.full(4, 0.3))
    objects = table(np.zeros(4), np.zeros(4), np.full(4, 1e-9), np.full(4, 0.3))
    np.testing.assert_allclose(costs(sources, objects), 0.5 / np.array([0.3, 0.2, 0.2, 0.05]) ** 2, rtol=1e-6)


def test_cost_is_that_of_the_inverse_covariance():
    source = table([40.0], [-30.0], 0.3, 0.2, 0.6)
    east, north = 0.2, -0.35
    place = table([40.0 + east / 3600 / np.cos(np.radians(30.0))], [-30.0 + north / 3600], 0.1, 0.25, -0.4)
    covariance = np.array([[0.1, 0.036 - 0.01], [0.036 - 0.01, 0.1025]])
    offset = np.array([east, north])
    expected = 0.5 * offset @ np.linalg.solve(covariance, offset)
    assert costs(source, place)[0] == pytest.approx(expected, rel=1e-5)


def test_no_cost_exceeds_the_worst():
    rng = np.random.default_rng(1)
    n, errors = 500, rng.uniform(0, 0.06, (4, 500))
    angle, distance = rng.uniform(0, 2 * np.pi, n), np.full(n, 1.0)
    place = table(distance * np.cos(angle) / 3600, distance * np.sin(angle) / 3600, *errors[:2], 0.98)
    assert costs(table(np.zeros(n), np.zeros(n), *errors[2:], 0.98), place).max() <= worst_cost(1.0) + 1e-6


def test_errors_of_the_second_are_turned_into_the_directions_of_the_first_beside_a_pole():
    """What lies a quarter of a turn away has its east where the first has its north."""
    north, east = table([90.0], [90 - 1e-4 / 3600], 0.4, 0.1), table([0.0], [90 - 0.5 / 3600], 0.0, 0.0)
    east["raErr"] = east["decErr"] = 1e-9
    along, across = costs(east, north)[0], costs(east, table([0.0], [90 - 1e-4 / 3600], 0.4, 0.1))[0]
    assert along == pytest.approx(0.5 * (0.5 / 0.4) ** 2, rel=1e-3)
    assert across == pytest.approx(0.5 * (0.5 / 0.1) ** 2, rel=1e-3)


def plain_costs(first, second):
    """The costs in plain numpy, by the inverse of each pair's covariance."""
    found = []
    for one, two in zip(first, second, strict=True):
        ra, dec, other_ra, other_dec = np.radians([one["ra"], one["dec"], two["ra"], two["dec"]])
        east = np.cos(other_dec) * np.sin(other_ra - ra)
        north = np.sin(other_dec) * np.cos(dec) - np.cos(other_dec) * np.sin(dec) * np.cos(other_ra - ra)
        covariance = np.zeros((2, 2))
        for row in (one, two):
            errors = [e * 3600 if e > 0 else 0.2 for e in (row["raErr"], row["decErr"])]
            mixed = row["ra_dec_Cov"] * 3600**2
            covariance += [[errors[0] ** 2, mixed], [mixed, errors[1] ** 2]]
        offset = np.degrees([east, north]) * 3600
        found.append(0.5 * offset @ np.linalg.solve(covariance, offset))
    return np.array(found)


def test_costs_are_those_of_plain_numpy():
    rng = np.random.default_rng(9)
    ra, dec = rng.uniform(0, 360, 200), rng.uniform(-60, 60, 200)
    first = table(ra, dec, *rng.uniform(0.06, 0.4, (2, 200)), rng.uniform(-0.9, 0.9, 200))
    shifts = rng.normal(0, 0.3 / 3600, (2, 200))
    second = table(ra + shifts[0], dec + shifts[1], *rng.uniform(0.0, 0.4, (2, 200)))
    # Differences of right ascensions near 360 deg are known to 6e-14 deg, of offsets of 0.1 mas to 1e-6.
    np.testing.assert_allclose(costs(first, second), plain_costs(first, second), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dec", [0.0, 60.0, -89.9999, 90.0])
def test_equal_errors_cost_by_the_separation_alone_wherever_they_are(dec):
    rng = np.random.default_rng(5)
    ra = rng.uniform(0, 360, 100)
    other_dec = np.clip(dec + rng.normal(0, 0.3 / 3600, 100), -90, 90)
    cos = max(np.cos(np.radians(dec)), 1e-6)
    other_ra = ra + rng.normal(0, 0.3 / 3600, 100) / cos
    found = costs(table(ra, np.full(100, dec), 0.1, 0.1), table(other_ra, other_dec, 0.1, 0.1))
    for i in range(100):
        [(_, _, separation)] = brute_force_pairs(ra[[i]], [dec], other_ra[[i]], other_dec[[i]], 3600.0)
        assert found[i] == pytest.approx(0.25 * (separation / 0.1) ** 2, rel=1e-6)
