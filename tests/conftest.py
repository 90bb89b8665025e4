"""Fixtures that many tests share: real data, a root of their own, Luigi as a user runs it, servers."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import astra  # noqa: F401  # before numpy, so that it sets the number of threads

PROJECT = Path(__file__).resolve().parents[1]
ON_CI = os.environ.get("CI", "").lower() == "true"


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
def run_luigi(tmp_path):
    """Run ``luigi --module ...`` in a process of its own; returns the completed process."""

    def run(*arguments, module="astra", env=None, local=True, timeout=300):
        scheduler = ["--local-scheduler"] if local else []
        command = [sys.executable, "-m", "luigi", "--module", module, *map(str, arguments), *scheduler]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(PROJECT), **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


def free_port():
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _postgresql_binaries():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory):
    """A private PostgreSQL cluster on the loopback interface, run by an unprivileged user."""
    binaries = _postgresql_binaries()
    if binaries is None:
        if ON_CI:
            pytest.fail("PostgreSQL is not installed, and CI must not skip it: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed")
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    as_user = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    data, port = folder / "data", free_port()
    initdb = [*as_user, binaries / "initdb", "-D", data, "-A", "trust", "-U", "astra", "--no-sync"]
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder)
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    start = [*as_user, binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"]
    subprocess.run(start, check=True, capture_output=True, cwd=folder)
    yield f"postgresql+psycopg://astra@127.0.0.1:{port}"
    stop = [*as_user, binaries / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"]
    subprocess.run(stop, check=True, capture_output=True, cwd=folder)
    shutil.rmtree(folder)


@pytest.fixture
def postgresql_url(postgresql_server, request):
    """A new, migrated database on the private PostgreSQL server."""
    from sqlalchemy import create_engine, text

    from astra.database.engine import open_engine
    from astra.database.revision import upgrade

    name = f"astra_{os.getpid()}_{time.monotonic_ns()}"
    admin = create_engine(f"{postgresql_server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    admin.dispose()
    url = f"{postgresql_server}/{name}"
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()
    return url


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
