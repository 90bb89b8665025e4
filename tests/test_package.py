"""The package as a whole: light to import, complete when installed, found by name."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import luigi
import luigi.util
import pytest

import astra
from astra.tasks.base import AstraTask

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text()
HEAVY = ("scipy", "numba", "matplotlib", "astropy.wcs", "astropy.io", "sqlalchemy", "sep", "fastavro")


def astra_tasks():
    classes, waiting = [], [AstraTask]
    while waiting:
        classes.append(waiting.pop())
        waiting += classes[-1].__subclasses__()
    return [c for c in classes if c.__module__.startswith("astra.")]


@pytest.mark.parametrize("module", ["astra", "astra.tasks.recording"])
def test_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_to_ask_for_the_states_of_tasks_loads_no_regions_and_no_numpy():
    code = "import sys, astra.database.queries; print({'numpy', 'lsst.sphgeom'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_packages_are_all_listed():
    config = configparser.ConfigParser()
    config.read(PROJECT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {
        ".".join(path.parent.relative_to(PROJECT).parts) for path in (PROJECT / "astra").rglob("__init__.py")
    }
    assert listed == found | {"astra.migrations", "astra.migrations.versions"}


def test_luigis_parameters_and_decorators_have_their_names_here():
    parameters = {name for name in luigi.__all__ if name.endswith("Parameter")}
    assert parameters <= set(astra.__all__)
    assert all(getattr(astra, name) is getattr(luigi, name) for name in parameters)
    assert astra.build is luigi.build
    assert (astra.inherits, astra.requires) == (luigi.util.inherits, luigi.util.requires)
    assert issubclass(astra.IdParameter, astra.IntParameter)
    assert all(hasattr(astra, name) for name in astra.__all__)


def test_version_stands_in_one_place():
    config = configparser.ConfigParser()
    config.read(PROJECT / "setup.cfg")
    assert astra.__version__ in {config["metadata"]["version"], "0+unknown"}


@pytest.mark.parametrize("task", astra_tasks(), ids=lambda task: task.get_task_family())
def test_every_parameter_is_described(task):
    undescribed = [name for name, parameter in task.get_params() if not parameter.description]
    assert undescribed == []


@pytest.mark.parametrize("name", re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE))
def test_every_task_of_the_readme_exists(name):
    assert issubclass(luigi.task_register.Register.get_task_cls(name), AstraTask)


def test_modules_of_tests_have_names_of_their_own():
    names = [path.name for path in (PROJECT / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_modules_and_functions_stay_small():
    import ast

    long = []
    for path in (PROJECT / "astra").rglob("*.py"):
        text = path.read_text()
        if text.count("\n") > 400:
            long.append(f"{path.name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
                first = node.body[1].lineno if len(node.body) > 1 else node.end_lineno
                if node.end_lineno - first + 1 > 50:
                    long.append(f"{path.name}: {node.name}")
    assert long == []
