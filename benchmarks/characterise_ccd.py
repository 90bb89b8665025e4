"""Characterise a simulated CCD image and compare cost and quality with the usual programs.

    python benchmarks/characterise_ccd.py [PAIR_DIR] [--size 4096] [--seed 12] [--peer-python PYTHON]

PAIR_DIR is a folder that `make_pair.py` wrote (it lies beside the project: ../shared/bench); without one, a
pair is made in a temporary folder. Prints one row a step: CPU seconds of astra, after a first run that
compiles, and of the peer, their ratio, and the quality of both against the truth. Peers that are not
installed are skipped: source-extractor, psfex, and astroscrappy in PYTHON (this interpreter by default).
"""

import argparse
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # of one core, as in a worker: numpy looks when it is imported

import numpy as np
from astropy.io import fits
from scipy.ndimage import label
from scipy.optimize import least_squares
from scipy.spatial import cKDTree

from astra.images.background import fit_background, subtract_background
from astra.images.cosmic_rays import repair_cosmic_rays
from astra.images.detection import detect_sources
from astra.images.exposure import MASK_BAD, MASK_CR, MASK_SAT, Exposure, VisitInfo
from astra.images.measurement import MeasurementConfig, measure_candidates, measure_sources
from astra.images.process_ccd import process_ccd
from astra.images.psf import gaussian_psf
from astra.images.psf_fit import fit_psf
from astra.images.psf_stars import PsfFitConfig, select_psf_stars
from astra.products.reference_catalog import DTYPE as REFERENCE_DTYPE

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench" / "make_pair.py"
MATCH_PIXEL = 2.0
COMPARED_HALF = 15  # of the PSF stamps that are compared [pixel]
GRID = 5
EDGE_PIXEL = 20
APERTURE = 12.0
NEIGHBOUR_PIXEL = 20.0  # what is nearer than this is a neighbour
UNSEEN_SIGMA = 0.3
COSMICS = """
import sys, time, numpy as np, astroscrappy
d = np.load(sys.argv[1]); image, bad = d['image'], d['bad']
options = dict(gain=2.0, readnoise=8.0, satlevel=119000.0, sigclip=4.5)
start = time.process_time()
found, _ = astroscrappy.detect_cosmics(image, inmask=bad, **options)
print(time.process_time() - start)
np.save(sys.argv[2], found)
"""
SE_OPTIONS = {
    "FILTER_NAME": "filter.conv", "FILTER": "Y", "DETECT_THRESH": "1.5", "ANALYSIS_THRESH": "1.5",
    "DETECT_MINAREA": "3", "DEBLEND_NTHRESH": "32", "DEBLEND_MINCONT": "0.0005", "CLEAN": "Y", "GAIN": "2",
    "BACK_SIZE": "64", "SATUR_LEVEL": "59000", "CATALOG_TYPE": "FITS_LDAC", "CATALOG_NAME": "found.cat",
    "PHOT_APERTURES": "24", "FLAG_IMAGE": "flag.fits", "FLAG_TYPE": "OR", "VERBOSE_TYPE": "QUIET",
    "WRITE_XML": "N", "MEMORY_PIXSTACK": "4000000", "MEMORY_OBJSTACK": "40000", "PARAMETERS_NAME": "se.param",
}  # fmt: skip
SE_DETECT = ["X_IMAGE", "Y_IMAGE", "FLAGS", "IMAFLAGS_ISO"]
SE_MEASURE = ["FLUX_APER(6)", "FLUXERR_APER(6)", "FLUX_AUTO", "XWIN_IMAGE", "YWIN_IMAGE", "X2WIN_IMAGE"]
SE_PSFEX = [
    "VIGNET(41,41)",
    "FLUX_RADIUS",
    "SNR_WIN",
    "FLUX_APER(1)",
    "FLUXERR_APER(1)",
    "ELONGATION",
    "FLUX_MAX",
]


