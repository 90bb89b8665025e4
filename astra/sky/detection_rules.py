"""Which detections are associated, and which may found an object: rules with a name for each reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]

ARCSEC_PER_DEG = 3600.0
SECONDS_PER_DAY = 86400.0
_REASON = "U40"

# Detections that are no measurement of the sky are not associated, nor stored.
REJECTED_FLAGS = (
    "sky_source",
    "centroid_flag",
    "pixelFlags_crCenter",
    "pixelFlags_high_varianceCenterAll",
    "pixelFlags_offimage",
)
# A detection on such pixels may belong to an object, but may not found one.
UNTRUSTED_FLAGS = (
    "centroid_flag",
    "pixelFlags_crCenter",
    "pixelFlags_nodataCenter",
    "pixelFlags_interpolatedCenter",
    "pixelFlags_saturatedCenter",
    "pixelFlags_suspectCenter",
    "pixelFlags_streakCenter",
    "glint_trail",
)


@dataclass(frozen=True)
class DetectionRules:
    """Limits on detections.

    Flags, the hole in the science image and trails are as Rubin has them. Rubin asks new objects for a
    reliability of 0.1, too; here only who sets ``min_new_reliability`` does, as scores depend on the model.

    Parameters
    ----------
    rejected_flags : tuple of str, optional
        Flags that no detection has which is associated and stored; those that were not measured count as
        not set.
    min_science_snr : float, optional
        Least ``scienceFlux / scienceFluxErr`` of those: below, the science image has a hole where the
        difference has a source.
    max_trail_deg_per_day : float, optional
        Fastest motion of those that is seen as a trail [deg/d]; infinite for no limit.
    reject_edge_trails : bool, optional
        Reject trails that run over the edge of the image if what is seen is half as long as allowed.
    untrusted_flags : tuple of str, optional
        Flags that no detection has which founds an object.
    min_new_snr, min_new_reliability : float, optional
        Least ``abs(snr)`` (of the PSF flux; Rubin takes the aperture's) and ``reliability`` of those; 0 for
        no limit.
    low_new_snr, low_new_reliability : float, optional
        Detections below both of them found none either; 0 for no limit.
    """

    rejected_flags: tuple[str, ...] = REJECTED_FLAGS
    min_science_snr: float = -2.0
    max_trail_deg_per_day: float = 10.0
    reject_edge_trails: bool = True
    untrusted_flags: tuple[str, ...] = UNTRUSTED_FLAGS
    min_new_snr: float = 0.0
    min_new_reliability: float = 0.0
    low_new_snr: float = 0.0
    low_new_reliability: float = 0.0


def rejection_reasons(
    sources: NDArray[Any], rules: DetectionRules | None = None, *, pixel_scale_arcsec: float = np.nan
) -> NDArray[np.str_]:
    """Say why detections are no measurements of the sky, to be neither associated nor stored.

    Parameters
    ----------
    sources : structured ndarray, shape (n,)
        With ``ra`` and ``dec`` [deg], and as many flags, fluxes and trails as are measured.
    rules : DetectionRules, optional
        The limits.
    pixel_scale_arcsec : float, optional
        Scale of ``bboxSize`` [arcsec/pixel], which stands for the length of a trail that could not be
        fitted; by default it is not looked at.

    Returns
    -------
    reasons : str ndarray, shape (n,)
        The first that applies: ``position``, a flag, ``science_snr``, ``trail``, ``trail_bbox`` or
        ``edge_trail``; empty for what is kept.
    """
    rules = rules or DetectionRules()
    return _first_reasons(len(sources), _rejections(sources, rules, pixel_scale_arcsec))


def distrust_reasons(sources: NDArray[Any], rules: DetectionRules | None = None) -> NDArray[np.str_]:
    """Say why detections may not found an object, shape (n,); empty for those that may.

    The first that applies: a flag, ``snr``, ``reliability`` or ``snr_and_reliability``.
    """
    rules = rules or DetectionRules()
    return _first_reasons(len(sources), _distrusts(sources, rules))


def count_reasons(reasons: NDArray[np.str_]) -> dict[str, int]:
    """Count reasons by name; empty ones are left out."""
    names, counts = np.unique(reasons[reasons != ""], return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def any_flag(sources: NDArray[Any], flags: Sequence[str]) -> BoolArray:
    """Whether any of the named flags is set, for each row; flags that are not measured count as not set."""
    result = np.zeros(len(sources), dtype=bool)
    for name in set(flags).intersection(sources.dtype.names or ()):
        result |= sources[name].astype(bool)
    return result


def _first_reasons(size: int, found: Iterator[tuple[str, BoolArray]]) -> NDArray[np.str_]:
    reasons = np.zeros(size, dtype=_REASON)
    for name, applies in found:
        reasons[(reasons == "") & applies] = name
    return reasons


def _rejections(
    sources: NDArray[Any], rules: DetectionRules, pixel_scale_arcsec: float
) -> Iterator[tuple[str, BoolArray]]:
    names = set(sources.dtype.names or ())
    yield "position", ~(np.isfinite(sources["ra"]) & np.isfinite(sources["dec"]))
    yield from _flags(sources, rules.rejected_flags)
    if {"scienceFlux", "scienceFluxErr"} <= names:
        yield "science_snr", sources["scienceFlux"] < rules.min_science_snr * sources["scienceFluxErr"]
    if "exposureTime" not in names:
        return
    # What moves this fast is no longer than the trail it leaves [arcsec].
    limit = rules.max_trail_deg_per_day * ARCSEC_PER_DEG / SECONDS_PER_DAY * sources["exposureTime"]
    if "trailLength" in names:
        yield "trail", sources["trailLength"] >= limit
    if {"bboxSize", "trail_flag"} <= names:
        yield "trail_bbox", sources["trail_flag"] & (sources["bboxSize"] * pixel_scale_arcsec >= limit)
    if rules.reject_edge_trails and {"trail_flag_edge", "trailLength"} <= names:
        yield "edge_trail", sources["trail_flag_edge"] & (sources["trailLength"] >= 0.5 * limit)


def _distrusts(sources: NDArray[Any], rules: DetectionRules) -> Iterator[tuple[str, BoolArray]]:
    names = set(sources.dtype.names or ())
    yield from _flags(sources, rules.untrusted_flags)
    if "snr" in names:
        yield "snr", np.abs(sources["snr"]) < rules.min_new_snr
    if "reliability" in names:
        yield "reliability", sources["reliability"] < rules.min_new_reliability
    if {"snr", "reliability"} <= names:
        is_faint = np.abs(sources["snr"]) < rules.low_new_snr
        yield "snr_and_reliability", is_faint & (sources["reliability"] < rules.low_new_reliability)


def _flags(sources: NDArray[Any], flags: tuple[str, ...]) -> Iterator[tuple[str, BoolArray]]:
    """Yield the flags that were measured, with where they are set."""
    for name in flags:
        if name in (sources.dtype.names or ()):
            yield name, sources[name].astype(bool)
