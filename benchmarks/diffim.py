"""CPU seconds and memory of DiffIm on a simulated pair, from calibrated exposure and sky tiles to products.

    python benchmarks/diffim.py [PAIR_DIR] [--size 4096]

Without a folder, one is made by ../shared/bench/make_pair.py. Its raw goes through ProcessCcd, its template
through IngestTemplate, which puts it on the tiles of the sky. Then GetTemplate and DiffIm run repeatedly,
warm; at last what they do is timed step by step.
"""

import argparse
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

sys.path.insert(0, str(Path(__file__).resolve().parent))
from process_ccd import (
    CAMERAS,
    MAKER,
    cpu_s,
    database_url,
    prepare,
    use_camera,
    write_calibrations,
)

N_REPEATS = 3
BAD_COLUMN = 2  # in the mask of the pair
STEPS = ("subtract", "detect", "measure")


def write_bad_columns(pair, root, parameters):
    """Write the bad columns of the frame as defects that hold for ever, as BuildDefects would find them."""
    import datetime as dt

    from astropy.io import fits

    from astra.database.calibrations import write_calibration_row
    from astra.database.engine import transaction
    from astra.images.defects import Defects, boxes_of
    from astra.products.atomic import checksum
    from astra.products.calibrations import CalibrationInfo, write_defects

    kinds = (fits.getdata(pair / "mask.fits") & BAD_COLUMN > 0).astype(np.uint8)
    names = {"instrument": parameters["instrument"], "detector": parameters["detector"]}
    path = root / "calibrations" / "defects.fits"
    write_defects(path, Defects(kinds, boxes_of(kinds)), CalibrationInfo(kind="defects", **names))
    row = {"kind": "defects", **names, "physical_filter": "", "begin_mjd_tai": None, "end_mjd_tai": None}
    row |= {"path": str(path), "checksum": checksum(path), "task_id": "", "statistics": {}}
    with transaction(database_url(root)) as connection:
        write_calibration_row(connection, {**row, "created": dt.datetime.now(dt.UTC)})


def ingest(pair, root, parameters):
    """Calibrate the pair's template like any exposure, and put it on the tiles of the sky."""
    from astropy.io import fits
    from astropy.wcs import WCS

    from astra.images.exposure import MASK_BAD, Exposure, VisitInfo
    from astra.images.process_ccd import process_ccd
    from astra.images.psf import gaussian_psf
    from astra.products.exposures import write_exposure
    from astra.products.reference_catalog import read_reference_catalog
    from astra.tasks.ingest_template import IngestTemplate

    image, variance = (
        np.ascontiguousarray(fits.getdata(pair / name), np.float32) for name in ("tmpl.fits", "tmpl_var.fits")
    )
    mask = np.where(fits.getdata(pair / "tmpl_mask.fits") > 0, MASK_BAD, 0).astype(np.uint32)
    info = VisitInfo(parameters["instrument"], 1, parameters["detector"], "r", "r", 61000.0, 300.0)
    wcs = WCS(fits.getheader(pair / "tmpl.fits"))
    raw = Exposure(image, variance, mask, info, "adu", 2.0, wcs, gaussian_psf(3.3))
    reference = read_reference_catalog(root / "reference.fits", "r")
    path = root / "template.fits"
    write_exposure(path, process_ccd(raw, reference).calexp)
    return IngestTemplate(
        instrument=parameters["instrument"],
        path=str(path),
        band="r",
        name="deep",
        image="IMAGE",
        variance="VARIANCE",
        mask="MASK",
        njy_per_count=1.0,
    )


def build(task):
    """Run a task; stop if it fails. Return its CPU and wall seconds."""
    import luigi

    start, wall = time.process_time(), time.perf_counter()
    if not luigi.build([task], local_scheduler=True, log_level="ERROR", no_lock=True):
        sys.exit(f"{task} failed; see astra --root {os.environ['ASTRA_ROOT']} status")
    return time.process_time() - start, time.perf_counter() - wall


def difference_tasks(parameters):
    """GetTemplate and DiffIm, to be run again."""
    from astra.tasks.diffim import DiffIm
    from astra.tasks.get_template import GetTemplate

    values = {**parameters, "template_name": "deep"}
    return GetTemplate(**values, rerun=True), DiffIm(**values, rerun=True)


