"""Characterise simulated CCD images and compare cost and quality with the usual programs.

    python benchmarks/characterise_ccd.py [PAIR_DIR ...] [--size 2048] [--seeds 1 2] [--peer-python PYTHON]

Each image comes from the raw frame of a pair (see simulated_pair.py): signature removed by astra, masks found
by astra, nothing told. For each pair one row a step: CPU seconds of astra, after a first run that compiles,
and of the peer, their ratio, and the quality of both against the truth; at last a row for each pair and one
for all together (events, stars and pulls summed up; the median of the errors of the PSF and of the false
pixels). Peers get the image and the masks that astra made; those that are not installed are skipped:
source-extractor, psfex, and astroscrappy in PYTHON (this interpreter by default).
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # of one core, as in a worker: numpy looks when it is imported

import numpy as np
from astropy.io import fits
from scipy.ndimage import label
from scipy.optimize import least_squares
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).resolve().parent))

from simulated_pair import (
    TRUE_BAD,
    TRUE_CR,
    TRUE_SAT,
    add_arguments,
    load_generator,
    named_or_made,
    print_rows,
    read_exposure,
    read_reference,
)

from astra.images.background import fit_background, subtract_background
from astra.images.cosmic_rays import repair_cosmic_rays
from astra.images.detection import detect_sources
from astra.images.exposure import MASK_BAD, MASK_CR, MASK_NO_DATA, MASK_SAT
from astra.images.measurement import MeasurementConfig, measure_candidates, measure_sources
from astra.images.process_ccd import process_ccd
from astra.images.psf import gaussian_psf
from astra.images.psf_fit import fit_psf
from astra.images.psf_stars import PsfFitConfig, select_psf_stars

MATCH_PIXEL = 2.0
COMPARED_HALF = 15  # of the PSF stamps that are compared [pixel]
GRID = 5
EDGE_PIXEL = 20
APERTURE = 12.0
NEIGHBOUR_PIXEL = 20.0  # what is nearer than this is a neighbour
UNSEEN_SIGMA = 0.3
UNUSABLE = np.uint32(MASK_BAD | MASK_SAT | MASK_NO_DATA)
SNR_BINS = ((10, 20), (20, 50), (50, 100), (100, 300))
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


class Pair:
    """The science image of a pair, as astra makes it of the raw frame, with its truth."""

    def __init__(self, folder, generator):
        self.folder, self.generator = Path(folder), generator
        self.exposure, self.reference = read_exposure(folder), read_reference(folder)
        self.bits = fits.getdata(self.folder / "mask.fits")  # the true mask
        self.fwhm_pixel = float(fits.getheader(self.folder / "raw.fits")["FWHM"])
        truth = np.load(self.folder / "truth.npz")
        self.stars, self.galaxies = truth["star"], truth["gal"]
        self.transients = truth["trans"][truth["trans"][:, 2] > 0]
        self.psf_fields = json.loads((self.folder / "psf.json").read_text())["sci"]
        self.size = len(self.bits)

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


@dataclass(frozen=True)
class Events:
    """Cosmic-ray events with a pixel that is not bad or saturated anyway, and what was found of them."""

    n: int
    n_found: int
    n_false_pixels: int

    @classmethod
    def judge(cls, pair, found):
        """Compare found pixels with the truth."""
        hit = (pair.bits & TRUE_CR) > 0
        events, _ = label(hit, np.ones((3, 3)))
        testable = np.unique(events[hit & (pair.bits & (TRUE_SAT | TRUE_BAD) == 0)])
        n_found = int(np.isin(testable, events[found & hit]).sum())
        return cls(len(testable), n_found, int((found & ~hit).sum()))

    @property
    def percent(self):
        return 100 * self.n_found / max(self.n, 1)

    def __str__(self):
        return f"{self.percent:.2f} % of {self.n}, {self.n_false_pixels} false px"


@dataclass(frozen=True)
class Completeness:
    """Stars of S/N > 10 on good pixels that have a detection of their own; detections that are on nothing."""

    n: int
    n_own: int
    n_detections: int
    n_alone: int

    @classmethod
    def judge(cls, pair, x, y):
        """Compare positions with the truth."""
        snr, stars = pair.star_snr(), pair.stars
        column, row = (np.rint(stars[:, k]).astype(int) for k in (0, 1))
        inside = (np.minimum(column, row) >= EDGE_PIXEL) & (np.maximum(column, row) < pair.size - EDGE_PIXEL)
        index = np.flatnonzero(inside & (snr > 10))
        index = index[pair.bits[row[index], column[index]] & (TRUE_SAT | TRUE_BAD) == 0]
        found = cKDTree(np.stack([x, y], axis=-1))
        truth = cKDTree(pair.everything()[:, :2])
        distance, nearest = found.query(stars[index, :2])
        _, back = truth.query(found.data[nearest])
        own = (distance < MATCH_PIXEL) & (back == index)
        bright = pair.everything()[:, 2] > 3 * 13 * 6 / 4  # S/N 1.5: fainter ones explain nothing
        alone = cKDTree(pair.everything()[bright, :2]).query(found.data)[0] > 2 * MATCH_PIXEL
        return cls(len(index), int(own.sum()), len(x), int(alone.sum()))

    @property
    def percent(self):
        return 100 * self.n_own / max(self.n, 1)

    def __str__(self):
        return f"{self.percent:.2f} % of {self.n}, {self.n_alone} of {self.n_detections} on nothing"


@dataclass
class Figures:
    """What a pair gave, of astra and of its peer (None if that is not installed)."""

    events: tuple = (None, None)
    found: tuple = (None, None)
    psf_errors: tuple = (None, None)  # [% of the peak] on the grid
    pulls: dict = field(default_factory=dict)  # by kind of star: S/N and pull


def psf_errors(pair, stamp_at):
    """Largest error over the peak at each place of a grid, the truth registered to the model [%]."""
    errors = []
    places = np.linspace(EDGE_PIXEL, pair.size - 1 - EDGE_PIXEL, GRID)
    for x, y in ((x, y) for y in places for x in places):
        stamp = stamp_at(x, y)
        middle = stamp.shape[0] // 2
        window = slice(middle - COMPARED_HALF, middle + COMPARED_HALF + 1)
        stamp = stamp[window, window] / stamp[window, window].sum()
        fitted = least_squares(lambda s: (pair.true_psf(x, y, COMPARED_HALF, s) - stamp).ravel(), [0, 0])  # noqa: B023
        errors.append(100 * np.abs(fitted.fun).max() / stamp.max())
    return np.array(errors)


def show_errors(errors):
    """Text of errors of a PSF."""
    return "" if errors is None else f"max {errors.max():.2f} %, median {np.median(errors):.2f} %"


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
    """S/N and pulls of the PSF fluxes of clean stars, by what is near them."""
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
    snr = sources["snr"][rows]
    return {name: (snr[kind], pull[kind]) for name, kind in kinds.items()}


def scatter(pull):
    """Robust standard deviation."""
    return 1.4826 * np.median(np.abs(pull - np.median(pull))) if len(pull) else np.nan


def pulls_by_snr(snr, pull):
    """Median and robust scatter of pulls in bins of S/N."""
    for low, high in SNR_BINS:
        chosen = pull[(snr > low) & (snr <= high)]
        if len(chosen):
            yield f"S/N {low}-{high}: {np.median(chosen):+.2f} {scatter(chosen):.2f} ({len(chosen)})"


def peer_cosmic_rays(pair, folder, python):
    """CPU seconds and hit pixels of astroscrappy, or None."""
    source, result = folder / "cosmics.npz", folder / "hits.npy"
    np.savez(source, image=pair.exposure.image, bad=(pair.exposure.mask & UNUSABLE) > 0)
    done = subprocess.run(
        [python, "-c", COSMICS, source, result], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        print(f"astroscrappy cannot be run by {python}: skipped")
        return None
    return float(done.stdout), np.load(result)


def peer_sources(pair, repaired, folder, columns):
    """CPU seconds and the catalogue of source-extractor on the repaired image, or None."""
    offset = np.arange(-3, 4)
    kernel = np.exp(-0.5 * (offset[:, None] ** 2 + offset[None, :] ** 2) / (pair.fwhm_pixel / 2.3548) ** 2)
    rows = "\n".join(" ".join(f"{value:.5f}" for value in row) for row in kernel)
    (folder / "filter.conv").write_text(f"CONV NORM\n{rows}\n")
    (folder / "se.param").write_text("\n".join(columns))
    flags = (repaired.mask & (UNUSABLE | MASK_CR)) > 0
    fits.writeto(folder / "flag.fits", flags.astype(np.int16), overwrite=True)
    fits.writeto(folder / "image.fits", repaired.image, overwrite=True)
    options = [item for name, value in SE_OPTIONS.items() for item in (f"-{name}", value)]
    seconds = run_program(["source-extractor", "image.fits", "-c", os.devnull, *options], folder)
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
    """Row of the cosmic rays; the repaired image, and the events of the peer."""
    (repaired, events), seconds = timed(repair_cosmic_rays, science, psf)
    found = np.zeros(pair.bits.shape, dtype=bool)
    found[events.y, events.x] = True
    peer, theirs = peer_cosmic_rays(pair, folder, python), None
    if peer is not None:
        theirs = Events.judge(pair, peer[1])
    ours = Events.judge(pair, found)
    print_row("cosmic rays, repaired", seconds, peer and peer[0], str(ours), str(theirs or ""))
    return repaired, theirs


def compare_detection(pair, science, psf, folder):
    """Rows of detection and measurement; what the peer found."""
    _, sky_seconds = timed(fit_background, pair.exposure)
    detections, seconds = timed(detect_sources, science, psf)
    ours, theirs = Completeness.judge(pair, detections.x, detections.y), None
    peer = peer_sources(pair, science, folder, SE_DETECT)
    if peer is not None:
        theirs = Completeness.judge(pair, peer[1]["X_IMAGE"] - 1, peer[1]["Y_IMAGE"] - 1)
    print_row("background, detection", sky_seconds + seconds, peer and peer[0], str(ours), str(theirs or ""))
    sources, measuring = timed(measure_sources, science, psf, detections, MeasurementConfig())
    peer = peer_sources(pair, science, folder, SE_DETECT + SE_MEASURE)
    total = sky_seconds + seconds + measuring
    print_row("the same and measurement", total, peer and peer[0], f"{len(sources)} sources")
    return theirs


def compare_psf(pair, science, psf, folder):
    """Row of the PSF; the errors of the peer's."""
    fit, seconds = find_and_fit(science, psf)
    peer, theirs = None, None
    if peer_sources(pair, science, folder, SE_DETECT + SE_PSFEX) is not None:
        peer = peer_psf(folder)
    if peer is not None:
        theirs = psf_errors(pair, peer[1])
    ours = show_errors(psf_errors(pair, fit.psf.stamp))
    print_row("PSF of order 2", seconds, peer and peer[0], ours, show_errors(theirs))
    return theirs


