"""Further statistics of objects, as a task: which are kept, and that each version has its own."""

import numpy as np
import pytest
import sqlalchemy as sa

from astra.database.arrays import table_dtype, to_array
from astra.database.engine import dispose_engines, reading
from astra.database.models.apdb import dia_object, dia_object_statistics, dia_source
from astra.errors import ConfigError
from astra.sky.light_curve_plugins import DEFAULT_PLUGINS, FURTHER_PLUGINS, PLUGINS, statistics
from astra.sky.light_curve_sums import Chain
from astra.tasks.alerts import PackageAlerts
from astra.tasks.associated import chosen_plugins
from astra.tasks.association import Associate
from tests.tasks.night import build
from tests.tasks.test_late_visits import forget_association

PERIODOGRAMS = ("ap_lombScarglePeriodogram", "ap_lombScarglePeriodogramMulti")


def kept(root):
    """Rows of the statistics by version, and whose versions there are."""
    with reading(f"sqlite:///{root}/astra.db") as connection:
        query = sa.select(dia_object_statistics)
        found = {tuple(row.values())[:2]: dict(row) for row in connection.execute(query).mappings()}
        keys = {tuple(row) for row in connection.execute(sa.select(*dia_object.primary_key.columns))}
    dispose_engines()
    return found, keys


def expected_of(root):
    """The statistics of each version, of all detections up to it."""
    with reading(f"sqlite:///{root}/astra.db") as connection:
        rows = to_array(connection.execute(sa.select(dia_source)).all(), table_dtype(dia_source))
        keys = connection.execute(sa.select(*dia_object.primary_key.columns)).all()
    dispose_engines()
    found = {}
    for object_id, start in keys:
        own = rows[rows["diaObjectId"] == object_id]
        # What became known with a visit: its rows differ by the shutter, its version starts in its middle.
        own = own[own["midpointMjdTai"] < start + 60 / 86400]
        chain = Chain(np.array([object_id]), np.array([start]))
        columns = statistics(chain, own, np.full(len(own), start), FURTHER_PLUGINS)
        found[object_id, start] = {name: values[0] for name, values in columns.items()}
    return found


def assert_right(root):
    found, keys = kept(root)
    assert set(found) == keys
    for key, columns in expected_of(root).items():
        row = found[key]
        names = set(row) - {"diaObjectId", "validityStartMjdTai"}
        for name in names:
            value = columns.get(name, np.nan)
            assert row[name] == (None if np.isnan(value) else pytest.approx(value, rel=1e-9)), (key, name)
    assert sum(row["r_psfFluxMAD"] is not None for row in found.values()) > 20


def test_a_night_keeps_all_but_the_periodograms_of_every_version(processed):
    assert_right(processed)


def test_a_late_visit_has_the_statistics_of_later_versions_made_again(processed, night):
    expected = kept(processed)
    late = [pair for pair in night.pairs if pair[0] == night.files.science_visits[0]]
    forget_association(processed, late, night)
    assert build(Associate(**night.parameters(late)))
    assert kept(processed) == expected


def test_other_statistics_replace_those_that_are_there(processed, night):
    assert not build(Associate(**night.parameters(), statistics="rubin"))
    assert build(Associate(**night.parameters(), statistics="rubin", rerun=True))
    assert kept(processed)[0] == {}
    assert build(Associate(**night.parameters(), statistics="ap_madFlux", rerun=True))
    found, keys = kept(processed)
    assert set(found) == keys
    assert any(row["r_psfFluxMAD"] is not None for row in found.values())
    assert {row["r_psfFluxChi2"] for row in found.values()} == {None}


def test_the_tasks_before_hand_their_choice_on(night):
    pipeline = night.pipeline(night.pairs[:1], statistics=" ap_stetsonJ, ap_madFlux")
    alerts = pipeline.require(PackageAlerts)
    assert alerts.require(Associate).statistics == "ap_madFlux,ap_stetsonJ"
    assert alerts.require(Associate).options().plugins == (*DEFAULT_PLUGINS, "ap_madFlux", "ap_stetsonJ")


def test_sets_of_statistics_are_named_and_what_is_unknown_is_refused():
    assert chosen_plugins("rubin") == DEFAULT_PLUGINS
    assert chosen_plugins("all") == (*DEFAULT_PLUGINS, *PLUGINS)
    assert set(chosen_plugins("all")) - set(chosen_plugins("further")) == set(PERIODOGRAMS)
    assert chosen_plugins("ap_madFlux,ap_meanFlux") == (*DEFAULT_PLUGINS, "ap_madFlux")
    with pytest.raises(ConfigError, match="there is no statistic 'ap_mad'; known are further, all, rubin"):
        chosen_plugins("ap_mad")
