"""Which flats make pairs for photon transfer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from astra.images.raw_image import FrameSource, RawImage

_SAME_LEVEL = 0.05  # relative difference of flats that make a pair


def pair_flats(frames: Sequence[FrameSource]) -> list[tuple[FrameSource, FrameSource]]:
    """Pair flats that follow each other with the same exposure time and illumination.

    Parameters
    ----------
    frames : sequence of RawImage, or of functions that read one
        In order of time; each may be of two pairs.

    Returns
    -------
    pairs : list of pairs
        Of levels that differ by less than 5 %, overscan subtracted.
    """
    measured = [_level_and_time(source) for source in frames]
    found = []
    for (first, one), (second, other) in itertools.pairwise(zip(frames, measured, strict=True)):
        alike = abs(one[0] - other[0]) < _SAME_LEVEL * max(one[0], other[0])
        if alike and one[1] == other[1]:
            found.append((first, second))
    return found


def _level_and_time(source: FrameSource) -> tuple[float, float]:
    """Median signal above the overscans [adu], of a part of the pixels, and exposure time [s]."""
    raw = source if isinstance(source, RawImage) else source()
    signals = []
    for amplifier in raw.amplifiers:
        overscan = raw.pixels[amplifier.overscan]
        level = float(np.nanmedian(overscan)) if overscan.size else 0.0
        signals.append(float(np.nanmedian(raw.pixels[amplifier.data][::7, ::7])) - level)
    return float(np.mean(signals)), raw.info.exposure_time_s
