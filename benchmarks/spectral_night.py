"""A night of 20,000 spectra through every analysis: killed half-way, resumed, nothing done twice.

    python benchmarks/spectral_night.py [--spectra 20000] [--distinct 200] [--workers 2] [--pixels 4096]

Visits like those of APOGEE stand in a tree with their summary files, most of them links to a few hundred that
differ. ``AnalyseNight`` runs as a process group of its own, which is killed (SIGKILL) as soon as half of the
analyses are done, and again to its end. Files that nothing needs any more (normalised spectra, sums whose
labels are known) are removed while it runs, as if they were moved to an archive: all of them would fill 6 GB.
Printed are minutes, memory that processes do not share over the course of the night, what the state tables
say, and what engine and state cost a member of a batch.
"""

# ruff: noqa: I001

import argparse
import functools
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import astra  # noqa: F401  # before numpy, so that it sets the number of threads
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from astra.database.engine import dispose_engines
from astra.tasks.recorded_run import recorded
from tests.tasks import killed_night
from tests.tasks.spectral_night import APRED, MJD, SpectralNight, write_night_models

ANALYSES = 7  # of each star of a single visit: four of the visit, the sum, and two of the sum
ARCHIVE_AFTER_S = 20.0


class Archive:
    """Removes files that nothing needs any more."""

    def __init__(self, root):
        self.root = root
        self.known = {}
        self.checked = 0.0
        self.largest = 0.0

    def __call__(self, sample):
        now = time.monotonic()
        if now - self.checked < 5.0:
            return
        self.checked = now
        normal = [str(path) for path in (self.root / "products").glob("*/ContinuumNormalize/*/[!.]*.fits")]
        labelled = killed_night.query(self.root, "SELECT DISTINCT path FROM stellar_label") or []
        for path in [*normal, *(path for (path,) in labelled)]:
            if now - self.known.setdefault(path, now) > ARCHIVE_AFTER_S:
                Path(path).unlink(missing_ok=True)
        self.largest = max(self.largest, folder_gib(self.root))


def folder_gib(folder):
    """Size of a folder on disk [GiB]; linked files count once."""
    sizes = {}
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.stat(os.path.join(place, name))
            except OSError:
                continue
            sizes[found.st_ino] = found.st_blocks * 512
    return sum(sizes.values()) / 2**30


def report(what, samples):
    """Print the course of a run."""
    minutes, cpu = samples[-1].time / 60.0, max(sample.cpu for sample in samples)
    done = samples[-1].done - samples[0].done
    print(f"{what}: {minutes:.1f} minutes, {cpu / 60:.1f} of CPU, {done} analyses,", end=" ")
    print(f"{1e3 * cpu / max(done, 1):.1f} ms of CPU each")
    tenths = [part for part in np.array_split(np.array(samples, object), 10) if len(part)]
    for name, whose in (("largest", "the largest process"), ("memory", "all processes")):
        text = " ".join(f"{max(getattr(sample, name) for sample in part):.0f}" for part in tenths)
        print(f"  memory of {whose} by tenths of the run [MiB]: {text}", flush=True)


def run_night(folder, options):
    """Kill the analysis half-way, resume it, and print what it took."""
    root = folder / "root"
    root.mkdir()
    os.environ["SAS_BASE_DIR"] = str(folder / "sas")
    kinds = {"distinct": options.distinct, "n_boss": 0, "n_pixels": options.pixels}
    SpectralNight(folder / "sas", n_stars=options.spectra, **kinds)
    print(f"{options.spectra} spectra in {options.distinct} files; load {os.getloadavg()[0]:.1f}", flush=True)
    models = write_night_models(folder / "models")
    arguments = ["--mjd", MJD, "--apred", APRED, "--telescope", "apo25m"]
    arguments += [text for name, path in models.items() for text in (f"--{name}", path)]
    archive = Archive(root)
    total = ANALYSES * options.spectra
    process = killed_night.start_night(root, arguments, options.workers)
    first = killed_night.watch(process, root, until=total // 2, each=archive, interval_s=1.0)
    killed_night.kill_group(process)
    at_kill = killed_night.count_done(root)
    report(f"killed with {at_kill} of {total} done", first)
    process = killed_night.start_night(root, arguments, options.workers)
    second = killed_night.watch(process, root, each=archive, interval_s=1.0)
    report("resumed", second)
    print(f"exit status {process.returncode}; load {os.getloadavg()[0]:.1f}")
    minutes = (first[-1].time + second[-1].time) / 60.0
    print(f"in all {minutes:.1f} minutes; most on disk {archive.largest:.2f} GiB")
    for (family, code), n in sorted(killed_night.count_states(root).items()):
        print(f"  {family:22s} status {code}: {n}")
    print(f"analyses done twice: {killed_night.count_done_twice(root)}")
    database = sum(path.stat().st_size for path in root.glob("astra.db*")) / 2**20
    print(f"state database {database:.0f} MiB, {1e3 * database / total:.2f} KiB a member", flush=True)


@functools.cache
def task_classes():
    """Tasks whose members do nothing: without a file, and with one each."""
    import luigi

    from astra.tasks.base import AstraTask
    from astra.tasks.spectra.analysis import SpectrumTask

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                pass

    class Nothing(AstraTask):
        """Do nothing, with each of many."""

        number = luigi.IntParameter(batch_method=tuple, description="Number.")

    class NothingWithFile(SpectrumTask):
        """Do nothing with a file each."""

    for task_class in (Nothing, NothingWithFile):
        task_class.run = recorded(run)
    return Nothing, NothingWithFile


def cost(tasks, n_members):
    """Milliseconds of CPU, and of the clock, for each member of some batches."""
    began, wall = time.process_time(), time.perf_counter()
    for task in tasks:
        task.run()
    return [1e3 * taken / n_members for taken in (time.process_time() - began, time.perf_counter() - wall)]


def overhead(n_members, folder):
    """Print what engine and state cost a member of a batch, without a file and with one each."""
    os.environ["ASTRA_ROOT"] = str(folder)
    without, with_file = task_classes()
    without(number=(-1, -2)).run()  # imports, and the database
    parts = np.array_split(np.arange(n_members), max(n_members // 1000, 1))
    batches = [without(number=tuple(map(int, part))) for part in parts]
    print("engine and state a member: {:.3f} ms of CPU, {:.3f} ms".format(*cost(batches, n_members)))
    for size in (10, 500_000):
        source = folder / f"file{size}"
        source.write_bytes(b"x" * size)
        names = [f"{source}-{number}" for number in range(n_members)]
        for name in names:
            os.link(source, name)
        batches = [
            with_file(product=("spec",) * len(part), path=tuple(names[number] for number in part))
            for part in parts
        ]
        figures = cost(batches, n_members)
        print(
            "  with a file of {} bytes each, and its checksum: {:.3f} ms of CPU, {:.3f} ms".format(
                size, *figures
            )
        )
    dispose_engines()
    for path in folder.glob("file*"):
        path.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spectra", type=int, default=20_000)
    parser.add_argument("--distinct", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pixels", type=int, default=4096, help="of each chip: 4096, or 2048 undithered")
    parser.add_argument("--overhead-only", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="astra-night-"))
    try:
        overhead(options.spectra, folder)
        if not options.overhead_only:
            run_night(folder, options)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
