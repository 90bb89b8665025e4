"""The focal plane of a visit on the sky: an image of each detector at its place, north up and east left."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from astra.errors import DataError
from astra.web import svg
from astra.web.links import Links
from astra.web.pictures import PictureStore
from astra.web.pixels import (
    bin_to_side,
    difference_stretch,
    encode_png,
    sky_stretch,
    to_grey,
    zscale_stretch,
)
from astra.web.triptych import BAR_ARCSEC

if TYPE_CHECKING:
    from astra.database.pages.visits import DetectorRow, Product
    from astra.images.exposure import Exposure

# Kinds of products that a layer is made of, the better one first.
LAYERS: dict[str, tuple[str, ...]] = {
    "science": ("calexp",),
    "template": ("matchedTemplate", "template"),
    "difference": ("diffexp",),
}
CORNERS = "ProcessCcd:summary.{}Corners{}"
SIDE_PIXEL = 320  # of the longer side of the image of a detector
MAX_PIXELS = 400_000_000  # of an image that is read
WIDTH, HEAD, EDGE = 380.0, 20.0, 6.0
LARGE_BARS_ARCSEC = (*BAR_ARCSEC, 600.0, 1800.0, 3600.0)
MIN_LABEL = 26.0  # side of a detector on the page from which on it has its number


@dataclass(frozen=True)
class Mark:
    """A place on the sky [deg], and what is told of it.

    Parameters
    ----------
    ra, dec : float
        Where.
    negative : bool
        Whether it is fainter than the template: then it is a square.
    hint : str
        What is said of it.
    href : str or None
        Where it leads.
    kind : str
        Class of its colour: ``pointer``, or ``found``, ``missed``, ``false`` where the truth is known.
    """

    ra: float
    dec: float
    negative: bool = False
    hint: str = ""
    href: str | None = None
    kind: str = "pointer"


def detector_corners(detector: DetectorRow) -> NDArray[np.float64] | None:
    """Sky of the corners of a detector, from that at the least x and y counter-clockwise on its pixels.

    Returns
    -------
    corners : float64 ndarray, shape (4, 2), or None
        ra and dec [deg]; None where its calibration tells none.
    """
    values = [detector.figures.get(CORNERS.format(name, k)) for k in (1, 2, 3, 4) for name in ("ra", "dec")]
    if not all(isinstance(value, (int, float)) for value in values):
        return None
    corners = np.array(values, dtype=np.float64).reshape(4, 2)
    return corners if np.isfinite(corners).all() else None


def make_image(
    detector: DetectorRow,
    layer: str,
    store: PictureStore,
    *,
    side_pixel: int = SIDE_PIXEL,
    stretch: str = "asinh",
) -> str | None:
    """Draw the binned image of a detector in a stretch of `astra.web.pixels.STRETCHES`, the top row first.

    Returns
    -------
    name : str or None
        Of the picture; None if there is no such product, or it cannot be read.
    """
    product = layer_product(detector, layer)
    if product is None:
        return None
    key = ("detector", product.path, product.size, str(product.created), layer, side_pixel, stretch)
    try:
        return store.get(key, lambda: _draw(Path(product.path), layer, side_pixel, stretch))
    except (DataError, OSError):
        return None


def layer_product(detector: DetectorRow, layer: str) -> Product | None:
    """Return the product that a layer of a detector is drawn from."""
    return next((detector.products[kind] for kind in LAYERS[layer] if kind in detector.products), None)


def read_drawn(path: Path) -> Exposure:
    """Read an exposure that is drawn.

    Raises
    ------
    DataError
        If it has more pixels than are drawn, or cannot be read.
    """
    from astra.products.exposures import read_exposure

    exposure = read_exposure(path, mapped=True)
    if exposure.image.size > MAX_PIXELS:
        raise DataError(f"{path} has {exposure.image.size} pixels, more than the {MAX_PIXELS} that are drawn")
    return exposure


def _draw(path: Path, layer: str, side_pixel: int, stretch: str) -> bytes:
    binned = bin_to_side(read_drawn(path).image, side_pixel)
    if stretch == "zscale":
        limits = zscale_stretch(binned, symmetric=layer == "difference")
    else:
        limits = difference_stretch(binned) if layer == "difference" else sky_stretch(binned)
    return encode_png(to_grey(binned[::-1], limits, linear=stretch != "asinh"))


class SkyPlane:
    """Where places on the sky are on a page: gnomonic about the middle of corners, north up, east left."""

    def __init__(self, corners: Sequence[NDArray[np.float64]]) -> None:
        every = np.concatenate(corners)
        self._centre = _mean_direction(every)
        flat = self._tangent(every)
        self._low, high = flat.min(axis=0), flat.max(axis=0)
        extent = np.maximum(high - self._low, 1e-9)
        self.scale = (WIDTH - 2 * EDGE) / float(extent[0])  # page units per radian
        limit = 1.35 * WIDTH
        self.height = min(float(extent[1]) * self.scale, limit) + 2 * EDGE
        self.scale = min(self.scale, (self.height - 2 * EDGE) / float(extent[1]))
        self._free = (WIDTH - 2 * EDGE - float(extent[0]) * self.scale) / 2.0
        self._high = high

    def __call__(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places on the page of positions, shape (n, 2) [deg]."""
        flat = self._tangent(positions)
        x = EDGE + self._free + (self._high[0] - flat[:, 0]) * self.scale
        y = HEAD + EDGE + (self._high[1] - flat[:, 1]) * self.scale
        return np.column_stack([x, y])

    @property
    def arcsec(self) -> float:
        """Page units per arcsec."""
        return self.scale * math.radians(1.0 / 3600.0)

    def _tangent(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Gnomonic coordinates east and north [rad]."""
        ra, dec = np.radians(positions[:, 0]), np.radians(positions[:, 1])
        ra_0, dec_0 = self._centre
        cos_c = np.sin(dec_0) * np.sin(dec) + np.cos(dec_0) * np.cos(dec) * np.cos(ra - ra_0)
        east = np.cos(dec) * np.sin(ra - ra_0) / cos_c
        north = (np.cos(dec_0) * np.sin(dec) - np.sin(dec_0) * np.cos(dec) * np.cos(ra - ra_0)) / cos_c
        return np.column_stack([east, north])


def _mean_direction(positions: NDArray[np.float64]) -> tuple[float, float]:
    ra, dec = np.radians(positions[:, 0]), np.radians(positions[:, 1])
    x, y, z = (np.cos(dec) * np.cos(ra)).mean(), (np.cos(dec) * np.sin(ra)).mean(), np.sin(dec).mean()
    return math.atan2(y, x), math.atan2(z, math.hypot(x, y))


@dataclass(frozen=True)
class Tile:
    """A detector of a mosaic: its corners, its image and one that lies over it, where it leads, its state."""

    label: str
    corners: NDArray[np.float64]
    picture: str | None
    href: str | None
    hint: str
    failed: bool = False
    over: str | None = None


def draw_mosaic(
    tiles: Sequence[Tile], links: Links, *, title: str, name: str, marks: Sequence[Mark] = ()
) -> Markup:
    """Draw the detectors of a visit at their places.

    Parameters
    ----------
    tiles : sequence of Tile
        The detectors; without any, the figure says so.
    links : Links
        Makes the addresses of pictures.
    title, name : str
        What it is, and what is written above it.
    marks : sequence of Mark, optional
        Detections: circles for brighter, squares for fainter ones.
    """
    if not tiles:
        empty = svg.text(WIDTH / 2, 60, "no detector has a position on the sky yet", anchor="middle")
        return svg.figure(WIDTH, 110, [empty], title=title, description="nothing to draw")
    plane = SkyPlane([tile.corners for tile in tiles])
    parts = [svg.text(0, 13, name, class_="label")]
    parts += [_tile(tile, plane, links) for tile in tiles]
    parts += [_mark(mark, plane) for mark in marks]
    parts += _scale(plane)
    said = f"{len(tiles)} detectors on the sky, north is up, east is left"
    if marks:
        said += f"; {len(marks)} detections"
    return svg.figure(WIDTH, plane.height + HEAD, parts, title=title, description=said, role="group")


def _tile(tile: Tile, plane: SkyPlane, links: Links) -> Markup:
    corners = plane(tile.corners)
    outline = " ".join(f"{x:.2f},{y:.2f}" for x, y in corners)
    parts: list[Markup] = [svg.element("title", tile.hint)]
    if tile.picture is not None:
        pictures = [name for name in (tile.picture, tile.over) if name is not None]
        parts += [_image(corners, links.picture(name)) for name in pictures]
        kind = "frame bad" if tile.failed else "frame"
    else:
        kind = "missing"
    parts.append(svg.element("polygon", points=outline, class_=kind))
    middle, side = corners.mean(axis=0), float(np.linalg.norm(corners[1] - corners[0]))
    if tile.picture is None:
        parts.append(svg.text(middle[0], middle[1], f"{tile.label} \N{MULTIPLICATION SIGN}", anchor="middle"))
    elif side >= MIN_LABEL:
        top = corners[int(np.argmin(corners.sum(axis=1)))]
        inward = top + 0.06 * (middle - top)
        parts.append(svg.text(inward[0] + 2, inward[1] + 10, tile.label, class_="on-pixels"))
    inner = svg.group(parts)
    return svg.element("a", inner, href=tile.href, aria_label=tile.hint) if tile.href else inner


def _image(corners: NDArray[np.float64], href: str) -> Markup:
    """Place an image by its corners: its top left is the last corner, its top right the one before."""
    first, _, third, last = corners
    a, b = (third - last) / 100.0
    c, d = (first - last) / 100.0
    numbers = " ".join(f"{value:.6g}" for value in (a, b, c, d, *last))
    return svg.element(
        "image", href=href, width=100, height=100, preserveAspectRatio="none", transform=f"matrix({numbers})"
    )


def _mark(mark: Mark, plane: SkyPlane) -> Markup:
    x, y = plane(np.array([[mark.ra, mark.dec]]))[0].tolist()
    hint = svg.element("title", mark.hint) if mark.hint else None
    if mark.negative:
        place = {"x": x - 5.0, "y": y - 5.0, "width": 10, "height": 10}
        shapes = [svg.element("rect", class_=kind, **place) for kind in ("halo", mark.kind)]
    elif mark.kind == "false":
        corners = [(x, y - 7.5), (x + 7.5, y), (x, y + 7.5), (x - 7.5, y), (x, y - 7.5)]
        shapes = [svg.path(corners, class_=kind) for kind in ("halo", mark.kind)]
    else:
        radius = 8.0 if mark.kind == "missed" else 5.5
        shapes = [svg.element("circle", cx=x, cy=y, r=radius, class_=kind) for kind in ("halo", mark.kind)]
    drawn = svg.group([hint, *shapes])
    return svg.element("a", drawn, href=mark.href) if mark.href else drawn


def _scale(plane: SkyPlane) -> list[Markup]:
    """Bar of a round length at the top right."""
    limit = 0.3 * WIDTH / plane.arcsec
    length = max((bar for bar in LARGE_BARS_ARCSEC if bar <= limit), default=LARGE_BARS_ARCSEC[0])
    text = f"{length / 60:g}\N{PRIME}" if length >= 60 else f"{length:g}″"
    end, start = WIDTH - 1, WIDTH - 1 - length * plane.arcsec
    bar = svg.line(start, 9, end, 9, class_="ring")
    return [bar, svg.text(start - 5, 13, text, anchor="end")]


def tiles_of(
    detectors: Mapping[int, DetectorRow],
    pictures: Mapping[int, str | None],
    links: Links,
    *,
    instrument: str,
    over: Mapping[int, str | None] | None = None,
) -> list[Tile]:
    """Make the tiles of the detectors that have a place on the sky."""
    made = []
    for number, row in sorted(detectors.items()):
        corners = detector_corners(row)
        if corners is not None:
            href = links.to("detector", instrument=instrument, visit=row.visit, detector=number)
            hint = f"detector {number}: {row.state}"
            picture, mask = pictures.get(number), (over or {}).get(number)
            made.append(Tile(str(number), corners, picture, href, hint, row.state == "failed", mask))
    return made
