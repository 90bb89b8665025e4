"""The part of a tile of the sky that images cover, on the tile's own pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.sky.sky_tiles import Tile
from astra.sky.visit_regions import EDGE_PARTS, image_border, wcs_to_sky

MARGIN_PIXEL = 32  # round what is covered: the weight of a template falls towards its border


@dataclass(frozen=True)
class TileFrame:
    """A rectangle of whole pixels of a tile.

    Parameters
    ----------
    corner : tuple of int
        First row and column (y, x) in the tile [pixel].
    shape : tuple of int
        Rows and columns (ny, nx) [pixel].
    wcs : astropy.wcs.WCS
        That of the tile, with the corner as its first pixel.
    """

    corner: tuple[int, int]
    shape: tuple[int, int]
    wcs: WCS


def covered_frame(
    tile: Tile, images: Iterable[tuple[WCS, tuple[int, int]]], margin_pixel: int = MARGIN_PIXEL
) -> TileFrame | None:
    """Return the least frame of a tile that holds images, as far as they lie on it.

    Parameters
    ----------
    tile : Tile
        The tile.
    images : iterable of (WCS, shape)
        With shapes ``(ny, nx)`` [pixel].
    margin_pixel : int, optional
        Round what the images cover, within the tile [pixel].

    Returns
    -------
    frame : TileFrame or None
        None if no image reaches the tile.
    """
    boxes = [box for wcs, shape in images if (box := _box_on(tile, wcs, shape)) is not None]
    if not boxes:
        return None
    limits = np.array([tile.shape[1], tile.shape[0]])
    low = np.maximum(np.min([box[0] for box in boxes], axis=0) - margin_pixel, 0)
    high = np.minimum(np.max([box[1] for box in boxes], axis=0) + margin_pixel, limits - 1)
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    wcs = tile.wcs.deepcopy()
    wcs.wcs.crpix = wcs.wcs.crpix - low
    return TileFrame((y0, x0), (y1 - y0 + 1, x1 - x0 + 1), wcs)


def _box_on(
    tile: Tile, wcs: WCS, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """First and last pixel (x, y) of an image on a tile; None if it lies beside it, or behind the plane."""
    ra, dec = wcs_to_sky(wcs)(*image_border(shape, 1.0, EDGE_PARTS))
    x, y = tile.wcs.all_world2pix(ra, dec, 0)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    low = np.floor([x.min(), y.min()]).astype(np.int64)
    high = np.ceil([x.max(), y.max()]).astype(np.int64)
    limits = np.array([tile.shape[1], tile.shape[0]])
    return None if (high < 0).any() or (low >= limits).any() else (low, high)
