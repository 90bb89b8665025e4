"""The grid of alerts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astra.database.pages.alerts import (
    COLUMNS,
    FLAGS,
    ORDERS,
    PAGE_ROWS,
    AlertFilter,
    list_alert_page,
)
from astra.web.filters import MAX_ID, BadFilterError, Query
from astra.web.live.packets import packet_is_there
from astra.web.live.scan import page_before, scan_values
from astra.web.site import Answer, Site

MAX_ROWS = 1000
MAX_SKIP = 10_000
VIEWS = ("grid", "scan")
KEPT = "none"  # of `without`: nothing is left out


def alert_filter(query: Query) -> AlertFilter:
    """Read which detections are asked for."""
    cone = query.cone()
    return AlertFilter(
        night=query.night(),
        visit=query.integer("visit"),
        detector=query.integer("detector"),
        min_snr=query.number("snr", 0.0),
        min_reliability=query.number("reliability", 0.0, 1.0),
        without=_without(query.text("without")),
        cone=(cone.ra, cone.dec, cone.radius_arcsec) if cone is not None else None,
        order=query.choice("order", ORDERS, "newest") or "newest",
    )


def _without(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ("withdrawn",)
    words = tuple(word for word in text.replace(" ", "").split(",") if word and word != KEPT)
    wrong = [word for word in words if word not in FLAGS]
    if wrong:
        message = f"without must name some of {', '.join(FLAGS)}, not {wrong[0]!r}"
        raise BadFilterError(message)
    return words


def alerts_page(site: Site, query: Query, _keys: Mapping[str, str]) -> Answer:
    """Make the grid."""
    wanted = alert_filter(query)
    before = query.integer("before", 0, MAX_ID)
    skip = query.integer("skip", 0, MAX_SKIP) or 0
    n_rows = query.integer("n", 1, MAX_ROWS) or PAGE_ROWS
    scans = query.choice("view", VIEWS, VIEWS[0]) == "scan"
    with site.database.reading() as connection:
        found = list_alert_page(connection, wanted, before=before, skip=skip, n_rows=n_rows)
        if scans:
            values = scan_values(site, connection, query, wanted, found, n_rows=n_rows)
            return Answer(
                "alerts_scan.html", "alerts", _form(query, wanted) | values,
                {"alert": values["alert"], "next": values["older"]}, found.rows,
                ("instrument", *COLUMNS, "distance_arcsec"),
            )  # fmt: skip
        newer = page_before(connection, query, wanted, n_rows)
    have_packet = {place: packet_is_there(site, *place) for place in {_place(row) for row in found.rows}}
    rows = [{**row, "has_packet": have_packet[_place(row)]} for row in found.rows]
    is_first = before is None and not skip
    further = None
    if found.before is not None or found.skip is not None:
        further = query.address("/alerts", before=found.before, skip=found.skip, format=None)
    return Answer(
        template="alerts.html",
        page="alerts",
        values={
            "alerts": rows,
            "further": further,
            "first": None if is_first else query.address("/alerts", before=None, skip=None, format=None),
            "newer": None if newer is None else query.address("/alerts", **newer | {"at": None}, format=None),
            "scan": query.address("/alerts", view="scan", format=None),
            "is_cut": found.is_cut,
            **_form(query, wanted),
        },
        data={"alerts": found.rows, "next": further},
        rows=found.rows,
        columns=("instrument", *COLUMNS, "distance_arcsec"),
    )


def _form(query: Query, wanted: AlertFilter) -> dict[str, Any]:
    """Return what the form that chooses shows."""
    return {"flags": tuple(FLAGS), "orders": ORDERS, "order": wanted.order, "filters": query.values}


def _place(row: Mapping[str, Any]) -> tuple[int, int]:
    return int(row["visit"]), int(row["detector"])
