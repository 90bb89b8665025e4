"""What the page of a night shows: its lights, its visits, its tasks, and the figures of them over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from astra.web import plots
from astra.web.formats import mjd_time, seconds_text, significant
from astra.web.lights import Threshold, worst
from astra.web.links import Links
from astra.web.measures import KEYS, PROMPT_S, MeasuredVisit, measure_visit, night_lights

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from astra.database.pages.nights import FamilyOfNight, NightRow
    from astra.database.pages.searches import SearchRow

# Figures over the night: (measure, title, unit).
SERIES = (
    ("seeing", "Seeing", "arcsec"),
    ("zero_point", "Zero point", "mag"),
    ("mag_lim", "Limiting magnitude", "mag"),
    ("sky", "Sky", "adu"),
    ("astrometric_scatter", "Astrometric scatter", "mas"),
    ("n_dia_sources", "DIA sources", ""),
)
REASONS = 8  # kinds of failures that are told


@dataclass(frozen=True)
class NightData:
    """All that the pages of a night are made of.

    Parameters
    ----------
    row : NightRow
        The night.
    visits : sequence of MeasuredVisit
        In the order of time.
    families : sequence of FamilyOfNight
        Counts of tasks.
    failures : sequence of (str, str)
        Task and message, newest first.
    searches : sequence of SearchRow
        Searches for injected sources.
    """

    row: NightRow
    visits: Sequence[MeasuredVisit]
    families: Sequence[FamilyOfNight]
    failures: Sequence[tuple[str, str]]
    searches: Sequence[SearchRow]

    @property
    def n_detectors(self) -> int:
        """Detectors of all visits."""
        return sum(len(visit.detectors) for visit in self.visits)

    @property
    def task_pks(self) -> set[int]:
        """Keys of the tasks of all detectors."""
        detectors = (detector for visit in self.visits for detector in visit.detectors.values())
        return {pk for detector in detectors for pk in detector.task_pks}

    @property
    def n_failed(self) -> int:
        """Detectors that failed, or wait for what failed."""
        return sum(visit.n_failed for visit in self.visits)


def load_night(
    connection: Connection, root: str, instrument: str, day_obs: int, thresholds: Mapping[str, Threshold]
) -> NightData | None:
    """Ask the database for all that the pages of a night show; None if it has no visit.

    Parameters
    ----------
    connection : Connection
        For reading.
    root : str
        Folder of products, as it is in their paths.
    instrument : str
        Camera name.
    day_obs : int
        Night, YYYYMMDD.
    thresholds : mapping of str to Threshold
        Of the lights.
    """
    from astra.database.pages.nights import failures_of_night, families_of_night, get_night
    from astra.database.pages.searches import searches_of_night
    from astra.database.pages.visits import detectors_of_visits, visits_of_night

    row = get_night(connection, instrument, day_obs)
    if row is None:
        return None
    visits = visits_of_night(connection, instrument, day_obs)
    ids = [visit.visit for visit in visits]
    found = detectors_of_visits(connection, root, instrument, ids, figures=KEYS, in_brief=True)
    by_visit: dict[int, dict[int, Any]] = {}
    for (visit, detector), one in found.items():
        by_visit.setdefault(visit, {})[detector] = one
    measured = [measure_visit(visit, by_visit.get(visit.visit, {}), thresholds) for visit in visits]
    measured.sort(key=lambda one: (one.row.midpoint_mjd_tai or 0.0, one.row.visit))
    return NightData(
        row,
        measured,
        families_of_night(connection, instrument, day_obs, len(found)),
        failures_of_night(connection, instrument, day_obs, limit=200),
        searches_of_night(connection, instrument, day_obs, ids),
    )


def night_values(data: NightData, links: Links, thresholds: Mapping[str, Threshold]) -> dict[str, Any]:
    """Return what the template ``night.html`` shows, without pictures and alerts."""
    depth = night_depth(data.searches)
    lights = night_lights(data.visits, thresholds, {"depth": depth})
    return {
        "night": data.row,
        "n_detectors": data.n_detectors,
        "n_failed": data.n_failed,
        "level": worst(light.level for light, _, _ in lights),
        "lights": [
            (light, _title(light.threshold.title, band), plots.sparkline(trend, title=light.threshold.title))
            for light, trend, band in lights
            if light.value is not None
        ],
        "latency": latency_told(data),
        "unmeasured": [light.threshold.title.lower() for light, _, _ in lights if light.value is None],
        "totals": _totals(data),
        "visits": visit_lines(data.visits, links),
        "families": data.families,
        "failures": grouped_failures(data.failures, links),
        "series": night_series(data.visits, thresholds, links),
    }


def latency_told(data: NightData) -> dict[str, Any] | None:
    """Return the percentiles of the latency of the alerts, or why a night has none; None before any alert.

    A night that was processed long after its exposures was not meant to be prompt: its times tell when the
    work was done, and nothing of how fast the pipeline is.
    """
    summary = data.row.summary or {}
    middle, high = summary.get("latency_median_s"), summary.get("latency_p95_s")
    if middle is None:
        return None
    reason = ""
    if middle > PROMPT_S:
        reason = f"not measured: this night was processed {seconds_text(middle)} after its exposures"
    return {"median": middle, "p95": high, "max": summary.get("latency_max_s"), "reason": reason}


def _title(title: str, band: str) -> str:
    return f"{title}, {band}" if band else title


def night_depth(searches: Sequence[SearchRow]) -> float | None:
    """Magnitude at which half of the injected sources are found, of the night, else of its first visit."""
    return next((one.depth["mag50"] for one in searches if one.depth["mag50"] is not None), None)


def _totals(data: NightData) -> list[tuple[str, float]]:
    """Count what the whole night gave, with names."""
    associations = [
        detector.association
        for visit in data.visits
        for detector in visit.detectors.values()
        if detector.association is not None
    ]
    alerts = sum(visit.measures.get("n_alerts") or 0 for visit in data.visits)
    return [
        ("Visits", len(data.visits)),
        ("Detectors", data.n_detectors),
        ("Sources", int(sum(visit.measures.get("n_sources") or 0 for visit in data.visits))),
        ("DIA sources", sum(one.n_dia_sources for one in associations)),
        ("New objects", sum(one.n_new_objects for one in associations)),
        ("Seen again", sum(one.n_updated_objects for one in associations)),
        ("Alerts", int(alerts)),
    ]


def visit_lines(visits: Sequence[MeasuredVisit], links: Links) -> list[dict[str, Any]]:
    """Return a line for each visit of the table of a night."""
    return [
        {
            "row": visit.row,
            "measures": visit.measures,
            "lights": visit.lights,
            "level": visit.level,
            "n_detectors": len(visit.detectors),
            "n_done": visit.n_done,
            "n_failed": visit.n_failed,
            "href": links.to("visit", instrument=visit.row.instrument, visit=visit.row.visit),
        }
        for visit in visits
    ]


def grouped_failures(failures: Sequence[tuple[str, str]], links: Links) -> list[dict[str, Any]]:
    """Group failures by family and message, the most frequent first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for task_id, message in failures:
        groups.setdefault((task_id.rsplit("_", 1)[0], message), []).append(task_id)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return [
        {
            "family": family,
            "message": message,
            "n": len(ids),
            "task_id": ids[0],
            "href": links.to("task", task_id=ids[0]),
        }
        for (family, message), ids in ordered[:REASONS]
    ]


