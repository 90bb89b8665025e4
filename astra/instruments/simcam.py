"""The simulated camera: two detectors side by side, two amplifiers each.

`astra.simulation` writes its frames with the geometry and the vocabulary given here. A raw file is one
detector of one shot, one uint16 image, and each amplifier stands in it as it was read out: prescan, pixels,
overscan; the second amplifier is read from the right. Times are TAI.

A visit is ``YYYYMMDD * 100000 + sequence number``.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.images.amplifier import Amplifier
from astra.images.exposure import SECONDS_PER_DAY, VisitInfo
from astra.images.raw_image import RawImage
from astra.instruments.base import Detector, Instrument, RawFrame, require_detector
from astra.products.fits_record import open_fits

NAME = "simcam"
PIXEL_SCALE_ARCSEC = 0.4
N_ROWS, N_COLUMNS = 512, 600
N_AMPLIFIERS = 2
AMPLIFIER_COLUMNS = N_COLUMNS // N_AMPLIFIERS
PRESCAN_COLUMNS, OVERSCAN_COLUMNS = 4, 32
RAW_AMPLIFIER_COLUMNS = PRESCAN_COLUMNS + AMPLIFIER_COLUMNS + OVERSCAN_COLUMNS
RAW_SHAPE = (N_ROWS, N_AMPLIFIERS * RAW_AMPLIFIER_COLUMNS)
READOUT_CORNERS = ("LL", "LR")
GAP_COLUMNS = 20  # between the detectors
REFERENCE_GAIN = 2.0  # [e-/adu] of the image without signature
BANDS = {f"sim-{band}": band for band in "ugrizy"}

DETECTORS = (
    Detector(0, "SIM0", N_ROWS, N_COLUMNS),
    Detector(1, "SIM1", N_ROWS, N_COLUMNS),
)
# Detector -> rows and columns of its dead pixels in the image.
DEFECTS: Mapping[int, tuple[tuple[slice, slice], ...]] = {
    1: ((slice(100, 300), slice(417, 418)),),
}

SEQUENCES_PER_DAY = 100_000
_FIRST_DAY = dt.date(2000, 1, 1)
_DETECTOR_BITS, _SEQUENCE_BITS, _DAY_BITS = 5, 17, 16


def make_visit(day_obs: int, seq_num: int) -> int:
    """Visit of a shot: night as YYYYMMDD, then the sequence number in five digits."""
    return day_obs * SEQUENCES_PER_DAY + seq_num


def make_obs_id(day_obs: int, seq_num: int) -> str:
    """Name of a shot, as the raw files and headers have it."""
    return f"{NAME}_{day_obs:08d}_{seq_num:05d}"


def raw_name(day_obs: int, seq_num: int, detector: int) -> str:
    """Name of the raw file of one detector of one shot."""
    return f"{make_obs_id(day_obs, seq_num)}_{detector}.fits"


def detector_wcs(ra: float, dec: float, rotation_deg: float, detector: int) -> WCS:
    """Sky of one detector for a pointing of the telescope.

    Parameters
    ----------
    ra, dec : float
        Where the middle of the camera points [deg, ICRS].
    rotation_deg : float
        Angle from the rows to north, through east [deg].
    detector : int
        Which detector.

    Returns
    -------
    wcs : astropy.wcs.WCS
        Gnomonic, east to the left without rotation.
    """
    wcs = WCS(naxis=2)
    scale = PIXEL_SCALE_ARCSEC / 3600.0
    cos, sin = math.cos(math.radians(rotation_deg)), math.sin(math.radians(rotation_deg))
    middle_x = N_COLUMNS + GAP_COLUMNS / 2 if detector == 0 else -GAP_COLUMNS / 2
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [middle_x + 0.5, N_ROWS / 2 + 0.5]
    wcs.wcs.cd = scale * np.array([[-cos, sin], [sin, cos]])
    wcs.array_shape = (N_ROWS, N_COLUMNS)
    return wcs


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
    rows = slice(0, N_ROWS)
    amplifiers = []
    for index in range(N_AMPLIFIERS):
        first = index * RAW_AMPLIFIER_COLUMNS + PRESCAN_COLUMNS
        last = first + AMPLIFIER_COLUMNS
        amplifiers.append(
            Amplifier(
                name=f"A{index + 1}",
                data=(rows, slice(first, last)),
                overscan=(rows, slice(last, last + OVERSCAN_COLUMNS)),
                assembled=(rows, slice(index * AMPLIFIER_COLUMNS, (index + 1) * AMPLIFIER_COLUMNS)),
                gain=gains[index],
                read_noise=read_noises[index],
                saturation=saturation,
                readout_corner=READOUT_CORNERS[index],
            )
        )
    return amplifiers


def bad_pixels(detector: int) -> NDArray[np.bool_]:
    """Dead pixels of a detector, True where bad, shape (ny, nx)."""
    bad = np.zeros((N_ROWS, N_COLUMNS), dtype=np.bool_)
    for section in DEFECTS.get(detector, ()):
        bad[section] = True
    return bad


class SimCam(Instrument):
    """The simulated camera."""

    name = NAME
    detectors = DETECTORS
    pixel_scale_arcsec = PIXEL_SCALE_ARCSEC

    def find_raws(self, folder: Path) -> list[Path]:
        """Return the raw files of this camera below a folder, sorted."""
        return sorted(path for path in Path(folder).rglob(f"{NAME}_*.fits") if path.is_file())

    def read_frames(self, path: Path) -> list[RawFrame]:
        """Read the header of a raw file, which holds one detector; see `Instrument.read_frames`."""
        with open_fits(path) as hdus:
            header = _Header(path, hdus[0].header)
        return [_frame(header)]

    def read_raw(self, path: Path, detector: int | None = None) -> RawImage:
        """Read a raw file; see `Instrument.read_raw`.

        The WCS is that of the header's pointing, which is as wrong as a telescope's pointing is.
        """
        with open_fits(path) as hdus:
            header, raw = _Header(path, hdus[0].header), hdus[0].data
        frame = _frame(header)
        require_detector(path, [frame.detector], detector)
        shape = None if raw is None else raw.shape
        if raw is None or shape != RAW_SHAPE:
            message = f"{path}: a raw frame of {NAME} has shape {RAW_SHAPE}, found {shape}"
            raise FormatError(message, path=str(path))
        return _raw_image(frame, header, raw)

    def pack_visit_detector(self, visit: int, detector: int) -> int:
        """Pack visit and detector: 16 bits of days since 2000, 17 of sequence number, 5 of detector.

        Raises
        ------
        ValueError
            If the visit is not one of this camera, or the detector is unknown.
        """
        day_obs, seq_num = divmod(int(visit), SEQUENCES_PER_DAY)
        days = (_date(day_obs) - _FIRST_DAY).days
        if not 0 <= days < 2**_DAY_BITS:
            raise ValueError(f"visit {visit} of {NAME} is not of the years 2000 to 2179")
        number = self.detector(detector).detector
        return (days << (_SEQUENCE_BITS + _DETECTOR_BITS)) | (seq_num << _DETECTOR_BITS) | number


def _date(day_obs: int) -> dt.date:
    """Date of YYYYMMDD; ValueError if there is none."""
    return dt.date(day_obs // 10000, day_obs // 100 % 100, day_obs % 100)


class _Header:
    """A header whose values are checked as they are taken."""

    def __init__(self, path: Path, header: fits.Header) -> None:
        self.path, self.header = Path(path), header

    def fail(self, key: str, expected: str) -> FormatError:
        value = self.header.get(key, "nothing")
        message = f"{self.path}: header key {key} must be {expected}, found {value!r}"
        return FormatError(message, path=str(self.path), key=key, value=str(value))

    def text(self, key: str, expected: str = "text") -> str:
        value = self.header.get(key)
        if not isinstance(value, str):
            raise self.fail(key, expected)
        return value

    def number(self, key: str, low: float, high: float, unit: str) -> float:
        value = self.header.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise self.fail(key, f"a number from {low:g} to {high:g} [{unit}]")
        return float(value)

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.header.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fail(key, f"an integer from {low} to {high}")
        return value

    def day(self, key: str) -> int:
        value = self.integer(key, 20000101, 21790605)
        try:
            _date(value)
        except ValueError as exc:
            raise self.fail(key, "a night as YYYYMMDD") from exc
        return value


def _frame(header: _Header) -> RawFrame:
    if header.text("INSTRUME", f"{NAME!r}") != NAME:
        raise header.fail("INSTRUME", f"{NAME!r}")
    if header.text("TIMESYS", "'TAI'") != "TAI":
        raise header.fail("TIMESYS", "'TAI'")
    physical_filter = header.text("FILTER", f"one of {', '.join(BANDS)}")
    if physical_filter not in BANDS:
        raise header.fail("FILTER", f"one of {', '.join(BANDS)}")
    day_obs, seq_num = header.day("DAYOBS"), header.integer("SEQNUM", 0, SEQUENCES_PER_DAY - 1)
    begin = header.number("MJD-BEG", 51544.0, 120000.0, "d")
    detector = header.integer("DETECTOR", 0, len(DETECTORS) - 1)
    return RawFrame(
        path=header.path,
        instrument=NAME,
        exposure=make_visit(day_obs, seq_num),
        obs_id=header.text("OBSID"),
        detector=detector,
        day_obs=day_obs,
        seq_num=seq_num,
        band=BANDS[physical_filter],
        physical_filter=physical_filter,
        begin_mjd_tai=begin,
        end_mjd_tai=header.number("MJD-END", begin, begin + 1.0, "d"),
        exposure_time_s=header.number("EXPTIME", 0.0, SECONDS_PER_DAY, "s"),
        corners=_corners(_pointing(header, detector)),
        observation_type=header.text("OBSTYPE"),
        target_name=header.text("OBJECT"),
        science_program=header.text("PROGRAM"),
        group_name=header.text("GROUP"),
    )


def _pointing(header: _Header, detector: int) -> WCS:
    return detector_wcs(
        header.number("RA", 0.0, 360.0, "deg"),
        header.number("DEC", -90.0, 90.0, "deg"),
        header.number("ROTANG", -360.0, 360.0, "deg"),
        detector,
    )


def _corners(wcs: WCS) -> NDArray[np.float64]:
    """Sky of the outer corners of the image, in order round it, shape (4, 2) [deg]."""
    x = np.array([-0.5, N_COLUMNS - 0.5, N_COLUMNS - 0.5, -0.5])
    y = np.array([-0.5, -0.5, N_ROWS - 0.5, N_ROWS - 0.5])
    return np.column_stack(wcs.wcs_pix2world(x, y, 0))


def _raw_image(frame: RawFrame, header: _Header, pixels: NDArray[Any]) -> RawImage:
    gains = tuple(header.number(f"GAIN{i + 1}", 0.01, 100.0, "e-/adu") for i in range(N_AMPLIFIERS))
    noises = tuple(header.number(f"RDNOISE{i + 1}", 0.0, 1000.0, "e-") for i in range(N_AMPLIFIERS))
    info = VisitInfo(
        instrument=NAME,
        visit=frame.exposure,
        detector=frame.detector,
        band=frame.band,
        physical_filter=frame.physical_filter,
        midpoint_mjd_tai=0.5 * (frame.begin_mjd_tai + frame.end_mjd_tai),
        exposure_time_s=frame.exposure_time_s,
    )
    return RawImage(
        pixels=pixels,
        amplifiers=tuple(make_amplifiers(gains, noises, header.number("SATURATE", 1.0, 65535.0, "adu"))),
        info=info,
        reference_gain=REFERENCE_GAIN,
        defects=bad_pixels(frame.detector),
        wcs=_pointing(header, frame.detector),
        observation_type=frame.observation_type,
    )
