"""The pages of nights, visits and detectors, made of the same parts as a report."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from astra.database.pages.nights import NightRow, list_nights
from astra.errors import MissingDataError
from astra.web import night_page, visit_page
from astra.web.alert_cards import make_cards, with_history
from astra.web.filters import MAX_ID, Query
from astra.web.image_view import ImageView
from astra.web.lights import load_thresholds
from astra.web.measures import measure_visit
from astra.web.site import Answer, Site
from astra.web.truth import judge_visit

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from astra.web.measures import MeasuredVisit

PAGE_NIGHTS = 60
CARDS, CANDIDATES = 6, 24
MAX_MOSAICS = 2
MAX_VISITS = 400  # of a night, that are shown with their figures
NIGHT_COLUMNS = ("instrument", "day_obs", "n_visits", "begin_mjd_tai", "end_mjd_tai", "n_dia_sources")
SUMMARY_COLUMNS = ("n_detectors", "n_done", "n_failed", "n_alerts", "latency_median_s", "latency_p95_s")


def nights_page(site: Site, query: Query, _keys: Mapping[str, str]) -> Answer:
    """List the nights, the newest first."""
    instrument, night = query.text("instrument"), query.night("before")
    before = (night, query.text("after_instrument") or "") if night is not None else None
    n_rows = query.integer("n", 1, 500) or PAGE_NIGHTS
    with site.database.reading() as connection:
        nights = list_nights(connection, instrument=instrument, before=before, limit=n_rows + 1)
    shown = nights[:n_rows]
    further = None
    if len(nights) > n_rows:
        last = shown[-1]
        further = query.address("/", before=last.day_obs, after_instrument=last.instrument, format=None)
    rows = [_flat(night) for night in shown]
    values = {
        "nights": shown,
        "calendar": calendar(shown),
        "further": further,
        "first": query.address("/", before=None, after_instrument=None, format=None) if before else None,
    }
    data = {"nights": rows, "next": further}
    return Answer("nights.html", "nights", values, data, rows, (*NIGHT_COLUMNS, *SUMMARY_COLUMNS))


def _flat(night: NightRow) -> dict[str, Any]:
    summary = night.summary or {}
    own = {name: value for name, value in asdict(night).items() if name in NIGHT_COLUMNS}
    return {**own, "bands": list(night.bands), **{name: summary.get(name) for name in SUMMARY_COLUMNS}}


def calendar(nights: Sequence[NightRow]) -> list[dict[str, Any]]:
    """Return the days from the oldest to the newest night by week, at most 15 weeks: a cell for each."""
    days = {_date(night.day_obs): night for night in nights[::-1]}
    if not days:
        return []
    last = max(days)
    monday = last - dt.timedelta(days=last.weekday())
    first = max(min(days), monday - dt.timedelta(weeks=14))
    start = first - dt.timedelta(days=first.weekday())
    most = max(night.n_dia_sources for night in nights) or 1
    weeks = []
    for number in range((monday - start).days // 7 + 1):
        week = [start + dt.timedelta(days=7 * number + day) for day in range(7)]
        weeks.append({"begin": week[0].isoformat(), "days": [_day(day, days.get(day), most) for day in week]})
    return weeks


def _date(day_obs: int) -> dt.date:
    return dt.date(day_obs // 10000, day_obs // 100 % 100, day_obs % 100)


def _day(day: dt.date, night: NightRow | None, most: int) -> dict[str, Any]:
    if night is None:
        return {"date": day.isoformat(), "night": None, "level": 0, "failed": 0}
    level = 1 + min(3, int(4 * (night.n_dia_sources / most) ** 0.5))
    failed = int((night.summary or {}).get("n_failed") or 0)
    return {"date": day.isoformat(), "night": night, "level": level, "failed": failed}


def _command(instrument: str, night: object) -> str:
    task = f"ApNight --instrument {instrument} --night {night} --raw FILES"
    return f"luigi --module astra {task} --local-scheduler"


def _missing(what: str) -> MissingDataError:
    return MissingDataError(f"There is no {what}.")


def night_of(site: Site, query: Query, keys: Mapping[str, str]) -> Answer:
    """Make the page of a night."""
    from astra.database.pages.best_alerts import best_alerts
    from astra.database.pages.light_curves import body_curves, light_curves

    instrument, night = keys["instrument"], min(int(keys["night"]), 99999999)
    thresholds = load_thresholds(None)
    with site.database.reading() as connection:
        data = night_page.load_night(connection, str(site.root), instrument, night, thresholds)
        if data is None:
            raise _missing(f"night {night} of {instrument}")
        ids = [visit.row.visit for visit in data.visits[:MAX_VISITS]]
        alerts = best_alerts(connection, instrument, ids, limit=CANDIDATES)
        curves = light_curves(connection, [one.dia_object_id for one in alerts if one.dia_object_id])
        bodies = body_curves(connection, [one.ss_object_id for one in alerts if one.ss_object_id])
        drawn = [visit for visit in data.visits if visit.detectors][:MAX_MOSAICS]
        mosaics = [_mosaic(connection, site, visit) for visit in drawn]
    cards = make_cards(
        with_history(alerts, curves, bodies)[:CARDS], curves, bodies=bodies, root=site.root,
        instrument=instrument, links=site.links, store=site.pictures,
    )  # fmt: skip
    values = night_page.night_values(data, site.links, thresholds)
    rows = [_visit_row(visit) for visit in data.visits]
    told = {
        "night": data.row,
        "visits": rows,
        "families": [family.as_dict() for family in data.families],
        "failures": [{"task_id": task_id, "message": message} for task_id, message in data.failures],
    }
    return Answer(
        "night.html",
        "night",
        {**values, "mosaics": mosaics, "cards": cards, "command": _command(instrument, night)},
        told,
        rows,
        tuple(dict.fromkeys(name for row in rows for name in row)) or ("visit",),
        {"instrument": instrument, "night": night},
    )


def _mosaic(connection: Connection, site: Site, visit: MeasuredVisit) -> dict[str, Any]:
    regions, detections = _places(connection, visit)
    number = visit.row.visit
    judged = judge_visit(site.root, number, visit.detectors, detections)
    drawn = visit_page.visit_mosaics(
        visit, site.links, site.pictures, regions=regions, detections=detections, layers=("difference",),
        judged=judged,
    )  # fmt: skip
    href = site.links.to("visit", instrument=visit.row.instrument, visit=number)
    return {
        "figure": drawn[0],
        "visit": number,
        "href": href,
        "n_marks": len(detections),
        "judged": judged,
    }


def _places(connection: Connection, visit: MeasuredVisit) -> tuple[Any, Any]:
    from astra.database.pages.places import detections_of_visit, regions_of_visit

    instrument, number = visit.row.instrument, visit.row.visit
    return regions_of_visit(connection, instrument, number), detections_of_visit(
        connection, instrument, number
    )


def _visit_row(visit: MeasuredVisit) -> dict[str, Any]:
    row = visit.row
    counts = {"n_detectors": len(visit.detectors), "n_done": visit.n_done, "n_failed": visit.n_failed}
    return {
        "visit": row.visit,
        "band": row.band,
        "begin_mjd_tai": row.begin_mjd_tai,
        **counts,
        **visit.measures,
    }


def _measured(connection: Connection, site: Site, keys: Mapping[str, str]) -> tuple[MeasuredVisit, Any]:
    """Return a visit with the figures of its detectors."""
    from astra.database.pages.visits import detectors_of_visits, get_visit

    instrument, number = keys["instrument"], int(keys["visit"])
    row = get_visit(connection, instrument, number) if number <= MAX_ID else None
    if row is None:
        raise _missing(f"visit {number} of {instrument}")
    thresholds = load_thresholds(None)
    found = detectors_of_visits(connection, str(site.root), instrument, [number])
    return measure_visit(row, {detector: one for (_, detector), one in found.items()}, thresholds), row


def visit_of(site: Site, query: Query, keys: Mapping[str, str]) -> Answer:
    """Make the page of a visit."""
    view = ImageView.of(query)
    with site.database.reading() as connection:
        visit, row = _measured(connection, site, keys)
        regions, detections = _places(connection, visit)
    judged = judge_visit(site.root, row.visit, visit.detectors, detections)
    mosaics = visit_page.visit_mosaics(
        visit, site.links, site.pictures, regions=regions, detections=detections, judged=judged, view=view
    )
    path = site.links.to("visit", instrument=row.instrument, visit=row.visit) or ""
    lines = visit_page.detector_lines(visit, site.links)
    values = {
        "visit": row,
        "columns": visit_page.COLUMNS,
        "lights": visit.lights,
        "level": visit.level,
        "measures": visit.measures,
        "mosaics": mosaics,
        "judged": judged,
        "n_marks": len(detections),
        "switches": _switches(view, query, path),
        "detectors": lines,
        "command": _command(row.instrument, row.day_obs),
    }
    rows = [{"detector": line["detector"], "state": line["state"], **line["measures"]} for line in lines]
    columns = tuple(dict.fromkeys(name for one in rows for name in one)) or ("detector", "state")
    data = {"visit": row, "measures": visit.measures, "detectors": rows}
    scope = {"instrument": row.instrument, "night": row.day_obs}
    return Answer("visit.html", "visit", values, data, rows, columns, scope)


def _switches(view: ImageView, query: Query, path: str) -> dict[str, Any]:
    """Return the switches of the images of a page."""
    return {"stretches": view.stretches(query, path), "masks": view.masks(query, path)}


def detector_of(site: Site, query: Query, keys: Mapping[str, str]) -> Answer:
    """Make the page of a detector of a visit."""
    number, view = int(keys["detector"]), ImageView.of(query)
    with site.database.reading() as connection:
        visit, row = _measured(connection, site, keys)
    detector = visit.detectors.get(number)
    if detector is None:
        raise _missing(f"detector {number} of visit {row.visit} of {row.instrument}")
    path = site.links.to("detector", **keys) or ""
    values = visit_page.detector_values(visit, detector, site.links, site.pictures, view)
    values["switches"] = _switches(view, query, path)
    common = {"visit": row, "columns": visit_page.COLUMNS, "lights": visit.lights}
    common["command"] = _command(row.instrument, row.day_obs)
    rows = [{"key": key, "value": value} for key, value in sorted(detector.figures.items())]
    data = {
        "visit": row,
        "detector": number,
        "figures": dict(detector.figures),
        "tasks": list(detector.tasks),
        "products": {kind: asdict(product) for kind, product in detector.products.items()},
    }
    scope = {"instrument": row.instrument, "night": row.day_obs}
    return Answer("detector.html", "detector", {**values, **common}, data, rows, ("key", "value"), scope)


def efficiency_of(site: Site, _query: Query, keys: Mapping[str, str]) -> Answer:
    """Make the page of the searches for injected sources in a night."""
    from astra.database.pages.nights import get_night
    from astra.database.pages.searches import searches_of_night
    from astra.database.pages.visits import visits_of_night

    instrument, night = keys["instrument"], min(int(keys["night"]), 99999999)
    with site.database.reading() as connection:
        row = get_night(connection, instrument, night)
        if row is None:
            raise _missing(f"night {night} of {instrument}")
        ids = [visit.visit for visit in visits_of_night(connection, instrument, night)]
        searches = searches_of_night(connection, instrument, night, ids)
    figures = night_page.search_figures(searches)
    rows = [dict(search.depth) for search in searches]
    columns = tuple(rows[0]) if rows else ("visit", "detector", "band", "mag50")
    values = {"night": row, "searches": figures, "command": _command(instrument, night)}
    scope = {"instrument": instrument, "night": night}
    return Answer("report_efficiency.html", "efficiency", values, searches, rows, columns, scope)
