import struct
from pathlib import Path

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsst.alert.packet import Schema, get_schema_path

from astra.alerts.packets import validate_alert
from astra.alerts.schemas import OWN_VERSION, extra_fields, load_schema
from astra.alerts.wire import decode, decode_header, encode
from astra.errors import AlertError


def test_an_alert_comes_back_from_the_wire(alert):
    data = encode(alert)
    assert data[:5] == b"\x00" + struct.pack(">I", 1101)
    assert decode(data) == alert


def test_our_frame_is_read_by_the_official_schema_and_theirs_by_us(alert):
    official = Schema.from_file()
    data = encode(alert)
    assert official.deserialize(data[5:]) == alert
    assert decode(data[:5] + official.serialize(alert)) == alert


@pytest.mark.parametrize(
    ("name", "number"),
    [("schema701_hsc_25409136044802067.avro", 701), ("schema703_3527242430321524769.avro", 703)],
)
def test_packets_of_rubin_are_read_with_their_own_schema(shared_data, name, number):
    data = (shared_data / "alerts" / "confluent_wire" / name).read_bytes()
    assert decode_header(data) == number
    major, minor = divmod(number, 100)
    folder = Path(get_schema_path(major, minor))
    schema = fastavro.schema.load_schema(str(folder / f"lsst.v{major}_{minor}.alert.avsc"))
    record = decode(data, {number: schema})
    assert record["diaSource"]["diaSourceId"] > 2**31
    assert record["cutoutDifference"].startswith(b"SIMPLE")


def test_a_packet_of_an_unknown_schema_is_refused(alert):
    with pytest.raises(AlertError, match=r"alert schema 7.1 is not known"):
        decode(b"\x00" + struct.pack(">I", 701) + encode(alert)[5:])


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x00\x04", b"\x01" + b"\x00" * 9, b"Obj\x01 file"])
def test_a_broken_frame_is_refused(data):
    with pytest.raises(AlertError, match="framed alert starts with"):
        decode(data)


def test_a_body_that_is_cut_short_or_too_long_is_refused(alert):
    data = encode(alert)
    for size in range(5, len(data), 97):
        with pytest.raises(AlertError):
            decode(data[:size])
    with pytest.raises(AlertError, match="ends at byte"):
        decode(data + b"\x00")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(5, 3000), value=st.binary(min_size=1, max_size=12))
def test_hostile_bytes_give_an_alert_or_an_alert_error(alert, position, value):
    data = bytearray(encode(alert))
    position = min(position, len(data) - 1)
    data[position : position + len(value)] = value
    try:
        record = decode(bytes(data))
    except AlertError:
        return
    assert set(record) == {field["name"] for field in load_schema()["fields"]}


def test_encoding_refuses_a_missing_and_an_extra_field(alert):
    for change in ({"diaSource": {}}, {"extra": 1}):
        with pytest.raises(AlertError, match=r"does not fit schema 11.1"):
            encode(alert | change)


def test_packets_are_brought_to_another_version(alert):
    own = alert | dict.fromkeys(extra_fields(OWN_VERSION))
    assert decode(encode(own, OWN_VERSION), version="11.1") == alert
    older = decode(encode(alert), version="11.0")
    validate_alert(older, "11.0")
    assert decode(encode(older, "11.0"))["diaSource"].keys() == older["diaSource"].keys()
    newer = decode(encode(older, "11.0"), version="11.1")
    assert newer["diaSource"]["reliabilityVersion"] is None
    assert newer["diaSource"]["psfFlux"] == alert["diaSource"]["psfFlux"]


def test_a_packet_that_a_version_cannot_take_is_refused(alert):
    old = decode(encode(alert), version="10.0")
    old["diaSource"]["psfNdata"] = None
    with pytest.raises(AlertError, match="does not follow schema 1000"):
        decode(encode(old, "10.0"), version="11.1")
