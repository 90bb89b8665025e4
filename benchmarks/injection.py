"""What injected sources cost beyond the subtraction itself, and how well their fluxes and places come out.

    python benchmarks/injection.py [--pair PAIR_DIR] [--rounds 3]

CPU seconds of a plan, of its sources in science image and template, and of the comparison with what is
detected, each the median of five: on a pair of ../shared/bench/make_pair.py if one is named (4k: the CCD that
the budget is for), else on a simulated one. Then pulls and biases of flux and position for point sources
above S/N 10, over several rounds, on that pair and on the real field of Stripe 82 (../shared/data).
"""

import argparse
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from reliability import DATA, generated_pair, held_out_nights, real_pair
from scipy.spatial import cKDTree

N_REPEATS = 5
FIRST_SEED = 800_000
CHANGED_PIXEL = 12.0  # nearer to a true change of the pair a flux is that of both
KINDS = ("on the sky", "on galaxies", "negative")


def cpu_seconds(function):
    """Median CPU time of some calls, and the last result."""
    times = []
    for _ in range(N_REPEATS + 1):
        began = time.process_time()
        result = function()
        times.append(time.process_time() - began)
    return float(np.median(times[1:])), result  # the first may compile


def inject(science, template, sources, seed, config=None, *, known=None):
    """Plan and inject, but near what really differs: both images and the plan."""
    from astra.images.injection import inject_sources
    from astra.images.injection_plan import plan_injections

    rng = np.random.default_rng([FIRST_SEED, seed])
    planned = plan_injections(science, template, sources, rng, config)
    if known is not None:
        places = np.stack([planned["x"], planned["y"]], axis=-1)
        planned = planned[cKDTree(known).query(places)[0] > CHANGED_PIXEL]
    negative = planned["isNegative"]
    bright = inject_sources(science, planned[~negative], rng)
    return bright, inject_sources(template, planned[negative], rng, into_template=True), planned


def judge_speed(name, science, template, sources):
    """Print what 500 injections cost, step by step."""
    from astra.images.difference import difference_images
    from astra.images.efficiency import fit_depth, measure_search
    from astra.images.injection import inject_sources
    from astra.images.injection_plan import plan_injections
    from astra.images.injection_search import search_for

    def plan():
        return plan_injections(science, template, sources, np.random.default_rng(FIRST_SEED))

    planning, planned = cpu_seconds(plan)
    negative, rng = planned["isNegative"], np.random.default_rng(1)
    into_science, bright = cpu_seconds(lambda: inject_sources(science, planned[~negative], rng))
    into_template, deep = cpu_seconds(
        lambda: inject_sources(template, planned[negative], rng, into_template=True)
    )
    difference_images(science, template)  # the first may compile
    began = time.process_time()
    found = difference_images(bright, deep).dia_sources
    subtraction = time.process_time() - began
    began = time.process_time()
    without = difference_images(science, template).dia_sources
    subtraction -= time.process_time() - began

    def compare():
        search = search_for(planned, found, uninjected=without)
        return measure_search(search), fit_depth(search.magnitude, search.found)

    comparison, _ = cpu_seconds(compare)
    size = " x ".join(map(str, science.shape))
    print(f"\n{name}, {size} pixels, {len(planned)} injections [CPU s]")
    steps = {"plan": planning, "into science image": into_science, "into template": into_template}
    steps |= {"comparison, table and fit": comparison}
    for step, seconds in steps.items():
        print(f"{step:<28}{seconds:8.3f}")
    print(f"{'all beyond DiffIm':<28}{sum(steps.values()):8.3f}")
    print(f"{'(the subtraction itself differs by':<28}{subtraction:8.3f}: more detections are measured)")


def judge_quality(name, science, template, sources, n_rounds, *, known=None):
    """Print pulls and biases of point sources above S/N 10, by kind."""
    from astra.images.difference import difference_images
    from astra.images.injection_plan import InjectionConfig
    from astra.images.injection_search import search_for

    parts = []
    for seed in range(n_rounds):
        config = replace(InjectionConfig(), snr_min=10.0, n_trails=0)
        bright, deep, planned = inject(science, template, sources, seed, config, known=known)
        search = search_for(planned, difference_images(bright, deep).dia_sources)
        truth = search.matches
        found = search.detections[truth["detection"][search.found]]
        flux = np.where(truth["isNegative"], -truth["flux"], truth["flux"])[search.found]
        kind = np.where(truth["isNegative"], 2, np.where(truth["hostId"] >= 0, 1, 0))
        parts.append((kind, search.found, kind[search.found], found, flux, truth[search.found]))
    kinds, is_found, kind, found, flux, truth = (
        np.concatenate([p[k] for p in parts]) for k in range(len(parts[0]))
    )
    print(f"\n{name}: point sources above S/N 10")
    head = "".join(f"{word:>11}" for word in ("injected", "found", "bias %", "+- %", "flux", "x", "y"))
    print(f"{'':<14}{head}   (pulls: median, scatter)")
    for k, word in [(None, "all"), *enumerate(KINDS)]:
        here = np.ones(len(kind), bool) if k is None else kind == k
        total = np.ones(len(kinds), bool) if k is None else kinds == k
        weight = (flux / found["psfFluxErr"])[here] ** 2
        bias = np.sum(weight * (found["psfFlux"] / flux - 1.0)[here]) / np.sum(weight)
        pulls = (
            (found["psfFlux"] - flux) / found["psfFluxErr"],
            (found["x"] - truth["x"]) / found["xErr"],
            (found["y"] - truth["y"]) / found["yErr"],
        )
        texts = [f"{np.median(p[here]):+.2f} {robust(p[here]):.2f}" for p in pulls]
        print(
            f"{word:<14}{int(total.sum()):>11}{int(is_found[total].sum()):>11}{100 * bias:>11.2f}"
            f"{100 * np.sum(weight) ** -0.5:>11.2f}" + "".join(f"{text:>11}" for text in texts)
        )


def robust(values):
    """Scatter by the median deviation."""
    return 1.4826 * np.median(np.abs(values - np.median(values)))


def main():
    """Print all tables."""
    from astra.images.reliability_sampling import on_grid_of

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", type=Path, help="folder of a generated pair; by default a simulated one")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of injections behind the pulls")
    options = parser.parse_args()
    pair = generated_pair(options.pair) if options.pair else next(held_out_nights(1))
    images = pair.science, on_grid_of(pair.science, pair.template), pair.sources
    judge_speed(pair.name, *images)
    judge_quality(pair.name, *images, options.rounds, known=pair.known)
    if DATA.is_dir():
        for band in "rg":
            judge_quality(f"real field {band}", *real_pair(band), options.rounds)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of astropy, on the headers of the real frames
        main()
