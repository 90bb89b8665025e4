"""CPU seconds to simulate a night, to remove the instrument's signature, and to write and read products.

Run from the project's root: ``python benchmarks/simulation_and_files.py``
"""

import platform
import tempfile
import time
from pathlib import Path

import numpy as np

from astra.images.amplifier import Amplifier
from astra.images.exposure import Exposure, VisitInfo
from astra.images.isr import remove_signature
from astra.products.exposures import read_exposure, write_exposure
from astra.simulation.night import simulate_night

N_REPEATS = 5
SHAPE = (1489, 2048)


def best_cpu_s(function):
    """Smallest CPU time of some calls after one that compiles and warms caches [s]."""
    function()
    times = []
    for _ in range(N_REPEATS):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def make_exposure():
    rng = np.random.default_rng(1)
    image, variance = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    info = VisitInfo("simcam", 1, 0, "r", "sim-r", 61364.0, 30.0)
    return Exposure(image, variance, np.zeros(SHAPE, np.uint32), info)


def make_raw():
    """A raw frame of 4096 x 4096 exposed pixels in eight amplifiers."""
    rows = slice(0, 4096)
    amplifiers = [
        Amplifier(
            str(index),
            (rows, slice(600 * index, 600 * index + 512)),
            (rows, slice(600 * index + 520, 600 * index + 584)),
            (rows, slice(512 * index, 512 * index + 512)),
            gain=2.0,
            read_noise=5.0,
            saturation=60000.0,
            readout_corner="LR" if index % 2 else "LL",
        )
        for index in range(8)
    ]
    raw = np.random.default_rng(1).integers(900, 1100, size=(4096, 4800), dtype=np.uint16)
    return raw, amplifiers


def main():
    with tempfile.TemporaryDirectory() as folder:
        exposure, path = make_exposure(), Path(folder) / "calexp.fits"
        raw, amplifiers = make_raw()
        rows = {
            "simulate a night (10 frames of 512 x 600)": lambda: simulate_night(folder, 42),
            "remove signature (4096 x 4096, 8 amplifiers)": lambda: remove_signature(raw, amplifiers),
            "write exposure (1489 x 2048, 3 planes)": lambda: write_exposure(path, exposure),
            "read exposure": lambda: read_exposure(path),
            "read exposure, checksums verified": lambda: read_exposure(path, verify=True),
        }
        print(f"CPU seconds, best of {N_REPEATS}, {platform.machine()}, Python {platform.python_version()}")
        for name, function in rows.items():
            print(f"{name:<46}{best_cpu_s(function):8.3f}")


if __name__ == "__main__":
    main()
