"""How well the real field of Stripe 82 comes out: against the table of the LSST stack, and what is left.

    python benchmarks/real_field.py

Runs ApPipe on run 4192 with run 6377 as template, in r and g, in a temporary root, and prints four tables:
the calibrated frames, what PSFs leave of stars, the detections on the differences by kind, and what is found
of injected point sources. Needs the real data beside the project (../shared/data).

For the second table every fifth star is left out of the fit of the PSF, in turn, and predicted; beside it
stands what the survey's own PSF (psField) leaves of the same stars, and in the last row of a frame what the
PSF of all stars leaves. "typical" is the median over the stars of the rms residual in the core, the noise of
the pixels taken out; "stacked" the largest of the mean residual of all stars, with its noise.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # of one core, as in a worker: numpy looks when it is imported

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "sdss_s82"
VISITS = {
    ("4192", "g"): 419210300,
    ("4192", "r"): 419220300,
    ("6377", "g"): 637710399,
    ("6377", "r"): 637720399,
}
MOVING = {"r": (351.70379, 0.19755, 20.47), "g": (351.70340, 0.19742, 20.95)}
EDGE_PIXEL = 20
SATURATION_GROW_PIXEL = 10
HALO_PIXEL = 60  # from saturated pixels: light that no kernel matches
NEAR_PIXEL = 3.0  # a detection this near is on a source
BRIGHT_SNR = 100.0
KINDS = """
bright star   residual within 12 pixels of a star of S/N 100: the PSF is known to some per cent
halo          within 60 pixels of a saturated star: its light is not in proportion to the PSF
one epoch     point source of one image alone: asteroids, of which three of the template moved from r to g
dipole        two lobes: motion or a shift of the WCS
on a source   no farther than 3 pixels from one: it varied, or its match is not exact
other         faint: noise (two expected among these pixels) and structure of the sky"""
REALISATIONS = 3  # of injected sources, a band
N_INJECTED = 160
BRIGHT_PIXEL = 12.0  # a detection this near to a source that bright is its residual


def pipelines():
    """ApPipe of both bands."""
    from astra.tasks.ap_pipe import ApPipe

    return {
        band: ApPipe(
            instrument="sdss",
            raw=str(DATA),
            visit=VISITS["4192", band],
            detector=4,
            template_visits=str(VISITS["6377", band]),
            reference_catalog=str(DATA / "ref_cat" / "stars.fits"),
        )
        for band in "rg"
    }


def stack_rows(run, band):
    """What the stack measured on a frame: ra, dec, x, y, S/N, 6-pixel flux and whether any flag is set."""
    path = DATA / "expected-sources-gr.txt"
    names = path.open().readline().lstrip("#").split()
    table = np.genfromtxt(path, dtype=None, names=names, encoding="ascii", skip_header=1)
    field = {"4192": 300, "6377": 399}[run]
    key = ((int(run) * 10 + "ugriz".index(band)) * 10 + 4) * 10000 + field
    rows = table[table["id"] >> 26 == key]
    flagged = np.any(
        [rows[name].astype(str) == "True" for name in rows.dtype.names if "flag" in name], axis=0
    )
    return rows, flagged, rows["base_PsfFlux_instFlux"] / rows["base_PsfFlux_instFluxErr"]


def compare_with_stack(run, band, sources):
    """One row of the first table."""
    from scipy.spatial import cKDTree

    rows, flagged, snr = stack_rows(run, band)
    tree = cKDTree(np.stack([sources["ra"], sources["dec"]], axis=-1) * 3600)
    separation, nearest = tree.query(np.stack([rows["coord_ra"], rows["coord_dec"]], axis=-1) * 3600)
    wanted = ~flagged & (snr > 10)
    matched = wanted & (separation < 1.0)
    mine = sources[nearest]
    offset = np.hypot(mine["x"] - rows["base_SdssCentroid_x"], mine["y"] - rows["base_SdssCentroid_y"])
    ratio = mine["apInstFlux"] / rows["base_CircularApertureFlux_6_0_instFlux"]
    return {
        "matched %": 100.0 * matched.sum() / wanted.sum(),
        "rows/stack": len(sources) / len(rows),
        "centroid px": np.median(offset[matched]),
        "6px S/N>50 %": 100 * np.median(np.abs(ratio[matched & (snr > 50)] - 1)),
        "6px S/N>10 %": 100 * np.median(np.abs(ratio[matched] - 1)),
    }


def judge_psfs(task, sources):
    """Rows of the second table of one frame: what is left of stars, in % of the peak."""
    from astra.images.psf_held_out import JudgingStars, held_out_residuals, star_residuals
    from astra.images.psf_stars import PsfFitConfig
    from astra.products.exposures import read_exposure

    config, calexp = PsfFitConfig(), read_exposure(task.path("calexp"))
    judging = JudgingStars.choose(calexp, sources, config)
    found = {
        "left out": held_out_residuals(judging, config),
        "psField": star_residuals(judging, task.load_raw().psf),
        "all": star_residuals(judging, calexp.psf),
    }
    return {
        name: {
            "stars": left.n_stars,
            "typical %": 100 * left.typical,
            "stacked %": 100 * left.stacked,
            "+-": 100 * left.stacked_err,
        }
        for name, left in found.items()
    }


def saturated(science, template, grow_pixel):
    """Saturated pixels of either image, grown."""
    from astra.images.exposure import MASK_SAT, MASK_SAT_TEMPLATE
    from astra.images.masks import grow_square

    bits = (science.mask & MASK_SAT) | (template.mask & (MASK_SAT | MASK_SAT_TEMPLATE))
    return grow_square(bits > 0, grow_pixel)


def kinds_of(detections, sources, halo):
    """Count detections by kind; each counts once, as the first kind that fits."""
    from scipy.spatial import cKDTree

    places = np.stack([detections["x"], detections["y"]], axis=-1)
    columns, rows = np.rint(places).astype(int).T
    clean = np.isfinite(sources["x"]) & (sources["snr"] > 5)
    bright = clean & (sources["snr"] > BRIGHT_SNR)
    to_bright = cKDTree(np.stack([sources["x"][bright], sources["y"][bright]], axis=-1)).query(places)[0]
    to_any = cKDTree(np.stack([sources["x"][clean], sources["y"][clean]], axis=-1)).query(places)[0]
    science = detections["scienceFlux"] / detections["scienceFluxErr"]
    template = detections["templateFlux"] / detections["templateFluxErr"]
    tests = {
        "bright star": to_bright < BRIGHT_PIXEL,
        "halo": halo[rows, columns],
        "one epoch": np.where(
            detections["isNegative"], (template > 7) & (science < 3), (science > 7) & (template < 3)
        ),
        "dipole": detections["isDipole"],
        "on a source": to_any < NEAR_PIXEL,
        "other": np.ones(len(detections), dtype=bool),
    }
    counts, taken = {}, np.zeros(len(detections), dtype=bool)
    for name, fits in tests.items():
        counts[name] = int(np.sum(fits & ~taken))
        taken |= fits
    return counts


def judge_difference(band, pipeline, figures):
    """One row of the third table."""
    from astra.images.exposure import magnitude_ab
    from astra.products.catalogs import read_catalog
    from astra.products.exposures import read_exposure
    from astra.tasks.diffim import DiffIm
    from astra.tasks.process_ccd import ProcessCcd

    diffim, calexp = pipeline.require(DiffIm), pipeline.require(ProcessCcd)
    detections = read_catalog(diffim.path("diaSrc"))
    science, template = read_exposure(calexp.path("calexp")), read_exposure(diffim.path("matchedTemplate"))
    ra, dec, _ = MOVING[band]
    distance = 3600 * np.hypot(detections["ra"] - ra, detections["dec"] - dec)
    mover = detections[np.argmin(distance)]
    ny, nx = science.shape
    x, y = (np.rint(detections[axis]).astype(int) for axis in "xy")
    inside = (np.minimum(x, y) >= EDGE_PIXEL) & (x < nx - EDGE_PIXEL) & (y < ny - EDGE_PIXEL)
    inside &= ~saturated(science, template, SATURATION_GROW_PIXEL)[
        np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)
    ]
    others = detections[inside & (distance > 1.0)]
    return {
        "mover mag": float(magnitude_ab(mover["psfFlux"])),
        "offset": distance.min(),
        "S/N": float(mover["snr"]),
        "others": len(others),
        "negative": others["isNegative"].sum(),
        **kinds_of(others, read_catalog(calexp.path("src")), saturated(science, template, HALO_PIXEL)),
        "sigma before": figures["DiffIm:subtract.snrScatterBeforeLocalMean"],
        "sigma": figures["DiffIm:subtract.snrScatter"],
    }


def recover_injected(tasks):
    """Inject sources into the science frames of both bands; rows of the fourth table."""
    from astra.images.difference import difference_images
    from astra.products.catalogs import read_catalog
    from astra.products.exposures import read_exposure
    from astra.tasks.get_template import GetTemplate
    from astra.tasks.process_ccd import ProcessCcd
    from tests.images.injected_field import plan_injections, recover, table

    rows = []
    for pipeline in tasks.values():
        calexp = pipeline.require(ProcessCcd)
        science, sources = read_exposure(calexp.path("calexp")), read_catalog(calexp.path("src"))
        template = read_exposure(pipeline.require(GetTemplate).path("template"))
        plain = difference_images(science, template)
        for seed in range(1, REALISATIONS + 1):
            rng = np.random.default_rng(seed)
            planned = plan_injections(science, plain, sources, rng, N_INJECTED)
            rows.append(recover(science, template, planned, rng))
    return table(np.concatenate(rows))


def figures_of(task):
    """Figures that the state keeps of a task."""
    from sqlalchemy import select

    from astra.database.engine import reading
    from astra.database.state import metadata_table, task_table

    query = (
        select(metadata_table.c.key, metadata_table.c.value)
        .join(task_table, task_table.c.pk == metadata_table.c.task_pk)
        .where(task_table.c.task_id == task.task_id)
    )
    with reading(task.database_url) as connection:
        return {row.key: row.value for row in connection.execute(query)}


def print_table(title, rows):
    """Print rows of equal names, with their labels."""
    names = list(next(iter(rows.values())))
    print(f"\n{title:<18}" + "".join(f"{name:>14}" for name in names))
    for label, row in rows.items():
        cells = (
            f"{row[name]:>14.3f}" if isinstance(row[name], float) else f"{row[name]:>14}" for name in names
        )
        print(f"{label:<18}" + "".join(cells))


def main():
    """Run the pipelines and print the tables."""
    import luigi

    from astra.products.catalogs import read_catalog
    from astra.tasks.diffim import DiffIm
    from astra.tasks.process_ccd import ProcessCcd

    tasks = pipelines()
    if not luigi.build(list(tasks.values()), local_scheduler=True, log_level="ERROR"):
        raise SystemExit("ApPipe failed")
    calibration, psfs = {}, {}
    for (run, band), visit in VISITS.items():
        task = tasks[band].require(ProcessCcd, visit=visit)
        figures = figures_of(task)
        scatter = {
            "zp mag": figures["ProcessCcd:calibrate.zero_point_scatter_mag"],
            "ra arcsec": figures["ProcessCcd:calibrate.astrometry_scatter_ra_arcsec"],
            "dec arcsec": figures["ProcessCcd:calibrate.astrometry_scatter_dec_arcsec"],
        }
        sources = read_catalog(task.path("src"))
        calibration[f"{run} {band}"] = compare_with_stack(run, band, sources) | scatter
        for name, row in judge_psfs(task, sources).items():
            psfs[f"{run} {band} {name}"] = row
    print_table("frame", calibration)
    print_table("PSF", psfs)
    differences = {
        band: judge_difference(band, task, figures_of(task.require(DiffIm))) for band, task in tasks.items()
    }
    print_table("band", differences)
    print(KINDS)
    print_table("injected", recover_injected(tasks))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ASTRA_ROOT"] = folder
        main()
