import numpy as np
import pytest

from astra.database import apdb
from astra.database.alert_rows import load_alert_columns, load_neighbour_history
from astra.database.models.apdb import dia_source
from astra.errors import MissingDataError
from tests.tasks.test_association_steps import catalog, connection, run  # noqa: F401


def row(columns, number):
    """One row of columns, None for null."""
    return {name: column[number : number + 1].tolist()[0] for name, column in columns.items()}


def plain(found):
    """A row of the database as its columns keep it: REAL is single, NaN is null, booleans are bools."""
    kinds = {column.name: str(column.type) for column in dia_source.columns}

    def value(name, one):
        one = None if isinstance(one, float) and np.isnan(one) else one
        return float(np.float32(one)) if isinstance(one, float) and kinds.get(name) == "REAL" else one

    return {name: value(name, one) for name, one in found.items()}


@pytest.fixture
def night(connection):  # noqa: F811
    for visit in (1, 2, 3):
        offsets = [(0, 0), (30, 0)] if visit == 1 else [(0, 0), (30, 0), (60 * visit, 5)]
        run(connection, visit, sources=catalog(*offsets), now=61000.0 + visit)
    return connection


@pytest.mark.parametrize("visit", [1, 2, 3])
def test_columns_hold_the_rows_of_the_alerts(night, visit):
    marker, rows = apdb.load_alert_rows(night, "camera", visit, 2)
    alerts = load_alert_columns(night, "camera", visit, 2)
    assert alerts.marker == marker
    assert len(alerts) == len(rows) > 0
    for i, expected in enumerate(rows):
        assert plain(row(alerts.dia_sources, i)) == plain(expected.dia_source)
        chosen = alerts.dia_objects.rows[i]
        found = None if chosen < 0 else row(alerts.dia_objects.columns, chosen)
        expected_object = expected.dia_object
        assert found["diaObjectId"] == expected_object["diaObjectId"]
        assert found["validityStartMjdTai"] == expected_object["validityStartMjdTai"]
        for history, listed in (
            (alerts.prv_sources, expected.prv_sources),
            (alerts.prv_forced, expected.prv_forced),
        ):
            got = [plain(row(history.columns, k)) for k in range(history.start[i], history.end[i])]
            assert got == [plain(one) for one in listed]


def test_the_history_is_as_long_as_is_asked_for(night):
    def visits(days):
        history = load_alert_columns(night, "camera", 3, 2, history_days=days).prv_sources
        return set(history.columns["visit"].data.tolist())

    assert visits(365.25) == {1, 2}
    assert visits(4.998) == {2}  # 5 and 4.997 d before
    assert visits(0.0) == set()


def test_withdrawn_rows_are_left_out(night):
    alerts = load_alert_columns(night, "camera", 3, 2)
    withdrawn = int(alerts.dia_sources["diaSourceId"][0])
    earlier = int(alerts.prv_sources.columns["diaSourceId"][alerts.prv_sources.start[1]])
    for source in (withdrawn, earlier):
        statement = dia_source.update().where(dia_source.c.diaSourceId == source)
        night.execute(statement.values(timeWithdrawnMjdTai=61050.0))
    again = load_alert_columns(night, "camera", 3, 2)
    assert withdrawn not in again.dia_sources["diaSourceId"].tolist()
    assert len(again) == len(alerts) - 1
    assert earlier not in again.prv_sources.columns["diaSourceId"].tolist()


def test_a_visit_without_detections_has_empty_columns(connection):  # noqa: F811
    run(connection, 1, sources=catalog())
    alerts = load_alert_columns(connection, "camera", 1, 2)
    assert len(alerts) == 0
    assert len(load_neighbour_history(connection, alerts, 60.0).start) == 0


def test_columns_need_a_marker(connection):  # noqa: F811
    with pytest.raises(MissingDataError, match="no apdb_marker"):
        load_alert_columns(connection, "camera", 9, 9)


def test_a_new_object_has_the_history_of_the_nearest_known_one(night):
    alerts = load_alert_columns(night, "camera", 3, 2)
    is_new = alerts.prv_forced.end == alerts.prv_forced.start
    assert is_new.tolist() == [False, False, True]
    near = load_neighbour_history(night, alerts, 120.0)
    counts = (near.end - near.start).tolist()
    assert counts[:2] == [0, 0]
    assert near.columns["visit"].data[near.start[2] : near.end[2]].tolist() == [2]
    nothing = load_neighbour_history(night, alerts, 0.1)
    assert (nothing.end == nothing.start).all()


def test_columns_of_postgresql_hold_the_same_rows(postgresql_url):
    from astra.database.engine import open_engine

    engine = open_engine(postgresql_url)
    with engine.begin() as postgresql:
        for visit in (1, 2):
            run(postgresql, visit, sources=catalog((0, 0), (30, 0)), now=61000.0 + visit)
        _, rows = apdb.load_alert_rows(postgresql, "camera", 2, 2)
        alerts = load_alert_columns(postgresql, "camera", 2, 2)
        for i, expected in enumerate(rows):
            assert plain(row(alerts.dia_sources, i)) == plain(expected.dia_source)
            bounds = range(alerts.prv_sources.start[i], alerts.prv_sources.end[i])
            found = [plain(row(alerts.prv_sources.columns, k)) for k in bounds]
            assert found == [plain(one) for one in expected.prv_sources]
    engine.dispose()
