"""Which calibrations hold for a detector at a time: writes and questions, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, and_, or_, select

from astra.database.bulk import is_among
from astra.database.inputs import file_table, input_table
from astra.database.models.calibrations import CalibrationProduct
from astra.database.state import ID_ROWS, chunks, task_table, upsert
from astra.database.survey import exposure_table, visit_table
from astra.errors import DataError
from astra.sky.grouping import ONE_TO_ONE

calibration_table: Table = CalibrationProduct.__table__  # type: ignore[assignment]

CalibrationRow = Row[Any]


def write_calibration_row(connection: Connection, row: Mapping[str, Any]) -> None:
    """Write the row of a calibration file, in place of an older one of the same file.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    row : mapping
        All columns of ``calibration`` but ``pk``.

    Raises
    ------
    DataError
        If it would end before it begins.
    """
    begin, end = row["begin_mjd_tai"], row["end_mjd_tai"]
    if begin is not None and end is not None and end <= begin:
        message = f"a {row['kind']} must be valid for some time, found from MJD {begin} to {end} (TAI)"
        raise DataError(message, begin_mjd_tai=begin, end_mjd_tai=end)
    upsert(connection, calibration_table, [row], ["path"])


def find_calibrations(
    connection: Connection, instrument: str, detector: int, physical_filter: str, mjd_tai: float | None
) -> dict[str, CalibrationRow]:
    """Return the calibrations to use for a detector at a time, by kind.

    Of those of a kind whose range holds the time, beginning included and end not, it is the one made last.
    One of the filter goes before one for which the filter does not matter.

    Parameters
    ----------
    connection : Connection
        To the database.
    instrument : str
        Camera name.
    detector : int
        Which detector.
    physical_filter : str
        The glass of the frame to calibrate.
    mjd_tai : float
        Middle of its exposure [d, MJD TAI]; None if it is not known: only what holds for ever is found then.
    """
    table = calibration_table
    query = _in_order(
        select(table).where(
            table.c.instrument == instrument,
            table.c.detector == detector,
            table.c.physical_filter.in_(["", physical_filter]),
            *_holds_at(mjd_tai),
        )
    )
    return {row.kind: row for row in connection.execute(query)}


def calibrations_of_visits(
    connection: Connection,
    instrument: str,
    pairs: Collection[tuple[int, int]],
    visit_system: int = ONE_TO_ONE,
) -> dict[tuple[int, int], dict[str, CalibrationRow]]:
    """Return the calibrations to use for detectors of visits, as `find_calibrations` does, for many at once.

    Parameters
    ----------
    connection : Connection
        To the database.
    instrument : str
        Camera name.
    pairs : collection of (int, int)
        Visits and detectors.
    visit_system : int, optional
        The system of the visits.

    Returns
    -------
    calibrations : dict
        By visit and detector; without those for which nothing is known.
    """
    table, visit = calibration_table, visit_table
    middle = 0.5 * (visit.c.begin_mjd_tai + visit.c.end_mjd_tai)
    valid = and_(
        table.c.instrument == visit.c.instrument,
        or_(table.c.physical_filter == "", table.c.physical_filter == visit.c.physical_filter),
        *_holds_at(middle),
    )
    wanted = set(pairs)
    detectors = sorted({detector for _, detector in wanted})
    found: dict[tuple[int, int], dict[str, CalibrationRow]] = {}
    for chunk in chunks({number for number, _ in wanted}, ID_ROWS):
        query = (
            select(visit.c.visit, table)
            .join(table, valid)
            .where(
                visit.c.instrument == instrument,
                visit.c.visit_system == visit_system,
                is_among(connection, visit.c.visit, chunk),
                is_among(connection, table.c.detector, detectors),
            )
        )
        for row in connection.execute(_in_order(query)):
            if (row.visit, row.detector) in wanted:
                found.setdefault((row.visit, row.detector), {})[row.kind] = row
    return found


def calibrations_read(connection: Connection, task_ids: Iterable[str]) -> dict[str, set[str]]:
    """Return the paths of the calibrations that tasks have read, by task id; without those that read none."""
    found: dict[str, set[str]] = {}
    for chunk in chunks(task_ids, ID_ROWS):
        query = (
            select(task_table.c.task_id, calibration_table.c.path)
            .join(input_table, input_table.c.task_pk == task_table.c.pk)
            .join(file_table, file_table.c.pk == input_table.c.file_pk)
            .join(calibration_table, calibration_table.c.path == file_table.c.path)
            .where(is_among(connection, task_table.c.task_id, chunk))
        )
        for row in connection.execute(query):
            found.setdefault(row.task_id, set()).add(row.path)
    return found


def exposure_epochs(
    connection: Connection, instrument: str, exposures: Iterable[int]
) -> dict[int, tuple[str, float | None]]:
    """Return filter and middle [d, MJD TAI; None if it is not known] of exposures that are ingested."""
    columns = [
        exposure_table.c[name] for name in ("exposure", "physical_filter", "begin_mjd_tai", "end_mjd_tai")
    ]
    found: dict[int, tuple[str, float | None]] = {}
    for chunk in chunks(set(exposures), ID_ROWS):
        query = select(*columns).where(
            exposure_table.c.instrument == instrument, is_among(connection, exposure_table.c.exposure, chunk)
        )
        for exposure, physical_filter, begin, end in connection.execute(query):
            middle = None if begin is None or end is None else 0.5 * (begin + end)
            found[exposure] = (physical_filter, middle)
    return found


def _holds_at(mjd_tai: Any) -> list[Any]:
    """Return the conditions that a range holds a time."""
    begin, end = calibration_table.c.begin_mjd_tai, calibration_table.c.end_mjd_tai
    if mjd_tai is None:
        return [begin.is_(None), end.is_(None)]
    return [or_(begin.is_(None), begin <= mjd_tai), or_(end.is_(None), end > mjd_tai)]


def _in_order(query: Select[Any]) -> Select[Any]:
    """Put what is to be used last: of the filter, then made last."""
    table = calibration_table
    return query.order_by(table.c.physical_filter != "", table.c.created, table.c.pk)
