"""Association: pairs of the HSC COSMOS sources, mistakes in crowded fields, and CPU seconds.

Run from the project's root: ``python benchmarks/association.py``; nearest neighbours by scipy's k-d tree
stand beside it. The HSC sources are read from ``../shared/data`` and left out where they are absent.
"""

import csv
import itertools
import platform
import resource
import sys
import time
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).parents[1]))

from astra.sky.association import associate, mean_positions
from astra.sky.position_index import index_positions
from astra.sky.regions import unit_vectors
from tests.sky.dense_fields import make_field, nearest_neighbours

HSC = Path(__file__).parents[2] / "shared/data/alerts/rubin_hsc_cosmos/diasources_truth.csv"
COLUMNS = np.dtype([("ra", "f8"), ("dec", "f8"), ("raErr", "f4"), ("decErr", "f4")])
ARCSEC = 1 / 3600
PLACES = {"equator": (150.0, 0.0), "RA 0": (0.0, -30.0), "pole": (40.0, 90.0)}
FIELDS = {
    "0.2 objects per sq. arcsec": {},
    "1 object per sq. arcsec": {"density": 1.0, "side_arcsec": 60.0},
    "0.02 objects per sq. arcsec": {"density": 0.02, "side_arcsec": 400.0},
    "30 % of the objects detected": {"detected": 0.3, "new": 0.05},
    "10 % detected, 30 % as many new": {"detected": 0.1, "new": 0.3},
    "proper motions of 0.1 arcsec/yr": {"motion_mas_yr": 100.0},
}
SEEDS = range(5)


def cpu_s(function, *arguments, **options):
    start = time.process_time()
    result = function(*arguments, **options)
    return time.process_time() - start, result


def by_likelihood(sources, objects):
    return associate(sources, objects).object_index


# -- the HSC COSMOS sources ----------------------------------------------------------------------------------


def read_hsc():
    """Sources, the order in which they are associated, and Rubin's own objects."""
    with HSC.open() as lines:
        records = list(csv.DictReader(lines))
    rows = np.zeros(len(records), COLUMNS)
    for name in COLUMNS.names:
        rows[name] = [float(record[name] or "nan") for record in records]
    keys = [(float(r["midpointMjdTai"]), int(r["visit"]), int(r["detector"])) for r in records]
    order = [np.flatnonzero([key == k for key in keys]) for k in sorted(set(keys))]
    return rows, order, [int(record["diaObjectId"]) for record in records], records


def group(rows, order, match):
    """Associate visit after visit."""
    owner, n_objects = np.full(len(rows), -1), 0
    for new in order:
        old = np.flatnonzero(owner >= 0)
        objects = np.zeros(n_objects, COLUMNS)
        for name, values in mean_positions(rows[old], owner[old], n_objects).items():
            if name in COLUMNS.names:
                objects[name] = values
        for row, index in zip(new, match(rows[new], objects), strict=True):
            owner[row] = index if index >= 0 else n_objects
            n_objects += index < 0
    return owner


def pairs_of(owner):
    return {pair for pair in itertools.combinations(range(len(owner)), 2) if owner[pair[0]] == owner[pair[1]]}


def report_hsc():
    rows, order, truth, records = read_hsc()
    expected = pairs_of(truth)
    print("| HSC COSMOS, 252 sources | TP | FP | FN |")
    print("| ----------------------- | -: | -: | -: |")
    for name, match in {"least total cost": by_likelihood, "nearest neighbour": nearest_neighbours}.items():
        found = pairs_of(group(rows, order, match))
        counts = len(found & expected), len(found - expected), len(expected - found)
        print(f"| {name:23} | {counts[0]} | {counts[1]} | {counts[2]} |")
    print("\nEach mistake of the least total cost:\n")
    found = pairs_of(group(rows, order, by_likelihood))
    for kind, wrong in {"FP": found - expected, "FN": expected - found}.items():
        for one, two in sorted(wrong):
            vectors = unit_vectors(rows["ra"][[one, two]], rows["dec"][[one, two]])
            distance = np.degrees(np.linalg.norm(vectors[0] - vectors[1])) * 3600
            ids = " and ".join(records[row]["diaSourceId"] for row in (one, two))
            print(f"{kind} {ids}: {distance:.2f} arcsec apart")


# -- crowded fields ------------------------------------------------------------------------------------------


def report_fields():
    print(f"\n| {'wrong of sources':44} | least cost | at most 4 sigma | nearest neighbour |")
    print(f"| {'-' * 44} | ---------: | --------------: | ----------------: |")
    for name, options in FIELDS.items():
        for place, centre in PLACES.items():
            counts = np.zeros(4, int)
            for seed in SEEDS:
                field = make_field(seed, *centre, **options)
                tables = field.sources, field.objects
                found = [
                    by_likelihood(*tables),
                    associate(*tables, max_offset_sigma=4.0).object_index,
                    nearest_neighbours(*tables),
                ]
                counts += [*(np.sum(one != field.truth) for one in found), len(field.truth)]
            label = f"{name}, {place} ({counts[3]})"
            print(f"| {label:44} | {counts[0]:10} | {counts[1]:15} | {counts[2]:17} |")


# -- speed ---------------------------------------------------------------------------------------------------


def make_tables(rng, n_sources, n_objects, side_deg):
    objects, sources = np.zeros(n_objects, COLUMNS), np.zeros(n_sources, COLUMNS)
    for name in ("ra", "dec"):
        objects[name] = rng.uniform(0, side_deg, n_objects)
    chosen = rng.choice(n_objects, n_sources, replace=False)
    for name in ("ra", "dec"):
        sources[name] = objects[name][chosen] + rng.normal(0, 0.2 * ARCSEC, n_sources)
    for table in (sources, objects):
        table["raErr"] = table["decErr"] = 0.1 * ARCSEC
    return sources, objects


def query_tree(tree, sources):
    vectors = unit_vectors(sources["ra"], sources["dec"])
    return tree.query(vectors, distance_upper_bound=2 * np.sin(0.5 * np.radians(ARCSEC)))


def report_speed():
    rng = np.random.default_rng(1)
    associate(*make_tables(rng, 10, 100, 0.1))
    small = make_tables(rng, 1000, 50_000, 0.25)
    seconds = min(cpu_s(associate, *small)[0] for _ in range(5))
    rows = {"associate 1,000 sources with 50,000 objects": seconds}
    sources, objects = make_tables(rng, 1_000_000, 10_000_000, 3.1)
    rows["sort 10,000,000 objects"], index = cpu_s(index_positions, objects["ra"], objects["dec"])
    rows["associate 1,000,000 sources with them"], _ = cpu_s(associate, sources, objects, index=index)
    rows["the same, the objects not yet sorted"], _ = cpu_s(associate, sources, objects)
    del index
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    vectors = unit_vectors(objects["ra"], objects["dec"])
    rows["cKDTree of 10,000,000 objects"], tree = cpu_s(cKDTree, vectors)
    rows["cKDTree query of 1,000,000 sources, nearest alone"], _ = cpu_s(query_tree, tree, sources)
    print(
        f"\n{platform.machine()}, Python {platform.python_version()}, one thread; {memory:.1f} GB at most\n"
    )
    print(f"| {'step':50} | CPU s |")
    print(f"| {'-' * 50} | ----: |")
    for step, value in rows.items():
        print(f"| {step:50} | {value:5.3f} |")


def main():
    if HSC.exists():
        report_hsc()
    report_fields()
    report_speed()


if __name__ == "__main__":
    main()
