"""PSF fluxes of all sources of an image at once: each without the light of its neighbours.

A source is fitted on the pixels that no neighbour owns, as in `astra.images.fluxes`, but what falls there of
the neighbours is part of the model: one linear system for all fluxes, of which only sources that overlap
know each other. It is solved by relaxation, so that a chain of blends may be as long as the image; the errors
come from the inverse of the system of a source and its neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astra.compiled import compiled, part
from astra.images.fluxes import MIN_PSF_FRACTION, PsfFluxes, fit_size
from astra.images.moments import Pixels
from astra.images.psf import Psf
from astra.images.stamp_fit import eliminate
from astra.images.stamps import add_row, draw_psf, make_psf_splines, psf_design

FloatArray = NDArray[np.float64]

WING_SIGMA = 0.05  # of a pixel's noise: wings beyond the fitted box are drawn if they can be as bright
MAX_SWEEPS = 50
TOLERANCE_SIGMA = 1e-3  # of the flux: change in the last sweep
MIN_COUPLING = 1e-3  # of a neighbour's flux that is added to a source: with less it adds nothing to the error
MAX_GROUP = 16  # sources in the inverse that gives an error


class Stamps(NamedTuple):
    """Images of sources at unit flux, one after the other.

    Parameters
    ----------
    values : float32 ndarray, shape (n_values,)
        Square stamps, row by row.
    first : int64 ndarray, shape (n,)
        Index of the first value of each stamp.
    half : int64 ndarray, shape (n,)
        Its half-width [pixel].
    columns, rows : int64 ndarray, shape (n,)
        Its central pixel [pixel].
    """

    values: NDArray[np.float32]
    first: NDArray[np.int64]
    half: NDArray[np.int64]
    columns: NDArray[np.int64]
    rows: NDArray[np.int64]


class Links(NamedTuple):
    """Which sources see which others.

    Parameters
    ----------
    start : int64 ndarray, shape (n + 1,)
        The neighbours of source k are ``other[start[k]:start[k + 1]]``, in increasing order.
    other : int64 ndarray, shape (n_links,)
        Index of the neighbour.
    product : float64 ndarray, shape (n_links,)
        Sum of the product of both stamps over the pixels of the source.
    noise : float64 ndarray, shape (n_links,)
        Sum of the same times the variance, over the pixels of both.
    """

    start: NDArray[np.int64]
    other: NDArray[np.int64]
    product: FloatArray
    noise: FloatArray


def fit_blended_fluxes(
    pixels: Pixels, labels: NDArray[np.int64], positions: FloatArray, psf: Psf
) -> PsfFluxes:
    """Fit the fluxes of point sources at given positions together, all pixels with equal weight.

    Parameters
    ----------
    pixels, labels, positions, psf
        See `astra.images.fluxes.fit_psf_fluxes`; the sources are all that there are on the image.

    Returns
    -------
    fluxes : PsfFluxes
        NaN where the fit failed. Of a source without neighbours they are those of `fit_psf_fluxes`.
    """
    box = fit_size(psf) // 2
    stamps = make_stamps(pixels, positions, psf, box)
    start, other = find_links(stamps, box)
    links = Links(start, other, np.zeros(len(other)), np.zeros(len(other)))
    own = add_products(pixels, labels, stamps, links, box)
    found = own[:, 0] >= MIN_PSF_FRACTION * own[:, 3]
    flux = relax(own, links, found)
    error = propagate_noise(own, links, found)
    chi2, n_data = sum_residuals(pixels, labels, stamps, links, (flux, box))
    for values in (flux, error, chi2):
        values[~found] = np.nan
    return PsfFluxes(flux, error, chi2, np.where(found, n_data, 0), ~found)


def make_stamps(pixels: Pixels, positions: FloatArray, psf: Psf, box: int) -> Stamps:
    """Draw the sources at positions (n, 2) to a half-width of ``box``, the bright ones with their wings."""
    centres = np.rint(positions).astype(np.int64)
    columns, rows = np.ascontiguousarray(centres[:, 0]), np.ascontiguousarray(centres[:, 1])
    half = np.where(_have_wings(pixels, columns, rows, psf, box), psf.size // 2, box)
    end = np.cumsum((2 * half + 1) ** 2)
    values = np.empty(int(end[-1]) if len(end) else 0, dtype=np.float32)
    stamps = Stamps(values, end - (2 * half + 1) ** 2, half, columns, rows)
    fill_stamps(make_psf_splines(psf), psf_design(psf, positions[:, 0], positions[:, 1]), positions, stamps)
    return stamps


def _have_wings(
    pixels: Pixels, columns: NDArray[np.int64], rows: NDArray[np.int64], psf: Psf, box: int
) -> NDArray[np.bool_]:
    """Tell which sources are so bright in their central pixel that they show beyond the box."""
    ny, nx = pixels.owner.shape
    middle = np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)
    stamp = psf.stamp((nx - 1) / 2, (ny - 1) / 2)
    outside = np.maximum(*np.abs(np.indices(stamp.shape) - psf.size // 2)) > box
    wing = float(np.abs(stamp[outside]).max(initial=0.0)) / float(stamp.max())
    with np.errstate(invalid="ignore"):
        bright: NDArray[np.bool_] = wing * pixels.image[middle] > WING_SIGMA * np.sqrt(
            pixels.variance[middle]
        )
    return bright


@compiled
def fill_stamps(splines, design, positions, stamps):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Draw the PSF into each stamp."""
    plane = np.empty(splines.coefficients.shape[1:])
    drawn = np.empty(0)
    for k in range(len(positions)):
        side = 2 * stamps.half[k] + 1
        if side * side != len(drawn):
            drawn = np.empty(side * side)
        draw_psf(splines, design[k], positions[k], plane, drawn.reshape((side, side)))
        for p in range(side * side):
            stamps.values[stamps.first[k] + p] = drawn[p]


