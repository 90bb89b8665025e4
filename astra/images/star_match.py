"""Find which detected stars are which reference stars when shift, rotation and scale are known roughly.

All pairs vote for the shift that they need under each of a grid of rotations and scales; where the votes
crowd, the lists may be aligned. `chance_probability` tells whether as many matches would come by accident.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import pdtr, pdtrc

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

STEP = 0.0025  # of the distance from the centre: grid steps of rotation [rad] and scale
LOCAL_RADII = 5.0  # the density of accidental neighbours is taken within so many match radii
CELLS = 4  # parts of the image along each axis
LOW_PROBABILITY = 1e-4  # of so few matches in a part of the image
TINY = 1e-12
MAX_CELLS = 1 << 22  # of the votes; a wider search uses coarser cells


@dataclass(frozen=True)
class Search:
    """How far the first guess of the coordinates may be off.

    Parameters
    ----------
    shift_pixel : float
        Largest shift of the centre [pixel].
    rotation_deg : float
        Largest rotation, either way [deg].
    scale_error : float
        Largest relative error of the pixel scale, either way.
    clump_pixel : float
        Pairs whose shifts agree to this are taken to agree [pixel].
    """

    shift_pixel: float
    rotation_deg: float
    scale_error: float
    clump_pixel: float

    def reach_pixel(self, radius_pixel: float) -> float:
        """Largest displacement at a distance from the centre [pixel]."""
        return self.shift_pixel + radius_pixel * float(np.radians(self.rotation_deg) + self.scale_error)

    def clump_at(self, radius_pixel: float) -> float:
        """Size of a clump [pixel] when stars lie up to ``radius_pixel`` [pixel] from the centre."""
        coarse = np.sqrt(len(self.slopes_at(radius_pixel)) / MAX_CELLS) * 2.0 * self.shift_pixel
        return float(max(self.clump_pixel, STEP * radius_pixel, coarse))

    def slopes_at(self, radius_pixel: float) -> FloatArray:
        """Grid of (relative scale, rotation [rad]), shape (h, 2), the smallest first."""
        step = max(STEP, self.clump_pixel / max(radius_pixel, 1.0))
        axes = [
            step * np.arange(-(k := int(np.ceil(limit / step - 1e-9))), k + 1)
            for limit in (self.scale_error, float(np.radians(self.rotation_deg)))
        ]
        scale, rotation = np.meshgrid(*axes)
        slopes: FloatArray = np.stack([scale.ravel(), rotation.ravel()], axis=-1)
        return slopes[np.argsort(np.hypot(*slopes.T), kind="stable")]

    def n_trials(self, radius_pixel: float) -> float:
        """Return the number of alignments that are told apart."""
        shifts = (self.shift_pixel / self.clump_at(radius_pixel)) ** 2
        return max(shifts, 1.0) * len(self.slopes_at(radius_pixel))


@dataclass(frozen=True)
class Alignment:
    """A shift, rotation and scale that take one list of positions to the other.

    Parameters
    ----------
    shift : float64 ndarray, shape (2,)
        Along x and y, at the centre [pixel].
    scale, rotation_rad : float
        Relative change of scale and rotation from x to y [rad].
    n_votes : int
        Pairs that agree on it.
    """

    shift: FloatArray
    scale: float
    rotation_rad: float
    n_votes: int

    @property
    def slopes(self) -> FloatArray:
        """Change of the displacement with the distance from the centre, shape (2, 2): rows along x and y."""
        return np.array([[self.scale, self.rotation_rad], [-self.rotation_rad, self.scale]])


def find_alignments(
    xy: FloatArray, expected: FloatArray, search: Search, *, n_best: int = 4
) -> list[Alignment]:
    """Find the alignments on which most pairs agree.

    Parameters
    ----------
    xy, expected : float64 ndarray, shape (n, 2) and (k, 2)
        Positions relative to the centre of rotation [pixel], in the two systems.
    search : Search
        Limits.
    n_best : int, optional
        Most alignments that are returned.

    Returns
    -------
    alignments : list of Alignment
        Those with the most votes first; of equal ones, the nearest to the first guess. Empty without pairs.
    """
    radius = float(np.hypot(*xy.T).max()) if len(xy) else 0.0
    offset = expected[None] - xy[:, None]
    first, second = np.nonzero(np.hypot(offset[..., 0], offset[..., 1]) <= search.reach_pixel(radius))
    if len(first) == 0:
        return []
    xy, offset = xy[first], offset[first, second]
    slopes, clump = search.slopes_at(radius), search.clump_at(radius)
    votes = np.stack(
        [_count_votes(_shifts(xy, offset, slope), search.shift_pixel, clump) for slope in slopes]
    )
    found = []
    for hypothesis, corner in _peaks(votes, n_best):
        lower = clump * (np.array(corner) - _half_width(search.shift_pixel, clump))
        shifts = _shifts(xy, offset, slopes[hypothesis])
        inside = ((shifts >= lower) & (shifts < lower + 2.0 * clump)).all(axis=1)
        scale, rotation = slopes[hypothesis].tolist()
        found.append(Alignment(np.median(shifts[inside], axis=0), scale, rotation, int(inside.sum())))
    return found


def _shifts(xy: FloatArray, offset: FloatArray, slope: FloatArray) -> FloatArray:
    """Shift that each pair needs under a scale and rotation, shape (p, 2)."""
    scale, rotation = slope
    x, y = xy.T
    shifts: FloatArray = offset - np.stack([scale * x - rotation * y, rotation * x + scale * y], axis=-1)
    return shifts


def _half_width(shift_pixel: float, clump: float) -> int:
    """Cells from the centre of the votes to their border."""
    return int(np.ceil(shift_pixel / clump)) + 1


def _count_votes(shifts: FloatArray, shift_pixel: float, clump: float) -> NDArray[np.int32]:
    """Count the shifts in windows of 2 x 2 cells of side ``clump``, shape (2 half - 1, 2 half - 1).

    The windows overlap, so that no clump is split as by the bins of a histogram.
    """
    half = _half_width(shift_pixel, clump)
    near = shifts[np.hypot(shifts[:, 0], shifts[:, 1]) <= shift_pixel]
    column, row = (np.floor(near / clump).astype(np.int64) + half).T
    counts = np.bincount(column * 2 * half + row, minlength=(2 * half) ** 2).astype(np.int32)
    cells = counts.reshape(2 * half, 2 * half)
    pairs = cells[:-1] + cells[1:]
    windows: NDArray[np.int32] = pairs[:, :-1] + pairs[:, 1:]
    return windows


def _peaks(votes: NDArray[np.int32], n_best: int) -> list[tuple[int, tuple[int, int]]]:
    """Find the fullest windows that do not touch: their hypothesis and lower corner."""
    best = votes.max(axis=0)  # over rotations and scales, whose neighbours share their pairs
    peaks = []
    for _ in range(n_best):
        corner = divmod(int(np.argmax(best)), best.shape[1])
        if best[corner] == 0:
            break
        peaks.append((int(np.argmax(votes[:, *corner])), corner))
        best[max(corner[0] - 2, 0) : corner[0] + 3, max(corner[1] - 2, 0) : corner[1] + 3] = 0
    return peaks


def match_mutual(first: FloatArray, second: FloatArray, radius: float) -> tuple[IntArray, IntArray]:
    """Pairs that are each other's nearest within a radius; indices into both."""
    if len(first) == 0 or len(second) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    distance, nearest = cKDTree(first).query(second, distance_upper_bound=radius)
    index = np.flatnonzero(np.isfinite(distance))
    _, back = cKDTree(second).query(first[nearest[index]])
    index = index[back == index]
    return nearest[index].astype(np.int64), index


