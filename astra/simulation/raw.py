"""Raw frames of the simulated camera: one detector of one shot, from sources to counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.images.amplifier import Amplifier
from astra.images.assembly import in_readout_order
from astra.images.exposure import SECONDS_PER_DAY
from astra.instruments import simcam
from astra.instruments.simcam import SimulatedCamera
from astra.simulation.camera import PsfField, paint_galaxies, paint_stars
from astra.simulation.signature import Signature
from astra.simulation.sky import Sky, light_curve, moved_to

# For each detector and amplifier.
GAINS = (  # [e-/adu]
    (1.9, 2.1, 2.0, 1.95),
    (2.05, 1.85, 1.9, 2.1),
    (2.0, 1.9, 2.15, 1.85),
    (1.95, 2.05, 1.85, 2.0),
)
READ_NOISES = (  # [e-]
    (7.5, 8.0, 7.2, 8.3),
    (8.5, 7.0, 8.1, 7.6),
    (7.8, 7.4, 8.6, 7.1),
    (7.3, 8.2, 7.7, 8.0),
)
BIAS_LEVELS = (  # [adu]
    (1000.0, 1060.0, 1025.0, 990.0),
    (980.0, 1015.0, 1050.0, 1005.0),
    (1030.0, 995.0, 970.0, 1040.0),
    (1010.0, 985.0, 1055.0, 1020.0),
)
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
    group_name : str
        Shots that belong together have the same; empty for one that stands alone.
    seq_start, seq_end : int, optional
        First and last number of the shots that make one visit; by default that of this one.
    camera : SimulatedCamera, optional
        Which camera takes it.
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
    group_name: str = ""
    seq_start: int | None = None
    seq_end: int | None = None
    camera: SimulatedCamera = simcam.SMALL

    @property
    def visit(self) -> int:
        """Identifier of the shot."""
        return simcam.make_visit(self.day_obs, self.seq_num)

    @property
    def midpoint_mjd_tai(self) -> float:
        """Middle of the exposure [d, MJD TAI]."""
        return self.begin_mjd_tai + 0.5 * self.exposure_time_s / SECONDS_PER_DAY

    def true_wcs(self, detector: int) -> WCS:
        """Sky of a detector as it is, not as the header tells."""
        wcs = self.camera.camera.boresight_wcs(
            self.ra + self.ra_error_arcsec / 3600.0 / math.cos(math.radians(self.dec)),
            self.dec + self.dec_error_arcsec / 3600.0,
            self.rotation_deg + self.rotation_error_deg,
            detector,
        )
        if wcs is None:
            raise ValueError("the simulated camera has no focal plane")
        return wcs


def transient_fluxes(sky: Sky, shot: Shot) -> NDArray[np.float64]:
    """Flux of each transient during a shot [nJy], shape (n,)."""
    flux: NDArray[np.float64] = sky.transients[f"{shot.band}_flux"]
    if "start_mjd_tai" in (sky.transients.dtype.names or ()):
        return flux * light_curve(sky.transients, shot.midpoint_mjd_tai)
    fading = np.where(shot.transient_scale == 0.0, flux, 0.0)
    return np.where(sky.transients["fading"], fading, flux * shot.transient_scale)


def variable_fluxes(sky: Sky, shot: Shot) -> NDArray[np.float64]:
    """Flux of each variable star during a shot [nJy], shape (n,): a sine about its mean."""
    variables = sky.variables
    if not len(variables):
        return np.zeros(0)
    cycles = shot.midpoint_mjd_tai / variables["period_d"] + variables["phase"]
    flux: NDArray[np.float64] = variables[f"{shot.band}_flux"] * (
        1.0 + variables["amplitude"] * np.sin(2.0 * np.pi * cycles)
    )
    return flux


def mover_fluxes(sky: Sky, shot: Shot) -> NDArray[np.float64]:
    """Flux of each mover [nJy], shape (n,)."""
    return sky.movers[f"{shot.band}_flux"] if len(sky.movers) else np.zeros(0)


def paint_scene(sky: Sky, shot: Shot, detector: int) -> NDArray[np.float64]:
    """Paint the sky as one detector sees it.

    Returns
    -------
    electrons : float64 ndarray, shape (ny, nx)
        Expected number of photo-electrons [e-].
    """
    shape = shot.camera.shape
    psf = PsfField(shot.fwhm_pixel, shape)
    electrons = _sky_level(shape) * shot.sky_electrons
    wcs = shot.true_wcs(detector)
    flux_column = f"{shot.band}_flux"
    points = [(sky.stars, sky.stars[flux_column]), (sky.transients, transient_fluxes(sky, shot))]
    points += [
        (sky.variables, variable_fluxes(sky, shot)),
        (moved_to(sky.movers, shot.midpoint_mjd_tai), mover_fluxes(sky, shot)),
    ]
    for sources, flux in points:
        if not len(sources):
            continue
        x, y, near = _project(wcs, sources, shape)
        paint_stars(electrons, x[near], y[near], flux[near] * shot.electrons_per_njy, psf)
    x, y, near = _project(wcs, sky.galaxies, shape)
    shapes = sky.galaxies[near].copy()
    shapes["scale"] /= simcam.PIXEL_SCALE_ARCSEC
    flux = sky.galaxies[flux_column][near] * shot.electrons_per_njy
    paint_galaxies(electrons, x[near], y[near], flux, shapes=shapes, psf=psf)
    return electrons


def read_out(
    rng: np.random.Generator,
    electrons: NDArray[np.float64],
    detector: int,
    *,
    signature: Signature | None = None,
    dark_time_s: float = 0.0,
    camera: SimulatedCamera = simcam.SMALL,
) -> NDArray[np.uint16]:
    """Expose, read and digitise a scene.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of photon and read noise.
    electrons : float64 ndarray, shape (ny, nx)
        Expected number of photo-electrons [e-].
    detector : int
        Which detector.
    signature : Signature, optional
        Of the detector; by default it is perfect.
    dark_time_s : float, optional
        Time in which dark current is collected [s].
    camera : SimulatedCamera, optional
        Of which camera.

    Returns
    -------
    raw : uint16 ndarray, shape as `SimulatedCamera.raw_shape`
        [adu]
    """
    expected = electrons
    if signature is not None:
        expected = electrons * signature.response + dark_time_s * signature.dark_rate
    caught = rng.poisson(expected).astype(np.float64)
    caught[camera.bad_pixels(detector)] = 0.0
    raw = np.empty(camera.raw_shape)
    amplifiers = camera.make_amplifiers(GAINS[detector], READ_NOISES[detector], SATURATION_ADU)
    for amplifier, place, level in zip(amplifiers, camera.blocks, BIAS_LEVELS[detector], strict=True):
        block = raw[place]
        noise_adu = amplifier.read_noise / amplifier.gain
        block[:] = _bias(level, len(block)) + rng.normal(0.0, noise_adu, block.shape)
    for amplifier, signal in zip(amplifiers, _signals(caught, amplifiers, signature), strict=True):
        raw[amplifier.data] += signal
    np.rint(raw, out=raw)
    return np.clip(raw, 0, _LARGEST_RAW, out=raw).astype(np.uint16)


def _signals(
    caught: NDArray[np.float64], amplifiers: Sequence[Amplifier], signature: Signature | None
) -> list[NDArray[np.float64]]:
    """Signals of the amplifiers without level and noise, in the order of their readout [adu]."""
    signals = [in_readout_order(caught, amplifier) / amplifier.gain for amplifier in amplifiers]
    if signature is None:
        return signals
    if signature.nonlinearity:
        signals = [signal - signature.nonlinearity * signal**2 for signal in signals]
    if signature.crosstalk is not None:
        leaks = [sum(c * s for c, s in zip(row, signals, strict=True)) for row in signature.crosstalk]
        signals = [signal + leak for signal, leak in zip(signals, leaks, strict=True)]
    return [
        signal + in_readout_order(signature.bias_adu, amplifier)
        for signal, amplifier in zip(signals, amplifiers, strict=True)
    ]


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


def _bias(level: float, n_rows: int) -> NDArray[np.float64]:
    """Bias of each row [adu], drifting by a few adu while an amplifier is read, shape (n_rows, 1)."""
    phase = np.linspace(0.0, np.pi, n_rows)[:, None]
    return level + 3.0 * np.sin(phase)
