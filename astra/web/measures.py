"""The figures that pages show of detectors, visits and nights, out of those that tasks have noted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from astra.web.lights import Light, Threshold, make_light, worst

if TYPE_CHECKING:
    from astra.database.pages.visits import DetectorRow, VisitRow

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
SECONDS_PER_DAY = 86400.0
MAS_PER_ARCSEC = 1000.0
PROMPT_S = SECONDS_PER_DAY  # what is associated later was not meant to be prompt: it has no latency

_SUMMARY, _CALIBRATE, _SUBTRACT = "ProcessCcd:summary.", "ProcessCcd:calibrate.", "DiffIm:subtract."
# Keys of the figures of tasks that `detector_measures` reads.
KEYS = (
    *(_SUMMARY + name for name in ("psfSigma", "pixelScale", "zeroPoint", "magLim", "skyBg", "nSources")),
    *(_SUMMARY + f"{name}Corners{k}" for name in ("ra", "dec") for k in (1, 2, 3, 4)),
    *(_CALIBRATE + name for name in ("zero_point_scatter_mag", "n_sources", "n_psf_stars")),
    *(_CALIBRATE + f"astrometry_scatter_{name}_arcsec" for name in ("ra", "dec")),
    *(_SUBTRACT + name for name in ("pixelScatter", "differenceFootprintRatioMean", "templateCoverage")),
    *(_SUBTRACT + name for name in ("kernelChi2", "diffimLimitingMagnitude", "diaSources")),
    "PackageAlerts:package.nAlerts",
)
# Those that are added up over detectors; of the others pages show the median.
SUMS = ("n_sources", "n_dia_sources", "n_alerts")


def detector_measures(detector: DetectorRow, visit: VisitRow | None = None) -> dict[str, float | None]:
    """Return what is told of a detector, None where it was not measured.

    Returns
    -------
    measures : dict of str to float or None
        ``seeing`` [arcsec], ``zero_point`` [mag], ``zero_point_scatter`` [mag],
        ``astrometric_scatter`` [mas], ``mag_lim`` [mag], ``sky`` [adu], ``n_sources``,
        ``difference_noise``, ``star_residual`` [%], ``template_coverage`` [%],
        ``difference_mag_lim`` [mag], ``kernel_chi2``, ``n_dia_sources``, ``n_alerts``, ``latency`` [s].
    """

    def get(key: str, factor: float = 1.0) -> float | None:
        value = detector.figures.get(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            return None
        return factor * value

    sigma, scale = get(_SUMMARY + "psfSigma", FWHM_PER_SIGMA), get(_SUMMARY + "pixelScale")
    scatters = [
        get(_CALIBRATE + f"astrometry_scatter_{name}_arcsec", MAS_PER_ARCSEC) for name in ("ra", "dec")
    ]
    association = detector.association
    return {
        "seeing": None if sigma is None or scale is None else sigma * scale,
        "zero_point": get(_SUMMARY + "zeroPoint"),
        "zero_point_scatter": get(_CALIBRATE + "zero_point_scatter_mag"),
        "astrometric_scatter": _rms(scatters),
        "mag_lim": get(_SUMMARY + "magLim"),
        "sky": get(_SUMMARY + "skyBg"),
        "n_sources": get(_CALIBRATE + "n_sources"),
        "difference_noise": get(_SUBTRACT + "pixelScatter"),
        "star_residual": get(_SUBTRACT + "differenceFootprintRatioMean", 100.0),
        "template_coverage": get(_SUBTRACT + "templateCoverage", 100.0),
        "difference_mag_lim": get(_SUBTRACT + "diffimLimitingMagnitude"),
        "kernel_chi2": get(_SUBTRACT + "kernelChi2"),
        "n_dia_sources": None if association is None else float(association.n_dia_sources),
        "n_alerts": get("PackageAlerts:package.nAlerts"),
        "latency": _latency(detector, visit),
    }


def _rms(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return math.sqrt(sum(value**2 for value in found) / len(found)) if found else None


def _latency(detector: DetectorRow, visit: VisitRow | None) -> float | None:
    if detector.association is None or visit is None or visit.end_mjd_tai is None:
        return None
    seconds = (detector.association.processed_mjd_tai - visit.end_mjd_tai) * SECONDS_PER_DAY
    return seconds if 0 <= seconds <= PROMPT_S else None


def median(values: Iterable[float | None]) -> float | None:
    """Median of what was measured, None of nothing."""
    found = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(found) if found else None


def total(values: Iterable[float | None]) -> float | None:
    """Sum of what was measured, None of nothing."""
    found = [value for value in values if value is not None]
    return sum(found) if found else None


def combine(measures: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Combine the measures of detectors: sums of counts, medians of the others."""
    names = dict.fromkeys(name for one in measures for name in one)
    return {name: (total if name in SUMS else median)(one.get(name) for one in measures) for name in names}