def compare(name, pair, folder, python):
    """Print the table of a pair; what it gave."""
    exposure, psf = pair.exposure, gaussian_psf(pair.fwhm_pixel)
    print(f"\n{name}: {pair.size} x {pair.size} pixels; CPU seconds, one core, after a first run")
    print(f"{'step':<26}{'astra':>9}{'peer':>9}{'ratio':>8}  quality")
    science = subtract_background(exposure, fit_background(exposure))
    repaired, their_events = compare_cosmic_rays(pair, science, psf, folder, python)
    their_sources = compare_detection(pair, repaired, psf, folder)
    their_errors = compare_psf(pair, repaired, psf, folder)
    result, seconds = timed(process_ccd, exposure, pair.reference)
    errors = psf_errors(pair, result.calexp.psf.stamp)
    print_row("process_ccd as a whole", seconds, None, show_errors(errors))
    events = Events.judge(pair, (result.calexp.mask & MASK_CR) > 0)
    found = Completeness.judge(pair, result.sources["x"], result.sources["y"])
    print(f"cosmic rays of both passes: {events}")
    print(f"stars and galaxies: {found}")
    pulls = flux_pulls(pair, result.sources)
    print_pulls(pulls)
    return Figures((events, their_events), (found, their_sources), (errors, their_errors), pulls)


