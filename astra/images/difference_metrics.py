"""How good a difference image is: figures of the whole, fluxes of blank sky, and samples over the frame.

Names are those of Rubin's metrics where it has the same; sizes of PSFs are FWHM [pixel].
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astra.images.blank_sky import find_blank_sky
from astra.images.dia_pixels import IGNORED
from astra.images.exposure import (
    MASK_DETECTED,
    MASK_DETECTED_NEGATIVE,
    MASK_NO_DATA,
    MASK_SAT,
    Exposure,
    MaskPlane,
    magnitude_ab,
)
from astra.images.forced import forced_photometry
from astra.images.psf import Psf
from astra.images.robust import SIGMA_PER_MAD
from astra.images.sky_sources import find_free_places
from astra.images.spatial import SpatialKernel

HALF_BOX_PIXEL = 64  # of the surroundings of a place
SKY_RADIUS_PIXEL = 8
SKY_MARGIN_PIXEL = 12  # within which a source would reach a place
TRIES = 4  # places looked at for each that is wanted
LIMIT_SNR = 5.0
DETECTED = MASK_DETECTED | MASK_DETECTED_NEGATIVE
SAMPLE_PIXELS = 500_000
PLANES = (
    "BAD", "SAT", "SAT_TEMPLATE", "NO_DATA", "EDGE", "INTRP", "CR", "STREAK", "DETECTED", "DETECTED_NEGATIVE",
)  # fmt: skip
_BITS = {name: np.uint32(MaskPlane[name]) for name in PLANES}
METRIC_DTYPE = np.dtype(
    [(name, "f8") for name in (
        "x", "y", "coord_ra", "coord_dec", "source_density", "dipole_density",
        "science_value", "template_value", "diffim_value",
        "science_variance", "template_variance", "diffim_variance", "science_psfSize", "template_psfSize",
        "psfMatchingKernel_sum", "psfMatchingKernel_dx", "psfMatchingKernel_dy",
        "psfMatchingKernel_length", "psfMatchingKernel_position_angle",
    )]
    + [(f"{name.lower()}_mask_fraction", "f8") for name in PLANES]
)  # fmt: skip


def sample_metrics(
    science: Exposure,
    matched: Exposure,
    difference: Exposure,
    dia_sources: NDArray[Any],
    kernel: SpatialKernel | None,
    *,
    template_psf: Psf | None = None,
    n_places: int = 100,
) -> NDArray[np.void]:
    """Look at a difference at places spread evenly over it.

    Parameters
    ----------
    science, matched, difference : Exposure, shape (ny, nx)
        With WCS for positions and densities on the sky.
    dia_sources : structured ndarray
        ``x``, ``y`` [pixel] and ``isDipole``.
    kernel : SpatialKernel, optional
        The matching kernel; its columns are NaN without one.
    template_psf : Psf, optional
        That of the template before the match.
    n_places : int, optional

    Returns
    -------
    metrics : structured ndarray, dtype `METRIC_DTYPE`
        Densities [1/deg**2] of sources and dipoles, medians and median variances of the three images and
        fractions of mask planes in a box of 129 pixels; sum and centroid [pixel] of the kernel, its length
        and its position angle from the x axis [deg]. Fewer rows where there are little data.
    """
    places = find_free_places([(difference.mask, MASK_NO_DATA | MASK_SAT)], n_places, 0)
    metrics = np.full(len(places), np.nan, dtype=METRIC_DTYPE)
    metrics["x"], metrics["y"] = places[:, 0], places[:, 1]
    images = {"science": science, "template": matched, "diffim": difference}
    for row in metrics:
        _look(row, images, (science.psf, template_psf))
        if kernel is not None:
            _describe(row, kernel.at(row["x"], row["y"]))
    if difference.wcs is not None and len(metrics) > 0:
        metrics["coord_ra"], metrics["coord_dec"] = difference.wcs.all_pix2world(
            places[:, 0], places[:, 1], 0
        )
        _count(metrics, dia_sources, difference)
    return metrics


def _look(row: Any, images: dict[str, Exposure], psfs: tuple[Any, Any]) -> None:
    """Fill what the surroundings of a place tell."""
    x, y = round(row["x"]), round(row["y"])
    box = np.s_[
        max(y - HALF_BOX_PIXEL, 0) : y + HALF_BOX_PIXEL + 1,
        max(x - HALF_BOX_PIXEL, 0) : x + HALF_BOX_PIXEL + 1,
    ]
    mask = images["diffim"].mask[box]
    good = (mask & IGNORED) == 0
    for name, exposure in images.items():
        for column, plane in ((f"{name}_value", exposure.image), (f"{name}_variance", exposure.variance)):
            row[column] = _middle(plane[box][good])
    for name in PLANES:
        row[f"{name.lower()}_mask_fraction"] = np.count_nonzero(mask & _BITS[name]) / mask.size
    for name, psf in zip(("science", "template"), psfs, strict=True):
        row[f"{name}_psfSize"] = np.nan if psf is None else psf.fwhm_pixel(row["x"], row["y"])


def _middle(values: NDArray[np.float32]) -> np.float32:
    """Median of what is finite, NaN of nothing: that of numpy, which looks for NaN by sorting once more."""
    finite = np.isfinite(values)
    values = values if finite.all() else values[finite]
    if not len(values):
        return np.float32(np.nan)
    half = len(values) // 2
    parted = np.partition(values, half)
    return (
        parted[half] if len(values) % 2 else np.mean([parted[:half].max(), parted[half]], dtype=values.dtype)
    )


def _describe(row: Any, stamp: NDArray[np.float64]) -> None:
    """Fill sum and centroid of a kernel."""
    offset = np.arange(len(stamp)) - len(stamp) // 2
    total = stamp.sum()
    dx, dy = stamp.sum(axis=0) @ offset / total, stamp.sum(axis=1) @ offset / total
    row["psfMatchingKernel_sum"], row["psfMatchingKernel_dx"], row["psfMatchingKernel_dy"] = total, dx, dy
    row["psfMatchingKernel_length"] = np.hypot(dx, dy)
    row["psfMatchingKernel_position_angle"] = np.degrees(np.arctan2(dy, dx))


def _count(metrics: NDArray[np.void], dia_sources: NDArray[Any], difference: Exposure) -> None:
    """Fill the densities of sources and dipoles in the box about each place, as far as it is on the frame."""
    ny, nx = difference.shape
    wide = np.minimum(metrics["x"] + HALF_BOX_PIXEL, nx - 1) - np.maximum(metrics["x"] - HALF_BOX_PIXEL, 0)
    high = np.minimum(metrics["y"] + HALF_BOX_PIXEL, ny - 1) - np.maximum(metrics["y"] - HALF_BOX_PIXEL, 0)
    area = wide * high * abs(np.linalg.det(difference.wcs.pixel_scale_matrix))  # type: ignore[union-attr]
    places = np.stack([metrics["x"], metrics["y"]], axis=1)
    for name, kept in (("source", slice(None)), ("dipole", dia_sources["isDipole"])):
        some = dia_sources[kept]
        tree = cKDTree(np.stack([some["x"], some["y"]], axis=1))
        near = tree.query_ball_point(places, HALF_BOX_PIXEL, p=np.inf, return_length=True)
        metrics[f"{name}_density"] = near / area


def sky_dia_sources(
    science: Exposure, matched: Exposure, difference: Exposure, n_sources: int = 100
) -> NDArray[Any]:
    """Measure fluxes on the difference where there is no source in any of the images.

    Returns
    -------
    sky_sources : structured ndarray
        ``x``, ``y`` [pixel] and the columns of `astra.images.forced.FORCED_DTYPE`; fewer than asked for on a
        crowded field.
    """
    planes = [(difference.mask, IGNORED | DETECTED), (science.mask, DETECTED)]
    places = find_free_places(planes, TRIES * n_sources, SKY_RADIUS_PIXEL // 2)
    blank = (place for place in places if _is_blank((science, matched), round(place[0]), round(place[1])))
    places = np.array(list(islice(blank, n_sources))).reshape(-1, 2)
    forced = forced_photometry(difference, places[:, 0], places[:, 1])
    found = np.zeros(len(places), dtype=[("x", "f8"), ("y", "f8"), *forced.dtype.descr])
    found["x"], found["y"] = places[:, 0], places[:, 1]
    for name in forced.dtype.names or ():
        found[name] = forced[name]
    return found


def _is_blank(images: tuple[Exposure, Exposure], x: int, y: int) -> bool:
    """Tell whether there is nothing but sky near a pixel."""
    half = SKY_RADIUS_PIXEL // 2
    top, left = max(y - half - SKY_MARGIN_PIXEL, 0), max(x - half - SKY_MARGIN_PIXEL, 0)
    part = np.s_[top : y + half + SKY_MARGIN_PIXEL + 1, left : x + half + SKY_MARGIN_PIXEL + 1]
    pieces = [e.replace(image=e.image[part], variance=e.variance[part], mask=e.mask[part]) for e in images]
    near = np.s_[y - half - top : y + half + 1 - top, x - half - left : x + half + 1 - left]
    return bool(find_blank_sky(pieces)[near].all())


def difference_figures(difference: Exposure, sky_sources: NDArray[Any]) -> dict[str, float]:
    """Figures of the whole difference.

    Returns
    -------
    figures : dict of str to float
        ``diffimLimitingMagnitude`` [mag AB, 5 sigma, point source]; median and robust scatter of the S/N of
        sky sources ``skySourceSnrMedian`` and ``skySourceSnrScatter``, and their number ``skySources``.
    """
    figures = {"diffimLimitingMagnitude": limiting_magnitude(difference)}
    snr = sky_sources["psfFlux"] / sky_sources["psfFluxErr"]
    snr = snr[np.isfinite(snr)]
    figures["skySources"] = float(len(snr))
    median = float(np.median(snr)) if len(snr) > 0 else float("nan")
    scatter = SIGMA_PER_MAD * float(np.median(np.abs(snr - median))) if len(snr) > 0 else float("nan")
    return figures | {"skySourceSnrMedian": median, "skySourceSnrScatter": scatter}


def limiting_magnitude(exposure: Exposure) -> float:
    """Magnitude of a point source of 5 sigma on the sky of an exposure in nJy [mag AB]; NaN without PSF."""
    ny, nx = exposure.shape
    step = max(1, round(np.sqrt(ny * nx / SAMPLE_PIXELS)))  # a sample of the pixels tells the median as well
    mask, variance = exposure.mask[::step, ::step], exposure.variance[::step, ::step]
    good = ((mask & IGNORED) == 0) & (variance > 0)
    if exposure.psf is None or not good.any():
        return float("nan")
    noise = np.sqrt(np.median(variance[good]) / np.sum(exposure.psf.stamp(nx / 2, ny / 2) ** 2))
    return float(magnitude_ab(LIMIT_SNR * float(noise)))
