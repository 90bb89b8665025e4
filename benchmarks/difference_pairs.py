"""Image subtraction on simulated pairs with truth: quality beside the oracle and other programs, CPU, memory.

    python benchmarks/difference_pairs.py --seeds 201 202 --size 2048 [--folder DIR] [--peer-python PYTHON]
    python benchmarks/difference_pairs.py PAIR_DIR ...

Pairs are made by ../shared/bench/make_pair.py and prep_pair.py and every difference is scored by eval_diff.py
as it stands. Each pair is subtracted twice: on the aligned inputs that every peer was given (row "astra"),
and from sci.fits and tmpl.fits with our own sky, PSF and warp ("astra own warp"). The PSFs are measured on
the images; variances, masks and WCS are the true ones, as every peer had them. Differences are scored before
they are whitened, as their PSF is that of the science image then; with --whitened also after, with
the PSF that comes with them. sfft runs beside if PYTHON has it (2k only: it takes 12.5 GB), hotpants if
--hotpants names it; else its published rows are the bar. At last a verdict per criterion, over all pairs.
"""

import argparse
import contextlib
import functools
import gc
import importlib.util
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # of one core, as in a worker: numpy looks when it is imported

import numpy as np
from astropy.io import fits

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"
BINS = {"c57": "5-7", "c710": "7-10", "c10": ">10"}
NEEDED_PER_BIN = 200
# Rows of ../shared/reference/imaging.md, section 2: better of default and wide hotpants by figure.
HOTPANTS = {"bright": 1.01, "c57": 0.76, "c710": 0.99, "c10": 1.0, "cpu_s": {2048: 3.1, 4096: 11.0}}
HOTPANTS_DECONVOLUTION = {"bright": 1.42, "c57": 0.70, "c710": 1.0, "c10": 1.0, "cpu_s": {2048: 3.7}}
LIMITS = {"bright": 1.02, "bias_percent": 0.3, "fp_factor": 2, "fp_more": 3}
HOTPANTS_COMMON = """-tu 47000 -tl -200 -iu 47000 -il -200 -c t -n i -nrx 1 -nry 1 -nsx 16 -nsy 16 -nss 5
-ko 2 -bgo 1 -fi 0 -v 0"""
HOTPANTS_KERNELS = {"default": "", "wide": "-r 15 -rss 17 -ng 4 6 0.7 4 1.5 2 3.0 1 6.0"}
SFFT_SIZE = 2048
FRAME_INFO = ("pair", 1, 1, "r", "r", 60000.0, 30.0)
SFFT = """
import resource, sys, time
from sfft.CustomizedPacket import Customized_Packet
ref, sci, masked_ref, masked_sci, out, side = sys.argv[1:]
start = time.process_time()
Customized_Packet.CP(ref, sci, masked_ref, masked_sci, side, 11, FITS_DIFF=out, KerPolyOrder=2, BGPolyOrder=0,
                     BACKEND_4SUBTRACT='Numpy', NUM_CPU_THREADS_4SUBTRACT=1, VERBOSE_LEVEL=0)
print('COST', time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""
SFFT_GROW_PIXEL = 20


def make_pairs(options, folder):
    """Folders of the pairs, made where they are missing."""
    pairs = [Path(pair) for pair in options.pairs]
    for seed in options.seeds:
        pair = folder / f"pair_{options.size}_{seed}_{options.seeing_ratio:g}"
        if not (pair / "truth.npz").exists():
            ratio = ["--seeing-ratio", str(options.seeing_ratio)]
            run_bench("make_pair.py", options.size, pair, "--seed", seed, "--no-raw", *ratio)
        pairs.append(pair)
    for pair in pairs:
        if not (pair / "a_mask.fits").exists():
            run_bench("prep_pair.py", pair)
    return pairs


def run_bench(script, *arguments):
    """Standard output of one of the scripts beside the project."""
    command = [sys.executable, str(BENCH / script), *map(str, arguments)]
    done = subprocess.run(command, cwd=BENCH, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{script} failed: {done.stderr[-2000:]}")
    return done.stdout


def read(pair, name):
    """One image of a pair."""
    return fits.getdata(pair / f"{name}.fits").astype(np.float32)


def planes(bits, table):
    """Mask of an exposure from the bits of a pair."""
    mask = np.zeros(bits.shape, np.uint32)
    for bit, plane in table.items():
        mask[(bits & bit) > 0] |= plane
    return mask


def make_exposure(image, variance, mask, header, scale=1.0):
    """An exposure in the flux unit of the science image."""
    from astropy.wcs import WCS

    from astra.images.exposure import Exposure, PhotoCalib, VisitInfo

    scale = np.float32(scale)
    info, calib = VisitInfo(*FRAME_INFO), PhotoCalib()
    image, variance = image / scale, np.maximum(variance, 1e-3) / scale**2
    return Exposure(image, variance, mask, info, "nJy", 2.0, WCS(header), None, calib)


def load_aligned(pair):
    """Science image and template on one grid, the input of all peers."""
    from astra.images.decorrelation import FOURIER_SIDE
    from astra.images.exposure import MASK_BAD, MASK_CR, MASK_INTRP, MASK_SAT
    from astra.images.warp import make_pixel_map, warp_noise_power

    header, bits = fits.getheader(pair / "sci.fits"), fits.getdata(pair / "a_mask.fits")
    gain = json.loads((pair / "psf.json").read_text())["tgain"]
    filled = {1: MASK_SAT, 2: MASK_BAD | MASK_INTRP, 4: MASK_CR | MASK_INTRP}
    science = make_exposure(read(pair, "a_sci"), read(pair, "a_svar"), planes(bits, filled), header)
    mask = planes(bits, {8: MASK_SAT})
    template = make_exposure(read(pair, "a_ref"), read(pair, "a_rvar"), mask, header, gain)
    own = make_exposure(read(pair, "tmpl")[:2, :2], np.ones((2, 2)), mask[:2, :2], template_header(pair))
    power = warp_noise_power(make_pixel_map(science.wcs, own.wcs, science.shape), FOURIER_SIDE)
    return with_psf(science), with_psf(template).replace(noise_power=power)


def template_header(pair):
    """Header of the template before it was aligned."""
    return fits.getheader(pair / "tmpl.fits")


def load_own(pair):
    """Science image and template as they were taken, their sky subtracted by us."""
    from astra.images.exposure import MASK_BAD, MASK_CR, MASK_SAT

    header, bits = fits.getheader(pair / "sci.fits"), fits.getdata(pair / "mask.fits")
    gain = json.loads((pair / "psf.json").read_text())["tgain"]
    mask = planes(bits, {1: MASK_SAT, 2: MASK_BAD, 4: MASK_CR})
    science = make_exposure(read(pair, "sci"), read(pair, "sci_var"), mask, header)
    mask = planes(fits.getdata(pair / "tmpl_mask.fits"), {1: MASK_SAT})
    header = template_header(pair)
    template = make_exposure(read(pair, "tmpl"), read(pair, "tmpl_var"), mask, header, gain)
    return with_psf(science, subtract_sky=True), with_psf(template, subtract_sky=True)


def with_psf(exposure, *, subtract_sky=False):
    """The exposure with the PSF of its stars, and without its sky if asked."""
    from astra.images.background import fit_background, subtract_background
    from astra.images.characterise import characterise
    from astra.images.failures import Attempts
    from astra.images.process_ccd_config import ProcessCcdConfig

    config = ProcessCcdConfig(repair_cosmic_rays=False)
    _, first = characterise(exposure.copy(), config, Attempts())
    if first.psf_fit is None:
        raise SystemExit("no PSF could be fitted to the stars of an image")
    if subtract_sky:
        background = fit_background(
            exposure, mesh_pixel=config.background_mesh_pixel, masked=first.footprints
        )
        exposure = subtract_background(exposure, background)
    return exposure.replace(psf=first.psf)


def subtract(case, pair, config):
    """Run one case; return its result and what it cost."""
    if case == "aligned":
        from astra.images.subtraction import repair
        from astra.plugins import SUBTRACTION_METHODS

        science, template = load_aligned(pair)
        method = SUBTRACTION_METHODS.get(config.method)
        science, template = repair(science), repair(template)
        return timed(lambda: method.subtract(science, template, config))
    from astra.images.difference import difference_images

    science, template = load_own(pair)
    return timed(lambda: difference_images(science, template, config))


def timed(function):
    """Result, CPU seconds and peak memory [GB], inputs included, of the second of two calls."""
    result = function()
    del result
    gc.collect()
    start_gb = reset_peak()
    start = time.process_time()
    result = function()
    cost = {"cpu_s": time.process_time() - start, "start_gb": start_gb, "peak_gb": peak_gb()}
    return result, cost


def reset_peak():
    """Forget the highest memory so far, where the system lets us; what is taken now [GB]."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_gb()