def night_series(
    visits: Sequence[MeasuredVisit], thresholds: Mapping[str, Threshold], links: Links
) -> list[Markup]:
    """Draw figures of the visits over the time of the night; one that nothing measured is left out."""
    drawn = []
    for name, title, unit in SERIES:
        samples = [_sample(visit, name, unit, links) for visit in visits]
        known = [sample for sample in samples if sample is not None and sample.value is not None]
        if known:
            threshold = thresholds.get(name)
            warn, bad = (None, None) if threshold is None else (threshold.warn, threshold.bad)
            drawn.append(plots.time_series(known, title=title, unit=unit, warn=warn, bad=bad))
    return drawn


def _sample(visit: MeasuredVisit, name: str, unit: str, links: Links) -> plots.Sample | None:
    row, value = visit.row, visit.measures.get(name)
    if row.midpoint_mjd_tai is None:
        return None
    moment = mjd_time(row.midpoint_mjd_tai)
    hint = f"visit {row.visit}, {row.band or 'no band'}, {moment} UTC: {significant(value)} {unit}"
    href = links.to("visit", instrument=row.instrument, visit=row.visit)
    return plots.Sample(row.midpoint_mjd_tai, value, row.band or "", hint, href)


def search_figures(searches: Sequence[SearchRow]) -> list[dict[str, Any]]:
    """Draw what searches for injected sources found, by magnitude and by signal to noise."""
    return [
        {"depth": one.depth, "name": _search_name(one.depth), "by_mag": _by_mag(one), "by_snr": _by_snr(one)}
        for one in searches
    ]


def _search_name(depth: Mapping[str, Any]) -> str:
    if depth["visit"] is None:
        return f"Night, {depth['band']}"
    detector = "" if depth["detector"] is None else f", detector {depth['detector']}"
    return f"Visit {depth['visit']}{detector}, {depth['band']}"


def _bins(one: SearchRow, quantity: str) -> list[plots.EfficiencyBin]:
    names = plots.EfficiencyBin.__dataclass_fields__
    return [plots.EfficiencyBin(**{name: row[name] for name in names}) for row in one.bins.get(quantity, ())]


def _by_mag(one: SearchRow) -> Markup:
    depth = one.depth
    names = (("mag50", "50 %"), ("mag90", "90 %"))
    marks = [(depth[name], f"{text} {depth[name]:.2f}") for name, text in names if depth[name] is not None]
    bins, title = _bins(one, "mag"), "Completeness over magnitude"
    return plots.efficiency(bins, title=title, label="magnitude (AB)", curve=_fit(depth), marks=marks)


def _fit(depth: Mapping[str, Any]) -> Callable[[float], float] | None:
    """Return the fitted completeness over magnitude, None where there is no fit."""
    import numpy as np

    from astra.images.efficiency import Depth

    values = [depth[name] for name in ("mag50", "plateau", "width_mag")]
    if None in values or not depth["width_mag"] > 0:
        return None
    fit = Depth(values[0], np.nan, np.nan, values[1], values[2])
    return lambda mag: float(fit.completeness(np.array([mag]))[0])


def _by_snr(one: SearchRow) -> Markup:
    bins, title = _bins(one, "snr"), "Completeness over signal to noise"
    return plots.efficiency(bins, title=title, label="signal to noise", logarithmic=True)
