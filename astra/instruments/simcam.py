"""The simulated cameras: names and geometry for those who make their frames.

How the frames are read stands in the files of the cameras. A visit is ``YYYYMMDD * 100000 + number in it``.
The functions and numbers of this module are those of the small camera; the large one is `LARGE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from astra.images.amplifier import Amplifier
from astra.instruments.amplifier_sections import Sections
from astra.instruments.registry import shipped_file
from astra.instruments.toml_camera import TomlCamera

PIXEL_SCALE_ARCSEC, PIXEL_SIZE_MM = 0.4, 0.015
N_AMPLIFIERS = 4
GAP_PIXEL = 20  # between the detectors
REFERENCE_GAIN = 2.0  # [e-/adu] of the image without signature
SEQUENCES_PER_DAY = 100_000


@dataclass(frozen=True)
class SimulatedCamera:
    """A camera of two by two equal detectors of four amplifiers.

    Parameters
    ----------
    name : str
        Its name; its file is ``<name>.toml``.
    """

    name: str

    @cached_property
    def camera(self) -> TomlCamera:
        """How its frames are read."""
        return TomlCamera.from_file(shipped_file(f"{self.name}.toml"))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the assembled image of a detector [pixel]."""
        detector = self.camera.detector(0)
        return detector.n_rows, detector.n_columns

    @cached_property
    def sections(self) -> list[Sections]:
        """Where the amplifiers stand in a raw frame; they are the same on all detectors."""
        found = [plan.constant_sections() for plan in self.camera.plan.detectors[0].amplifiers]
        return [sections for sections in found if sections is not None]

    @cached_property
    def blocks(self) -> list[tuple[slice, slice]]:
        """Rows and columns of a raw frame that belong to each amplifier."""
        found = []
        for sections in self.sections:
            parts = [sections.data, *sections.blind.values()]
            rows = slice(min(part.y0 for part in parts), max(part.y1 for part in parts))
            columns = slice(min(part.x0 for part in parts), max(part.x1 for part in parts))
            found.append((rows, columns))
        return found

    @property
    def raw_shape(self) -> tuple[int, int]:
        """Rows and columns of a raw frame [pixel]."""
        return max(rows.stop for rows, _ in self.blocks), max(columns.stop for _, columns in self.blocks)

    @property
    def corner_mm2(self) -> float:
        """Square of the distance of the outer corners of the detectors from the optical axis [mm**2]."""
        n_rows, n_columns = self.shape
        half_gap = GAP_PIXEL / 2
        return ((n_columns + half_gap) ** 2 + (n_rows + half_gap) ** 2) * PIXEL_SIZE_MM**2

    def make_obs_id(self, day_obs: int, seq_num: int) -> str:
        """Name of a shot, as the raw files and headers have it."""
        return f"{self.name}_{day_obs:08d}_{seq_num:05d}"

    def raw_name(self, day_obs: int, seq_num: int, detector: int) -> str:
        """Name of the raw file of one detector of one shot."""
        return f"{self.make_obs_id(day_obs, seq_num)}_{detector}.fits"

    def make_amplifiers(
        self, gains: tuple[float, ...], read_noises: tuple[float, ...], saturation: float
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
            for sections, gain, read_noise in zip(self.sections, gains, read_noises, strict=True)
        ]

    def bad_pixels(self, detector: int) -> NDArray[np.bool_]:
        """Dead pixels of a detector, True where bad, shape (ny, nx)."""
        bad = self.camera.plan.detectors[detector].bad_pixels()
        return np.zeros(self.shape, dtype=np.bool_) if bad is None else bad


SMALL, LARGE = SimulatedCamera("simcam"), SimulatedCamera("simcam1k")
NAME = SMALL.name
N_ROWS, N_COLUMNS = 512, 600
RAW_SHAPE = (528, 672)
make_obs_id, raw_name = SMALL.make_obs_id, SMALL.raw_name
make_amplifiers, bad_pixels = SMALL.make_amplifiers, SMALL.bad_pixels


@cache
def camera() -> TomlCamera:
    """Return the small camera."""
    return SMALL.camera


def make_visit(day_obs: int, seq_num: int) -> int:
    """Visit of a shot: night as YYYYMMDD, then the sequence number in five digits."""
    return day_obs * SEQUENCES_PER_DAY + seq_num


def amplifier_sections() -> list[Sections]:
    """Return where the amplifiers of the small camera stand in a raw frame."""
    return SMALL.sections
