"""Features that tell a source of the sky from an artefact, from the stamps and columns of each detection.

All are free of units, the same for a source and its negative, and (but for lines along rows and columns) do
not change when the image is turned or mirrored. A feature that cannot be measured is NaN. Those of columns
that only some catalogues have are made where the columns are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled
from astra.errors import FormatError
from astra.images.exposure import MASK_BAD, MASK_NO_DATA, MASK_SAT, MASK_SAT_TEMPLATE, Exposure
from astra.images.psf import sigma_from_fwhm
from astra.images.reliability_kernels import (
    FIT_RADIUS,
    N_LOBES,
    N_RINGS,
    N_SHAPE,
    N_SURROUNDINGS,
    extreme_pulls,
    fit_template_and_point,
    line_snr,
    lobe_numbers,
    ring_residuals,
    shape_numbers,
    smooth_snr,
    steepness,
    surroundings,
)
from astra.images.stamps import copy_stamps, psf_stamps

FEATURES_VERSION = 1
"""Grows when a feature is measured otherwise: models for another version are refused."""

SIDE_PER_FWHM = 6.5  # of the stamps: three FWHM to each side and a pixel more
LARGEST_SIDE = 45  # [pixel]
REACH_FWHM = 8.0  # how far saturation, defects and bright neighbours are looked for
LARGEST_REACH_PIXEL = 60
UNUSABLE = MASK_BAD | MASK_NO_DATA | MASK_SAT | MASK_SAT_TEMPLATE
MANTISSA_BITS = 15  # features are rounded to these, so that the last bits of an input decide nothing
CHUNK = 500  # sources whose stamps are in memory at once

Table = NDArray[Any]
FloatArray = NDArray[np.float64]


class Stamps(NamedTuple):
    """Stamps of detections, shape (n, size, size) each, the difference with the sign of its source.

    Parameters
    ----------
    difference, own, other : float64 ndarray
        The difference, the image in which the source is the brighter, and the other one [nJy]; 0 for pixels
        that cannot be used.
    weight : float64 ndarray
        Inverse variance of the difference [nJy**-2], 0 for pixels that cannot be used.
    psf : float64 ndarray
        Of unit sum.
    centres : float64 ndarray, shape (n, 2)
        x and y of the source on its stamp [pixel].
    """

    difference: FloatArray
    own: FloatArray
    other: FloatArray
    weight: FloatArray
    psf: FloatArray
    centres: FloatArray


def reliability_features(
    dia_sources: Table, difference: Exposure, science: Exposure, matched_template: Exposure
) -> Table:
    """Measure the features of detections.

    Parameters
    ----------
    dia_sources : structured ndarray, shape (n,)
        Detections, columns as in `astra.images.difference_measurement`.
    difference, science, matched_template : Exposure, shape (ny, nx)
        The difference, with PSF, and the two images that it is of, on its grid [nJy].

    Returns
    -------
    features : structured ndarray, shape (n,)
        A float32 column for each feature; NaN where it cannot be measured.

    Raises
    ------
    FormatError
        If the detections lack a column.
    ValueError
        If the difference has no PSF, or the shapes differ.
    """
    _check(dia_sources, difference, science, matched_template)
    columns = column_features(dia_sources)
    parts = [
        pixel_features(dia_sources[start : start + CHUNK], difference, science, matched_template)
        for start in range(0, max(len(dia_sources), 1), CHUNK)
    ]
    pixels = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    everything = columns | pixels
    features = np.empty(len(dia_sources), dtype=[(name, "f4") for name in everything])
    for name, values in everything.items():
        features[name] = rounded(values)
    return features


def rounded(values: FloatArray) -> NDArray[np.float32]:
    """Round to `MANTISSA_BITS`; what is not finite becomes NaN."""
    mantissa, exponent = np.frexp(np.where(np.isfinite(values), values, 0.0))
    scale = 2.0**MANTISSA_BITS
    result = np.ldexp(np.rint(mantissa * scale) / scale, exponent)
    return np.where(np.isfinite(values), result, np.nan).astype(np.float32)


_REQUIRED = (
    "x", "y", "snr", "isNegative", "psfFlux", "psfFluxErr", "psfChi2", "psfNdata", "apFlux", "apFluxErr",
    "scienceFlux", "scienceFluxErr", "templateFlux", "templateFluxErr",
    "ixx", "iyy", "ixy", "ixxPSF", "iyyPSF", "ixyPSF",
)  # fmt: skip


def _check(dia_sources: Table, *exposures: Exposure) -> None:
    missing = [name for name in _REQUIRED if name not in (dia_sources.dtype.names or ())]
    if missing:
        message = f"the reliability of detections needs the columns {', '.join(missing)}"
        raise FormatError(message, missing=missing)
    if exposures[0].psf is None:
        raise ValueError("the reliability of detections needs a difference with a PSF")
    if len({exposure.shape for exposure in exposures}) > 1:
        shapes = ", ".join(str(exposure.shape) for exposure in exposures)
        raise ValueError(f"difference, science image and template must be of one shape, found {shapes}")


def _ratio(numerator: Any, denominator: Any) -> FloatArray:
    """Quotient, NaN for nothing over nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: FloatArray = np.asarray(numerator, float) / np.asarray(denominator, float)
    return quotient


