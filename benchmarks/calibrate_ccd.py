"""Astrometry and photometry of simulated CCD images against their truth, beside scamp in the same run.

    python benchmarks/calibrate_ccd.py [PAIR_DIR ...] [--size 2048] [--seeds 1 2 3]

Each image comes from the raw frame of a pair (see simulated_pair.py): signature removed by astra, masks found
by astra. Its first WCS is wrong by 3 arcsec and 0.03 deg, without distortion; the reference catalogue has
errors of 10 mas and 0.01 mag. Errors of a solution are fitted minus true positions over the frame [mas]:
nothing removed, and in the last column the median without the mean. The mean is a matter of what the centroid
of a lopsided PSF is: a windowed centroid lies 1.9 mas off the one of the simulation, the core of the PSF 1.1
mas. Beside it stands what the same stars give from their true positions, which leaves the errors of the
catalogue, and from those with the noise of the centroids. Times are CPU seconds, of astra after a call that
compiles. scamp and source-extractor are asked if they are installed, on the image and the mask that astra
made. At last a row for each pair, and the median over the pairs.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # of one core, as in a worker: numpy looks when it is imported

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).resolve().parent))

from simulated_pair import add_arguments, named_or_made, print_rows, read_exposure, read_reference, read_wcs

N_REPEATS = 5
N_ROUGH = 20
ROUGH = 30.0, 1.0, 0.01  # largest shift [arcsec], rotation [deg] and relative scale error
SOURCE_COLUMNS = (
    "NUMBER XWIN_IMAGE YWIN_IMAGE ERRAWIN_IMAGE ERRBWIN_IMAGE ERRTHETAWIN_IMAGE FLUX_AUTO FLUXERR_AUTO FLAGS "
    "FLUX_RADIUS ELONGATION"
)


def errors_mas(wcs, truth, shape):
    """Median, 95 % and greatest error over the frame, and the median without the mean [mas]."""
    x, y = (axis.ravel() for axis in np.meshgrid(*(np.linspace(0, n - 1, 40) for n in shape[::-1])))
    (ra, dec), (true_ra, true_dec) = (w.all_pix2world(x, y, 0) for w in (wcs, truth))
    offset = 3.6e6 * np.stack([(ra - true_ra) * np.cos(np.radians(true_dec)), dec - true_dec])
    error = np.hypot(*offset)
    shape_error = np.hypot(*(offset - offset.mean(axis=1, keepdims=True)))
    return np.median(error), np.percentile(error, 95), error.max(), np.median(shape_error)


def best_cpu_s(function):
    """Smallest CPU time of some calls after one that compiles and warms caches [s], and what it returns."""
    result = function()
    times = []
    for _ in range(N_REPEATS):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times), result


def astrometric_stars(sources, min_snr):
    """Sources that process_ccd fits the WCS to."""
    from astra.images.psf_stars import PsfFitConfig, is_isolated

    clean = (sources["snr"] > min_snr) & ~sources["flag_centroid"] & ~sources["flag_edge"]
    clean &= is_isolated(sources, PsfFitConfig().isolation_pixel)
    return sources[clean & ~sources["flag_saturated"] & ~sources["flag_interpolatedCenter"]]


def true_positions(pair, stars):
    """The stars that are matched, at their true positions, and as those would be found in the noise."""
    truth = np.load(pair / "truth.npz")["star"][:, :2]
    distance, index = cKDTree(truth).query(np.stack([stars["x"], stars["y"]], axis=-1))
    perfect = stars[distance < 1.0].copy()
    perfect["x"], perfect["y"] = truth[index[distance < 1.0]].T
    noisy, rng = perfect.copy(), np.random.default_rng(1)
    for name in ("x", "y"):
        noisy[name] += perfect[f"{name}Err"] * rng.normal(size=len(perfect))
        perfect[f"{name}Err"] = 1e-3
    return perfect, noisy


def rough_wcs(wcs, shape, rng):
    """Put the middle of a frame elsewhere, turned and scaled, up to `ROUGH`; without distortion."""
    shift, rotation, scale = ROUGH
    middle = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    ra, dec = wcs.all_pix2world(*middle, 0)
    angle, distance = rng.uniform(0, 2 * np.pi), shift / 3600 * np.sqrt(rng.uniform())
    turn = np.radians(rng.uniform(-rotation, rotation))
    rough = WCS(naxis=2)
    rough.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    rough.wcs.crpix = [middle[0] + 1, middle[1] + 1]
    rough.wcs.crval = [
        ra + distance * np.cos(angle) / np.cos(np.radians(dec)),
        dec + distance * np.sin(angle),
    ]
    rotated = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    rough.wcs.cd = wcs.pixel_scale_matrix @ rotated * (1 + rng.uniform(-scale, scale))
    rough.wcs.set()
    return rough


def judge_rough(stars, reference, truth, shape):
    """How many rough solutions come out right, wrong, or as an error."""
    from astra.errors import AlgorithmError
    from astra.images.astrometry import AstrometryConfig, fit_astrometry

    rng, outcomes, start = np.random.default_rng(1), [], time.process_time()
    for _ in range(N_ROUGH):
        first = rough_wcs(truth, shape, rng)
        try:
            fitted = fit_astrometry(stars, reference, first, shape, AstrometryConfig()).wcs
        except AlgorithmError:
            outcomes.append("refused")
        else:
            outcomes.append("right" if errors_mas(fitted, truth, shape)[2] < 100.0 else "WRONG")
    counts = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in ("right", "refused", "WRONG"))
    return counts, (time.process_time() - start) / N_ROUGH


def children_cpu_s():
    """CPU time of the processes that this one has started and waited for [s]."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_timed(command, folder):
    """Run a command; return its CPU time [s]."""
    before = children_cpu_s()
    found = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False)
    if found.returncode:
        raise SystemExit(f"{command[0]} failed: {found.stderr[-500:]}")
    return children_cpu_s() - before


