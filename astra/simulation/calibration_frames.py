"""Biases, darks and flats of the simulated camera, taken in the afternoon before a night."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.time import Time

from astra.instruments import simcam
from astra.instruments.simcam import SimulatedCamera
from astra.products.fits_record import write_hdus
from astra.simulation.headers import CalibrationShot, make_header
from astra.simulation.raw import read_out
from astra.simulation.signature import Signature, make_signature

FIRST_SEQ_NUM = 9001  # the shots of a night begin with 1
DARK_TIME_S = 300.0
LAMP_ELECTRONS_PER_S = 2000.0
FLAT_TIMES_S = (3.0, 6.0, 12.0, 20.0, 30.0)  # two of each, for photon transfer
_AFTERNOON_D = -0.25  # before midnight TAI
_SPACING_D = 400.0 / 86400.0


def plan_calibrations(
    night: int,
    band: str,
    *,
    n_biases: int = 7,
    n_darks: int = 3,
    flat_times_s: Sequence[float] = FLAT_TIMES_S,
    camera: SimulatedCamera = simcam.SMALL,
) -> list[CalibrationShot]:
    """Plan the calibrations before a night.

    Parameters
    ----------
    night : int
        The night, as YYYYMMDD.
    band : str
        Band of the flats.
    n_biases, n_darks : int, optional
        Numbers of biases and of darks of `DARK_TIME_S`.
    flat_times_s : sequence of float, optional
        Exposure times of pairs of flats, of one lamp [s].
    camera : SimulatedCamera, optional
        Which camera takes them.

    Returns
    -------
    shots : list of CalibrationShot
        Numbered from `FIRST_SEQ_NUM`.
    """
    kinds: list[tuple[str, float, float, float]] = [("bias", 0.0, 0.0, 0.0)] * n_biases
    kinds += [("dark", DARK_TIME_S, DARK_TIME_S, 0.0)] * n_darks
    kinds += [("flat", time, time, time * LAMP_ELECTRONS_PER_S) for time in flat_times_s for _ in range(2)]
    midnight = Time(f"{night // 10000}-{night // 100 % 100:02d}-{night % 100:02d}", scale="tai").mjd
    return [
        CalibrationShot(
            day_obs=night,
            seq_num=FIRST_SEQ_NUM + index,
            observation_type=kind,
            begin_mjd_tai=float(midnight) + _AFTERNOON_D + index * _SPACING_D,
            exposure_time_s=exposure_time_s,
            dark_time_s=dark_time_s,
            band=band if kind == "flat" else "",
            level_electrons=level,
            camera=camera,
        )
        for index, (kind, exposure_time_s, dark_time_s, level) in enumerate(kinds)
    ]


def write_calibrations(
    folder: Path | str,
    seed: int,
    shots: Sequence[CalibrationShot],
    detectors: Sequence[int],
    *,
    signatures: dict[int, Signature] | None = None,
) -> list[Path]:
    """Take calibrations and write their raw files.

    Parameters
    ----------
    folder : Path or str
        Where to.
    seed : int
        Seed of the noise.
    shots : sequence of CalibrationShot
        What to take.
    detectors : sequence of int
        Of which detectors.
    signatures : dict of int to Signature, optional
        By detector; by default those of `make_signature`.

    Returns
    -------
    paths : list of Path
        One for each shot and detector.
    """
    camera = shots[0].camera if shots else simcam.SMALL
    signatures = signatures or {detector: make_signature(detector, camera=camera) for detector in detectors}
    paths = []
    for shot in shots:
        light = np.full(camera.shape, shot.level_electrons)
        for detector in detectors:
            rng = np.random.default_rng([seed, shot.visit, detector])
            raw = read_out(
                rng,
                light,
                detector,
                signature=signatures[detector],
                dark_time_s=shot.dark_time_s,
                camera=camera,
            )
            path = Path(folder) / camera.raw_name(shot.day_obs, shot.seq_num, detector)
            write_hdus(path, [fits.PrimaryHDU(raw, make_header(shot, detector))])
            paths.append(path)
    return paths
