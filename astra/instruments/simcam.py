"""The simulated camera: names and geometry for those who make its frames; its file tells how they are read.

A visit is ``YYYYMMDD * 100000 + sequence number``.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from astra.images.amplifier import Amplifier
from astra.instruments.amplifier_sections import Sections
from astra.instruments.registry import shipped_file
from astra.instruments.toml_camera import TomlCamera

NAME = "simcam"
PIXEL_SCALE_ARCSEC, PIXEL_SIZE_MM = 0.4, 0.015
N_ROWS, N_COLUMNS = 512, 600
RAW_SHAPE = (528, 672)
N_AMPLIFIERS = 4
GAP_PIXEL = 20  # between the detectors
REFERENCE_GAIN = 2.0  # [e-/adu] of the image without signature
SEQUENCES_PER_DAY = 100_000


@cache
def camera() -> TomlCamera:
    """Return the camera."""
    return TomlCamera.from_file(shipped_file("simcam.toml"))


def make_visit(day_obs: int, seq_num: int) -> int:
    """Visit of a shot: night as YYYYMMDD, then the sequence number in five digits."""
    return day_obs * SEQUENCES_PER_DAY + seq_num


def make_obs_id(day_obs: int, seq_num: int) -> str:
    """Name of a shot, as the raw files and headers have it."""
    return f"{NAME}_{day_obs:08d}_{seq_num:05d}"


def raw_name(day_obs: int, seq_num: int, detector: int) -> str:
    """Name of the raw file of one detector of one shot."""
    return f"{make_obs_id(day_obs, seq_num)}_{detector}.fits"


def amplifier_sections() -> list[Sections]:
    """Return where the amplifiers stand in a raw frame; they are the same on all detectors."""
    found = [plan.constant_sections() for plan in camera().plan.detectors[0].amplifiers]
    return [sections for sections in found if sections is not None]


def make_amplifiers(
    gains: tuple[float, ...], read_noises: tuple[float, ...], saturation: float
) -> list[Amplifier]:
    """Make the amplifiers of a detector.

    Parameters
    ----------
    gains : tuple of float
        One for each amplifier [e-/adu].
    read_noises : tuple of float
        One for each amplifier [e-].
    saturation : float
        Raw value from which a pixel counts as saturated [adu].
    """
    return [
        Amplifier(
            name=sections.name,
            data=sections.data.slices,
            overscan=sections.blind["overscan"].slices,
            assembled=sections.assembled.slices,
            gain=gain,
            read_noise=read_noise,
            saturation=saturation,
            readout_corner=sections.assembled.corner,
            parallel_overscan=sections.blind["parallel_overscan"].slices,
        )
        for sections, gain, read_noise in zip(amplifier_sections(), gains, read_noises, strict=True)
    ]


def bad_pixels(detector: int) -> NDArray[np.bool_]:
    """Dead pixels of a detector, True where bad, shape (ny, nx)."""
    bad = camera().plan.detectors[detector].bad_pixels()
    return np.zeros((N_ROWS, N_COLUMNS), dtype=np.bool_) if bad is None else bad
