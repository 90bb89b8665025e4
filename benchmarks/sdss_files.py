"""Names and downloads of SDSS files: microseconds for a path, and 3,000 files of 20 kB from this machine.

The server of HTTP is that of the tests, in Python and in a process of its own; it bounds the rate, so that
CPU seconds of this process are what to look at. Run from the root: ``python benchmarks/sdss_files.py``
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import luigi

from astra.products.download import DownloadConfig, Downloader, RemoteFile
from astra.products.rsync import RsyncConfig, rsync_files
from astra.products.sdss_paths import SdssPath
from astra.tasks.io.sdss5 import ApVisitFile
from tests.products.rsync_daemon import Daemon

N_FILES, N_BYTES = 3000, 20_000
KEYS = {"telescope": "apo25m", "field": "13030", "mjd": 59146, "apred": "1.3"}
SERVER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.products.http_server import Server
with Server() as server:
    class Rules(dict):
        def get(self, key, default=None):
            return {{"content": b"x" * {N_BYTES}, "etag": '"one"'}}
    server.rules = Rules()
    print(server.url, flush=True)
    sys.stdin.read()
"""


def microseconds(call, n_calls=3000):
    call()
    began = time.process_time()
    for _ in range(n_calls):
        call()
    return (time.process_time() - began) / n_calls * 1e6


def time_paths():
    paths, keys = SdssPath("dr19", "/sas"), {**KEYS, "plate": 15000, "fiber": 7}
    location = paths.location("apVisit", **keys)
    for name, call in (
        ("location", lambda: paths.location("apVisit", **keys)),
        ("url", lambda: paths.url("apVisit", **keys)),
        ("full, no such file", lambda: paths.full("apVisit", **keys)),
        ("extract", lambda: paths.extract("apVisit", location)),
        ("SdssPath", lambda: SdssPath("dr19", "/sas")),
    ):
        print(f"{name:20} {microseconds(call):8.1f} us CPU")


def measure(name, fetch):
    cpu, wall = time.process_time(), time.perf_counter()
    fetch()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{name:20} {1e3 * cpu / N_FILES:8.2f} ms CPU a file, {wall:6.1f} s in all")


def time_http(url, folder):
    files = [RemoteFile(f"{url}/{n}", folder / f"{n % 30}/{n}.fits") for n in range(N_FILES)]
    with Downloader(DownloadConfig()) as downloader:
        measure("http", lambda: list(downloader.fetch_all(files)))


def time_task(url, folder):
    os.environ |= {"ASTRA_ROOT": str(folder), "SAS_BASE_DIR": str(folder / "sas")}
    luigi.configuration.get_config().set("astra", "sas_server", url)
    plates = tuple(15000 + n // 300 for n in range(N_FILES))
    fibers = tuple(1 + n % 300 for n in range(N_FILES))
    task = ApVisitFile(release="dr19", plate=plates, fiber=fibers, use_remote=True, **KEYS)
    measure("ApVisitFile, http", lambda: luigi.build([task], local_scheduler=True, no_lock=True))


def time_rsync(folder):
    with Daemon(folder / "server") as daemon:
        names = [daemon.put(f"dr17/{n % 30}/{n}.fits", b"x" * N_BYTES) for n in range(N_FILES)]
        measure("rsync", lambda: rsync_files(names, folder / "sas", RsyncConfig(daemon.url)))


def main():
    os.environ |= {"no_proxy": "127.0.0.1", "NETRC": os.devnull}
    time_paths()
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        url = process.stdout.readline().strip()
        time_http(url, Path(folder, "http"))
        time_task(url, Path(folder, "task"))
        time_rsync(Path(folder, "rsync"))
        process.communicate()


if __name__ == "__main__":
    main()
