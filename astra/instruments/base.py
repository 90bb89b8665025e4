"""What every camera tells the rest of astra.

An `Instrument` reads its own files and headers; nobody else reads a camera's keyword.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astra.errors import MissingDataError
from astra.images.fiducial import Fiducial
from astra.instruments.focal_plane import FocalPlane
from astra.instruments.quantities import Reading
from astra.sky.grouping import group_id_of_digits
from astra.sky.identifiers import VISIT_DETECTOR_BITS

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from astra.images.exposure import Exposure
    from astra.images.raw_image import RawImage


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
    x_mm, y_mm : float
        Where its middle lies on the focal plane [mm].
    rotation_deg : float
        Angle from the focal plane's x axis to the rows' direction, counter-clockwise [deg].
    serial : str
        Number of the device, for calibrations.
    """

    detector: int
    name: str
    n_rows: int
    n_columns: int
    x_mm: float = 0.0
    y_mm: float = 0.0
    rotation_deg: float = 0.0
    serial: str = ""


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
        Band (one of ``ugrizy``, if alerts are to be made) and the glass; empty for a bias or a dark without.
    begin_mjd_tai, end_mjd_tai : float
        Start and end of the exposure, at the central row of a drift scan [d, MJD TAI].
    exposure_time_s : float
        Open-shutter time [s].
    corners : float64 ndarray, shape (4, 2), or None
        ICRS ra, dec [deg] of the image corners, in order round the image; None where it is not known to look
        at the sky: a bias, a spectrum.
    observation_type : str
        ``science``, ``bias``, ``dark``, ``flat``, ``arc`` or ``other``.
    target_name, science_program, group_name, observation_reason : str
        As the header has them; empty if it does not.
    seq_start, seq_end : int, optional
        First and last number of the shots that make one visit; by default that of this shot.
    tracking_ra, tracking_dec : float, optional
        Where the telescope pointed [deg, ICRS]; None if it does not say.
    sky_angle_deg : float, optional
        Position angle of the focal plane's y axis, from north through east [deg]; None if it does not say.
    azimuth_deg, zenith_angle_deg : float, optional
        At the start [deg]; None if the header does not say.
    dark_time_s : float, optional
        Time in which dark current was collected [s]; None if it is the exposure time.
    can_see_sky : bool
        False for a dome flat, a bias or a dark.
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
    corners: NDArray[np.float64] | None
    observation_type: str = "science"
    target_name: str = ""
    science_program: str = ""
    group_name: str = ""
    observation_reason: str = ""
    seq_start: int | None = None
    seq_end: int | None = None
    tracking_ra: float | None = None
    tracking_dec: float | None = None
    sky_angle_deg: float | None = None
    azimuth_deg: float | None = None
    zenith_angle_deg: float | None = None
    dark_time_s: float | None = None
    can_see_sky: bool = True


