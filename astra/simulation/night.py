"""A simulated night: raw files, a reference catalogue and the truth, for the demo and the tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.time import Time
from numpy.typing import NDArray

from astra.instruments import simcam
from astra.instruments.simcam import SimulatedCamera
from astra.products.catalogs import write_catalog
from astra.products.fits_record import write_hdus
from astra.simulation.calibration_frames import plan_calibrations, write_calibrations
from astra.simulation.headers import make_header
from astra.simulation.raw import Shot, paint_scene, read_out, transient_fluxes
from astra.simulation.signature import Signature, make_signature
from astra.simulation.sky import Sky, SkySettings, make_reference_catalog, make_sky

TEMPLATE_NIGHTS = (20261018, 20261019, 20261020)
SCIENCE_NIGHT = 20261120
N_SCIENCE_SHOTS = 2
EXPOSURE_TIME_S = 30.0
LOWER_ROW, ALL_DETECTORS = (0, 1), (0, 1, 2, 3)
_NIGHT_START_D = 0.15  # first shot after midnight TAI [d]
_SHOT_SPACING_D = 0.02  # between the shots of a night [d]
_TRUTH_DTYPE = np.dtype(
    [
        ("transient", np.int64),
        ("visit", np.int64),
        ("detector", np.int32),
        ("ra", np.float64),
        ("dec", np.float64),
        ("x", np.float64),
        ("y", np.float64),
        ("flux", np.float64),
        ("on_host", np.bool_),
    ]
)
_TRUTH_UNITS = {"ra": "deg", "dec": "deg", "x": "pixel", "y": "pixel", "flux": "nJy"}


@dataclass(frozen=True)
class SimulatedNight:
    """What a simulation has written.

    Parameters
    ----------
    raw_paths : tuple of Path
        Raw files of the sky, one for each visit and detector.
    template_visits, science_visits : tuple of int
        Visits without and with the transients.
    reference_catalog_path : Path
        Stars: ``ra``, ``dec`` [deg], ``<band>_flux``, ``<band>_fluxErr`` [nJy].
    truth_path : Path
        Transients on each detector of each science visit: ``transient``, ``visit``, ``detector``, ``ra``,
        ``dec`` [deg], ``x``, ``y`` [pixel], ``flux`` [nJy] above the template, ``on_host``.
    calibration_paths : tuple of Path
        Raw files of biases, darks and flats, one for each shot and detector.
    """

    raw_paths: tuple[Path, ...]
    template_visits: tuple[int, ...]
    science_visits: tuple[int, ...]
    reference_catalog_path: Path
    truth_path: Path
    calibration_paths: tuple[Path, ...] = ()


def simulate_night(
    folder: Path | str,
    seed: int,
    *,
    band: str = "r",
    settings: SkySettings | None = None,
    detectors: Sequence[int] = LOWER_ROW,
    with_calibrations: bool = False,
    seeing: float = 1.0,
) -> SimulatedNight:
    """Simulate three template visits and a night with two science visits, and write the files.

    Equal seeds give equal bytes. Files appear whole or not at all; those of an earlier run are replaced.

    Parameters
    ----------
    folder : Path or str
        Where to; gets ``raw/``, ``reference.fits`` and ``truth.fits``.
    seed : int
        Seed of all randomness.
    band : str, optional
        Band of all visits.
    settings : SkySettings, optional
        What the sky holds; its ``bands`` must include ``band``. By default it covers the lower two detectors,
        or all four if one of the upper ones is wanted.
    detectors : sequence of int, optional
        Detectors to simulate; their middle points at the middle of the sky.
    with_calibrations : bool, optional
        Give the detectors their signature (`astra.simulation.signature`), and take biases, darks and flats on
        the afternoon before the first and before the last night.
    seeing : float, optional
        Factor of the seeing of all shots: the FWHM is 2.6 to 3.4 pixel with 1.

    Returns
    -------
    night : SimulatedNight

    Raises
    ------
    ValueError
        If the sky has no fluxes in the band.
    """
    settings = settings or default_sky(detectors, band)
    if band not in settings.bands:
        raise ValueError(f"the sky has fluxes in {', '.join(settings.bands)}, not in {band}")
    folder = Path(folder)
    rng = np.random.default_rng(seed)
    sky = make_sky(rng, settings)
    templates, sciences = (
        [replace(shot, fwhm_pixel=seeing * shot.fwhm_pixel) for shot in shots]
        for shots in _plan_shots(rng, settings, band, detectors)
    )
    reference_path, truth_path = folder / "reference.fits", folder / "truth.fits"
    write_reference(reference_path, make_reference_catalog(rng, sky, settings.bands), settings.bands)
    write_catalog(truth_path, make_truth(sky, templates[0], sciences, detectors), units=_TRUTH_UNITS)
    shots = templates + sciences
    raws = _write_raws(folder / "raw", seed, sky, shots, detectors, with_signature=with_calibrations)
    calibrations: list[Path] = []
    if with_calibrations:
        planned = [s for night in (TEMPLATE_NIGHTS[0], SCIENCE_NIGHT) for s in plan_calibrations(night, band)]
        calibrations = write_calibrations(folder / "raw", seed, planned, detectors)
    return SimulatedNight(
        raw_paths=tuple(raws),
        template_visits=tuple(shot.visit for shot in templates),
        science_visits=tuple(shot.visit for shot in sciences),
        reference_catalog_path=reference_path,
        truth_path=truth_path,
        calibration_paths=tuple(calibrations),
    )


def default_sky(detectors: Sequence[int], band: str) -> SkySettings:
    """Return a sky that covers the lower two detectors, or all four with as many sources in each."""
    if set(detectors) <= set(LOWER_ROW):
        return SkySettings(bands=(band,))
    return SkySettings(bands=(band,), height_arcsec=464.0, n_stars=1020, n_galaxies=334, n_transients=48)


def make_truth(
    sky: Sky, template: Shot, sciences: Sequence[Shot], detectors: Sequence[int] = LOWER_ROW
) -> NDArray[Any]:
    """List the transients on each detector of each science shot.

    Parameters
    ----------
    sky : Sky
        What there is.
    template : Shot
        A template shot; the fluxes are those above it.
    sciences : sequence of Shot
        The science shots.
    detectors : sequence of int, optional
        The detectors.

    Returns
    -------
    truth : structured ndarray, shape (n,)
        Columns as in `SimulatedNight`.
    """
    below = transient_fluxes(sky, template)
    parts = [
        _truth_of(sky, shot, detector, transient_fluxes(sky, shot) - below)
        for shot in sciences
        for detector in detectors
    ]
    return np.concatenate([np.empty(0, dtype=_TRUTH_DTYPE), *parts])


def _truth_of(sky: Sky, shot: Shot, detector: int, flux: NDArray[np.float64]) -> NDArray[Any]:
    transients = sky.transients
    x, y, on_detector = positions_on(shot, detector, transients)
    truth = np.zeros(int(on_detector.sum()), dtype=_TRUTH_DTYPE)
    for name in ("transient", "ra", "dec", "on_host"):
        truth[name] = transients[name][on_detector]
    truth["visit"], truth["detector"] = shot.visit, detector
    truth["x"], truth["y"], truth["flux"] = x[on_detector], y[on_detector], flux[on_detector]
    return truth


def positions_on(
    shot: Shot, detector: int, sources: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Positions of sources on a detector [pixel], and which of them lie on it; each of shape (n,)."""
    n_rows, n_columns = shot.camera.shape
    x, y = shot.true_wcs(detector).wcs_world2pix(sources["ra"], sources["dec"], 0)
    return x, y, (np.abs(2 * x + 1 - n_columns) < n_columns) & (np.abs(2 * y + 1 - n_rows) < n_rows)


