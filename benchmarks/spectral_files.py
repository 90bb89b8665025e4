"""CPU milliseconds of reading and writing one file of each spectral product, beside astropy's own way.

    python benchmarks/spectral_files.py

The real files of ``../shared/data`` are taken where they are, else synthetic ones of the same sizes.
astropy's way is the least that gives the same pixels: it opens the file and takes the planes, unchecked.
"""

# ruff: noqa: I001

import sys
import tempfile
import time
import warnings
from pathlib import Path

import astra  # noqa: F401  # before numpy, so that it sets the number of threads
import numpy as np
from astropy.io import fits

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))
from astra.products.spectra import read_ap_star, read_ap_visit, read_aspcap_star, read_mwm, read_spec
from astra.products.spectrum_files import write_planes
from astra.products.star_files import write_ap_star
from astra.products.survey_fits import read_primary_cards
from tests.products import synthetic_spectra as synthetic

DATA = PROJECT.parent / "shared" / "data"


def milliseconds(work, repeats=25):
    """Least CPU time of some repeats, after one that is not counted."""
    work()
    best = np.inf
    for _ in range(repeats):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return 1e3 * best


def with_astropy(path, planes):
    """Open a file and take some planes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False) as hdus:
            if planes == "COADD":
                table = hdus[1].data
                return [np.array(table[name], float) for name in ("flux", "ivar", "loglam", "and_mask")] + [
                    hdus[2].data["CLASS"][0]
                ]
            return [np.array(hdus[number].data, float) for number in planes]


def files(folder):
    """Name, file, reader and planes of each product."""
    real = [
        ("apVisit", "apogee/apVisit-2M0*.fits", read_ap_visit, (1, 2, 3, 4)),
        ("apStar", "apogee/apStar-*.fits", read_ap_star, (1, 2, 3)),
        ("aspcapStar", "apogee/aspcapStar-*.fits", read_aspcap_star, (1, 2, 3)),
        ("BOSS spec, full", "boss/spec-7338*.fits", read_spec, "COADD"),
        ("BOSS spec, SDSS-I", "boss/spec-0266*.fits", read_spec, "COADD"),
    ]
    made = {
        "apVisit": lambda path: synthetic.write_ap_visit(path, n_pixels=4096),
        "apStar": lambda path: synthetic.write_ap_star(path, n_visits=3),
        "aspcapStar": synthetic.write_aspcap_star,
    }
    for name, pattern, read, planes in real:
        found = sorted(DATA.glob(pattern))
        if found or name in made:
            path = found[0] if found else made[name](folder / f"{name}.fits")
            yield f"{name}{'' if found else ' (synthetic)'}", path, read, planes
    yield "BOSS specLite (synthetic)", synthetic.write_spec(folder / "lite.fits"), read_spec, "COADD"
    path = synthetic.write_mwm(folder / "mwmVisit.fits", boss=(0, 0), apogee=(3, 1))
    yield "mwmVisit of 4 visits (synthetic)", path, read_mwm, ()


def main():
    print(f"{'CPU milliseconds a file':36s} {'astra':>8s} {'astropy':>8s} {'goal':>6s}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for product, path, read, planes in files(folder):
            ours = milliseconds(lambda read=read, path=path: read(path))
            theirs = (
                milliseconds(lambda path=path, planes=planes: with_astropy(path, planes))
                if planes
                else np.nan
            )
            goal = "5" if "BOSS" in product else "2" if product.startswith("ap") else ""
            print(f"{product:36s} {ours:8.2f} {theirs:8.2f} {goal:>6s}".replace("nan", "   "), flush=True)
        visit = synthetic.write_ap_visit(folder / "visit.fits", n_pixels=4096)
        print(f"{'cards of a header alone':36s} {milliseconds(lambda: read_primary_cards(visit)):8.2f}")
        spectrum = read_ap_visit(visit)
        star = read_ap_star(synthetic.write_ap_star(folder / "star.fits", n_visits=3))
        ours = milliseconds(lambda: write_ap_star(star, folder / "written.fits"))
        print(f"{'write an apStar of 5 rows':36s} {ours:8.2f}")
        planes = dict.fromkeys(("FLUX", "IVAR", "CONTINUUM"), (spectrum.flux, ""))
        ours = milliseconds(lambda: write_planes(folder / "planes.fits", spectrum.wavelength, planes))
        print(f"{'write a normalised visit':36s} {ours:8.2f}")


if __name__ == "__main__":
    main()
