"""Time to write a detector's visit into the APDB, as the visits on one field grow.

A field of 3,000 objects is visited again and again: each visit detects 300 of them and measures all 3,000.
The time of a store is that of the whole transaction, commit included; told for each depth are the median and
the mean of ten visits, and the CPU time of this process and of the server, which other work on the machine
lengthens less; then the CPU time of both to load the current objects of the field. The databases are a SQLite
file, with astra's own settings, and the private PostgreSQL of the tests, which does not wait for the disk
(fsync = off).

    python -m benchmarks.apdb [--visits 1000] [--database sqlite postgresql] [--statistics rubin] [--profile]

``--statistics further`` makes the statistics that DiaObject has no columns for, too.
"""

import argparse
import cProfile
import pstats
import statistics
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil

from astra.database import apdb
from astra.database.engine import dispose_engines, get_engine
from astra.database.models.apdb import dia_forced_source, dia_source
from astra.sky.light_curve_plugins import DEFAULT_PLUGINS
from astra.sky.regions import convex_hull, htm_pixels
from astra.tasks.associated import chosen_plugins

N_OBJECTS, N_DETECTED, N_MEASURED = 3000, 300, 10
DEPTHS = (1, 11, 100, 300, 1000)
ID = 2**45
FIELD = convex_hull([10.0, 10.2, 10.2, 10.0], [5.0, 5.0, 5.2, 5.2])


def measure(rows, objects, place, rng):
    """Fill in objects, positions and fluxes."""
    rows["diaObjectId"] = ID + objects
    rows["ra"], rows["dec"] = place[0][objects], place[1][objects]
    for name in ("psfFlux", "scienceFlux"):
        rows[name] = rng.normal(1000, 200, len(rows))
        rows[f"{name}Err"] = rng.uniform(20, 60, len(rows))


def make_visit(visit, place):
    """Marker, detections (every column that there is) and forced measurements of a visit."""
    rng = np.random.default_rng(visit)
    # The first ten visits detect each object once.
    objects = np.arange(N_DETECTED) + N_DETECTED * (visit - 1)
    if visit > N_OBJECTS // N_DETECTED:
        objects = np.sort(rng.choice(N_OBJECTS, N_DETECTED, replace=False))
    sources = np.zeros(N_DETECTED, apdb.table_dtype(dia_source))
    forced = np.zeros(N_OBJECTS, apdb.table_dtype(dia_forced_source))
    for name in sources.dtype.names:
        if sources.dtype[name].kind == "f":
            sources[name] = rng.normal(0, 1, N_DETECTED)
    sources["timeWithdrawnMjdTai"] = sources["ssObjectReassocTimeMjdTai"] = np.nan
    forced["timeWithdrawnMjdTai"] = np.nan
    measure(sources, objects, place, rng)
    measure(forced, np.arange(N_OBJECTS), place, rng)
    midpoint, band = 60000 + visit / 100, "ugrizy"[visit // 20 % 6]
    for rows in (sources, forced):
        rows["visit"], rows["detector"], rows["band"] = visit, 1, band
        rows["midpointMjdTai"], rows["timeProcessedMjdTai"] = midpoint, midpoint + 0.001
    sources["pixelId"] = htm_pixels(sources["ra"], sources["dec"])
    sources["diaSourceId"] = visit * 2**20 + np.arange(N_DETECTED)
    forced["diaForcedSourceId"] = visit * 2**20 + np.arange(N_OBJECTS)
    counts = {"n_dia_sources": N_DETECTED, "n_forced_sources": N_OBJECTS}
    return (
        apdb.Marker("camera", visit, 1, "task", band, midpoint, midpoint + 0.001, **counts),
        sources,
        forced,
    )


def cpu_seconds(server):
    """CPU time of this process, and of a server's processes [s]."""
    own = time.process_time()
    if server is None:
        return own, 0.0
    total = 0.0
    for process in (server, *server.children()):
        with suppress(psutil.NoSuchProcess):  # a worker of the server's may end meanwhile
            total += sum(process.cpu_times()[:2])
    return own, total


def store(engine, made, server=None, plugins=DEFAULT_PLUGINS):
    """Store a visit in a transaction; return wall-clock time, and CPU time here and of the server [s]."""
    marker, sources, forced = made
    cpu, begin = cpu_seconds(server), time.perf_counter()
    with engine.begin() as connection:
        apdb.lock(connection)
        apdb.store_visit(connection, marker, sources, None, forced, plugins=plugins)
    wall = time.perf_counter() - begin
    return wall, *(after - before for after, before in zip(cpu_seconds(server), cpu, strict=True))


def load(engine, server=None):
    """Load the current objects of the field; return the CPU time here and of the server [s]."""
    before = sum(cpu_seconds(server))
    with engine.connect() as connection:
        n_objects = len(apdb.load_dia_objects(connection, FIELD))
    assert n_objects > 0
    return sum(cpu_seconds(server)) - before


@contextmanager
def database(kind):
    """URL of a new database, and the process of its server."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'apdb.db'}", None
        return
    from tests.postgresql import Cluster

    cluster = Cluster()
    cluster.start()
    try:
        pid = int((cluster.folder / "data" / "postmaster.pid").read_text().split()[0])
        yield cluster.create_database(), psutil.Process(pid)
    finally:
        dispose_engines()
        cluster.stop()
        cluster.remove()


def profiled(engine, made):
    """Print where the time of one store goes."""
    profile = cProfile.Profile()
    profile.runcall(store, engine, made)
    pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


def run(kind, n_visits, plugins, show_profile):
    """Store visits; print a line for each depth."""
    place = [origin + np.random.default_rng(0).uniform(0, 0.2, N_OBJECTS) for origin in (10, 5)]
    depths = [depth for depth in DEPTHS if depth <= n_visits]
    with database(kind) as (url, server):
        engine = get_engine(url)
        store(engine, make_visit(1, place))  # compiles kernels and statements
        with engine.begin() as connection:
            apdb.remove_visit(connection, "camera", 1, 1)
        first, times = None, []
        for visit in range(1, depths[-1] + N_MEASURED):
            times.append(store(engine, make_visit(visit, place), server, plugins))
            depth = visit - N_MEASURED + 1
            if depth in depths:
                columns = list(zip(*times[-N_MEASURED:], strict=True))
                wall, own, other = (1e3 * statistics.median(column) for column in columns)
                mean, other = 1e3 * statistics.mean(columns[0]), 1e3 * statistics.mean(columns[2])
                first = first or (wall, own + other)
                growth = wall / first[0], (own + other) / first[1]
                print(
                    f"{kind:12s} {depth:7d} {wall:9.1f} {mean:9.1f} {own:9.1f} {other:9.1f} "
                    f"{growth[0]:9.2f} {growth[1]:9.2f} {1e3 * load(engine, server):9.1f}",
                    flush=True,
                )
        if show_profile:
            profiled(engine, make_visit(depths[-1] + N_MEASURED, place))
        dispose_engines()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = ("sqlite", "postgresql")
    parser.add_argument("--visits", type=int, default=1000)
    parser.add_argument("--database", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--statistics", default="rubin", help="as of Associate: rubin, further, all")
    options = parser.parse_args()
    names = ("visits", "wall [ms]", "mean [ms]", "CPU [ms]", "server", "growth", "of CPU", "load [ms]")
    print(f"{'database':12s} {names[0]:>7s} " + " ".join(f"{name:>9s}" for name in names[1:]))
    for kind in options.database:
        run(kind, options.visits, chosen_plugins(options.statistics), options.profile)


if __name__ == "__main__":
    main()