def time_steps(get_template, diffim):
    """CPU seconds of the steps of tasks that have run, by name."""
    from astra.images.difference import difference_images
    from astra.images.template import make_template
    from astra.products.exposures import read_exposure, write_exposure
    from astra.tasks.process_ccd import ProcessCcd

    times = {}
    paths = get_template.template_paths()
    tiles, times[f"read {len(paths)} tiles"] = cpu_s(lambda: [read_exposure(path) for path in paths])
    science, times["read calexp"] = cpu_s(lambda: read_exposure(diffim.require(ProcessCcd).path("calexp")))
    template, times["warp tiles onto the detector"] = cpu_s(
        lambda: make_template(tiles, science.wcs, science.shape, science.info)
    )
    result, times["difference_images"] = cpu_s(
        lambda: difference_images(science, template, diffim.difference_config())
    )
    for name, part in difference_steps(science, template, diffim.difference_config()).items():
        times[f"  of it {name}"] = part
    with tempfile.TemporaryDirectory() as folder:
        _, times["write one exposure"] = cpu_s(
            lambda: write_exposure(Path(folder) / "x.fits", result.difference)
        )
    return times, result


def difference_steps(science, template, config):
    """CPU seconds of the parts of the subtraction: the functions that `difference_images` calls."""
    import astra.images.difference as module

    seconds = dict.fromkeys(STEPS, 0.0)
    originals = {}

    def timed(step, function):
        def wrapper(*args, **kwargs):
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[step] += time.process_time() - start

        return wrapper

    names = {"detect": "detect_dia_sources", "measure": "measure_dia_sources"}
    for step, name in names.items():
        originals[name] = getattr(module, name)
        setattr(module, name, timed(step, originals[name]))
    try:
        start = time.process_time()
        module.difference_images(science, template, config)
        whole = time.process_time() - start
    finally:
        for name, function in originals.items():
            setattr(module, name, function)
    seconds["subtract"] = whole - seconds["detect"] - seconds["measure"]
    return seconds


def peak_memory_gb(root, parameters, size):
    """Peak memory of a process that does nothing but run DiffIm, on a root that is ready."""
    command = [sys.executable, __file__, "--size", str(size), "--memory", json.dumps(parameters)]
    environment = {**os.environ, "ASTRA_ROOT": str(root)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(result.stdout.split()[-1])


def report(pair, size):
    """Print the table."""
    from astra.tasks.process_ccd import ProcessCcd

    root = Path(os.environ["ASTRA_ROOT"])
    parameters = prepare(pair, root, size)
    build(ProcessCcd(**parameters, quality_pictures=False))
    write_calibrations(pair, root, parameters)
    write_bad_columns(pair, root, parameters)
    build(ProcessCcd(**parameters, rerun=True, quality_pictures=False))
    build(ingest(pair, root, parameters))
    get_template, diffim = difference_tasks(parameters)
    build(diffim)
    peak = peak_memory_gb(root, parameters, size)
    times, result = time_steps(get_template, diffim)
    whole = {
        task.get_task_family(): np.median([build(task) for _ in range(N_REPEATS)], axis=0)
        for task in (get_template, diffim)
    }
    print(f"{'step':34s} {'CPU s':>7s}")
    for name, seconds in times.items():
        print(f"{name:34s} {seconds:7.2f}")
    for family, (cpu, wall) in whole.items():
        print(f"{family + ', disk to disk':34s} {cpu:7.2f}   wall {wall:.2f} s")
    print(f"{'peak memory of DiffIm':34s} {peak:7.2f} GB")
    print(f"{'detections':34s} {len(result.dia_sources):7d}")


def main():
    """Prepare and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pair", nargs="?", type=Path, help="folder of a simulated pair")
    parser.add_argument("--size", type=int, default=4096, choices=sorted(CAMERAS), help="side [pixel]")
    parser.add_argument("--memory", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        use_camera(options.size)
        build(difference_tasks(options.memory)[1])
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)
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
        report(pair.absolute(), options.size)


if __name__ == "__main__":
    main()