def _plan_shots(
    rng: np.random.Generator, settings: SkySettings, band: str, detectors: Sequence[int]
) -> tuple[list[Shot], list[Shot]]:
    """Plan when, where and under which sky each shot is taken: templates in better seeing."""
    offset = middle_arcsec(detectors)
    templates = [
        plan_shot(rng, settings, band, offset, night, fwhm_range=(2.6, 2.9), transient_scale=0.0)
        for night in TEMPLATE_NIGHTS
    ]
    sciences = [
        plan_shot(
            rng,
            settings,
            band,
            offset,
            SCIENCE_NIGHT,
            seq_num=1 + index,
            fwhm_range=(3.0, 3.4),
            transient_scale=1.0 + 0.15 * index,
        )
        for index in range(N_SCIENCE_SHOTS)
    ]
    return templates, sciences


def plan_shot(
    rng: np.random.Generator,
    settings: SkySettings,
    band: str,
    offset_arcsec: tuple[float, float],
    night: int,
    *,
    seq_num: int = 1,
    fwhm_range: tuple[float, float],
    transient_scale: float,
    camera: SimulatedCamera = simcam.SMALL,
) -> Shot:
    """Plan one shot: a dither, an error of the pointing, seeing, sky and throughput are drawn.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    settings : SkySettings
        Where the sky is.
    band : str
        Band.
    offset_arcsec : (float, float)
        Place on the focal plane that points at the middle of the sky [arcsec].
    night : int
        As YYYYMMDD.
    seq_num : int, optional
        Number in the night.
    fwhm_range : (float, float)
        Range of the seeing [pixel].
    transient_scale : float
        As in `Shot`.
    camera : SimulatedCamera, optional
        Which camera.
    """
    dither_ra, dither_dec = rng.uniform(-6.0, 6.0, 2) / 3600.0
    errors = rng.uniform(0.4, 1.2, 2) * rng.choice([-1.0, 1.0], 2)  # one to three pixels
    rotation_deg = float(rng.uniform(-0.4, 0.4))
    east, north = _turn_to_sky(offset_arcsec, rotation_deg)
    midnight = Time(f"{night // 10000}-{night // 100 % 100:02d}-{night % 100:02d}", scale="tai").mjd
    return Shot(
        day_obs=night,
        seq_num=seq_num,
        band=band,
        begin_mjd_tai=float(midnight) + _NIGHT_START_D + seq_num * _SHOT_SPACING_D,
        exposure_time_s=EXPOSURE_TIME_S,
        ra=float((settings.ra + (dither_ra - east / 3600.0) / np.cos(np.radians(settings.dec))) % 360.0),
        dec=float(settings.dec + dither_dec - north / 3600.0),
        rotation_deg=rotation_deg,
        ra_error_arcsec=float(errors[0]),
        dec_error_arcsec=float(errors[1]),
        rotation_error_deg=float(rng.uniform(-0.02, 0.02)),
        fwhm_pixel=float(rng.uniform(*fwhm_range)),
        sky_electrons=float(rng.uniform(500.0, 700.0)),
        electrons_per_njy=float(rng.uniform(0.9, 1.05)),
        transient_scale=transient_scale,
        camera=camera,
    )


