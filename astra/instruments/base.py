"""What every camera tells the rest of astra.

An `Instrument` reads its own files and headers; nobody else reads a camera's keyword.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from astra.images.exposure import Exposure


@dataclass(frozen=True)
class Detector:
    """One CCD of a camera.

    Parameters
    ----------
    detector : int
        Identifier, as in ``(visit, detector)``.
    name : str
        The camera's own name of it.
    n_rows, n_columns : int
        Size of the corrected image [pixel].
    """

    detector: int
    name: str
    n_rows: int
    n_columns: int


@dataclass(frozen=True)
class RawFrame:
    """What the header of one raw file of one detector says; a row of ``exposure`` and one raw product.

    Parameters
    ----------
    path : Path
        The file.
    instrument : str
        Camera name.
    exposure : int
        Identifier of the shot, unique within the instrument.
    obs_id : str
        The observatory's name of the shot.
    detector : int
        Identifier of the CCD.
    day_obs : int
        Night, as YYYYMMDD.
    seq_num : int
        Number of the shot in the night or run.
    band, physical_filter : str
        Band, one of ``ugrizy``, and the glass.
    begin_mjd_tai, end_mjd_tai : float
        Start and end of the exposure, at the central row of a drift scan [d, MJD TAI].
    exposure_time_s : float
        Open-shutter time [s].
    corners : float64 ndarray, shape (4, 2)
        ICRS ra, dec [deg] of the image corners, in order round the image.
    observation_type : str
        ``science``, ``bias``, ``dark`` or ``flat``.
    target_name, science_program, group_name : str
        As the header has them; empty if it does not.
    """

    path: Path
    instrument: str
    exposure: int
    obs_id: str
    detector: int
    day_obs: int
    seq_num: int
    band: str
    physical_filter: str
    begin_mjd_tai: float
    end_mjd_tai: float
    exposure_time_s: float
    corners: NDArray[np.float64]
    observation_type: str = "science"
    target_name: str = ""
    science_program: str = ""
    group_name: str = ""


class Instrument(ABC):
    """A camera: its detectors, its files and its identifiers."""

    name: ClassVar[str]
    detectors: ClassVar[tuple[Detector, ...]]
    pixel_scale_arcsec: ClassVar[float]

    @abstractmethod
    def find_raws(self, folder: Path) -> list[Path]:
        """Return the raw files of this camera below a folder, sorted."""

    @abstractmethod
    def read_frame(self, path: Path) -> RawFrame:
        """Read the header of a raw file.

        Raises
        ------
        MissingDataError
            If the file is not there.
        FormatError
            If it is not a raw of this camera, or a key is missing or out of range.
        """

    @abstractmethod
    def load(self, path: Path) -> Exposure:
        """Read a raw file and remove the instrument's signature.

        Returns
        -------
        exposure : Exposure
            In [adu], with variance, mask, initial WCS and, where the camera has one, a PSF; the
            ``visit`` of its info is the exposure's identifier.

        Raises
        ------
        MissingDataError
            If the file or a companion of it is not there.
        FormatError
            If it cannot be read as a raw of this camera.
        """

    @abstractmethod
    def pack_visit_detector(self, visit: int, detector: int) -> int:
        """Pack visit and detector into a non-negative integer below 2**38, without collisions."""

    def detector(self, detector: int) -> Detector:
        """Return one detector of this camera; ValueError if it has no such detector."""
        for candidate in self.detectors:
            if candidate.detector == detector:
                return candidate
        known = ", ".join(str(candidate.detector) for candidate in self.detectors)
        message = f"instrument {self.name} has no detector {detector}; it has {known}"
        raise ValueError(message)
