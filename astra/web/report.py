"""The report of a night: a folder of pages that opens without a server or script, and can be mailed."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra.errors import MissingDataError
from astra.web import night_page, spectra_page, visit_page
from astra.web.alert_cards import ENOUGH_TIMES, AlertCard, make_cards
from astra.web.lights import load_thresholds
from astra.web.links import ASSETS, PICTURES, page_file
from astra.web.pictures import PictureStore
from astra.web.report_folder import ReportSettings, ReportWriter, replacing
from astra.web.truth import judge_visit

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from astra.database.pages.spectra import SpectrumOfNight
    from astra.web.measures import MeasuredVisit
    from astra.web.night_page import NightData

__all__ = ["Report", "ReportSettings", "only_instrument", "package_versions", "write_report"]

INDEX = "index.html"
SPECTRA_ONLY = "SDSS"
FIRST_ALERTS = 6
ASSET_NAMES = ("style.css",)
PACKAGES = (
    "astra-pipeline", "luigi", "numpy", "scipy", "astropy", "numba", "sep", "sqlalchemy", "fastavro",
    "jinja2",
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Parameters
    ----------
    folder, index : Path
        Where it is, and its first page.
    n_pages : int
        Number of pages.
    size : int
        Of all files [byte].
    left_out : sequence of str
        What did not fit.
    """

    folder: Path
    index: Path
    n_pages: int
    size: int
    left_out: Sequence[str] = ()


def write_report(
    database_url: str,
    root: Path | str,
    *,
    instrument: str,
    night: int,
    folder: Path | str | None = None,
    settings: ReportSettings | None = None,
) -> Report:
    """Write the report of a night; the folder appears whole, in place of an older report.

    Parameters
    ----------
    database_url : str
        SQLAlchemy URL of the database.
    root : Path or str
        Folder of products.
    instrument : str
        Camera name.
    night : int
        Night, YYYYMMDD. Without a visit, the report says what to run.
    folder : Path or str, optional
        Where to; ``report`` below the root by default.
    settings : ReportSettings, optional
        What bounds it.

    Returns
    -------
    report : Report

    Raises
    ------
    ConfigError
        If the folder holds something else than a report, or thresholds are wrong.
    UnavailableError
        If the database cannot be read.
    """
    from astra.database.engine import reading
    from astra.database.pages.spectra import spectra_of_night

    settings, root = settings or ReportSettings(), Path(os.path.abspath(root))
    target = Path(os.path.abspath(folder)) if folder is not None else root / "report"
    thresholds = load_thresholds(settings.thresholds)
    with replacing(target) as fresh:
        store = PictureStore(fresh / PICTURES, target / PICTURES, int(settings.max_mb * 1e6))
        writer = ReportWriter(fresh, root, instrument, night, settings, store)
        for name in ASSET_NAMES:
            (fresh / ASSETS).mkdir(parents=True, exist_ok=True)
            (fresh / ASSETS / name).write_bytes(files("astra.web").joinpath(ASSETS, name).read_bytes())
        with reading(database_url) as connection:
            data = night_page.load_night(connection, str(root), instrument, night, thresholds)
            spectra = spectra_of_night(connection, night)
            if data is None:
                _write_without_visits(writer, spectra)
            else:
                _write_pages(connection, writer, data, thresholds=thresholds, spectra=spectra)
        _write_about(writer)
        size = sum(path.stat().st_size for path in fresh.rglob("*") if path.is_file())
    return Report(target, target / INDEX, writer.n_pages, size, tuple(writer.left_out))


