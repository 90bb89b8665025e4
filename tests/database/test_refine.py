"""Regions from fitted WCSs: written 100 visits a transaction, kept, and never taken away."""

import math

import pytest
from sqlalchemy import event, select

from astra.database.define import define_visits
from astra.database.engine import get_engine, reading
from astra.database.refine import VISITS_PER_TRANSACTION, VisitGeometry, refine_visit_regions
from astra.database.survey import get_visit, region_table
from astra.database.visits import DefineOptions
from astra.errors import MissingDataError
from astra.sky.regions import decode_polygon
from astra.sky.visit_regions import calibrated_regions, camera_regions, same_region
from tests.database.survey_rows import everything, make_rules, write_exposures
from tests.sky.mosaic import Mosaic, snap

SHAPES = {chip.detector: (chip.n_rows, chip.n_columns) for chip in Mosaic.detectors}


def fitted(record, detectors=(0, 1, 7), offset_deg=0.01, padding=250.0):
    """Geometry of a visit whose pointing was wrong."""
    wcss = {
        n: Mosaic().boresight_wcs(record.tracking_ra, record.tracking_dec + offset_deg, record.sky_angle, n)
        for n in detectors
    }
    return VisitGeometry(record.exposure, calibrated_regions(wcss, SHAPES, padding))


@pytest.fixture
def defined(any_database_url):
    """Two visits."""
    write_exposures(any_database_url, [snap(1), snap(2)])
    define_visits(any_database_url, "mosaic", [snap(1).exposure, snap(2).exposure], make_rules())
    return any_database_url


def regions(url, record):
    with reading(url) as connection:
        query = select(region_table).where(region_table.c.visit == record.exposure)
        found = {row.detector: decode_polygon(row.region) for row in connection.execute(query)}
        row = get_visit(connection, "mosaic", record.exposure)
    return found, decode_polygon(row.region), row.region_source


def test_regions_go_where_the_wcss_say(defined):
    geometry = fitted(snap(1))
    assert refine_visit_regions(defined, "mosaic", [geometry]) == 1
    found, whole, source = regions(defined, snap(1))
    expected = camera_regions(Mosaic(), snap(1, tracking_dec=-29.99), 250)
    # The points between the corners lie on the great circles through them, but for the last digits.
    corners = {n: Mosaic().boresight_wcs(12.5, -29.99, 17.0, n) for n in SHAPES}
    assert found.keys() == expected.keys() == corners.keys()
    for detector, region in found.items():
        assert all(whole.contains(vertex) for vertex in region.getVertices())
        middle = expected[detector].getCentroid()
        assert region.contains(middle)
        assert region.getBoundingCircle().getOpeningAngle().asDegrees() == pytest.approx(
            expected[detector].getBoundingCircle().getOpeningAngle().asDegrees(), rel=1e-6
        )
    assert source == "calibrated"
    assert regions(defined, snap(2))[2] == "single-raw-wcs"


def test_the_same_again_writes_nothing(defined):
    geometries = [fitted(snap(1)), fitted(snap(2))]
    assert refine_visit_regions(defined, "mosaic", geometries) == 2
    before = everything(defined)
    assert refine_visit_regions(defined, "mosaic", geometries) == 0
    assert everything(defined) == before


def test_detectors_without_a_fit_keep_what_they_had(defined):
    before, _, _ = regions(defined, snap(1))
    refine_visit_regions(defined, "mosaic", [fitted(snap(1), [7])])
    found, whole, _ = regions(defined, snap(1))
    assert found.keys() == before.keys()
    assert [same_region(found[n], before[n]) for n in (0, 1, 7)] == [True, True, False]
    assert all(whole.contains(vertex) for region in found.values() for vertex in region.getVertices())


def test_refined_regions_stay_when_the_visit_is_defined_again(defined):
    refine_visit_regions(defined, "mosaic", [fitted(snap(1))])
    before = everything(defined)
    for options in (DefineOptions(), DefineOptions(update_records=True), DefineOptions(incremental=True)):
        assert define_visits(defined, "mosaic", [snap(1).exposure], make_rules(), options).n_skipped == 1
    assert everything(defined) == before


def test_a_prediction_that_was_right_becomes_calibrated(defined):
    regions_as_predicted = VisitGeometry(snap(1).exposure, camera_regions(Mosaic(), snap(1), 250))
    assert refine_visit_regions(defined, "mosaic", [regions_as_predicted]) == 1
    assert regions(defined, snap(1))[2] == "calibrated"


def test_a_visit_that_is_not_defined_is_named(defined):
    before = everything(defined)
    with pytest.raises(
        MissingDataError, match="visit 2022040500003 of instrument mosaic in system 0 is not def"
    ):
        refine_visit_regions(defined, "mosaic", [fitted(snap(1)), fitted(snap(3))])
    assert everything(defined) == before


def test_a_hundred_visits_make_one_transaction(defined):
    records = [snap(number) for number in range(1, 2 * VISITS_PER_TRANSACTION + 2)]
    write_exposures(defined, records[2:], detectors=[1])
    define_visits(defined, "mosaic", [record.exposure for record in records], make_rules())
    commits = []
    engine = get_engine(defined)
    event.listen(engine, "commit", commits.append)
    geometries = (fitted(record, [1]) for record in records)
    assert refine_visit_regions(defined, "mosaic", geometries) == len(records)
    assert len(commits) == math.ceil(len(records) / VISITS_PER_TRANSACTION) == 3
