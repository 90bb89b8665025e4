"""A simulated night of APOGEE: visits of stars in a tree of SDSS, and the models for their analysis."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from astra.products.atomic import write_text
from astra.products.fits_record import write_hdus
from astra.products.sdss_paths import SdssPath
from astra.products.spectral_models import write_cannon_model, write_template_spectra
from astra.simulation.stars import Star, observe
from astra.spectra.barycentric import SITES, barycentric_correction
from astra.spectra.cannon import CannonModel
from astra.spectra.grid import APSTAR_GRID
from astra.spectra.velocities import remove

RELEASE, APRED, TELESCOPE = "sdss5", "1.3", "apo25m"
MJD, EARLIER_MJD = 59146, 59126
N_PIXELS = 2048  # of each chip of a visit that is not dithered
DEPTH_PER_LABEL = 0.3  # by how much a label of one deepens the lines
LABEL_RANGE = (-1.0, 1.0)
JD_MINUS_MJD = 2400000.5
LINES = (
    "name,medium,window_low,window_high,blue_low,blue_high,red_low,red_high\n"
    "first,vacuum,16100,16110,16080,16090,16120,16130\nsecond,vacuum,15400,15410,15380,15390,15420,15430\n"
)
FILES = {
    "manifest": "night.csv",
    "templates": "templates.npz",
    "lines": "lines.csv",
    "model": "model.npz",
    "truth": "truth.csv",
}


@dataclass(frozen=True)
class SimulatedVisit:
    """One visit of one star.

    Parameters
    ----------
    path : str
        Its file.
    obj : str
        Name of the star.
    mjd : int
        Night.
    fiber : int
        Fibre.
    ra, dec : float
        Where it is [deg].
    v_rad : float
        Its barycentric velocity [km/s].
    label : float
        What deepens its lines.
    snr : float
        Signal to noise of a pixel of the continuum.
    """

    path: str
    obj: str
    mjd: int
    fiber: int
    ra: float
    dec: float
    v_rad: float
    label: float
    snr: float


@dataclass(frozen=True)
class SpectralNight:
    """A night of stars, some of which were seen before; equal seeds give equal nights.

    Parameters
    ----------
    folder : Path
        Where everything is, absolute: the tree in ``sas``.
    seed : int
        Seed of all randomness.
    n_stars : int, optional
        Stars of the night.
    n_before : int, optional
        How many of them have an earlier visit.
    """

    folder: Path
    seed: int
    n_stars: int = 160
    n_before: int = 80

    def path(self, kind: str) -> Path:
        """Path of one of `FILES`."""
        return self.folder / FILES[kind]

    @cached_property
    def tree(self) -> SdssPath:
        """The paths of the tree."""
        return SdssPath(RELEASE, self.folder / "sas")

    @cached_property
    def visits(self) -> list[SimulatedVisit]:
        """All visits, those of the night first."""
        rng = np.random.default_rng([self.seed, 4])
        draws = zip(
            rng.uniform(-100.0, 100.0, self.n_stars),
            rng.uniform(*LABEL_RANGE, self.n_stars),
            rng.uniform(40.0, 150.0, self.n_stars),
            rng.uniform(-1.0, 1.0, (self.n_stars, 2)),
            strict=True,
        )
        found: dict[int, list[SimulatedVisit]] = {MJD: [], EARLIER_MJD: []}
        for number, (v_rad, label, snr, place) in enumerate(draws):
            for mjd in (MJD, EARLIER_MJD) if number < self.n_before else (MJD,):
                keys = {"fiber": number + 1, "plate": "15000", "field": "13030", "mjd": mjd}
                location = self.tree.full("apVisit", apred=APRED, telescope=TELESCOPE, **keys)
                ra, dec = 83.0 + place[0], 22.0 + place[1]
                name = f"2M0532{number:04d}+2200000"
                visit = SimulatedVisit(location, name, mjd, number + 1, ra, dec, v_rad, label, snr)
                found[mjd].append(visit)
        return found[MJD] + found[EARLIER_MJD]

    def write(self) -> None:
        """Write the files of all visits, the summary, a list of the night, models and the truth."""
        star = Star()
        corrections = self._corrections()
        for number, (visit, correction) in enumerate(zip(self.visits, corrections, strict=True)):
            rng = np.random.default_rng([self.seed, 5, number])
            self._write_visit(star, visit, float(remove(visit.v_rad, correction)), rng)
        summary = Path(self.tree.full("allVisit", apred=APRED, telescope=TELESCOPE))
        write_hdus(summary, [fits.PrimaryHDU(), _summary_table(self.visits)])
        rows = [{"product": "apVisit", **asdict(visit)} for visit in self.visits]
        write_text(self.path("manifest"), _csv(rows, ("product", "path", "mjd", "obj")))
        write_text(self.path("truth"), _csv(rows, ("path", "obj", "mjd", "v_rad", "label", "snr")))
        write_text(self.path("lines"), LINES)
        self._write_models(star)

    def _corrections(self) -> Any:
        """Barycentric corrections of the visits [km/s]."""
        ra, dec, mjd = (np.array([getattr(v, name) for v in self.visits]) for name in ("ra", "dec", "mjd"))
        return barycentric_correction(ra, dec, _middle_jd(mjd), SITES[TELESCOPE])

    def _write_visit(self, star: Star, visit: SimulatedVisit, v_rel: float, rng: np.random.Generator) -> None:
        """Write one visit as apVisit files are: chips from red to blue, wavelengths falling."""
        strength = 1.0 + DEPTH_PER_LABEL * visit.label
        seen = observe(star, v_rel, visit.snr, rng, n_pixels=N_PIXELS, strength=strength)
        wavelength, flux, ivar, flags = (plane.reshape(3, N_PIXELS)[::-1, ::-1] for plane in seen)
        header = fits.Header(
            [
                ("OBJID", visit.obj, "star"),
                ("TELESCOP", TELESCOPE, "telescope"),
                ("PLATE", "15000", "plate"),
                ("FIBERID", visit.fiber, "fibre"),
                ("MJD5", visit.mjd, "[d] night"),
                ("JD-MID", float(_middle_jd(visit.mjd)), "[d] middle of the exposures, UTC"),
                ("EXPTIME", 2002.0, "[s]"),
                ("RA", visit.ra, "[deg]"),
                ("DEC", visit.dec, "[deg]"),
                ("SNR", visit.snr, "of a pixel"),
                ("SURVEY", "SDSS-V", "simulated"),
            ]
        )
        images = (flux.astype("f4"), (ivar**-0.5).astype("f4"), flags.astype("i2"), wavelength)
        path = Path(visit.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_hdus(path, [fits.PrimaryHDU(header=header), *map(fits.ImageHDU, images)])

    def _write_models(self, star: Star) -> None:
        """Write templates of three widths, and a model in which a label deepens the lines."""
        wavelength = np.arange(15000.0, 17100.0, 0.1)
        widths = (7.0, 12.0, 20.0)
        flux = np.stack([star(wavelength, sigma_kms=width) for width in widths])
        names = [f"lines of {width:g} km/s" for width in widths]
        write_template_spectra(self.path("templates"), wavelength, flux, names)
        write_cannon_model(self.path("model"), depth_model(star, "label", DEPTH_PER_LABEL))


def depth_model(star: Star, label: str, depth_per_label: float) -> CannonModel:
    """Return a model of one label, from -2 to 2, each unit of which deepens a star's lines by a part."""
    depth = 1.0 - star(APSTAR_GRID.wavelength)
    return CannonModel(
        names=(label,),
        centre=np.zeros(1),
        scale=np.ones(1),
        coefficients=np.stack([1.0 - depth, -depth_per_label * depth, np.zeros_like(depth)]),
        scatter2=np.full(depth.size, 1e-4),
        low=np.array([-2.0]),
        high=np.array([2.0]),
        precision=np.eye(1),
        max_distance=3.0,
        unit_covariance=1e-3 * np.eye(3),
        training_variance=np.full(depth.size, 1e-4),
        n_stars=1000,
    )


def _middle_jd(mjd: Any) -> Any:
    """Middle of the visits of a night [d, JD UTC]."""
    return mjd + JD_MINUS_MJD + 0.25


def _csv(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _summary_table(visits: Sequence[SimulatedVisit]) -> fits.BinTableHDU:
    """Table of the visits as the survey's summary has it."""
    n = len(visits)
    columns = {
        "apogee_id": ("20A", [visit.obj for visit in visits]),
        "apred_vers": ("8A", [APRED] * n),
        "fiberid": ("I", [visit.fiber for visit in visits]),
        "plate": ("8A", ["15000"] * n),
        "mjd": ("J", [visit.mjd for visit in visits]),
        "telescope": ("6A", [TELESCOPE] * n),
        "field": ("10A", ["13030"] * n),
        "ra": ("D", [visit.ra for visit in visits]),
        "dec": ("D", [visit.dec for visit in visits]),
    }
    return fits.BinTableHDU.from_columns(
        [fits.Column(name, form, array=values) for name, (form, values) in columns.items()], name="ALLVISIT"
    )
