"""Instrument signature removal: overscan, trimming and assembly, linearity, variance and mask.

Pure functions on one raw frame; where the sections of a frame lie is known in `astra.instruments`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astra.images.amplifier import READOUT_CORNERS, Amplifier, Section
from astra.images.exposure import MASK_BAD, MASK_SAT, Exposure
from astra.images.raw_image import RawImage

OverscanStatistic = Literal["mean", "median"]

CLIP_SIGMA = 3.0
_SIGMA_PER_MAD = 1.4826  # of a Gaussian
_CLIPPED_STD = 0.98658  # standard deviation of a unit Gaussian cut at +-3


@dataclass(frozen=True)
class Overscan:
    """What the overscan of one amplifier says.

    Parameters
    ----------
    level : float64 ndarray, shape (n_rows,)
        Level to subtract from each row [adu].
    noise_adu : float
        Read noise, from the scatter about the level [adu].
    """

    level: NDArray[np.float64]
    noise_adu: float


@dataclass(frozen=True)
class CorrectedFrame:
    """A raw frame without the signature of the instrument.

    Parameters
    ----------
    image, variance : float32 ndarray, shape (ny, nx)
        Signal [adu] and its variance [adu**2].
    mask : uint32 ndarray, shape (ny, nx)
        ``SAT`` and ``BAD`` of `MaskPlane`.
    overscans : tuple of Overscan
        One for each amplifier.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint32]
    overscans: tuple[Overscan, ...]


def remove_signature(
    raw: NDArray[Any],
    amplifiers: Sequence[Amplifier],
    *,
    statistic: OverscanStatistic = "mean",
    per_row: bool = True,
    reference_gain: float | None = None,
    bad_pixels: NDArray[np.bool_] | None = None,
    saturation_grow_pixel: int = 1,
) -> CorrectedFrame:
    """Turn a raw frame into signal, variance and mask.

    Per amplifier: overscan subtracted, saturation marked on the raw values, linearity corrected, section
    trimmed and put where it belongs; variance = signal / gain + (read_noise / gain)**2 [adu**2], where a
    negative signal counts as none. Pixels that are not finite become 0 and ``BAD``.

    Parameters
    ----------
    raw : ndarray, shape (raw_ny, raw_nx)
        Raw values [adu].
    amplifiers : sequence of Amplifier
        Their assembled sections must tile the image.
    statistic : {"mean", "median"}
        Of the overscan; both are clipped at 3 sigma.
    per_row : bool, optional
        Subtract a level for each row, else one for the amplifier.
    reference_gain : float, optional
        Gain of the result [e-/adu]: each amplifier is scaled by its own gain over this one, so that equal
        light gives equal counts. By default each keeps its own.
    bad_pixels : bool ndarray, shape (ny, nx), optional
        True for pixels known to be bad, in the assembled image.
    saturation_grow_pixel : int, optional
        Number of pixels, along rows, columns and diagonals, by which saturated areas grow.

    Returns
    -------
    frame : CorrectedFrame

    Raises
    ------
    ValueError
        If the sections do not fit the raw frame or do not tile the image.
    """
    values = np.ascontiguousarray(raw, dtype=np.float32)
    shape = _assembled_shape(amplifiers, values.shape)
    image, variance = np.empty(shape, np.float32), np.empty(shape, np.float32)
    mask = np.zeros(shape, np.uint32)
    overscans = []
    for amplifier in amplifiers:
        overscan = measure_overscan(values[amplifier.overscan], statistic=statistic, per_row=per_row)
        _correct_amplifier(
            values[amplifier.data],
            overscan.level,
            amplifier.gain,
            (amplifier.read_noise / amplifier.gain) ** 2,
            amplifier.saturation,
            np.array(amplifier.linearity, dtype=np.float64),
            *(_in_readout_order(plane, amplifier) for plane in (image, variance, mask)),
        )
        if reference_gain is not None:
            image[amplifier.assembled] *= amplifier.gain / reference_gain
            variance[amplifier.assembled] *= (amplifier.gain / reference_gain) ** 2
        overscans.append(overscan)
    mask = _grow(mask, MASK_SAT, saturation_grow_pixel) if saturation_grow_pixel > 0 else mask
    if bad_pixels is not None:
        mask[bad_pixels] |= MASK_BAD
    return CorrectedFrame(image, variance, mask, tuple(overscans))


