"""The SDSS imaging camera: corrected frames (fpC) with the files that stand beside them.

The camera scanned the sky from 1998 to 2009 while the telescope drifted: there is no shutter and no shot.
What comes nearest is one field of one run seen by one row of CCDs, and this is the exposure here::

    exposure = visit = (run * 10 + band) * 10000 + field        band: u g r i z = 0 .. 4
    detector         = camera column, 1 .. 6

so run 4192, r, field 300 is 419220300. Rubin packs the days since 2010-01-01 and a sequence number of the
night; runs of 1998 to 2009 have neither, so here ``pack_visit_detector`` is ``visit * 10 + detector``, below
2**38 for every run below 274877 (the survey ended with 8162).
"""

from __future__ import annotations

import math
import warnings
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.errors import ConfigError, FormatError, MissingDataError
from astra.images.exposure import SECONDS_PER_DAY, Exposure, VisitInfo
from astra.images.fiducial import Fiducial
from astra.images.psf import sigma_from_fwhm
from astra.images.raw_image import RawImage
from astra.images.tan_sip import approximate_tan_sip
from astra.instruments import sdss_files
from astra.instruments.base import Detector, Instrument, RawFrame, require_detector
from astra.instruments.quantities import Reading
from astra.instruments.sdss_readings import companion_readings, header_readings

MICROSECONDS = 1e-6
NIGHT_OFFSET_DAY = 0.3  # SDSS nights: MJD TAI + 0.3, rounded down
WCS_ORDER = 3
FRAMES_PER_CAMERA_ROW = 2
PACKED_LIMIT = 2**38


# Depth of a point source at S/N 5 in one scan and seeing of 1 arcsec (York et al. 2000, AJ 120, 1579; in the
# data base as SDSSConstants), and the median width of the PSF in r (DR7, "Seeing and sky brightness").
DEPTHS_MAG = {"u": 22.3, "g": 23.3, "r": 23.1, "i": 22.3, "z": 20.8}
MEDIAN_FWHM_ARCSEC = {"r": 1.43}
SCAN_TIME_S = 53.907456
PIXEL_SCALE_ARCSEC = 0.396


def _fiducial(band: str) -> Fiducial:
    """Ordinary conditions of a band. Zero points and skies changed from run to run: none is ordinary."""
    fwhm_pixel = MEDIAN_FWHM_ARCSEC.get(band, math.nan) / PIXEL_SCALE_ARCSEC
    return Fiducial(
        psf_sigma_pixel=sigma_from_fwhm(fwhm_pixel),
        mag_lim=DEPTHS_MAG[band],
        exposure_time_s=SCAN_TIME_S,
    )


