"""Inline SVG, element by element: everything that is put into it is escaped.

Elements have classes and no colours: the stylesheet gives those, in light and in dark, and a page that allows
no style of its own shows them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape


def element(name: str, *children: Any, **attributes: Any) -> Markup:
    """Make an element.

    Parameters
    ----------
    name : str
        Its name, a word of the program.
    *children
        Markup, text (which is escaped), or None.
    **attributes
        By name with ``_`` for ``-``, and ``class_`` for ``class``; numbers are rounded to hundredths, and
        what is None is left out.
    """
    made = [f"<{name}"]
    for key, value in attributes.items():
        if value is not None:
            made.append(f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"')
    inner = "".join(escape(child) for child in children if child is not None)
    return Markup("".join(made) + (f">{inner}</{name}>" if inner else "/>"))  # noqa: S704  # escaped above


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"
    return str(value)


def group(children: Iterable[Any], **attributes: Any) -> Markup:
    """Put elements together."""
    return element("g", *children, **attributes)


def figure(
    width: float,
    height: float,
    children: Iterable[Any],
    *,
    title: str,
    description: str = "",
    role: str = "img",
    kind: str = "figure",
) -> Markup:
    """Make a figure: it scales with its place, and is told to those who do not see it.

    Parameters
    ----------
    width, height : float
        Its own units; about the pixels of its place.
    children : iterable of Markup
        What it shows.
    title, description : str
        What it is, and what it says.
    role : str, optional
        ``img``, or ``group`` where it has links.
    kind : str, optional
        Class: ``figure`` fills the width of its place, ``spark`` keeps its size.
    """
    label = f"{title}. {description}" if description else title
    size = {"width": width, "height": height} if kind == "spark" else {}
    return element(
        "svg",
        element("title", title),
        element("desc", description) if description else None,
        *children,
        class_=kind,
        viewBox=f"0 0 {_text(float(width))} {_text(float(height))}",
        **size,
        role=role,
        aria_label=label,
    )


def path(points: Sequence[tuple[float, float]], **attributes: Any) -> Markup:
    """Draw a line through points; one that is not finite breaks it."""
    steps, pen_up = [], True
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            pen_up = True
            continue
        steps.append(f"{'M' if pen_up else 'L'}{_text(float(x))} {_text(float(y))}")
        pen_up = False
    return element("path", d="".join(steps), **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: Any) -> Markup:
    """Draw a straight line."""
    return path([(x1, y1), (x2, y2)], **attributes)


def text(x: float, y: float, content: Any, *, anchor: str = "start", **attributes: Any) -> Markup:
    """Write a text."""
    return element("text", content, x=float(x), y=float(y), text_anchor=anchor, **attributes)


# Shapes of unit size about the origin, so that bands and lights are told apart without colours.
SHAPES = {
    "circle": "M-1 0A1 1 0 1 0 1 0A1 1 0 1 0 -1 0Z",
    "up": "M0 -1.2L1.1 0.8L-1.1 0.8Z",
    "down": "M0 1.2L1.1 -0.8L-1.1 -0.8Z",
    "square": "M-0.9 -0.9L0.9 -0.9L0.9 0.9L-0.9 0.9Z",
    "diamond": "M0 -1.25L1.25 0L0 1.25L-1.25 0Z",
    "pentagon": "M0 -1.15L1.1 -0.35L0.68 0.93L-0.68 0.93L-1.1 -0.35Z",
    "cross": "M-1 -1L1 1M-1 1L1 -1",
}
BAND_SHAPES = {"u": "circle", "g": "up", "r": "down", "i": "square", "z": "diamond", "y": "pentagon"}


def band_class(band: Any) -> str:
    """Class of a band; one that is not of ugrizy is ``other``."""
    return band if isinstance(band, str) and band in BAND_SHAPES else "other"


def marker(x: float, y: float, shape: str, *, size: float = 4.0, hint: str = "", **attributes: Any) -> Markup:
    """Draw a shape at a place; ``hint`` is shown where the pointer rests on it."""
    return element(
        "path",
        element("title", hint) if hint else None,
        d=SHAPES[shape],
        transform=f"translate({_text(float(x))} {_text(float(y))}) scale({_text(float(size))})",
        vector_effect="non-scaling-stroke",
        **attributes,
    )