class Instrument(ABC):
    """A camera: its detectors, its files and its identifiers.

    Attributes
    ----------
    name : str
        What tasks call it.
    detectors : tuple of Detector
        Its CCDs.
    pixel_scale_arcsec : float
        Side of a pixel on the sky [arcsec].
    focal_plane : FocalPlane or None
        Scale and parity; None where the places of the detectors are not known.
    fiducials : mapping of str to Fiducial
        Ordinary conditions by band, for effective exposure times.
    observatory : (float, float, float) or None
        Where it stands: longitude (east), latitude [deg], height [m]; None where that is not known.
    ccd_exposure_id_bits : int
        Bits of what `pack_visit_detector` makes, in the identifiers of sources.
    """

    name: str
    detectors: tuple[Detector, ...]
    pixel_scale_arcsec: float
    focal_plane: FocalPlane | None = None
    fiducials: Mapping[str, Fiducial] = MappingProxyType({})
    observatory: tuple[float, float, float] | None = None
    ccd_exposure_id_bits: int = VISIT_DETECTOR_BITS

    @abstractmethod
    def find_raws(self, folder: Path) -> list[Path]:
        """Return the raw files of this camera below a folder, sorted."""

    @abstractmethod
    def read_frames(self, path: Path) -> list[RawFrame]:
        """Read the headers of a raw file: one record for each detector in it.

        Raises
        ------
        MissingDataError
            If the file is not there.
        FormatError
            If it is not a raw of this camera, or a key is missing or out of range.
        """

    @abstractmethod
    def read_raw(self, path: Path, detector: int | None = None) -> RawImage:
        """Read one detector of a raw file, as it was read out.

        Parameters
        ----------
        path : Path
            The file.
        detector : int, optional
            Which detector; may be left out where the file holds one.

        Raises
        ------
        MissingDataError
            If the file is not there, or does not hold the detector.
        FormatError
            If it cannot be read as a raw of this camera.
        ConfigError
            If the camera has corrected frames alone.
        """

    def load(self, path: Path, detector: int | None = None) -> Exposure:
        """Read one detector of a raw file and remove the instrument's signature.

        Returns
        -------
        exposure : Exposure
            In [adu], with variance, mask, initial WCS and, where the camera has one, a PSF; the
            ``visit`` of its info is the exposure's identifier.

        Raises
        ------
        MissingDataError
            If the file or a companion of it is not there, or it does not hold the detector.
        FormatError
            If it cannot be read as a raw of this camera.
        """
        from astra.images.isr import correct_raw  # loads the kernels, which ingestion does without

        return correct_raw(self.read_raw(path, detector))

    def group_id(self, group_name: str) -> int:
        """Return the identifier of the visit that a group's name makes: the number of its digits.

        Raises
        ------
        FormatError
            If it makes none.
        """
        return group_id_of_digits(group_name)

    @abstractmethod
    def pack_visit_detector(self, visit: int, detector: int) -> int:
        """Pack visit and detector into a non-negative integer, without collisions.

        Below ``2 ** ccd_exposure_id_bits``; as `astra.sky.identifiers.pack_rubin` does it where the camera
        counts its exposures by the night.
        """

    def boresight_wcs(self, ra: float, dec: float, sky_angle_deg: float, detector: int) -> WCS | None:
        """Sky of a detector by where the telescope points.

        Parameters
        ----------
        ra, dec : float
            Boresight [deg, ICRS].
        sky_angle_deg : float
            Position angle of the focal plane's y axis, from north through east [deg].
        detector : int
            Which detector.

        Returns
        -------
        wcs : astropy.wcs.WCS or None
            Gnomonic, for 0-based pixels of the assembled image; None if the camera does not know the places
            of its detectors. The conventions stand in `astra.instruments.focal_plane`.

        Raises
        ------
        ValueError
            If the camera has no such detector.
        """
        found = self.detector(detector)
        return None if self.focal_plane is None else self.focal_plane.wcs(ra, dec, sky_angle_deg, found)

    def inspect(self, path: Path) -> list[tuple[int, list[Reading]]]:
        """Tell how the header of a raw file is read, whatever is wrong with it: for `astra instrument check`.

        Returns
        -------
        readings : list of (int, list of Reading)
            For each detector in the file.

        Raises
        ------
        MissingDataError, FormatError
            If it is not there, or no raw of this camera.
        """
        return [(frame.detector, _frame_readings(frame)) for frame in self.read_frames(path)]

    def detector(self, detector: int) -> Detector:
        """Return one detector of this camera; ValueError if it has no such detector."""
        for candidate in self.detectors:
            if candidate.detector == detector:
                return candidate
        known = ", ".join(str(candidate.detector) for candidate in self.detectors)
        message = f"instrument {self.name} has no detector {detector}; it has {known}"
        raise ValueError(message)


def _frame_readings(frame: RawFrame) -> list[Reading]:
    """Return what a frame says, for a camera that does not tell where it read it."""
    units = {"begin_mjd_tai": "d", "end_mjd_tai": "d", "exposure_time_s": "s", "dark_time_s": "s"}
    degrees = ("tracking_ra", "tracking_dec", "sky_angle_deg", "azimuth_deg", "zenith_angle_deg")
    left_out = {"path", "instrument", "detector", "corners"}
    return [
        Reading(name, "camera", value=value, unit=units.get(name, "deg" if name in degrees else ""))
        for name, value in vars(frame).items()
        if name not in left_out and value is not None
    ]


def require_detector(path: Path, found: list[int], detector: int | None) -> int:
    """Return the detector to read of a file that holds some; MissingDataError if it does not hold it."""
    if detector is None and len(found) == 1:
        return found[0]
    if detector in found:
        return found[found.index(detector)]
    held = ", ".join(map(str, found))
    message = (
        f"{path} holds the detectors {held}, wanted is {'one of them' if detector is None else detector}"
    )
    raise MissingDataError(message, path=str(path), detector=detector)
