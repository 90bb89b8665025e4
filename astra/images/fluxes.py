"""Fluxes of sources at known positions: circular apertures and the PSF.

A pixel that belongs to a neighbour or carries no information does not count: in an aperture the one opposite
the centre stands in, in the PSF fit it is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.moments import Pixels, is_usable, stand_in
from astra.images.psf import Psf
from astra.images.stamps import draw_psf, make_psf_splines, psf_design

FloatArray = NDArray[np.float64]

FIT_RADIUS_FWHM = 2.5  # half-width of the PSF fit
MIN_PSF_FRACTION = 0.5  # of sum(P**2) that usable pixels must hold


@dataclass(frozen=True)
class PsfFluxes:
    """Fluxes of point sources fitted at fixed positions.

    Parameters
    ----------
    flux, flux_err : float64 ndarray, shape (n,)
        [image unit].
    chi2 : float64 ndarray, shape (n,)
        Of the fit.
    n_data : int64 ndarray, shape (n,)
        Pixels in the fit.
    failed : bool ndarray, shape (n,)
        Less than half of the PSF falls on usable pixels.
    """

    flux: FloatArray
    flux_err: FloatArray
    chi2: FloatArray
    n_data: NDArray[np.int64]
    failed: NDArray[np.bool_]


@part
def set_edges(offset, radius, edges):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill what the edges of rows or columns need: place, its reach on the circle, areas under the arc.

    Those are the areas under a quarter of the circle from 0 to the place, and to its reach.
    """
    quarter = 0.25 * np.pi * radius * radius
    for k in range(edges.shape[1]):
        place = offset + k
        edges[4, k] = 1.0 if place > 0.0 else -1.0
        if abs(place) >= radius:
            edges[0, k], edges[1, k], edges[2, k], edges[3, k] = radius, 0.0, quarter, 0.0
            continue
        place = abs(place)
        reach = np.sqrt(radius * radius - place * place)
        triangle, sector = 0.5 * place * reach, 0.5 * radius * radius * np.arcsin(place / radius)
        edges[0, k], edges[1, k] = place, reach
        edges[2, k], edges[3, k] = triangle + sector, triangle + quarter - sector


@part
def corner_area(rows, columns, j, i, radius):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Area of the circle between its middle and a corner of a pixel, signed as the corner's coordinates."""
    sign = rows[4, j] * columns[4, i]
    y, x = rows[0, j], columns[0, i]
    if x * x + y * y <= radius * radius:
        return sign * x * y
    return sign * (rows[1, j] * y + columns[2, i] - rows[3, j])