def print_pulls(pulls):
    """Print pulls in bins of S/N."""
    print("PSF flux pulls of stars, median and scatter (number)")
    for name, (snr, pull) in pulls.items():
        print(f"  {name}: " + "; ".join(pulls_by_snr(snr, pull)))


def both(ours, theirs):
    """Two figures in a cell."""
    return f"{ours} / {'-' if theirs is None else theirs}"


def summary_row(figures):
    """Cells of one pair, ours / those of the peer."""
    cells = {}
    events, found, errors = (
        [item for item in pair if item is not None]
        for pair in (figures.events, figures.found, figures.psf_errors)
    )
    cells["CR found %"] = both(*(f"{item.percent:.2f}" for item in events), *[None] * (2 - len(events)))
    cells["false px"] = both(*(item.n_false_pixels for item in events), *[None] * (2 - len(events)))
    cells["complete %"] = both(*(f"{item.percent:.2f}" for item in found), *[None] * (2 - len(found)))
    cells["on nothing"] = both(*(item.n_alone for item in found), *[None] * (2 - len(found)))
    cells["PSF max %"] = both(*(f"{item.max():.2f}" for item in errors), *[None] * (2 - len(errors)))
    for kind, title in (("isolated", "pull alone"), ("all", "pull all")):
        pull = figures.pulls[kind][1]
        cells[title] = f"{np.median(pull):+.2f} {scatter(pull):.2f}"
    return cells


