"""What tasks note about themselves: items and timers."""

import datetime as dt
import json
import logging
import math
import time

import numpy as np
import pytest

import astra
from astra.tasks.metadata import Metadata, timer

ITEMS = ["Utc", "CpuTime", "UserTime", "SystemTime", "MaxResidentSetSize"]


def test_repeated_names_become_lists_in_order():
    items = Metadata()
    items.add("a", 1)
    items.add("b", "x")
    items.add("a", 2)
    assert items["a"] == [1, 2]
    assert items["b"] == "x"
    assert list(items) == ["a", "b"]
    assert items.get_array("b") == ["x"]
    assert items.get_scalar("a") == 2
    assert items.get_array("absent") == []


def test_assignment_replaces_all_values():
    items = Metadata({"a": [1, 2]})
    items["a"] = 3
    assert items["a"] == 3


@pytest.mark.parametrize(("first", "second"), [(1, "1"), (True, 1), ("x", 2.0), (1, 2.0)])
def test_a_name_keeps_one_type(first, second):
    items = Metadata({"a": first})
    with pytest.raises(TypeError, match="'a' holds"):
        items.add("a", second)
    assert items["a"] == first


def test_a_whole_number_among_floats_is_a_float():
    items = Metadata({"a": 1.5})
    items.add("a", 2)
    assert type(items.get_scalar("a")) is float


@pytest.mark.parametrize("value", [None, {}, [1, 2], np.zeros(2), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)])
def test_only_scalars_are_items(value):
    items = Metadata()
    with pytest.raises(TypeError, match="'a' must be"):
        items.add("a", value)
    assert "a" not in items


def test_numpy_scalars_become_plain():
    items = Metadata()
    items.add("f", np.float32(0.5))
    items.add("i", np.int64(2))
    items.add("b", np.bool_(True))
    assert [type(items[name]) for name in "fib"] == [float, int, bool]


def test_json_keeps_order_types_and_repetitions():
    items = Metadata({"z": [1, 2], "a": "15000", "m": 1.0, "t": True})
    again = Metadata.from_json(items.to_json())
    assert again == items
    assert type(again["m"]) is float
    assert list(again) == ["z", "a", "m", "t"]


def test_json_is_strict_about_what_is_not_finite():
    text = Metadata({"a": [1.0, math.nan], "b": math.inf}).to_json()
    assert json.loads(text) == {"a": [1.0, None], "b": None}
    assert math.isnan(Metadata.from_json(text)["a"][1])


def test_timer_notes_start_and_end():
    with astra.timer("fit") as items:
        assert list(items) == [f"fitStart{item}" for item in ITEMS]
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
    assert list(items)[5:] == [f"fitEnd{item}" for item in ITEMS]
    assert items["fitEndCpuTime"] - items["fitStartCpuTime"] >= 0.02
    start, end = (dt.datetime.fromisoformat(items[f"fit{edge}Utc"]) for edge in ("Start", "End"))
    assert start.utcoffset() == dt.timedelta(0)
    assert start < end


def test_memory_is_in_bytes():
    with timer("fit") as items:
        pass
    # An interpreter with numpy takes tens of megabytes; in kibibytes the number would be below a million.
    assert 1e7 < items["fitEndMaxResidentSetSize"] < 1e12


def test_the_end_is_noted_when_the_block_raises():
    items = Metadata()
    with pytest.raises(ZeroDivisionError), timer("fit", metadata=items):
        1 / 0  # noqa: B018
    assert "fitEndCpuTime" in items


def test_timing_twice_keeps_both():
    items = Metadata()
    for _ in range(2):
        with timer("fit", metadata=items):
            pass
    assert len(items["fitStartUtc"]) == 2


def test_timer_logs_at_the_level_asked_for(caplog):
    caplog.set_level(logging.DEBUG, logger="timer.astra")
    with timer("quiet"):
        pass
    with timer("loud", log_level=logging.INFO):
        pass
    levels = {record.getMessage().partition("Start")[0]: record.levelno for record in caplog.records[::2]}
    assert levels == {"quiet": logging.DEBUG, "loud": logging.INFO}
    assert "; quietStartCpuTime=" in caplog.records[0].getMessage()
