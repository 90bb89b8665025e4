"""Find cosmic rays: features sharper than any star can be.

A pixel is hit if it stands out of the means of the pairs of pixels on opposite sides of it, by more than
noise and PSF allow; then its neighbours are tested at half the threshold (the finder of the SDSS photometric
pipeline and of the LSST stack). Replacing what is found is `astra.images.interpolation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from astra.compiled import compiled, part
from astra.errors import TooManyCosmicRaysError
from astra.images.dia_pixels import find_bits
from astra.images.exposure import MASK_BAD, MASK_CR, MASK_INTRP, MASK_NO_DATA, MASK_SAT, Exposure
from astra.images.interpolation import interpolate
from astra.images.psf import Psf
from astra.images.tan_sip import grid_positions

FloatArray = NDArray[np.float64]

UNTESTED = MASK_BAD | MASK_SAT | MASK_NO_DATA | MASK_INTRP | MASK_CR
GRID_SIDE = 3  # of the places where the PSF is looked at
PAIRS = ((0, 1), (1, 0), (1, 1), (1, -1))  # dy, dx of one pixel of a pair; the other is opposite


@dataclass(frozen=True)
class CosmicRayConfig:
    """What counts as a cosmic ray.

    Parameters
    ----------
    min_sigma : float
        A pixel must exceed the mean of some pair of neighbours by this many of its sigmas; half of it next
        to pixels that were hit.
    min_electrons : float
        Least charge of an event above what surrounds it [e-].
    psf_fraction : float
        A pair of neighbours must hold less than this fraction of what a star centred on the pixel would put
        there.
    noise_sigma : float
        Both sides of that comparison are moved by so many sigmas in favour of the star; half of it next to
        pixels that were hit.
    growth_rounds : int
        How often the neighbours of new hits are tested.
    max_pixels : int
        More hits than this are an error [pixel].
    """

    min_sigma: float = 5.0
    min_electrons: float = 150.0
    psf_fraction: float = 0.9
    noise_sigma: float = 2.0
    growth_rounds: int = 6
    max_pixels: int = 1_000_000


@dataclass(frozen=True)
class CosmicRays:
    """Pixels hit by cosmic rays.

    Parameters
    ----------
    y, x : int64 ndarray, shape (n,)
        The pixels [pixel], event by event.
    event : int64 ndarray, shape (n,)
        Which event a pixel belongs to: connected pixels, also by their corners; counts from 0.
    """

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    event: NDArray[np.int64]

    def __len__(self) -> int:
        """Count the events."""
        return int(self.event.max(initial=-1)) + 1


def find_cosmic_rays(exposure: Exposure, psf: Psf, config: CosmicRayConfig | None = None) -> CosmicRays:
    """Find the pixels that cosmic rays have hit.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        Sky subtracted [adu], with the variance of sky and sources.
    psf : Psf
        That of the image centre is used everywhere; a guess too wide or too narrow by half does no harm.
    config : CosmicRayConfig, optional
        Thresholds.

    Returns
    -------
    cosmic_rays : CosmicRays
        Empty if there are none. Saturated, bad, interpolated and border pixels are never among them.

    Raises
    ------
    TooManyCosmicRaysError
        If more than ``config.max_pixels`` are hit: the variance is too small or the PSF is wrong.
    """
    config = config or CosmicRayConfig()
    ratios = _pair_ratios(psf, exposure.shape) * config.psf_fraction
    excess = np.zeros(exposure.shape, dtype=np.float32)
    planes = Planes(exposure.image, exposure.variance, exposure.mask, excess, ratios)
    hits = np.empty((config.max_pixels, 2), dtype=np.int64)
    n = find_seeds(planes, hits, (config.min_sigma, config.noise_sigma))
    start = 0
    for _ in range(config.growth_rounds):
        start, n = n, grow_hits(planes, hits, (start, n), (config.min_sigma / 2, config.noise_sigma / 2))
    if n == config.max_pixels:
        raise _too_many(exposure, n)
    place = hits[np.lexsort((hits[:n, 1], hits[:n, 0]))]
    charge = excess[place[:, 0], place[:, 1]] * exposure.gain
    return _keep_charged(place, charge, exposure.shape[1], config)


class Planes(NamedTuple):
    """What the compiled kernels read, and in ``excess`` write.

    Parameters
    ----------
    image, variance : ndarray, shape (ny, nx)
        Sky subtracted [image unit, its square].
    mask : uint32 ndarray, shape (ny, nx)
        Pixels with a bit of `UNTESTED` are neither tested nor compared with.
    excess : float32 ndarray, shape (ny, nx)
        How far the hits that were found so far rise above their surroundings [image unit]; 0 elsewhere.
    ratios : float64 ndarray, shape (4,)
        Most that the mean of each pair may have of the central pixel.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint32]
    excess: NDArray[np.float32]
    ratios: FloatArray


