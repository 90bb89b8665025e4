"""A private PostgreSQL cluster, by default on the loopback interface, run by an unprivileged user."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path


def free_port():
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def binaries():
    """Folder of the programs of PostgreSQL; None if it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


class Cluster:
    """A cluster of its own that can be started and stopped.

    ``inside`` is the beginning of a command line that runs a program where the cluster is to be, ``network``
    those addresses, besides the loopback interface, that may come in there.
    """

    def __init__(self, address="127.0.0.1", inside=(), network=""):
        self.folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
        self.port = free_port()
        self._template = None
        self.address = address
        self._as_user = [*inside]
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            self._as_user += ["runuser", "-u", "postgres", "--"]
        self._run("initdb", "-D", self.folder / "data", "-A", "trust", "-U", "astra", "--no-sync")
        if network:
            with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {network} trust\n")

    @property
    def url(self):
        """URL of the cluster, to which a database must be added."""
        return f"postgresql+psycopg://astra@{self.address}:{self.port}"

    def start(self, *settings):
        """Start it, with settings such as ``autovacuum=off``, and wait until it answers."""
        options = (
            f"-c listen_addresses={self.address} -c port={self.port} "
            f"-c unix_socket_directories={self.folder} -c fsync=off -c max_connections=50"
        )
        options += "".join(f" -c {setting}" for setting in settings)
        data, log = self.folder / "data", self.folder / "log"
        self._run("pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start")

    def stop(self):
        """Stop it at once: connections break."""
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-m", "immediate", "stop")

    def remove(self):
        """Remove its files."""
        shutil.rmtree(self.folder)

    def create_database(self):
        """Create a migrated database, a copy of the first one; return its URL."""
        if self._template is None:
            self._template = self._create("astra_template", "template0")
            self._migrate(self._template)
        name = f"astra_{os.getpid()}_{time.monotonic_ns()}"
        return f"{self.url}/{self._create(name, self._template)}"

    def _create(self, name, template):
        from sqlalchemy import create_engine, text

        admin = create_engine(f"{self.url}/postgres", isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
        admin.dispose()
        return name

    def _migrate(self, name):
        from astra.database.engine import open_engine
        from astra.database.revision import upgrade

        engine = open_engine(f"{self.url}/{name}")
        upgrade(engine)
        engine.dispose()

    def _run(self, program, *arguments):
        command = [*self._as_user, binaries() / program, *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder)