def load_generator():
    """The module that makes pairs, which also knows their true PSF."""
    if not BENCH.exists():
        raise SystemExit(f"{BENCH} is needed for the simulated pair and its true PSF, and is not there")
    spec = importlib.util.spec_from_file_location("make_pair", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Pair:
    """The science image of a pair with its truth."""

    def __init__(self, folder, generator):
        self.folder, self.generator = Path(folder), generator
        self.image = fits.getdata(self.folder / "sci.fits").astype(np.float32)
        self.bits = fits.getdata(self.folder / "mask.fits")
        self.fwhm_pixel = float(fits.getheader(self.folder / "sci.fits")["FWHM"])
        truth = np.load(self.folder / "truth.npz")
        self.stars, self.galaxies = truth["star"], truth["gal"]
        self.transients = truth["trans"][truth["trans"][:, 2] > 0]
        self.psf_fields = json.loads((self.folder / "psf.json").read_text())["sci"]
        self.size = len(self.image)

    def exposure(self):
        """What the steps are given: counts, variance of the counts, saturated and bad pixels; no CR mask."""
        from astropy.wcs import WCS

        mask = np.where(self.bits & 1, MASK_SAT, 0).astype(np.uint32)
        mask |= np.where(self.bits & 2, MASK_BAD, 0).astype(np.uint32)
        variance = np.maximum(self.image, 0) / 2 + np.float32(16)
        info = VisitInfo("simulated", 1, 1, "r", "r", 60000.0, 30.0)
        wcs = WCS(fits.getheader(self.folder / "sci_badwcs.fits"))
        return Exposure(self.image, variance, mask, info, gain=2.0, wcs=wcs)

    def reference(self):
        """The pair's reference catalogue."""
        table = fits.getdata(self.folder / "refcat.fits", 1)
        reference = np.zeros(len(table), dtype=REFERENCE_DTYPE)
        reference["id"], reference["isStar"] = np.arange(len(table)), True
        reference["ra"], reference["dec"] = table["ra"], table["dec"]
        reference["flux"] = 10 ** (-0.4 * (table["mag"] - 31.4))
        reference["fluxErr"] = 0.01 * reference["flux"]
        return reference

    def true_psf(self, x, y, half, shift=(0.0, 0.0)):
        """Pixel-integrated stamp at unit sum, the star off the middle by a shift."""
        stamp = self.generator.psf_stamp(self.psf_fields, x, y, self.size, x - shift[0], y - shift[1], half)
        return stamp / stamp.sum()

    def everything(self):
        """Positions and fluxes [adu] of stars, galaxies and transients."""
        return np.concatenate([self.stars[:, :3], self.galaxies[:, :3], self.transients[:, :3]])

    def star_snr(self):
        """S/N of each star in the sky and its own photons."""
        flux = self.stars[:, 2]
        stamp = self.true_psf(self.size / 2, self.size / 2, 20)
        sky = 300.0 / 2 + 16
        return flux / np.sqrt(sky / np.sum(stamp**2) + flux / 2)


def timed(function, *arguments):
    """Result and CPU seconds of the second of two calls."""
    function(*arguments)
    start = time.process_time()
    result = function(*arguments)
    return result, time.process_time() - start


def run_program(command, folder):
    """CPU seconds of a program, or None if it is not installed."""
    if shutil.which(command[0]) is None:
        return None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def event_quality(pair, found):
    """Share of the events touched, of those with a pixel that is not bad anyway, and false pixels."""
    hit = (pair.bits & 4) > 0
    events, _ = label(hit, np.ones((3, 3)))
    testable = np.unique(events[hit & (pair.bits & 3 == 0)])
    touched = np.isin(testable, events[found & hit]).mean()
    return f"{100 * touched:.2f} % of {len(testable)}, {int((found & ~hit).sum())} false px"


def completeness(pair, x, y):
    """Share of the stars of S/N > 10 on good pixels that have a detection of their own; what has none."""
    snr, stars = pair.star_snr(), pair.stars
    column, row = (np.rint(stars[:, k]).astype(int) for k in (0, 1))
    inside = (np.minimum(column, row) >= EDGE_PIXEL) & (np.maximum(column, row) < pair.size - EDGE_PIXEL)
    index = np.flatnonzero(inside & (snr > 10))
    index = index[pair.bits[row[index], column[index]] & 3 == 0]
    found = cKDTree(np.stack([x, y], axis=-1))
    truth = cKDTree(pair.everything()[:, :2])
    distance, nearest = found.query(stars[index, :2])
    _, back = truth.query(found.data[nearest])
    own = (distance < MATCH_PIXEL) & (back == index)
    bright = pair.everything()[:, 2] > 3 * 13 * 6 / 4  # S/N 1.5: fainter ones explain nothing
    alone = cKDTree(pair.everything()[bright, :2]).query(found.data)[0] > 2 * MATCH_PIXEL
    return f"{100 * own.mean():.2f} % of {len(index)}, {int(alone.sum())} of {len(x)} on nothing"


def psf_errors(pair, stamp_at):
    """Largest error over the peak on a grid over the frame, the truth registered to the model [%]."""
    errors = []
    places = np.linspace(EDGE_PIXEL, pair.size - 1 - EDGE_PIXEL, GRID)
    for x, y in ((x, y) for y in places for x in places):
        stamp = stamp_at(x, y)
        middle = stamp.shape[0] // 2
        window = slice(middle - COMPARED_HALF, middle + COMPARED_HALF + 1)
        stamp = stamp[window, window] / stamp[window, window].sum()
        fitted = least_squares(lambda s: (pair.true_psf(x, y, COMPARED_HALF, s) - stamp).ravel(), [0, 0])  # noqa: B023
        errors.append(100 * np.abs(fitted.fun).max() / stamp.max())
    return f"max {max(errors):.2f} %, median {np.median(errors):.2f} %"


def clean_stars(pair, sources):
    """Rows of clean stars, their index in the truth, and how many neighbours each has and how many unseen."""
    everything = pair.everything()
    places = np.stack([sources["x"], sources["y"]], axis=-1)
    distance, index = cKDTree(everything[:, :2]).query(places)
    clean = (distance < 1) & (index < len(pair.stars)) & (sources["snr"] > 10)
    for name in ("flag_saturated", "flag_bad", "flag_cr", "flag_edge", "flag_psfFlux", "flag_interpolated"):
        clean &= ~sources[name]
    rows = np.flatnonzero(clean)
    # Fainter ones than this cannot be told from the sky, and the sky that is subtracted holds their light.
    bright = everything[everything[:, 2] > 4 * np.nanmedian(sources["psfInstFluxErr"]), :2]
    unseen = bright[cKDTree(places).query(bright)[0] > 1]
    near = cKDTree(bright).query_ball_point(places[rows], NEIGHBOUR_PIXEL, return_length=True) - 1
    missed = cKDTree(unseen).query_ball_point(places[rows], NEIGHBOUR_PIXEL, return_length=True)
    return rows, index[rows], near, missed


def unseen_light(pair, sources, index):
    """Flux [adu] that sources without a detection of their own add to the PSF flux of others, by the truth.

    That of a Gaussian PSF: nobody can see it apart.
    """
    everything = pair.everything()
    tree = cKDTree(everything[:, :2])
    places = np.stack([sources["x"], sources["y"]], axis=-1)
    distance, nearest = cKDTree(places).query(everything[:, :2])
    seen = (distance < 1.5) & (tree.query(places)[1][nearest] == np.arange(len(everything)))
    unseen = everything[~seen]
    twice_area = 4 * (pair.fwhm_pixel / 2.3548) ** 2
    added = np.zeros(len(index))
    tree = cKDTree(unseen[:, :2])
    for k, (x, y) in enumerate(everything[index, :2]):
        near = unseen[tree.query_ball_point((x, y), NEIGHBOUR_PIXEL)]
        square = (near[:, 0] - x) ** 2 + (near[:, 1] - y) ** 2
        added[k] = np.sum((near[:, 2] * np.exp(-square / twice_area))[square > 0])
    return added


def flux_pulls(pair, sources):
    """Pulls of the PSF fluxes of clean stars in bins of S/N, by what is near them."""
    rows, index, near, missed = clean_stars(pair, sources)
    half = int(APERTURE) + 40
    stamp = pair.true_psf(pair.size / 2, pair.size / 2, half)
    offset = np.arange(-half, half + 1)
    inside = stamp[np.hypot(offset[:, None], offset[None, :]) < APERTURE].sum()
    error = sources["psfInstFluxErr"][rows]
    pull = (sources["psfInstFlux"][rows] - inside * pair.everything()[index, 2]) / error
    resolved = unseen_light(pair, sources, index) < UNSEEN_SIGMA * error
    kinds = {
        "isolated": near == 0,
        "with neighbours, all found": (near > 0) & (missed == 0),
        f"all, less than {UNSEEN_SIGMA:g} sigma of unseen light": resolved,
        "all": np.ones(len(rows), dtype=bool),
    }
    return {
        name: "; ".join(pulls_by_snr(sources["snr"][rows][kind], pull[kind])) for name, kind in kinds.items()
    }


def pulls_by_snr(snr, pull):
    """Median and robust scatter of pulls in bins of S/N."""
    for low, high in ((10, 20), (20, 50), (50, 100), (100, 300)):
        chosen = pull[(snr > low) & (snr <= high)]
        if len(chosen) == 0:
            continue
        scatter = 1.4826 * np.median(np.abs(chosen - np.median(chosen)))
        yield f"S/N {low}-{high}: {np.median(chosen):+.2f} {scatter:.2f} ({len(chosen)})"


def peer_cosmic_rays(pair, folder, python):
    """CPU seconds and hit pixels of astroscrappy, or None."""
    source, result = folder / "cosmics.npz", folder / "hits.npy"
    np.savez(source, image=pair.image, bad=(pair.bits & 3) > 0)
    done = subprocess.run(
        [python, "-c", COSMICS, source, result], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        print(f"astroscrappy cannot be run by {python}: skipped")
        return None
    return float(done.stdout), np.load(result)


def peer_sources(pair, folder, columns):
    """CPU seconds and the catalogue of source-extractor, or None."""
    offset = np.arange(-3, 4)
    kernel = np.exp(-0.5 * (offset[:, None] ** 2 + offset[None, :] ** 2) / (pair.fwhm_pixel / 2.3548) ** 2)
    rows = "\n".join(" ".join(f"{value:.5f}" for value in row) for row in kernel)
    (folder / "filter.conv").write_text(f"CONV NORM\n{rows}\n")
    (folder / "se.param").write_text("\n".join(columns))
    # It looks for cosmic rays itself no more than astra's detection does; the flags spare the PSF from them.
    fits.writeto(folder / "flag.fits", (pair.bits > 0).astype(np.int16), overwrite=True)
    options = [item for name, value in SE_OPTIONS.items() for item in (f"-{name}", value)]
    image = str((pair.folder / "sci.fits").resolve())
    seconds = run_program(["source-extractor", image, "-c", os.devnull, *options], folder)
    return None if seconds is None else (seconds, fits.getdata(folder / "found.cat", 2))


def peer_psf(folder):
    """CPU seconds and the PSF of psfex from the catalogue in the folder, or None."""
    options = "-PSFVAR_DEGREES 2 -PSF_SIZE 41,41 -CHECKPLOT_TYPE NONE -CHECKIMAGE_TYPE NONE -WRITE_XML N"
    options += " -SAMPLE_MINSN 50 -SAMPLE_MAXELLIP 0.3 -SAMPLE_FWHMRANGE 2.0,10.0 -SAMPLE_IMAFLAGMASK 0xff"
    options += " -NTHREADS 1 -VERBOSE_TYPE QUIET"
    seconds = run_program(["psfex", "found.cat", *options.split()], folder)
    if seconds is None:
        return None
    with fits.open(folder / "found.psf") as hdus:
        return seconds, make_psfex_stamp(hdus[1].header, hdus[1].data["PSF_MASK"][0])


def make_psfex_stamp(header, terms):
    """Function of position that draws the PSF of psfex, which it resamples by Lanczos-4."""
    degree, step = header["POLDEG1"], header["PSF_SAMP"]
    middle = terms.shape[1] // 2
    places = (np.arange(41) - 20) / step + middle
    distance = places[:, None] - np.arange(terms.shape[1])[None, :]
    weights = np.where(np.abs(distance) < 4, np.sinc(distance) * np.sinc(distance / 4), 0.0)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-3)  # 0 where it has no PSF

    def stamp_at(x, y):
        u = (x + 1 - header["POLZERO1"]) / header["POLSCAL1"]
        v = (y + 1 - header["POLZERO2"]) / header["POLSCAL2"]
        powers = [u**i * v**j for j in range(degree + 1) for i in range(degree + 1 - j)]
        return weights @ np.tensordot(powers, terms, axes=1) @ weights.T

    return stamp_at


def find_and_fit(science, psf):
    """Choose PSF stars among detections and fit them; what `process_ccd` does in its first pass."""
    config = PsfFitConfig()
    detections = detect_sources(science, psf)
    sources, pixels = measure_candidates(science, psf, detections, MeasurementConfig(), config.min_snr)

    def fit():
        stars = sources[select_psf_stars(sources, config)]
        return fit_psf(pixels, stars, float(np.median(np.sqrt((stars["ixx"] + stars["iyy"]) / 2))), config)

    return timed(fit)


def print_row(step, seconds, peer_seconds=None, ours="", theirs=""):
    """One row of the table."""
    ratio = f"{peer_seconds / seconds:8.1f}" if peer_seconds is not None else " " * 8
    peer = f"{peer_seconds:9.2f}" if peer_seconds is not None else " " * 9
    print(f"{step:<26}{seconds:9.2f}{peer}{ratio}  {ours}" + (f" | peer: {theirs}" if theirs else ""))


def compare_cosmic_rays(pair, science, psf, folder, python):
    """Row of the cosmic rays; the repaired image."""
    (repaired, events), seconds = timed(repair_cosmic_rays, science, psf)
    found = np.zeros(pair.bits.shape, dtype=bool)
    found[events.y, events.x] = True
    peer = peer_cosmic_rays(pair, folder, python)
    theirs = (None, "") if peer is None else (peer[0], event_quality(pair, peer[1]))
    print_row("cosmic rays, repaired", seconds, theirs[0], event_quality(pair, found), theirs[1])
    return repaired


def compare_detection(pair, exposure, science, psf, folder):
    """Rows of detection and measurement."""
    _, sky_seconds = timed(fit_background, exposure)
    detections, seconds = timed(detect_sources, science, psf)
    ours = completeness(pair, detections.x, detections.y)
    peer = peer_sources(pair, folder, SE_DETECT)
    theirs = (None, "")
    if peer is not None:
        theirs = peer[0], completeness(pair, peer[1]["X_IMAGE"] - 1, peer[1]["Y_IMAGE"] - 1)
    print_row("background, detection", sky_seconds + seconds, theirs[0], ours, theirs[1])
    sources, measuring = timed(measure_sources, science, psf, detections, MeasurementConfig())
    peer = peer_sources(pair, folder, SE_DETECT + SE_MEASURE)
    total = None if peer is None else peer[0]
    print_row("the same and measurement", sky_seconds + seconds + measuring, total, f"{len(sources)} sources")


def compare_psf(pair, science, psf, folder):
    """Row of the PSF."""
    fit, seconds = find_and_fit(science, psf)
    peer = None
    if peer_sources(pair, folder, SE_DETECT + SE_PSFEX) is not None:
        peer = peer_psf(folder)
    theirs = (None, "") if peer is None else (peer[0], psf_errors(pair, peer[1]))
    print_row("PSF of order 2", seconds, theirs[0], psf_errors(pair, fit.psf.stamp), theirs[1])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pair", nargs="?", type=Path)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has astroscrappy")
    options = parser.parse_args()
    generator = load_generator()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        place = options.pair or folder / "pair"
        if options.pair is None:
            arguments = [str(options.size), str(place), "--seed", str(options.seed), "--no-raw"]
            subprocess.run([sys.executable, str(BENCH), *arguments], check=True, capture_output=True)
        pair = Pair(place, generator)
        for program in ("source-extractor", "psfex"):
            if shutil.which(program) is None:
                print(f"{program} is not installed: skipped")
        compare(pair, folder, options.peer_python)


def compare(pair, folder, python):
    """Print the table of a pair."""
    exposure, psf = pair.exposure(), gaussian_psf(pair.fwhm_pixel)
    print(f"{pair.folder.name}: {pair.size} x {pair.size} pixels; CPU seconds, one core, after a first run")
    print(f"{'step':<26}{'astra':>9}{'peer':>9}{'ratio':>8}  quality")
    science = subtract_background(exposure, fit_background(exposure))
    repaired = compare_cosmic_rays(pair, science, psf, folder, python)
    compare_detection(pair, exposure, repaired, psf, folder)
    compare_psf(pair, repaired, psf, folder)
    result, seconds = timed(process_ccd, exposure, pair.reference())
    print_row("process_ccd as a whole", seconds, None, psf_errors(pair, result.calexp.psf.stamp))
    found = (result.calexp.mask & MASK_CR) > 0
    print(f"cosmic rays of both passes: {event_quality(pair, found)}")
    print(f"stars and galaxies: {completeness(pair, result.sources['x'], result.sources['y'])}")
    print("PSF flux pulls of stars, median and scatter (number)")
    for name, pulls in flux_pulls(pair, result.sources).items():
        print(f"  {name}: {pulls}")


if __name__ == "__main__":
    main()