def find_links(stamps: Stamps, box: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List for each source the others whose stamps reach into its box: ``start`` and ``other`` of `Links`."""
    n = len(stamps.half)
    if n < 2:
        return np.zeros(n + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
    centres = np.stack([stamps.columns, stamps.rows], axis=-1)
    reach = box + int(stamps.half.max())
    pairs = cKDTree(centres).query_pairs(reach + 0.5, p=np.inf, output_type="ndarray")
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    apart = np.abs(centres[pairs[:, 0]] - centres[pairs[:, 1]]).max(axis=1)
    pairs = pairs[apart <= box + stamps.half[pairs[:, 1]]]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return np.searchsorted(pairs[:, 0], np.arange(n + 1)), np.ascontiguousarray(pairs[:, 1])


@part
def cut_own(pixels, label, k, stamps, planes):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Fill planes (4, side * side): the stamp, and of each pixel value, variance and whose it is.

    The last is 2 for free pixels, 1 for those of the source and 0 for all others, whose values are 0 too.
    """
    ny, nx = pixels.owner.shape
    half = stamps.half[k]
    box = (int(np.sqrt(planes.shape[1])) - 1) // 2
    side = 2 * box + 1
    top, left = stamps.rows[k] - box, stamps.columns[k] - box
    planes[1:] = 0.0
    for j in range(side):
        first = stamps.first[k] + (j - box + half) * (2 * half + 1) + half - box
        for i in range(side):
            planes[0, j * side + i] = stamps.values[first + i]
        if not 0 <= top + j < ny:
            continue
        for i in range(max(0, -left), min(side, nx - left)):
            owner = pixels.owner[top + j, left + i]
            if (owner == 0) | (owner == label):
                planes[1, j * side + i] = pixels.image[top + j, left + i]
                planes[2, j * side + i] = pixels.variance[top + j, left + i]
                planes[3, j * side + i] = 2.0 if owner == 0 else 1.0


@part
def overlap(stamps, k, other, box):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Part of the box of a source on which a neighbour's stamp falls.

    Returns the first and one past the last row, the same of columns, the index of the neighbour's value at
    that first row and column 0, and its step from row to row.
    """
    half = stamps.half[other]
    top = stamps.rows[other] - half - stamps.rows[k] + box
    left = stamps.columns[other] - half - stamps.columns[k] + box
    side = 2 * half + 1
    j0, j1 = max(top, 0), min(top + side, 2 * box + 1)
    i0, i1 = max(left, 0), min(left + side, 2 * box + 1)
    return j0, j1, i0, i1, stamps.first[other] + (j0 - top) * side - left, side


@part(fastmath=True)
def multiply_rows(weight, noise, neighbour):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Sum the products of two rows with that of a neighbour."""
    product, shared = np.float32(0.0), np.float32(0.0)
    for i in range(len(neighbour)):
        product += weight[i] * neighbour[i]
        shared += noise[i] * neighbour[i]
    return product, shared


@part(fastmath={"reassoc", "contract"})
def add_own(planes):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Return sums of P**2, P**2 V and P I over usable pixels, and of P**2 over all.

    Then leave P of usable pixels, and P V of free ones, in planes 1 and 2: the products with a neighbour are
    made of them.
    """
    stamp, image, variance, mine = planes[0], planes[1], planes[2], planes[3]
    used, noise, signal, whole = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for i in range(len(stamp)):
        p = stamp[i]
        p_used = p if mine[i] > 0.0 else np.float32(0.0)
        whole += p * p
        used += p * p_used
        noise += p * p * variance[i]
        signal += p * image[i]
        image[i] = p_used
        variance[i] *= p if mine[i] > 1.0 else np.float32(0.0)
    return used, noise, signal, whole


@compiled
def add_products(pixels, labels, stamps, links, box):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Fill products and noise of the links; return the sums of `add_own` for each source (n, 4)."""
    side = 2 * box + 1
    planes = np.empty((4, side * side), dtype=np.float32)
    own = np.zeros((len(labels), 4))
    for k in range(len(labels)):
        cut_own(pixels, labels[k], k, stamps, planes)
        own[k, 0], own[k, 1], own[k, 2], own[k, 3] = add_own(planes)
        for q in range(links.start[k], links.start[k + 1]):
            j0, j1, i0, i1, index, step = overlap(stamps, k, links.other[q], box)
            for j in range(j0, j1):
                row = stamps.values[index + i0 : index + i1]
                here = slice(j * side + i0, j * side + i1)
                product, noise = multiply_rows(planes[1, here], planes[2, here], row)
                links.product[q] += product
                links.noise[q] += noise
                index += step
    return own


@compiled
def relax(own, links, found):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Solve for the fluxes by sweeps, in which each source is fitted to what the others leave (Gauss-Seidel).

    Those that still move after `MAX_SWEEPS` get the flux that they have alone.
    """
    flux = np.zeros(len(own))
    moving = found.copy()
    for _ in range(MAX_SWEEPS):
        n_moving = 0
        for k in range(len(own)):
            if not found[k]:
                continue
            rest = own[k, 2]
            for q in range(links.start[k], links.start[k + 1]):
                rest -= links.product[q] * flux[links.other[q]]
            moving[k] = abs(rest - flux[k] * own[k, 0]) > TOLERANCE_SIGMA * np.sqrt(own[k, 1])
            flux[k] = rest / own[k, 0]
            n_moving += moving[k]
        if n_moving == 0:
            break
    for k in range(len(own)):
        if moving[k]:
            flux[k] = own[k, 2] / own[k, 0]
    return flux


@part
def list_group(k, own, links, found, group):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Write a source and the neighbours that it sees into ``group``; return their number."""
    group[0], n = k, 1
    for q in range(links.start[k], links.start[k + 1]):
        other = links.other[q]
        seen = abs(links.product[q]) > MIN_COUPLING * own[k, 0]
        if seen and found[other] and n < len(group):
            group[n] = other
            n += 1
    return n


@part
def build_system(group, own, links, system, noise):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Fill the matrix of the fluxes of a group, transposed, and the covariance of its right-hand side."""
    n = len(group)
    for a in range(n):
        for b in range(n):
            system[b, a], noise[a, b] = 0.0, 0.0
        system[a, a], noise[a, a] = own[group[a], 0], own[group[a], 1]
        for q in range(links.start[group[a]], links.start[group[a] + 1]):
            for b in range(n):
                if links.other[q] == group[b]:
                    system[b, a], noise[a, b] = links.product[q], links.noise[q]


@part
def error_in_group(group, own, links, scratch):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Error of the flux of the first of a group, that of the others being fitted too; 0 if there is none."""
    n = len(group)
    system, noise, row_of_inverse = scratch[0, :n], scratch[1, :n], scratch[2, 0, :n]
    build_system(group, own, links, system, noise)
    row_of_inverse[:] = 0.0
    row_of_inverse[0] = 1.0
    if not eliminate(system, row_of_inverse):
        return 0.0
    variance = 0.0
    for a in range(n):
        for b in range(n):
            variance += row_of_inverse[a] * noise[a, b] * row_of_inverse[b]
    return np.sqrt(variance) if variance > 0.0 else 0.0


@compiled
def propagate_noise(own, links, found):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Error of each flux from the inverse of the system of the source and its neighbours, (n,)."""
    error, scratch = np.empty(len(own)), np.empty((3, MAX_GROUP, MAX_GROUP))
    group = np.empty(MAX_GROUP, dtype=np.int64)
    for k in range(len(own)):
        error[k] = np.sqrt(own[k, 1]) / own[k, 0] if found[k] else np.nan
        n = list_group(k, own, links, found, group) if found[k] else 1
        joint = error_in_group(group[:n], own, links, scratch) if n > 1 else 0.0
        error[k] = joint if joint > 0.0 else error[k]
    return error


@part
def subtract_neighbours(k, stamps, links, fitted, rest):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Subtract from the box of a source what falls on it of its neighbours, in place."""
    flux, box = fitted
    for q in range(links.start[k], links.start[k + 1]):
        light = np.float32(flux[links.other[q]])
        j0, j1, i0, i1, index, step = overlap(stamps, k, links.other[q], box)
        for j in range(j0, j1):
            here = rest[j * (2 * box + 1) + i0 : j * (2 * box + 1) + i1]
            add_row(-light, stamps.values[index + i0 : index + i1], here)
            index += step


@compiled
def sum_residuals(pixels, labels, stamps, links, fitted):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Sum of the squared residuals over the variance of each source, and its number of pixels."""
    flux, box = fitted
    side = 2 * box + 1
    planes = np.empty((4, side * side), dtype=np.float32)
    chi2, n_data = np.zeros(len(labels)), np.zeros(len(labels), dtype=np.int64)
    for k in range(len(labels)):
        cut_own(pixels, labels[k], k, stamps, planes)
        subtract_neighbours(k, stamps, links, fitted, planes[1])
        chi2[k], n_data[k] = add_squares(np.float32(flux[k]), planes)
    return chi2, n_data


@part(fastmath={"reassoc", "contract"}, error_model="numpy")
def add_squares(flux, planes):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Sum the squared residuals over the variance of the usable pixels, and count those."""
    stamp, rest, variance, mine = planes[0], planes[1], planes[2], planes[3]
    total, n = np.float32(0.0), 0
    for i in range(len(stamp)):
        missed = rest[i] - flux * stamp[i]
        total += missed * missed / variance[i] if mine[i] > 0.0 else np.float32(0.0)
        n += mine[i] > 0.0
    return total, n
