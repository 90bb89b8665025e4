"""Smooth sky background on a mesh.

The model is a mode per cell, median filtered over cells and interpolated by splines (Bertin & Arnouts
1996, A&AS 117, 393), as `sep` computes it, and then the clipped mean of what remains. A mode is made of
medians, and those of integer counts come in steps: they leave up to 0.6 counts a pixel, on SDSS frames some
per cent of the aperture flux of a source of S/N 20.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import sep
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from astra.compiled import compiled, part
from astra.images.exposure import MASK_BAD, MASK_NO_DATA, MASK_SAT, Exposure

UNUSABLE = MASK_BAD | MASK_NO_DATA
CLIP_SIGMA = 3.0
CLIP_ROUNDS = 2
CLIPPED_NOISE_RATIO = 0.9866  # standard deviation of a unit Gaussian cut at 3 sigma
SAMPLED_MESH_PIXEL = 64  # from here on a cell has enough pixels to take a part of them
MIN_CELL_FRACTION = 0.1  # of a cell that must be usable for a mean of its own


@dataclass(frozen=True)
class Background:
    """Sky model of one image.

    Parameters
    ----------
    model : float32 ndarray, shape (ny, nx)
        Sky [image unit].
    level : float
        Its mean [image unit].
    noise : float
        Clipped standard deviation of the sky pixels about the model [image unit].
    """

    model: NDArray[np.float32]
    level: float
    noise: float


def is_unusable(exposure: Exposure) -> NDArray[np.bool_]:
    """Tell which pixels carry no information: bad, without data, not finite, or of no variance; (ny, nx)."""
    unusable: NDArray[np.bool_] = has_no_information(
        exposure.image, exposure.variance, exposure.mask, UNUSABLE
    )
    return unusable


@compiled
def has_no_information(image, variance, mask, bits):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether pixels have any of the bits, or no finite value, or no positive variance; (ny, nx)."""
    ny, nx = image.shape
    unusable = np.empty((ny, nx), dtype=np.bool_)
    for y in range(ny):
        for x in range(nx):
            # A difference from itself is 0 for finite numbers alone.
            known = (image[y, x] - image[y, x] == 0.0) & (variance[y, x] > 0.0)
            unusable[y, x] = ((mask[y, x] & bits) != 0) | (not known)
    return unusable


def fit_background(
    exposure: Exposure,
    *,
    mesh_pixel: int = 64,
    filter_cells: int = 3,
    masked: NDArray[np.bool_] | None = None,
) -> Background:
    """Fit the sky of an exposure.

    Parameters
    ----------
    exposure : Exposure
        Sky included.
    mesh_pixel : int
        Side of a mesh cell [pixel].
    filter_cells : int
        Side of the median filter [cells].
    masked : bool ndarray, shape (ny, nx), optional
        Pixels to leave out beside unusable and saturated ones, for example the footprints of sources.

    Returns
    -------
    background : Background
        Zero where no pixel of the image is usable.
    """
    excluded = has_no_information(exposure.image, exposure.variance, exposure.mask, UNUSABLE | MASK_SAT)
    if masked is not None:
        excluded |= masked
    if excluded.all():
        return Background(np.zeros(exposure.shape, dtype=np.float32), 0.0, 0.0)
    image = np.ascontiguousarray(exposure.image, dtype=np.float32)
    size = min(mesh_pixel, *exposure.shape)
    model, noise = _fit_modes(image, excluded, size, filter_cells)
    noise = _correct_mean((image, model, excluded), noise, size, filter_cells)
    return Background(model, float(model.mean()), noise)