class SdssCamera(Instrument):
    """SDSS imaging camera, six columns of five CCDs in drift scan."""

    name = "sdss"
    detectors = tuple(
        Detector(column, f"camcol{column}", sdss_files.N_ROWS, sdss_files.N_COLUMNS) for column in range(1, 7)
    )
    pixel_scale_arcsec = PIXEL_SCALE_ARCSEC
    observatory = (-105.820417, 32.780361, 2788.0)  # Apache Point
    fiducials = MappingProxyType({band: _fiducial(band) for band in sdss_files.BANDS})

    def find_raws(self, folder: Path) -> list[Path]:
        """Return the fpC frames (plain or gzipped) below a folder, sorted."""
        return sorted(path for path in folder.rglob("fpC-*.fit*") if path.name.endswith((".fit", ".fit.gz")))

    def read_frames(self, path: Path) -> list[RawFrame]:
        """Read the header of an fpC file, which holds one detector; see `Instrument.read_frames`."""
        header = sdss_files.read_frame_header(path)
        run, band, camcol, field = _identify(path, header)
        with sdss_files.reading(path, "fpC"):
            midpoint, exposure_time, _ = _timing(header)
            half = exposure_time / 2 / SECONDS_PER_DAY
            frame = RawFrame(
                path=path,
                instrument=self.name,
                exposure=pack_exposure(run, band, field),
                obs_id=f"{run:06d}-{band}-{field:04d}",
                detector=camcol,
                day_obs=_night(midpoint),
                seq_num=field,
                band=band,
                physical_filter=band,
                begin_mjd_tai=midpoint - half,
                end_mjd_tai=midpoint + half,
                exposure_time_s=exposure_time,
                corners=_corners(header),
                observation_type=str(header.get("FLAVOR", "science")).strip(),
                target_name=str(header.get("OBJECT", "")).strip(),
            )
        return [frame]

    def inspect(self, path: Path) -> list[tuple[int, list[Reading]]]:
        """Tell how each key is read, and which companions are there; see `Instrument.inspect`."""
        header = sdss_files.read_frame_header(path)
        if "RUN" not in header or header.get("CAMCOL") not in {each.detector for each in self.detectors}:
            _identify(path, header)  # which says why
        try:
            [frame] = self.read_frames(path)
        except FormatError as exc:
            return [(int(header["CAMCOL"]), header_readings(header, None, str(exc)))]
        companions = companion_paths(path, *_identify(path, header))
        return [(frame.detector, [*header_readings(header, frame), *companion_readings(companions)])]

    def read_raw(self, path: Path, detector: int | None = None) -> RawImage:
        """Refuse: the survey keeps corrected frames alone."""
        message = f"frames of {self.name} are corrected already, there is no raw image of them: {path}"
        raise ConfigError(message, instrument=self.name, path=str(path), detector=detector)

    def load(self, path: Path, detector: int | None = None) -> Exposure:
        """Read an fpC frame and its companions; see `Instrument.load`.

        The sky is left in. The variance is that of photons, dark current and read noise; the WCS is the
        survey's own astrometric solution as TAN-SIP; the PSF is the survey's Karhunen-Loeve expansion.
        """
        header = sdss_files.read_frame_header(path)
        run, band, camcol, field = _identify(path, header)
        require_detector(path, [camcol], detector)
        companions = find_companions(path, run, band, camcol, field)
        image = sdss_files.read_frame_image(path)
        calibration = sdss_files.read_field_calibration(companions["tsField"], band)
        solution = sdss_files.read_drift_scan_solution(companions["asTrans"], camcol, band, field)
        with sdss_files.reading(path, "fpC"):
            midpoint, exposure_time, row_time = _timing(header)
            image -= np.float32(header["SOFTBIAS"])
        variance = np.clip(image, 0.0, None) / calibration.gain + calibration.dark_variance
        return Exposure(
            image=image,
            variance=variance.astype(np.float32),
            mask=sdss_files.read_mask(companions["fpM"]),
            info=VisitInfo(
                instrument=self.name,
                visit=pack_exposure(run, band, field),
                detector=camcol,
                band=band,
                physical_filter=band,
                midpoint_mjd_tai=midpoint,
                exposure_time_s=exposure_time,
                row_time_s=row_time,
            ),
            gain=calibration.gain,
            wcs=approximate_tan_sip(solution.to_sky, order=WCS_ORDER, shape=image.shape),
            psf=sdss_files.read_psf(companions["psField"], band),
            # The survey's own pipeline has replaced the cosmic rays, and marked them in fpM.
            metadata={
                "CRREPAIR": True,
                "RUN": run,
                "CAMCOL": camcol,
                "FIELD": field,
                "AIRMASS": calibration.airmass,
            },
        )

    def pack_visit_detector(self, visit: int, detector: int) -> int:
        """Pack as ``visit * 10 + detector``; ValueError if a part is out of range."""
        self.detector(detector)
        packed = visit * 10 + detector
        if visit < 0 or packed >= PACKED_LIMIT:
            message = f"visit must be in 0..{(PACKED_LIMIT - 1) // 10 - 1}, found {visit}"
            raise ValueError(message)
        return packed


def pack_exposure(run: int, band: str, field: int) -> int:
    """Exposure identifier of one field of one run in one band."""
    return (run * 10 + sdss_files.BANDS.index(band)) * 10000 + field


