"""Everything that is wrong with an alert is told."""

import copy
import math

import fastavro
import pytest

from astra.alerts.files import write_alerts
from astra.alerts.reading import Packet, read_packets
from astra.alerts.schemas import load_schema
from astra.alerts.validation import Problem, check_record, find_problems
from tests.alerts.simple import packet
from tests.alerts.stamped import stamped


def problems(alert, schema=None):
    return find_problems(Packet(alert, schema or load_schema(), "a.avro"))


def test_a_sound_alert_has_no_problems(tmp_path):
    write_alerts(tmp_path / "a.avro", [stamped(), packet(2**63 - 1)])
    for found in read_packets(tmp_path / "a.avro"):
        assert find_problems(found) == []


@pytest.mark.parametrize(
    ("place", "value", "what"),
    [
        ("diaSourceId", 2**63, "must be an integer of 64 bits, found int 9223372036854775808"),
        ("diaSource.detector", 2**31, "must be an integer of 32 bits, found int 2147483648"),
        ("diaSource.detector", True, "must be an integer of 32 bits, found bool True"),
        ("diaSource.ra", math.nan, "is NaN, which must be null"),
        ("diaSource.ra", 5, "must be a float, found int 5"),
        ("diaSource.psfFlux", 1e39, "must be finite, found 1e+39"),
        ("diaSource.psfFlux", math.inf, "must be finite, found inf"),
        ("diaSource.centroid_flag", 1, "must be true or false, found int 1"),
        ("diaSource.band", b"r", "must be text, found bytes of length 1"),
        ("diaSource.surprise", 1.0, "is not in the schema"),
        ("cutoutScience", "text", "must be bytes, found str 'text'"),
        ("prvDiaSources", {}, "must be a list, found dict of length 0"),
        ("diaObject", [], "must be a record, found list of length 0"),
    ],
)
def test_what_differs_from_the_schema_is_told_with_its_place(place, value, what):
    alert = copy.deepcopy(packet(7, 50))
    *path, name = place.split(".")
    holder = alert
    for part in path:
        holder = holder[part]
    holder[name] = value
    assert Problem(place, what) in problems(alert)


def test_all_that_is_missing_is_told_also_in_the_history():
    alert = packet(7, 50)
    history = [packet(5, 50, mjd=59000.0)["diaSource"], dict(packet(6, 50, mjd=59001.0)["diaSource"])]
    del history[1]["ra"], history[1]["dec"]
    assert problems(alert | {"prvDiaSources": history}) == [
        Problem("prvDiaSources.1.ra", "is missing"),
        Problem("prvDiaSources.1.dec", "is missing"),
    ]


def test_what_no_schema_can_say_is_checked():
    alert = packet(7, 50, ra=360.0, dec=-91.0)
    alert["diaSourceId"], alert["diaObject"]["diaObjectId"] = 8, 51
    alert["prvDiaSources"] = [packet(6, 50, mjd=60000.5)["diaSource"]]
    alert["cutoutTemplate"] = b"no FITS"
    assert {problem.field for problem in problems(alert)} == {
        "diaSourceId",
        "diaObject.diaObjectId",
        "diaSource.ra",
        "diaSource.dec",
        "prvDiaSources.0.midpointMjdTai",
        "cutoutTemplate",
    }


def test_a_file_whose_own_schema_is_another_than_it_says_is_found_out(tmp_path):
    schema = copy.deepcopy({key: value for key, value in load_schema().items() if not key.startswith("__")})
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "target_name"]
    alert = {name: value for name, value in packet(7).items() if name != "target_name"}
    with (tmp_path / "a.avro").open("wb") as stream:
        fastavro.writer(stream, schema, [alert])
    (found,) = read_packets(tmp_path / "a.avro")
    assert find_problems(found) == [Problem("target_name", "is missing")]


def test_unions_arrays_maps_and_names_are_followed():
    inner = {"type": "record", "name": "a.c", "fields": [{"name": "n", "type": "int"}]}
    schema = fastavro.parse_schema(
        {
            "type": "record",
            "name": "a.b",
            "fields": [
                {"name": "x", "type": ["float", "string", "null"]},
                {"name": "inner", "type": inner},
                {"name": "more", "type": {"type": "array", "items": "a.c"}},
                {"name": "by_name", "type": {"type": "map", "values": ["null", "a.c"]}},
            ],
        }
    )  # fmt: skip
    right = {"x": "text", "inner": {"n": 1}, "more": [{"n": 2}], "by_name": {"k": None, "l": {"n": 3}}}
    assert list(check_record(right, schema)) == []
    wrong = {"x": b"", "inner": {"n": 1}, "more": [{"n": None}], "by_name": {"l": {"n": "3"}}}
    assert [problem.field for problem in check_record(wrong, schema)] == ["x", "more.0.n", "by_name.l.n"]


def test_real_alerts_are_sound(shared_data):
    for path in sorted((shared_data / "alerts" / "ztf").iterdir()):
        for found in read_packets(path):
            assert find_problems(found) == []
    for path in sorted((shared_data / "alerts" / "rubin_hsc_cosmos").glob("*/*.avro")):
        for found in read_packets(path):
            assert all(problem.is_remark for problem in find_problems(found))
