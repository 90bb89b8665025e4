"""Regions of the sky and the pixels of the Hierarchical Triangular Mesh (HTM) that cover them.

A region is a convex polygon on the sphere (`lsst.sphgeom.ConvexPolygon`); it is stored as the bytes of its
own encoding. Positions are ICRS [deg].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from lsst.sphgeom import ConvexPolygon, HtmPixelization, Region, UnitVector3d
from numpy.typing import ArrayLike, NDArray

HTM_LEVEL = 20
ARCSEC_PER_RADIAN = 206264.80624709636
_RING_POINTS = 8


@cache
def _mesh(level: int) -> HtmPixelization:
    return HtmPixelization(level)


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Turn ICRS positions into unit vectors.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        Positions [deg].

    Returns
    -------
    vectors : ndarray, shape (n, 3)
    """
    lon, lat = np.deg2rad(np.atleast_1d(ra).astype(float)), np.deg2rad(np.atleast_1d(dec).astype(float))
    with np.errstate(invalid="ignore"):  # infinite positions become NaN, in silence
        return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def positions(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ICRS ra in [0, 360) and dec [deg] of vectors, shape (n, 3), of any length."""
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    ra = np.rad2deg(np.arctan2(y, x)) % 360.0
    return np.where(ra == 360.0, 0.0, ra), np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def convex_hull(ra: ArrayLike, dec: ArrayLike) -> ConvexPolygon:
    """Smallest convex polygon around positions that lie within one hemisphere.

    Parameters
    ----------
    ra, dec : array_like, shape (n,), n >= 3
        Positions [deg], not all on one great circle.

    Raises
    ------
    ValueError
        If there is no such polygon.
    """
    return _hull(unit_vectors(ra, dec))


def _hull(vectors: NDArray[np.float64]) -> ConvexPolygon:
    """Convex hull of unit vectors, shape (n, 3)."""
    finite = vectors if np.isfinite(vectors).all() else vectors[:0]
    return _hull_of_points([UnitVector3d(*vector) for vector in finite.tolist()])


def _hull_of_points(points: list[UnitVector3d]) -> ConvexPolygon:
    if len(points) < 3:
        message = f"a region needs at least 3 positions, all finite, found {len(points)}"
        raise ValueError(message)
    try:
        return ConvexPolygon.convexHull(points)
    except (RuntimeError, ValueError) as exc:
        message = f"{len(points)} positions enclose no convex region: {exc}"
        raise ValueError(message) from exc


def dilate(region: ConvexPolygon, margin_arcsec: float) -> ConvexPolygon:
    """Polygon that holds every point within ``margin_arcsec`` [arcsec] of a region.

    Each vertex is replaced by a regular polygon around its circle of that radius, so that the result is
    larger than the exact dilation by at most 8 % of the margin.
    """
    vertices = np.array([[v.x(), v.y(), v.z()] for v in region.getVertices()])
    radius = margin_arcsec / ARCSEC_PER_RADIAN / np.cos(np.pi / _RING_POINTS)
    angles = 2.0 * np.pi * np.arange(_RING_POINTS) / _RING_POINTS
    helper = np.where(np.abs(vertices[:, 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    east = np.cross(helper, vertices)
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    north = np.cross(vertices, east)
    offsets = np.cos(angles)[:, None, None] * east + np.sin(angles)[:, None, None] * north
    ring: NDArray[np.float64] = np.cos(radius) * vertices + np.sin(radius) * offsets
    return _hull(ring.reshape(-1, 3))


def encode(region: Region) -> bytes:
    """Bytes of a region, for a database column."""
    return bytes(region.encode())


def decode(data: bytes) -> Region:
    """Region of bytes made by `encode`.

    Raises
    ------
    ValueError
        If the bytes are no region.
    """
    try:
        return Region.decode(data)
    except RuntimeError as exc:
        message = f"{len(data)} bytes are not an encoded region: {exc}"
        raise ValueError(message) from exc


def decode_polygon(data: bytes) -> ConvexPolygon:
    """Polygon of bytes made by `encode`; ValueError if they are none."""
    region = decode(data)
    if not isinstance(region, ConvexPolygon):
        message = f"{len(data)} bytes encode a {type(region).__name__}, expected a convex polygon"
        raise ValueError(message)  # noqa: TRY004  # the bytes are wrong, not their type
    return region


def contains(region: Region, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
    """Whether positions [deg], shape (n,), lie in a region; False where a position is not finite."""
    vectors = unit_vectors(ra, dec)
    finite = np.isfinite(vectors).all(axis=1)
    inside = np.zeros(len(vectors), dtype=bool)
    if finite.any():
        x, y, z = np.ascontiguousarray(vectors[finite].T)
        inside[finite] = region.contains(x, y, z)
    return inside


def htm_pixels(ra: ArrayLike, dec: ArrayLike, level: int = HTM_LEVEL) -> NDArray[np.int64]:
    """HTM pixel of each position.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        Positions [deg], finite.
    level : int, optional
        Depth of the mesh; 20 is about 0.3 arcsec.

    Returns
    -------
    pixels : int64 ndarray, shape (n,)
    """
    index = _mesh(level).index
    vectors = unit_vectors(ra, dec).tolist()
    return np.array([index(UnitVector3d(*vector)) for vector in vectors], dtype=np.int64)


def htm_ranges(region: Region, level: int = HTM_LEVEL, max_ranges: int = 64) -> list[tuple[int, int]]:
    """Ranges of HTM pixels that cover a region: first and last pixel of each, both included.

    The ranges cover more than the region; cut exactly with `contains`.
    """
    ranges = _mesh(level).envelope(region, max_ranges)
    return [(int(begin), int(end) - 1) for begin, end in ranges]


def hull_of_regions(regions: Sequence[Region]) -> ConvexPolygon:
    """Smallest convex polygon around polygons that lie within one hemisphere.

    Raises
    ------
    ValueError
        If there is none, or no region.
    """
    polygons = [region for region in regions if isinstance(region, ConvexPolygon)]
    # The vertices themselves: made anew of their coordinates, some would lie outside by the last digit.
    return _hull_of_points([vertex for polygon in polygons for vertex in polygon.getVertices()])