def companion_paths(path: Path, run: int, band: str, camcol: int, field: int) -> dict[str, Path]:
    """Where mask, calibration, PSF and astrometry of a frame lie in the survey's folder layout.

    Returns
    -------
    companions : dict of str to Path
        Keys ``fpM``, ``tsField``, ``psField``, ``asTrans``.
    """
    root = path.parent.parent.parent
    rerun = root.name
    return {
        "fpM": root / "objcs" / str(camcol) / f"fpM-{run:06d}-{band}{camcol}-{field:04d}.fit",
        "tsField": root / "calibChunks" / str(camcol) / f"tsField-{run:06d}-{camcol}-{rerun}-{field:04d}.fit",
        "psField": root / "objcs" / str(camcol) / f"psField-{run:06d}-{camcol}-{field:04d}.fit",
        "asTrans": root / "astrom" / f"asTrans-{run:06d}.fit",
    }


def find_companions(path: Path, run: int, band: str, camcol: int, field: int) -> dict[str, Path]:
    """Return `companion_paths`; MissingDataError if one is not there."""
    found = companion_paths(path, run, band, camcol, field)
    for kind, companion in found.items():
        if not companion.is_file():
            message = f"frame {path} needs its {kind} file, which is not there: {companion}"
            raise MissingDataError(message, path=str(companion), frame=str(path), kind=kind)
    return found


def _identify(path: Path, header: dict[str, Any]) -> tuple[int, str, int, int]:
    """Run, band, camera column and field of a frame, checked."""
    with sdss_files.reading(path, "fpC"):
        run, camcol, frame = int(header["RUN"]), int(header["CAMCOL"]), int(header["FRAME"])
        band = str(header["FILTER"]).strip()
        # A field reaches the next row of CCDs two frames later; FRAME counts read-outs of each CCD.
        field = frame - FRAMES_PER_CAMERA_ROW * sdss_files.ASTRANS_BANDS.index(band)
    if not 1 <= camcol <= 6 or not 0 <= field < 10000 or run < 0:
        message = (
            f"{path}: CAMCOL must be in 1..6, the field in 0..9999 and RUN positive, "
            f"found {camcol}, {field} and {run}"
        )
        raise FormatError(message, path=str(path))
    return run, band, camcol, field


def _timing(header: dict[str, Any]) -> tuple[float, float, float]:
    """Middle of the exposure at the central row [d, MJD TAI], exposure time and time per row [s].

    TAI is the read-out of the first row; a row was exposed for EXPTIME before its own read-out.
    """
    exposure_time, row_time = float(header["EXPTIME"]), float(header["C_OBS"]) * MICROSECONDS
    central_row = (sdss_files.N_ROWS - 1) / 2
    middle = float(header["TAI"]) + central_row * row_time - exposure_time / 2
    return middle / SECONDS_PER_DAY, exposure_time, row_time


def _night(mjd_tai: float) -> int:
    """Night as YYYYMMDD, in the survey's way of counting nights."""
    night = date(1858, 11, 17) + timedelta(days=int(mjd_tai + NIGHT_OFFSET_DAY))
    return night.year * 10000 + night.month * 100 + night.day


def _corners(header: dict[str, Any]) -> NDArray[np.float64]:
    """ICRS corners [deg] by the header's linear solution, good to 0.05 arcsec, shape (4, 2)."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [header["CTYPE1"], header["CTYPE2"]]
    wcs.wcs.crval = [header["CRVAL1"], header["CRVAL2"]]
    # The files count the centre of the first pixel as (0.5, 0.5), and their CRPIX is used with origin 0.
    wcs.wcs.crpix = [header["CRPIX1"], header["CRPIX2"]]
    wcs.wcs.cd = [[header["CD1_1"], header["CD1_2"]], [header["CD2_1"], header["CD2_2"]]]
    right, top = sdss_files.N_COLUMNS - 0.5, sdss_files.N_ROWS - 0.5
    pixels = np.array([(-0.5, -0.5), (right, -0.5), (right, top), (-0.5, top)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        corners: NDArray[np.float64] = wcs.all_pix2world(pixels, 0)
    return corners
