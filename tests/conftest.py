"""Fixtures that many tests share: real data, a root of their own, Luigi as a user runs it, servers."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import luigi
import pytest

import astra  # noqa: F401  # before numpy, so that it sets the number of threads
from tests import postgresql
from tests.postgresql import free_port
from tests.warm_interpreter import WarmInterpreter, can_run

PROJECT = Path(__file__).resolve().parents[1]
# Files of long tests, which begin first: at the end one process would wait for the other. The first makes the
# processed night, and compiles its kernels; those after it need neither, so that they run meanwhile. Those
# that mostly wait (for leases, for Slurm) are beside those that need more than one core.
LONG_FILES = (
    "test_killed_and_shared.py",
    "test_luigi_suite.py",
    "test_engine_faults.py",
    "test_precall.py",
    "test_database_outage.py",
    "test_faults.py",
    "test_four_workers.py",
    "test_killed_night.py",
    "test_walk.py",
    "test_slurm_night.py",
    "test_four_hosts.py",
    "test_demo.py",
    "test_slurm.py",
    "test_alert_production.py",
    "test_templates.py",
    "test_kafka_crash.py",
    "test_injected_tasks.py",
    "test_train_reliability.py",
    "test_real_field.py",
    "test_difference_injected.py",
    "test_documents.py",
    "test_association_crash.py",
    "test_spectral_tasks.py",
    "test_server_pages.py",
)
ON_CI = os.environ.get("CI", "").lower() == "true"


def pytest_configure(config):
    """Keep the order of the files: pytest-xdist would begin with those of most tests, not the longest.

    Keep bytecode too, also where the environment says not to, as many images of containers do: there are
    hundreds of processes in these tests, and each would compile what it imports anew.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    """Begin with the longest files."""
    rank = {name: number for number, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Escape what cannot be written as UTF-8: test processes send their reports as such."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session", autouse=True)
def no_pictures():
    """Draw no pictures of calibrations in this process: their own tests ask for them."""
    luigi.configuration.get_config().set("ProcessCcd", "quality_pictures", "false")


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real survey data, beside the project; read in place."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data are not beside the project (../shared/data)")
    return folder


@pytest.fixture(autouse=True)
def closed_engines():
    """Close the database connections that a test opened in this process."""
    yield
    engines = sys.modules.get("astra.database.engine")
    if engines is not None:
        engines.dispose_engines()


@pytest.fixture
def astra_root(tmp_path, monkeypatch):
    """A root of products and a database of one's own, for this process and those that it starts."""
    monkeypatch.setenv("ASTRA_ROOT", str(tmp_path))
    monkeypatch.delenv("ASTRA_DATABASE_URL", raising=False)
    return tmp_path


@pytest.fixture
def astra_option():
    """Set options of ``[astra]`` for one test, in this process."""
    stored = luigi.configuration.get_config()
    names = []

    def set_option(name, value):
        stored.set("astra", name, value)
        names.append(name)

    yield set_option
    for name in names:
        stored.remove_option("astra", name)


@pytest.fixture(scope="session")
def warm_interpreter():
    """An interpreter that has loaded the libraries, from which the processes of `run_luigi` fork."""
    interpreter = WarmInterpreter({**os.environ, "PYTHONPATH": str(PROJECT)})
    yield interpreter
    interpreter.close()


@pytest.fixture
def run_luigi(tmp_path, warm_interpreter):
    """Run ``luigi --module ...`` in a process of its own; returns the completed process."""

    def run(*arguments, module="astra", env=None, local=True, timeout=300):
        command = ["--module", module, *map(str, arguments), *(["--local-scheduler"] if local else [])]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), **(env or {})}
        if can_run(env or {}):
            return warm_interpreter.run(command, cwd=tmp_path, env=environment, timeout=timeout)
        return subprocess.run(
            [sys.executable, "-m", "luigi", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def postgresql_cluster():
    """A private PostgreSQL cluster that all tests share."""
    if postgresql.binaries() is None:
        if ON_CI:
            pytest.fail("PostgreSQL is not installed, and CI must not skip it: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed")
    cluster = postgresql.Cluster()
    # It starts a process in each database in turn, once a minute in all of them: there are hundreds here.
    cluster.start("autovacuum=off")
    yield cluster
    cluster.stop()
    cluster.remove()


@pytest.fixture(scope="session")
def postgresql_server(postgresql_cluster):
    """URL of the private PostgreSQL server."""
    return postgresql_cluster.url


@pytest.fixture
def postgresql_url(postgresql_cluster):
    """A new, migrated database on the private PostgreSQL server."""
    return postgresql_cluster.create_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def any_database_url(request, tmp_path):
    """The URL of a migrated database: SQLite, then PostgreSQL."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql_url")
    from astra.database.engine import get_engine

    url = f"sqlite:///{tmp_path / 'any.db'}"
    get_engine(url)
    return url


@pytest.fixture
def luigid(tmp_path):
    """Luigi's central scheduler on the loopback interface; the value is its port."""
    port = free_port()
    code = "import sys; from luigi.cmdline import luigid; luigid(sys.argv[1:])"
    command = [sys.executable, "-c", code, "--address", "127.0.0.1", "--port", str(port)]
    command += ["--state-path", str(tmp_path / "luigid.pickle")]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield port
    process.terminate()
    process.wait(timeout=30)


@pytest.fixture(scope="session")
def rsync_daemon(tmp_path_factory):
    """A daemon of rsync with an archive of its own that all tests share."""
    from tests.products.rsync_daemon import Daemon

    if shutil.which("rsync") is None:
        if ON_CI:
            pytest.fail("rsync is not installed, and CI must not skip it: apt-get install rsync")
        pytest.skip("rsync is not installed")
    with Daemon(tmp_path_factory.mktemp("rsync")) as daemon:
        yield daemon
