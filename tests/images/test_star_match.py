import numpy as np
import pytest

from astra.images.star_match import (
    CELLS,
    Search,
    chance_probability,
    find_alignments,
    match_mutual,
    n_empty_cells,
)

SEARCH = Search(shift_pixel=80.0, rotation_deg=1.0, scale_error=0.01, clump_pixel=2.0)
SHAPE = 500, 900


def scattered(n, seed=0):
    return np.random.default_rng(seed).uniform([-450, -250], [450, 250], (n, 2))


def moved(xy, shift, scale=0.0, rotation_rad=0.0):
    return xy + shift + xy @ np.array([[scale, rotation_rad], [-rotation_rad, scale]])


@pytest.mark.parametrize(
    ("shift", "scale", "rotation"),
    [((7.0, -11.0), 0.0, 0.0), ((-50.0, 60.0), 0.009, -0.017), ((0.0, 79.0), -0.01, 0.012)],
)
def test_alignment_is_found_among_false_pairs(shift, scale, rotation):
    xy = scattered(60)
    expected = np.concatenate([moved(xy[:30], shift, scale, rotation), scattered(60, seed=1)])
    best = find_alignments(xy, expected, SEARCH)[0]
    aligned = moved(xy[:30], best.shift, best.scale, best.rotation_rad)
    assert np.hypot(*(aligned - expected[:30]).T).max() < 4.0
    assert best.n_votes >= 25
    assert aligned - xy[:30] == pytest.approx(best.shift + xy[:30] @ best.slopes)


def test_without_rotation_the_shift_is_exact():
    xy = scattered(40)
    search = Search(shift_pixel=30.0, rotation_deg=0.0, scale_error=0.0, clump_pixel=1.0)
    found = find_alignments(xy, xy + np.array([3.3, -12.1]), search)
    assert found[0].shift == pytest.approx([3.3, -12.1], abs=1e-9)
    assert found[0].n_votes == 40
    assert (found[0].scale, found[0].rotation_rad) == (0.0, 0.0)
    assert len({tuple(a.shift) for a in found}) == len(found)


def test_shifts_beyond_the_search_are_not_found():
    xy = scattered(40)
    found = find_alignments(xy, xy + np.array([100.0, 0.0]), SEARCH)
    assert all(alignment.n_votes < 20 for alignment in found)


@pytest.mark.parametrize(("n_first", "n_second"), [(0, 10), (10, 0), (0, 0)])
def test_no_stars_have_no_alignment(n_first, n_second):
    assert find_alignments(scattered(n_first), scattered(n_second), SEARCH) == []


def test_search_grows_coarser_with_its_width():
    wide = Search(shift_pixel=20000.0, rotation_deg=1.0, scale_error=0.01, clump_pixel=2.0)
    assert wide.clump_at(3000.0) > SEARCH.clump_at(3000.0) > SEARCH.clump_pixel
    assert SEARCH.reach_pixel(1000.0) == pytest.approx(80.0 + 10.0 + 17.45, abs=0.01)
    scale, rotation = SEARCH.slopes_at(2000.0).T
    assert (scale[0], rotation[0]) == (0.0, 0.0)
    assert scale.max() == -scale.min() >= 0.01
    assert rotation.max() == -rotation.min() >= np.radians(1.0)


def test_a_match_is_the_nearest_of_both():
    first, second = np.array([[0.0, 0.0], [0.4, 0.0]]), np.array([[0.3, 0.0], [50.0, 0.0]])
    index = match_mutual(first, second, 1.0)
    assert [part.tolist() for part in index] == [[1], [0]]
    assert [len(part) for part in match_mutual(first, second[:0], 1.0)] == [0, 0]


def test_accidental_matches_are_expected_and_true_ones_stand_out():
    xy, other = scattered(500) + 450, scattered(800, seed=1) + 450
    area = 900.0 * 500.0
    n, expected, probability = chance_probability(xy, other, 5.0, area, 1.0)
    assert expected == pytest.approx(500 * 800 * np.pi * 25 / area, rel=0.15)
    assert abs(n - expected) < 5 * np.sqrt(expected)
    assert probability > 1e-3
    true = np.concatenate([xy[:100] + 0.5, other[100:]])
    n, expected, probability = chance_probability(xy, true, 1.0, area, 1e5)
    assert n >= 95
    assert expected < 10
    assert probability < 1e-30


def test_clusters_do_not_make_accidents_unlikely():
    rng = np.random.default_rng(5)
    first, second = rng.normal(400, 20, (300, 2)), rng.normal(400, 20, (300, 2))
    n, expected, probability = chance_probability(first, second, 1.0, 900.0 * 500.0, 1.0)
    assert n < 1.5 * expected
    assert probability > 1e-4


def test_an_alignment_that_is_wrong_outside_the_middle_has_empty_parts():
    xy = scattered(1600) + np.array([450, 250])
    bent = xy + 1e-4 * (xy - np.array([450, 250])) ** 2
    assert n_empty_cells(xy, xy + 0.1, 1.0, SHAPE) == 0
    assert n_empty_cells(xy, bent, 1.0, SHAPE) >= CELLS


def test_where_one_list_has_nothing_to_match_no_part_counts_as_empty():
    xy = scattered(1600) + np.array([450, 250])
    half = xy[xy[:, 0] < 450]
    assert n_empty_cells(xy, half, 1.0, SHAPE) == 0
    nebula = np.concatenate([xy, np.random.default_rng(1).uniform([0, 0], [220, 120], (2000, 2))])
    assert n_empty_cells(nebula, xy, 1.0, SHAPE) == 0
    assert n_empty_cells(xy[:0], half, 1.0, SHAPE) == 0
