"""Alert packets: rows of the database and stamps, made into one strictly checked record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from astra.alerts.packet_checks import MAX_FLOAT32, validate_alert
from astra.alerts.schemas import LATEST_VERSION, extra_fields, load_record_schema

if TYPE_CHECKING:
    from astropy.nddata import CCDData

Alert = dict[str, Any]
Rows = Iterable[Mapping[str, Any]]

__all__ = ["MAX_FLOAT32", "Alert", "Cutouts", "make_alert", "make_alert_dict", "to_record", "validate_alert"]


# Records of the lists that only our own schema has.
_EXTRA = {"upperLimits": "upperLimit", "nearestStars": "nearbySource", "nearestGalaxies": "nearbySource"}


@dataclass(frozen=True)
class Cutouts:
    """Stamps of one source as FITS bytes; None where there is none.

    Parameters
    ----------
    difference, science, template : bytes, optional
        See `astra.alerts.cutouts.make_cutout`.
    """

    difference: bytes | None = None
    science: bytes | None = None
    template: bytes | None = None


def to_record(record: str, row: Mapping[str, Any], version: str = LATEST_VERSION) -> dict[str, Any]:
    """Take the fields of a record out of a database row.

    Columns that only the database has are left out, columns that the row lacks are null, numpy scalars
    become plain numbers and NaN becomes null.

    Parameters
    ----------
    record : str
        ``diaSource``, ``diaForcedSource``, ``diaObject`` and so on.
    row : mapping
        Values by column name.
    version : str, optional
        Schema version.
    """
    names = _field_names(record, version)
    return {name: _plain(row.get(name)) for name in names}


@cache
def _field_names(record: str, version: str) -> tuple[str, ...]:
    return tuple(field["name"] for field in load_record_schema(record, version)["fields"])


def _plain(value: Any) -> Any:
    """Plain Python value; None for NaN."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def make_alert(
    dia_source: Mapping[str, Any],
    prv_sources: Iterable[Mapping[str, Any]] = (),
    prv_forced: Iterable[Mapping[str, Any]] = (),
    dia_object: Mapping[str, Any] | None = None,
    cutouts: Cutouts | None = None,
    *,
    ss_source: Mapping[str, Any] | None = None,
    mpc_orbit: Mapping[str, Any] | None = None,
    observation_reason: str | None = None,
    target_name: str | None = None,
    version: str = LATEST_VERSION,
    extra: Mapping[str, Rows] | None = None,
) -> Alert:
    """Make the packet of one detection and check it.

    Parameters
    ----------
    dia_source : mapping
        Database row of the detection.
    prv_sources, prv_forced : iterable of mapping, optional
        Rows of the object's earlier detections and forced measurements, oldest first.
    dia_object : mapping, optional
        Row of the object; none for a solar-system body.
    cutouts : Cutouts, optional
        Stamps.
    ss_source, mpc_orbit : mapping, optional
        Geometry and orbit of a solar-system body.
    observation_reason, target_name : str, optional
        What the visit was for.
    version : str, optional
        Schema version.
    extra : mapping of str to iterable of mapping, optional
        Rows of what only our own schema has: ``upperLimits``, ``nearestStars``, ``nearestGalaxies``.

    Raises
    ------
    AlertError
        If a field is missing or has the wrong type; the message and the context name it.
    """
    stamps = cutouts or Cutouts()
    lists = dict.fromkeys(extra_fields(version), ()) | dict(extra or {})
    if len(lists) > len(extra_fields(version)):
        unknown = ", ".join(sorted(set(lists) - set(extra_fields(version))))
        raise ValueError(f"alert schema {version} has no field {unknown}")

    def one(record: str, row: Mapping[str, Any] | None) -> dict[str, Any] | None:
        return None if row is None else to_record(record, row, version)

    alert: Alert = {
        "diaSourceId": _plain(dia_source.get("diaSourceId")),
        "observation_reason": observation_reason,
        "target_name": target_name,
        "diaSource": to_record("diaSource", dia_source, version),
        "prvDiaSources": [to_record("diaSource", row, version) for row in prv_sources] or None,
        "prvDiaForcedSources": [to_record("diaForcedSource", row, version) for row in prv_forced] or None,
        "diaObject": one("diaObject", dia_object),
        "ssSource": one("ssSource", ss_source),
        "mpc_orbits": one("mpc_orbits", mpc_orbit),
        "cutoutDifference": stamps.difference,
        "cutoutScience": stamps.science,
        "cutoutTemplate": stamps.template,
        **{
            name: [to_record(_EXTRA[name], row, version) for row in rows] or None
            for name, rows in lists.items()
        },
    }
    validate_alert(alert, version)
    return alert


def make_alert_dict(  # noqa: PLR0917  (the signature of 2021)
    alert_id: int,
    dia_source: Any,
    dia_object: Any,
    obj_dia_src_history: Any,
    diff_im_cutout: CCDData | bytes | None,
    template_cutout: CCDData | bytes | None,
) -> Alert:
    """Make the packet of one detection from rows as tables give them, and check it.

    Parameters
    ----------
    alert_id : int
        Id of the alert, which becomes its ``diaSourceId``: that of the detection is expected there.
    dia_source, dia_object : mapping, structured scalar or pandas.Series
        Rows of the detection and of its object; None for no object.
    obj_dia_src_history : iterable of rows, structured ndarray or pandas.DataFrame
        Rows of the object's earlier detections; None for none.
    diff_im_cutout, template_cutout : astropy.nddata.CCDData, bytes or None
        Stamps of the difference image and of the template.

    Returns
    -------
    alert : dict
        Packet of the latest of Rubin's schemas.

    Raises
    ------
    AlertError
        If a field is missing or has the wrong type; the message and the context name it.
    """
    from astra.alerts.cutouts import make_cutout_bytes

    alert = make_alert(
        _row(dia_source),
        _rows(obj_dia_src_history),
        (),
        None if dia_object is None else _row(dia_object),
        Cutouts(make_cutout_bytes(diff_im_cutout), None, make_cutout_bytes(template_cutout)),
    )
    alert["diaSourceId"] = _plain(alert_id)
    validate_alert(alert)
    return alert


def _row(row: Any) -> Mapping[str, Any]:
    """Turn a row of whatever kind of table into a mapping."""
    if isinstance(row, Mapping):
        return row
    names = getattr(getattr(row, "dtype", None), "names", None)
    if names:
        return {name: row[name] for name in names}
    mapping: Mapping[str, Any] = row.to_dict()
    return mapping


def _rows(table: Any) -> Sequence[Mapping[str, Any]]:
    """Turn a table, or nothing, into rows."""
    if table is None:
        return []
    if hasattr(table, "to_dict"):
        rows: Sequence[Mapping[str, Any]] = table.to_dict("records")
        return rows
    return [_row(row) for row in table]
