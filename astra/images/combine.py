"""Combined biases, darks and flats: clipped means over frames, with variance, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astra.errors import DataError
from astra.images.calibration import Calibration, Calibrations
from astra.images.combine_frames import UNUSABLE, FrameStatistics, find_outliers, measure_frame
from astra.images.exposure import MASK_BAD, MASK_NO_DATA, MASK_SUSPECT
from astra.images.isr import CorrectedFrame, remove_signature
from astra.images.isr_config import IsrConfig
from astra.images.raw_image import FrameSource, RawImage


@dataclass(frozen=True)
class CombineConfig:
    """How frames are combined.

    Parameters
    ----------
    clip_sigma : float
        Values further than this from the median of the frames are left out [sigma of the expected noise].
    frame_clip_sigma : float
        Frames whose level or noise is further than this from that of the others are left out
        [robust sigma among the frames].
    min_frames : int
        Fewer frames than this are an error.
    memory_mb : float
        Memory for the part of all frames that is combined at a time [MB]; where they do not fit, frames are
        read again for each part.
    """

    clip_sigma: float = 4.0
    frame_clip_sigma: float = 5.0
    min_frames: int = 3
    memory_mb: float = 200.0


def combine_bias(
    frames: Sequence[FrameSource],
    *,
    calibrations: Calibrations | None = None,
    isr: IsrConfig | None = None,
    config: CombineConfig | None = None,
) -> Calibration:
    """Combine bias frames.

    Parameters
    ----------
    frames : sequence of RawImage, or of functions that read one
        Of one detector. Functions are called for each part of the image, see ``CombineConfig.memory_mb``.
    calibrations : Calibrations, optional
        What is known already, e.g. measured gains.
    isr : IsrConfig, optional
        How the signature is removed, as it will be from the science frames.
    config : CombineConfig, optional
        Options.

    Returns
    -------
    bias : Calibration
        What is left after the overscan [adu of the reference gain].

    Raises
    ------
    DataError
        If too few frames are left, or they are of different detectors.
    """
    isr = replace(isr or IsrConfig(), bias=False, dark=False, flat=False, brighter_fatter=False, fringe=False)
    return _combine("bias", frames, calibrations, isr, config)


def combine_dark(
    frames: Sequence[FrameSource],
    *,
    calibrations: Calibrations | None = None,
    isr: IsrConfig | None = None,
    config: CombineConfig | None = None,
) -> Calibration:
    """Combine dark frames, whose bias is subtracted; parameters and errors as of `combine_bias`.

    Returns
    -------
    dark : Calibration
        [adu/s of the reference gain]
    """
    isr = replace(isr or IsrConfig(), dark=False, flat=False, brighter_fatter=False, fringe=False)
    return _combine("dark", frames, calibrations, isr, config)


def combine_flat(
    frames: Sequence[FrameSource],
    *,
    calibrations: Calibrations | None = None,
    isr: IsrConfig | None = None,
    config: CombineConfig | None = None,
) -> Calibration:
    """Combine flats of one filter, less bias and dark, each divided by its own level.

    Parameters and errors as of `combine_bias`.

    Returns
    -------
    flat : Calibration
        Relative response in electrons, of mean 1 over the good pixels.
    """
    flat = _combine(
        "flat", frames, calibrations, replace(isr or IsrConfig(), flat=False, fringe=False), config
    )
    good = (flat.mask & MASK_BAD) == 0
    mean = np.float32(flat.image[good].mean(dtype=np.float64))
    image = np.where(good, flat.image / mean, np.float32(1.0))
    return replace(flat, image=image, variance=flat.variance / mean**2)


def _combine(
    kind: str,
    frames: Sequence[FrameSource],
    calibrations: Calibrations | None,
    isr: IsrConfig,
    config: CombineConfig | None,
) -> Calibration:
    """Measure all frames, leave out those unlike the others, and combine part by part."""
    options = config or CombineConfig()
    if not frames:
        raise DataError(
            f"a combined {kind} needs at least {options.min_frames} frames, found none", kind=kind
        )
    reader = _Reader(kind, calibrations or Calibrations(), isr)
    first, _ = reader.read(frames[0])
    stack = _Stack(len(frames), first.image.shape, options.memory_mb)
    statistics = [reader.fill(source, stack, index, 0) for index, source in enumerate(frames)]
    reader.require_one_detector()
    outliers = find_outliers(statistics, kind, options.frame_clip_sigma)
    kept = [index for index in range(len(frames)) if index not in outliers]
    _require_enough(kind, statistics, outliers, options)
    sums = _Sums.empty(first.image.shape, len(first.amplifiers))
    noise = _Noise.of(kind, [statistics[index] for index in kept], first, reader.gain)
    for part in range(stack.n_parts):
        if part > 0:
            for index in kept:
                reader.fill(frames[index], stack, index, part, statistics[index])
        rows = stack.rows(part)
        sums.add(stack.values[kept, : rows.stop - rows.start], rows, noise, options.clip_sigma)
    return sums.finish(kind, reader, first, [statistics[i] for i in kept], _name(statistics, outliers))


class _Reader:
    """Reads frames and removes what of the signature is known."""

    def __init__(self, kind: str, calibrations: Calibrations, isr: IsrConfig) -> None:
        self.kind, self.calibrations, self.isr = kind, calibrations, isr
        self.seen: set[tuple[str, int, str]] = set()
        self.gain = 1.0

    def read(self, source: FrameSource) -> tuple[CorrectedFrame, RawImage]:
        raw = source if isinstance(source, RawImage) else source()
        info = raw.info
        self.seen.add((info.instrument, info.detector, info.physical_filter if self.kind == "flat" else ""))
        self.gain = raw.reference_gain
        time_s = info.exposure_time_s if raw.dark_time_s is None else raw.dark_time_s
        try:
            frame = remove_signature(
                raw.pixels,
                raw.amplifiers,
                config=self.isr,
                calibrations=self.calibrations,
                reference_gain=raw.reference_gain,
                bad_pixels=raw.defects,
                dark_time_s=time_s if self.kind != "bias" else 0.0,
            )
        except (DataError, ValueError) as exc:
            message = f"{self.kind} frame {info.visit}, detector {info.detector} of {info.instrument}: {exc}"
            raise DataError(message, exposure=info.visit, detector=info.detector) from exc
        return frame, raw

    def fill(
        self,
        source: FrameSource,
        stack: _Stack,
        index: int,
        part: int,
        known: FrameStatistics | None = None,
    ) -> FrameStatistics:
        """Put a part of a frame on the stack, in its own scale; NaN where it is not usable."""
        frame, raw = self.read(source)
        statistics = known or measure_frame(raw, frame, self.kind)
        rows = stack.rows(part)
        values = stack.values[index, : rows.stop - rows.start]
        np.divide(frame.image[rows], np.float32(statistics.scale), out=values)
        values[(frame.mask[rows] & UNUSABLE) != 0] = np.nan
        return statistics

    def require_one_detector(self) -> None:
        if len(self.seen) > 1:
            found = "; ".join(" ".join(map(str, key)) for key in sorted(self.seen))
            message = f"frames of one detector and filter can be combined to a {self.kind}, found {found}"
            raise DataError(message, kind=self.kind)


class _Stack:
    """The same rows of all frames, as many as the memory allows."""

    def __init__(self, n_frames: int, shape: tuple[int, ...], memory_mb: float) -> None:
        self.n_rows = shape[0]
        rows = int(memory_mb * 1e6 / (4.0 * n_frames * shape[1]))
        self.part_rows = min(max(rows, 1), self.n_rows)
        self.n_parts = math.ceil(self.n_rows / self.part_rows)
        self.values = np.empty((n_frames, self.part_rows, shape[1]), dtype=np.float32)

    def rows(self, part: int) -> slice:
        first = part * self.part_rows
        return slice(first, min(first + self.part_rows, self.n_rows))


@dataclass(frozen=True)
class _Noise:
    """Expected variance of a value v of frame f in amplifier a: ``photon[f] * v + floor[f, a]``."""

    photon: NDArray[np.float64]
    floor: NDArray[np.float64]
    amplifier: NDArray[np.uint8]

    @classmethod
    def of(cls, kind: str, frames: Sequence[FrameStatistics], example: CorrectedFrame, gain: float) -> _Noise:
        which = np.zeros(example.image.shape, dtype=np.uint8)
        for index, amplifier in enumerate(example.amplifiers):
            which[amplifier.assembled] = index
        names = [amplifier.name for amplifier in example.amplifiers]
        scale = np.array([frame.scale for frame in frames])
        noise = np.array([[frame.read_noises[name] for name in names] for frame in frames])
        # Without any noise expected, nothing would be clipped right.
        floor = np.maximum(noise / scale[:, None], 1e-6 / scale[:, None]) ** 2
        photon = np.zeros(len(frames)) if kind == "bias" else 1.0 / (gain * scale)
        return cls(photon, floor, which)


@dataclass(frozen=True)
class _Sums:
    """The combination while it is made."""

    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    count: NDArray[np.uint16]
    chi2: NDArray[np.float64]
    n_free: NDArray[np.float64]

    @classmethod
    def empty(cls, shape: tuple[int, ...], n_amplifiers: int) -> _Sums:
        mean, variance = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        return cls(mean, variance, np.zeros(shape, np.uint16), np.zeros(n_amplifiers), np.zeros(n_amplifiers))

    def add(self, stack: NDArray[np.float32], rows: slice, noise: _Noise, clip_sigma: float) -> None:
        combine_stack(
            stack,
            noise.photon,
            noise.floor,
            noise.amplifier[rows],
            clip_sigma,
            self.mean[rows],
            self.variance[rows],
            self.count[rows],
            self.chi2,
            self.n_free,
        )

    def finish(
        self,
        kind: str,
        reader: _Reader,
        example: CorrectedFrame,
        frames: Sequence[FrameStatistics],
        dropped: str,
    ) -> Calibration:
        """Make the calibration: the variance expected is scaled to the scatter found, by amplifier."""
        mask = np.where(self.count == 0, MASK_BAD | MASK_NO_DATA, np.uint32(0))
        mask[(self.count > 0) & (2 * self.count < len(frames))] |= MASK_SUSPECT
        ((instrument, detector, physical_filter),) = reader.seen
        found: dict[str, Any] = {"n_frames": len(frames), "dropped": dropped}
        for index, amplifier in enumerate(example.amplifiers):
            ratio = self.chi2[index] / self.n_free[index] if self.n_free[index] > 0 else 1.0
            place, good = amplifier.assembled, self.count[amplifier.assembled] > 0
            self.variance[place] *= np.float32(ratio)
            found[f"scatter_ratio_{amplifier.name}"] = float(ratio)
            found[f"n_pixels_{amplifier.name}"] = int(good.sum())
            if good.any():
                found[f"level_{amplifier.name}"] = float(np.mean(self.mean[place][good], dtype=np.float64))
                found[f"noise_{amplifier.name}"] = float(np.sqrt(np.mean(self.variance[place][good])))
                found[f"n_used_{amplifier.name}"] = float(np.mean(self.count[place][good]))
        if kind == "flat":
            found["frame_level_adu"] = float(np.mean([frame.scale for frame in frames]))
        return Calibration(
            kind=kind,
            instrument=instrument,
            detector=detector,
            image=self.mean,
            variance=self.variance,
            mask=mask,
            gain=reader.gain,
            gains={amplifier.name: amplifier.gain for amplifier in example.amplifiers},
            physical_filter=physical_filter,
            statistics=found,
            metadata={"NFRAMES": len(frames), "FRAMES": " ".join(str(frame.exposure) for frame in frames)},
        )


def _require_enough(
    kind: str, frames: Sequence[FrameStatistics], outliers: dict[int, str], options: CombineConfig
) -> None:
    n_left = len(frames) - len(outliers)
    if n_left < options.min_frames:
        left_out = f"; left out are {_name(frames, outliers)}" if outliers else ""
        message = f"a combined {kind} needs at least {options.min_frames} frames, found {n_left}{left_out}"
        raise DataError(message, kind=kind, n_found=n_left, n_required=options.min_frames)


def _name(frames: Sequence[FrameStatistics], outliers: dict[int, str]) -> str:
    return "; ".join(f"{frames[index].exposure}: {reason}" for index, reason in sorted(outliers.items()))


@njit(cache=True)
def combine_stack(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    stack, photon, floor, amplifier, clip_sigma, mean, variance, count, chi2, n_free
):  # pragma: no cover (compiled)
    """Combine frames pixel by pixel: the weighted mean of what is near the median.

    Parameters
    ----------
    stack : float32 ndarray, shape (n, ny, nx)
        Frames in one scale, NaN where not usable.
    photon : float64 ndarray, shape (n,)
        Expected variance per unit of signal.
    floor : float64 ndarray, shape (n, n_amplifiers)
        Expected variance without signal.
    amplifier : uint8 ndarray, shape (ny, nx)
        Whose pixel it is.
    clip_sigma : float
        Values further than this from the median are left out [sigma expected].
    mean, variance : float32 ndarray, shape (ny, nx)
        To fill; zero where no value is usable.
    count : uint16 ndarray, shape (ny, nx)
        To fill: number of values used.
    chi2, n_free : float64 ndarray, shape (n_amplifiers,)
        Squares of the residuals over their expectation, and their degrees of freedom, to add to.
    """
    n = stack.shape[0]
    ordered, expected = np.empty(n), np.empty(n)
    for y in range(stack.shape[1]):
        for x in range(stack.shape[2]):
            a, values = amplifier[y, x], stack[:, y, x]
            n_valid = _sort_valid(values, ordered)
            if n_valid == 0:
                continue
            middle = 0.5 * (ordered[(n_valid - 1) // 2] + ordered[n_valid // 2])
            for f in range(n):
                expected[f] = photon[f] * max(middle, 0.0) + floor[f, a]
            # The median itself is uncertain by pi / 2 n of a value's variance.
            limit = clip_sigma**2 * (1.0 + 0.5 * np.pi / n_valid)
            average, weights, used, squares = _clipped_mean(values, expected, middle, limit)
            if used > 0:
                mean[y, x], variance[y, x], count[y, x] = average, 1.0 / weights, used
                chi2[a] += squares
                n_free[a] += used - 1


@njit(cache=True)
def _clipped_mean(values, expected, middle, limit):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Weighted mean of the values near a middle, sum of the weights, number, and chi square."""
    weights = weighted = squares = 0.0
    used = 0
    for f in range(values.size):
        if (values[f] - middle) ** 2 <= limit * expected[f]:
            weights += 1.0 / expected[f]
            weighted += values[f] / expected[f]
            used += 1
    average = weighted / weights if used > 0 else 0.0
    for f in range(values.size):
        if (values[f] - middle) ** 2 <= limit * expected[f]:
            squares += (values[f] - average) ** 2 / expected[f]
    return average, weights, used, squares


@njit(cache=True)
def _sort_valid(values, ordered):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Put the values that are numbers in order at the beginning of an array; returns how many there are."""
    n = 0
    for value in values:
        if np.isnan(value):
            continue
        place = n
        while place > 0 and ordered[place - 1] > value:
            ordered[place] = ordered[place - 1]
            place -= 1
        ordered[place] = value
        n += 1
    return n
