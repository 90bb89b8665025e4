"""Calibrations as tasks find them: those that hold for a frame, and the ranges of time for which they do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from astra.errors import ConfigError, MissingDataError

if TYPE_CHECKING:
    from pathlib import Path

    from astra.images.calibration import Calibrations
    from astra.products.calibrations import CalibrationInfo
    from astra.tasks.imaging import DetectorTask


def read_mjd_tai(text: str) -> float | None:
    """Read a date, as in ``2026-11-20`` or ``2026-11-20T12:00:00``, or an MJD; both are TAI.

    Returns
    -------
    mjd_tai : float or None
        [d]; None if the text is empty: without limit.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    from astropy.time import Time

    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(Time(text, format="isot", scale="tai").mjd)
    except ValueError as exc:
        message = f"a date is given as 2026-11-20, 2026-11-20T12:00:00 or as MJD [d, TAI], found {text!r}"
        raise ConfigError(message, date=text) from exc


def read_kinds(text: str) -> list[str]:
    """Read kinds of calibrations, separated by commas.

    Raises
    ------
    ConfigError
        If one is unknown.
    """
    from astra.products.calibrations import KINDS

    kinds = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        message = f"calibration {unknown[0]!r} is unknown; known are {', '.join(KINDS)}"
        raise ConfigError(message, kind=unknown[0])
    return kinds


def require_kinds(rows: Mapping[str, Any], kinds: list[str], what: str) -> None:
    """Refuse to go on without some kinds of calibrations.

    Raises
    ------
    MissingDataError
        If one is not among the rows.
    """
    missing = [kind for kind in kinds if kind not in rows]
    if missing:
        message = (
            f"no {' and no '.join(missing)} is valid for {what}; make one with CombineBias, CombineDark, "
            f"CombineFlat, BuildDefects or MeasurePhotonTransfer, or require it no more"
        )
        raise MissingDataError(message, missing=", ".join(missing))


def register_calibration(
    url: str,
    path: Path,
    info: CalibrationInfo,
    valid: tuple[float | None, float | None],
    task_id: str,
) -> None:
    """Note a calibration file, and that it holds from one time to another [d, MJD TAI]."""
    from astra.database.calibrations import write_calibration_row
    from astra.database.engine import transaction
    from astra.products.atomic import checksum
    from astra.products.fits_record import plain_values
    from astra.tasks.runner import utc_now

    row = {
        **{name: getattr(info, name) for name in ("instrument", "kind", "detector", "physical_filter")},
        "begin_mjd_tai": valid[0],
        "end_mjd_tai": valid[1],
        "path": str(path),
        "checksum": checksum(path),
        "task_id": task_id,
        "created": utc_now(),
        "statistics": plain_values(info.statistics),
    }
    with transaction(url) as connection:
        write_calibration_row(connection, row)


def load_rows(rows: Mapping[str, Any], *, with_variance: bool = True) -> Calibrations:
    """Read the files of rows of ``calibration``, by kind."""
    from astra.products.calibrations import load_calibrations

    files = {kind: (row.path, row.checksum) for kind, row in rows.items()}
    return load_calibrations(files, with_variance=with_variance)


def stale_by_calibrations(task: DetectorTask) -> set[str]:
    """Return the ids of members that have read other calibrations than are valid now."""
    from astra.database.calibrations import calibrations_of_visits, calibrations_read
    from astra.database.engine import reading
    from astra.database.survey import visit_system_id

    pairs = [(kwargs["visit"], kwargs["detector"]) for kwargs in task.get_batch_task_kwds(False)]
    ids = list(task.member_ids())
    with reading(task.database_url) as connection:
        system = visit_system_id(connection, task.visit_system)
        valid = calibrations_of_visits(connection, task.instrument, pairs, system)
        read = calibrations_read(connection, ids)
    return {
        task_id
        for task_id, pair in zip(ids, pairs, strict=True)
        if {row.path for row in valid.get(pair, {}).values()} != read.get(task_id, set())
    }
