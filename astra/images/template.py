"""The template of a detector, out of the tiles of the sky that it lies on.

Each tile is resampled onto the pixels of the detector; where tiles overlap, the mean is taken by inverse
variance, and the weight of a tile falls to zero towards its border, so that there is no seam. Overlapping
tiles hold the same exposures: their noise is taken to be one and the same, and averages out not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import DataError, NoOverlapError
from astra.images.coadd_psf import CELL_PIXEL, CoaddPsf, cell_grid, merge_psfs, warp_to_coadd_psf
from astra.images.coadd_warps import require_calibrated
from astra.images.exposure import Exposure, PhotoCalib, VisitInfo
from astra.images.subtraction import repair
from astra.images.template_kernel import add_tile, finish_mean
from astra.images.warp import FOURIER_SIDE, PixelMap, Planes, make_pixel_map, warp_noise_power, warp_planes

if TYPE_CHECKING:
    from astropy.wcs import WCS

PSF_STEP_PIXEL = 128  # between the nodes of the map that warps a PSF
N_EDGE_POINTS = 17  # along each side of a tile
BOX_MARGIN_PIXEL = 8  # for how a distortion may bend an edge between those points
TAPER_PIXEL = 64.0  # of a tile, over which its weight rises from its border
BORDER_PIXEL = 3.0  # of a tile without weight: the spline knows too little there
CUT_MARGIN_PIXEL = (
    24  # of a tile round what the detector sees: what the spline and a repair look at, and more
)


def make_template(tiles: Iterable[Exposure], wcs: WCS, shape: tuple[int, int], info: VisitInfo) -> Exposure:
    """Resample coadds of sky tiles onto the pixels of a detector and merge them.

    Parameters
    ----------
    tiles : iterable of Exposure
        Coadds [nJy] with WCS and PSF, in the band of ``info``; those that the detector does not touch are
        ignored. Each is let go before the next is asked for, and only the part that the detector sees is
        looked at: planes may be mapped from a file, in any byte order.
    wcs : astropy.wcs.WCS
        Of the detector.
    shape : tuple of int
        Rows and columns (ny, nx) of the detector [pixel].
    info : VisitInfo
        Whose template it is: the template has it as its own.

    Returns
    -------
    template : Exposure, shape ``shape``
        Image [nJy], variance (the white equivalent, as in `astra.images.warp`), the mask bits that any tile
        has there, PSF and noise power. NaN and NO_DATA where there is no tile.

    Raises
    ------
    DataError
        If a tile is not in nJy, lacks a WCS or a PSF, or is of another band.
    NoOverlapError
        If no tile has a good pixel on the detector.
    """
    merged, n_tiles = _Merge(wcs, shape), 0
    used = []
    for n_tiles, tile in enumerate(tiles, 1):  # noqa: B007 - the number is that of all
        _require_usable(tile, info)
        if merged.add(tile):
            used.append((tile.gain, tile.photo_calib, tile.metadata))
        del tile  # before the next is read
    if not used:
        message = (
            f"none of {n_tiles} template tiles has a good pixel on visit {info.visit}, "
            f"detector {info.detector}"
        )
        raise NoOverlapError(message, n_tiles=n_tiles, visit=info.visit, detector=info.detector)
    image, variance, mask = merged.planes()
    calib = max((calib.njy_per_count_err for _, calib, _ in used if calib), default=0.0)
    return Exposure(
        image,
        variance,
        mask,
        info,
        "nJy",
        used[0][0],
        wcs,
        merged.psf(),
        PhotoCalib(1.0, calib),
        _metadata([metadata for _, _, metadata in used], merged),
        merged.noise_power(),
    )


def _require_usable(tile: Exposure, info: VisitInfo) -> None:
    """Refuse a tile that is not calibrated, or of another band than the exposure."""
    require_calibrated(tile, f"tile of band {tile.info.band}")
    if tile.info.band != info.band:
        message = (
            f"the template of visit {info.visit}, detector {info.detector} must be in its band {info.band}, "
            f"found tiles in {tile.info.band}"
        )
        raise DataError(message, visit=info.visit, detector=info.detector)


def _metadata(tiles: Sequence[dict[str, Any]], merged: _Merge) -> dict[str, Any]:
    """Count the tiles, average their aperture corrections, and say what one count is if they do."""
    corrections = [float(metadata.get("APCORR", 1.0)) for metadata in tiles]
    scales = [metadata["NJYADU"] for metadata in tiles if "NJYADU" in metadata]
    scale = {"NJYADU": scales[0]} if len(scales) == len(tiles) else {}
    return {"NTILE": len(tiles), "APCORR": merged.mean(corrections), **scale}


class _Merge:
    """Weighted sums over the tiles of a detector."""

    def __init__(self, wcs: WCS, shape: tuple[int, int]) -> None:
        self.wcs, self.shape = wcs, shape
        self._total, self._image, self._sigma = (np.zeros(shape, dtype=np.float32) for _ in range(3))
        self._mask = np.zeros(shape, dtype=np.uint32)
        self._psfs: list[CoaddPsf] = []
        self._powers: list[NDArray[np.float64]] = []
        self._cells: list[NDArray[np.float32]] = []

    def add(self, tile: Exposure) -> bool:
        """Add a tile; tell whether it has a good pixel here."""
        part = tile_box(tile, self.wcs, self.shape)
        if part is None or tile.psf is None:
            return False
        (y0, y1), (x0, x1) = ((side.start, side.stop) for side in part)
        pixel_map = make_pixel_map(self.wcs, tile.wcs, (y1 - y0, x1 - x0), origin=(y0, x0))
        planes = warp_planes(*_cut(tile, pixel_map))
        cells = np.zeros(cell_grid(self.shape), dtype=np.float32)
        share, sums = _share(pixel_map, tile.shape), (self._total, self._image, self._sigma, self._mask)
        add_tile(planes, share, pixel_map.step, (y0, x0), sums, (cells, CELL_PIXEL))
        if not cells.any():
            return False
        self._cells.append(cells)
        # The PSF is that of a frame: its map has few nodes, between which it is as straight as can be.
        whole = make_pixel_map(self.wcs, tile.wcs, self.shape, PSF_STEP_PIXEL)
        self._psfs.append(warp_to_coadd_psf(tile.psf, whole))
        self._powers.append(warp_noise_power(pixel_map, FOURIER_SIDE, tile.noise_power))
        return True

    def planes(self) -> Planes:
        """Image, variance and mask of the mean."""
        finish_mean(self._total, self._image, self._sigma, self._mask)
        return self._image, self._sigma, self._mask

    def psf(self) -> CoaddPsf:
        """Mean PSF, by the weights of the tiles in each cell."""
        cells = np.array(self._cells)
        total = cells.sum(axis=0)
        shares = (cells / np.where(total > 0, total, 1)).astype(np.float32)
        return merge_psfs(self._psfs, shares, self.shape)

    def mean(self, values: Sequence[float]) -> float:
        """Mean of a quantity of the tiles that were added, by their weights over the detector."""
        return float(np.average(values, weights=[cells.sum(dtype=np.float64) for cells in self._cells]))

    def noise_power(self) -> NDArray[np.float64]:
        """Mean spectrum of the noise."""
        weights = [cells.sum(dtype=np.float64) for cells in self._cells]
        power: NDArray[np.float64] = np.average(self._powers, axis=0, weights=weights)
        return power


def tile_box(tile: Exposure, wcs: WCS, shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of a detector that a tile may have pixels on, whole cells of its PSF; None if none."""
    ny, nx = tile.shape
    along = np.linspace(0.0, 1.0, N_EDGE_POINTS)
    zero, one = np.zeros_like(along), np.ones_like(along)
    x = (nx - 1) * np.concatenate([along, one, along, zero])
    y = (ny - 1) * np.concatenate([zero, along, one, along])
    ra, dec = tile.wcs.all_pix2world(x, y, 0)  # type: ignore[union-attr]
    places = wcs.all_world2pix(ra, dec, 0, quiet=True)
    if not np.isfinite(places).all():  # far off, a distortion may have no answer: then look everywhere
        return slice(0, shape[0]), slice(0, shape[1])
    sides = []
    for place, length in zip(places[::-1], shape, strict=True):
        low, high = np.floor(place.min()) - BOX_MARGIN_PIXEL, np.ceil(place.max()) + BOX_MARGIN_PIXEL
        first = int(np.clip(low, 0, length)) // CELL_PIXEL * CELL_PIXEL
        stop = min(-(-int(np.clip(high, 0, length)) // CELL_PIXEL) * CELL_PIXEL, length)
        if high < 0 or low >= length or stop <= first:
            return None
        sides.append(slice(first, stop))
    return sides[0], sides[1]


def _cut(tile: Exposure, pixel_map: PixelMap) -> tuple[Exposure, PixelMap]:
    """Cut out of a tile what a map sees of it, defects repaired, and the map into that."""
    sides = []
    for place, length in zip((pixel_map.y, pixel_map.x), tile.shape, strict=True):
        low, high = (0.0, length) if np.isnan(place).any() else (place.min(), place.max() + 1)
        first = int(np.clip(np.floor(low) - CUT_MARGIN_PIXEL, 0, length - 1))
        sides.append(slice(first, int(np.clip(np.ceil(high) + CUT_MARGIN_PIXEL, first + 1, length))))
    part = sides[0], sides[1]
    image, variance, mask = (
        np.ascontiguousarray(plane[part], dtype=kind)
        for plane, kind in ((tile.image, np.float32), (tile.variance, np.float32), (tile.mask, np.uint32))
    )
    moved = replace(pixel_map, x=pixel_map.x - part[1].start, y=pixel_map.y - part[0].start)
    return repair(tile.replace(image=image, variance=variance, mask=mask)), moved


def _share(pixel_map: PixelMap, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Weight of a tile at the nodes of a map: 1, but towards its border less, to nothing and below."""
    x, y = pixel_map.x, pixel_map.y
    inside = np.minimum(np.minimum(x, shape[1] - 1 - x), np.minimum(y, shape[0] - 1 - y)) - BORDER_PIXEL
    share: NDArray[np.float32] = np.nan_to_num(inside / TAPER_PIXEL, nan=-1e3).astype(np.float32)
    return share