def correct_raw(raw: RawImage) -> Exposure:
    """Remove the signature of the instrument from a raw image.

    Parameters
    ----------
    raw : RawImage
        As a camera reads it.

    Returns
    -------
    exposure : Exposure
        In [adu] of ``raw.reference_gain``, with the WCS of the raw image.

    Raises
    ------
    ValueError
        If the sections of the amplifiers do not fit the raw frame or do not tile the image.
    """
    corrected = remove_signature(
        raw.pixels, raw.amplifiers, reference_gain=raw.reference_gain, bad_pixels=raw.defects
    )
    metadata = {**raw.metadata, "ISRUNIT": "adu", "OVERSCAN": "mean per row", "ISRGAIN": raw.reference_gain}
    for index, overscan in enumerate(corrected.overscans, start=1):
        metadata[f"OSLEVEL{index}"] = float(np.mean(overscan.level))
        metadata[f"OSNOISE{index}"] = overscan.noise_adu
    return Exposure(
        image=corrected.image,
        variance=corrected.variance,
        mask=corrected.mask,
        info=raw.info,
        gain=raw.reference_gain,
        wcs=raw.wcs,
        metadata=metadata,
    )


def measure_overscan(
    section: NDArray[Any], *, statistic: OverscanStatistic = "mean", per_row: bool = True
) -> Overscan:
    """Measure the level and the noise of an overscan section.

    Parameters
    ----------
    section : ndarray, shape (n_rows, n_columns)
        Raw values of the overscan [adu].
    statistic : {"mean", "median"}
        Which average; values beyond 3 robust sigma of the row's median, or not finite, are left out.
    per_row : bool, optional
        A level for each row, else the same for all.

    Returns
    -------
    overscan : Overscan

    Raises
    ------
    ValueError
        If the section is empty or has no finite value in a row.
    """
    values = np.asarray(section, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"an overscan section is 2-d and not empty, found shape {values.shape}")
    lines = values if per_row else values.reshape(1, -1)
    finite = np.isfinite(lines)
    if not finite.any(axis=1).all():
        raise ValueError("an overscan row has no finite value")
    middle = _median(lines, finite)
    residual = np.where(finite, lines - middle, 0.0)
    sigma = _SIGMA_PER_MAD * float(np.median(np.abs(residual[finite])))
    # Whole adu: a quiet overscan may have a median deviation of zero.
    kept = finite & (np.abs(residual) <= CLIP_SIGMA * max(sigma, 1.0))
    level = _mean(lines, kept) if statistic == "mean" else _median(lines, kept)
    noise = _clipped_noise(lines - level, kept)
    return Overscan(np.broadcast_to(level[:, 0], len(values)).copy(), noise)


def measure_gain(first: NDArray[Any], second: NDArray[Any], *, noise_adu: float, n_bins: int = 20) -> float:
    """Measure a gain by photon transfer from two flats of equal illumination.

    The variance of the difference of the flats, in bins of their mean, is that of the photons, mean / gain,
    and of the read noise; structure that both flats share drops out. One slope is fitted to the bins.

    Parameters
    ----------
    first, second : ndarray, shape (ny, nx)
        Signals without overscan [adu], of one amplifier.
    noise_adu : float
        Read noise [adu].
    n_bins : int, optional
        Number of bins with equally many pixels.

    Returns
    -------
    gain : float
        [e-/adu]

    Raises
    ------
    ValueError
        If the flats differ in shape, or have no signal above zero.
    """
    if first.shape != second.shape:
        raise ValueError(f"two flats must have one shape, found {first.shape} and {second.shape}")
    a, b = np.asarray(first, dtype=np.float64).ravel(), np.asarray(second, dtype=np.float64).ravel()
    mean = 0.5 * (a + b)
    bins = np.array_split(np.argsort(mean), n_bins)
    signal = np.array([np.median(mean[chosen]) for chosen in bins])
    photons = np.array([_difference_variance(a[chosen], b[chosen]) for chosen in bins]) - noise_adu**2
    # The variance of a variance goes as its square, so that each bin tells the ratio equally well.
    used = signal > noise_adu**2
    if not used.any():
        raise ValueError(f"the flats have no signal above the read noise of {noise_adu} adu")
    return float(np.sum(used) / np.sum(photons[used] / signal[used]))


