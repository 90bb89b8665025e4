"""Figures of how well a PSF model describes its stars, and how it behaves away from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astra.images.aperture_correction import ApertureCorrection
from astra.images.exposure import MaskPlane
from astra.images.measurement import positions_of, psf_moments
from astra.images.psf import Psf
from astra.images.robust import SIGMA_PER_MAD
from astra.images.tan_sip import grid_positions, polynomial_design

FloatArray = NDArray[np.float64]

BAD_FOR_PSF = np.uint32(
    MaskPlane.BAD
    | MaskPlane.CR
    | MaskPlane.EDGE
    | MaskPlane.INTRP
    | MaskPlane.NO_DATA
    | MaskPlane.SAT
    | MaskPlane.SUSPECT
)
GRID_PIXEL = 96  # sampling of the model
DISTANCE_PIXEL = 8  # sampling of the distance to the nearest star
CELL = 8  # samples along the side of a cell of them that is left out, or looked at, as a whole
N_STAMPS = 7  # of the model along each axis, with a quartic polynomial in between
MIN_APERTURE_PIXEL = 2.0
APERTURE_SIGMA = 3.0
STAR_SNR = 50.0, 1000.0
MOMENTS = ("30", "21", "12", "03", "40", "31", "22", "13", "04")
MAX_CORRELATED = 2000  # stars in the correlation, the first
TE_RANGES_ARCMIN = {"TE1": (1e-6, 1.0), "TE2": (5.0, 100.0), "TE3": (1e-6, 5.0), "TE4": (5.0, 20.0)}


def psf_at_centre(psf: Psf, shape: tuple[int, int]) -> dict[str, float]:
    """Shape and area of the PSF in the middle of an image.

    Parameters
    ----------
    psf : Psf
        The model.
    shape : tuple of int
        Rows and columns of the image [pixel].

    Returns
    -------
    figures : dict of str to float
        ``psfSigma`` (determinant radius) [pixel]; ``psfIxx``, ``psfIyy``, ``psfIxy`` and the effective area
        ``psfArea`` [pixel**2].
    """
    x, y = np.array([(shape[1] - 1) / 2]), np.array([(shape[0] - 1) / 2])
    ixx, ixy, iyy = psf_moments(psf, x, y, shape)[0].tolist()
    stamp, determinant = psf.stamp(float(x[0]), float(y[0])), ixx * iyy - ixy**2
    return {
        "psfSigma": determinant**0.25 if determinant > 0 else float("nan"),
        "psfIxx": ixx,
        "psfIyy": iyy,
        "psfIxy": ixy,
        "psfArea": float(stamp.sum() / np.sum(stamp**2)),
    }


def psf_ranges(
    psf: Psf, mask: NDArray[np.uint32], correction: ApertureCorrection | None, sigma: float
) -> dict[str, float]:
    """Ranges of PSF width, aperture flux and aperture correction over the good pixels.

    Parameters
    ----------
    psf : Psf
        The model.
    mask : uint32 ndarray, shape (ny, nx)
        Mask plane.
    correction : ApertureCorrection, optional
        Of the PSF fluxes.
    sigma : float
        ``psfSigma`` [pixel].

    Returns
    -------
    figures : dict of str to float
        ``psfTraceRadiusDelta`` [pixel], ``psfApFluxDelta`` (of unit flux) and ``psfApCorrSigmaScaledDelta``
        [1/pixel]: greatest less least value.
    """
    x, y = good_positions(mask, GRID_PIXEL)
    shape = (mask.shape[0], mask.shape[1])
    if len(x) == 0:
        return {}
    moments = psf_moments(psf, x, y, shape)
    figures = {
        "psfTraceRadiusDelta": float(np.ptp(np.sqrt((moments[:, 0] + moments[:, 2]) / 2))),
        "psfApFluxDelta": float(np.ptp(_aperture_fluxes(psf, x, y, shape, sigma))),
    }
    if correction is not None:
        figures["psfApCorrSigmaScaledDelta"] = float(np.ptp(correction.at(x, y))) / sigma
    return figures


def good_positions(mask: NDArray[np.uint32], step: int) -> tuple[FloatArray, FloatArray]:
    """Positions x, y [pixel] of every so many pixels that the PSF can be used on."""
    y, x = np.nonzero((mask[::step, ::step] & BAD_FOR_PSF) == 0)
    return (step * x).astype(np.float64), (step * y).astype(np.float64)


def _aperture_fluxes(
    psf: Psf, x: FloatArray, y: FloatArray, shape: tuple[int, int], sigma: float
) -> FloatArray:
    """Flux of the model within an aperture at positions [pixel], interpolated from some stamps."""
    radius = max(MIN_APERTURE_PIXEL, APERTURE_SIGMA * sigma)
    offset = np.arange(psf.size) - psf.size // 2
    inside = np.clip(radius + 0.5 - np.hypot(offset[:, None], offset), 0.0, 1.0)
    grid = grid_positions(shape, N_STAMPS if psf.order > 0 else 1)
    flux = [np.sum(inside * psf.stamp(px, py)) for px, py in zip(*grid, strict=True)]
    order, scale = 4 if psf.order > 0 else 0, max(shape)
    terms = np.linalg.lstsq(
        polynomial_design(grid[0] / scale, grid[1] / scale, order), np.array(flux), rcond=None
    )[0]
    fluxes: FloatArray = polynomial_design(x / scale, y / scale, order) @ terms
    return fluxes


def psf_star_figures(sources: NDArray[np.void]) -> dict[str, float]:
    """How the shapes of the PSF's stars differ from the model's, and what they are.

    Parameters
    ----------
    sources : structured ndarray, shape (n,)
        As `astra.images.measurement.measure_sources` returns them, with ``calib_psf_used``.

    Returns
    -------
    figures : dict of str to float
        ``nPsfStar``; median and scatter of ``psfStarDeltaE1``, ``psfStarDeltaE2`` and ``psfStarDeltaSize``
        [pixel] (trace radius); ``psfStarScaledDeltaSizeScatter`` (by the median size); ``starEMedian`` and
        ``starUnNormalizedEMedian`` [pixel**2]; and the combinations of third and fourth moments if they were
        measured. Without stars the number alone.
    """
    figures = {"nPsfStar": float(sources["calib_psf_used"].sum())}
    stars = clean_psf_stars(sources)
    if len(stars) == 0:
        return figures
    e1, e2, size = _ellipticity(stars, "")
    e1_psf, e2_psf, size_psf = _ellipticity(stars, "PSF")
    for name, delta in (("E1", e1 - e1_psf), ("E2", e2 - e2_psf), ("Size", size - size_psf)):
        median = float(np.median(delta))
        figures[f"psfStarDelta{name}Median"] = median
        figures[f"psfStarDelta{name}Scatter"] = SIGMA_PER_MAD * float(np.median(np.abs(delta - median)))
    figures["psfStarScaledDeltaSizeScatter"] = figures["psfStarDeltaSizeScatter"] / float(np.median(size))
    figures["starEMedian"] = float(np.median(np.hypot(e1, e2)))
    figures["starUnNormalizedEMedian"] = float(np.median(np.hypot(e1, e2) * 2.0 * size**2))
    return figures | _higher_moments(stars)


def clean_psf_stars(sources: NDArray[np.void]) -> NDArray[np.void]:
    """Stars behind the PSF whose shapes tell something."""
    clean = sources["calib_psf_used"] & ~sources["flag_shape"] & ~sources["flag_psfFlux"]
    clean &= (sources["snr"] >= STAR_SNR[0]) & (sources["snr"] <= STAR_SNR[1])
    for name in ("ixx", "iyy", "ixxPSF", "iyyPSF"):
        clean &= sources[name] > 0
    stars: NDArray[np.void] = sources[clean]
    return stars


def _ellipticity(stars: NDArray[np.void], suffix: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Ellipticities e1 and e2 (distortion) and trace radius [pixel]."""
    xx, yy, xy = (stars[f"{name}{suffix}"].astype(np.float64) for name in ("ixx", "iyy", "ixy"))
    return (xx - yy) / (xx + yy), 2.0 * xy / (xx + yy), np.sqrt((xx + yy) / 2.0)


