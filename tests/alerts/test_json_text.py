import base64
import datetime as dt
import hashlib
import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from astra.alerts import read_alerts, to_json
from astra.alerts.json_text import to_plain
from astra.errors import AlertError
from tests.alerts.random_rows import HOSTILE, POOLS, RANDOMS, make_rows


def refuse_constant(text):
    raise AssertionError(text)


def parse(text):
    """As a strict reader does: NaN and infinity are no JSON."""
    return json.loads(text, parse_constant=refuse_constant)


def numbers(value):
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, int) else []


def test_ids_of_64_bits_are_text_everywhere(alert):
    found = parse(to_json(alert))
    assert found["diaSourceId"] == found["diaSource"]["diaSourceId"] == str(2**62 + 1)
    for record in (found["diaSource"], found["prvDiaSources"][0], found["prvDiaForcedSources"][0]):
        assert isinstance(record["visit"], str)
        assert isinstance(record["diaObjectId"], str)
    assert isinstance(found["diaObject"]["diaObjectId"], str)
    assert isinstance(found["ssSource"]["ssObjectId"], str)
    assert found["diaSource"]["detector"] == alert["diaSource"]["detector"]
    assert all(abs(number) <= 2**53 for number in numbers(found))


def test_values_come_back(alert):
    found = parse(to_json(alert))
    assert found["diaSource"]["midpointMjdTai"] == alert["diaSource"]["midpointMjdTai"]
    assert found["diaSource"]["isDipole"] is True
    assert dt.datetime.fromisoformat(found["mpc_orbits"]["created_at"]) == alert["mpc_orbits"]["created_at"]
    assert found["cutoutTemplate"] is None


def test_stamps_are_shown_as_is_asked_for(alert):
    content = alert["cutoutScience"]
    reference = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert parse(to_json(alert))["cutoutScience"] == reference
    assert base64.b64decode(parse(to_json(alert, stamps="base64"))["cutoutScience"]) == content
    assert "cutoutScience" not in parse(to_json(alert, stamps="none"))
    with pytest.raises(ValueError, match="reference, base64, none, found 'hex'"):
        to_json(alert, stamps="hex")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pools=POOLS, random=RANDOMS)
def test_any_row_is_strict_json(pools, random):
    [row] = make_rows(pools, random, "diaSource", 1, "11.1")
    found = parse(to_json({"diaSource": row}))["diaSource"]
    for name, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            assert found[name] is None
        elif type(value) is int and abs(value) > 2**53:
            assert found[name] == str(value)


@pytest.mark.parametrize("text", [*HOSTILE, "\ud800", "\u2028"])
def test_hostile_text_is_escaped(alert, text):
    alert["target_name"] = text
    written = to_json(alert)
    assert written.encode()
    assert parse(written)["target_name"] == text.encode(errors="replace").decode()
    assert not any(ord(letter) < 32 for letter in written)


def test_numbers_of_numpy_are_numbers():
    row = {"a": np.float32(1.5), "b": np.int64(2**60), "c": np.bool_(True), "d": np.array([1.0, np.nan])}
    assert to_plain(row) == {"a": 1.5, "b": str(2**60), "c": True, "d": [1.0, None]}


def test_what_json_cannot_say_is_refused_by_name():
    with pytest.raises(AlertError, match="field shape of an alert is a complex"):
        to_json({"shape": 1j})


def test_alerts_of_others_are_strict_json(shared_data):
    for path in sorted((shared_data / "alerts").glob("*/**/*.avro")):
        if path.parent.name == "confluent_wire":
            continue
        for alert in read_alerts(path):
            assert all(abs(number) <= 2**53 for number in numbers(parse(to_json(alert))))
