"""Raw frames of the simulated camera: one detector of one shot, from sources to counts and header."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.images.amplifier import Amplifier
from astra.images.exposure import SECONDS_PER_DAY
from astra.instruments import simcam
from astra.simulation.camera import PsfField, paint_galaxies, paint_stars
from astra.simulation.sky import Sky

GAINS = ((1.9, 2.1), (2.05, 1.85))  # [e-/adu] per detector and amplifier
READ_NOISES = ((7.5, 8.0), (8.5, 7.0))  # [e-]
BIAS_LEVELS = ((1000.0, 1060.0), (980.0, 1015.0))  # [adu]
SATURATION_ADU = 60000.0
_LARGEST_RAW = 65535
_EDGE_PIXEL = 40.0  # sources this far outside may still shine into the image


@dataclass(frozen=True)
class Shot:
    """One shot of the simulated telescope.

    Parameters
    ----------
    day_obs, seq_num : int
        Night as YYYYMMDD, and number in it.
    band : str
        Band.
    begin_mjd_tai : float
        Start [d, MJD TAI].
    exposure_time_s : float
        Open-shutter time [s].
    ra, dec, rotation_deg : float
        Pointing that the header tells [deg].
    ra_error_arcsec, dec_error_arcsec, rotation_error_deg : float
        What has to be added to it for the true one (the first on the sky).
    fwhm_pixel : float
        Seeing [pixel].
    sky_electrons : float
        Sky in the middle of the detectors [e-].
    electrons_per_njy : float
        Throughput of atmosphere and telescope for the exposure [e-/nJy].
    transient_scale : float
        Brightness of the transients; those that fade shine where it is zero.
    """

    day_obs: int
    seq_num: int
    band: str
    begin_mjd_tai: float
    exposure_time_s: float
    ra: float
    dec: float
    rotation_deg: float
    ra_error_arcsec: float
    dec_error_arcsec: float
    rotation_error_deg: float
    fwhm_pixel: float
    sky_electrons: float
    electrons_per_njy: float
    transient_scale: float

    @property
    def visit(self) -> int:
        """Identifier of the shot."""
        return simcam.make_visit(self.day_obs, self.seq_num)

    def true_wcs(self, detector: int) -> WCS:
        """Sky of a detector as it is, not as the header tells."""
        return simcam.detector_wcs(
            self.ra + self.ra_error_arcsec / 3600.0 / math.cos(math.radians(self.dec)),
            self.dec + self.dec_error_arcsec / 3600.0,
            self.rotation_deg + self.rotation_error_deg,
            detector,
        )


def transient_fluxes(sky: Sky, shot: Shot) -> NDArray[np.float64]:
    """Flux of each transient during a shot [nJy], shape (n,)."""
    flux: NDArray[np.float64] = sky.transients[f"{shot.band}_flux"]
    fading = np.where(shot.transient_scale == 0.0, flux, 0.0)
    return np.where(sky.transients["fading"], fading, flux * shot.transient_scale)


def paint_scene(sky: Sky, shot: Shot, detector: int) -> NDArray[np.float64]:
    """Paint the sky as one detector sees it.

    Returns
    -------
    electrons : float64 ndarray, shape (ny, nx)
        Expected number of photo-electrons [e-].
    """
    shape = (simcam.N_ROWS, simcam.N_COLUMNS)
    psf = PsfField(shot.fwhm_pixel, shape)
    electrons = _sky_level(shape) * shot.sky_electrons
    wcs = shot.true_wcs(detector)
    flux_column = f"{shot.band}_flux"
    for sources, flux in ((sky.stars, sky.stars[flux_column]), (sky.transients, transient_fluxes(sky, shot))):
        x, y, near = _project(wcs, sources, shape)
        paint_stars(electrons, x[near], y[near], flux[near] * shot.electrons_per_njy, psf)
    x, y, near = _project(wcs, sky.galaxies, shape)
    shapes = sky.galaxies[near].copy()
    shapes["scale"] /= simcam.PIXEL_SCALE_ARCSEC
    flux = sky.galaxies[flux_column][near] * shot.electrons_per_njy
    paint_galaxies(electrons, x[near], y[near], flux, shapes=shapes, psf=psf)
    return electrons


def read_out(rng: np.random.Generator, electrons: NDArray[np.float64], detector: int) -> NDArray[np.uint16]:
    """Expose, read and digitise a scene.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of photon and read noise.
    electrons : float64 ndarray, shape (ny, nx)
        Expected number of photo-electrons [e-].
    detector : int
        Which detector.

    Returns
    -------
    raw : uint16 ndarray, shape `astra.instruments.simcam.RAW_SHAPE`
        [adu]
    """
    caught = rng.poisson(electrons).astype(np.float64)
    caught[simcam.bad_pixels(detector)] = 0.0
    raw = np.empty(simcam.RAW_SHAPE)
    amplifiers = simcam.make_amplifiers(GAINS[detector], READ_NOISES[detector], SATURATION_ADU)
    for index, amplifier in enumerate(amplifiers):
        first = index * simcam.RAW_AMPLIFIER_COLUMNS
        block = raw[:, first : first + simcam.RAW_AMPLIFIER_COLUMNS]
        noise_adu = amplifier.read_noise / amplifier.gain
        block[:] = _bias(BIAS_LEVELS[detector][index]) + rng.normal(0.0, noise_adu, block.shape)
        raw[amplifier.data] += _as_read(caught, amplifier) / amplifier.gain
    return np.clip(np.rint(raw), 0, _LARGEST_RAW).astype(np.uint16)


def make_header(shot: Shot, detector: int) -> fits.Header:
    """Make the header of a raw file."""
    end = shot.begin_mjd_tai + shot.exposure_time_s / SECONDS_PER_DAY
    obs_id = simcam.make_obs_id(shot.day_obs, shot.seq_num)
    cards: list[tuple[str, Any, str]] = [
        ("INSTRUME", simcam.NAME, "camera"),
        ("OBSID", obs_id, "name of the shot"),
        ("DAYOBS", shot.day_obs, "night, YYYYMMDD"),
        ("SEQNUM", shot.seq_num, "number in the night"),
        ("DETECTOR", detector, "CCD"),
        ("FILTER", f"sim-{shot.band}", "physical filter"),
        ("OBSTYPE", "science", "science, bias, dark or flat"),
        ("OBJECT", "simulated field", "target"),
        ("PROGRAM", "demo", "science programme"),
        ("GROUP", obs_id, "shots that belong together"),
        ("TIMESYS", "TAI", "time scale"),
        ("MJD-BEG", shot.begin_mjd_tai, "[d] start of the exposure"),
        ("MJD-END", end, "[d] end of the exposure"),
        ("EXPTIME", shot.exposure_time_s, "[s] open-shutter time"),
        ("RA", shot.ra, "[deg] pointing, ICRS"),
        ("DEC", shot.dec, "[deg] pointing, ICRS"),
        ("ROTANG", shot.rotation_deg, "[deg] rows to north, through east"),
        ("SATURATE", SATURATION_ADU, "[adu] raw value of saturation"),
    ]
    for index in range(simcam.N_AMPLIFIERS):
        cards.append((f"GAIN{index + 1}", GAINS[detector][index], "[e-/adu]"))
        cards.append((f"RDNOISE{index + 1}", READ_NOISES[detector][index], "[e-]"))
    return fits.Header(cards)


def _sky_level(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Sky relative to that in the middle: a gradient."""
    ny, nx = shape
    u, v = np.linspace(-1.0, 1.0, nx), np.linspace(-1.0, 1.0, ny)[:, None]
    return 1.0 + 0.04 * u + 0.025 * v + 0.01 * u * v


def _project(
    wcs: WCS, sources: NDArray[Any], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Positions [pixel], and which of them shine into the image."""
    x, y = wcs.wcs_world2pix(sources["ra"], sources["dec"], 0)
    inside_x = (x > -_EDGE_PIXEL) & (x < shape[1] - 1 + _EDGE_PIXEL)
    inside_y = (y > -_EDGE_PIXEL) & (y < shape[0] - 1 + _EDGE_PIXEL)
    return x, y, inside_x & inside_y


def _bias(level: float) -> NDArray[np.float64]:
    """Bias of each row [adu], drifting by a few adu over the frame, shape (ny, 1)."""
    phase = np.linspace(0.0, np.pi, simcam.N_ROWS)[:, None]
    return level + 3.0 * np.sin(phase)


def _as_read(image: NDArray[np.float64], amplifier: Amplifier) -> NDArray[np.float64]:
    """Pixels of an amplifier in the order of its readout."""
    part = image[amplifier.assembled]
    return part[:, ::-1] if amplifier.readout_corner == "LR" else part
