"""How well the reliability of detections tells sources from artefacts, on frames that no training has seen.

    python benchmarks/reliability.py [MODEL.npz] [--nights 6] [--pair PAIR_DIR ...]

Prints: held-out simulated nights, sources to artefacts 1:1, over signal to noise; the same on pairs that
../shared/bench/make_pair.py has made, if any are named; the real field of Stripe 82 (needs the real data
beside the project, ../shared/data), run 4192 minus run 6377 in r and g, with and without injected sources;
artefacts one by one; CPU seconds. Without a model the shipped one is taken: it is of simulated frames alone.
"""

import argparse
import os
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # of one core, as in a worker: numpy looks when it is imported

import numpy as np

SHARED = Path(__file__).resolve().parents[2] / "shared"
DATA = SHARED / "data" / "sdss_s82"
RUNS = {"science": (4192, 300), "template": (6377, 399)}
MOVING = {"r": (351.70379, 0.19755), "g": (351.70340, 0.19742)}
CUTS = (0.3, 0.5, 0.7, 0.9)
FIRST_SEED = 900_000  # of the nights that are held out; those of trainings begin with 1000 times their seed
BLANK_AND_GALAXIES = {"n_isolated": 90, "n_hosted": 90, "n_trails": 0, "n_negative": 0, "spacing_pixel": 25.0}
N_ROUNDS = 3  # of injections into the real field


def score(model, science, result):
    """Reliability of the detections of a difference."""
    from astra.images.reliability import score_dia_sources

    scored = score_dia_sources(result.dia_sources, result.difference, science, result.matched_template, model)
    return scored["reliability"]


def print_quality(title, examples, model):
    """Completeness and purity at equal numbers, and the table over signal to noise."""
    from astra.images.reliability_quality import at_balance, at_completeness, at_threshold, by_snr, make_roc
    from astra.images.reliability_sampling import balance_examples

    chosen = balance_examples(examples, np.random.default_rng(0))
    scores = model.score(chosen.features)
    roc = make_roc(chosen.labels, scores)
    print(f"\n{title}: {int(chosen.labels.sum())} sources, as many artefacts, area {roc.area:.4f}")
    print(f"{'':<26}{'cut':>8}{'completeness':>14}{'purity':>9}")
    rows = {"completeness 93 %": at_completeness(roc), "completeness = purity": at_balance(roc)}
    rows |= {f"cut {cut:g}": at_threshold(roc, cut) for cut in CUTS}
    for name, row in rows.items():
        print(f"{name:<26}{row['threshold']:>8.3f}{row['completeness']:>14.4f}{row['purity']:>9.4f}")
    print(f"at cut 0.5: {'S/N':>12}{'sources':>9}{'kept':>8}{'artefacts':>11}{'kept':>8}")
    for row in by_snr(chosen.labels, scores, chosen.snr, 0.5):
        print(
            f"{row['snrMin']:>18g}-{row['snrMax']:<5g}{row['nReal']:>9}{row['completeness']:>8.3f}"
            f"{row['nArtefacts']:>11}{row['contamination']:>8.3f}"
        )


def examples_of(pairs, config):
    """Examples of pairs of exposures."""
    from astra.images.reliability_sampling import join_examples, on_grid_of, sample_pair

    parts = []
    for number, pair in enumerate(pairs):
        template = on_grid_of(pair.science, pair.template)
        rng = np.random.default_rng([FIRST_SEED, number])
        sampled = sample_pair(pair.science, template, pair.sources, rng, config, known=pair.known)
        parts.append(sampled.examples(number))
    return join_examples(parts)


def held_out_nights(n_nights):
    """Pairs of simulated nights in the seeing of the trainings."""
    from astra.tasks.train_reliability import SEEING_FACTORS
    from astra.tasks.training_frames import simulated_pairs

    with tempfile.TemporaryDirectory() as folder:
        for night in range(n_nights):
            seeing = SEEING_FACTORS[night % len(SEEING_FACTORS)]
            yield from simulated_pairs(Path(folder) / f"night-{night}", FIRST_SEED + night, seeing)


