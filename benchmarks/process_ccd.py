"""CPU seconds, memory and quality of ProcessCcd on a simulated frame, from the raw file to products on disk.

    python benchmarks/process_ccd.py [PAIR_DIR] [--size 4096]

The frame has eight amplifiers, a bias, a dark and a flat, and a first WCS that is wrong by 3 arcsec and 0.03
degree. Without a folder, one is made by ../shared/bench/make_pair.py. Everything is done once before it is
timed, so that nothing is compiled meanwhile. At last two detectors are calibrated at once, in two processes.
"""

import argparse
import datetime as dt
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # of one core, as in a worker: numpy looks when it is imported

import numpy as np

HERE = Path(__file__).resolve().parent
MAKER = HERE.parents[1] / "shared" / "bench" / "make_pair.py"
CAMERAS = {2048: "pair_camera.toml", 4096: "pair_camera_4k.toml"}
N_REPEATS = 3
N_PAIRS = 3
DARK_TIME_S = 30.0


def prepare(pair, root, size):
    """Make a root with the raw, its calibrations and a reference catalogue; return the task's parameters."""
    import luigi
    from astropy.io import fits
    from astropy.table import Table

    from astra.instruments.registry import get_instrument

    luigi.configuration.get_config().set("astra", "instruments", str(HERE / CAMERAS[size]))
    name = "pair2k" if size == 2048 else "pair4k"
    (root / "raw").mkdir(parents=True)
    with fits.open(pair / "raw.fits") as hdus:
        raw = fits.PrimaryHDU(hdus[0].data, without_wcs(hdus[0].header))
        wrong = fits.getheader(pair / "sci_badwcs.fits")
        for key in wrong:
            if key not in {"SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "EXTEND"}:
                raw.header[key] = wrong[key]
        raw.writeto(root / "raw" / "raw.fits")
    table = Table.read(pair / "refcat.fits")
    table["r"], table["r_err"] = table["mag"], np.full(len(table), 0.01)
    table["ra", "dec", "r", "r_err"].write(root / "reference.fits")
    [frame] = get_instrument(name).read_frames(root / "raw" / "raw.fits")
    return {
        "instrument": name,
        "raw": str(root / "raw"),
        "visit": frame.exposure,
        "detector": frame.detector,
        "reference_catalog": str(root / "reference.fits"),
    }


def without_wcs(header):
    """Header without the true WCS."""
    kept = header.copy(strip=True)
    for key in list(kept):
        if key.startswith(
            ("CTYPE", "CRVAL", "CRPIX", "CD", "PC", "CDELT", "CUNIT", "A_", "B_", "LONPOLE", "LATPOLE")
        ):
            kept.remove(key, ignore_missing=True, remove_all=True)
    return kept


def write_calibrations(pair, root, parameters):
    """Write bias, dark and flat as calibrations that hold for ever."""
    from astropy.io import fits

    from astra.database.calibrations import write_calibration_row
    from astra.database.engine import transaction
    from astra.images.calibration import Calibration
    from astra.products.atomic import checksum
    from astra.products.calibrations import write_calibration

    for kind in ("bias", "dark", "flat"):
        image = np.ascontiguousarray(fits.getdata(pair / f"{kind}.fits"), dtype=np.float32)
        path = root / "calibrations" / f"{kind}.fits"
        names = {"instrument": parameters["instrument"], "detector": parameters["detector"]}
        blank = {"variance": np.zeros_like(image), "mask": np.zeros(image.shape, np.uint32)}
        write_calibration(path, Calibration(kind=kind, **names, image=image, **blank, gain=2.0))
        row = {"kind": kind, **names, "physical_filter": "", "begin_mjd_tai": None, "end_mjd_tai": None}
        row |= {"path": str(path), "checksum": checksum(path), "task_id": "", "statistics": {}}
        with transaction(database_url(root)) as connection:
            write_calibration_row(connection, {**row, "created": dt.datetime.now(dt.UTC)})


def database_url(root):
    """URL of the state database of a root."""
    return f"sqlite:///{root / 'astra.db'}"


def cpu_s(function, n=N_REPEATS):
    """Result and median CPU time of some calls after one that warms caches [s]."""
    result, times = function(), []
    for _ in range(n):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return result, float(np.median(times))


def time_steps(task):
    """CPU seconds of the steps of a task that has run, by name."""
    from astra.images.process_ccd import process_ccd
    from astra.products.calibrated import write_calibrated

    times = {}
    exposure, times["read raw, remove signature"] = cpu_s(task.load_raw)
    reference, times["read standards"] = cpu_s(lambda: task.load_reference(exposure))
    result, times["calibrate"] = cpu_s(lambda: process_ccd(exposure, reference, task.ccd_config()))
    kinds = [kind for kind in task.kinds if kind != "qa"]
    paths = {kind: task.path(kind) for kind in task.kinds}
    _, times["write products"] = cpu_s(lambda: write_calibrated({k: paths[k] for k in kinds}, result))
    if "qa" in paths:
        from astra.products.quality_picture import write_quality_picture

        _, times["draw picture"] = cpu_s(lambda: write_quality_picture(paths["qa"], result))
    return times, result


def wcs_error_mas(pair, wcs, size):
    """Median error of a WCS on a grid [mas]."""
    from astropy.io import fits
    from astropy.wcs import WCS

    true = WCS(fits.getheader(pair / "sci.fits"))
    x, y = (grid.ravel() for grid in np.meshgrid(*[np.linspace(0, size - 1, 21)] * 2))
    (ra, dec), (true_ra, true_dec) = wcs.all_pix2world(x, y, 0), true.all_pix2world(x, y, 0)
    return 3.6e6 * np.median(np.hypot((ra - true_ra) * np.cos(np.radians(dec)), dec - true_dec))


def run(root, parameters, **options):
    """Run the task, whatever is there already; return it and the CPU and wall seconds that it took."""
    import luigi

    import astra.tasks.process_ccd

    task = astra.tasks.process_ccd.ProcessCcd(**parameters, rerun=True, **options)
    start, wall = time.process_time(), time.perf_counter()
    if not luigi.build([task], local_scheduler=True, log_level="ERROR", no_lock=True):
        sys.exit(f"{task} failed; see astra --root {root} status")
    return task, time.process_time() - start, time.perf_counter() - wall


def work(root, pair, size):
    """Calibrate one detector in this process, when told to; print the wall seconds."""
    parameters = prepare(pair, root, size)
    run(root, parameters)
    write_calibrations(pair, root, parameters)
    run(root, parameters)
    print("ready", flush=True)
    sys.stdin.readline()
    print(run(root, parameters)[2], flush=True)


def peak_memory_gb(root, parameters, size):
    """Peak memory of a process that does nothing but run the task, on a root that is ready."""
    command = [sys.executable, __file__, "--size", str(size), "--memory", json.dumps(parameters)]
    environment = {**os.environ, "ASTRA_ROOT": str(root)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(result.stdout.split()[-1])


def use_camera(size):
    """Make the camera of the pair known."""
    import luigi

    luigi.configuration.get_config().set("astra", "instruments", str(HERE / CAMERAS[size]))


def at_once(n, folder, pair, size):
    """Wall seconds of n processes at once, the longest."""
    processes = []
    for _ in range(n):
        root = Path(tempfile.mkdtemp(dir=folder))
        environment = {**os.environ, "ASTRA_ROOT": str(root), "ASTRA_DATABASE_URL": ""}
        command = [sys.executable, __file__, str(pair), "--size", str(size), "--work"]
        processes.append(
            subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
    for process in processes:
        while process.stdout.readline().strip() != "ready":
            if process.poll() is not None:
                sys.exit("a process failed")
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    return max(float(process.communicate()[0].split()[-1]) for process in processes)


def report(pair, folder, size):
    """Print the tables."""
    root = Path(os.environ["ASTRA_ROOT"])
    parameters = prepare(pair, root, size)
    run(root, parameters)
    write_calibrations(pair, root, parameters)
    task, _, _ = run(root, parameters)
    peak = peak_memory_gb(root, parameters, size)
    whole = [run(root, parameters)[1:] for _ in range(N_REPEATS)]
    times, result = time_steps(task)
    print(f"{'step':34s} {'CPU s':>7s}")
    for name, seconds in times.items():
        print(f"{name:34s} {seconds:7.2f}")
    cpu, wall = np.median(whole, axis=0)
    print(f"{'ProcessCcd, raw to products':34s} {cpu:7.2f}   wall {wall:.2f} s, peak memory {peak:.2f} GB")
    figures = {
        "sources": f"{len(result.sources)}",
        "true error of the WCS": f"{wcs_error_mas(pair, result.calexp.wcs, size):.2f} mas (median)",
        "zero point scatter": f"{result.metrics['zero_point_scatter_mag']:.4f} mag",
        "PSF residual": f"{result.metrics['psf_residual']:.2%} of the peak",
        "flux on blank sky / its error": f"{result.metrics['sky_psf_snr_scatter']:.3f} (robust scatter)",
    }
    for name, value in figures.items():
        print(f"{name:34s} {value}")
    one = np.median([at_once(1, folder, pair, size) for _ in range(N_PAIRS)])
    two = np.median([at_once(2, folder, pair, size) for _ in range(N_PAIRS)])
    print(f"{'one detector alone':34s} {one:7.2f} s wall (median of {N_PAIRS})")
    print(f"{'two at once, the slower':34s} {two:7.2f} s wall: {2 * one / two:.2f} times the rate of one")


def main():
    """Prepare and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pair", nargs="?", type=Path, help="folder of a simulated pair")
    parser.add_argument("--size", type=int, default=4096, choices=sorted(CAMERAS), help="side [pixel]")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        use_camera(options.size)
        run(Path(os.environ["ASTRA_ROOT"]), options.memory)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)
        return
    if options.work:
        work(Path(os.environ["ASTRA_ROOT"]), options.pair, options.size)
        return
    with tempfile.TemporaryDirectory() as folder:
        pair = options.pair
        if pair is None:
            if not MAKER.is_file():
                sys.exit("the maker of simulated pairs is not beside the project (../shared/bench)")
            pair = Path(folder) / "pair"
            subprocess.run([sys.executable, MAKER, str(options.size), str(pair), "--seed", "7"], check=True)
        os.environ["ASTRA_ROOT"] = str(Path(folder) / "root")
        os.environ.pop("ASTRA_DATABASE_URL", None)
        report(pair.absolute(), folder, options.size)


if __name__ == "__main__":
    main()