def _write_pages(
    connection: Connection,
    writer: ReportWriter,
    data: NightData,
    *,
    thresholds: Mapping[str, Any],
    spectra: Sequence[SpectrumOfNight],
) -> None:
    """Write the pages of a night that has visits."""
    from astra.database.pages.spectra import spectra_analysed_with

    of_night = bool(spectra)
    spectra = spectra or spectra_analysed_with(connection, data.task_pks)
    visits = _chosen_visits(writer, data.visits)
    detectors = _chosen_detectors(writer, visits)
    pages = {INDEX, page_file("about"), page_file("alerts")}
    pages |= {page_file("visit", visit=visit.row.visit) for visit in visits}
    pages |= {page_file("detector", visit=visit, detector=number) for visit, number in detectors}
    pages |= {page_file("efficiency")} if data.searches else set()
    pages |= {page_file("spectra")} if spectra else set()
    writer.pages = frozenset(pages)
    cards_at = _cards(connection, writer, data)
    _write_index(connection, writer, data, thresholds, cards_at)
    n_sources = data.row.n_dia_sources
    alerts = page_file("alerts")
    writer.write(
        "report_alerts.html",
        "alerts",
        alerts,
        night=data.row,
        cards=cards_at(alerts),
        n_dia_sources=n_sources,
    )
    for visit in visits:
        _write_visit(connection, writer, visit, {number for of, number in detectors if of == visit.row.visit})
    if data.searches:
        figures = night_page.search_figures(data.searches)
        writer.write(
            "report_efficiency.html", "efficiency", page_file("efficiency"), night=data.row, searches=figures
        )
    if spectra:
        _write_spectra(writer, spectra, of_night=of_night)


def _chosen_visits(writer: ReportWriter, visits: Sequence[MeasuredVisit]) -> list[MeasuredVisit]:
    limit = writer.settings.max_visits
    if len(visits) > limit:
        writer.left_out.append(f"{len(visits) - limit} of {len(visits)} visits have no page; see --visits")
    severity = {"bad": 0, "warn": 1}
    ordered = sorted(visits, key=lambda visit: (not visit.n_failed, severity.get(visit.level, 2)))
    return ordered[:limit]


def _chosen_detectors(writer: ReportWriter, visits: Sequence[MeasuredVisit]) -> list[tuple[int, int]]:
    every = [(visit.row.visit, number) for visit in visits for number in visit.detectors]
    limit = writer.settings.max_detectors
    if len(every) > limit:
        writer.left_out.append(
            f"{len(every) - limit} of {len(every)} detectors have no page; see --detectors"
        )
    return every[:limit]


def _cards(connection: Connection, writer: ReportWriter, data: NightData) -> Callable[[str], list[AlertCard]]:
    """Return what makes the cards of the best alerts for a page."""
    from astra.database.pages.best_alerts import best_alerts
    from astra.database.pages.light_curves import body_curves, light_curves

    ids = [visit.row.visit for visit in data.visits]
    alerts = best_alerts(connection, writer.instrument, ids, limit=writer.settings.max_alerts)
    curves = light_curves(connection, [one.dia_object_id for one in alerts if one.dia_object_id])
    bodies = body_curves(connection, [one.ss_object_id for one in alerts if one.ss_object_id])

    def make(at: str) -> list[AlertCard]:
        return make_cards(
            alerts, curves, bodies=bodies, root=writer.root, instrument=writer.instrument,
            links=writer.links(at), store=writer.store,
        )  # fmt: skip

    return make


def _write_index(
    connection: Connection,
    writer: ReportWriter,
    data: NightData,
    thresholds: Mapping[str, Any],
    cards_at: Callable[[str], list[AlertCard]],
) -> None:
    links = writer.links(INDEX)
    mosaics = []
    for visit in _for_mosaics(data.visits, writer.settings.max_mosaics):
        regions, detections = _places(connection, writer, visit)
        judged = judge_visit(writer.root, visit.row.visit, visit.detectors, detections)
        drawn = visit_page.visit_mosaics(
            visit, links, writer.store, regions=regions, detections=detections, layers=("difference",),
            judged=judged,
        )  # fmt: skip
        href = links.to("visit", instrument=writer.instrument, visit=visit.row.visit)
        shown = {"figure": drawn[0], "visit": visit.row.visit, "href": href}
        mosaics.append({**shown, "n_marks": len(detections), "judged": judged})
    values = night_page.night_values(data, links, thresholds)
    writer.write("night.html", "night", INDEX, mosaics=mosaics, cards=_first_cards(cards_at(INDEX)), **values)


def _first_cards(cards: list[AlertCard]) -> list[AlertCard]:
    """Return those alerts that the first page shows: of the best ones, those with a history."""
    return sorted(cards, key=lambda card: -min(card.n_times, ENOUGH_TIMES))[:FIRST_ALERTS]


def _for_mosaics(visits: Sequence[MeasuredVisit], limit: int) -> list[MeasuredVisit]:
    """Return those visits that have something to show, the first ones."""
    return [visit for visit in visits if visit.detectors][:limit]


