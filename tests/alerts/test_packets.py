import copy
import math
import pickle

import numpy as np
import pytest
from lsst.alert.packet import Schema

from astra.alerts.packets import make_alert, to_record, validate_alert
from astra.errors import AlertError


def same(ours, theirs):
    """Equal after the trip; float32 fields are exact here since all values fit."""
    return ours == theirs


def test_a_full_alert_passes_the_official_validation_and_round_trip(alert):
    official = Schema.from_file()
    assert official.validate(alert)
    assert same(official.deserialize(official.serialize(alert)), alert)


def test_a_sparse_alert_passes_the_official_validation_and_round_trip(filled_record):
    source = filled_record("diaSource")
    required = {"diaSourceId", "visit", "detector", "midpointMjdTai", "ra", "dec", "x", "y", "psfNdata"}
    required |= {"trailNdata", "dipoleNdata", "timeProcessedMjdTai", "bboxSize"}
    alert = make_alert({name: source[name] for name in required})
    official = Schema.from_file()
    assert official.validate(alert)
    assert same(official.deserialize(official.serialize(alert)), alert)
    assert alert["prvDiaSources"] is None
    assert alert["diaObject"] is None


def test_rows_with_columns_of_the_database_and_numpy_values_become_records():
    row = {"diaSourceId": np.int64(5), "psfFlux": np.float32(1.5), "pixelId": 3, "snr": math.nan}
    record = to_record("diaSource", row)
    assert "pixelId" not in record
    assert type(record["diaSourceId"]) is int
    assert (record["psfFlux"], record["snr"]) == (1.5, None)


WRONG = [
    ("diaSource", "psfFlux", 1, "float"),
    ("diaSource", "psfFlux", math.nan, "float"),
    ("diaSource", "psfFlux", 1e39, "float"),
    ("diaSource", "psfFlux", np.float32(1), "float"),
    ("diaSource", "ra", None, "float"),
    ("diaSource", "visit", 1.0, "int"),
    ("diaSource", "visit", True, "int"),
    ("diaSource", "detector", 2**31, "32 bits"),
    ("diaSource", "diaSourceId", 2**63, "64 bits"),
    ("diaSource", "isDipole", 1, "bool"),
    ("diaSource", "band", b"r", "str"),
    ("diaObject", "nDiaSources", None, "int"),
    ("mpc_orbits", "created_at", 5, "datetime"),
    ("ssSource", "diaDistanceRank", "1", "int"),
]


@pytest.mark.parametrize(("record", "field", "value", "expected"), WRONG)
def test_a_value_of_the_wrong_type_is_refused_by_name(alert, record, field, value, expected):
    alert[record][field] = value
    with pytest.raises(AlertError, match=f"field {record}.{field} must be .*{expected}") as error:
        validate_alert(alert)
    assert error.value.context["field"] == f"{record}.{field}"


def test_a_missing_field_is_refused_by_name(alert):
    del alert["diaObject"]["g_psfFluxMean"]
    with pytest.raises(AlertError, match=r"field diaObject.g_psfFluxMean is missing"):
        validate_alert(alert)


def test_an_extra_field_is_refused_by_name(alert):
    alert["prvDiaSources"][1]["pixelId"] = 1
    with pytest.raises(AlertError, match=r"field prvDiaSources.1.pixelId is not in the schema"):
        validate_alert(alert)


@pytest.mark.parametrize("field", ["diaSource", "prvDiaSources", "cutoutScience", "diaSourceId"])
def test_something_else_in_place_of_a_record_a_list_or_bytes_is_refused(alert, field):
    alert[field] = "x"
    with pytest.raises(AlertError, match=f"field {field} must be"):
        validate_alert(alert)


@pytest.mark.parametrize("alert", [None, [], 5, "alert"])
def test_what_is_no_packet_is_refused(alert):
    with pytest.raises(AlertError, match="field alert must be a record"):
        validate_alert(alert)


def test_validation_does_not_modify_the_packet(alert):
    before = copy.deepcopy(alert)
    validate_alert(alert)
    assert alert == before


def test_a_row_without_a_required_column_makes_no_alert(filled_record):
    row = filled_record("diaSource")
    del row["midpointMjdTai"]
    with pytest.raises(AlertError, match=r"diaSource.midpointMjdTai must be a float, .*NoneType"):
        make_alert(row)


def test_the_error_crosses_a_process_border_with_its_context(alert):
    alert["diaSource"]["ra"] = None
    with pytest.raises(AlertError) as error:
        validate_alert(alert)
    again = pickle.loads(pickle.dumps(error.value))  # noqa: S301
    assert again.context == error.value.context
