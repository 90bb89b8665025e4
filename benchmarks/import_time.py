"""Time of ``import astra`` in a fresh interpreter, and of Python alone beside it.

python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys
import time

REPEATS = 9


def seconds(code):
    """Wall and CPU time of a fresh interpreter that runs some code: the medians."""
    measured = []
    for _ in range(REPEATS):
        began, cpu = time.perf_counter(), _children_cpu()
        subprocess.run([sys.executable, "-c", code], check=True)
        measured.append((time.perf_counter() - began, _children_cpu() - cpu))
    return tuple(statistics.median(column) for column in zip(*measured, strict=True))


def _children_cpu():
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    print(f"{'fresh interpreter':<20}{'wall s':>8}{'CPU s':>8}")
    for label, code in (
        ("python", "pass"),
        ("import luigi", "import luigi"),
        ("import astra", "import astra"),
    ):
        wall, cpu = seconds(code)
        print(f"{label:<20}{wall:>8.3f}{cpu:>8.3f}")
