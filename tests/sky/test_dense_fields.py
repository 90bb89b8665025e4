"""Associations of crowded fields against the truth, and against nearest neighbours."""

import numpy as np
import pytest

from astra.sky.association import associate
from tests.sky.dense_fields import make_field, nearest_neighbours

PLACES = [(150.0, 2.0), (0.0, -30.0), (40.0, 90.0), (200.0, -89.999)]
FIELDS = {
    "crowded": {},
    "very crowded": {"density": 1.0, "side_arcsec": 60.0},
    "few detected": {"detected": 0.3, "new": 0.05},
    "moving": {"motion_mas_yr": 100.0},
}


def n_wrong(field, **options):
    return int(np.sum(associate(field.sources, field.objects, **options).object_index != field.truth))


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("place", PLACES)
def test_fewer_sources_are_misassociated_than_by_nearest_neighbour(name, place):
    field = make_field(11, *place, **FIELDS[name])
    nearest = int(np.sum(nearest_neighbours(field.sources, field.objects) != field.truth))
    assert n_wrong(field) < nearest
    assert n_wrong(field, max_offset_sigma=4.0) < nearest


@pytest.mark.parametrize("place", PLACES)
def test_where_few_are_detected_and_many_new_the_odds_keep_new_sources_new(place):
    field = make_field(3, *place, detected=0.1, new=0.3)
    nearest = int(np.sum(nearest_neighbours(field.sources, field.objects) != field.truth))
    assert n_wrong(field) < 0.9 * nearest
    assert n_wrong(field) < 0.85 * n_wrong(field, max_offset_sigma=np.inf)


def test_known_motions_undo_what_years_have_moved():
    still = make_field(5, 10.0, 20.0)
    moving = make_field(5, 10.0, 20.0, motion_mas_yr=100.0)
    unknown = moving.objects.copy()
    unknown["pmRa"] = np.nan
    found = associate(moving.sources, unknown).object_index
    assert n_wrong(moving) < 1.2 * n_wrong(still)
    assert np.sum(found != moving.truth) > 3 * n_wrong(moving)


def test_an_equal_field_is_associated_alike_wherever_it_lies():
    shares = [n_wrong(field) / len(field.truth) for place in PLACES for field in [make_field(11, *place)]]
    assert max(shares) < 1.3 * min(shares)
