"""A small night of APOGEE and BOSS in a tree of its own, with summary files, templates, lines and model."""

import os

import numpy as np
from astropy.io import fits

from astra.products.sdss_paths import SdssPath
from astra.products.spectral_models import write_cannon_model, write_template_spectra
from astra.simulation.spectra import depth_model
from astra.spectra.velocities import remove
from tests.products.synthetic_spectra import write_ap_visit, write_spec
from tests.products.synthetic_surveys import write_all_star, write_all_visit, write_sp_all
from tests.spectra.synthetic_stars import Star, observe

MJD, APRED, RUN2D = 59146, "1.3", "v6_1_3"
N_PIXELS = 2048
STAR = Star()
BC_KMS = -8.0  # about that of the field; the headers have none


def write_star_visit(path, v_rad, *, seed, mjd, obj, snr=80.0, n_pixels=N_PIXELS):
    """One visit of a star of known velocity."""
    seen = observe(STAR, float(remove(v_rad, BC_KMS)), snr, np.random.default_rng(seed), n_pixels=n_pixels)
    wavelength, flux, ivar, flags = (plane.reshape(3, n_pixels)[::-1, ::-1] for plane in seen)
    cards = {"RA": 83.0, "DEC": 22.0, "OBJID": obj, "MJD5": mjd, "JD-MID": mjd + 2400000.75}
    write_ap_visit(path, n_pixels=n_pixels, seed=seed, **cards)
    with fits.open(path, mode="update") as file:
        for number, plane in ((1, flux), (2, ivar**-0.5), (4, wavelength)):
            file[number].data = plane.astype(file[number].data.dtype)
        file[3].data = flags.astype(np.int16)
    return path


class SpectralNight:
    """Visits of stars, two of which were seen before, and two BOSS spectra.

    Parameters
    ----------
    sas : Path
        Where the tree is made.
    n_stars : int, optional
        Stars of the night.
    distinct : int, optional
        Files that differ; the others are links to them.
    n_boss : int, optional
        BOSS spectra.
    n_pixels : int, optional
        Of each chip of a visit: 4096 if it is dithered, else 2048.
    every : int, optional
        One of so many visits has a star with a name, and no file has one if it is more than one.
    """

    def __init__(self, sas, *, n_stars=6, distinct=6, n_boss=2, n_pixels=N_PIXELS, every=1):
        self.sas = sas
        self.tree = SdssPath("sdss5", sas)
        self.visits = [self._visit(number, MJD) for number in range(n_stars)]
        for number, visit in enumerate(self.visits):
            visit["obj"] = visit["obj"] if number % every == 0 else ""
        self.earlier = [self._visit(number, MJD - 20) for number in range(2)]
        self.spectra = [
            {"catalogid": 4544940698 + number, "mjd": MJD, "field": 15143} for number in range(n_boss)
        ]
        firsts = {}
        for number, row in enumerate([*self.visits, *self.earlier]):
            path = self.visit_path(row)
            path.parent.mkdir(parents=True, exist_ok=True)
            first = firsts.setdefault(number % distinct if number < n_stars else number, path)
            if first is path:
                v_rad = -30.0 + 10.0 * ((number if number < n_stars else number - n_stars) % 12)
                write_star_visit(
                    path,
                    v_rad,
                    seed=number,
                    mjd=row["mjd"],
                    obj=row["obj"] if every == 1 else "",
                    n_pixels=n_pixels,
                )
            else:
                os.link(first, path)
        for number, row in enumerate(self.spectra):
            path = self.spec_path(row)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_spec(path, seed=number)
        summaries = [
            write_all_visit(self._summary("allVisit"), [*self.visits, *self.earlier]),
            write_all_star(
                self._summary("allStar"), [{"obj": row["obj"], "mjdend": MJD} for row in self.visits]
            ),
        ]
        if self.spectra:
            place = sas / self.tree.location("spAll", run2d=RUN2D)
            place.parent.mkdir(parents=True, exist_ok=True)
            summaries.append(write_sp_all(place, self.spectra))
        self.summaries = summaries

    def _visit(self, number, mjd):
        name = f"2M0532{number:04d}+2200000"
        keys = {"fiber": number % 300 + 1, "plate": str(15000 + number // 300), "field": "13030"}
        return {"obj": name, "mjd": mjd, **keys}

    def _summary(self, kind):
        path = self.sas / self.tree.location(kind, apred=APRED, telescope="apo25m")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def visit_path(self, row):
        """Path of a visit."""
        return self.sas / self.tree.location("apVisit", apred=APRED, telescope="apo25m", **row)

    def spec_path(self, row):
        """Path of a BOSS spectrum."""
        return self.sas / self.tree.location("spec", run2d=RUN2D, plate=row["field"], **row)


def write_night_models(folder):
    """Templates, lines and a model; the value is the parameters that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    wavelength = np.arange(15000.0, 17100.0, 0.1)
    flux = np.stack([STAR(wavelength), STAR(wavelength, sigma_kms=12.0)])
    write_template_spectra(folder / "templates.npz", wavelength, flux, ["narrow", "wide"])
    (folder / "lines.csv").write_text(
        "name,medium,window_low,window_high,blue_low,blue_high,red_low,red_high\n"
        "first,vacuum,16100,16110,16080,16090,16120,16130\nsecond,vacuum,15400,15410,15380,15390,15420,15430\n"
    )
    write_cannon_model(folder / "model.npz", depth_model(STAR, "depth", 0.3))
    names = {"templates": "templates.npz", "lines": "lines.csv", "model": "model.npz"}
    return {key: str(folder / name) for key, name in names.items()}
