"""A plugin of pytest for Luigi's own tests: astra's scheduler and worker in the place of Luigi's.

Tasks are `luigi.Task`. The tests that ``scheduler_tests`` in ``left_out.toml`` name are not run, and nothing
is if one of them does not exist.
"""

import sys
import tomllib
import unittest.mock
from pathlib import Path

import luigi.scheduler
import luigi.server
import luigi.worker
import pytest

from astra.scheduler.bulk_worker import BulkWorker
from astra.scheduler.pages import PagedScheduler

LISTS = tomllib.loads(Path(__file__).with_name("left_out.toml").read_text())

for module in (luigi.scheduler, luigi.server, luigi.worker):
    module.Scheduler = PagedScheduler
luigi.worker.Worker = BulkWorker

sys.modules["mock"] = unittest.mock  # what became of the package of that name


def pytest_collection_modifyitems(config, items):
    names = {item: item.nodeid.removeprefix("test/").partition("[")[0] for item in items}
    left_out = {name for group in LISTS["scheduler_tests"] for name in group["names"]}
    if missing := left_out.difference(names.values()):
        raise pytest.UsageError(f"left_out.toml names tests that do not exist: {', '.join(sorted(missing))}")
    config.hook.pytest_deselected(items=[item for item in items if names[item] in left_out])
    items[:] = [item for item in items if names[item] not in left_out]
