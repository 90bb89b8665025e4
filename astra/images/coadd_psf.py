"""The point-spread function of an image that is a mean of others.

It is the mean of the PSFs of those inputs that contribute at a place, by their weights there (Jee & Tyson
2011, PASP 123, 596; Bosch et al. 2018, PASJ 70, S5). Where an input ends, it changes at once, as no
polynomial would. Making the PSF of a resampled image from that of its input is here as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from astra.images.psf import Psf, polynomial_powers
from astra.images.spatial import StampFunction, frame_geometry, spatial_terms

if TYPE_CHECKING:
    from astra.images.warp import PixelMap

CELL_PIXEL = 16
SAME_SCALE = 0.02  # relative: below this the stamps keep their side


@dataclass(frozen=True)
class CoaddPsf(Psf):
    """Mean of the PSFs of several inputs, by weights that are known at the centres of the cells of a grid.

    ``coefficients`` are those of the first input, then of the second, and so on: as many stamps for each as
    ``polynomial_powers(order)`` has, all in the same normalised coordinates.

    Parameters
    ----------
    weights : float32 ndarray, shape (n_inputs, n_y, n_x)
        Weight of each input in each cell; not negative. Between the centres of the cells it is linear. Only
        the ratios count, but where no input is: there the mean over the frame holds.
    cell_pixel : int
        Side of a cell [pixel].
    """

    weights: NDArray[np.float32] = None  # type: ignore[assignment]  # a default must follow those of Psf
    cell_pixel: int = CELL_PIXEL

    def __post_init__(self) -> None:
        if self.weights is None or self.weights.ndim != 3 or not len(self.weights):
            message = "the PSF of a coadd needs weights of shape (n_inputs, n_y, n_x), with one input or more"
            raise ValueError(message)
        self._require_stamps(len(self.weights) * len(polynomial_powers(self.order)))

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return len(self.weights)

    def shares(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Share of each input at positions [pixel], shape (..., n_inputs); their sum is 1."""
        rows, along_y = self._cells(y, self.weights.shape[1])
        columns, along_x = self._cells(x, self.weights.shape[2])
        found = np.zeros((*np.broadcast(x, y).shape, self.n_inputs))
        for row, up in ((rows[0], 1.0 - along_y), (rows[1], along_y)):
            for column, right in ((columns[0], 1.0 - along_x), (columns[1], along_x)):
                found += np.moveaxis(self.weights[:, row, column], 0, -1) * (up * right)[..., None]
        total = found.sum(axis=-1, keepdims=True)
        everywhere = self.weights.mean(axis=(1, 2), dtype=np.float64)
        everywhere /= everywhere.sum()
        shares: NDArray[np.float64] = np.where(total > 0, found / np.where(total > 0, total, 1.0), everywhere)
        return shares

    def _cells(
        self, position: ArrayLike, n_cells: int
    ) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]:
        """Cells along an axis whose centres a position lies between, and how far it is to the second."""
        place = (np.asarray(position, dtype=np.float64) + 0.5) / self.cell_pixel - 0.5
        first = np.clip(np.floor(place), 0, max(n_cells - 2, 0)).astype(np.int64)
        second = np.minimum(first + 1, n_cells - 1)
        return (first, second), np.clip(place - first, 0.0, 1.0)

    def design(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Values of the terms of all inputs at positions [pixel], shape (..., n_inputs * n_terms)."""
        shares, terms = self.shares(x, y), super().design(x, y)
        design = shares[..., :, None] * terms[..., None, :]
        return design.reshape(*design.shape[:-2], design.shape[-2] * design.shape[-1])

    def inputs(self) -> list[Psf]:
        """Return the PSF of each input, by itself."""
        parts = np.split(self.coefficients, self.n_inputs)
        geometry = (self.order, self.x_centre, self.y_centre, self.scale, self.oversampling)
        return [Psf(part, *geometry) for part in parts]


def cell_grid(shape: tuple[int, int], cell_pixel: int = CELL_PIXEL) -> tuple[int, int]:
    """Rows and columns of the grid of cells that covers a frame (ny, nx) [pixel]."""
    return -(-shape[0] // cell_pixel), -(-shape[1] // cell_pixel)


def cell_centres(
    shape: tuple[int, int], cell_pixel: int = CELL_PIXEL
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions x, y [pixel] of the centres of the cells, each of the shape of the grid."""
    rows, columns = (cell_pixel * np.arange(n) + (cell_pixel - 1) / 2 for n in cell_grid(shape, cell_pixel))
    rows, columns = np.minimum(rows, shape[0] - 1), np.minimum(columns, shape[1] - 1)
    x, y = np.meshgrid(columns, rows)
    return x, y


def combine_psfs(
    psfs: Sequence[Psf],
    weights: NDArray[np.float32],
    shape: tuple[int, int],
    cell_pixel: int = CELL_PIXEL,
) -> CoaddPsf:
    """Mean of PSFs of a common frame.

    Parameters
    ----------
    psfs : sequence of Psf
        In the pixels of the frame.
    weights : float32 ndarray, shape (len(psfs), n_y, n_x)
        Weight of each in each cell of `cell_grid`.
    shape : tuple of int
        Frame (ny, nx) [pixel].
    cell_pixel : int, optional
        Side of a cell [pixel].

    Returns
    -------
    psf : CoaddPsf
        Of the largest order and the largest stamps among the inputs.
    """
    order, size = max(psf.order for psf in psfs), max(psf.size for psf in psfs)
    geometry = frame_geometry(shape)
    form = (order, size, geometry)
    parts = [
        _on_frame(psf, cell_pixel * np.argwhere(covered > 0).astype(np.float64), cell_pixel, form)
        for psf, covered in zip(psfs, weights, strict=True)
    ]
    x_centre, y_centre, scale = geometry
    return CoaddPsf(
        np.concatenate(parts), order, x_centre, y_centre, scale, weights=weights, cell_pixel=cell_pixel
    )


def _on_frame(
    psf: Psf,
    corners: NDArray[np.float64],
    cell_pixel: int,
    form: tuple[int, int, tuple[float, float, float]],
) -> NDArray[np.float64]:
    """Coefficients in the coordinates of a frame, exact within the cells that a PSF is used in."""
    order, size, geometry = form
    corners = corners if len(corners) else np.zeros((1, 2))
    (y0, x0), (y1, x1) = corners.min(axis=0), corners.max(axis=0) + cell_pixel
    nodes = np.linspace(0.0, 1.0, order + 2)
    x, y = (axis.ravel() for axis in np.meshgrid(x0 + (x1 - x0) * nodes, y0 + (y1 - y0) * nodes))
    return _fit_stamps(lambda u, v: pad_stamp(psf.stamp(u, v), size), x, y, order, geometry)


def _fit_stamps(
    stamp_at: StampFunction,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    order: int,
    geometry: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Coefficients of the polynomial of stamps through those at some places [pixel]."""
    stamps = np.array([stamp_at(*place) for place in zip(x.tolist(), y.tolist(), strict=True)])
    inverse = np.linalg.pinv(spatial_terms(x, y, order, geometry).T)
    coefficients: NDArray[np.float64] = np.tensordot(inverse, stamps, axes=1)
    return coefficients


def pad_stamp(stamp: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Put a stamp into the middle of a larger one, zero outside; both have odd sides."""
    return np.pad(stamp, (size - stamp.shape[0]) // 2)


def merge_psfs(psfs: Sequence[CoaddPsf], shares: NDArray[np.float32], shape: tuple[int, int]) -> CoaddPsf:
    """Mean of coadd PSFs of a common frame, by the share (n, n_y, n_x) of each in each cell."""
    inputs = [part for psf in psfs for part in psf.inputs()]
    x, y = cell_centres(shape, psfs[0].cell_pixel)
    weights = [
        share[None] * np.moveaxis(psf.shares(x, y), -1, 0) for psf, share in zip(psfs, shares, strict=True)
    ]
    # An input without weight here would only cost time.
    stack = np.concatenate(weights).astype(np.float32)
    kept = stack.max(axis=(1, 2)) > 0
    kept = kept if kept.any() else ~kept
    return combine_psfs([p for p, k in zip(inputs, kept, strict=True) if k], stack[kept], shape)


def warp_psf(psf: Psf, pixel_map: PixelMap) -> Psf:
    """PSF of a warped image, in pixels of the output frame; that of a coadd stays one.

    Parameters
    ----------
    psf : Psf or CoaddPsf
        Of the input.
    pixel_map : astra.images.warp.PixelMap
        From the output frame into the input.
    """
    return _warp_coadd_psf(psf, pixel_map) if isinstance(psf, CoaddPsf) else _warp_plain_psf(psf, pixel_map)


def warp_to_coadd_psf(psf: Psf, pixel_map: PixelMap) -> CoaddPsf:
    """PSF of a warped image as that of a coadd, be it of one input."""
    warped = warp_psf(psf, pixel_map)
    if isinstance(warped, CoaddPsf):
        return warped
    weights = np.ones((1, *cell_grid(pixel_map.shape)), dtype=np.float32)
    return combine_psfs([warped], weights, pixel_map.shape)


def _warp_coadd_psf(psf: CoaddPsf, pixel_map: PixelMap) -> CoaddPsf:
    """Warp the PSF of each input that the output frame sees."""
    x, y = cell_centres(pixel_map.shape, psf.cell_pixel)
    shares = np.moveaxis(psf.shares(*pixel_map.positions(x, y)), -1, 0).astype(np.float32)
    seen = shares.max(axis=(1, 2)) > 0
    warped = [_warp_plain_psf(p, pixel_map) for p, is_seen in zip(psf.inputs(), seen, strict=True) if is_seen]
    return combine_psfs(warped, shares[seen], pixel_map.shape, psf.cell_pixel)


def _warp_plain_psf(psf: Psf, pixel_map: PixelMap) -> Psf:
    order, (ny, nx) = max(psf.order, 1), pixel_map.shape
    nodes = np.linspace(0.0, 1.0, order + 2)
    x, y = (axis.ravel() for axis in np.meshgrid((nx - 1) * nodes, (ny - 1) * nodes))
    stamp_at, geometry = _warped_stamp(psf, pixel_map), frame_geometry(pixel_map.shape)
    return Psf(_fit_stamps(stamp_at, x, y, order, geometry), order, *geometry)


def _warped_size(psf: Psf, pixel_map: PixelMap) -> int:
    """Side of the stamps that hold what those of the input hold [pixel], odd."""
    areas = pixel_map.jacobian[np.isfinite(pixel_map.jacobian) & (pixel_map.jacobian > 0)]
    scale = float(np.sqrt(np.median(areas))) if len(areas) else 1.0
    half = psf.size // 2
    return 2 * (half if abs(scale - 1.0) < SAME_SCALE else int(np.ceil(half / scale - 0.1))) + 1


def _warped_stamp(psf: Psf, pixel_map: PixelMap) -> StampFunction:
    """Make the function of position that draws a warped PSF."""
    size = _warped_size(psf, pixel_map)

    def stamp_at(x: float, y: float) -> NDArray[np.float64]:
        probe_x, probe_y = np.array([x, x + 1.0, x]), np.array([y, y, y + 1.0])
        found_x, found_y = pixel_map.positions(probe_x, probe_y)
        matrix = np.array(
            [
                [found_y[2] - found_y[0], found_y[1] - found_y[0]],
                [found_x[2] - found_x[0], found_x[1] - found_x[0]],
            ]
        )
        middle, centre = np.full(2, float(psf.size // 2)), np.full(2, float(size // 2))
        warped: NDArray[np.float64] = ndimage.affine_transform(
            psf.stamp(found_x[0], found_y[0]), matrix, middle - matrix @ centre, (size, size), order=3
        )
        unit: NDArray[np.float64] = warped / warped.sum()
        return unit

    return stamp_at
