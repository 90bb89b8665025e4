import io
from functools import cache
from pathlib import Path

import fastavro
import pytest
from lsst.alert.packet import Schema, get_schema_path

from astra.alerts.packets import validate_alert
from astra.alerts.schemas import (
    OWN_VERSION,
    available_versions,
    extra_fields,
    full_name,
    load_record_schema,
    load_schema,
    schema_id,
    schema_version,
)
from astra.errors import AlertError

RECORDS = ("alert", "diaSource", "diaForcedSource", "diaObject", "ssSource", "mpc_orbits")
FLOATING = ("float", "double")


OFFICIAL_VERSIONS = ("10.0", "11.0", "11.1")


@cache
def official(version):
    """The records of a published schema, by full name."""
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

    path = Path(get_schema_path(*map(int, version.split("."))))
    collect(Schema.from_file(str(path / f"{full_name('alert', version)}.avsc")).definition)
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


def described(schema):
    """Name, type, nullability and default of each field, in order."""
    return [
        (field["name"], by_name(field["type"]), field.get("default", "none")) for field in schema["fields"]
    ]


@pytest.mark.parametrize("version", OFFICIAL_VERSIONS)
@pytest.mark.parametrize("record", RECORDS)
def test_fields_are_the_official_ones_in_name_type_order_and_default(record, version):
    ours, theirs = load_record_schema(record, version), official(version)[full_name(record, version)]
    assert ours["name"] == theirs["name"]
    assert described(ours) == described(theirs)


@pytest.mark.parametrize("version", OFFICIAL_VERSIONS)
def test_a_version_has_no_other_records_than_the_official_one(version):
    assert set(load_schema(version)["__named_schemas"]) == set(official(version))


def test_we_write_the_latest_published_version():
    assert schema_id() == Schema.from_file().get_schema_id() == 1101
    assert available_versions() == [*OFFICIAL_VERSIONS, "astra-1.0"]
    assert schema_version(1101) == "11.1"


def test_our_own_schema_is_that_of_rubin_and_then_our_fields():
    own, rubin = load_schema(OWN_VERSION), load_schema()
    assert own["name"] == "astra.v1_0.alert"
    assert described(own)[: len(rubin["fields"])] == described(rubin)
    assert extra_fields(OWN_VERSION) == ("upperLimits", "nearestStars", "nearestGalaxies")
    assert extra_fields() == ()
    assert all(field["default"] is None for field in own["fields"][len(rubin["fields"]) :])
    for record in RECORDS[1:]:
        assert load_record_schema(record, OWN_VERSION) == load_record_schema(record)


def test_numbers_on_the_wire_are_those_of_one_version_each():
    numbers = [schema_id(version) for version in available_versions()]
    assert numbers == [1000, 1100, 1101, 1_000_100]
    assert [schema_version(number) for number in numbers] == available_versions()


def same_major(writer, reader):
    return writer.split(".")[0] == reader.split(".")[0]


PAIRS = [(w, r) for w in OFFICIAL_VERSIONS for r in OFFICIAL_VERSIONS if same_major(w, r)]


def resolve(alert, writer, reader):
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, load_schema(writer), alert, strict=True)
    stream.seek(0)
    return fastavro.schemaless_reader(stream, load_schema(writer), load_schema(reader))


def reduced(value, version):
    """A packet of 11.1 as another version has it: without the fields that that one lacks."""

    def record(name, row):
        kept = {field["name"] for field in load_record_schema(name, version)["fields"]}
        return None if row is None else {key: item for key, item in row.items() if key in kept}

    lists = {"prvDiaSources": "diaSource", "prvDiaForcedSources": "diaForcedSource"}
    found = dict(value)
    for name in RECORDS[1:]:
        if name in found:
            found[name] = record(name, found[name])
    return found | {key: [record(name, row) for row in found[key]] for key, name in lists.items()}


@pytest.mark.parametrize(("writer", "reader"), PAIRS)
def test_every_minor_version_reads_every_other(alert, writer, reader):
    found = resolve(reduced(alert, writer), writer, reader)
    validate_alert(found, reader)
    assert reduced(found, writer) == reduced(reduced(alert, writer), reader)
    new = {"exposureTime", "trailAlgorithm", "trail_flag", "reliabilityVersion"}
    if (writer, reader) == ("11.0", "11.1"):
        assert all(found["diaSource"][name] is None for name in new)
    assert new.isdisjoint(found["diaSource"]) == (reader != "11.1")


@pytest.mark.parametrize("writer", ["11.0", "11.1"])
def test_an_older_major_version_reads_a_newer_one_too(alert, writer):
    # What became a must in 11.0 was optional in 10.0, so that this way nothing is lost.
    validate_alert(resolve(reduced(alert, writer), writer, "10.0"), "10.0")


def test_a_reader_of_rubins_schema_reads_our_own(alert):
    extended = alert | dict.fromkeys(extra_fields(OWN_VERSION))
    assert resolve(extended, OWN_VERSION, "11.1") == alert
    assert resolve(alert, "11.1", OWN_VERSION) == extended


@pytest.mark.parametrize("version", OFFICIAL_VERSIONS)
@pytest.mark.parametrize("record", RECORDS)
def test_every_field_is_described_and_the_text_is_our_own(record, version):
    published = official(version)[full_name(record, version)]
    theirs = {field["name"]: field.get("doc", "") for field in published["fields"]}
    for field in load_record_schema(record, version)["fields"]:
        assert field["doc"].endswith("."), field["name"]
        assert field["doc"] != theirs[field["name"]] or len(field["doc"].split()) < 6


@pytest.mark.parametrize("version", available_versions())
@pytest.mark.parametrize("record", [*RECORDS[1:], "upperLimit", "nearbySource"])
def test_fluxes_angles_and_times_state_their_unit(record, version):
    if record in {"upperLimit", "nearbySource"} and version != OWN_VERSION:
        return
    for field in load_record_schema(record, version)["fields"]:
        name, number = field["name"], str(field["type"])
        if not any(kind in number for kind in FLOATING):
            continue
        if "lux" in name and not name.endswith("Slope"):
            assert "[nJy]" in field["doc"], name
        if name.endswith("MjdTai"):
            assert "[d, MJD TAI]" in field["doc"], name
        if name in {"ra", "dec", "raErr", "decErr", "ephRa", "ephDec", "positionAngle"}:
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