def peak_gb():
    """Highest resident memory of this process since it was last reset [GB]."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found.group(1)) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def run_case(case, pair, out, mode, *, whitened):
    """Subtract, write the difference and its PSF, print the cost: the work of a process of its own."""
    from astra.images.dia_detection_config import DiaDetectionConfig
    from astra.images.difference_config import DifferenceConfig

    # The local mean that the detection takes off would make the scorer's unit of noise 2 % too small.
    config = DifferenceConfig(
        mode=mode, decorrelate=whitened, detection=DiaDetectionConfig(local_background_pixel=0)
    )
    found, cost = subtract(case, pair, config)
    difference = found.difference
    ny, nx = difference.shape
    fits.writeto(out, np.nan_to_num(np.asarray(difference.image, np.float32)), overwrite=True)
    stamp = difference.psf.stamp(nx / 2, ny / 2)
    fits.writeto(out.with_suffix(".psf.fits"), stamp, overwrite=True)
    print("COST", json.dumps({**cost, "metrics": found.metrics}))


def score(pair, difference, name, *, psf=None, scale=1.0):
    """Figures of eval_diff.py."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        options = ["--json", out.name, "--scale", scale]
        if psf is not None:
            options += ["--psf", psf]
        run_bench("eval_diff.py", pair.resolve(), difference, name, *options)
        return json.loads(Path(out.name).read_text())


