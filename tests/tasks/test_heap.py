"""Memory that one image has freed serves the next."""

import platform
import subprocess
import sys

import pytest

PROBE = """
import resource, sys
import numpy as np
from astra.tasks.heap import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "kept" else None
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize()
for n in range(6):
    if n == 1:  # the first takes its pages in either case
        before = faults()
    image = np.empty(1 << 26, np.uint8)
    image[::4096] = 1
    del image
print(kept, (faults() - before) / (5 << 26))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_pages_are_taken_once():
    # numpy's large pages are taken with one fault each: without them every page counts.
    environment = {"NUMPY_MADVISE_HUGEPAGE": "0", "PATH": ""}
    found = {}
    for name in ("kept", "default"):
        command = [sys.executable, "-c", PROBE, name]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        kept, found[name] = result.stdout.split()
        assert kept == {"kept": "True", "default": "None"}[name]
    assert float(found["default"]) > 0.9
    assert float(found["kept"]) < 0.05
