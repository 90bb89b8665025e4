"""CPU seconds of each step from raw frame to alerts, on the real 2048 x 1489 frames of Stripe 82.

    python benchmarks/alert_production.py [--repeats 3]

Every step is the work of its task for one detector: files read and written, without the scheduler. The first
round compiles and is not counted. Needs the real data beside the project (../shared/data).
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "sdss_s82"
STEPS = (
    *("IngestRaws", "DefineVisits", "ProcessCcd", "BuildTemplate", "GetTemplate", "DiffIm"),
    *("Associate", "PackageAlerts"),
)


def measure(root):
    """Run every step alone in a new root; return (wall, CPU) seconds by step and band."""
    os.environ["ASTRA_ROOT"] = str(root)
    import luigi

    from astra.tasks.ap_pipe import ApPipe

    measured = {}
    for band, visit, template in (("r", 419220300, 637720399), ("g", 419210300, 637710399)):
        pipeline = ApPipe(
            instrument="sdss",
            raw=str(DATA),
            visit=visit,
            detector=4,
            template_visits=str(template),
            reference_catalog=str(DATA / "ref_cat" / "stars.fits"),
        )
        for name, task in steps(pipeline):
            began, cpu = time.perf_counter(), time.process_time()
            if not luigi.build([task], local_scheduler=True, log_level="ERROR"):
                raise SystemExit(f"{task!r} failed")
            measured[name, band] = time.perf_counter() - began, time.process_time() - cpu
    return measured


def steps(pipeline):
    """Yield the steps of a pipeline in their order; the template's own calibration comes first, uncounted."""
    from astra.tasks.alerts import PackageAlerts
    from astra.tasks.association import Associate
    from astra.tasks.batch import merge_tasks
    from astra.tasks.diffim import DiffIm
    from astra.tasks.exposures import IngestRaws
    from astra.tasks.get_template import GetTemplate
    from astra.tasks.process_ccd import ProcessCcd
    from astra.tasks.visits import DefineVisits

    yield "IngestRaws", pipeline.require(IngestRaws, path=pipeline.raw)
    yield "template visit", pipeline.require(ProcessCcd, visit=int(pipeline.template_visits))
    yield "DefineVisits", pipeline.require(DefineVisits, exposure=pipeline.visit)
    yield "ProcessCcd", pipeline.require(ProcessCcd)
    [tiles] = merge_tasks(pipeline.require(GetTemplate).further_requires())
    yield "BuildTemplate", tiles
    for family in (GetTemplate, DiffIm, Associate, PackageAlerts):
        yield family.__name__, pipeline.require(family)


def cpu_model():
    """Name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rounds = []
    for _ in range(repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(measure(Path(folder)))
    print(f"{cpu_model()}, {os.cpu_count()} cores, Python {platform.python_version()}; medians of {repeats}")
    print(f"{'step':<16}{'r wall s':>10}{'r CPU s':>10}{'g wall s':>10}{'g CPU s':>10}")
    total = [0.0] * 4
    for step in STEPS:
        row = [statistics.median(r[step, band][i] for r in rounds[1:]) for band in "rg" for i in (0, 1)]
        total = [a + b for a, b in zip(total, row, strict=True)]
        print(f"{step:<16}" + "".join(f"{value:>10.2f}" for value in row))
    print(f"{'sum':<16}" + "".join(f"{value:>10.2f}" for value in total))
