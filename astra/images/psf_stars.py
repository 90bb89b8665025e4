"""Choose the point sources that the PSF is fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astra.errors import TooFewSourcesError
from astra.images.measurement import FOOTPRINT_FLAGS, positions_of
from astra.images.psf import polynomial_powers
from astra.images.robust import SIGMA_PER_MAD
from astra.images.tan_sip import polynomial_design

FloatArray = NDArray[np.float64]

STARS_PER_TERM = 4  # fewer stars than this per polynomial term lower the order
CLIP_ROUNDS = 4
SIZE_ORDER = 2  # of the variation of stellar sizes over the image
SIZE_SCATTER = 0.02  # least relative scatter of stellar sizes; keeps a perfect image from losing its stars
SIZE_CLIP_SIGMA = 4.0
NEIGHBOUR_FRACTION = 0.1  # of the star's flux: fainter neighbours do no harm


@dataclass(frozen=True)
class PsfFitConfig:
    """How to choose stars and fit the PSF.

    Parameters
    ----------
    size_pixel : int
        Side of the PSF stamp, odd [pixel].
    order : int
        Highest total degree of the variation over the image.
    min_snr : float
        Least S/N of a PSF star.
    max_stars, min_stars : int
        The brightest so many are used; fewer than ``min_stars`` are an error.
    isolation_pixel : float
        No neighbour brighter than a tenth of the star may be nearer than this [pixel].
    core_sigma : float
        The PSF varies within this many sigma of its centre, and is constant outside.
    """

    size_pixel: int = 41
    order: int = 2
    min_snr: float = 50.0
    max_stars: int = 500
    min_stars: int = 8
    isolation_pixel: float = 9.0
    core_sigma: float = 6.0


def select_psf_stars(sources: NDArray[np.void], config: PsfFitConfig) -> NDArray[np.bool_]:
    """Choose bright, clean, isolated sources of the commonest size.

    Parameters
    ----------
    sources : structured ndarray, shape (n,)
        As `astra.images.measurement.measure_sources` returns them.
    config : PsfFitConfig
        Limits.

    Returns
    -------
    chosen : bool ndarray, shape (n,)

    Raises
    ------
    TooFewSourcesError
        If fewer than ``min_stars`` remain.
    """
    clean = sources["snr"] > config.min_snr
    for name in [*FOOTPRINT_FLAGS, "flag_edge", "flag_centroid", "flag_shape", "flag_psfFlux"]:
        clean &= ~sources[name]
    clean &= is_isolated(sources, config.isolation_pixel)
    index = np.flatnonzero(clean)
    size = np.sqrt((sources["ixx"][index] + sources["iyy"][index]) / 2).astype(np.float64)
    index = index[is_common_size(size, positions_of(sources[index]))]
    index = index[np.argsort(-sources["snr"][index])][: config.max_stars]
    if len(index) < config.min_stars:
        message = (
            f"{len(index)} sources are usable as PSF stars (S/N > {config.min_snr:g}, clean, isolated), but "
            f"{config.min_stars} are required; {int(np.sum(sources['snr'] > config.min_snr))} of "
            f"{len(sources)} sources are bright enough"
        )
        raise TooFewSourcesError(message, n_sources=len(index), n_required=config.min_stars)
    chosen = np.zeros(len(sources), dtype=np.bool_)
    chosen[index] = True
    return chosen


def is_isolated(sources: NDArray[np.void], radius_pixel: float) -> NDArray[np.bool_]:
    """Tell which sources have no neighbour of a tenth of their flux within a radius [pixel]."""
    isolated = np.ones(len(sources), dtype=np.bool_)
    if len(sources) < 2:
        return isolated
    pairs = cKDTree(positions_of(sources)).query_pairs(radius_pixel, output_type="ndarray")
    flux = np.nan_to_num(sources["psfInstFlux"])
    for first, second in (pairs.T, pairs.T[::-1]):
        disturbed = flux[second] > NEIGHBOUR_FRACTION * flux[first]
        isolated[first[disturbed]] = False
    return isolated


def is_common_size(size: FloatArray, positions: FloatArray) -> NDArray[np.bool_]:
    """Members of the densest clump of sizes (n,) [pixel]: the stars, for galaxies scatter widely.

    The clump may drift over the image: ``positions`` (n, 2) [pixel].
    """
    if len(size) < 3:
        return np.ones(len(size), dtype=np.bool_)
    centre = half_sample_mode(size)
    chosen = np.abs(size - centre) < 0.1 * centre
    unit = (positions - positions.mean(axis=0)) / max(float(np.ptp(positions)), 1.0)
    for _ in range(CLIP_ROUNDS):
        design = polynomial_design(unit[:, 0], unit[:, 1], affordable_order(int(chosen.sum()), SIZE_ORDER))
        trend = design @ np.linalg.lstsq(design[chosen], size[chosen], rcond=None)[0]
        deviation = np.abs(size - trend)
        scatter = max(SIGMA_PER_MAD * float(np.median(deviation[chosen])), SIZE_SCATTER * centre)
        chosen = deviation < SIZE_CLIP_SIGMA * scatter
    return chosen


def affordable_order(n_stars: int, order: int) -> int:
    """Highest total degree up to ``order`` for which every term has some stars."""
    return max(k for k in range(order + 1) if k == 0 or STARS_PER_TERM * len(polynomial_powers(k)) <= n_stars)


def half_sample_mode(values: FloatArray) -> float:
    """Mode of a sample: the densest half of the densest half and so on (Bickel & Fruehwirth 2006)."""
    ordered = np.sort(values)
    while len(ordered) > 3:
        half = (len(ordered) + 1) // 2
        width = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
        start = int(np.argmin(width))
        ordered = ordered[start : start + half]
    return float(np.median(ordered))
