"""One alert at a time, large: the list of alerts as it is looked through with two keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from astra.database.pages.alerts import AlertFilter, AlertPage, newer_page
from astra.web import plots
from astra.web.alert_cards import position_text
from astra.web.curve_view import NARROW
from astra.web.filters import Query
from astra.web.live.objects import triptych_of
from astra.web.site import Site

if TYPE_CHECKING:
    from sqlalchemy import Connection


def scan_values(
    site: Site, connection: Connection, query: Query, wanted: AlertFilter, found: AlertPage, *, n_rows: int
) -> dict[str, Any]:
    """Return what the template shows of the alert at its place, and where the ones beside it are.

    Parameters
    ----------
    site : Site
        Where files are.
    connection : Connection
        To the database.
    query : Query
        Of the address: ``at`` is the place on this page of the list.
    wanted : AlertFilter
        Which alerts.
    found : AlertPage
        The page of the list.
    n_rows : int
        Rows of a page.
    """
    rows = found.rows
    at = min(query.integer("at", 0, n_rows - 1) or 0, max(len(rows) - 1, 0))
    alert = rows[at] if rows else None
    return {
        "alert": alert,
        "place": at + 1,
        "n_on_page": len(rows),
        "newer": _newer(connection, query, wanted, at, n_rows),
        "older": _older(query, found, at),
        "grid": query.address("/alerts", view=None, at=None, format=None),
        **(_shown(site, connection, alert) if alert is not None else {}),
    }


def _shown(site: Site, connection: Connection, alert: Mapping[str, Any]) -> dict[str, Any]:
    from astra.database.pages.light_curves import body_curves, light_curve

    source, whose, body = alert["diaSourceId"], alert["diaObjectId"], alert["ssObjectId"]
    points: Sequence[Any] = ()
    if whose:
        points = light_curve(connection, whose)
    elif body:
        points = body_curves(connection, [body]).get(body, [])
    name = f"object {whose}" if whose else f"body {body}" if body else f"detection {source}"
    return {
        "triptych": triptych_of(site, source, (alert["visit"], alert["detector"])),
        "curve": plots.light_curve(points, name=name, marked=source, size=NARROW),
        "position": position_text(alert["ra"], alert["dec"]),
        "name": name,
    }


def _older(query: Query, found: AlertPage, at: int) -> str | None:
    """Address of the next alert of the list, on this page or the next one."""
    if at + 1 < len(found.rows):
        return query.address("/alerts", at=at + 1, format=None)
    if found.before is None and found.skip is None:
        return None
    return query.address("/alerts", before=found.before, skip=found.skip, at=None, format=None)


def _newer(connection: Connection, query: Query, wanted: AlertFilter, at: int, n_rows: int) -> str | None:
    """Address of the alert before: on this page, or the last one of the page before."""
    if at > 0:
        return query.address("/alerts", at=at - 1 or None, format=None)
    page = page_before(connection, query, wanted, n_rows)
    return None if page is None else query.address("/alerts", **page, format=None)


def page_before(
    connection: Connection, query: Query, wanted: AlertFilter, n_rows: int
) -> dict[str, Any] | None:
    """Return what the address of the page before tells, and its last place; None on the first page."""
    skip, before = query.integer("skip", 0) or 0, query.integer("before", 0)
    if skip:
        return {"skip": max(skip - n_rows, 0) or None, "at": min(skip, n_rows) - 1 or None}
    if before is None:
        return None
    cursor, n_newer = newer_page(connection, wanted, before, n_rows)
    return {"before": cursor, "at": min(n_newer, n_rows) - 1 or None} if n_newer else None