def _higher_moments(stars: NDArray[np.void]) -> dict[str, float]:
    """Medians of the combinations of third and fourth moments, if they were measured."""
    known = np.logical_and.reduce([np.isfinite(stars[f"m{key}"]) for key in MOMENTS])
    if not known.any():
        return {}
    m: dict[str, Any] = {key: stars[f"m{key}"][known].astype(np.float64) for key in MOMENTS}
    combinations = {
        "starComa1Median": m["30"] + m["12"],
        "starComa2Median": m["21"] + m["03"],
        "starTrefoil1Median": m["30"] - 3.0 * m["12"],
        "starTrefoil2Median": 3.0 * m["21"] - m["03"],
        "starKurtosisMedian": m["40"] + 2.0 * m["22"] + m["04"],
        "starE41Median": m["40"] - m["04"],
        "starE42Median": 2.0 * (m["31"] + m["13"]),
    }
    return {name: float(np.median(values)) for name, values in combinations.items()}


def residual_correlations(sources: NDArray[np.void], scale_arcsec: float) -> dict[str, float]:
    """Correlations of the ellipticity residuals of pairs of PSF stars, in ranges of their separation.

    Parameters
    ----------
    sources : structured ndarray, shape (n,)
        As in `psf_star_figures`.
    scale_arcsec : float
        Side of a pixel [arcsec].

    Returns
    -------
    figures : dict of str to float
        ``psfTE<k>e1``, ``psfTE<k>e2`` and ``psfTE<k>ex``: mean of de1 de1', de2 de2' and de1 de2' over the
        pairs within the range of separations of TE1 to TE4; those without a pair are left out.
    """
    stars = clean_psf_stars(sources)[:MAX_CORRELATED]
    first, second = np.triu_indices(len(stars), k=1)
    if len(first) == 0:
        return {}
    observed, model = _ellipticity(stars, ""), _ellipticity(stars, "PSF")
    d1, d2 = observed[0] - model[0], observed[1] - model[1]
    xy = positions_of(stars)
    separation_arcmin = np.hypot(*(xy[first] - xy[second]).T) * scale_arcsec / 60.0
    figures = {}
    for name, (least, greatest) in TE_RANGES_ARCMIN.items():
        within = (separation_arcmin >= least) & (separation_arcmin <= greatest)
        if within.any():
            i, j = first[within], second[within]
            figures[f"psf{name}e1"] = float(np.mean(d1[i] * d1[j]))
            figures[f"psf{name}e2"] = float(np.mean(d2[i] * d2[j]))
            figures[f"psf{name}ex"] = float(np.mean(d1[i] * d2[j] + d2[i] * d1[j])) / 2.0
    return figures