@dataclass(frozen=True)
class MeasuredVisit:
    """A visit, its detectors, and what is told of them together.

    Parameters
    ----------
    row : VisitRow
        The visit.
    detectors : mapping of int to DetectorRow
        By number.
    by_detector : mapping of int to mapping
        Measures of each.
    measures : mapping of str to float or None
        Of all together.
    lights : mapping of str to Light
        Of those measures that have thresholds.
    """

    row: VisitRow
    detectors: Mapping[int, DetectorRow]
    by_detector: Mapping[int, Mapping[str, float | None]]
    measures: Mapping[str, float | None]
    lights: Mapping[str, Light]

    @property
    def level(self) -> str:
        """Worst level of its lights."""
        return worst(light.level for light in self.lights.values())

    @property
    def n_done(self) -> int:
        """Detectors that are done to the end."""
        return sum(is_done(detector) for detector in self.detectors.values())

    @property
    def n_failed(self) -> int:
        """Detectors of which a task has failed, or waits for one that has."""
        return sum(detector.state in {"failed", "blocked"} for detector in self.detectors.values())


def is_done(detector: DetectorRow) -> bool:
    """Whether a detector is associated and no task of it is left."""
    return detector.association is not None and detector.state in {"done", "none"}


def measure_visit(
    row: VisitRow, detectors: Mapping[int, DetectorRow], thresholds: Mapping[str, Threshold]
) -> MeasuredVisit:
    """Measure a visit by its detectors, and light its lights."""
    by_detector = {number: detector_measures(one, row) for number, one in detectors.items()}
    measures = combine(list(by_detector.values()))
    done = 100.0 * sum(map(is_done, detectors.values())) / len(detectors) if detectors else None
    measures["detectors_done"] = done
    lights = {
        name: make_light(threshold, measures[name], row.band)
        for name, threshold in thresholds.items()
        if name in measures
    }
    return MeasuredVisit(row, detectors, by_detector, measures, lights)


def night_lights(
    visits: Sequence[MeasuredVisit],
    thresholds: Mapping[str, Threshold],
    further: Mapping[str, float | None] | None = None,
) -> list[tuple[Light, list[float | None], str]]:
    """Light the lights of a night.

    A light is that of the median over the detectors of a band; of several bands, that of the worst one.

    Parameters
    ----------
    visits : sequence of MeasuredVisit
        In the order of time.
    thresholds : mapping of str to Threshold
        By name.
    further : mapping of str to float or None, optional
        Figures that visits do not have, as the depth of a search.

    Returns
    -------
    lights : list of (Light, list of float or None, str)
        In the order of the thresholds, each with its values by visit, and the band that it is of if there are
        several.
    """
    bands = list(dict.fromkeys(visit.row.band for visit in visits))
    found: list[tuple[Light, list[float | None], str]] = []
    for name, threshold in thresholds.items():
        if further is not None and name in further:
            found.append((make_light(threshold, further[name]), [], ""))
            continue
        by_band = [(_of_band(visits, name, band, threshold), band) for band in bands]
        if not by_band:
            continue
        light, band = min(by_band, key=lambda pair: _SEVERITY[pair[0].level])
        trend = [visit.measures.get(name) for visit in visits]
        found.append((light, trend, band or "" if len(bands) > 1 else ""))
    return found


_SEVERITY = {level: place for place, level in enumerate(("bad", "warn", "ok", "unknown"))}


def _of_band(visits: Sequence[MeasuredVisit], name: str, band: str | None, threshold: Threshold) -> Light:
    if name == "detectors_done":
        mine = [visit for visit in visits if visit.row.band == band]
        n, n_done = sum(len(visit.detectors) for visit in mine), sum(visit.n_done for visit in mine)
        return make_light(threshold, 100.0 * n_done / n if n else None, band)
    values = [
        measures.get(name)
        for visit in visits
        if visit.row.band == band
        for measures in visit.by_detector.values()
    ]
    return make_light(threshold, median(values), band)