def generated_pair(folder):
    """A pair of another generator, with its variables and transients: another PSF, crowding and galaxies."""
    from astropy.io import fits
    from astropy.table import Table
    from astropy.wcs import WCS

    from astra.images.exposure import MASK_BAD, MASK_CR, MASK_SAT, Exposure, VisitInfo
    from astra.images.process_ccd import process_ccd
    from astra.tasks.training_frames import TrainingPair

    reference = reference_of(Table.read(folder / "refcat.fits"))
    results = []
    for number, (name, gain) in enumerate((("sci", 2.0), ("tmpl", 2.0 / 1.25))):
        bits = fits.getdata(folder / ("mask.fits" if name == "sci" else "tmpl_mask.fits"))
        mask = np.zeros(bits.shape, np.uint32)
        for bit, plane in ((1, MASK_SAT), (2, MASK_BAD), (4, MASK_CR)):
            mask[(bits & bit) > 0] |= plane
        exposure = Exposure(
            image=fits.getdata(folder / f"{name}.fits").astype(np.float32),
            variance=fits.getdata(folder / f"{name}_var.fits").astype(np.float32),
            mask=mask,
            info=VisitInfo("pair", 1 + number, 0, "r", "r", 60000.0 + 30 * number, 30.0),
            gain=gain,
            wcs=WCS(fits.getheader(folder / f"{name}.fits")),
        )
        results.append(process_ccd(exposure, reference))
    truth = np.load(folder / "truth.npz")
    variable = truth["star"][:, 4].astype(bool) | truth["star"][:, 5].astype(bool)
    known = np.concatenate([truth["trans"][:, :2], truth["star"][variable][:, :2]]).astype(float)
    science = results[0]
    return TrainingPair(folder.name, science.calexp, results[1].calexp, science.sources, known)


def print_own_residuals(title, pairs, model):
    """What a pair leaves by itself, without artefacts of ours: before and after the cuts."""
    from astra.images.reliability_artefacts import ArtefactConfig
    from astra.images.reliability_sampling import SamplingConfig

    none = ArtefactConfig(**dict.fromkeys(vars(ArtefactConfig()), 0.0))
    examples = examples_of(pairs, SamplingConfig(artefacts=none))
    scores, real = model.score(examples.features), examples.labels == 1
    kept = ", ".join(
        f"{int(np.sum(~real & (scores >= cut)))} (and {np.mean(scores[real] >= cut):.3f} of sources) at {cut}"
        for cut in CUTS
    )
    print(f"{title}, own residuals alone: {int(np.sum(~real))}; kept {kept}")


def reference_of(table):
    """Standards as `process_ccd` takes them."""
    from astra.products.reference_catalog import read_reference_catalog

    table["r"], table["r_err"] = table["mag"], np.full(len(table), 0.01)
    with tempfile.TemporaryDirectory() as folder:
        table["ra", "dec", "r", "r_err"].write(Path(folder) / "reference.fits")
        return read_reference_catalog(Path(folder) / "reference.fits", "r")


def real_pair(band):
    """Science exposure, template on its grid, and sources of the real field."""
    from astra.images.coadd import coadd_exposures
    from astra.images.process_ccd import process_ccd
    from astra.images.reliability_sampling import on_grid_of
    from astra.instruments.sdss import SdssCamera
    from astra.products.reference_catalog import read_reference_catalog

    reference = read_reference_catalog(DATA / "ref_cat" / "stars.fits", band)
    results = {}
    for name, (run, field) in RUNS.items():
        path = DATA / str(run) / "40" / "corr" / "4" / f"fpC-{run:06d}-{band}4-{field:04d}.fit.gz"
        results[name] = process_ccd(SdssCamera().load(path), reference)
    science = results["science"].calexp
    template = on_grid_of(science, coadd_exposures([results["template"].calexp]))
    return science, template, results["science"].sources


def judge_real_field(model, band):
    """Print what is left on the real field, and how many injected sources are kept."""
    from astra.images.difference import difference_images

    science, template, sources = real_pair(band)
    result = difference_images(science, template)
    rows, scores = result.dia_sources, score(model, science, result)
    ra, dec = MOVING[band]
    mover = 3600.0 * np.hypot(rows["ra"] - ra, rows["dec"] - dec) < 1.0
    injected = [injections_kept(model, science, template, sources, k) for k in range(N_ROUNDS)]
    print(
        f"\nreal field {band}: {len(rows)} detections; moving object {scores[mover]}; injected above S/N 7:"
    )
    print(f"{'cut':>8}{'others':>9}{'of them S/N > 7':>17}{'kept of detected':>18}{'kept of injected':>18}")
    for cut in (0.0, *CUTS):
        others = ~mover & (scores >= cut)
        detected = np.concatenate([found[1] for found in injected])
        kept = int(np.sum(detected >= cut))
        print(
            f"{cut:>8g}{int(others.sum()):>9}{int((others & (rows['snr'] > 7)).sum()):>17}"
            f"{kept / len(detected):>18.4f}{kept / sum(found[0] for found in injected):>18.4f}"
        )
    order = np.argsort(-scores)
    for k in [k for k in order if scores[k] >= 0.5 and not mover[k]]:
        print(
            f"    other at x {rows['x'][k]:.1f}, y {rows['y'][k]:.1f}: reliability {scores[k]:.3f}, "
            f"S/N {rows['snr'][k]:.1f}, flux {rows['psfFlux'][k]:.0f}, in the science image "
            f"{rows['scienceFlux'][k]:.0f}, in the template {rows['templateFlux'][k]:.0f} nJy"
        )