def astra_row(case, pair, folder, mode, *, whitened):
    """Subtract in a process of its own and score."""
    out = (folder / f"{case}{'_white' if whitened else ''}.fits").resolve()
    command = [sys.executable, __file__, str(pair), "--case", case, "--out", str(out), "--mode", mode]
    done = subprocess.run(command + ["--whitened"] * whitened, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{case} of {pair} failed: {done.stderr[-3000:]}")
    cost = json.loads(done.stdout.split("COST", 1)[1])
    name = f"astra{' own warp' * (case == 'own')}{' whitened' * whitened}"
    psf = None
    if whitened or cost["metrics"].get("convolvedScience"):
        name, psf = f"{name} (own PSF)", total_light_psf(pair, out.with_suffix(".psf.fits"))
    return {**score(pair, out, name, psf=psf), **cost}


def total_light_psf(pair, path):
    """Scale a PSF of unit sum to the share of the light that its stamp holds: the true fluxes are totals."""
    stamp = fits.getdata(path)
    generator = load_generator()
    truth = json.loads((pair / "psf.json").read_text())
    size, half = truth["N"], stamp.shape[0] // 2
    middle = size // 2
    inside = generator.psf_stamp(truth["sci"], middle, middle, size, middle, middle, half).sum()
    fits.writeto(path, stamp * inside, overwrite=True)
    return path


def load_generator():
    """The module that makes pairs, which also knows their PSF."""
    spec = importlib.util.spec_from_file_location("make_pair", BENCH / "make_pair.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sfft_row(pair, folder, python):
    """Score of sfft with saturated and variable neighbourhoods masked as it asks, or None."""
    from scipy import ndimage

    probe = subprocess.run([python, "-c", "import sfft.CustomizedPacket"], capture_output=True, check=False)
    size = fits.getheader(pair / "a_sci.fits")["NAXIS1"]
    if probe.returncode != 0 or size > SFFT_SIZE:
        reason = "is not installed there" if probe.returncode else f"needs too much memory at {size} pixels"
        print(f"sfft of {python} {reason}: skipped")
        return None
    science, template = read(pair, "a_sci"), read(pair, "a_ref")
    bits = fits.getdata(pair / "a_mask.fits")
    bad = ndimage.maximum_filter((bits & 9) > 0, 2 * SFFT_GROW_PIXEL + 1) | (bits > 0)
    bright = science > 5 * np.sqrt(np.median(read(pair, "a_svar")))
    blank = bad | ~ndimage.maximum_filter(bright, 9)  # sky between the sources only adds noise to the fit
    names = {"sci": science, "ref": template}
    for name, image in list(names.items()):
        names[f"masked_{name}"] = np.where(blank, 0, image)
    for name, image in names.items():
        fits.writeto(folder / f"sfft_{name}.fits", image.T.astype(float).T, overwrite=True)
    out = folder / "sfft.fits"
    paths = [folder / f"sfft_{name}.fits" for name in ("ref", "sci", "masked_ref", "masked_sci")]
    done = subprocess.run(
        [python, "-c", SFFT, *map(str, [*paths, out]), "REF"], capture_output=True, text=True, check=False
    )
    if "COST" not in done.stdout:
        print(f"sfft failed: {done.stderr[-500:]}")
        return None
    cpu_s, peak_gb = map(float, done.stdout.split("COST", 1)[1].split()[:2])
    return {**score(pair, out, "sfft"), "cpu_s": cpu_s, "peak_gb": peak_gb}


def hotpants_row(pair, folder, program, kind):
    """Score of hotpants with its default kernel or with four Gaussians and 15 pixels (wide)."""
    out = folder / "hotpants.fits"
    masks = {"tni": np.sqrt(read(pair, "a_rvar")), "ini": np.sqrt(read(pair, "a_svar"))}
    bits = (fits.getdata(pair / "a_mask.fits") > 0).astype(np.int16)
    masks |= {"tmi": bits, "imi": bits}
    options = ["-inim", pair / "a_sci.fits", "-tmplim", pair / "a_ref.fits", "-outim", out]
    for name, image in masks.items():
        path = folder / f"hotpants_{name}.fits"
        fits.writeto(path, image, overwrite=True)
        options += [f"-{name}", path]
    options += f"{HOTPANTS_COMMON} {HOTPANTS_KERNELS[kind]}".split()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([program, *map(str, options)], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**score(pair, out, f"hotpants {kind}"), "cpu_s": cpu_s}


COLUMNS = """pair | method | CPU s | peak GB | off | mid/off | bright/off | C 5-7 | C 7-10 | C >10 |
FP@5 (on src)
| FP@7 | bias iso % | bias host % | pull iso | pull host"""


def show(pair, row):
    """Print one row."""
    cost = [
        f"{row['cpu_s']:.1f}" if "cpu_s" in row else "-",
        f"{row['peak_gb']:.2f}" if "peak_gb" in row else "-",
    ]
    cells = [pair.name, row["name"], *cost, f"{row['off']:.3f}", f"{row['mid']:.3f}"]
    cells += [f"{row['bright']:.3f} (std {row['bright_std']:.2f})"]
    cells += [f"{row[key]:.2f}" for key in BINS] + [
        f"{row['fp5']} ({row.get('fp5_src', 0)})",
        str(row["fp7"]),
    ]
    cells += [f"{100 * row[key]:+.2f}" for key in ("bias_iso", "bias_host")]
    cells += [f"{row[key]:.2f}" for key in ("pull_iso", "pull_host")]
    print("| " + " | ".join(cells) + " |", flush=True)


def pool(rows):
    """Figures of one method over all pairs."""
    weight = np.array([row["c10_n"] for row in rows], dtype=float)
    pooled = {
        key: float(np.average([row[key] for row in rows], weights=weight))
        for key in ("bright", "bias_iso", "bias_host", "mid")
    }
    for key in BINS:
        count = np.array([row[f"{key}_n"] for row in rows])
        hits = np.rint(count * np.array([row[key] for row in rows])).sum()
        pooled |= {key: float(hits / count.sum()), f"{key}_n": int(count.sum())}
    return pooled | {key: sum(row[key] for row in rows) for key in ("fp5", "fp7")}


def verdicts(ours, oracle, bar, limit_bright):
    """Criterion, what was found, what is required and whether it holds."""
    allowed = LIMITS["fp_factor"] * oracle["fp5"] + LIMITS["fp_more"]
    lines = [
        ("bright-source noise ratio", ours["bright"], f"<= {limit_bright}", ours["bright"] <= limit_bright),
        ("false positives at 5 sigma", ours["fp5"], f"<= {allowed}", ours["fp5"] <= allowed),
    ]
    for key, name in BINS.items():
        n, expected = ours[f"{key}_n"], bar[key]
        error = np.sqrt(max(expected * (1 - expected), 1 / n) / n)
        found = f"{ours[key]:.3f} +- {error:.3f} of {n} (oracle {oracle[key]:.3f})"
        enough = "" if n >= NEEDED_PER_BIN else f"; {NEEDED_PER_BIN} sources are needed"
        lines.append(
            (f"completeness at S/N {name}", found, f">= {expected:.3f} - 1 sigma{enough}",
             ours[key] >= expected - error and n >= NEEDED_PER_BIN)
        )  # fmt: skip
    for key in ("bias_iso", "bias_host"):
        off = 100 * abs(ours[key] - oracle[key])
        limit = LIMITS["bias_percent"]
        lines.append((f"|{key} - oracle's| [%]", off, f"<= {limit}", off <= limit))
    return lines


def summarise(table, options):
    """Print pooled figures and verdicts."""
    deconvolution = options.seeing_ratio < 1
    bar = dict(HOTPANTS_DECONVOLUTION if deconvolution else HOTPANTS)
    limit = HOTPANTS_DECONVOLUTION["bright"] if deconvolution else LIMITS["bright"]
    source = "hotpants of imaging.md"
    oracle = pool(table["oracle"])
    if "hotpants wide" in table:
        bar |= pool(table["hotpants wide"])
        source = "hotpants of this run"
    print(f"\npooled over {len(table['oracle'])} pairs; completeness against {source}")
    for name, rows in table.items():
        found = pool(rows)
        parts = [
            f"{key} {found[key]:.4g}" for key in ("bright", "mid", "fp5", "fp7", "bias_iso", "bias_host")
        ]
        parts += [f"C {BINS[key]} {found[key]:.3f} of {found[f'{key}_n']}" for key in BINS]
        print(f"{name}: " + ", ".join(parts))
        if not name.startswith("astra"):
            continue
        for criterion, value, required, holds in verdicts(found, oracle, bar, limit):
            text = value if isinstance(value, str) else f"{value:.4g}"
            print(f"    {'reached    ' if holds else 'NOT reached'} {criterion}: {text} ({required})")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", nargs="*", help="folders that make_pair.py wrote")
    parser.add_argument("--seeds", type=int, nargs="*", default=[], help="pairs to make")
    parser.add_argument("--size", type=int, default=2048, help="side of the pairs to make [pixel]")
    parser.add_argument("--seeing-ratio", type=float, default=1.2, help="science over template FWHM")
    parser.add_argument("--folder", help="where pairs are made and kept; a temporary one by default")
    parser.add_argument("--mode", default="auto", help="which image is convolved")
    parser.add_argument("--cases", nargs="*", default=["aligned", "own"], choices=["aligned", "own"])
    parser.add_argument("--whitened", action="store_true", help="score the whitened difference too")
    parser.add_argument("--peer-python", help="interpreter that has sfft")
    parser.add_argument("--hotpants", help="program to run beside")
    parser.add_argument("--rows", help="file that keeps the rows, so that a run can be taken up again")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        pair, out = Path(options.pairs[0]), Path(options.out)
        run_case(options.case, pair, out, options.mode, whitened=options.whitened)
        return
    with tempfile.TemporaryDirectory(prefix="astra-pairs-") as temporary:
        compare(options, Path(temporary))


def compare(options, temporary):
    """Run every method on every pair and print the tables."""
    table, known = {}, Rows(options.rows)
    header = COLUMNS.replace("\n", " ")
    print(f"| {header} |\n|" + "---|" * (header.count("|") + 1))
    for pair in make_pairs(options, Path(options.folder) if options.folder else temporary):
        for name, make_row in methods(options, pair, temporary):
            row = known.get(pair, name, make_row)
            if row is not None:
                show(pair, row)
                table.setdefault(row["name"], []).append(row)
    summarise(table, options)


def methods(options, pair, temporary):
    """Name of each method and a function that gives its row."""
    yield "oracle", lambda: score(pair, "oracle", "oracle")
    for case in options.cases:
        for whitened in [False, True] if options.whitened else [False]:
            name = f"{case} {options.mode}{' whitened' * whitened}"
            run = functools.partial(astra_row, case, pair, temporary, options.mode, whitened=whitened)
            yield name, run
    if options.peer_python:
        yield "sfft", lambda: sfft_row(pair, temporary, options.peer_python)
    for kind in HOTPANTS_KERNELS if options.hotpants else ():
        yield f"hotpants {kind}", functools.partial(hotpants_row, pair, temporary, options.hotpants, kind)


class Rows:
    """Rows of earlier runs in a file of JSON lines, so that a long run can be taken up again."""

    def __init__(self, path):
        self.path, self.rows = path and Path(path), {}
        if self.path and self.path.exists():
            for line in self.path.read_text().splitlines():
                pair, name, row = json.loads(line)
                self.rows[pair, name] = row

    def get(self, pair, name, make_row):
        """The row of a method, made and kept if it is not there."""
        key = (pair.name, name)
        if key not in self.rows:
            self.rows[key] = make_row()
            if self.path:
                with self.path.open("a") as out:
                    out.write(json.dumps([*key, self.rows[key]]) + "\n")
        return self.rows[key]


if __name__ == "__main__":
    main()