def chance_probability(
    xy: FloatArray, expected: FloatArray, radius: float, area_pixel: float, n_trials: float
) -> tuple[int, float, float]:
    """Probability that unrelated lists would match so well somewhere in the search.

    The neighbours at a few match radii, among which there is no true counterpart, say how many accidental
    ones to expect in each place, clusters and voids allowed for.

    Parameters
    ----------
    xy, expected : float64 ndarray, shape (n, 2) and (k, 2)
        Aligned positions [pixel].
    radius : float
        Match radius [pixel].
    area_pixel : float
        Area on which both lie [pixel**2].
    n_trials : float
        Alignments that were tried.

    Returns
    -------
    n_matches : int
        Mutual matches within the radius.
    n_chance : float
        Accidental ones to expect.
    probability : float
        Poisson probability of as many accidental ones, times the trials, at most 1.
    """
    n_matches = len(match_mutual(xy, expected, radius)[0])
    if n_matches == 0:
        return 0, 0.0, 1.0
    tree = cKDTree(expected)
    inner, outer = (
        tree.query_ball_point(xy, r, return_length=True).sum() for r in (radius, LOCAL_RADII * radius)
    )
    everywhere = len(xy) * len(expected) * np.pi * radius**2 / area_pixel
    n_chance = max(float(outer - inner) / (LOCAL_RADII**2 - 1.0), float(everywhere))
    probability = float(pdtrc(n_matches - 1, n_chance)) * n_trials
    return n_matches, n_chance, min(probability, 1.0)


def n_empty_cells(xy: FloatArray, expected: FloatArray, radius: float, shape: tuple[int, int]) -> int:
    """Count the parts of an image where stars of both lists should match, and do not.

    An alignment that is right in the middle and wrong elsewhere has such parts. Where one list alone has
    nothing to match, as in a nebula or at the border of the reference catalogue, none is counted.

    Parameters
    ----------
    xy, expected : float64 ndarray, shape (n, 2) and (k, 2)
        Aligned positions [pixel].
    radius : float
        Match radius [pixel].
    shape : tuple of int
        Rows and columns of the image [pixel].

    Returns
    -------
    n_empty : int
        Of `CELLS` squared parts.
    """
    pairs = match_mutual(xy, expected, radius)
    low = [_is_low(positions, index, shape) for positions, index in zip((xy, expected), pairs, strict=True)]
    return int(np.sum(low[0] & low[1]))


def _is_low(xy: FloatArray, matched: IntArray, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell in which parts of the image far fewer positions match than about the typical match."""
    cell = np.floor(CELLS * xy / np.array([shape[1], shape[0]])).astype(np.int64)
    inside = ((cell >= 0) & (cell < CELLS)).all(axis=1)
    index = np.where(inside, cell[:, 0] * CELLS + cell[:, 1], CELLS**2)
    total = np.bincount(index, minlength=CELLS**2 + 1)[:-1]
    hits = np.bincount(index[matched], minlength=CELLS**2 + 1)[:-1]
    typical = np.sum(hits**2 / np.maximum(total, 1)) / max(hits.sum(), 1)
    wanted = total * typical
    low: NDArray[np.bool_] = (hits < 0.5 * wanted) & (pdtr(hits, np.maximum(wanted, TINY)) < LOW_PROBABILITY)
    return low
