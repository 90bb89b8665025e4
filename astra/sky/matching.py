"""Matching of positions on the sphere: all pairs within a radius, and one partner each.

Pairs are found on unit vectors, so that right ascension 0 and the poles are places like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import KDTree

from astra.sky.regions import ARCSEC_PER_RADIAN, unit_vectors

ERROR_FLOOR_ARCSEC = 0.05  # no centroid is trusted beyond this; Rubin's value
MISSING_ERROR_ARCSEC = 0.2  # taken where an error is absent; Rubin's value


@dataclass(frozen=True)
class Pairs:
    """Pairs of a first and a second list of positions.

    Parameters
    ----------
    first, second : int64 ndarray, shape (n,)
        Row numbers, ordered by ``first``, then ``second``.
    separation_arcsec : float64 ndarray, shape (n,)
        Angular separation [arcsec].
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    separation_arcsec: NDArray[np.float64]

    def take(self, keep: NDArray[np.intp]) -> Pairs:
        """Return the pairs of some rows."""
        return Pairs(self.first[keep], self.second[keep], self.separation_arcsec[keep])


def find_pairs(
    ra: ArrayLike, dec: ArrayLike, other_ra: ArrayLike, other_dec: ArrayLike, radius_arcsec: float
) -> Pairs:
    """Find all pairs of two lists of positions within a radius.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        First positions [deg]; rows that are not finite have no pair.
    other_ra, other_dec : array_like, shape (m,)
        Second positions [deg].
    radius_arcsec : float
        Largest separation [arcsec].

    Raises
    ------
    ValueError
        If the radius is not positive.
    """
    if not radius_arcsec > 0:
        message = f"the match radius must be positive, found {radius_arcsec} arcsec"
        raise ValueError(message)
    first, first_rows = _finite(unit_vectors(ra, dec))
    second, second_rows = _finite(unit_vectors(other_ra, other_dec))
    if not len(first) or not len(second):
        nothing = np.zeros(0, dtype=np.int64)
        return Pairs(nothing, nothing, np.zeros(0))
    chord = 2.0 * np.sin(0.5 * radius_arcsec / ARCSEC_PER_RADIAN)
    near = KDTree(first).sparse_distance_matrix(KDTree(second), chord, output_type="ndarray")
    order = np.lexsort([near["j"], near["i"]])
    separation = 2.0 * np.arcsin(0.5 * near["v"][order]) * ARCSEC_PER_RADIAN
    return Pairs(first_rows[near["i"][order]], second_rows[near["j"][order]], separation)


def _finite(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Finite rows and their numbers."""
    rows = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    return vectors[rows], rows.astype(np.int64)


def keep_nearest(pairs: Pairs) -> Pairs:
    """Keep, for each first position that has any, its nearest pair; several may share a second position."""
    order = np.lexsort([pairs.second, pairs.separation_arcsec, pairs.first])
    _, start = np.unique(pairs.first[order], return_index=True)
    return pairs.take(order[start])


def match_one_to_one(
    pairs: Pairs, score: NDArray[np.float64] | None = None, *, score_alone: float | None = None
) -> Pairs:
    """Choose pairs so that no position is used twice and the total score is least.

    A first position goes without its best partner only if the whole gains. Staying alone has a score too,
    worse than that of every pair, so that a partner is missed only where others need it more.

    Parameters
    ----------
    pairs : Pairs
        Candidates.
    score : float64 ndarray, shape (n,), optional
        Score of each pair, finite, small is good; the separation [arcsec] by default.
    score_alone : float, optional
        Score of staying alone; one more than the worst pair by default.

    Returns
    -------
    matches : Pairs
        The chosen pairs.
    """
    if not len(pairs.first):
        return pairs
    cost = pairs.separation_arcsec if score is None else score
    rows, row = np.unique(pairs.first, return_inverse=True)
    columns, column = np.unique(pairs.second, return_inverse=True)
    # Weights start at 1, since a stored zero is no edge; each row has a private node for staying alone.
    weight = cost - cost.min() + 1.0
    alone_cost = cost.max() + 1.0 if score_alone is None else score_alone
    alone = np.full(len(rows), max(alone_cost - cost.min(), 0.0) + 1.0)
    row_numbers = np.arange(len(rows))
    graph = csr_array(
        (
            np.concatenate([weight, alone]),
            (np.concatenate([row, row_numbers]), np.concatenate([column, len(columns) + row_numbers])),
        ),
        shape=(len(rows), len(columns) + len(rows)),
    )
    chosen_row, chosen_column = min_weight_full_bipartite_matching(graph)
    chosen = np.full(len(rows), -1)
    chosen[chosen_row] = chosen_column
    return pairs.take(np.flatnonzero(chosen[row] == column))


def positional_score(
    delta_ra_arcsec: NDArray[np.float64],
    delta_dec_arcsec: NDArray[np.float64],
    ra_err_arcsec: tuple[NDArray[np.float64], NDArray[np.float64]],
    dec_err_arcsec: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Score pairs by half the squared distance in units of its error.

    The logarithm of the errors, the other term of a Gaussian likelihood, is left out: it would prefer a
    precise stranger to a true counterpart whose error is missing or large.

    Parameters
    ----------
    delta_ra_arcsec, delta_dec_arcsec : ndarray, shape (n,)
        Offsets on the sky [arcsec]; ra times cos(dec).
    ra_err_arcsec, dec_err_arcsec : pair of ndarray, shape (n,)
        1-sigma errors of the first and the second position [arcsec]; ra times cos(dec).
        Missing ones (NaN, not positive) count as 0.2, and none below 0.05.

    Returns
    -------
    score : ndarray, shape (n,)
    """
    variance_ra, variance_dec = _variance(ra_err_arcsec), _variance(dec_err_arcsec)
    return 0.5 * (delta_ra_arcsec**2 / variance_ra + delta_dec_arcsec**2 / variance_dec)


def _variance(errors: tuple[NDArray[np.float64], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Sum of two squared errors, floored, with a stand-in where one is missing [arcsec**2]."""
    usable = [np.where(error > 0, error, MISSING_ERROR_ARCSEC) for error in errors]
    total: NDArray[np.float64] = usable[0] ** 2 + usable[1] ** 2
    return np.maximum(total, ERROR_FLOOR_ARCSEC**2)
