"""A map of the sky in tiles: one flat image, north up, for each pixel of a HEALPix grid.

A tile is a tangent-plane projection about the centre of its HEALPix pixel, large enough to hold that pixel
and a margin all round. Each position of the sky belongs to one tile, that of its HEALPix pixel; neighbours
share the pixels within the margin of their border, and more where the upright rectangle exceeds the diamond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from lsst.sphgeom import ConvexPolygon
from numpy.typing import ArrayLike, NDArray

from astra.sky.healpix import MAX_ORDER, healpix_pixels, healpix_points, healpix_ranges
from astra.sky.regions import ARCSEC_PER_RADIAN, convex_hull, dilate

MAX_SIDE_PIXEL = 4600  # of the tiles that are chosen by pixel scale
OVERLAP_PIXEL = 100  # of the same: what a convolution or a resampling at the border of a detector sees
_EDGE_POINTS = 65  # along each side of a HEALPix pixel; its sides bend by far less than a pixel between them
_OUTLINE_GROW_PIXEL = 2  # round a detector: what pokes into it between two of its pixels is wider out there


@dataclass(frozen=True)
class Tile:
    """One tile of the sky.

    Parameters
    ----------
    number : int
        Nested HEALPix number.
    wcs : astropy.wcs.WCS
        Tangent plane, north up, east left; 0-based pixels with ``origin=0``.
    shape : tuple of int
        Rows and columns (ny, nx) [pixel].
    """

    number: int
    wcs: WCS
    shape: tuple[int, int]

    @property
    def region(self) -> ConvexPolygon:
        """Outline on the sky, margins included; great circles are straight in the tangent plane."""
        ny, nx = self.shape
        x, y = np.array([-0.5, nx - 0.5, nx - 0.5, -0.5]), np.array([-0.5, -0.5, ny - 0.5, ny - 0.5])
        return convex_hull(*self.wcs.wcs_pix2world(x, y, 0))


@dataclass(frozen=True)
class SkyTiles:
    """The tiles of the whole sky; `sky_tiles` chooses sensible ones for a pixel scale.

    Parameters
    ----------
    order : int
        Depth of the HEALPix grid: 12 * 4**order tiles.
    pixel_scale_arcsec : float
        Side of a pixel at the centre of a tile [arcsec].
    overlap_arcsec : float
        Least width of the margin round the HEALPix pixel [arcsec].
    """

    order: int
    pixel_scale_arcsec: float
    overlap_arcsec: float

    def __post_init__(self) -> None:
        if not 0 <= self.order <= MAX_ORDER:
            raise ValueError(f"a HEALPix order is from 0 to {MAX_ORDER}, found {self.order}")
        if not (self.pixel_scale_arcsec > 0 and self.overlap_arcsec >= 0):
            message = (
                f"tiles need a positive pixel scale and an overlap that is not negative, found "
                f"{self.pixel_scale_arcsec} and {self.overlap_arcsec} [arcsec]"
            )
            raise ValueError(message)

    @property
    def n_tiles(self) -> int:
        """Number of tiles of the whole sky."""
        return 12 << (2 * self.order)

    def tile(self, number: int) -> Tile:
        """Projection and size of a tile.

        Raises
        ------
        ValueError
            If there is no tile of that number.
        """
        ra, dec = (float(angle) for angle in healpix_points(number, self.order))
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.crval = [ra, dec]
        wcs.wcs.cdelt = [-self.pixel_scale_arcsec / 3600, self.pixel_scale_arcsec / 3600]
        wcs.wcs.crpix = [1.0, 1.0]
        low, high = self._extent(wcs, number)
        wcs.wcs.crpix = 1.0 - low
        wcs.wcs.set()
        nx, ny = (high - low + 1).astype(int).tolist()
        return Tile(int(number), wcs, (ny, nx))

    def _extent(self, wcs: WCS, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """First and last pixel, x and y, counted from the tangent point, of a pixel and its margin."""
        points = np.array(wcs.wcs_world2pix(*_border(number, self.order), 0))
        radius = np.hypot(*points).max() * self.pixel_scale_arcsec / ARCSEC_PER_RADIAN
        # Away from the centre a pixel of the tangent plane covers less of the sky.
        margin = (1.0 + radius**2) * self.overlap_arcsec / self.pixel_scale_arcsec + 0.5
        return np.floor(points.min(axis=1) - margin), np.ceil(points.max(axis=1) + margin)

    def numbers_at(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.int64]:
        """Tile that each position [deg] belongs to, shape (n,)."""
        return healpix_pixels(ra, dec, self.order)

    def inner(self, tile: Tile) -> NDArray[np.bool_]:
        """Tell which pixels of a tile belong to it and to no other, shape ``tile.shape``."""
        ny, nx = tile.shape
        inner = np.empty(tile.shape, dtype=bool)
        columns = np.arange(nx, dtype=float)
        for row in range(ny):
            ra, dec = tile.wcs.wcs_pix2world(columns, np.full(nx, float(row)), 0)
            inner[row] = self.numbers_at(ra, dec) == tile.number
        return inner

    def overlapping(self, wcs: WCS, shape: tuple[int, int]) -> list[int]:
        """Tiles that the pixels of an image belong to: those that its template is made of.

        Parameters
        ----------
        wcs : astropy.wcs.WCS
            Of the image.
        shape : tuple of int
            Rows and columns (ny, nx) [pixel].

        Returns
        -------
        numbers : list of int
            Sorted. A tile that comes within two pixels of the image may be among them.

        Raises
        ------
        ValueError
            If the WCS gives no positions round the image.
        """
        ra, dec = wcs.all_pix2world(*_outline(shape, _OUTLINE_GROW_PIXEL, 1.0), 0)
        if not np.isfinite(ra + dec).all():
            raise ValueError("the WCS of an image must give finite positions all round it, found NaN")
        # A tile that the image touches holds a point of its outline, or lies inside it as a whole.
        found = set(self.numbers_at(ra, dec).tolist())
        inside = _numbers(healpix_ranges(convex_hull(ra[::8], dec[::8]), self.order))
        x, y = wcs.all_world2pix(*healpix_points(inside, self.order), 0, quiet=True)
        within = (x > -0.5) & (y > -0.5) & (x < shape[1] - 0.5) & (y < shape[0] - 0.5)
        return sorted(found | set(inside[within].tolist()))

    def touching(self, wcs: WCS, shape: tuple[int, int]) -> list[int]:
        """Tiles whose rectangles, margins included, an image touches: those that its pixels are added to.

        Parameters and errors as for `overlapping`, whose tiles are among these.
        """
        ra, dec = wcs.all_pix2world(*_outline(shape, 0, max(shape) / 16), 0)
        region = convex_hull(ra, dec)
        candidates = set(self.overlapping(wcs, shape))
        candidates |= set(_numbers(healpix_ranges(dilate(region, self._reach_arcsec()), self.order)).tolist())
        return sorted(n for n in candidates if not self.tile(n).region.isDisjointFrom(region))

    def _reach_arcsec(self) -> float:
        """Upper limit of how far a corner of a tile lies from its HEALPix pixel [arcsec]."""
        side = np.sqrt(4.0 * np.pi / self.n_tiles) * ARCSEC_PER_RADIAN
        return float(1.5 * side + 1.5 * self.overlap_arcsec + 2 * self.pixel_scale_arcsec)


def sky_tiles(
    pixel_scale_arcsec: float, order: int | None = None, overlap_arcsec: float | None = None
) -> SkyTiles:
    """Choose tiles for a pixel scale.

    Parameters
    ----------
    pixel_scale_arcsec : float
        Side of a pixel [arcsec].
    order : int, optional
        Depth of the HEALPix grid; by default the least whose tiles have no side above some 4600 pixels.
    overlap_arcsec : float, optional
        Margin round each HEALPix pixel [arcsec]; by default 100 pixels.
    """
    overlap = OVERLAP_PIXEL * pixel_scale_arcsec if overlap_arcsec is None else overlap_arcsec
    if order is None:
        # The diamond of a HEALPix pixel is as wide as the diagonal of a square of its area.
        diagonal = np.sqrt(2.0 * 4.0 * np.pi / 12.0) * ARCSEC_PER_RADIAN
        side = MAX_SIDE_PIXEL * pixel_scale_arcsec - 2.0 * overlap
        if side <= 0:
            message = (
                f"an overlap of {overlap} arcsec leaves no room in {MAX_SIDE_PIXEL} pixels of a tile; "
                "name the order"
            )
            raise ValueError(message)
        order = int(np.clip(np.ceil(np.log2(diagonal / side)), 0, MAX_ORDER))
    return SkyTiles(order, pixel_scale_arcsec, overlap)


def _border(number: int, order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions along the border of a HEALPix pixel [deg]."""
    step = np.linspace(0.0, 1.0, _EDGE_POINTS)
    zero, one = np.zeros_like(step), np.ones_like(step)
    u, v = np.concatenate([step, one, step, zero]), np.concatenate([zero, step, one, step])
    return healpix_points(number, order, u, v)


def _outline(
    shape: tuple[int, int], grow_pixel: float, step_pixel: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points x, y [pixel] round an image grown by some pixels, in order, corners included."""
    ny, nx = shape
    low, right, top = -0.5 - grow_pixel, nx - 0.5 + grow_pixel, ny - 0.5 + grow_pixel
    x = np.linspace(low, right, int(np.ceil((right - low) / step_pixel)) + 1)
    y = np.linspace(low, top, int(np.ceil((top - low) / step_pixel)) + 1)
    xs = [x, np.full_like(y, right), x[::-1], np.full_like(y, low)]
    ys = [np.full_like(x, low), y, np.full_like(x, top), y[::-1]]
    return np.concatenate(xs), np.concatenate(ys)


def _numbers(ranges: list[tuple[int, int]]) -> NDArray[np.int64]:
    """All numbers of ranges whose ends are included."""
    return np.concatenate([np.arange(first, last + 1) for first, last in ranges] or [np.zeros(0, np.int64)])
