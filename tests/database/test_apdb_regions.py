"""Reading by region and time: cut at the very edge, as known then, with a history of some months."""

import numpy as np
import pytest
import sqlalchemy as sa

from astra.database import apdb
from astra.database.engine import open_engine
from astra.database.models import metadata
from astra.sky.regions import convex_hull, htm_ranges
from tests.database.apdb_visits import BASE, EPOCH, make_visit, object_positions, store

FIELD = convex_hull([9.9, 10.2, 10.2, 9.9], [4.9, 4.9, 5.1, 5.1])


@pytest.fixture
def connection():
    engine = open_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        store(connection, 1, range(40), range(40))
        store(connection, 200, [0, 1], [0, 1, 2])
        store(connection, 400, [0, 50], [0, 1, 50])
        yield connection
    engine.dispose()


def test_a_polygon_is_cut_at_its_very_edge(connection):
    ra, _ = object_positions([10, 20])
    edge = convex_hull([ra[0] - 2e-4, ra[1] + 2e-4, ra[1] + 2e-4, ra[0] - 2e-4], [4.99, 4.99, 5.01, 5.01])
    found = apdb.load_dia_objects(connection, edge)["diaObjectId"]
    assert found.tolist() == [BASE + number for number in range(10, 21)]
    assert set(found) <= set(apdb.load_dia_objects(connection, htm_ranges(edge))["diaObjectId"])


def test_objects_are_as_they_were_known_at_a_time(connection):
    then = apdb.load_dia_objects(connection, FIELD, time_mjd_tai=EPOCH + 300)
    assert len(then) == 40
    assert then["nDiaSources"][:3].tolist() == [2, 2, 1]
    assert then["validityStartMjdTai"][:3].tolist() == [EPOCH + 200, EPOCH + 200, EPOCH + 1]
    now = apdb.load_dia_objects(connection, FIELD)
    assert (len(now), now["nDiaSources"][0]) == (41, 3)
    assert len(apdb.load_dia_objects(connection, FIELD, time_mjd_tai=EPOCH)) == 0


@pytest.mark.parametrize(
    ("months", "n_sources", "n_forced"),
    [((12, 12), 2, 3), ((0, 12), 0, 3), ((12, 0), 2, 0), ((14, 14), 42, 43)],
)
def test_the_history_looks_back_some_months(connection, months, n_sources, n_forced):
    rows = apdb.read_region(
        connection,
        FIELD,
        time_mjd_tai=EPOCH + 400,
        read_sources_months=months[0],
        read_forced_sources_months=months[1],
    )
    assert len(rows.dia_objects) == 40  # the visit at that time is not known yet
    assert (len(rows.dia_sources), len(rows.forced)) == (n_sources, n_forced)


def test_the_history_of_alerts_looks_back_some_months(connection):
    lengths = []
    for months in (12, 14, 0):
        _, rows = apdb.load_alert_rows(
            connection, "camera", 400, 1, read_sources_months=months, read_forced_sources_months=months
        )
        lengths.append((len(rows[0].prv_sources), len(rows[0].prv_forced)))
    assert lengths == [(1, 1), (2, 2), (0, 0)]


def test_detections_that_lack_columns_make_the_versions_that_a_reading_would(connection):
    written = []
    for visit, drop in ((500, False), (501, True)):
        marker, sources, forced = make_visit(visit, [60 + visit], band="r")
        kept = [name for name in sources.dtype.names if name not in {"raErr", "ra_dec_Cov", "scienceFlux"}]
        [row] = apdb.store_visit(connection, marker, sources[kept] if drop else sources, None, forced)
        written.append(row)
    assert np.isfinite([written[0][name] for name in ("raErr", "r_scienceFluxMean")]).all()
    assert np.isnan([written[1][name] for name in ("raErr", "ra_dec_Cov", "r_scienceFluxMean")]).all()
    assert np.isfinite(written[1]["decErr"])


def test_the_current_objects_of_a_region_are_found_without_their_older_versions(connection):
    seen = []
    sa.event.listen(connection.engine, "before_cursor_execute", lambda *given: seen.append(given[2:4]))
    assert len(apdb.load_dia_objects(connection, FIELD)) == 41
    [(statement, parameters)] = seen
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert any("INDEX ix_DiaObject_current (pixelId>? AND pixelId<?)" in row[3] for row in plan)
