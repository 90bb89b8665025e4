"""Simulated pairs for the benchmarks of one CCD: made by ../shared/bench/make_pair.py, read from their raws.

The raw frame goes through astra's own removal of the signature with the pair's bias, dark and flat; what is
saturated is found in it, and nothing is taken from the pair's true mask. No calibration shows the pair's bad
columns, so nobody is told of them. The pair's noise is made before its flat: where that is 0.9, the variance
that follows from the raw is 1.1 times the true one.
"""

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

MAKER = Path(__file__).resolve().parents[2] / "shared" / "bench" / "make_pair.py"
CAMERAS = {2048: "pair_camera.toml", 4096: "pair_camera_4k.toml"}
TRUE_SAT, TRUE_BAD, TRUE_CR = 1, 2, 4  # of mask.fits
CATALOGUE_ERROR_MAG = 0.01


def add_arguments(parser):
    """Add the options that choose pairs."""
    parser.add_argument("pairs", nargs="*", type=Path, help="folders of pairs; made if none is named")
    parser.add_argument("--size", type=int, default=2048, choices=sorted(CAMERAS), help="side [pixel]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of the pairs that are made")


def named_or_made(options, folder):
    """Yield a label and the folder of each pair; those that have to be made, one after the other."""
    for pair in options.pairs:
        if not (pair / "raw.fits").is_file() or not (pair / "truth.npz").is_file():
            raise SystemExit(f"{pair} holds no pair with a raw frame: make one with {MAKER}")
        yield pair.name, pair
    for seed in () if options.pairs else options.seeds:
        yield f"seed {seed}", make_pair(Path(folder) / f"seed_{seed}", options.size, seed)


def make_pair(place, size, seed):
    """Make a pair, or say that it cannot be made."""
    if not MAKER.is_file():
        raise SystemExit(f"name a folder with a pair: {MAKER} is not there to make one")
    command = [sys.executable, str(MAKER), str(size), str(place), "--seed", str(seed)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return place


def load_generator():
    """The module that makes pairs, which also knows their true PSF."""
    if not MAKER.is_file():
        raise SystemExit(f"{MAKER} is needed for the true PSF of a pair, and is not there")
    spec = importlib.util.spec_from_file_location("make_pair", MAKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_wcs(path):
    """WCS of the header of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(fits.getheader(path))


def read_exposure(pair):
    """The science image, from the raw frame, with the wrong WCS."""
    from astra.images.calibration import Calibration, Calibrations
    from astra.images.isr import correct_raw
    from astra.instruments.toml_camera import TomlCamera

    size = fits.getheader(pair / "raw.fits")["NAXIS2"]
    raw = TomlCamera.from_file(Path(__file__).with_name(CAMERAS[size])).read_raw(pair / "raw.fits")
    images = {
        kind: np.ascontiguousarray(fits.getdata(pair / f"{kind}.fits"), dtype=np.float32)
        for kind in ("bias", "dark", "flat")
    }
    known = Calibrations(
        **{
            kind: Calibration(
                kind, "pair", 0, image, np.zeros_like(image), np.zeros(image.shape, np.uint32), gain=2.0
            )
            for kind, image in images.items()
        }
    )
    return correct_raw(raw, known).replace(wcs=read_wcs(pair / "sci_badwcs.fits"))


def read_reference(pair):
    """The reference catalogue of a pair."""
    from astropy.table import Table

    from astra.images.exposure import NJY_AB_ZERO_POINT_MAG
    from astra.products.reference_catalog import DTYPE

    table = Table.read(pair / "refcat.fits")
    reference = np.zeros(len(table), dtype=DTYPE)
    reference["id"], reference["isStar"] = np.arange(1, len(table) + 1), True
    reference["ra"], reference["dec"] = table["ra"], table["dec"]
    reference["flux"] = 10.0 ** (0.4 * (NJY_AB_ZERO_POINT_MAG - table["mag"]))
    reference["fluxErr"] = CATALOGUE_ERROR_MAG / 1.0857 * reference["flux"]
    return reference


def print_rows(title, rows):
    """Print a table of texts: label -> column -> cell; columns as wide as they need."""
    names = list(next(iter(rows.values())))
    widths = [max(len(name), *(len(row[name]) for row in rows.values())) for name in names]
    first = max(len(title), *map(len, rows))
    print(f"\n{title:<{first}}" + "".join(f"  {n:>{w}}" for n, w in zip(names, widths, strict=True)))
    for label, row in rows.items():
        cells = "".join(f"  {row[name]:>{width}}" for name, width in zip(names, widths, strict=True))
        print(f"{label:<{first}}{cells}")
