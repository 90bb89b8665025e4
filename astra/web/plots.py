"""Plots of numbers: light curves, figures of a night over time, efficiency, and small trends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from astra.web import svg
from astra.web.axes import Frame, Scale, frame, span
from astra.web.formats import mjd_time, number, significant

if TYPE_CHECKING:
    from astra.database.pages.light_curves import LightPoint

AB_ZERO_POINT = 31.4  # of 1 nJy
LIMIT_SIGMA = 5.0
FORCED_SNR = 3.0  # a forced flux below is no detection: its limit is drawn too
HOURS_BELOW_D = 0.5
FLUX_UNITS = ((1e6, "mJy"), (1e3, "µJy"), (1.0, "nJy"))
MAG_STEP = 0.5
MIN_TREND = 3  # values that make a trend
MIN_SPAN = 2e-3  # of a value: less is drawn as no change
BANDS = "ugrizy"
NO_LIGHT_CURVE = "No flux has been measured yet."
LEGEND_AT, LEGEND_ROOM, LINE = (
    134.0,
    52.0,
    16.0,
)  # beside the label of an axis; below it where there is no room


def light_curve(
    points: Sequence[LightPoint],
    *,
    name: str = "",
    marked: int | None = None,
    quantity: str = "difference",
    limits: bool = True,
    size: tuple[float, float] = (640, 260),
) -> Markup:
    """Draw a light curve: flux over time, by band.

    Detections are filled, forced fluxes open, both with their errors; an arrow marks the limit of 5 sigma
    where a forced flux is below 3. Bands have shapes of their own. At the right stands the AB magnitude.

    Parameters
    ----------
    points : sequence of LightPoint
        Fluxes [nJy].
    name : str, optional
        Of the object.
    marked : int, optional
        ``diaSourceId`` of the detection that is ringed.
    quantity : str, optional
        What the fluxes are of.
    limits : bool, optional
        Whether limits are drawn.
    size : (float, float), optional
        Width and height.
    """
    usable = [p for p in points if p.flux is not None and math.isfinite(p.flux)]
    title = f"Light curve of {name}" if name else "Light curve"
    if not usable:
        return _nothing(title, NO_LIGHT_CURVE, size)
    scale, unit = _flux_unit(usable)
    zero = zero_time(usable, marked)
    in_hours = max(p.mjd_tai for p in usable) - min(p.mjd_tai for p in usable) < HOURS_BELOW_D
    step = 1.0 / 24.0 if in_hours else 1.0
    ends = [(p.flux or 0.0) / scale + sign * _error(p) / scale for p in usable for sign in (-1.0, 1.0)]
    plot = frame(
        span([(p.mjd_tai - zero) / step for p in usable]), span(ends, pad=0.1, include=(0.0,)),
        width=size[0], height=size[1], margins=(26.0, 52.0, 40.0, 40.0),
        lift=legend_lift(usable, size[0], LEGEND_AT),
    )  # fmt: skip
    label = f"{'hours' if in_hours else 'days'} from MJD {zero:.4f} TAI"
    parts: list[Markup] = [*plot.axes(label, f"{quantity} flux [{unit}]")]
    parts += _magnitude_axis(plot, scale)
    if plot.y.low < 0 < plot.y.high:
        parts.append(svg.line(plot.x.start, plot.y(0.0), plot.x.end, plot.y(0.0), class_="zero"))
    for point in sorted(usable, key=lambda p: not p.is_forced):
        x, y = plot.x((point.mjd_tai - zero) / step), plot.y((point.flux or 0.0) / scale)
        ringed = point.source_id == marked and not point.is_forced
        parts.append(_point(plot, point, (x, y), scale, ringed=ringed, limits=limits))
    parts += legend(plot, usable, LEGEND_AT)
    return svg.figure(*size, parts, title=title, description=_described(usable, unit, scale))


def _flux_unit(points: Sequence[LightPoint]) -> tuple[float, str]:
    largest = max(abs(p.flux or 0.0) for p in points)
    return next((one for one in FLUX_UNITS if largest >= one[0]), FLUX_UNITS[-1])


def zero_time(points: Sequence[LightPoint], marked: int | None) -> float:
    """Return the moment from which a light curve counts: that of the marked detection, else the last [d]."""
    of_marked = [p.mjd_tai for p in points if p.source_id == marked and not p.is_forced]
    return of_marked[0] if of_marked else max(p.mjd_tai for p in points)


def _error(point: LightPoint) -> float:
    error = point.flux_err
    return error if error is not None and math.isfinite(error) else 0.0


def _point(
    plot: Frame, point: LightPoint, place: tuple[float, float], scale: float, *, ringed: bool, limits: bool
) -> Markup:
    """Draw one point with its error, its limit and its ring."""
    x, y = place
    band, half = svg.band_class(point.band), _error(point) / scale
    reach = abs(plot.y(half) - plot.y(0.0))
    parts = [svg.line(x, y - reach, x, y + reach, class_="error")] if reach > 0 else []
    is_limit = limits and point.is_forced and half > 0 and abs(point.flux or 0.0) / scale < FORCED_SNR * half
    if is_limit:
        parts.append(_limit(x, plot.y(min(LIMIT_SIGMA * half, plot.y.high))))
    kind = "mark open" if point.is_forced else "mark"
    shape = svg.BAND_SHAPES.get(point.band, "cross")
    size = 3.2 if point.is_forced else 4.4
    parts.append(svg.marker(x, y, shape, size=size, class_=kind, hint=_hint(point)))
    if ringed:
        parts.append(svg.element("circle", cx=x, cy=y, r=9.0, class_="ring"))
    state = "forced" if point.is_forced else "detection"
    return svg.group(parts, class_=f"point {band} {state}", data_source=str(point.source_id))


def _limit(x: float, y: float) -> Markup:
    """Draw an arrow down from a limit."""
    arrow = svg.path([(x - 4, y), (x + 4, y), (math.nan, 0), (x, y), (x, y + 9), (math.nan, 0),
                      (x - 2.5, y + 6), (x, y + 9), (x + 2.5, y + 6)], class_="limit")  # fmt: skip
    return svg.group([arrow], class_="upper-limit")


def _hint(point: LightPoint) -> str:
    what = "forced" if point.is_forced else "detection"
    flux = f"{significant(point.flux)} ± {significant(point.flux_err)} nJy"
    return f"{what}, {point.band or 'no band'}, MJD {point.mjd_tai:.5f} TAI, visit {point.visit}: {flux}"


def _magnitude_axis(plot: Frame, scale: float) -> list[Markup]:
    """AB magnitudes of positive fluxes, at the right."""
    top = plot.y.high
    if top <= 0.2 * (top - plot.y.low):
        return []
    brightest = AB_ZERO_POINT - 2.5 * math.log10(top * scale)
    parts, above = [], math.inf
    for k in range(16):
        mag = math.ceil(brightest / MAG_STEP) * MAG_STEP + k * MAG_STEP
        place = plot.y(10.0 ** ((AB_ZERO_POINT - mag) / 2.5) / scale)
        free = abs(place - above) > 18 if math.isfinite(above) else True
        if free and place < plot.y(0.0) - 8:
            parts.append(svg.line(plot.x.end, place, plot.x.end + 4, place, class_="axis"))
            parts.append(svg.text(plot.x.end + 7, place + 4, f"{mag:g}"))
            above = place
    end = plot.x.end
    parts.append(svg.line(end, plot.y.start, end, plot.y.end, class_="axis"))
    return [*parts, svg.text(plot.width - 4, plot.label_y, "AB mag", anchor="end", class_="label")]


def bands_of(points: Sequence[LightPoint]) -> list[str]:
    """Bands of some points, from blue to red; others last."""
    return sorted({p.band for p in points}, key=_band_rank)


def legend_lift(points: Sequence[LightPoint], width: float, begin: float) -> float:
    """Room that the legend of a light curve needs for itself: none where it fits beside the label."""
    length = sum(30 + 6 * max(len(band) - 1, 0) for band in bands_of(points)) + 50
    return LINE if begin + length > width - 2 * LEGEND_ROOM else 0.0


def legend(plot: Frame, points: Sequence[LightPoint], begin: float) -> list[Markup]:
    """Name the bands, and open and filled: at the top beside the label, or in a line of its own."""
    parts, x, y = [], plot.x.start + (6.0 if plot.lift else begin), plot.y.end - 12
    for band in bands_of(points):
        parts.append(
            svg.marker(x, y, svg.BAND_SHAPES.get(band, "cross"), class_=f"mark {svg.band_class(band)}")
        )
        parts.append(svg.text(x + 9, y + 4, band or "no band"))
        x += 30 + 6 * max(len(band) - 1, 0)
    if any(p.is_forced for p in points):
        parts.append(svg.marker(x, y, "circle", size=3.2, class_="mark open other"))
        parts.append(svg.text(x + 9, y + 4, "forced"))
    return parts


def _band_rank(band: str) -> tuple[int, str]:
    return (BANDS.index(band) if band in BANDS and band else len(BANDS)), band


def _described(points: Sequence[LightPoint], unit: str, scale: float) -> str:
    detections = [p for p in points if not p.is_forced]
    bands = ", ".join(band or "no band" for band in bands_of(points))
    fluxes = [(p.flux or 0.0) / scale for p in points]
    return (
        f"{len(detections)} detections and {len(points) - len(detections)} forced fluxes in {bands}, "
        f"from {significant(min(fluxes))} to {significant(max(fluxes))} {unit}"
    )


def _nothing(title: str, message: str, size: tuple[float, float]) -> Markup:
    """Draw an empty figure that says why."""
    return svg.figure(
        *size,
        [svg.text(size[0] / 2, size[1] / 2, message, anchor="middle")],
        title=title,
        description=message,
    )


@dataclass(frozen=True)
class Sample:
    """One value at a time: ``band`` gives its shape, ``hint`` says which it is."""

    mjd_tai: float
    value: float | None
    band: str = ""
    hint: str = ""
    href: str | None = None


def time_series(
    samples: Iterable[Sample],
    *,
    title: str,
    unit: str,
    warn: float | None = None,
    bad: float | None = None,
    size: tuple[float, float] = (360, 180),
) -> Markup:
    """Draw a figure of visits over the time of a night [UTC], with the thresholds of its light.

    Parameters
    ----------
    samples : iterable of Sample
        One for each visit; without a value they are left out.
    title, unit : str
        What it is.
    warn, bad : float, optional
        Thresholds, drawn where they are near.
    size : (float, float), optional
        Width and height.
    """
    usable = [s for s in samples if s.value is not None and math.isfinite(s.value)]
    if not usable:
        return _nothing(title, "not measured", size)
    values = [s.value or 0.0 for s in usable]
    low, high = span(values, pad=0.15)
    near = [v for v in (warn, bad) if v is not None and low - (high - low) <= v <= high + (high - low)]
    middle, least = (low + high) / 2, MIN_SPAN * max(map(abs, values))
    plot = frame(
        span([s.mjd_tai for s in usable], pad=0.08),
        span(values, pad=0.15, include=[*near, middle - least, middle + least]),
        width=size[0], height=size[1], margins=(24.0, 14.0, 38.0, 40.0),
    )  # fmt: skip
    ticks = _time_ticks(plot.x)
    parts = [*plot.x_axis("UTC", ticks, [mjd_time(tick)[:5] for tick in ticks])]
    parts += plot.y_axis(f"{title} [{unit}]" if unit else title, plot.y.ticks(4))
    for limit, kind in ((warn, "warn-line"), (bad, "bad-line")):
        if limit in near and limit is not None:
            parts.append(svg.line(plot.x.start, plot.y(limit), plot.x.end, plot.y(limit), class_=kind))
    for sample in usable:
        mark = svg.marker(
            plot.x(sample.mjd_tai), plot.y(sample.value or 0.0), svg.BAND_SHAPES.get(sample.band, "circle"),
            class_=f"mark {svg.band_class(sample.band)}", hint=sample.hint,
        )  # fmt: skip
        parts.append(svg.element("a", mark, href=sample.href) if sample.href else mark)
    said = f"{len(values)} visits, from {significant(min(values))} to {significant(max(values))} {unit}"
    linked = any(s.href for s in usable)
    return svg.figure(*size, parts, title=title, description=said, role="group" if linked else "img")


def _time_ticks(scale: Scale) -> list[float]:
    """Moments at whole minutes or hours of UTC, as [d, MJD TAI]."""
    offset_d = 37.0 / 86400.0
    minutes = [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440]
    length = (scale.high - scale.low) * 1440.0
    step = (
        next((one for one in minutes if length / one <= 5), 1440 * max(round(length / 1440 / 5), 1)) / 1440.0
    )
    first = math.ceil((scale.low - offset_d) / step)
    last = math.floor((scale.high - offset_d) / step)
    return [k * step + offset_d for k in range(first, last + 1)]


def sparkline(values: Sequence[float | None], *, title: str, size: tuple[float, float] = (84, 26)) -> Markup:
    """Draw a trend without axes; the last value has a dot."""
    usable = [(n, v) for n, v in enumerate(values) if v is not None and math.isfinite(v)]
    if len(usable) < MIN_TREND:
        return Markup("")
    low, high = span([v for _, v in usable], pad=0.1)
    x, y = Scale(0.0, float(len(values) - 1), 3.0, size[0] - 4.0), Scale(low, high, size[1] - 3.0, 3.0)
    points = [(x(float(n)), y(v)) for n, v in usable]
    dot = svg.element("circle", cx=points[-1][0], cy=points[-1][1], r=2.5, class_="fill")
    said = ", ".join(significant(v) for _, v in usable[-6:])
    return svg.figure(
        *size, [svg.path(points, class_="curve"), dot], title=title, description=f"last: {said}", kind="spark"
    )


@dataclass(frozen=True)
class EfficiencyBin:
    """A bin of magnitude or of signal to noise of a search for injected sources; fractions may be None."""

    low: float
    high: float | None
    n_injected: int
    n_found: int
    completeness: float | None
    completeness_low: float | None
    completeness_high: float | None


def efficiency(
    bins: Sequence[EfficiencyBin],
    *,
    title: str,
    label: str,
    curve: Callable[[float], float] | None = None,
    marks: Sequence[tuple[float, str]] = (),
    logarithmic: bool = False,
    size: tuple[float, float] = (540, 260),
) -> Markup:
    """Draw the fraction of injected sources that was found, with 1-sigma intervals.

    Parameters
    ----------
    bins : sequence of EfficiencyBin
        Those without a source are left out; the open one is drawn to twice its beginning.
    title, label : str
        What it is, and what is along the axis.
    curve : callable, optional
        Fitted completeness.
    marks : sequence of (float, str), optional
        Places along the axis that have a name, as the depth.
    logarithmic : bool, optional
        Whether the axis is logarithmic; its ticks are then the edges of the bins.
    size : (float, float), optional
        Width and height.
    """
    usable = [b for b in bins if b.n_injected > 0 and b.completeness is not None]
    if not usable:
        return _nothing(title, "no source was injected", size)
    along = math.log10 if logarithmic else float
    edges = sorted({b.low for b in usable} | {_end(b) for b in usable})
    places = [along(edge) for edge in edges] + [along(place) for place, _ in marks]
    margins = (26.0, 18.0, 40.0, 46.0)
    plot = frame(span(places), (-0.03, 1.06), width=size[0], height=size[1], margins=margins)
    parts = [*plot.y_axis("found / injected", plot.y.ticks(4))]
    ticks = [along(edge) for edge in edges] if logarithmic else plot.x.ticks(6)
    texts = [f"{edge:g}" for edge in edges] if logarithmic else None
    parts += plot.x_axis(label, ticks, texts)
    for line, (place, name) in enumerate(marks):
        parts += _named_place(plot, along(place), name, line)
    if curve is not None and not logarithmic:
        steps = [plot.x.low + k / 120 * (plot.x.high - plot.x.low) for k in range(121)]
        parts.append(svg.path([(plot.x(s), plot.y(curve(s))) for s in steps], class_="faint"))
    for one in usable:
        parts += _efficiency_point(plot, one, along)
    n, found = sum(b.n_injected for b in usable), sum(b.n_found for b in usable)
    return svg.figure(*size, parts, title=title, description=f"{found} of {n} injected sources found")


def _end(one: EfficiencyBin) -> float:
    return 2.0 * one.low if one.high is None else one.high


def _named_place(plot: Frame, place: float, name: str, line: int) -> list[Markup]:
    near_end = place > plot.x.low + 0.85 * (plot.x.high - plot.x.low)
    shift, anchor = (-4, "end") if near_end else (4, "start")
    x = plot.x(place)
    upright = svg.line(x, plot.y.start, x, plot.y.end, class_="faint")
    return [upright, svg.text(x + shift, plot.y.start - 6 - 14 * line, name, anchor=anchor)]


def _efficiency_point(plot: Frame, one: EfficiencyBin, along: Callable[[float], float]) -> list[Markup]:
    left, right = along(one.low), along(_end(one))
    x, y = plot.x((left + right) / 2), plot.y(one.completeness or 0.0)
    top = 1.0 if one.completeness_high is None else one.completeness_high
    upright = svg.line(x, plot.y(one.completeness_low or 0.0), x, plot.y(top), class_="curve")
    across = svg.line(plot.x(left), y, plot.x(right), y, class_="curve")
    upper = "on" if one.high is None else number(one.high, 1)
    hint = f"{number(one.low, 1)} to {upper}: {one.n_found} of {one.n_injected}"
    return [upright, across, svg.marker(x, y, "circle", size=4.0, class_="fill", hint=hint)]