def _log(values: Any) -> FloatArray:
    """Decimal logarithm, -9 for what is not positive."""
    found = np.asarray(values, float)
    return np.where(np.isnan(found), np.nan, np.log10(np.maximum(np.nan_to_num(found), 1e-9)))


def column_features(dia_sources: Table) -> dict[str, FloatArray]:
    """Features of the measured columns alone, by name, shape (n,) each."""
    rows = dia_sources
    sign = np.where(rows["isNegative"], -1.0, 1.0)
    flux, error = sign * rows["psfFlux"], rows["psfFluxErr"]
    own = np.where(rows["isNegative"], rows["templateFlux"], rows["scienceFlux"])
    other = np.where(rows["isNegative"], rows["scienceFlux"], rows["templateFlux"])
    own_error = np.where(rows["isNegative"], rows["templateFluxErr"], rows["scienceFluxErr"])
    other_error = np.where(rows["isNegative"], rows["scienceFluxErr"], rows["templateFluxErr"])
    excess = np.maximum(rows["psfChi2"] - rows["psfNdata"], 0.0)
    size = np.sqrt(np.maximum(rows["ixx"] * rows["iyy"] - rows["ixy"] ** 2, 0.0))
    psf_size = np.sqrt(np.maximum(rows["ixxPSF"] * rows["iyyPSF"] - rows["ixyPSF"] ** 2, 0.0))
    stretch = _ratio(np.hypot(rows["ixx"] - rows["iyy"], 2.0 * rows["ixy"]), rows["ixx"] + rows["iyy"])
    features = {
        "snr": _log(rows["snr"]),
        "fluxToDetectionSnr": _ratio(_ratio(flux, error), rows["snr"]),
        "psfChi2PerPixel": _log(_ratio(rows["psfChi2"], rows["psfNdata"])),
        "misfit": _ratio(np.sqrt(excess), rows["snr"]),
        "apertureToPsf": _ratio(sign * rows["apFlux"], flux),
        "apertureExcess": _ratio(sign * rows["apFlux"] - flux, rows["apFluxErr"]),
        "fluxToOwn": _ratio(flux, np.abs(own)),
        "otherSnr": np.arcsinh(_ratio(other, other_error)),
        "ownSnr": np.arcsinh(_ratio(own, own_error)),
        "otherToFlux": _ratio(other, flux),
        "sizeToPsf": _ratio(size, psf_size),
        "stretch": stretch,
    }
    return features | _optional_features(rows)


def _dipole_features(rows: Table) -> dict[str, FloatArray]:
    """Of a fit of two PSFs: their difference over their mean, and how much better they fit."""
    difference = np.abs(rows["dipoleFluxDiff"])
    gain = _ratio(rows["psfChi2"], rows["psfNdata"]) - _ratio(rows["dipoleChi2"], rows["dipoleNdata"])
    return {
        "dipoleAsymmetry": _ratio(difference, np.abs(rows["dipoleMeanFlux"])),
        "dipoleGain": _ratio(gain * rows["psfNdata"], rows["snr"] ** 2),
    }


def _trail_features(rows: Table) -> dict[str, FloatArray]:
    """Of a fit of a trail: how much better it fits."""
    gain = _ratio(rows["psfChi2"], rows["psfNdata"]) - _ratio(rows["trailChi2"], rows["trailNdata"])
    return {"trailGain": _ratio(gain * rows["psfNdata"], rows["snr"] ** 2)}


_OPTIONAL: Mapping[tuple[str, ...], Callable[[Table], dict[str, FloatArray]]] = {
    ("dipoleFluxDiff", "dipoleMeanFlux", "dipoleChi2", "dipoleNdata"): _dipole_features,
    ("trailChi2", "trailNdata"): _trail_features,
}


def _optional_features(rows: Table) -> dict[str, FloatArray]:
    features: dict[str, FloatArray] = {}
    for columns, measure in _OPTIONAL.items():
        if set(columns) <= set(rows.dtype.names or ()):
            features |= measure(rows)
    return features


