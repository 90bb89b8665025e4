"""From rows of the database to packets: solar-system bodies, and the limits of new objects."""

import datetime as dt

import numpy as np
import pytest
import sqlalchemy as sa

from astra.alerts.columns import record_fields
from astra.alerts.encoder import encode_all
from astra.alerts.packet_checks import validate_alert
from astra.alerts.wire import decode
from astra.database import alert_rows
from astra.database.models.apdb import dia_source
from astra.sky.ephemerides import EXPECTED_DTYPE
from astra.tasks.alert_batches import make_batch, make_bodies, make_upper_limits
from tests.tasks.test_association_steps import catalog, connection, run  # noqa: F401

TYPES = {
    "int": sa.Integer,
    "long": sa.BigInteger,
    "float": sa.REAL,
    "double": sa.Double,
    "boolean": sa.Boolean,
    "string": sa.Text,
    "timestamp-micros": sa.DateTime(timezone=True),
}
CREATED = dt.datetime(2026, 3, 1, 12, 30, 15, 250, tzinfo=dt.UTC)


@pytest.fixture
def bodies(connection, monkeypatch):  # noqa: F811
    """Tables of solar-system bodies, which the loader finds by their names."""
    tables = sa.MetaData()
    for name, record in (("SSSource", "ssSource"), ("mpc_orbits", "mpc_orbits")):
        kinds = {field.name: TYPES[field.kind] for field in record_fields(record)}
        sa.Table(name, tables, *(sa.Column(one, kind) for one, kind in kinds.items()))
    tables.create_all(connection)
    monkeypatch.setattr(alert_rows, "metadata", tables)
    return tables.tables


def packets(connection, visit, version="11.1", **options):  # noqa: F811
    alerts = alert_rows.load_alert_columns(connection, "camera", visit, 2)
    batch = make_batch(alerts, **options)
    found = [decode(one) for one in encode_all(batch, version=version, framed=True)]
    for alert in found:
        validate_alert(alert, version)
    return found


def test_a_solar_system_body_has_geometry_and_orbit_and_no_object(connection, bodies):  # noqa: F811
    run(connection, 1, sources=catalog((0, 0), (30, 0), (60, 0)))
    ids = connection.execute(sa.select(dia_source.c.diaSourceId).order_by("diaSourceId")).scalars().all()
    body = dia_source.update().where(dia_source.c.diaSourceId.in_(ids[1:]))
    connection.execute(body.values(diaObjectId=None, ssObjectId=2**50 + 1))
    geometry = {"diaSourceId": ids[1], "ssObjectId": 2**50 + 1, "designation": "2026 AB12345"}
    geometry |= {"eclLambda": 10.0, "eclBeta": 1.0, "galLon": 100.0, "galLat": -40.0, "helioRange": 2.5}
    orbit = {"id": 5, "designation": "2026 AB12345", "a": 2.5, "created_at": CREATED}
    names = ("packed_primary_provisional_designation", "unpacked_primary_provisional_designation")
    connection.execute(bodies["SSSource"].insert(), [geometry])
    connection.execute(bodies["mpc_orbits"].insert(), [orbit | dict.fromkeys(names, "K26A12345")])
    star, body, lost = packets(connection, 1)
    assert star["diaObject"]["diaObjectId"] == ids[0]
    assert star["ssSource"] is star["mpc_orbits"] is None
    assert body["diaObject"] is body["prvDiaSources"] is body["prvDiaForcedSources"] is None
    assert body["diaSource"]["diaObjectId"] is None
    assert body["diaSource"]["ssObjectId"] == 2**50 + 1
    assert body["ssSource"] == body["ssSource"] | geometry
    assert body["mpc_orbits"]["a"] == 2.5
    assert body["mpc_orbits"]["created_at"] == CREATED
    assert lost["ssSource"] is lost["mpc_orbits"] is None  # known by its id, but its geometry is not there


def test_what_the_visit_was_for_is_told_and_nothing_is_null(connection):  # noqa: F811
    run(connection, 1)
    [alert, *_] = packets(connection, 1, observation_reason="science", target_name="")
    assert (alert["observation_reason"], alert["target_name"]) == ("science", None)


def test_the_history_of_packets_is_that_of_their_objects(connection):  # noqa: F811
    for visit in (1, 2, 3):
        run(connection, visit, sources=catalog((0, 0), (30, 0)), now=61000.0 + visit)
    for alert in packets(connection, 3):
        assert [row["visit"] for row in alert["prvDiaSources"]] == [1, 2]
        assert {row["diaObjectId"] for row in alert["prvDiaSources"]} == {alert["diaObject"]["diaObjectId"]}
        assert [row["visit"] for row in alert["prvDiaForcedSources"]] == [1, 2]


def test_limits_are_those_of_visits_that_looked_and_saw_nothing(connection):  # noqa: F811
    run(connection, 1, sources=catalog((0, 0), (30, 0)))
    run(connection, 2, sources=catalog((0, 0)), now=61001.0)
    run(connection, 3, sources=catalog((30, 0), (60, 0)), now=61002.0)
    alerts = alert_rows.load_alert_columns(connection, "camera", 3, 2)
    neighbours = alert_rows.load_neighbour_history(connection, alerts, 120.0)
    limits = make_upper_limits(alerts, neighbours)
    found = [
        decode(one)
        for one in encode_all(
            make_batch(alerts, extra={"upperLimits": limits}), version="astra-1.0", framed=True
        )
    ]
    known, new = found
    [limit] = known["upperLimits"]  # not visit 1, which detected it
    assert (limit["visit"], limit["band"], limit["method"]) == (2, "g", "forced")
    assert limit["limitFlux"] == pytest.approx(15.0)  # five times the noise of 3 nJy
    assert limit["limitSnr"] == 5.0
    assert {one["method"] for one in new["upperLimits"]} == {"neighbour"}
    assert {one["visit"] for one in new["upperLimits"]} <= {1, 2}


def test_the_geometry_of_a_body_is_made_where_none_is_stored(connection):  # noqa: F811
    run(connection, 1, sources=catalog((0, 0), (30, 0)))
    ids = connection.execute(sa.select(dia_source.c.diaSourceId).order_by("diaSourceId")).scalars().all()
    body = dia_source.update().where(dia_source.c.diaSourceId == ids[1])
    connection.execute(body.values(diaObjectId=None, ssObjectId=2**50 + 1))
    alerts = alert_rows.load_alert_columns(connection, "camera", 1, 2)
    source = {name: float(alerts.dia_sources[name][1]) for name in ("ra", "dec")}
    expected = np.zeros(1, EXPECTED_DTYPE)
    expected["ssObjectId"], expected["ra"], expected["distance"] = 2**50 + 1, source["ra"], 1.5
    expected["dec"] = source["dec"] + 1 / 3600
    bodies = make_bodies(alerts, expected, np.array([0.9, 0.3, 0.1]))
    star, found = packets(connection, 1, bodies=bodies)
    assert star["ssSource"] is None
    assert found["diaObject"] is None
    assert found["ssSource"]["diaSourceId"] == ids[1]
    assert found["ssSource"]["ssObjectId"] == 2**50 + 1
    assert found["ssSource"]["ephOffsetDec"] == pytest.approx(-1.0, abs=1e-6)
    assert found["ssSource"]["topoRange"] == 1.5
    assert found["ssSource"]["helio_x"] is None
