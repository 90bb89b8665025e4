"""CPU seconds to associate a detector, on SQLite, and to make, check and write its alerts.

Run from the project's root: ``python benchmarks/association_and_alerts.py``
"""

import platform
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from astra.alerts.cutouts import make_cutout
from astra.alerts.files import write_alerts
from astra.alerts.packets import Cutouts, make_alert
from astra.database.apdb import load_alert_rows
from astra.database.engine import reading, transaction
from astra.images.exposure import Exposure, VisitInfo
from astra.images.psf import gaussian_psf
from astra.sky.association import associate
from astra.sky.regions import convex_hull
from astra.tasks.association_steps import associate_visit

SHAPE = (1489, 2048)
N_SOURCES = 1000
N_VISITS = 6
SCALE_DEG = 0.4 / 3600


def make_exposure(rng):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [351.7, 0.2], [SHAPE[1] / 2, SHAPE[0] / 2]
    wcs.wcs.cdelt = [-SCALE_DEG, SCALE_DEG]
    image, variance = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    info = VisitInfo("simcam", 1, 0, "r", "sim-r", 61364.0, 30.0)
    mask = np.zeros(SHAPE, np.uint32)
    return Exposure(image, variance, mask, info, unit="nJy", wcs=wcs, psf=gaussian_psf(3.5))


def make_catalog(rng, exposure, x, y):
    columns = [
        "ra",
        "dec",
        "raErr",
        "decErr",
        "x",
        "y",
        "psfFlux",
        "psfFluxErr",
        "scienceFlux",
        "scienceFluxErr",
    ]
    rows = np.ones(len(x), [(name, "f8") for name in columns])
    rows["x"], rows["y"] = x + rng.normal(0, 0.1, len(x)), y + rng.normal(0, 0.1, len(x))
    rows["ra"], rows["dec"] = exposure.wcs.all_pix2world(rows["x"], rows["y"], 0)
    rows["raErr"] = rows["decErr"] = 0.1 * SCALE_DEG
    return rows


def forced_photometry(ra, _dec):
    return np.ones(
        len(ra), [(name, "f8") for name in ("psfFlux", "psfFluxErr", "scienceFlux", "scienceFluxErr")]
    )


def cpu_s(function, *arguments):
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


def run_visit(url, visit, region, rows):
    with transaction(url) as connection:
        return associate_visit(
            connection,
            instrument="simcam",
            visit=visit,
            detector=0,
            band="r",
            midpoint_mjd_tai=61364.0 + visit,
            region=region,
            dia_sources=rows,
            forced_photometry=forced_photometry,
            time_processed_mjd_tai=61400.0 + visit,
            task_id="benchmark",
            packed_visit_detector=visit,
        )


def load(url, visit):
    with reading(url) as connection:
        return load_alert_rows(connection, "simcam", visit, 0)[1]


def make_stamps(exposure, rows):
    names = ("difference", "science", "template")
    return [
        Cutouts(
            **{name: make_cutout(exposure, row.dia_source["x"], row.dia_source["y"], 31) for name in names}
        )
        for row in rows
    ]


def make_alerts(rows, stamps):
    return [
        make_alert(row.dia_source, row.prv_sources, row.prv_forced, row.dia_object, cutouts)
        for row, cutouts in zip(rows, stamps, strict=True)
    ]


def match_many(rng, n_sources, n_objects):
    names = [("ra", "f8"), ("dec", "f8")]
    objects, sources = np.zeros(n_objects, names), np.zeros(n_sources, names)
    objects["ra"], objects["dec"] = rng.uniform(0, 3, n_objects), rng.uniform(0, 3, n_objects)
    chosen = rng.choice(n_objects, n_sources, replace=False)
    for name in ("ra", "dec"):
        sources[name] = objects[name][chosen] + rng.normal(0, 0.2 / 3600, n_sources)
    return cpu_s(associate, sources, objects)[0]


def main():
    rng = np.random.default_rng(1)
    exposure = make_exposure(rng)
    x, y = rng.uniform(20, SHAPE[1] - 20, N_SOURCES), rng.uniform(20, SHAPE[0] - 20, N_SOURCES)
    corners = exposure.wcs.all_pix2world([0, SHAPE[1], SHAPE[1], 0], [0, 0, SHAPE[0], SHAPE[0]], 0)
    region = convex_hull(*corners)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/benchmark.db"
        run_visit(url, 0, region, make_catalog(rng, exposure, x, y)[:1])
        times = [
            cpu_s(run_visit, url, visit, region, make_catalog(rng, exposure, x, y))[0]
            for visit in range(1, N_VISITS + 1)
        ]
        load_s, rows = cpu_s(load, url, N_VISITS)
        stamps_s, stamps = cpu_s(make_stamps, exposure, rows)
        make_s, alerts = cpu_s(make_alerts, rows, stamps)
        path = Path(folder) / "alerts.avro"
        write_s, _ = cpu_s(write_alerts, path, alerts)
        size = path.stat().st_size / len(alerts) / 1000
    print(f"{platform.machine()}, Python {platform.python_version()}, one thread")
    print(f"| {'step':58} | CPU s |")
    print(f"| {'-' * 58} | ----: |")
    table = {
        "match 10,000 sources with 1,000,000 objects": match_many(rng, 10_000, 1_000_000),
        f"associate and store {N_SOURCES} sources, first visit": times[0],
        f"associate and store {N_SOURCES} sources, visit {N_VISITS}": times[-1],
        f"load the rows of {N_SOURCES} alerts": load_s,
        f"cut {3 * N_SOURCES} stamps of 31 pixels": stamps_s,
        f"make and check {N_SOURCES} alerts with {N_VISITS - 1}+{N_VISITS - 1} history records": make_s,
        f"write {N_SOURCES} alerts of {size:.0f} kB": write_s,
    }
    for step, seconds in table.items():
        print(f"| {step:58} | {seconds:5.2f} |")


if __name__ == "__main__":
    main()