def injections_kept(model, science, template, sources, number):
    """Number of injected sources of S/N above 7, and the scores of those of them that are detected."""
    from astra.images.difference import difference_images
    from astra.images.injection import inject_sources
    from astra.images.injection_plan import InjectionConfig, plan_injections

    rng = np.random.default_rng([FIRST_SEED, number])
    config = InjectionConfig(**BLANK_AND_GALAXIES)
    size = science.image.size / 1e6
    config = replace(config, n_isolated=round(90 * size), n_hosted=round(90 * size))
    injections = plan_injections(science, template, sources, rng, config)
    changed = inject_sources(science, injections, rng)
    result = difference_images(changed, template)
    scores, rows = score(model, changed, result), result.dia_sources
    found = []
    bright = injections[injections["snr"] > 7.0]
    for row in bright:
        near = (np.hypot(rows["x"] - row["x"], rows["y"] - row["y"]) < 2.0) & ~rows["isNegative"]
        if near.any():
            found.append(scores[near].max())
    return len(bright), np.array(found)


def judge_artefacts(model, pairs):
    """Print the scores of artefacts of each kind, alone on a frame."""
    from astra.images.difference import difference_images
    from astra.images.reliability_artefacts import ArtefactConfig, add_artefacts
    from astra.images.reliability_sampling import on_grid_of

    kinds = {
        "dipole": "n_moved",
        "star broader than its PSF": "n_blurred",
        "flux scale off": "n_scaled",
        "cosmic ray": "n_tracks",
        "bad column": "n_columns",
        "saturated star's halo": "n_halos",
        "bump of the sky": "n_bumps",
    }
    none = dict.fromkeys(kinds.values(), 0.0)
    print(f"\n{'artefact, alone':<28}{'detections':>11}{'median':>9}{'95 %':>9}{'highest':>9}{'>= 0.5':>8}")
    found = {name: [] for name in kinds}
    for number, pair in enumerate(pairs):
        template = on_grid_of(pair.science, pair.template)
        for name, kind in kinds.items():
            config = ArtefactConfig(**{**none, kind: 60.0})
            rng = np.random.default_rng([FIRST_SEED, number])
            science, changed, footprint = add_artefacts(pair.science, template, rng, config)
            result = difference_images(science, changed)
            rows, scores = result.dia_sources, score(model, science, result)
            on_it = footprint[tuple(np.rint([rows["y"], rows["x"]]).astype(int))]
            for x, y in pair.known:
                on_it &= np.hypot(rows["x"] - x, rows["y"] - y) > 8.0
            found[name] += scores[on_it].tolist()
    for name, scores in found.items():
        values = np.array(scores)
        if len(values) == 0:
            print(f"{name:<28}{0:>11}")
            continue
        print(
            f"{name:<28}{len(values):>11}{np.median(values):>9.3f}{np.percentile(values, 95):>9.3f}"
            f"{values.max():>9.3f}{int(np.sum(values >= 0.5)):>8}"
        )


def judge_speed(model, pair):
    """Print the CPU time of 1,000 scores."""
    from astra.images.difference import difference_images

    result = difference_images(pair.science, pair.template)
    many = np.concatenate([result.dia_sources] * (1000 // max(len(result.dia_sources), 1) + 1))[:1000]
    result = replace(result, dia_sources=many)
    score(model, pair.science, result)
    times = []
    for _ in range(5):
        began = time.process_time()
        score(model, pair.science, result)
        times.append(time.process_time() - began)
    print(f"\nfeatures and scores of 1,000 detections: {np.median(times):.3f} CPU s (median of 5)")


def main():
    """Print all tables."""
    from astra.images.reliability_sampling import SamplingConfig
    from astra.products.reliability_model import load_reliability_model

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="", help="file of a model; by default the shipped one")
    parser.add_argument("--nights", type=int, default=6, help="number of simulated nights")
    parser.add_argument("--pair", type=Path, nargs="*", default=[], help="folders of generated pairs")
    options = parser.parse_args()
    model = load_reliability_model(options.model)
    print(
        f"reliability model {model.version}: {len(model.feature)} trees, {len(model.feature_names)} features"
    )
    frames = [frame["name"] for frame in model.report.get("frames", [])]
    real = [name for name in frames if not name.startswith("simulation ")]
    print(f"trained on {len(frames)} frames, of them not simulated: {', '.join(real) or 'none'}")
    nights = list(held_out_nights(options.nights))
    print_quality("held-out simulated nights", examples_of(nights, SamplingConfig()), model)
    print_own_residuals("held-out simulated nights", nights, model)
    for folder in options.pair:
        pair = generated_pair(folder)
        print_quality(f"generated pair {folder.name}", examples_of([pair], SamplingConfig()), model)
        print_own_residuals(f"generated pair {folder.name}", [pair], model)
    if DATA.is_dir():
        for band in "rg":
            judge_real_field(model, band)
    judge_artefacts(model, nights[:4])
    judge_speed(model, nights[0])


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of astropy, on the headers of the real frames
        main()