def middle_arcsec(detectors: Sequence[int], simulated: SimulatedCamera = simcam.SMALL) -> tuple[float, float]:
    """Middle of some detectors on the focal plane, from the optical axis along x and y [arcsec]."""
    camera = simulated.camera
    found = [camera.detector(detector) for detector in detectors]
    scale = simcam.PIXEL_SCALE_ARCSEC / simcam.PIXEL_SIZE_MM
    x, y = ([getattr(detector, name) for detector in found] for name in ("x_mm", "y_mm"))
    return scale * (min(x) + max(x)) / 2.0, scale * (min(y) + max(y)) / 2.0


def _turn_to_sky(offset_arcsec: tuple[float, float], rotation_deg: float) -> tuple[float, float]:
    """Direction on the focal plane to (east, north) on the sky [arcsec]."""
    (x, y), angle = offset_arcsec, np.radians(rotation_deg)
    east, north = -x * np.cos(angle) + y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    return float(east), float(north)


def write_reference(path: Path, catalog: NDArray[Any], bands: Sequence[str]) -> None:
    """Write a reference catalogue."""
    fluxes = {f"{band}_{part}": "nJy" for band in bands for part in ("flux", "fluxErr")}
    write_catalog(path, catalog, units={"ra": "deg", "dec": "deg", **fluxes})


def _write_raws(
    folder: Path,
    seed: int,
    sky: Sky,
    shots: Sequence[Shot],
    detectors: Sequence[int],
    *,
    with_signature: bool,
) -> list[Path]:
    signatures = {detector: make_signature(detector) if with_signature else None for detector in detectors}
    return [
        write_raw(folder, seed, sky, shot, detector, signature=signatures[detector])
        for shot in shots
        for detector in detectors
    ]


def write_raw(
    folder: Path, seed: int, sky: Sky, shot: Shot, detector: int, *, signature: Signature | None
) -> Path:
    """Take one detector of one shot, and write its raw file.

    Parameters
    ----------
    folder : Path
        Where to.
    seed : int
        Seed of the noise.
    sky : Sky
        What there is.
    shot : Shot
        The shot.
    detector : int
        Which detector.
    signature : Signature, optional
        Of the detector; None for a perfect one.
    """
    # A stream of its own for each frame: no frame depends on how many came before it.
    rng = np.random.default_rng([seed, shot.visit, detector])
    raw = read_out(
        rng,
        paint_scene(sky, shot, detector),
        detector,
        signature=signature,
        dark_time_s=shot.exposure_time_s,
        camera=shot.camera,
    )
    path = folder / shot.camera.raw_name(shot.day_obs, shot.seq_num, detector)
    write_hdus(path, [fits.PrimaryHDU(raw, make_header(shot, detector))])
    return path
