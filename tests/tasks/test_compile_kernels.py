"""The task of the demonstration that compiles: it leaves nothing of a real difference to compile."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from astra.images.difference import difference_images
from astra.simulation.pair import make_pair
from tests.conftest import PROJECT

PROGRAM = """
import json
import sys
import astra
from numba.core.dispatcher import Dispatcher
from astra.products.exposures import read_exposure
from astra.tasks.demo_simulation import subtract_and_score

def known():
    # Kernels, by name, with the types that they are compiled for in this process.
    modules = [module for name, module in sys.modules.items() if name.startswith("astra.")]
    kernels = {id(k): k for module in modules for k in vars(module).values() if isinstance(k, Dispatcher)}
    named = ((f"{k.py_func.__module__}.{k.__name__}", k) for k in kernels.values())
    return {f"{name} {types}" for name, k in named for types in k.signatures}

from astra.simulation.pair import make_pair
subtract_and_score(*make_pair())
before = known()
n = len(subtract_and_score(*map(read_exposure, sys.argv[1:])))
print(json.dumps({"kernels": len(before), "new": sorted(known() - before), "rows": n}))
"""


@pytest.fixture(scope="module")
def pair():
    return make_pair()


def test_the_pair_is_the_same_for_a_seed_and_of_the_shape_asked_for(pair):
    again, other = make_pair(), make_pair(2, (300, 340))
    np.testing.assert_array_equal(again[0].image, pair[0].image)
    assert other[0].shape == other[1].shape == (300, 340)


def test_the_pair_has_something_of_each_kind(pair):
    result = difference_images(*pair)
    found = result.dia_sources
    assert result.failure is None
    assert 8 <= len(found) <= 20
    assert found["isNegative"].any()
    assert found["isDipole"].any()
    assert (found["trailLength"] > 5).any()


def test_a_real_difference_finds_all_its_kernels_compiled(processed_root):
    template = min(processed_root.glob("products/**/template.fits"))
    [calexp] = template.parents[1].glob("ProcessCcd_*/calexp.fits")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(calexp), str(template)],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kernels"] > 30
    assert found["rows"] > 5
    assert found["new"] == []