@part
def pair_mean(planes, y, x, step):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Mean of the pixels at (y, x) -+ step without what hit them, and its variance; negative if of no use."""
    ny, nx = planes.image.shape
    total, variance = 0.0, 0.0
    for sign in (-1, 1):
        row, column = y + sign * step[0], x + sign * step[1]
        if not (0 <= row < ny and 0 <= column < nx) or planes.mask[row, column] & UNTESTED != 0:
            return 0.0, -1.0
        total += planes.image[row, column] - planes.excess[row, column]
        variance += planes.variance[row, column]
    return total / 2, variance / 4


@part
def excess_over_pairs(planes, y, x, limits):  # type: ignore[no-untyped-def]  # pragma: no cover
    """How far a pixel that was hit rises above its surroundings; 0 if it was not hit."""
    min_sigma, noise_sigma = limits
    value, sigma = planes.image[y, x], np.sqrt(planes.variance[y, x])
    stands_out, excess = False, np.inf
    for k in range(4):
        mean, variance = pair_mean(planes, y, x, PAIRS[k])
        if variance < 0.0:
            continue
        stands_out |= value - mean > min_sigma * sigma
        expected = planes.ratios[k] * (value - noise_sigma * sigma)
        if expected > mean + noise_sigma * np.sqrt(variance):
            excess = min(excess, value - mean)
    return excess if stands_out and np.isfinite(excess) else 0.0


@part
def may_be_sharp(planes, y, x, noise_sigma):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether some pair may hold less than a star would put there, without its noise and its mask.

    Nearly all bright pixels are those of stars, and fail.
    """
    ny, nx = planes.image.shape
    if not (0 < y < ny - 1 and 0 < x < nx - 1):
        return True
    star = planes.image[y, x] - noise_sigma * np.sqrt(planes.variance[y, x])
    for k in range(4):
        dy, dx = PAIRS[k]
        total = planes.image[y - dy, x - dx] + planes.image[y + dy, x + dx]
        hits = planes.excess[y - dy, x - dx] + planes.excess[y + dy, x + dx]
        # NaN counts: the full test will judge it.
        if not 2.0 * planes.ratios[k] * star <= total - hits:
            return True
    return False


@part
def test_pixel(planes, hits, n, place, limits):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Test a pixel; append it to the n hits if it is one; return their number."""
    y, x = place
    value = planes.image[y, x]
    # What is not above the sky itself is no hit, however dark its neighbours.
    dark = not value * abs(value) > limits[0] * limits[0] * planes.variance[y, x]
    known = planes.excess[y, x] > 0.0 or planes.mask[y, x] & UNTESTED != 0
    if dark or known or n == len(hits) or not may_be_sharp(planes, y, x, limits[1]):
        return n
    excess = excess_over_pairs(planes, y, x, limits)
    if not excess > 0.0:
        return n
    planes.excess[y, x], hits[n, 0], hits[n, 1] = excess, y, x
    return n + 1


@compiled
def find_seeds(planes, hits, limits):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Test all pixels; write hits y, x and return their number."""
    n = 0
    least = np.float32(limits[0] * limits[0])
    ny, nx = planes.image.shape
    for y in range(ny):
        row, noise = planes.image[y], planes.variance[y]
        for x in range(nx):
            if row[x] * abs(row[x]) > least * noise[x]:
                n = test_pixel(planes, hits, n, (y, x), limits)
    return n


