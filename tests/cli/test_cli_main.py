"""The command `astra` as a whole: where it looks, and how it ends."""

import subprocess
import sys

import pytest

from astra.cli import main
from tests.tasks.night import build
from tests.tasks.toy_tasks import Toy

HEAVY = ("numpy", "scipy", "numba", "matplotlib", "astropy", "sqlalchemy", "alembic", "sep", "fastavro")
KERNELS = ("numba", "scipy.optimize", "scipy.interpolate", "sep", "sqlalchemy")


def test_looking_makes_no_database(astra_root, capsys):
    assert main(["status"]) == 1
    assert "there is no database" in capsys.readouterr().err
    assert not (astra_root / "astra.db").exists()


def test_another_root_can_be_looked_at(astra_root, tmp_path_factory, monkeypatch, capsys):
    build(Toy(number=1))
    monkeypatch.setenv("ASTRA_ROOT", str(tmp_path_factory.mktemp("elsewhere")))
    monkeypatch.setenv("ASTRA_DATABASE_URL", "")
    assert main(["--root", str(astra_root), "status"]) == 0
    assert "Toy" in capsys.readouterr().out


def test_wrong_usage_exits_with_two():
    with pytest.raises(SystemExit) as caught:
        main(["stat"])
    assert caught.value.code == 2


def test_the_command_loads_nothing_heavy():
    code = f"import sys, astra.cli as c; c.build_parser(); print([n for n in {HEAVY} if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_cameras_load_no_kernels():
    code = f"""
import sys
from astra.instruments.registry import get_instrument
for name in ("sdss", "decam", "kast", "simcam"):
    get_instrument(name)
print([name for name in {KERNELS} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_command_runs_as_a_module():
    command = [sys.executable, "-m", "astra.cli", "--version"]
    assert subprocess.check_output(command, text=True).startswith("astra ")