def _difference_variance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Variance of one flat, from the difference to the other scaled to it; clipped."""
    difference = a - b * (np.median(a) / np.median(b))
    difference -= np.median(difference)
    sigma = _SIGMA_PER_MAD * np.median(np.abs(difference))
    kept = difference[np.abs(difference) <= CLIP_SIGMA * sigma]
    return float(np.var(kept)) / _CLIPPED_STD**2 / 2.0


def _median(lines: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    if kept.all():
        return np.median(lines, axis=1, keepdims=True)
    return np.nanmedian(np.where(kept, lines, np.nan), axis=1, keepdims=True)


def _mean(lines: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.mean(lines, axis=1, keepdims=True, where=kept)
    return mean


def _clipped_noise(residual: NDArray[np.float64], kept: NDArray[np.bool_]) -> float:
    """Measure the scatter about the levels, corrected for the cut and for the levels being fitted."""
    n_free = max(int(kept.sum()) - len(residual), 1)
    return float(np.sqrt(np.sum(residual**2, where=kept) / n_free)) / _CLIPPED_STD


def _assembled_shape(amplifiers: Sequence[Amplifier], raw_shape: tuple[int, ...]) -> tuple[int, int]:
    """Shape of the image that the amplifiers tile; ValueError if they do not."""
    if len(raw_shape) != 2 or not amplifiers:
        raise ValueError(f"a raw frame is 2-d and has an amplifier, found {raw_shape} and {len(amplifiers)}")
    ny, nx = (max(int(amp.assembled[axis].stop) for amp in amplifiers) for axis in (0, 1))
    covered = np.zeros((ny, nx), dtype=np.uint8)
    for amplifier in amplifiers:
        covered[amplifier.assembled] += 1
        _check_sections(amplifier, raw_shape, covered[amplifier.assembled].shape)
    if not (covered == 1).all():
        raise ValueError(f"the assembled sections do not tile an image of shape {(ny, nx)}")
    return ny, nx


def _check_sections(
    amplifier: Amplifier, raw_shape: tuple[int, ...], assembled_shape: tuple[int, ...]
) -> None:
    if _shape(amplifier.data, raw_shape) != assembled_shape:
        message = (
            f"amplifier {amplifier.name}: data section {amplifier.data} of a raw frame of shape {raw_shape} "
            f"does not have the shape {assembled_shape} of its place in the image"
        )
        raise ValueError(message)
    if _shape(amplifier.overscan, raw_shape)[0] != assembled_shape[0]:
        message = (
            f"amplifier {amplifier.name}: overscan section {amplifier.overscan} of a raw frame of shape "
            f"{raw_shape} does not have the {assembled_shape[0]} rows of the data"
        )
        raise ValueError(message)


def _shape(section: Section, raw_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a section as it exists in the frame."""
    return tuple(len(range(*part.indices(size))) for part, size in zip(section, raw_shape, strict=True))


def _in_readout_order(plane: NDArray[Any], amplifier: Amplifier) -> NDArray[Any]:
    """View of an amplifier's place in the image, in the order of its raw data."""
    step_y, step_x = READOUT_CORNERS[amplifier.readout_corner]
    return plane[amplifier.assembled][::step_y, ::step_x]


@njit(cache=True)
def _correct_amplifier(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    raw, level, gain, noise_variance, saturation, linearity, image, variance, mask
):  # pragma: no cover (compiled)
    """Fill image, variance and mask of one amplifier in one pass over its raw values."""
    photon_scale, floor, nothing = np.float32(1.0 / gain), np.float32(noise_variance), np.float32(0.0)
    for y in range(raw.shape[0]):
        row_level = np.float32(level[y])
        for x in range(raw.shape[1]):
            finite = np.isfinite(raw[y, x])
            signal = raw[y, x] - row_level if finite else nothing
            correction = 0.0
            for k in range(linearity.size - 1, -1, -1):
                correction = (correction + linearity[k]) * signal
            signal = np.float32(signal + correction * signal)
            image[y, x] = signal
            variance[y, x] = max(signal, nothing) * photon_scale + floor
            saturated = MASK_SAT if raw[y, x] >= saturation else np.uint32(0)
            mask[y, x] = saturated if finite else MASK_BAD


@njit(cache=True)
def _grow(mask, bit, radius):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Copy a mask with one bit grown by a square of half-width ``radius``."""
    ny, nx = mask.shape
    grown = mask.copy()
    for y in range(ny):
        for x in range(nx):
            if mask[y, x] & bit:
                for j in range(max(y - radius, 0), min(y + radius + 1, ny)):
                    for i in range(max(x - radius, 0), min(x + radius + 1, nx)):
                        grown[j, i] |= bit
    return grown
