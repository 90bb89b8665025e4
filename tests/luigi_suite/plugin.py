"""A plugin of pytest for Luigi's own tests: `AstraTask` in the place of `luigi.Task`, a root for each test.

The tests that ``left_out.toml`` names are not run, and nothing is if one of them does not exist.
"""

import shutil
import sys
import tomllib
import unittest.mock
from pathlib import Path

import luigi
import luigi.task_register
import pytest

from astra.tasks.base import AstraTask
from astra.tasks.hook import AstraOptions

LISTS = tomllib.loads(Path(__file__).with_name("left_out.toml").read_text())


class ExternalTask(luigi.ExternalTask, AstraTask):
    pass


class WrapperTask(luigi.WrapperTask, AstraTask):
    pass


class Config(luigi.Config, AstraTask):
    pass


for module in (luigi, luigi.task):
    module.Task, module.ExternalTask, module.WrapperTask = AstraTask, ExternalTask, WrapperTask

import luigi.tools.range  # noqa: E402  # Luigi's default is to import it; here it must find the classes above

sys.modules["mock"] = unittest.mock  # what became of the package of that name


def pytest_collection_modifyitems(config, items):
    names = {item: item.nodeid.removeprefix("test/").partition("[")[0] for item in items}
    modules = {name.partition("::")[0] for name in names.values()}
    listed = (name for group in LISTS["tests"] for name in group["names"])
    left_out = {name for name in listed if name.partition("::")[0] in modules}
    if missing := left_out.difference(names.values()):
        raise pytest.UsageError(f"left_out.toml names tests that do not exist: {', '.join(sorted(missing))}")
    config.hook.pytest_deselected(items=[item for item in items if names[item] in left_out])
    items[:] = [item for item in items if names[item] not in left_out]


@pytest.fixture(scope="module", autouse=True)
def own_tasks(request):
    """Hide the tasks of other modules and of astra's pipelines, whose options make command lines slow."""
    register = luigi.task_register.Register
    others = {item.module.__name__ for item in request.session.items} - {request.module.__name__}
    everything = register._reg
    register._reg = [
        cls
        for cls in everything
        if cls in (AstraTask, AstraOptions)
        or not (cls.__module__ in others or cls.__module__.startswith("astra.tasks."))
    ]
    yield
    register._reg = everything


@pytest.fixture(scope="session")
def empty_root(tmp_path_factory):
    from astra.database.engine import dispose_engines, get_engine

    root = tmp_path_factory.mktemp("empty_root")
    get_engine(f"sqlite:///{root / 'astra.db'}")
    dispose_engines()
    return root


@pytest.fixture(autouse=True)
def own_root(request, empty_root, tmp_path_factory, monkeypatch):
    """A root for this test alone: many tests run tasks of the same name and parameters."""
    from astra.database.engine import dispose_engines

    root = tmp_path_factory.mktemp("root")
    shutil.copytree(empty_root, root, dirs_exist_ok=True)
    monkeypatch.setenv("ASTRA_ROOT", str(root))
    if request.module.__name__ == "optional_parameter_test":  # it runs configurations as tasks
        monkeypatch.setattr(luigi, "Config", Config)
    yield
    dispose_engines()