@compiled
def grow_hits(planes, hits, window, limits):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Test the neighbours of the hits in a window of the list; append new ones and return their number."""
    ny, nx = planes.image.shape
    n = window[1]
    for k in range(window[0], window[1]):
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                y, x = hits[k, 0] + dy, hits[k, 1] + dx
                if 0 <= y < ny and 0 <= x < nx:
                    n = test_pixel(planes, hits, n, (y, x), limits)
    return n


def _pair_ratios(psf: Psf, shape: tuple[int, int]) -> FloatArray:
    """Mean of each pair over the central pixel of a star centred on it: the least over the image, (4,)."""
    c = psf.size // 2
    stamps = [psf.stamp(x, y) for x, y in zip(*grid_positions(shape, GRID_SIDE), strict=True)]
    pairs = [
        [stamp[c + dy, c + dx] + stamp[c - dy, c - dx] for dy, dx in PAIRS] / stamp[c, c] for stamp in stamps
    ]
    least: FloatArray = np.min(pairs, axis=0) / 2
    return least


def _keep_charged(
    place: NDArray[np.int64], charge: NDArray[np.float32], nx: int, config: CosmicRayConfig
) -> CosmicRays:
    """Join touching hits, which come row by row, to events and drop those of little charge [e-]."""
    y, x = place.T
    event = _label(y, x, nx)
    kept = np.bincount(event, weights=charge)[event] >= config.min_electrons
    y, x, event = y[kept], x[kept], np.unique(event[kept], return_inverse=True)[1]
    by_event = np.argsort(event, kind="stable")
    return CosmicRays(y[by_event], x[by_event], event[by_event])


def _label(y: NDArray[np.int64], x: NDArray[np.int64], nx: int) -> NDArray[np.int64]:
    """Return the number of the group of touching pixels of each; they are given row by row."""
    width = nx + 2  # room for a margin, so that no neighbour wraps into another row
    place = (y + 1) * width + x + 1
    first, second = [], []
    for step in (1, width - 1, width, width + 1):
        found = np.minimum(np.searchsorted(place, place + step), len(place) - 1)
        touching = np.flatnonzero(place[found] == place + step)
        first.append(touching)
        second.append(found[touching])
    links = np.concatenate(first), np.concatenate(second)
    graph = coo_array((np.ones(len(links[0])), links), shape=(len(place), len(place)))
    label: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return label


def _too_many(exposure: Exposure, n: int) -> TooManyCosmicRaysError:
    """Say that something is wrong with the variance or the PSF."""
    message = (
        f"at least {n} pixels look like cosmic rays (visit {exposure.info.visit}, detector "
        f"{exposure.info.detector}), the most that are allowed: the variance is too small, the sky was not "
        f"subtracted, or the PSF is far too wide"
    )
    return TooManyCosmicRaysError(message, n_pixels=n, n_allowed=n)


def repair_cosmic_rays(
    exposure: Exposure, psf: Psf, config: CosmicRayConfig | None = None, *, overwrite: bool = False
) -> tuple[Exposure, CosmicRays]:
    """Find cosmic rays, mask them and interpolate over them, and over those that are masked already.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        Sky subtracted [adu].
    psf : Psf
        See `find_cosmic_rays`.
    config : CosmicRayConfig, optional
        Thresholds.
    overwrite : bool, optional
        The planes of the given exposure may be changed.

    Returns
    -------
    exposure : Exposure
        With ``CR`` and ``INTRP`` set on the pixels that were hit, and their values replaced.
    cosmic_rays : CosmicRays
        Those that were found.

    Raises
    ------
    TooManyCosmicRaysError
        See `find_cosmic_rays`.
    """
    cosmic_rays = find_cosmic_rays(exposure, psf, config)
    marked = find_bits(exposure.mask, MASK_CR)
    marked = marked[exposure.mask[marked[:, 0], marked[:, 1]] & MASK_INTRP == 0]
    if len(cosmic_rays) + len(marked) == 0:
        return exposure, cosmic_rays
    rows, columns = np.append(marked[:, 0], cosmic_rays.y), np.append(marked[:, 1], cosmic_rays.x)
    return interpolate(exposure, rows, columns, psf, marks=MASK_CR, overwrite=overwrite), cosmic_rays
