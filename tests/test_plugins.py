"""Ingredients that are chosen by name, built in or from other distributions."""

from importlib.metadata import EntryPoint

import pytest

from astra import plugins
from astra.alerts.sinks import AlertSink
from astra.errors import ConfigError
from astra.images.subtraction_method import SubtractionMethod
from astra.plugins import ALERT_SINKS, GROUPERS, SUBTRACTION_METHODS, VISIT_REGIONS
from astra.sky.grouping import Grouper, OneToOne
from astra.sky.visit_regions import VisitRegionAlgorithm


class ByNight(OneToOne):
    """A rule of another distribution."""


@pytest.fixture
def installed(monkeypatch):
    """Entry points of other distributions."""
    found = []
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [entry for entry in found if entry.group == group]
    )
    return found


def test_every_built_in_ingredient_can_be_made():
    assert all(isinstance(GROUPERS.get(name), Grouper) for name in GROUPERS.names())
    assert all(isinstance(VISIT_REGIONS.get(name), VisitRegionAlgorithm) for name in VISIT_REGIONS.names())
    methods = [SUBTRACTION_METHODS.get(name) for name in SUBTRACTION_METHODS.names()]
    assert methods
    assert all(isinstance(method, SubtractionMethod) for method in methods)
    assert all(isinstance(ALERT_SINKS.get(name), AlertSink) for name in ALERT_SINKS.names())
    assert set(ALERT_SINKS.names()) >= {"files"}
    assert set(GROUPERS.names()) >= {"one-to-one", "by-group-metadata", "one-to-one-and-by-counter"}


def test_an_installed_rule_is_found_by_its_name(installed):
    installed.append(EntryPoint("by-night", f"{__name__}:ByNight", "astra.groupers"))
    assert type(GROUPERS.get("by-night")) is ByNight
    assert "by-night" in GROUPERS.names()
    assert "by-night" not in VISIT_REGIONS.names()


def test_an_installed_rule_replaces_a_built_in_one(installed):
    installed.append(EntryPoint("one-to-one", f"{__name__}:ByNight", "astra.groupers"))
    assert type(GROUPERS.get("one-to-one")) is ByNight


def test_what_is_no_rule_is_refused(installed):
    installed.append(EntryPoint("paths", "pathlib:Path", "astra.groupers"))
    with pytest.raises(
        ConfigError, match=r"grouping 'paths' must be a subclass of astra\.sky\.grouping\.Grouper"
    ):
        GROUPERS.get("paths")


def test_an_unknown_name_is_answered_with_those_that_are_known():
    with pytest.raises(
        ConfigError, match=r"grouping 'by-hand' is unknown; known are by-group-metadata, one-"
    ):
        GROUPERS.get("by-hand")
