"""Luigi's own tests, with `AstraTask` in the place of `luigi.Task`, and with astra's scheduler and worker.

They come with the source archive of the installed Luigi, which is downloaded from PyPI and kept in the user's
cache; ``left_out.toml`` lists what is not run, with the reasons.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import ON_CI, PROJECT

HERE = Path(__file__).parent
VERSION = metadata.version("luigi")
LISTS = tomllib.loads((HERE / "left_out.toml").read_text())
TIMEOUT_S = 400
RUNNING = ("execution", "scheduler", "worker")  # take as long as all others together


def cached_archive():
    """Where the source archive is kept; whatever of it is there is whole."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "astra"
    cache.mkdir(parents=True, exist_ok=True)
    return cache / f"luigi-{VERSION}.tar.gz"


def download(folder):
    """Download the source archive into a folder; return what pip said if it could not."""
    command = [sys.executable, "-m", "pip", "download", f"luigi=={VERSION}", "--dest", folder]
    command += ["--no-deps", "--no-binary", "luigi", "--disable-pip-version-check", "--retries", "2"]
    pip = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    return pip.stderr.strip().rpartition("\n")[2] if pip.returncode else ""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The source archive of the installed Luigi."""
    kept = cached_archive()
    if not kept.exists():
        folder = tmp_path_factory.mktemp("download")
        if problem := download(folder):
            message = f"the source archive of Luigi {VERSION} could not be downloaded: {problem}"
            (pytest.fail if ON_CI else pytest.skip)(message)
        unfinished = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.copy(next(folder.glob("luigi-*.tar.gz")), unfinished)
        unfinished.replace(kept)
    return kept


@pytest.fixture(scope="module")
def luigi_tests(archive, tmp_path_factory):
    """The folder ``test`` of the archive; beside it there is no other Luigi than the installed one."""
    folder = tmp_path_factory.mktemp("luigi")
    with tarfile.open(archive) as tar:
        top = f"luigi-{VERSION}"
        tests = [member for member in tar.getmembers() if member.name.startswith(f"{top}/test/")]
        tar.extractall(folder, tests, filter="data")
    return folder / top / "test"


def test_every_module_is_run_or_left_out(luigi_tests):
    names = {
        path.relative_to(luigi_tests).as_posix()
        for path in luigi_tests.rglob("*.py")
        if re.fullmatch(r"test_.*|.*_test", path.stem)
    }
    taken = set(LISTS["taken"])
    left_out = {name for group in LISTS["modules"] for name in group["names"]}
    assert {name for name in names if name not in taken and not name.startswith(tuple(left_out))} == set()
    assert taken - names == set()
    assert {name for name in left_out if not (luigi_tests / name).exists()} == set()
    assert {name.partition("::")[0] for group in LISTS["tests"] for name in group["names"]} <= taken
    assert set(LISTS["scheduler"]) <= names


@pytest.fixture
def short_folder():
    """A folder with a short path: sockets lie below it, and theirs may have 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="luigi", dir="/tmp") as folder:
        yield Path(folder)


def start(modules, luigi_tests, folder, plugin="plugin"):
    """Start a run of some modules with a plugin, which keeps all that it writes in a folder."""
    # Mails of failed tasks hold the command line, whose length they check.
    (folder / "modules").write_text("\n".join(f"test/{name}" for name in modules))
    command = [sys.executable, "-m", "pytest", "-p", f"tests.luigi_suite.{plugin}", f"@{folder / 'modules'}"]
    command += ["-q", "--tb=short", "-W", "ignore", "-p", "no:cacheprovider", "--basetemp", folder / "roots"]
    command += ["-o", "faulthandler_timeout=100"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    with (folder / "output").open("w") as output:
        return subprocess.Popen(
            command,
            cwd=luigi_tests.parent,
            env={
                **inherited,
                "ASTRA_DATABASE_URL": "",
                "ASTRA_ROOT": str(folder),
                "COLUMNS": "80",  # else each of the options of a command line asks the terminal
                "LINES": "24",
                "LUIGI_CONFIG_PATH": str(HERE / "luigi.cfg"),
                "PYTHONPATH": str(PROJECT),
                "TMPDIR": str(folder),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def test_luigis_own_tests_pass(luigi_tests, short_folder):
    groups = {"running": [], "others": [], "scheduler": LISTS["scheduler"]}
    for name in LISTS["taken"]:
        groups["running" if name.startswith(RUNNING) else "others"].append(name)
    runs = []
    try:
        for group, modules in groups.items():
            (short_folder / group).mkdir()
            plugin = "scheduler_plugin" if group == "scheduler" else "plugin"
            runs.append(start(modules, luigi_tests, short_folder / group, plugin))
        statuses = [run.wait(TIMEOUT_S) for run in runs]
    finally:
        for run in runs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
    texts = [(short_folder / group / "output").read_text() for group in groups]
    counts = ", ".join(text.strip().rpartition("\n")[2] for text in texts)
    tails = "\n".join(text[-10000:] for text, status in zip(texts, statuses, strict=True) if status)
    assert statuses == [0, 0, 0], f"Luigi {VERSION}: {counts}\n{tails}"
