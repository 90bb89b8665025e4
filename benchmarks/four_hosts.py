"""One night on several hosts, PostgreSQL and the scheduler on the first of them, and the same on one host.

    python benchmarks/four_hosts.py [--hosts 4] [--detectors 2] [--count 1] [--seed 7] [--folder FOLDER]

The hosts are network namespaces of this machine with names and addresses of their own, joined by a bridge in
a namespace of its own, so that they see each other and nothing else; what they share is the disk. The first
runs PostgreSQL, ``astra scheduler`` with a token and the ``luigi`` command that plans the night, each of the
others ``astra workers``. All rows of the survey's tables, but for the times of processing, and the state of
every task must be those of one process with SQLite. Needs root, iproute2 and PostgreSQL; leaves nothing.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

import astra  # noqa: F401  # before numpy, so that it sets the number of threads
from astra.simulation.night import simulate_night
from tests import postgresql
from tests.tasks.night import apdb_rows, sqlite_rows

NETWORK = "198.18.0"  # set aside for measurements of networks, RFC 2544
PORT = 8082
PATIENCE_S = 1500
TASKS = "states of single tasks"
STATES = "SELECT task_id, family, state FROM task_state WHERE batch_size IS NULL ORDER BY task_id"
MODULE = "tests.tasks.single_night"
CONFIGURATION = "[ProcessCcd]\nquality_pictures = false\n[worker]\nwait_jitter = 0\n"


def why_not():
    """Why hosts cannot be made here; empty if they can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if postgresql.binaries() is None:
        return "PostgreSQL is not installed"
    return ""


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Hosts:
    """Network namespaces joined by a bridge; to be used in a ``with`` block."""

    def __init__(self, count):
        self.names = [f"astra{os.getpid()}-{number}" for number in range(count)]
        self._switch = f"astra{os.getpid()}-switch"
        self._made = []

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self):
        for name in (self._switch, *self.names):
            ip("netns", "add", name)
            self._made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", self._switch, "link", "set", "bridge", "up")
        for number, name in enumerate(self.names):
            port = f"port{number}"
            ip(
                "link",
                "add",
                port,
                "netns",
                self._switch,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                name,
            )
            ip("-n", self._switch, "link", "set", port, "master", "bridge", "up")
            ip("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")

    def __exit__(self, *_):
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    @staticmethod
    def address(number):
        return f"{NETWORK}.{number + 1}"

    def inside(self, number):
        """The beginning of a command line that runs a program on a host, under the name of that."""
        name = self.names[number]
        rename = 'hostname "$0"; exec "$@"'
        return ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", rename, f"host{number}"]