@part
def circle_fractions(centre, radius, half, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill a box of pixels with the parts of them that lie in a circle.

    ``centre`` is the offset dx, dy of the circle from the middle pixel. Exact: differences of `corner_area`.
    Returns the first and one past the last row and column of the circle.
    """
    side = 2 * half + 1
    edges = np.empty((2, 5, side + 1))
    for axis in range(2):
        set_edges(-half - 0.5 - centre[axis], radius, edges[axis])
    reach = int(np.ceil(radius + 1.0))
    first, last = max(half - reach, 0), min(half + reach + 1, side)
    middle = half + 0.5 + centre[0]
    for j in range(first, last):
        for i in range(first, last):
            out[j, i] = 0.0
        near, far = row_distances(j - half - 0.5 - centre[1])
        if near >= radius:
            continue
        # Nearly all pixels lie wholly in the circle or out of it.
        chord = np.sqrt(radius * radius - near * near)
        left, right = max(int(np.floor(middle - chord)), first), min(int(np.ceil(middle + chord)), last)
        chord = np.sqrt(max(radius * radius - far * far, 0.0))
        inner, end = max(int(np.ceil(middle - chord)), left), min(int(np.floor(middle + chord)), right)
        inner = min(inner, right)
        end = max(end, inner)
        for i in range(inner, end):
            out[j, i] = 1.0
        for begin, stop in ((left, inner), (end, right)):
            add_rim(edges, (j, begin, stop), radius, out)
    return first, last


@part
def row_distances(edge):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Least and largest distance from zero of what lies between an edge and the next."""
    near = 0.0 if edge < 0.0 < edge + 1.0 else min(abs(edge), abs(edge + 1.0))
    return near, max(abs(edge), abs(edge + 1.0))


@part
def add_rim(edges, part, radius, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill a row of pixels, from one column to before another, with their parts in the circle."""
    j, left, right = part
    upper, lower = 0.0, 0.0
    for i in range(left, right + 1 if left < right else left):
        next_upper = corner_area(edges[1], edges[0], j, i, radius)
        next_lower = corner_area(edges[1], edges[0], j + 1, i, radius)
        if i > left:
            out[j, i - 1] = next_lower - lower - next_upper + upper
        upper, lower = next_upper, next_lower


@part
def fill_box(pixels, label, centre, box):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Copy value, variance and 1 of the pixels about a centre, of their stand-ins, or 0 without either."""
    ny, nx = pixels.owner.shape
    half = box.shape[1] // 2
    left, top = int(np.rint(centre[0])) - half, int(np.rint(centre[1])) - half
    for j in range(box.shape[1]):
        for i in range(box.shape[2]):
            x, y = left + i, top + j
            if not (0 <= x < nx and 0 <= y < ny and pixels.owner[y, x] == 0):
                x, y = stand_in(pixels.owner, label, (x, y), centre)
            if x >= 0:
                box[0, j, i], box[1, j, i], box[2, j, i] = pixels.image[y, x], pixels.variance[y, x], 1.0
            else:
                box[0, j, i], box[1, j, i], box[2, j, i] = 0.0, 0.0, 0.0


@part(fastmath={"reassoc", "contract"})
def weigh_box(box, part, first, last):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Sum value, variance and usable area of the pixels in a circle, given their parts in it."""
    flux, noise, area = 0.0, 0.0, 0.0
    for j in range(first, last):
        for i in range(first, last):
            p = part[j, i]
            flux += p * box[0, j, i]
            noise += p * p * box[1, j, i]
            area += p * box[2, j, i]
    return flux, noise, area


@compiled
def aperture_sums(pixels, labels, positions, radii):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Flux in circles about positions (n, 2), its error, and the usable fraction; (n, n_radii) each."""
    n, m = len(labels), len(radii)
    flux, error, usable_area = np.zeros((n, m)), np.zeros((n, m)), np.zeros((n, m))
    largest = 0.0
    for r in range(m):
        largest = max(largest, radii[r])
    half = int(np.ceil(largest + 1.0))
    box = np.empty((3, 2 * half + 1, 2 * half + 1))
    part = np.empty((2 * half + 1, 2 * half + 1))
    for k in range(n):
        x, y = positions[k, 0], positions[k, 1]
        fill_box(pixels, labels[k], (x, y), box)
        for r in range(m):
            first, last = circle_fractions((x - np.rint(x), y - np.rint(y)), radii[r], half, part)
            flux[k, r], noise, area = weigh_box(box, part, first, last)
            error[k, r], usable_area[k, r] = np.sqrt(noise), area / (np.pi * radii[r] * radii[r])
    return flux, error, usable_area


def fit_psf_fluxes(pixels: Pixels, labels: NDArray[np.int64], positions: FloatArray, psf: Psf) -> PsfFluxes:
    """Fit the flux of a point source at each position, all pixels with equal weight.

    Equal weights make the flux independent of the brightness where the PSF model is imperfect.

    Parameters
    ----------
    pixels : Pixels
        Image, variance and owners.
    labels : int64 ndarray, shape (n,)
        Label of each source; 0 for a position without a footprint.
    positions : float64 ndarray, shape (n, 2)
        x and y [pixel].
    psf : Psf
        Point-spread function.

    Returns
    -------
    fluxes : PsfFluxes
        NaN where the fit failed.
    """
    design = psf_design(psf, positions[:, 0], positions[:, 1])
    table = fit_fluxes(pixels, labels, positions, make_psf_splines(psf), design, fit_size(psf))
    return PsfFluxes(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(np.int64), table[:, 4] > 0)


@part
def fit_flux(pixels, label, position, stamp):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Flux, its error, chi2, number of pixels and failure of one source, given its image at unit flux."""
    ny, nx = pixels.owner.shape
    half = stamp.shape[0] // 2
    left, top = int(np.rint(position[0])) - half, int(np.rint(position[1])) - half
    whole, norm, signal, noise = 0.0, 0.0, 0.0, 0.0
    for j in range(stamp.shape[0]):
        for i in range(stamp.shape[1]):
            p = stamp[j, i]
            whole += p * p
            if is_usable(pixels.owner, label, left + i, top + j):
                norm += p * p
                signal += p * pixels.image[top + j, left + i]
                noise += p * p * pixels.variance[top + j, left + i]
    if norm < MIN_PSF_FRACTION * whole:
        return np.nan, np.nan, np.nan, 0.0, 1.0
    flux, chi2, n_data = signal / norm, 0.0, 0.0
    for j in range(max(0, -top), min(stamp.shape[0], ny - top)):
        for i in range(max(0, -left), min(stamp.shape[1], nx - left)):
            if is_usable(pixels.owner, label, left + i, top + j):
                missed = pixels.image[top + j, left + i] - flux * stamp[j, i]
                chi2 += missed * missed / pixels.variance[top + j, left + i]
                n_data += 1.0
    return flux, np.sqrt(noise) / norm, chi2, n_data, 0.0


@compiled
def fit_fluxes(pixels, labels, positions, splines, design, size):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Table of what `fit_flux` returns, a row per source."""
    table = np.empty((len(labels), 5))
    plane = np.empty(splines.coefficients.shape[1:])
    stamp = np.empty((size, size))
    for k in range(len(labels)):
        draw_psf(splines, design[k], positions[k], plane, stamp)
        flux, error, chi2, n_data, failed = fit_flux(pixels, labels[k], positions[k], stamp)
        table[k, 0], table[k, 1], table[k, 2], table[k, 3], table[k, 4] = flux, error, chi2, n_data, failed
    return table


def fit_size(psf: Psf) -> int:
    """Side of the stamps to fit [pixel]: the wings beyond hold next to nothing of sum(P**2)."""
    fwhm = psf.fwhm_pixel(psf.x_centre, psf.y_centre)
    return min(2 * int(np.ceil(FIT_RADIUS_FWHM * fwhm)) + 1, psf.size)