def _places(connection: Connection, writer: ReportWriter, visit: MeasuredVisit) -> tuple[Any, Any]:
    from astra.database.pages.places import detections_of_visit, regions_of_visit

    regions = regions_of_visit(connection, writer.instrument, visit.row.visit)
    return regions, detections_of_visit(connection, writer.instrument, visit.row.visit)


def _write_visit(
    connection: Connection, writer: ReportWriter, visit: MeasuredVisit, numbers: set[int]
) -> None:
    """Write the page of a visit, and those of some of its detectors with all their figures."""
    from astra.database.pages.visits import detectors_of_visits

    at = page_file("visit", visit=visit.row.visit)
    links = writer.links(at)
    whole = detectors_of_visits(connection, str(writer.root), writer.instrument, [visit.row.visit])
    visit = replace(visit, detectors={number: row for (_, number), row in whole.items()})
    regions, detections = _places(connection, writer, visit)
    judged = judge_visit(writer.root, visit.row.visit, visit.detectors, detections)
    mosaics = visit_page.visit_mosaics(
        visit, links, writer.store, regions=regions, detections=detections, judged=judged
    )
    common = {"visit": visit.row, "columns": visit_page.COLUMNS, "lights": visit.lights, "switches": None}
    lines = visit_page.detector_lines(visit, links)
    writer.write(
        "visit.html", "visit", at, level=visit.level, measures=visit.measures, mosaics=mosaics,
        judged=judged, n_marks=len(detections), detectors=lines, **common,
    )  # fmt: skip
    for number, row in visit.detectors.items():
        if number in numbers:
            own = page_file("detector", visit=row.visit, detector=number)
            values = visit_page.detector_values(visit, row, writer.links(own), writer.store)
            writer.write("detector.html", "detector", own, **values, **common)


def _write_without_visits(writer: ReportWriter, spectra: Sequence[SpectrumOfNight]) -> None:
    """Write the pages of a night without visits: what to run, and its spectra if there are any."""
    pages = {INDEX, page_file("about")} | ({page_file("spectra")} if spectra else set())
    writer.pages = frozenset(pages)
    night = {"day_obs": writer.night, "instrument": writer.instrument}
    writer.write("report_empty.html", "night", INDEX, **night, n_spectra=len(spectra))
    if spectra:
        _write_spectra(writer, spectra, of_night=True)


def _write_spectra(writer: ReportWriter, spectra: Sequence[SpectrumOfNight], *, of_night: bool) -> None:
    from astra.database.pages.spectra import sdss_mjd

    values = spectra_page.spectra_values(spectra)
    at, mjd = page_file("spectra"), sdss_mjd(writer.night)
    values |= {"day_obs": writer.night, "mjd": mjd, "of_night": of_night}
    writer.write("report_spectra.html", "spectra", at, **values)


def _write_about(writer: ReportWriter) -> None:
    if writer.store.left_out:
        limit = f"{writer.settings.max_mb:g} MB"
        writer.left_out.append(f"{writer.store.left_out} pictures would exceed {limit}; see --max-mb")
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    facts = [
        ("Camera", writer.instrument),
        ("Night", writer.night),
        ("Written", now),
        ("Products", writer.root),
    ]
    writer.write(
        "report_about.html", "about", page_file("about"), facts=facts, versions=package_versions(),
        left_out=writer.left_out,
    )  # fmt: skip


def package_versions() -> list[tuple[str, str]]:
    """Return the versions of astra and of what it rests on."""
    found = []
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "not installed"))
    return found


def only_instrument(database_url: str, night: int) -> str:
    """Return the camera that has visits in a night; `SPECTRA_ONLY` of one that has nothing but spectra.

    Raises
    ------
    MissingDataError
        If there is none, or more than one; the message names them.
    """
    from astra.database.engine import reading
    from astra.database.pages.nights import instruments_of_night
    from astra.database.pages.spectra import spectra_of_night

    with reading(database_url) as connection:
        found = instruments_of_night(connection, night)
        if not found and spectra_of_night(connection, night, limit=1):
            return SPECTRA_ONLY
    if len(found) == 1:
        return found[0]
    if found:
        message = f"night {night} has visits of {', '.join(found)}; name one with --instrument"
    else:
        message = f"no camera has a visit in night {night}; name one with --instrument for an empty report"
    raise MissingDataError(message, night=night)