class Processes:
    """Processes on hosts, which are ended at the end of a ``with`` block."""

    def __init__(self, hosts, folder, environment):
        self.hosts, self.folder, self.environment = hosts, folder, environment
        self._running = {}

    def __enter__(self):
        return self

    def start(self, name, host, *words):
        command = [*self.hosts.inside(host), sys.executable, "-m", *map(str, words)]
        with (self.folder / f"{name}.log").open("w") as log:
            self._running[name] = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def await_line(self, name, text):
        """Wait until a process has said something."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.log(name):
            if self._running[name].poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} does not begin:\n{self.log(name)[-3000:]}")
            time.sleep(0.05)

    def end(self, name, number=None):
        """Wait for the end of a process, which may be asked for; return exit status and CPU time [s]."""
        process = self._running.pop(name)
        if number is not None:
            process.send_signal(number)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                return process.returncode, used.ru_utime + used.ru_stime
            if time.monotonic() > deadline:
                self._running[name] = process
                raise SystemExit(f"{name} does not end:\n{self.log(name)[-3000:]}")
            time.sleep(0.05)

    def __exit__(self, *_):
        for process in self._running.values():
            process.kill()
            process.wait()


def environment(root, **more):
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "NUMBA_CACHE_DIR") if name in os.environ}
    config = root / "luigi.cfg"
    config.write_text(CONFIGURATION)
    return {
        **kept,
        "PYTHONPATH": str(PROJECT),
        "PYTHONUNBUFFERED": "1",
        "ASTRA_ROOT": str(root),
        "LUIGI_CONFIG_PATH": str(config),
        **more,
    }


def night_words(night, detectors):
    return [
        *("luigi", "--module", MODULE, "SingleNight", "--raw", night.raw_paths[0].parent),
        *("--visits", list(night.science_visits), "--detectors", list(range(detectors))),
        *("--template-visits", "^".join(map(str, night.template_visits))),
        *("--reference-catalog", night.reference_catalog_path),
    ]


def on_one_host(night, detectors, root):
    """Process the night in one process with SQLite; return wall and CPU time [s] and the rows."""
    began, before = time.monotonic(), os.times()
    command = [sys.executable, "-m", *map(str, night_words(night, detectors)), "--local-scheduler"]
    done = subprocess.run(
        command, cwd=root, env=environment(root), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began, cpu_s, rows_of(root)


def rows_of(root):
    """The rows of a night whose SQLite database is in a root."""
    connection = sqlite3.connect(root / "astra.db")
    states = connection.execute(STATES).fetchall()
    connection.close()
    return {**sqlite_rows(root), TASKS: states}


def on_hosts(night, detectors, root, hosts, count):
    """Process the night on hosts; return wall time, CPU time by what ran [s], the rows and who did what."""
    token = root / "token"
    token.write_text(secrets.token_hex(16))
    token.chmod(0o600)
    cluster = postgresql.Cluster(hosts.address(0), hosts.inside(0), f"{NETWORK}.0/24")
    cluster.start()
    try:
        # Its socket in the file system can be reached from here, its address cannot.
        to_cluster = ["-h", cluster.folder, "-p", str(cluster.port)]
        subprocess.run(
            [postgresql.binaries() / "createdb", *to_cluster, "-U", "astra", "night"], check=True, cwd="/"
        )
        url = f"{cluster.url}/night"
        variables = environment(
            root,
            ASTRA_DATABASE_URL=url,
            ASTRA_SCHEDULER_TOKEN=token.read_text(),
            ASTRA_SCHEDULER_URL=f"http://{hosts.address(0)}:{PORT}/",
        )
        run([*hosts.inside(0), sys.executable, "-m", "astra.cli", "db", "upgrade"], variables)
        with Processes(hosts, root, variables) as processes:
            wall_s, cpu_s = run_night(night, detectors, processes, len(hosts.names), count)
        by_socket = f"postgresql+psycopg://astra@/night?host={cluster.folder}&port={cluster.port}"
        return wall_s, cpu_s, *read(by_socket)
    finally:
        cluster.stop()
        cluster.remove()


def run(command, variables):
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])


def run_night(night, detectors, processes, n_hosts, count):
    address = Hosts.address(0)
    processes.start("scheduler", 0, *("astra.cli", "scheduler", "--address", address, "--port", PORT))
    began, cpu_s = time.monotonic(), {}
    for number in range(1, n_hosts):
        words = ("astra.cli", "workers", "--count", count, "--modules", MODULE, "--name", f"host{number}")
        processes.start(f"host{number}", number, *words)
    for number in range(1, n_hosts):  # each is to have its part, though it may be slow to start
        processes.await_line(f"host{number}", " at a time for ")
    processes.start("planner", 0, *night_words(night, detectors), "--workers", 0)
    ends = [("planner", None)]
    ends += [(f"host{number}", signal.SIGTERM) for number in range(1, n_hosts)] + [
        ("scheduler", signal.SIGTERM)
    ]
    wall_s = 0.0
    for name, number in ends:
        status, cpu_s[name] = processes.end(name, number)
        wall_s = wall_s or time.monotonic() - began
        if status:
            raise SystemExit(f"{name} exits with {status}:\n{processes.log(name)[-3000:]}")
    return wall_s, cpu_s


def read(url):
    """The rows of the night, and how many attempts each host made."""
    from sqlalchemy import create_engine, text

    engine = create_engine(url)
    with engine.connect() as connection:

        def execute(query):
            return [dict(row) for row in connection.execute(text(query)).mappings()]

        states = [tuple(row.values()) for row in execute(STATES)]
        found = {**apdb_rows(execute), TASKS: states}
        counts = execute("SELECT host, count(*) AS n FROM task_attempt GROUP BY host ORDER BY host")
    engine.dispose()
    return found, {row["host"]: row["n"] for row in counts}


def differences(one, other):
    """Names of the tables that differ."""
    return [name for name in one if one[name] != other[name]]


def measure(n_hosts, detectors, count, seed, folder):
    """Process a simulated night both ways; return all that was found."""
    night = simulate_night(folder / "night", seed, detectors=tuple(range(detectors)))
    one, many = folder / "one", folder / "many"
    one.mkdir()
    many.mkdir()
    alone = on_one_host(night, detectors, one)
    with Hosts(n_hosts) as hosts:
        return alone, on_hosts(night, detectors, many, hosts, count)


def report(arguments):
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or stack.enter_context(tempfile.TemporaryDirectory())
        alone, shared = measure(
            arguments.hosts, arguments.detectors, arguments.count, arguments.seed, Path(folder)
        )
    wall_s, cpu_s, expected = alone
    print(f"{os.cpu_count()} cores, {arguments.hosts} hosts, {arguments.count} tasks at a time on each")
    print(f"one host, SQLite          wall {wall_s:7.1f} s   CPU {cpu_s:7.1f} s")
    wall_s, by_name, found, attempts = shared
    cpu_s = sum(by_name.values())
    print(f"{arguments.hosts} hosts, PostgreSQL       wall {wall_s:7.1f} s   CPU {cpu_s:7.1f} s")
    for name, cpu_s in by_name.items():
        print(f"  {name:<22} {attempts.get(name, 0):4d} tasks       CPU {cpu_s:7.1f} s")
    for name, rows in expected.items():
        print(f"  {name:<26} {len(rows):6d} rows  {'same' if rows == found[name] else 'DIFFERENT'}")
    return 1 if differences(expected, found) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--detectors", type=int, choices=(1, 2, 3, 4), default=2)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", help="empty folder for files and logs, which are kept then")
    given = parser.parse_args()
    if reason := why_not():
        raise SystemExit(reason)
    sys.exit(report(given))
