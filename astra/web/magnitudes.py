"""A light curve in AB magnitudes of the size of the difference, bright above faint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from astra.web import svg
from astra.web.axes import Frame, frame, span
from astra.web.plots import AB_ZERO_POINT, HOURS_BELOW_D, LIMIT_SIGMA, legend, legend_lift, zero_time

if TYPE_CHECKING:
    from astra.database.pages.light_curves import LightPoint

MIN_SNR = 3.0  # of a flux that is drawn as a magnitude: below it has a limit alone
LEGEND_AT = 170.0
MAG_PER_FRACTION = 2.5 / math.log(10.0)


def magnitude(flux: float | None) -> float:
    """AB magnitude of the size of a flux [nJy]; NaN for none."""
    return AB_ZERO_POINT - 2.5 * math.log10(abs(flux)) if flux and math.isfinite(flux) else math.nan


def light_curve(
    points: Sequence[LightPoint],
    *,
    name: str = "",
    marked: int | None = None,
    quantity: str = "difference",
    limits: bool = True,
    size: tuple[float, float] = (640, 260),
) -> Markup:
    """Draw a light curve in magnitudes; parameters as in `astra.web.plots.light_curve`.

    What has become fainter than the template is drawn hollow with a line through it; a forced flux below
    3 sigma is an arrow at the limit of 5 sigma.
    """
    title = f"Light curve of {name} in magnitudes" if name else "Light curve in magnitudes"
    shown = [point for point in points if limits or not _is_limit(point)]
    usable = [point for point in shown if math.isfinite(_level(point))]
    if not usable:
        nothing = svg.text(size[0] / 2, size[1] / 2, "No flux can be drawn as a magnitude.", anchor="middle")
        return svg.figure(*size, [nothing], title=title, description="No flux can be drawn as a magnitude.")
    zero = zero_time(usable, marked)
    times = [point.mjd_tai for point in usable]
    step = 1.0 / 24.0 if max(times) - min(times) < HOURS_BELOW_D else 1.0
    bright, faint = span([_level(point) for point in usable], pad=0.1)
    plot = frame(
        span([(time - zero) / step for time in times]), (-faint, -bright),
        width=size[0], height=size[1], margins=(26.0, 20.0, 40.0, 58.0),
        lift=legend_lift(usable, size[0], LEGEND_AT),
    )  # fmt: skip
    label = f"{'hours' if step < 1 else 'days'} from MJD {zero:.4f} TAI"
    parts = plot.x_axis(label, plot.x.ticks(6)) + _mag_axis(plot, quantity)
    for point in usable:
        x_value, ringed = (point.mjd_tai - zero) / step, point.source_id == marked
        parts.append(_mark(plot, point, x_value, ringed=ringed, signed=quantity == "difference"))
    parts += legend(plot, usable, LEGEND_AT)
    said = f"{len(usable)} magnitudes and limits from {bright:.1f} to {faint:.1f} AB"
    return svg.figure(*size, parts, title=title, description=said)


def _is_limit(point: LightPoint) -> bool:
    return bool(point.is_forced and point.flux_err and abs(point.flux or 0.0) < MIN_SNR * point.flux_err)


def _level(point: LightPoint) -> float:
    return magnitude(LIMIT_SIGMA * (point.flux_err or 0.0)) if _is_limit(point) else magnitude(point.flux)


def _mag_axis(plot: Frame, quantity: str) -> list[Markup]:
    parts = [svg.line(plot.x.start, plot.y.start, plot.x.start, plot.y.end, class_="axis")]
    for value in plot.y.ticks(5):
        place = plot.y(value)
        parts.append(svg.line(plot.x.start, place, plot.x.end, place, class_="axis"))
        parts.append(svg.text(plot.x.start - 7, place + 4, f"{-value:.4g}", anchor="end"))
    return [*parts, svg.text(plot.x.start, plot.label_y, f"{quantity}, mag (AB)", class_="label")]


def _mark(plot: Frame, point: LightPoint, x_value: float, *, ringed: bool, signed: bool) -> Markup:
    x, y = plot.x(x_value), plot.y(-_level(point))
    band = svg.band_class(point.band)
    state = "forced" if point.is_forced else "detection"
    if _is_limit(point):
        arrow = svg.path([(x - 4, y), (x + 4, y), (math.nan, 0), (x, y), (x, y + 9)], class_="limit")
        parts = [svg.group([arrow], class_="upper-limit")]
        return svg.group(parts, class_=f"point {band} forced", data_source=str(point.source_id))
    error = MAG_PER_FRACTION * (point.flux_err or 0.0) / abs(point.flux or math.inf)
    reach = min(abs(plot.y(error) - plot.y(0.0)), plot.height)
    parts = [svg.line(x, y - reach, x, y + reach, class_="error")] if reach > 0 else []
    is_fainter = signed and (point.flux or 0.0) < 0
    when = f"{state}, {point.band or 'no band'}, MJD {point.mjd_tai:.5f} TAI, visit {point.visit}"
    hint = f"{when}: {_level(point):.2f} ± {error:.2f}"
    if signed:
        hint += ", fainter than the template" if is_fainter else ", brighter than the template"
    kind = "mark open" if point.is_forced or is_fainter else "mark"
    shape = svg.BAND_SHAPES.get(point.band, "cross")
    parts.append(svg.marker(x, y, shape, size=3.2 if point.is_forced else 4.4, class_=kind, hint=hint))
    if is_fainter:
        parts.append(svg.line(x - 5, y, x + 5, y, class_="error"))
    if ringed and not point.is_forced:
        parts.append(svg.element("circle", cx=x, cy=y, r=9.0, class_="ring"))
    return svg.group(parts, class_=f"point {band} {state}", data_source=str(point.source_id))
