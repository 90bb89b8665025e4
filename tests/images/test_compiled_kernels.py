"""Compiled kernels are kept: what one process has compiled, no other on the same machine compiles again."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import PROJECT

# Kernels of two modules, one of which calls others; it prints what was compiled and what came from the cache.
PROGRAM = """
import json
import astra
import numpy as np
from numba.core import event
from astra.images import masks, saturation, variance
from astra.images.calibration import places_with_bit
from astra.images.exposure import MASK_SAT, Exposure, VisitInfo

with event.install_recorder("numba:compile") as recorder:
    ones = np.ones((30, 40), np.float32)
    info = VisitInfo("t", 1, 1, "r", "r", 6e4, 30.0)
    exposure = Exposure(ones, ones.copy(), np.zeros((30, 40), np.uint32), info)
    exposure.variance[3, 4] = -1.0
    exposure.mask[5, 6] = MASK_SAT
    exposure = masks.mark_unknown(exposure)
    saturation.grow_bit(exposure.mask, MASK_SAT, 1)
    variance.remove_own_noise(exposure, exposure.image > 2.0)
    places_with_bit(exposure.mask, MASK_SAT)
kernels = (masks._has_unknown, masks._mark_unknown, saturation._find, saturation._grow,
           variance._expected_variance, places_with_bit)
stats = [kernel.stats for kernel in kernels]
print(json.dumps({
    "compiled": len(recorder.buffer),
    "misses": sum(sum(each.cache_misses.values()) for each in stats),
    "hits": sum(sum(each.cache_hits.values()) for each in stats),
    "kernels": len(kernels),
}))
"""


def run(folder, cwd):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=cwd, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture
def first(tmp_path):
    found = run(tmp_path / "cache", tmp_path)
    assert found["compiled"] > 0
    assert (found["misses"], found["hits"]) == (found["kernels"], 0)
    return tmp_path / "cache"


def test_a_second_process_compiles_nothing(first, tmp_path):
    def files():
        return {path.relative_to(first): path.stat().st_mtime_ns for path in first.rglob("*.nb*")}

    before, elsewhere = files(), tmp_path / "elsewhere"
    assert len(before) >= 12  # an index and a body each
    elsewhere.mkdir()
    found = run(first, elsewhere)
    assert (found["compiled"], found["misses"], found["hits"]) == (0, 0, found["kernels"])
    assert files() == before


SHARED = """
import gc
from numba.core import event
from astra.compiled import compiled, part

@part
def double(x):
    return 2.0 * x

@part
def quadruple(x):
    return double(double(x))

@compiled(nogil=True)
def kernel(x):
    return double(x) + quadruple(x)

with event.install_recorder("numba:compile") as recorder:
    assert kernel(3.0) == 18.0
assert gc.isenabled()
print(*sorted(each.data["dispatcher"].py_func.__name__ for _, each in recorder.buffer if each.is_start))
"""


def test_what_a_kernel_and_a_part_of_it_call_is_compiled_once(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(SHARED)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["double", "kernel", "quadruple"]