def stamp_side(fwhm_pixel: float) -> int:
    """Side of the stamps for a PSF of some width [pixel], odd."""
    return min(2 * int(np.ceil(SIDE_PER_FWHM * fwhm_pixel / 2.0)) + 1, LARGEST_SIDE)


def cut_source_stamps(
    dia_sources: Table, difference: Exposure, science: Exposure, matched_template: Exposure
) -> Stamps:
    """Cut the stamps of detections; parameters as in `reliability_features`."""
    psf, (ny, nx) = difference.psf, difference.shape
    if psf is None:  # pragma: no cover - refused by the caller
        raise ValueError("stamps of a difference need its PSF")
    side = stamp_side(psf.fwhm_pixel(nx / 2, ny / 2))
    x, y = (np.asarray(dia_sources[axis], float) for axis in ("x", "y"))
    columns, rows = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    is_negative = np.asarray(dia_sources["isNegative"], dtype=bool)[:, None, None]
    cut = {}
    for name, plane in (
        ("difference", difference.image),
        ("variance", difference.variance),
        ("science", science.image),
        ("template", matched_template.image),
    ):
        cut[name] = np.full((len(x), side, side), np.nan)
        copy_stamps(plane, columns, rows, cut[name])
    mask = np.zeros((len(x), side, side), np.uint32)
    copy_stamps(difference.mask, columns, rows, mask)
    pair = np.nan_to_num(cut["science"]), np.nan_to_num(cut["template"])
    usable = np.isfinite(cut["difference"]) & (cut["variance"] > 0) & ((mask & UNUSABLE) == 0)
    model = psf_stamps(psf, x, y, side)
    margin = (side - model.shape[1]) // 2
    return Stamps(
        difference=np.where(usable, np.where(is_negative, -1.0, 1.0) * cut["difference"], 0.0),
        own=np.where(is_negative, pair[1], pair[0]),
        other=np.where(is_negative, pair[0], pair[1]),
        weight=np.where(usable, 1.0 / np.where(usable, cut["variance"], 1.0), 0.0),
        psf=np.pad(model, ((0, 0), (margin, margin), (margin, margin))),
        centres=np.stack([x - columns + side // 2, y - rows + side // 2], axis=1),
    )


def pixel_features(
    dia_sources: Table, difference: Exposure, science: Exposure, matched_template: Exposure
) -> dict[str, FloatArray]:
    """Features of the stamps, by name, shape (n,) each; parameters as in `reliability_features`."""
    psf, (ny, nx) = difference.psf, difference.shape
    if psf is None:  # pragma: no cover - refused by the caller
        raise ValueError("features of a difference need its PSF")
    fwhm = psf.fwhm_pixel(nx / 2, ny / 2)
    stamps = cut_source_stamps(dia_sources, difference, science, matched_template)
    flux = np.where(dia_sources["isNegative"], -1.0, 1.0) * dia_sources["psfFlux"]
    table = np.empty((len(dia_sources), _N_NUMBERS))
    _measure_all(stamps, np.nan_to_num(flux), fwhm, _gaussian_taps(fwhm), table)
    reach = min(int(np.ceil(REACH_FWHM * fwhm)), LARGEST_REACH_PIXEL)
    around = _look_around(dia_sources, difference, (science, matched_template), reach)
    return _name_numbers(table, around, np.nan_to_num(flux), stamps, fwhm)


def _look_around(
    dia_sources: Table, difference: Exposure, pair: tuple[Exposure, Exposure], reach_pixel: int
) -> FloatArray:
    """Look at what is near each source, shape (n, N_SURROUNDINGS)."""
    science, matched_template = pair
    masks = difference.mask, science.mask, matched_template.mask
    positions = np.stack([dia_sources["x"], dia_sources["y"]], axis=1).astype(float)
    around = np.empty((len(dia_sources), N_SURROUNDINGS))
    for is_negative, other in ((False, matched_template), (True, science)):
        rows = np.flatnonzero(dia_sources["isNegative"] == is_negative)
        found = np.empty((len(rows), N_SURROUNDINGS))
        _measure_surroundings(masks, other.image, positions[rows], reach_pixel, found)
        around[rows] = found
    return around


def _gaussian_taps(fwhm_pixel: float) -> FloatArray:
    """Weights of a Gaussian as wide as the PSF."""
    sigma = sigma_from_fwhm(fwhm_pixel)
    offset = np.arange(-int(np.ceil(2.5 * sigma)), int(np.ceil(2.5 * sigma)) + 1)
    taps: FloatArray = np.exp(-0.5 * (offset / sigma) ** 2)
    return taps


_FIT, _BEYOND_OWN, _LINE, _STEEPNESS, _EXTREMES = slice(0, 5), 5, 6, 7, slice(8, 10)
_FIRST_RING = 10
_RINGS = slice(_FIRST_RING, _FIRST_RING + 2 * N_RINGS)
_SHAPE = slice(_RINGS.stop, _RINGS.stop + N_SHAPE)
_LOBES = slice(_SHAPE.stop, _SHAPE.stop + N_LOBES)
_N_NUMBERS = _LOBES.stop


@compiled
def _measure_all(stamps, flux, fwhm, taps, table):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill a row of numbers for each source."""
    size = stamps.difference.shape[1]
    snr, radius, first = np.empty((size, size)), FIT_RADIUS * fwhm, _FIRST_RING + 2 * N_RINGS
    for k in range(len(flux)):
        d, w, p, centre = stamps.difference[k], stamps.weight[k], stamps.psf[k], stamps.centres[k]
        _, _, _, table[k, 5], _ = fit_template_and_point(d, w, stamps.own[k], p, centre, radius)
        found = fit_template_and_point(d, w, stamps.other[k], p, centre, radius)
        table[k, 0], table[k, 1], table[k, 2], table[k, 3], table[k, 4] = found
        table[k, 6] = line_snr(d, w, centre, fwhm)
        table[k, 7] = steepness(d, w, p, centre, fwhm)
        table[k, 8], table[k, 9] = extreme_pulls(d, w, p, centre, radius, flux[k])
        ring_residuals(d, w, p, centre, fwhm, flux[k], table[k, _FIRST_RING:first].reshape((2, N_RINGS)))
        shape_numbers(d, w, p, centre, fwhm, table[k, first : first + N_SHAPE])
        smooth_snr(d, w, taps, snr)
        lobe_numbers(snr, centre, fwhm, table[k, first + N_SHAPE :])


@compiled
def _measure_surroundings(masks, image, positions, reach, table):  # type: ignore[no-untyped-def]  # pragma: no cover
    for k in range(len(positions)):
        surroundings(masks, image, positions[k], reach, table[k])


def _name_numbers(
    table: FloatArray, around: FloatArray, flux: FloatArray, stamps: Stamps, fwhm: float
) -> dict[str, FloatArray]:
    """Features out of the numbers of the compiled loops."""
    total, point, other, beyond, count = table[:, _FIT].T
    beyond_own, noise = table[:, _BEYOND_OWN], np.sqrt(2.0 * count)
    rings, shape, lobes = table[:, _RINGS], table[:, _SHAPE], table[:, _LOBES]
    top = stamps.psf.max(axis=(1, 2)) * np.abs(flux)
    features = {
        "pointShare": _ratio(point, total),
        "otherShare": _ratio(other, total),
        "leftByPoint": np.arcsinh(_ratio(total - point - count, noise)),
        "leftByOther": np.arcsinh(_ratio(total - other - count, noise)),
        "highestPull": table[:, _EXTREMES][:, 0],
        "lowestPull": table[:, _EXTREMES][:, 1],
        "pointBeyondOther": _ratio(beyond, point),
        "pointBeyondOwn": _ratio(beyond_own, point),
        "pointSnrBeyondOther": _log(np.sqrt(beyond)),
        "lineSnr": table[:, _LINE],
        "dipoleMoment": shape[:, 0],
        "quadrupoleMoment": shape[:, 1],
        "negativeToPositive": shape[:, 2],
        "sharpness": shape[:, 3],
        "steepness": table[:, _STEEPNESS],
        "usableShare": shape[:, 4],
        "oppositeLobe": _ratio(lobes[:, 1], lobes[:, 0]),
        "positiveAround": _ratio(lobes[:, 2], lobes[:, 0]),
        "negativeAround": _ratio(lobes[:, 3], lobes[:, 0]),
        "deepestAround": lobes[:, 3],
        "highestAround": lobes[:, 2],
        "scatterAround": lobes[:, 4],
        "otherTopToFlux": _log(_ratio(np.maximum(around[:, 4], 0.0), top)),
        "otherTopDistance": np.minimum(around[:, 5] / fwhm, REACH_FWHM),
    }
    for ring in range(N_RINGS):
        features[f"ringPull{ring}"] = np.arcsinh(rings[:, ring])
        features[f"ringExcess{ring}"] = np.arcsinh(rings[:, N_RINGS + ring])
    for column, name in enumerate(("saturated", "defective", "interpolated", "missing")):
        features[f"{name}Distance"] = np.minimum(around[:, column] / fwhm, REACH_FWHM)
    return features
