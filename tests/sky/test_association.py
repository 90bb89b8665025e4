import csv
import itertools

import numpy as np
import pytest

from astra.sky.association import associate, mean_positions

SOURCE = np.dtype([("ra", "f8"), ("dec", "f8"), ("raErr", "f4"), ("decErr", "f4")])
ARCSEC = 1 / 3600


def table(ra, dec, err_arcsec=0.1):
    rows = np.zeros(len(ra), SOURCE)
    rows["ra"], rows["dec"] = ra, dec
    rows["raErr"] = rows["decErr"] = err_arcsec * ARCSEC
    return rows


def group(rows, order):
    """Associate visit after visit, with one object for each group of sources so far."""
    owner, n_objects = np.full(len(rows), -1), 0
    for new in order:
        old = np.flatnonzero(owner >= 0)
        columns = mean_positions(rows[old], owner[old], n_objects)
        objects = np.zeros(n_objects, SOURCE)
        for name in SOURCE.names:
            objects[name] = columns[name]
        found = associate(rows[new], objects).object_index
        for row, index in zip(new, found, strict=True):
            owner[row] = index if index >= 0 else n_objects
            n_objects += index < 0
    return owner


def same_object_pairs(owner):
    return {pair for pair in itertools.combinations(range(len(owner)), 2) if owner[pair[0]] == owner[pair[1]]}


def test_grouping_of_hsc_cosmos_is_better_than_by_nearest_match(shared_data):
    path = shared_data / "alerts" / "rubin_hsc_cosmos" / "diasources_truth.csv"
    with path.open() as lines:
        records = list(csv.DictReader(lines))
    rows = np.zeros(len(records), SOURCE)
    for name in SOURCE.names:
        rows[name] = [float(record[name] or "nan") for record in records]
    keys = [(float(r["midpointMjdTai"]), int(r["visit"]), int(r["detector"])) for r in records]
    order = [np.flatnonzero([key == k for k in keys]) for key in sorted(set(keys))]
    found = same_object_pairs(group(rows, order))
    truth = same_object_pairs([int(record["diaObjectId"]) for record in records])
    assert (len(found & truth), len(found - truth), len(truth - found)) == (95, 3, 3)


@pytest.mark.parametrize("dec", [0.0, 60.0, -89.99])
def test_errors_along_ra_count_on_the_sky_and_not_in_degrees_of_ra(dec):
    """Of two objects at equal distance in errors, one along ra: cos(dec) must not tip the choice."""
    offset = 0.4 * ARCSEC
    objects = table([30.0 + offset / np.cos(np.deg2rad(dec)), 30.0], [dec, dec + 0.9 * offset])
    assert associate(table([30.0], [dec]), objects).object_index.tolist() == [1]
    objects = table([30.0 + 0.8 * offset / np.cos(np.deg2rad(dec)), 30.0], [dec, dec + offset])
    assert associate(table([30.0], [dec]), objects).object_index.tolist() == [0]


def test_association_crosses_ra_zero():
    found = associate(table([0.1 * ARCSEC], [0.0]), table([360 - 0.2 * ARCSEC], [0.0]))
    assert found.object_index.tolist() == [0]
    assert found.separation_arcsec == pytest.approx([0.3], abs=1e-6)


def test_a_source_beyond_the_radius_has_no_object():
    found = associate(table([0.0], [0.0]), table([1.01 * ARCSEC], [0.0]))
    assert found.object_index.tolist() == [-1]
    assert np.isnan(found.separation_arcsec[0])


def test_positions_without_errors_are_matched_by_distance():
    plain = np.dtype([("ra", "f8"), ("dec", "f8")])
    sources, objects = np.zeros(2, plain), np.zeros(1, plain)
    sources["ra"] = [0.5 * ARCSEC, -0.2 * ARCSEC]
    assert associate(sources, objects).object_index.tolist() == [-1, 0]


def test_a_limit_in_errors_leaves_what_is_too_far_for_them_alone():
    sources, objects = table([0.0], [0.0], 0.05), table([0.5 * ARCSEC], [0.0], 0.05)
    assert associate(sources, objects).object_index.tolist() == [0]
    assert associate(sources, objects, max_offset_sigma=5.0).object_index.tolist() == [-1]
    with pytest.raises(ValueError, match="largest offset"):
        associate(sources, objects, max_offset_sigma=0.0)


def test_objects_move_to_the_time_of_the_sources():
    moving = np.zeros(2, [*SOURCE.descr, ("pmRa", "f4"), ("pmDec", "f4"), ("epochMjdTai", "f8")])
    moving["ra"], moving["dec"], moving["pmRa"] = [10.0, 10.0], [60.0, 60.0 + 2.0 * ARCSEC], [np.nan, 500.0]
    moving["pmDec"], moving["epochMjdTai"] = 0.0, 60000.0
    sources = np.zeros(1, [*SOURCE.descr, ("midpointMjdTai", "f8")])
    sources["ra"], sources["dec"] = 10.0 + 2.0 * ARCSEC / 0.5, 60.0 + 2.0 * ARCSEC
    sources["midpointMjdTai"] = 60000.0 + 4 * 365.25
    found = associate(sources, moving)
    assert found.object_index.tolist() == [1]
    assert found.separation_arcsec[0] == pytest.approx(0.0, abs=1e-3)


def test_nothing_to_associate_is_an_empty_result():
    assert associate(table([], []), table([], [])).object_index.shape == (0,)
    assert associate(table([1.0], [1.0]), table([], [])).object_index.tolist() == [-1]


def test_inputs_are_not_modified():
    sources, objects = table([0.0, 1.0], [0.0, 1.0]), table([0.0], [0.0])
    before = sources.copy(), objects.copy()
    associate(sources, objects)
    assert (sources == before[0]).all()
    assert (objects == before[1]).all()


def test_mean_position_of_sources_around_the_pole_is_the_pole():
    rows = table([0.0, 90.0, 180.0, 270.0, 10.0], [89.999] * 4 + [0.0], err_arcsec=0.2)
    columns = mean_positions(rows, np.array([0, 0, 0, 0, 1]), 2)
    assert columns["dec"][0] == pytest.approx(90.0, abs=1e-9)
    assert (columns["ra"][1], columns["dec"][1]) == (pytest.approx(10.0), pytest.approx(0.0))
    np.testing.assert_allclose(columns["raErr"] * 3600, [0.1, 0.2], rtol=1e-6)
    assert np.isnan(columns["ra_dec_Cov"]).all()
