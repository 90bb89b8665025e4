import copy
import math
import pickle

import numpy as np
import pytest
from astropy.nddata import CCDData
from lsst.alert.packet import Schema

from astra.alerts.cutouts import make_cutout_bytes
from astra.alerts.packets import make_alert, make_alert_dict, to_record, validate_alert
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


class Series:
    """A row as pandas has it."""

    def __init__(self, row):
        self.row = row

    def to_dict(self, orient="dict"):
        return dict(self.row) if orient == "dict" else [dict(row) for row in self.row]


def as_array(row):
    kinds = {int: "i8", float: "f8", bool: "?", str: "U9"}
    array = np.zeros(1, [(name, kinds[type(value)]) for name, value in row.items()])
    array[0] = tuple(row.values())
    return array


@pytest.mark.parametrize("table", [dict, Series, as_array])
def test_a_packet_is_made_of_rows_of_any_table(filled_record, table):
    source, dia_object = filled_record("diaSource"), filled_record("diaObject")
    history = as_array(source) if table is as_array else [source]
    history = Series([source]) if table is Series else history
    one = [row[0] if isinstance(row, np.ndarray) else row for row in (table(source), table(dia_object))]
    alert = make_alert_dict(2**62 + 7, one[0], one[1], history, b"difference", None)
    assert alert["diaSourceId"] == 2**62 + 7
    assert alert["diaSource"] == source
    assert alert["prvDiaSources"] == [source]
    assert alert["diaObject"] == dia_object
    assert (alert["cutoutDifference"], alert["cutoutTemplate"]) == (b"difference", None)
    assert Schema.from_file().validate(alert)


def test_a_packet_without_object_and_history_has_nulls(filled_record):
    alert = make_alert_dict(5, filled_record("diaSource"), None, None, None, None)
    assert alert["diaObject"] is alert["prvDiaSources"] is None


def test_stamps_of_a_packet_may_be_images_of_astropy(filled_record):
    image = CCDData(np.ones((30, 30)), unit="nJy")
    alert = make_alert_dict(5, filled_record("diaSource"), None, None, image, image)
    assert alert["cutoutDifference"] == alert["cutoutTemplate"] == make_cutout_bytes(image)


def test_a_number_that_is_no_id_makes_no_packet(filled_record):
    with pytest.raises(AlertError, match="field diaSourceId must be an int of 64 bits"):
        make_alert_dict(2**63, filled_record("diaSource"), None, None, None, None)


def test_the_public_names_are_those_of_the_package():
    import astra.alerts

    assert set(astra.alerts.__all__) <= {name for name in astra.alerts.__all__ if getattr(astra.alerts, name)}
    assert astra.alerts.make_alert_dict is make_alert_dict
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        astra.alerts.nothing  # noqa: B018


def test_our_own_lists_are_checked_too(filled_record):
    limit = {"visit": 5, "detector": 3, "band": "r", "midpointMjdTai": 60000.0}
    limit |= {"limitFlux": 125.0, "limitSnr": 5.0, "method": "forced"}
    alert = make_alert(filled_record("diaSource"), version="astra-1.0", extra={"upperLimits": [limit]})
    assert alert["upperLimits"] == [limit]
    assert alert["nearestStars"] is None
    wrong = {"upperLimits": [limit | {"limitFlux": 1}]}
    with pytest.raises(AlertError, match=r"field upperLimits.0.limitFlux must be a finite float"):
        make_alert(filled_record("diaSource"), version="astra-1.0", extra=wrong)
    with pytest.raises(ValueError, match=r"alert schema 11.1 has no field upperLimits"):
        make_alert(filled_record("diaSource"), extra={"upperLimits": [limit]})
