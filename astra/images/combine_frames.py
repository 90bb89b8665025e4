"""Statistics of single calibration frames, and which frames are unlike the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.errors import DataError
from astra.images.exposure import MASK_BAD, MASK_NO_DATA, MASK_SAT
from astra.images.isr import CorrectedFrame
from astra.images.raw_image import RawImage
from astra.images.robust import SIGMA_PER_MAD

UNUSABLE = MASK_BAD | MASK_SAT | MASK_NO_DATA
_MEDIAN_ERROR = 1.2533  # error of a median over that of a mean, of Gaussian values
_SAMPLE_PIXELS = 2_000_000  # of an image, for its medians
_DARKEST_FLAT = 1e-3  # [adu]
_MAX_SATURATED = 0.01  # share of a flat's pixels
_LEAST_FRAMES = 3  # among which one can be told to be unlike the others
_UNITS = {"bias": "adu", "dark": "adu/s", "flat": "of the frame's"}
_LEAST_FLAT_SNR = 5.0  # level over read noise
# How far a frame may be from the others at least, however well these agree.
_LEVEL_TOLERANCE = 0.2  # of the read noise
_SHAPE_TOLERANCE = 0.01  # of a flat's ratio of amplifiers
_NOISE_TOLERANCE = 0.2  # of the noise


@dataclass(frozen=True)
class FrameStatistics:
    """What is known of one calibration frame.

    Parameters
    ----------
    exposure : int
        Which.
    scale : float
        What its pixels are divided by: 1 for a bias, the dark time [s], the level of a flat [adu].
    levels : dict of str to float
        Median of each live amplifier, divided by the scale.
    level_errors : dict of str to float
        Uncertainty of each level, from the scatter of the pixels.
    noises : dict of str to float
        Scatter from pixel to pixel of each, over that expected of photons and read noise.
    read_noises : dict of str to float
        Read noise of each, from its overscan where there is one [adu of the reference gain].
    saturated : float
        Share of saturated pixels.
    dead : tuple of str
        Amplifiers without signal.
    """

    exposure: int
    scale: float
    levels: dict[str, float]
    level_errors: dict[str, float]
    noises: dict[str, float]
    read_noises: dict[str, float]
    saturated: float
    dead: tuple[str, ...]


def measure_frame(raw: RawImage, frame: CorrectedFrame, kind: str) -> FrameStatistics:
    """Measure a corrected calibration frame.

    Parameters
    ----------
    raw : RawImage
        What it was made of.
    frame : CorrectedFrame
        Without the signature that the kind asks for.
    kind : {"bias", "dark", "flat"}
        What it is combined to.

    Raises
    ------
    DataError
        If the dark time is not positive.
    """
    good = (frame.mask & UNUSABLE) == 0
    rows = max(1, good.size // _SAMPLE_PIXELS)  # medians of a part of the rows are as good
    scale = _scale(raw, frame, good, kind, rows)
    levels, errors, noises, read_noises = {}, {}, {}, {}
    for amplifier, overscan in zip(frame.amplifiers, frame.overscans, strict=True):
        to_reference = amplifier.gain / raw.reference_gain
        measured = overscan.noise_adu * to_reference
        nominal = amplifier.read_noise / raw.reference_gain
        read_noises[amplifier.name] = float(measured if np.isfinite(measured) else nominal)
        place = amplifier.assembled
        section = frame.image[place][::rows][good[place][::rows]]
        if amplifier.name not in frame.dead and section.size:
            level, noise = float(np.median(section)), _pixel_noise(frame.image[place], rows)
            expected = max(level, 0.0) / raw.reference_gain + read_noises[amplifier.name] ** 2
            levels[amplifier.name] = level / scale
            errors[amplifier.name] = _MEDIAN_ERROR * noise / scale / float(np.sqrt(section.size))
            noises[amplifier.name] = noise / float(np.sqrt(expected)) if expected > 0 else 1.0
    saturated = float(np.mean((frame.mask & MASK_SAT) != 0))
    return FrameStatistics(
        raw.info.visit, scale, levels, errors, noises, read_noises, saturated, tuple(frame.dead)
    )


def find_outliers(frames: Sequence[FrameStatistics], kind: str, clip_sigma: float) -> dict[int, str]:
    """Find frames that are unlike the others.

    Parameters
    ----------
    frames : sequence of FrameStatistics
        All those to combine.
    kind : {"bias", "dark", "flat"}
        Of flats the ratios of the amplifiers are compared, not the levels.
    clip_sigma : float
        Distance from the median of the frames, in robust sigma of these.

    Returns
    -------
    outliers : dict of int to str
        Why, by position.
    """
    found = {}
    for index, frame in enumerate(frames):
        if kind == "flat" and frame.saturated > _MAX_SATURATED:
            found[index] = f"{100 * frame.saturated:.0f} % of its pixels are saturated"
        if kind == "flat" and frame.scale < _LEAST_FLAT_SNR * max(frame.read_noises.values()):
            found.setdefault(index, f"its level of {frame.scale:.1f} adu is not above the noise")
    for name in sorted({name for frame in frames for name in frame.levels}):
        levels = np.array([frame.levels.get(name, np.nan) for frame in frames])
        errors = clip_sigma * np.array([frame.level_errors.get(name, 0.0) for frame in frames])
        least = [_SHAPE_TOLERANCE if kind == "flat" else _level_tolerance(frame, name) for frame in frames]
        for index in _unlike(levels, np.maximum(errors, least), clip_sigma):
            found.setdefault(index, _say(f"level [{_UNITS[kind]}]", levels, index, name))
        noises = np.array([frame.noises.get(name, np.nan) for frame in frames])
        # The structure of a flat, with its level, is a part of its scatter.
        for index in _unlike(noises, _NOISE_TOLERANCE * noises, clip_sigma) if kind != "flat" else ():
            found.setdefault(index, _say("noise over that expected", noises, index, name))
        read_noises = np.array([frame.read_noises[name] for frame in frames])
        for index in _unlike(read_noises, _NOISE_TOLERANCE * read_noises, clip_sigma):
            found.setdefault(index, _say("read noise [adu]", read_noises, index, name))
    return found


def _say(what: str, values: NDArray[np.float64], index: int, name: str) -> str:
    return f"{what} {values[index]:.4g} in amplifier {name}, the others have {np.nanmedian(values):.4g}"


def _scale(raw: RawImage, frame: CorrectedFrame, good: NDArray[np.bool_], kind: str, step: int) -> float:
    if kind == "bias":
        return 1.0
    if kind == "dark":
        time_s = raw.info.exposure_time_s if raw.dark_time_s is None else raw.dark_time_s
        if not time_s > 0:
            message = f"dark frame {raw.info.visit} has a dark time of {time_s} s, it must be positive"
            raise DataError(message, exposure=raw.info.visit)
        return time_s
    # A flat without light is left out by its level, which must not be zero until then.
    sample = frame.image[::step][good[::step]]
    return max(float(np.median(sample)), _DARKEST_FLAT) if sample.size else _DARKEST_FLAT


def _pixel_noise(section: NDArray[np.float32], step: int) -> float:
    """Scatter of a section from pixel to pixel: rows less the next ones, so that gradients drop out."""
    n_rows = len(section) // 2 * 2
    if n_rows == 0:
        return 0.0
    difference = section[: n_rows : 2 * step] - section[1 : n_rows : 2 * step]
    deviation = np.abs(difference - np.median(difference))
    return SIGMA_PER_MAD * float(np.median(deviation)) / float(np.sqrt(2.0))


def _level_tolerance(frame: FrameStatistics, name: str) -> float:
    """Return how far a level may be from the others: a part of the read noise [unit of the level]."""
    return _LEVEL_TOLERANCE * frame.read_noises[name] / frame.scale


def _unlike(values: NDArray[np.float64], tolerance: NDArray[np.float64], clip_sigma: float) -> list[int]:
    """Return the positions of values far from their median, if there are enough to tell."""
    if np.isfinite(values).sum() < _LEAST_FRAMES:
        return []
    middle = np.nanmedian(values)
    limit = np.maximum(clip_sigma * SIGMA_PER_MAD * np.nanmedian(np.abs(values - middle)), tolerance)
    with np.errstate(invalid="ignore"):
        return [int(index) for index in np.flatnonzero(np.abs(values - middle) > limit)]
