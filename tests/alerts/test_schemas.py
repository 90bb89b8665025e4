import pytest
from lsst.alert.packet import Schema

from astra.alerts.schemas import (
    available_versions,
    full_name,
    load_record_schema,
    load_schema,
    schema_id,
    schema_version,
)
from astra.errors import AlertError

RECORDS = ("alert", "diaSource", "diaForcedSource", "diaObject", "ssSource", "mpc_orbits")
FLOATING = ("float", "double")


@pytest.fixture(scope="module")
def official():
    """The records of the published schema, by full name."""
    found = {}

    def collect(schema):
        if isinstance(schema, list):
            for part in schema:
                collect(part)
        elif isinstance(schema, dict) and schema["type"] == "record":
            found[schema["name"]] = schema
            for field in schema["fields"]:
                collect(field["type"])
        elif isinstance(schema, dict):
            collect(schema.get("items", schema["type"]))

    collect(Schema.from_file().definition)
    return found


def by_name(schema):
    """A type with its records replaced by their names and without remarks."""
    if isinstance(schema, list):
        return [by_name(part) for part in schema]
    if isinstance(schema, dict) and schema["type"] == "record":
        return schema["name"]
    if isinstance(schema, dict):
        return {key: by_name(schema[key]) for key in ("type", "items", "logicalType") if key in schema}
    return schema


@pytest.mark.parametrize("record", RECORDS)
def test_fields_are_the_official_ones_in_name_type_order_and_default(official, record):
    ours, theirs = load_record_schema(record), official[full_name(record)]
    assert ours["name"] == theirs["name"]
    describe = [
        [(field["name"], by_name(field["type"]), field.get("default", "none")) for field in schema["fields"]]
        for schema in (ours, theirs)
    ]
    assert describe[0] == describe[1]


def test_we_write_the_latest_published_version():
    assert schema_id() == Schema.from_file().get_schema_id() == 1101
    assert available_versions() == ["10.0", "11.0", "11.1", "astra-1.0"]
    assert schema_version(1101) == "11.1"


@pytest.mark.parametrize("record", RECORDS)
def test_every_field_is_described_and_the_text_is_our_own(official, record):
    theirs = {field["name"]: field.get("doc", "") for field in official[full_name(record)]["fields"]}
    for field in load_record_schema(record)["fields"]:
        assert field["doc"].endswith("."), field["name"]
        assert field["doc"] != theirs[field["name"]] or len(field["doc"].split()) < 6


@pytest.mark.parametrize("record", RECORDS[1:])
def test_fluxes_angles_and_times_state_their_unit(record):
    for field in load_record_schema(record)["fields"]:
        name, number = field["name"], str(field["type"])
        if not any(kind in number for kind in FLOATING):
            continue
        if "Flux" in name and not name.endswith("Slope"):
            assert "[nJy]" in field["doc"], name
        if name.endswith("MjdTai"):
            assert "[d, MJD TAI]" in field["doc"], name
        if name in {"ra", "dec", "raErr", "decErr", "ephRa", "ephDec"}:
            assert "[deg]" in field["doc"], name


def test_schema_is_parsed_once():
    assert load_schema() is load_schema()


@pytest.mark.parametrize("version", ["11", "11.x", "", "11.1.1", "-1.0", "1.100"])
def test_a_malformed_version_is_refused(version):
    with pytest.raises(ValueError, match=r"major\.minor"):
        schema_id(version)


def test_an_unknown_version_is_refused_by_name():
    with pytest.raises(
        AlertError, match=r"alert schema 3.0 is not known; known are 10.0, 11.0, 11.1, astra-1.0"
    ):
        load_schema("3.0")


def test_an_unknown_record_is_refused():
    with pytest.raises(ValueError, match="no record diaNothing"):
        load_record_schema("diaNothing")