def farthest_from_stars(mask: NDArray[np.uint32], stars: FloatArray) -> float:
    """Greatest distance of a good pixel from its nearest PSF star.

    Parameters
    ----------
    mask : uint32 ndarray, shape (ny, nx)
        Mask plane.
    stars : float64 ndarray, shape (n, 2)
        Positions x, y of the stars [pixel].

    Returns
    -------
    distance : float
        [pixel]; NaN without stars or good pixels.
    """
    good = (mask[::DISTANCE_PIXEL, ::DISTANCE_PIXEL] & BAD_FOR_PSF) == 0
    if len(stars) == 0 or not good.any():
        return float("nan")
    good = np.pad(good, [(0, -n % CELL) for n in good.shape])
    rows, columns = (n // CELL for n in good.shape)
    cells = good.reshape(rows, CELL, columns, CELL)
    row, column = np.nonzero(cells.any(axis=(1, 3)))
    side, tree = CELL * DISTANCE_PIXEL, cKDTree(stars)
    distance, _ = tree.query(side * np.stack([column, row], axis=-1))
    # Over a cell the distance changes by less than its diagonal: only cells that may win are looked at.
    hopeful = distance + 2.0 * side * np.sqrt(2.0) >= distance.max()
    in_row, in_column = np.divmod(np.arange(CELL**2), CELL)
    x = column[hopeful, None] * CELL + in_column
    y = row[hopeful, None] * CELL + in_row
    kept = good[y, x]
    return float(tree.query(DISTANCE_PIXEL * np.stack([x[kept], y[kept]], axis=-1))[0].max())