def pool(gathered):
    """All pairs together: sums, and medians of the largest error of the PSF and of the false pixels."""

    def of(name, k):
        return [item for figures in gathered if (item := getattr(figures, name)[k]) is not None]

    def pooled(name, k, make):
        parts = of(name, k)
        return make(parts) if len(parts) == len(gathered) else None

    def add_events(parts):
        n, found = sum(part.n for part in parts), sum(part.n_found for part in parts)
        return Events(n, found, int(np.median([part.n_false_pixels for part in parts])))

    def add_found(parts):
        names = ("n", "n_own", "n_detections", "n_alone")
        return Completeness(*(sum(getattr(part, name) for part in parts) for name in names))

    def median_error(parts):
        return np.array([np.median([part.max() for part in parts])])

    pulls = {
        kind: tuple(np.concatenate([figures.pulls[kind][k] for figures in gathered]) for k in (0, 1))
        for kind in gathered[0].pulls
    }
    return Figures(
        *(
            tuple(pooled(name, k, make) for k in (0, 1))
            for name, make in (("events", add_events), ("found", add_found), ("psf_errors", median_error))
        ),
        pulls,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has astroscrappy")
    options = parser.parse_args()
    generator, gathered = load_generator(), {}
    for program in ("source-extractor", "psfex"):
        if shutil.which(program) is None:
            print(f"{program} is not installed: skipped")
    with tempfile.TemporaryDirectory() as temporary:
        for name, place in named_or_made(options, temporary):
            work = Path(tempfile.mkdtemp(dir=temporary))
            gathered[name] = compare(name, Pair(place, generator), work, options.peer_python)
    pooled = pool(list(gathered.values()))
    rows = {name: summary_row(figures) for name, figures in gathered.items()}
    print_rows("astra / peer", {**rows, "together": summary_row(pooled)})
    print("\nall together, ", end="")
    print_pulls(pooled.pulls)


if __name__ == "__main__":
    main()
