"""The frame of a plot: scales from values to its place, round ticks, and their texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from astra.web import svg
from astra.web.formats import MINUS

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
TICK = 4.0
DIGIT = 6.6  # width of a digit
Y_TICKS = 4
PAD = 0.06  # of the range, left free on both sides


@dataclass(frozen=True)
class Scale:
    """Values from ``low`` to ``high`` on places from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, n: int = 5) -> list[float]:
        """Round values within the range, about ``n`` of them."""
        return round_values(self.low, self.high, n)


def round_values(low: float, high: float, n: int = 5) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten from ``low`` to ``high``, about ``n`` of them."""
    rough = (high - low) / max(n, 1)
    if not (rough > 0 and math.isfinite(rough)):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min(STEPS, key=lambda one: abs(math.log(one * power / rough)))
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def span(values: Iterable[float], *, pad: float = PAD, include: Sequence[float] = ()) -> tuple[float, float]:
    """Range of the finite among some values, with room on both sides; (0, 1) of none."""
    finite = [value for value in (*values, *include) if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    room = pad * (high - low) or 0.05 * abs(high) or 0.5
    return low - room, high + room


def tick_text(value: float, step: float) -> str:
    """Write a tick with as many digits as its step needs."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    if step > 0 and abs(round(step, digits) - step) > 1e-9 * step:
        digits += 1
    shown = f"{value:.{digits}f}"
    return (shown.lstrip("-") if float(shown) == 0 else shown).replace("-", MINUS)


@dataclass(frozen=True)
class Frame:
    """A plot's width and height, the scales of its inner part, and how much higher its labels stand."""

    width: float
    height: float
    x: Scale
    y: Scale
    lift: float = 0.0

    @property
    def label_y(self) -> float:
        """Where what the axes are is written."""
        return self.y.end - 8 - self.lift

    def axes(self, x_label: str, y_label: str, *, x_ticks: int = 6, y_ticks: int = Y_TICKS) -> list[Markup]:
        """Draw both axes with ticks, their numbers and what they are."""
        return [*self.x_axis(x_label, self.x.ticks(x_ticks)), *self.y_axis(y_label, self.y.ticks(y_ticks))]

    def x_axis(self, label: str, ticks: Sequence[float], texts: Sequence[str] | None = None) -> list[Markup]:
        """Draw the axis at the bottom."""
        bottom, step = self.y.start, _step(ticks)
        shown = texts or [tick_text(value, step) for value in ticks]
        made = [svg.line(self.x.start, bottom, self.x.end, bottom, class_="axis")]
        for value, text in zip(ticks, shown, strict=True):
            place = self.x(value)
            made.append(svg.line(place, bottom, place, bottom + TICK, class_="axis"))
            made.append(svg.text(place, bottom + TICK + 12, text, anchor="middle"))
        middle = (self.x.start + self.x.end) / 2
        return [*made, svg.text(middle, self.height - 4, label, anchor="middle", class_="label")]

    def y_axis(self, label: str, ticks: Sequence[float], *, right: bool = False) -> list[Markup]:
        """Draw the axis at the left, with faint lines across, or the one at the right."""
        made, step = [], _step(ticks)
        edge, sign, anchor = (self.x.end, 1, "start") if right else (self.x.start, -1, "end")
        for value in ticks:
            place = self.y(value)
            across = (edge, edge + TICK) if right else (self.x.start, self.x.end)
            made.append(svg.line(across[0], place, across[1], place, class_="axis"))
            made.append(svg.text(edge + sign * (TICK + 3), place + 4, tick_text(value, step), anchor=anchor))
        return [
            *made,
            svg.text(edge, self.label_y, label, anchor="end" if right else "start", class_="label"),
        ]


def _step(ticks: Sequence[float]) -> float:
    return abs(ticks[1] - ticks[0]) if len(ticks) > 1 else abs(ticks[0]) if ticks and ticks[0] else 1.0


def frame(
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    *,
    width: float = 640.0,
    height: float = 240.0,
    margins: tuple[float, float, float, float] = (26.0, 16.0, 40.0, 52.0),
    lift: float = 0.0,
) -> Frame:
    """Make the frame of a plot.

    Parameters
    ----------
    x_range, y_range : (float, float)
        Values at the ends; y grows upwards.
    width, height : float, optional
        Of the whole figure.
    margins : (float, float, float, float), optional
        At the top, right, bottom and left; the last grows with the numbers there.
    lift : float, optional
        Room at the top for a line between the labels of the axes and the plot.
    """
    top, right, bottom, left = margins
    y = Scale(*y_range, height - bottom, top + lift)
    ticks = y.ticks(Y_TICKS)
    longest = max((len(tick_text(value, _step(ticks))) for value in ticks), default=0)
    left = max(left, TICK + 6 + DIGIT * longest)
    return Frame(width, height, Scale(*x_range, left, width - right), y, lift)
