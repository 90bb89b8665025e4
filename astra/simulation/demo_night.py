"""The nights of the demonstration: what is observed when, and what there is to see.

Three nights make the template, some nights have one visit each, and the last has two. Stars, galaxies and
variable stars are always there; transients begin to shine after the template was taken, or to fade;
asteroids cross the field in the last night, most of them known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.instruments import simcam
from astra.instruments.simcam import SimulatedCamera
from astra.products.catalogs import write_catalog
from astra.simulation.calibration_frames import plan_calibrations, write_calibrations
from astra.simulation.headers import CalibrationShot
from astra.simulation.night import (
    ALL_DETECTORS,
    LOWER_ROW,
    make_truth,
    middle_arcsec,
    plan_shot,
    positions_on,
    write_raw,
    write_reference,
)
from astra.simulation.raw import Shot, mover_fluxes, variable_fluxes
from astra.simulation.signature import make_signature
from astra.simulation.sky import Sky, SkySettings, make_reference_catalog, make_sky, moved_to

BAND = "r"
TEMPLATE_NIGHTS = (20261018, 20261019, 20261020)
EARLIER_NIGHTS = (20261106, 20261117)
LAST_NIGHT = 20261120
N_LAST_SHOTS = 2
STARTS_MJD_TAI = (61336.0, 61363.0)  # from 23 October to 19 November
LAST_MIDDLE_MJD_TAI = 61364.18
POSITION_ERR_DEG = 0.1 / 3600.0  # of the ephemeris
_UNKNOWN_MOVERS = 2
_UNITS = {"ra": "deg", "dec": "deg", "x": "pixel", "y": "pixel", "flux": "nJy"}
_CHANGING_DTYPE = np.dtype(
    [
        *((name, np.int64) for name in ("visit", "detector", "ssObjectId")),
        *((name, np.float64) for name in ("ra", "dec", "x", "y", "flux")),
    ]
)
_SKY = SkySettings(
    width_arcsec=850.0,
    height_arcsec=850.0,
    n_stars=2000,
    n_galaxies=600,
    n_transients=60,
    transient_flux=(1000.0, 20000.0),
    bands=(BAND,),
    n_variables=30,
    n_movers=8,
    movers_mjd_tai=LAST_MIDDLE_MJD_TAI,
    starts_mjd_tai=STARTS_MJD_TAI,
)


@dataclass(frozen=True)
class DemoScale:
    """How large a demonstration is.

    Parameters
    ----------
    camera : SimulatedCamera
        Which camera.
    detectors : tuple of int
        Which of its detectors.
    settings : SkySettings
        What the sky holds.
    earlier_nights : tuple of int
        Nights of one visit each between those of the template and the last one, as YYYYMMDD.
    n_biases, n_darks : int
        Calibration frames.
    flat_times_s : tuple of float
        Exposure times of pairs of flats [s].
    """

    camera: SimulatedCamera
    detectors: tuple[int, ...]
    settings: SkySettings
    earlier_nights: tuple[int, ...]
    n_biases: int = 5
    n_darks: int = 3
    flat_times_s: tuple[float, ...] = (12.0, 20.0)


FULL = DemoScale(simcam.LARGE, ALL_DETECTORS, _SKY, EARLIER_NIGHTS)
SMALL = DemoScale(
    simcam.SMALL,
    LOWER_ROW,
    replace(
        _SKY,
        width_arcsec=540.0,
        height_arcsec=250.0,
        n_stars=550,
        n_galaxies=150,
        n_transients=24,
        n_variables=8,
        n_movers=5,
    ),
    EARLIER_NIGHTS[-1:],
    n_biases=3,
    flat_times_s=(12.0, 20.0),
)


@dataclass(frozen=True)
class DemoNight:
    """What the demonstration observes; equal seeds give equal nights.

    Parameters
    ----------
    seed : int
        Seed of all randomness.
    scale : DemoScale, optional
        How large it is.
    """

    seed: int
    scale: DemoScale = FULL

    @cached_property
    def sky(self) -> Sky:
        """What there is to see."""
        return make_sky(np.random.default_rng([self.seed, 1]), self.scale.settings)

    @cached_property
    def shots(self) -> dict[int, list[Shot]]:
        """Shots of the sky by night."""
        rng = np.random.default_rng([self.seed, 2])
        offset = middle_arcsec(self.scale.detectors, self.scale.camera)
        plan: dict[int, tuple[int, tuple[float, float]]] = {
            **dict.fromkeys(TEMPLATE_NIGHTS, (1, (2.6, 2.9))),
            **dict.fromkeys(self.scale.earlier_nights, (1, (3.0, 3.4))),
            LAST_NIGHT: (N_LAST_SHOTS, (3.0, 3.4)),
        }
        return {
            night: [
                plan_shot(
                    rng,
                    self.scale.settings,
                    BAND,
                    offset,
                    night,
                    seq_num=1 + index,
                    fwhm_range=fwhm_range,
                    transient_scale=1.0,
                    camera=self.scale.camera,
                )
                for index in range(n_shots)
            ]
            for night, (n_shots, fwhm_range) in plan.items()
        }

    @property
    def template_shots(self) -> list[Shot]:
        """Shots that make the template."""
        return [shot for night in TEMPLATE_NIGHTS for shot in self.shots[night]]

    @property
    def later_shots(self) -> list[Shot]:
        """Shots from which the template is subtracted, in the order of time."""
        return [shot for night in (*self.scale.earlier_nights, LAST_NIGHT) for shot in self.shots[night]]

    @property
    def calibration_shots(self) -> list[CalibrationShot]:
        """Biases, darks and flats of the afternoon before the first night."""
        scale = self.scale
        return plan_calibrations(
            TEMPLATE_NIGHTS[0],
            BAND,
            n_biases=scale.n_biases,
            n_darks=scale.n_darks,
            flat_times_s=scale.flat_times_s,
            camera=scale.camera,
        )

    def write_raws(self, folder: Path, detector: int) -> list[Path]:
        """Take everything with one detector, and write its raw files.

        Parameters
        ----------
        folder : Path
            Where to; files appear whole or not at all.
        detector : int
            Which detector.
        """
        signature = make_signature(detector, camera=self.scale.camera)
        paths = write_calibrations(
            folder, self.seed, self.calibration_shots, [detector], signatures={detector: signature}
        )
        for shots in self.shots.values():
            for shot in shots:
                paths.append(write_raw(folder, self.seed, self.sky, shot, detector, signature=signature))
        return paths

    def write_tables(self, paths: dict[str, Path | str]) -> None:
        """Write what is known beforehand, and the truth.

        Parameters
        ----------
        paths : dict
            Of ``reference`` (the stars, as another survey has measured them), ``ephemeris`` (the known
            asteroids), ``truth`` (the transients on each detector of each later visit, as in
            `astra.simulation.night.SimulatedNight`) and ``changing`` (likewise variable stars, with the
            flux above that of the template, and asteroids, of which ``ssObjectId`` is not 0).
        """
        rng = np.random.default_rng([self.seed, 3])
        later, detectors = self.later_shots, self.scale.detectors
        write_reference(Path(paths["reference"]), make_reference_catalog(rng, self.sky, (BAND,)), (BAND,))
        write_catalog(paths["ephemeris"], self._ephemeris(rng), units={"ra": "deg", "dec": "deg"})
        truth = make_truth(self.sky, self.template_shots[0], later, detectors)
        write_catalog(paths["truth"], truth, units=_UNITS)
        write_catalog(paths["changing"], self._changing(later, detectors), units=_UNITS)

    def _ephemeris(self, rng: np.random.Generator) -> NDArray[Any]:
        """Where the known asteroids are in each visit of the last night, with the error of an orbit."""
        known = self.sky.movers[: max(len(self.sky.movers) - _UNKNOWN_MOVERS, 0)]
        names = ("ra", "dec", "raErr", "decErr")
        dtype = [("ssObjectId", np.int64), ("visit", np.int64), *((name, np.float64) for name in names)]
        parts = [np.zeros(0, dtype)]
        for shot in self.shots[LAST_NIGHT]:
            there, rows = moved_to(known, shot.midpoint_mjd_tai), np.zeros(len(known), dtype)
            rows["ssObjectId"], rows["visit"] = known["ssObjectId"], shot.visit
            error = POSITION_ERR_DEG * rng.standard_normal((2, len(known)))
            rows["dec"] = there["dec"] + error[0]
            rows["ra"] = there["ra"] + error[1] / np.cos(np.radians(there["dec"]))
            rows["raErr"] = rows["decErr"] = POSITION_ERR_DEG
            parts.append(rows)
        return np.concatenate(parts)

    def _changing(self, shots: Sequence[Shot], detectors: Sequence[int]) -> NDArray[Any]:
        """List variable stars and asteroids on each detector of some shots."""
        templates = np.mean([variable_fluxes(self.sky, shot) for shot in self.template_shots], axis=0)
        parts = [np.zeros(0, _CHANGING_DTYPE)]
        for shot in shots:
            movers = moved_to(self.sky.movers, shot.midpoint_mjd_tai)
            for detector in detectors:
                change = variable_fluxes(self.sky, shot) - templates
                parts.append(_rows_on(shot, detector, self.sky.variables, change))
                parts.append(_rows_on(shot, detector, movers, mover_fluxes(self.sky, shot)))
        return np.concatenate(parts)


def _rows_on(shot: Shot, detector: int, sources: NDArray[Any], flux: NDArray[np.float64]) -> NDArray[Any]:
    """Rows of those of some sources that lie on a detector."""
    x, y, there = positions_on(shot, detector, sources)
    rows = np.zeros(int(there.sum()), _CHANGING_DTYPE)
    rows["visit"], rows["detector"] = shot.visit, detector
    if "ssObjectId" in (sources.dtype.names or ()):
        rows["ssObjectId"] = sources["ssObjectId"][there]
    for name, column in (("ra", sources["ra"]), ("dec", sources["dec"]), ("x", x), ("y", y), ("flux", flux)):
        rows[name] = column[there]
    return rows
