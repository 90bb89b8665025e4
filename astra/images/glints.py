"""Glint trails: detections of one exposure on a straight line, as turning satellites or debris leave them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import pdtrc

from astra.compiled import compiled

GLINT_DTYPE = np.dtype(
    [
        ("slope", "f8"), ("intercept", "f8"), ("angle", "f8"), ("lengthPixel", "f8"), ("rmsPixel", "f8"),
        ("nSources", "i4"), ("chance", "f8"),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class GlintConfig:
    """What a glint trail is.

    Parameters
    ----------
    length_pixel : float
        Along the line, within which its sources lie [pixel].
    min_sources : int
        Least number of them.
    tolerance_pixel : float
        Largest distance from the line [pixel].
    max_rms_pixel : float
        Largest scatter about the line that is fitted to them [pixel].
    separation_pixel : float
        Sources nearer to each other along the line than this count once [pixel]: residuals of a star.
    max_chance : float
        Largest expected number of lines as crowded as this among random sources of the same density.
    max_pairs : int
        Pairs of sources that lines are drawn through; of more, some are drawn by lot.
    seed : int
        Of that lot.
    """

    length_pixel: float = 500.0
    min_sources: int = 5
    tolerance_pixel: float = 2.0
    max_rms_pixel: float = 15.0
    separation_pixel: float = 10.0
    max_chance: float = 0.001
    max_pairs: int = 50_000
    seed: int = 1


def find_glint_trails(
    x: NDArray[np.float64], y: NDArray[np.float64], config: GlintConfig | None = None
) -> tuple[NDArray[np.int64], NDArray[np.void]]:
    """Find straight rows of sources that chance does not make.

    Parameters
    ----------
    x, y : float64 ndarray, shape (n,)
        Sources of one image [pixel]; those without finite position belong to no trail.
    config : GlintConfig, optional

    Returns
    -------
    trail : int64 ndarray, shape (n,)
        Row of the trail of each source, -1 for none.
    trails : structured ndarray
        ``slope`` and ``intercept`` of y over x (infinite and NaN if upright), ``angle`` to the x axis [deg],
        ``lengthPixel``, ``rmsPixel``, ``nSources``, and the expected number of such lines by ``chance``.
    """
    config = config or GlintConfig()
    trail = np.full(len(x), -1, dtype=np.int64)
    trails: list[NDArray[np.void]] = []
    free = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    while len(free) >= config.min_sources:
        places = np.stack([x[free], y[free]], axis=1)
        members, chance = _best_line(places, config)
        if len(members) < config.min_sources or chance > config.max_chance:
            break
        fitted = _fit(places[members], chance)
        if fitted["rmsPixel"] > config.max_rms_pixel:
            break
        trail[free[members]] = len(trails)
        trails.append(fitted)
        free = np.delete(free, members)
    return trail, np.array(trails, dtype=GLINT_DTYPE).reshape(-1)


def _best_line(places: NDArray[np.float64], config: GlintConfig) -> tuple[NDArray[np.int64], float]:
    """Find the sources on the line least likely by chance, and how many such lines chance would make."""
    tree = cKDTree(places)
    pairs = tree.query_pairs(config.length_pixel, output_type="ndarray")
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    if len(pairs) == 0:
        return np.zeros(0, dtype=np.int64), np.inf
    n_lines = len(pairs)
    if n_lines > config.max_pairs:
        rng = np.random.default_rng(config.seed)
        pairs = pairs[np.sort(rng.choice(n_lines, config.max_pairs, replace=False))]
    geometry = (config.length_pixel, config.tolerance_pixel, config.separation_pixel)
    # Whatever lies within half the length of the middle of a pair is within the length of either.
    near = tree.query_ball_point(places, config.length_pixel, return_sorted=True)
    ends = np.cumsum([len(part) for part in near])
    neighbours = np.concatenate([np.asarray(part, dtype=np.int64) for part in near]), ends
    counts, around = _count(places, pairs, neighbours, geometry)
    share = 2 * config.tolerance_pixel / (np.pi * config.length_pixel)
    # The two that draw the line are on it by construction; what lies on it tells nothing of the density.
    expected = np.maximum(around - counts, 1) * share
    chance = n_lines * np.where(counts < 3, 1.0, pdtrc(np.maximum(counts - 3, 0), expected))
    best = int(np.argmin(np.where(counts >= config.min_sources, chance, np.inf)))
    if counts[best] < config.min_sources:
        return np.zeros(0, dtype=np.int64), np.inf
    everything = np.arange(len(places))
    return _on_line(places, everything, pairs[best, 0], pairs[best, 1], geometry), float(chance[best])


@compiled
def _on_line(places, candidates, one, two, geometry):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """List the candidates near the line through two sources, along it, within the length about the middle."""
    length, tolerance, _ = geometry
    dx, dy = places[two, 0] - places[one, 0], places[two, 1] - places[one, 1]
    norm = max(np.hypot(dx, dy), 1e-9)
    dx, dy = dx / norm, dy / norm
    found, along = np.empty(len(candidates), dtype=np.int64), np.empty(len(candidates))
    n = 0
    for k in candidates:
        u, v = places[k, 0] - places[one, 0], places[k, 1] - places[one, 1]
        t = u * dx + v * dy
        if abs(u * dy - v * dx) <= tolerance and abs(t - 0.5 * norm) <= 0.5 * length:
            place = n  # inserted in order: they are few, and a sort takes seconds to compile
            while place > 0 and along[place - 1] > t:
                found[place], along[place] = found[place - 1], along[place - 1]
                place -= 1
            found[place], along[place], n = k, t, n + 1
    return found[:n]


@compiled
def _count(places, pairs, neighbours, geometry):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Separate sources on the line through each pair, and how many lie within the length of either of it."""
    separation = geometry[2]
    rows, ends = neighbours
    counts, around = np.zeros(len(pairs), dtype=np.int64), np.zeros(len(pairs), dtype=np.int64)
    for k in range(len(pairs)):
        one, two = pairs[k, 0], pairs[k, 1]
        begin, begin_two = ends[one - 1] if one > 0 else 0, ends[two - 1] if two > 0 else 0
        last = -1
        for m in _on_line(places, rows[begin : ends[one]], one, two, geometry):
            apart = last < 0
            if not apart:
                apart = np.hypot(places[m, 0] - places[last, 0], places[m, 1] - places[last, 1]) >= separation
            if apart:
                counts[k], last = counts[k] + 1, m
        around[k] = (ends[one] - begin + ends[two] - begin_two) // 2
    return counts, around


def _fit(places: NDArray[np.float64], chance: float) -> NDArray[np.void]:
    """Fit a line by least squares of the distances from it."""
    fitted = np.zeros((), dtype=GLINT_DTYPE)
    middle = places.mean(axis=0)
    _, _, axes = np.linalg.svd(places - middle)
    direction, normal = axes
    along = (places - middle) @ direction
    fitted["angle"] = np.degrees(np.arctan2(direction[1], direction[0])) % 180.0
    upright = direction[0] == 0
    fitted["slope"] = np.inf if upright else direction[1] / direction[0]
    fitted["intercept"] = np.nan if upright else middle[1] - fitted["slope"] * middle[0]
    fitted["lengthPixel"] = np.ptp(along)
    fitted["rmsPixel"] = np.sqrt(np.mean(((places - middle) @ normal) ** 2))
    fitted["nSources"], fitted["chance"] = len(places), chance
    return fitted
