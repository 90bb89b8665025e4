"""A full packet: every record, every field filled with a value of its type."""

import datetime as dt

import pytest

from astra.alerts.packets import Cutouts, make_alert
from astra.alerts.schemas import load_record_schema

VALUES = {
    "int": 7,
    "long": 2**40 + 3,
    "float": 0.5,
    "double": 60000.123456789,
    "boolean": True,
    "string": "r",
    "timestamp-micros": dt.datetime(2026, 3, 1, 12, 30, 15, 250, tzinfo=dt.UTC),
}


def _value(schema):
    kind = schema[1] if isinstance(schema, list) else schema
    return VALUES[kind if isinstance(kind, str) else kind["logicalType"]]


@pytest.fixture
def filled_record():
    """Make a record with every field filled."""

    def fill(record, **changes):
        fields = load_record_schema(record)["fields"]
        return {field["name"]: _value(field["type"]) for field in fields} | changes

    return fill


@pytest.fixture
def alert(filled_record):
    return make_alert(
        filled_record("diaSource", diaSourceId=2**62 + 1),
        [filled_record("diaSource"), filled_record("diaSource", band=None)],
        [filled_record("diaForcedSource")],
        filled_record("diaObject"),
        Cutouts(b"difference", b"science", None),
        ss_source=filled_record("ssSource"),
        mpc_orbit=filled_record("mpc_orbits"),
        target_name="COSMOS",
    )
