"""Combined biases, darks and flats: clipped means over frames, with variance, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import DataError
from astra.images.calibration import Calibration, Calibrations
from astra.images.combine_frames import UNUSABLE, FrameStatistics, find_outliers, measure_frame
from astra.images.combine_kernel import combine_stack
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
    found = sums.finish(kind, reader, first, [statistics[i] for i in kept], _name(statistics, outliers))
    return _with_subtracted(found, reader, noise, [reader.times_s[index] for index in kept])


def _with_subtracted(
    found: Calibration, reader: _Reader, noise: _Noise, times_s: Sequence[float]
) -> Calibration:
    """Add the variance of the bias and the dark that were subtracted from all frames alike."""
    level = max(float(np.median(found.image)), 0.0)
    weights = 1.0 / (noise.photon * level + np.mean(noise.floor, axis=1))
    per_frame = weights / weights.sum() / noise.scale
    variance = found.variance
    for image, share in (
        (reader.calibrations.bias if reader.isr.bias else None, per_frame.sum()),
        (reader.calibrations.dark if reader.isr.dark else None, float(per_frame @ np.array(times_s))),
    ):
        if image is not None:
            variance = variance + image.variance * np.float32((share * image.gain / reader.gain) ** 2)
    return replace(found, variance=variance)


class _Reader:
    """Reads frames and removes what of the signature is known."""

    def __init__(self, kind: str, calibrations: Calibrations, isr: IsrConfig) -> None:
        self.kind, self.calibrations, self.isr = kind, calibrations, isr
        self.seen: set[tuple[str, int, str]] = set()
        self.gain = 1.0
        self.times_s: dict[int, float] = {}

    def read(self, source: FrameSource) -> tuple[CorrectedFrame, RawImage]:
        raw = source if isinstance(source, RawImage) else source()
        info = raw.info
        self.seen.add((info.instrument, info.detector, info.physical_filter if self.kind == "flat" else ""))
        self.gain = raw.reference_gain
        try:
            frame = remove_signature(
                raw.pixels,
                raw.amplifiers,
                config=self.isr,
                calibrations=self.calibrations,
                reference_gain=raw.reference_gain,
                bad_pixels=raw.defects,
                dark_time_s=_dark_time_s(raw) if self.kind != "bias" else 0.0,
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
        self.times_s[index] = _dark_time_s(raw)
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
    scale: NDArray[np.float64]
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
        return cls(photon, floor, scale, which)


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
            sections={amplifier.name: amplifier.assembled for amplifier in example.amplifiers},
            physical_filter=physical_filter,
            statistics=found,
            metadata={"NFRAMES": len(frames), "FRAMES": " ".join(str(frame.exposure) for frame in frames)},
        )


def _dark_time_s(raw: RawImage) -> float:
    return raw.info.exposure_time_s if raw.dark_time_s is None else raw.dark_time_s


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
