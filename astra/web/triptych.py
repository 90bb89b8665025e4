"""Science, template and difference of an alert beside each other: north up, east left, with a scale."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from astra.web import svg
from astra.web.links import Links
from astra.web.pictures import PictureStore
from astra.web.pixels import Stretch, difference_stretch, encode_png, sky_stretch, to_grey, turn_to_sky

if TYPE_CHECKING:
    from astra.alerts.reading import Packet
    from astra.alerts.stamps import Stamp

NAMES = ("science", "template", "difference")
SIDE_PIXEL = 160  # of the PNG of a stamp
PANEL, SPACE, HEAD = 116.0, 6.0, 18.0
BAR_FRACTION = 0.34  # of a panel, at most
BAR_ARCSEC = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
MAX_HALF_ARCSEC = 30.0


@dataclass(frozen=True)
class Triptych:
    """What is drawn of the stamps of an alert.

    Parameters
    ----------
    pictures : mapping of str to str or None
        Name of the picture of each of `NAMES`, None where there is none.
    half_arcsec : float
        Half of the side of a panel; without an orientation in pixels.
    oriented : bool
        Whether north is up and east left.
    """

    pictures: Mapping[str, str | None]
    half_arcsec: float
    oriented: bool


def make_triptych(
    packet: Packet, store: PictureStore, *, key: tuple[object, ...] = (), side_pixel: int = SIDE_PIXEL
) -> Triptych:
    """Draw the stamps of an alert into a folder of pictures.

    Parameters
    ----------
    packet : Packet
        The alert.
    store : PictureStore
        Where the pictures go.
    key : tuple, optional
        What tells the alert from others: its file's checksum, and its id.
    side_pixel : int, optional
        Side of each.

    Raises
    ------
    FormatError
        If a stamp cannot be read.
    """
    from astra.alerts.views import packet_stamps

    stamps = packet_stamps(packet)
    matrix = next((stamp.matrix for stamp in stamps.values() if stamp and stamp.matrix is not None), None)
    half = min((_half_side(stamp) for stamp in stamps.values() if stamp is not None), default=1.0)
    half = min(half, MAX_HALF_ARCSEC) if matrix is not None else half
    stretches = _stretches(stamps)
    pictures: dict[str, str | None] = {}
    for name in NAMES:
        stamp = stamps.get(name)
        if stamp is None:
            pictures[name] = None
            continue
        make = functools.partial(_draw, stamp, stretches[name], side_pixel, half)
        pictures[name] = store.get(("stamp", *key, packet.source_id, name, side_pixel), make)
    return Triptych(pictures, half, matrix is not None)


def _half_side(stamp: Stamp) -> float:
    """Half of the longer side [arcsec]; [pixel] where the scale is not told."""
    scale = 1.0 if stamp.matrix is None else math.sqrt(abs(float(np.linalg.det(stamp.matrix))))
    return float(max(stamp.image.shape) / 2.0 * scale)


def _stretches(stamps: Mapping[str, Stamp | None]) -> dict[str, Stretch]:
    """Science and template share a stretch where both are fluxes: then they can be compared by eye."""
    pair = [stamp for name in ("science", "template") if (stamp := stamps.get(name)) is not None]
    shared = sky_stretch(*(stamp.image for stamp in pair)) if all(s.unit == "nJy" for s in pair) else None
    made = {name: shared or sky_stretch(stamp.image) for name, stamp in stamps.items() if stamp is not None}
    difference = stamps.get("difference")
    if difference is not None:
        made["difference"] = difference_stretch(difference.image)
    return made


def _draw(stamp: Stamp, stretch: Stretch, side_pixel: int, half: float) -> bytes:
    matrix = stamp.matrix if stamp.matrix is not None else np.diag([-1.0, 1.0])
    turned = turn_to_sky(stamp.image, (stamp.x, stamp.y), matrix, side_pixel=side_pixel, half_arcsec=half)
    return encode_png(to_grey(turned, stretch))


def draw_triptych(triptych: Triptych, links: Links, *, title: str) -> Markup:
    """Put the pictures of an alert beside each other, with pointers to the source, compass and scale.

    Parameters
    ----------
    triptych : Triptych
        Of `make_triptych`.
    links : Links
        Makes the addresses of the pictures.
    title : str
        Which alert.
    """
    width, height = 3 * PANEL + 2 * SPACE, PANEL + HEAD
    parts = []
    for n, name in enumerate(NAMES):
        left = n * (PANEL + SPACE)
        parts.append(svg.text(left, HEAD - 6, name, class_="label"))
        parts.append(_panel(triptych, links, name, left, with_scale=n == 0))
    how = "north is up, east is left" if triptych.oriented else "orientation not told"
    size = f"{2 * triptych.half_arcsec:.3g} arcsec wide, " if triptych.oriented else ""
    said = f"Science, template and difference, {size}{how}"
    return svg.figure(width, height, parts, title=title, description=said)


def _panel(triptych: Triptych, links: Links, name: str, left: float, *, with_scale: bool) -> Markup:
    picture = triptych.pictures.get(name)
    parts = [svg.element("rect", x=left, y=HEAD, width=PANEL, height=PANEL, class_="stage")]
    middle = left + PANEL / 2, HEAD + PANEL / 2
    if picture is None:
        parts.append(svg.text(middle[0], middle[1], "none", anchor="middle"))
        return svg.group(parts)
    place = {"x": left, "y": HEAD, "width": PANEL, "height": PANEL}
    parts.append(svg.element("image", href=links.picture(picture), class_="pixels", **place))
    for dx, dy in ((0.0, -1.0), (1.0, 0.0)):
        ends = [(middle[0] + dx * r * PANEL / 2, middle[1] + dy * r * PANEL / 2) for r in (0.22, 0.42)]
        parts.append(svg.path(ends, class_="pointer"))
    if with_scale:
        parts += _scale(triptych, left)
    return svg.group(parts)


def _scale(triptych: Triptych, left: float) -> list[Markup]:
    """Bar of a round length at the lower left, and where north and east are at the lower right."""
    bottom = HEAD + PANEL - 9
    if not triptych.oriented:
        return [svg.text(left + 6, bottom, "orientation not told", class_="on-pixels")]
    full = 2.0 * triptych.half_arcsec
    length = max((bar for bar in BAR_ARCSEC if bar <= BAR_FRACTION * full), default=BAR_ARCSEC[0])
    bar = [(left + 8, bottom), (left + 8 + length / full * PANEL, bottom)]
    corner, arm = (left + PANEL - 12, bottom + 1), 17.0
    north, east = (corner[0], corner[1] - arm), (corner[0] - arm, corner[1])
    compass = [north, corner, east]
    parts = [svg.path(line, class_=kind) for line in (bar, compass) for kind in ("halo", "over")]
    parts.append(svg.text(bar[0][0], bottom - 5, f"{length:g}″", class_="on-pixels"))
    parts.append(svg.text(north[0], north[1] - 3, "N", anchor="middle", class_="on-pixels"))
    return [*parts, svg.text(east[0] - 3, east[1] + 4, "E", anchor="end", class_="on-pixels")]