def write_ldac(path, reference):
    """Write a reference catalogue as scamp reads it: a header as a table, then the stars."""
    error = np.full(len(reference), 10.0 / 3.6e6)
    columns = {
        "X_WORLD": reference["ra"],
        "Y_WORLD": reference["dec"],
        "ERRA_WORLD": error,
        "ERRB_WORLD": error,
        "ERRTHETA_WORLD": 0.0 * error,
        "MAG": 31.4 - 2.5 * np.log10(reference["flux"]),
        "MAGERR": 0.0 * error + 0.01,
        "OBSDATE": 0.0 * error + 2023.0,
    }
    header = fits.PrimaryHDU().header.tostring()
    card = fits.Column("Field Header Card", f"{len(header)}A", array=[header])
    stars = [
        fits.Column(
            name, "1D" if "WORLD" in name else "1E", array=values, unit="deg" if "WORLD" in name else None
        )
        for name, values in columns.items()
    ]
    hdus = [fits.BinTableHDU.from_columns([card], name="LDAC_IMHEAD")]
    hdus.append(fits.BinTableHDU.from_columns(stars, name="LDAC_OBJECTS"))
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)


def ask_scamp(pair, exposure, mask, reference, folder):
    """Solution of scamp of degree 3 on source-extractor's windowed centroids, and its CPU time [s]."""
    from astra.images.exposure import MASK_BAD, MASK_CR, MASK_NO_DATA, MASK_SAT

    header = exposure.wcs.to_header()
    header["GAIN"], header["SATURATE"] = exposure.gain, fits.getheader(pair / "raw.fits")["SATURATE"]
    fits.writeto(folder / "image.fits", exposure.image, header)
    flags = (mask & (MASK_BAD | MASK_CR | MASK_NO_DATA | MASK_SAT)) > 0
    fits.writeto(folder / "flag.fits", flags.astype(np.int16))
    (folder / "names.param").write_text("\n".join([*SOURCE_COLUMNS.split(), "IMAFLAGS_ISO"]) + "\n")
    (folder / "default.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
    write_ldac(folder / "reference.cat", reference)
    options = {
        "CATALOG_NAME": "image.cat", "CATALOG_TYPE": "FITS_LDAC", "PARAMETERS_NAME": "names.param",
        "FILTER_NAME": "default.conv", "FLAG_IMAGE": "flag.fits", "DETECT_THRESH": 5, "GAIN_KEY": "GAIN",
        "VERBOSE_TYPE": "QUIET",
    }  # fmt: skip
    command = ["source-extractor", "image.fits"]
    run_timed(command + [item for name, value in options.items() for item in (f"-{name}", value)], folder)
    options = {
        "ASTREF_CATALOG": "FILE", "ASTREFCAT_NAME": "reference.cat", "DISTORT_DEGREES": 3,
        "CROSSID_RADIUS": 1,
        "POSITION_MAXERR": 0.5, "POSANGLE_MAXERR": 1, "PIXSCALE_MAXERR": 1.01, "SN_THRESHOLDS": "20,100",
        "SOLVE_PHOTOM": "N", "CHECKPLOT_TYPE": "NONE", "CHECKPLOT_DEV": "NULL", "WRITE_XML": "N",
        "NTHREADS": 1, "IMAFLAGS_MASK": "0xff", "VERBOSE_TYPE": "QUIET",
    }  # fmt: skip
    command = ["scamp", "image.cat"]
    cpu = run_timed(
        command + [item for name, value in options.items() for item in (f"-{name}", value)], folder
    )
    text = "\n".join(
        line for line in (folder / "image.head").read_text(errors="ignore").splitlines()
        if not line.startswith(("COMMENT", "HISTORY", "END"))
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cpu, WCS(fits.Header.fromstring(text, sep="\n"))


def true_zero_point(pair):
    """Magnitude of 1 adu."""
    return fits.getheader(pair / "raw.fits")["MAGZP"]


def solve(pair, exposure, reference, result, folder):
    """Solutions by name: CPU seconds and WCS; the one of astra in full, and the stars that it rests on."""
    from astra.images.astrometry import AstrometryConfig, fit_astrometry
    from astra.images.process_ccd_config import ProcessCcdConfig

    shape = exposure.shape
    stars = astrometric_stars(result.sources, ProcessCcdConfig().astrometry_min_snr)
    cpu, fitted = best_cpu_s(
        lambda: fit_astrometry(stars, reference, exposure.wcs, shape, AstrometryConfig())
    )
    rows = {"first WCS": (0.0, exposure.wcs), "astra": (cpu, fitted.wcs)}
    for name, ideal in zip(("no centroid error", "photon noise"), true_positions(pair, stars), strict=True):
        solution = fit_astrometry(ideal, reference, exposure.wcs, shape, AstrometryConfig())
        rows[name] = 0.0, solution.wcs
    missing = [name for name in ("scamp", "source-extractor") if shutil.which(name) is None]
    if missing:
        print(f"scamp is not asked: {' and '.join(missing)} not installed")
    else:
        rows["scamp"] = ask_scamp(pair, exposure, result.calexp.mask, reference, folder)
    return rows, fitted, stars


def print_solutions(rows, truth, shape):
    """Print the errors of solutions; return the medians by name [mas]."""
    print(f"{'astrometry':<18}{'CPU s':>8}{'median':>9}{'95 %':>9}{'max':>9}{'less mean':>11}  [mas]")
    medians = {}
    for name, (seconds, wcs) in rows.items():
        *errors, without_mean = errors_mas(wcs, truth, shape)
        medians[name] = errors[0]
        cells = "".join(f"{error:>9.2f}" for error in errors)
        print(f"{name:<18}{seconds:>8.3f}{cells}{without_mean:>11.2f}")
    return medians


def judge(name, pair, folder):
    """Calibrate, compare and print; figures of the row of this pair."""
    from astra.images.process_ccd import process_ccd
    from astra.images.summary import summarise

    exposure, reference, truth = read_exposure(pair), read_reference(pair), read_wcs(pair / "sci.fits")
    shape = exposure.shape
    result = process_ccd(exposure, reference)
    rows, fitted, stars = solve(pair, exposure, reference, result, folder)
    print(f"\n{name}: {shape[1]} x {shape[0]} pixels, {len(stars)} stars, {len(reference)} references")
    medians = print_solutions(rows, truth, shape)
    print(
        f"astra used {fitted.used.sum()} of {len(fitted.used)} matches, degree {fitted.order}, scatter "
        f"{1e3 * fitted.scatter_ra_arcsec:.1f} and {1e3 * fitted.scatter_dec_arcsec:.1f} mas"
    )
    counts, seconds = judge_rough(stars, reference, truth, shape)
    print(
        f"of {N_ROUGH} WCS off by up to {ROUGH[0]:g} arcsec, {ROUGH[1]:g} deg and {100 * ROUGH[2]:g} %: "
        f"{counts}; {seconds:.3f} CPU s each"
    )
    metrics = result.metrics
    scale, scale_err = metrics["zero_point_njy_per_adu"], metrics["zero_point_err_njy_per_adu"]
    zero_point = 31.4 - 2.5 * np.log10(scale)
    print(
        f"photometry: {metrics['n_photometry_used']:.0f} stars, scatter "
        f"{metrics['zero_point_scatter_mag']:.4f} mag, zero point {zero_point:.4f} +- "
        f"{1.0857 * scale_err / scale:.4f} mag (of all light, of which "
        f"the aperture misses some, {true_zero_point(pair):.4f})"
    )
    seconds, summary = best_cpu_s(
        lambda: summarise(
            result.calexp,
            result.sources,
            njy_per_adu=scale,
            sky_adu=metrics["sky_adu"],
            matches=result.matches,
            reference=reference,
        )
    )
    depth, sigma = summary["magLim"], summary["psfSigma"]
    print(f"summary: {seconds:.3f} CPU s; depth {depth:.2f} mag, psfSigma {sigma:.3f} pixel")
    figures = {f"{key} mas": medians[key] for key in ("astra", "photon noise", "scamp") if key in medians}
    figures["WCS CPU s"] = rows["astra"][0]
    return figures | {
        "scamp CPU s": rows["scamp"][0] if "scamp" in rows else np.nan,
        "zp scatter mag": metrics["zero_point_scatter_mag"],
        "zp - true mag": zero_point - true_zero_point(pair),
        "rough wrong": float(counts.split()[4]),
    }


def main():
    """Judge each pair, and print the rows of all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    options, gathered = parser.parse_args(), {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, pair in named_or_made(options, temporary):
            gathered[name] = judge(name, pair, Path(tempfile.mkdtemp(dir=temporary)))
    names = list(next(iter(gathered.values())))
    gathered["median"] = {name: float(np.median([row[name] for row in gathered.values()])) for name in names}
    cells = {name: {key: f"{value:.3f}" for key, value in row.items()} for name, row in gathered.items()}
    print_rows("median error of the WCS", cells)


if __name__ == "__main__":
    main()
