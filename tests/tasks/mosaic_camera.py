"""A camera whose files hold several detectors, for the tests of ingest and of visits."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import FormatError
from astra.instruments import registry
from astra.instruments.base import Instrument, RawFrame
from astra.products.fits_record import open_fits
from tests.sky.mosaic import Mosaic

# Field of an exposure record: the key of the header.
KEYS = {
    "exposure": "EXPID",
    "obs_id": "OBSID",
    "day_obs": "DAYOBS",
    "seq_num": "SEQNUM",
    "seq_start": "SEQSTART",
    "seq_end": "SEQEND",
    "group_name": "GROUPID",
    "band": "BAND",
    "physical_filter": "FILTER",
    "begin_mjd_tai": "MJD-BEG",
    "end_mjd_tai": "MJD-END",
    "exposure_time_s": "EXPTIME",
    "target_name": "OBJECT",
    "science_program": "PROGRAM",
    "observation_reason": "REASON",
    "tracking_ra": "RA",
    "tracking_dec": "DEC",
    "sky_angle": "ROTANG",
    "azimuth": "AZ",
    "zenith_angle": "ZD",
    "can_see_sky": "DOMEOPEN",
}
RENAMED = {"sky_angle": "sky_angle_deg", "azimuth": "azimuth_deg", "zenith_angle": "zenith_angle_deg"}


class MosaicCamera(Instrument, Mosaic):
    """Three detectors in the extensions of a file, or fewer."""

    name = "mosaic"
    detectors = Mosaic.detectors
    pixel_scale_arcsec = Mosaic.pixel_scale_arcsec
    boresight_wcs = Mosaic.boresight_wcs

    def find_raws(self, folder):
        """Every FITS file, however packed."""
        return sorted(path for path in folder.rglob("*") if path.name.endswith((".fits", ".fz", ".gz")))

    def read_frames(self, path):
        """One for each extension."""
        with open_fits(path) as hdus:
            primary = hdus[0].header
            if primary.get("INSTRUME") != self.name:
                raise FormatError(f"{path}: INSTRUME must be 'mosaic'", path=str(path))
            try:
                return [self._frame(path, primary, hdu.header) for hdu in hdus[1:]]
            except KeyError as exc:
                raise FormatError(f"{path}: header lacks {exc}", path=str(path)) from exc

    def _frame(self, path, primary, own):
        values = {RENAMED.get(name, name): own.get(key, primary.get(key)) for name, key in KEYS.items()}
        values |= {name: float("nan") for name in ("begin_mjd_tai", "end_mjd_tai") if values[name] is None}
        number = own["DETECTOR"]
        chip = self.detector(number)
        pointing = [values[name] for name in ("tracking_ra", "tracking_dec", "sky_angle_deg")]
        corners = np.full((4, 2), np.nan)
        if None not in pointing and values["can_see_sky"]:
            x, y = np.array([-0.5, 1.0, 1.0, -0.5]), np.array([-0.5, -0.5, 1.0, 1.0])
            x, y = np.where(x < 0, x, chip.n_columns - 0.5), np.where(y < 0, y, chip.n_rows - 0.5)
            corners = np.column_stack(self.boresight_wcs(*pointing, number).all_pix2world(x, y, 0))
        required = {name: primary[KEYS[name]] for name in ("exposure", "obs_id")}
        values |= required
        return RawFrame(path=path, instrument=self.name, detector=number, corners=corners, **values)

    def read_raw(self, path, detector=None):
        """There is nothing to process."""
        raise AssertionError("no test reads its pixels")

    def pack_visit_detector(self, visit, detector):
        """As SDSS does."""
        return visit * 10 + detector


class DriftingCamera(MosaicCamera):
    """The same without geometry."""

    name = "drifting"

    def boresight_wcs(self, ra, dec, sky_angle_deg, detector):
        """There is none for others; the headers know."""
        return Mosaic.boresight_wcs(self, ra, dec, sky_angle_deg, detector) if self._reads else None

    _reads = False

    def read_frames(self, path):
        """The corners stand in the header."""
        self._reads = True
        try:
            return super().read_frames(path)
        finally:
            self._reads = False


@pytest.fixture
def cameras(monkeypatch):
    """Both cameras are known by their names."""
    for camera in (MosaicCamera, DriftingCamera):
        monkeypatch.setitem(registry.BUILT_IN, camera.name, f"{__name__}:{camera.__name__}")
    registry.forget_cameras()
    yield
    registry.forget_cameras()


def write_raw(path, record, detectors=(0, 1, 7), *, seed=0, own=(), **changes):
    """Write a file of one exposure; ``own`` are (detector, header key, value)."""
    record = dataclasses.replace(record, **changes)
    primary = fits.PrimaryHDU()
    primary.header["INSTRUME"] = record.instrument
    for name, key in KEYS.items():
        if getattr(record, name) is not None:
            primary.header[key] = getattr(record, name)
    hdus = [primary]
    make = fits.CompImageHDU if path.suffix == ".fz" else fits.ImageHDU
    for number in detectors:
        pixels = np.random.default_rng(seed + number).integers(0, 1000, (40, 30), dtype=np.int16)
        hdu = make(pixels)
        hdu.header["DETECTOR"] = number
        for detector, key, value in own:
            if detector == number:
                hdu.header[key] = value
        hdus.append(hdu)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path