def _fit_modes(
    image: NDArray[np.float32], excluded: NDArray[np.bool_], mesh_pixel: int, filter_cells: int
) -> tuple[NDArray[np.float32], float]:
    """Interpolate between the modes of the cells, and find the noise.

    Every fourth pixel of large cells is enough, for the means of all correct them.
    """
    stride = 2 if mesh_pixel >= SAMPLED_MESH_PIXEL and not excluded[::2, ::2].all() else 1
    sample = np.ascontiguousarray(image[::stride, ::stride])
    masked = np.ascontiguousarray(excluded[::stride, ::stride])
    size = min(mesh_pixel // stride, *sample.shape)
    fitted = sep.Background(sample, mask=masked, bw=size, bh=size, fw=filter_cells, fh=filter_cells)
    model: NDArray[np.float32] = fitted.back(dtype=np.float32)
    if stride > 1:
        model = double_samples(model, np.empty(image.shape, dtype=np.float32))
    return model, float(fitted.globalrms)


@compiled
def double_samples(sample, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Interpolate linearly between every second pixel along each axis; return what was filled."""
    nx = out.shape[1]
    half, line = np.float32(0.5), np.empty(sample.shape[1], dtype=np.float32)
    for y in range(out.shape[0]):
        upper, lower = sample[y // 2], sample[min((y + 1) // 2, len(sample) - 1)]
        for x in range(len(line)):
            line[x] = half * (upper[x] + lower[x])
        for x in range(len(line)):
            out[y, 2 * x] = line[x]
        for x in range(len(line) - 1):
            out[y, 2 * x + 1] = half * (line[x] + line[x + 1])
        if nx % 2 == 0:
            out[y, nx - 1] = line[len(line) - 1]
    return out


def _correct_mean(
    planes: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]],
    noise: float,
    mesh_pixel: int,
    filter_cells: int,
) -> float:
    """Add to the model the clipped means in the cells of the image less it; return the noise.

    ``planes`` are image, model and exclusion.
    """
    rows, columns = (_Axis.make(n, mesh_pixel) for n in planes[0].shape)
    mean = np.zeros((rows.n_cells, columns.n_cells))
    area = np.outer(np.bincount(rows.cell), np.bincount(columns.cell))
    for _ in range(CLIP_ROUNDS):
        count, total, square = sum_cells(planes, mean, rows, columns, CLIP_SIGMA * noise)
        step = np.where(count > MIN_CELL_FRACTION * area, total / np.maximum(count, 1), 0.0)
        mean += median_filter(step, size=filter_cells, mode="nearest")
        variance = float(square.sum()) / max(float(count.sum()), 1.0)
        noise = max(float(np.sqrt(variance)) / CLIPPED_NOISE_RATIO, float(np.finfo(np.float32).tiny))
    add_mesh(planes[1], mean, rows, columns)
    return noise


class _Axis(NamedTuple):
    """Cells along one axis of n pixels.

    Cell k is pixels ``edges[k]`` to before ``edges[k + 1]``, and ``cell`` (n,) is where a pixel lies; ``low``
    (n,) and ``weight`` (n,) interpolate linearly between the middles of the cells ``low`` and ``low`` + 1,
    constant beyond the outermost.
    """

    n_cells: int
    edges: NDArray[np.int64]
    cell: NDArray[np.int64]
    low: NDArray[np.int64]
    weight: NDArray[np.float64]

    @classmethod
    def make(cls, n: int, mesh_pixel: int) -> _Axis:
        """Divide n pixels into cells of about ``mesh_pixel``."""
        n_cells = max(n // mesh_pixel, 1)
        edges = np.linspace(0, n, n_cells + 1).astype(np.int64)
        pixels = np.arange(n)
        place = np.interp(pixels, (edges[:-1] + edges[1:] - 1) / 2, np.arange(n_cells))
        low = np.clip(place.astype(np.int64), 0, max(n_cells - 2, 0))
        cell = np.searchsorted(edges, pixels, side="right") - 1
        return cls(n_cells, edges, cell, low, place - low)


@part
def fill_line(mesh, low, weight, line):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Interpolate the mesh to one row of pixels; the last item of ``line`` repeats the one before."""
    n_rows, n_columns = mesh.shape
    for c in range(n_columns):
        line[c] = mesh[low, c] + weight * (mesh[min(low + 1, n_rows - 1), c] - mesh[low, c])
    line[n_columns] = line[n_columns - 1]


@part(fastmath={"reassoc", "contract"})
def sum_run(image, model, excluded, expected, limit):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count, sum and sum of squares along a part of a row; the order of the sums is free, for speed."""
    count, total, square = 0, np.float32(0.0), np.float32(0.0)
    for k in range(len(image)):
        rest = image[k] - model[k] - expected[k]
        counts = (abs(rest) < limit) & (not excluded[k])
        rest = rest if counts else np.float32(0.0)
        count += counts
        total += rest
        square += rest * rest
    return count, total, square


@compiled
def sum_cells(planes, mesh, rows, columns, limit):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count, sum and sum of squares in the cells of what remains of an image less model and mesh.

    ``planes`` are image, model and exclusion; what exceeds the limit does not count.
    """
    image, model, excluded = planes
    count, total, square = np.zeros(mesh.shape), np.zeros(mesh.shape), np.zeros(mesh.shape)
    line, expected = np.empty(mesh.shape[1] + 1), np.empty(image.shape[1], dtype=np.float32)
    for y in range(image.shape[0]):
        j = rows.cell[y]
        fill_line(mesh, rows.low[y], rows.weight[y], line)
        for x in range(image.shape[1]):
            low = columns.low[x]
            expected[x] = line[low] + columns.weight[x] * (line[low + 1] - line[low])
        for i in range(mesh.shape[1]):
            run = slice(columns.edges[i], columns.edges[i + 1])
            one, values, squares = sum_run(
                image[y, run], model[y, run], excluded[y, run], expected[run], np.float32(limit)
            )
            count[j, i] += one
            total[j, i] += values
            square[j, i] += squares
    return count, total, square


@compiled
def add_mesh(model, mesh, rows, columns):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add the interpolated mesh to the model, in place."""
    line = np.empty(mesh.shape[1] + 1)
    for y in range(model.shape[0]):
        fill_line(mesh, rows.low[y], rows.weight[y], line)
        for x in range(model.shape[1]):
            low = columns.low[x]
            model[y, x] += line[low] + columns.weight[x] * (line[low + 1] - line[low])


def subtract_background(exposure: Exposure, background: Background, *, overwrite: bool = False) -> Exposure:
    """Return the exposure less its sky; the variance, which the sky's photons made, stays.

    With ``overwrite`` the image of the given exposure is changed.
    """
    out = exposure.image if overwrite else None
    return exposure.replace(image=np.subtract(exposure.image, background.model, out=out))
