"""How long the pages take over a million tasks and a hundred thousand alerts.

    python benchmarks/web_pages.py [--url URL] [--tasks 1000000] [--alerts 100000] [--seconds 10]

A table of every page: median and 95th percentile of its time, and the processor's time of the server [ms];
the same while something writes tasks as a night does. Then 50 readers at once, and the server's memory
before, in and after. A database that is kept (--folder) is not made again.
"""

from __future__ import annotations

import argparse
import datetime as dt
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from astra.database import outcomes, state
from astra.database.bulk import execute_rows
from astra.database.constants import constants_table
from astra.database.engine import get_engine, open_engine, transaction
from astra.database.models.apdb import apdb_marker, dia_forced_source, dia_object, dia_source
from astra.database.revision import upgrade
from astra.database.survey import definition_table, exposure_table, raw_table, system_table, visit_table
from astra.sky.grouping import ONE_TO_ONE
from astra.sky.regions import htm_pixels
from tests.alerts.simple import write
from tests.alerts.stamped import stamped
from tests.cli.rows import record, start_run

INSTRUMENT, FIRST_NIGHT = "simcam", dt.date(2026, 8, 1)
N_NIGHTS, N_DETECTORS = 100, 62
FAMILIES = ("ProcessCcd", "GetTemplate", "DiffIm", "Associate", "PackageAlerts")
N_PACKETS = 100
ROWS = 20_000  # of a statement
NOW = dt.datetime(2026, 11, 20, 3, 0, tzinfo=dt.UTC)


def night(number):
    date = FIRST_NIGHT + dt.timedelta(days=number)
    return date.year * 10000 + date.month * 100 + date.day


def visits_of(number, n_visits):
    return [night(number) * 100_000 + seq for seq in range(1, n_visits + 1)]


def fill(url, root, n_tasks, n_alerts):
    """Write the database in bulk; return what the pages are asked about."""
    per_visit = N_DETECTORS * len(FAMILIES)
    n_visits = max(1, n_tasks // (N_NIGHTS * per_visit))
    engine = get_engine(url)
    with engine.begin() as connection:
        run = start_run(connection, "luigi --module astra ApNight")
        common = connection.execute(
            sa.insert(constants_table).returning(constants_table.c.pk),
            {"digest": "d", "parameters": {"config": "x"}},
        ).scalar_one()
        fill_survey(connection, n_visits)
        fill_tasks(connection, run, common, n_tasks, n_visits)
        asked = fill_apdb(connection, n_alerts, n_visits)
        asked |= batch_of_many(connection, run, n_tasks)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    asked |= fill_packets(root, asked.pop("packets"))
    return asked


def fill_survey(connection, n_visits):
    connection.execute(
        sa.insert(system_table),
        [{"instrument": INSTRUMENT, "visit_system": ONE_TO_ONE, "name": "one-to-one"}],
    )
    for number in range(N_NIGHTS):
        visits = visits_of(number, n_visits)
        common = {
            "instrument": INSTRUMENT,
            "day_obs": night(number),
            "seq_num": 1,
            "band": "r",
            "physical_filter": "r",
            "begin_mjd_tai": 61000.0 + number,
            "end_mjd_tai": 61000.0003 + number,
            "exposure_time_s": 30.0,
            "target_name": "field",
            "science_program": "s",
            "observation_reason": "science",
        }
        own = {
            "obs_id": "o",
            "seq_start": 1,
            "seq_end": 1,
            "observation_type": "science",
            "group_name": "g",
            "can_see_sky": True,
        }
        connection.execute(
            sa.insert(exposure_table), [common | own | {"exposure": visit} for visit in visits]
        )
        rows = [
            {
                "instrument": INSTRUMENT,
                "exposure": visit,
                "detector": detector,
                "path": "p",
                "size": 1,
                "modified_ns": 1,
                "checksum": "c",
            }
            for visit in visits
            for detector in range(N_DETECTORS)
        ]
        execute_rows(connection, sa.insert(raw_table), rows)
        key = {"instrument": INSTRUMENT, "visit_system": ONE_TO_ONE}
        more = {"name": "v", "region": b"", "region_source": "none"}
        connection.execute(
            sa.insert(visit_table), [common | key | more | {"visit": visit} for visit in visits]
        )
        connection.execute(
            sa.insert(definition_table), [key | {"visit": visit, "exposure": visit} for visit in visits]
        )


def fill_tasks(connection, run, common, n_tasks, n_visits):
    """Write tasks of all detectors of all visits by night; one in a thousand has failed."""
    rows, attempts = [], []
    for number in range(n_tasks):
        per_visit = N_DETECTORS * len(FAMILIES)
        visit_number, rest = divmod(number, per_visit)
        detector, step = divmod(rest, len(FAMILIES))
        which, seq = divmod(visit_number, n_visits)
        visit = night(min(which, N_NIGHTS - 1)) * 100_000 + seq + 1
        failed = number % 1000 == 7
        begin = NOW + dt.timedelta(seconds=number // 100)
        rows.append(
            {
                "pk": number + 1,
                "task_id": f"{FAMILIES[step]}_{number:016x}",
                "family": FAMILIES[step],
                "module": "astra",
                "parameters": {"instrument": INSTRUMENT, "visit": str(visit), "detector": str(detector)},
                "constants_pk": common,
                "status_code": 30 if failed else 1,
                "batch_size": None,
                "created": begin,
                "started": begin,
                "modified": begin,
                "completed": None if failed else begin,
                "duration": 1.5 + number % 7,
                "overhead": 0.01,
                "run_pk": run,
                "version": "0",
            }
        )
        attempts.append(
            {
                "task_pk": number + 1,
                "run_pk": run,
                "status_code": 30 if failed else 1,
                "host": "node",
                "pid": 1,
                "started": begin,
                "ended": begin,
                "duration": 1.5,
                "exit_signal": None,
                "error_class": "TooFewSourcesError" if failed else None,
                "message": f"{number % 10} sources are usable, 10 are required" if failed else None,
                "context": None,
                "traceback": "Traceback ..." if failed else None,
                "log": None,
            }
        )
        if len(rows) == ROWS:
            execute_rows(connection, sa.insert(state.task_table), rows)
            execute_rows(connection, sa.insert(state.attempt_table), attempts)
            rows, attempts = [], []
    if rows:
        execute_rows(connection, sa.insert(state.task_table), rows)
        execute_rows(connection, sa.insert(state.attempt_table), attempts)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "SELECT setval(pg_get_serial_sequence('task', 'pk'), (SELECT max(pk) FROM task))"
        )


def batch_of_many(connection, run, n_tasks):
    """Make a batch of a tenth of the tasks, which needs half as many."""
    n_members = n_tasks // 10
    batch = record("DiffIm", {"visit": "[...]"}, n_members)
    state.create_tasks(connection, [batch], run, NOW)
    key = state.task_keys(connection, [batch.task_id])[batch.task_id]
    rows = [{"parent_task_pk": key, "position": n, "child_task_pk": n + 1} for n in range(n_members)]
    execute_rows(connection, sa.insert(state.batch_table), rows)
    needed = [{"task_pk": key, "required_task_pk": n + 1} for n in range(n_members // 2)]
    execute_rows(connection, sa.insert(state.dependency_table), needed)
    return {"batch": batch.task_id, "failed": f"DiffIm_{1007:016x}"}


def fill_apdb(connection, n_alerts, n_visits):
    """Write detections of objects that are seen ten times, their forced fluxes, and the markers."""
    rng = np.random.default_rng(1)
    n_objects = max(1, n_alerts // 10)
    ra, dec = rng.uniform(149, 151, n_objects), rng.uniform(1, 3, n_objects)
    pixels = htm_pixels(ra, dec).tolist()
    required = {
        c.name: (0 if not isinstance(c.type, sa.Double | sa.REAL) else 0.0)
        for c in dia_source.c
        if not c.nullable
    }
    per_visit = max(1, n_alerts // (N_NIGHTS * n_visits))
    rows, forced, packets = [], [], {}
    for number in range(n_alerts):
        visit_number = min(number // per_visit, N_NIGHTS * n_visits - 1)
        which, seq = divmod(visit_number, n_visits)
        visit, detector = night(which) * 100_000 + seq + 1, number % N_DETECTORS
        one = number % n_objects
        common = {
            "visit": visit,
            "detector": detector,
            "diaObjectId": one + 1,
            "midpointMjdTai": 61000.0 + which + seq * 1e-3,
            "ra": float(ra[one]),
            "dec": float(dec[one]),
            "psfFlux": float(rng.normal(2000, 300)),
            "psfFluxErr": 100.0,
            "band": "r",
            "timeProcessedMjdTai": 61000.5 + which,
        }
        source = visit * 1_000_000 + number
        rows.append(
            required
            | common
            | {
                "diaSourceId": source,
                "pixelId": pixels[one],
                "snr": float(rng.exponential(10) + 5),
                "reliability": float(rng.uniform()),
                "isDipole": False,
                "isNegative": False,
            }
        )
        forced.append(common | {"diaForcedSourceId": source})
        if number >= n_alerts - N_PACKETS:
            packets.setdefault((visit, detector), []).append(source)
    for start in range(0, n_alerts, ROWS):
        connection.execute(sa.insert(dia_source), rows[start : start + ROWS])
        connection.execute(sa.insert(dia_forced_source), forced[start : start + ROWS])
    own = {
        c.name: (0 if not isinstance(c.type, sa.Double | sa.REAL) else 0.0)
        for c in dia_object.c
        if not c.nullable
    }
    connection.execute(
        sa.insert(dia_object),
        [
            own
            | {
                "diaObjectId": n + 1,
                "validityStartMjdTai": 61000.0,
                "ra": float(ra[n]),
                "dec": float(dec[n]),
                "nDiaSources": 10,
                "pixelId": pixels[n],
                "r_psfFluxNdata": 10,
                "firstDiaSourceMjdTai": 61000.0,
                "lastDiaSourceMjdTai": 61099.0,
            }
            for n in range(n_objects)
        ],
    )
    markers = [
        {
            "instrument": INSTRUMENT,
            "visit": visit,
            "detector": detector,
            "task_id": "t",
            "band": "r",
            "midpointMjdTai": 61000.0 + which,
            "timeProcessedMjdTai": 61000.5 + which,
            "n_dia_sources": 1,
            "n_new_objects": 0,
            "n_updated_objects": 1,
            "n_forced_sources": 1,
        }
        for which in range(N_NIGHTS)
        for visit in visits_of(which, n_visits)
        for detector in range(N_DETECTORS)
    ]
    for start in range(0, len(markers), ROWS):
        execute_rows(connection, sa.insert(apdb_marker), markers[start : start + ROWS])
    last = rows[-1]
    return {
        "packets": packets,
        "object": last["diaObjectId"],
        "visit": last["visit"],
        "detector": last["detector"],
        "night": last["visit"] // 100_000,
        "source": last["diaSourceId"],
        "ra": last["ra"],
        "dec": last["dec"],
    }


def fill_packets(root, packets):
    for (visit, detector), sources in packets.items():
        write(root, [stamped(source, visit=visit, detector=detector) for source in sources], visit, detector)
    return {}


def addresses(asked):
    place = f"/visit/{INSTRUMENT}/{asked['visit']}"
    return {
        "nights": "/",
        "night": f"/night/{INSTRUMENT}/{asked['night']}",
        "visit": place,
        "detector": f"{place}/detector/{asked['detector']}",
        "efficiency": f"/efficiency/{INSTRUMENT}/{asked['night']}",
        "tasks": "/tasks",
        "tasks, failed": "/tasks?state=failed",
        "tasks, running": "/tasks?state=running",
        "tasks, blocked": "/tasks?state=blocked",
        "tasks of a family": "/tasks?family=DiffIm",
        "tasks of a night": f"/tasks?night={asked['night']}",
        "tasks of an old night": f"/tasks?night={night(3)}",
        "tasks of a detector": f"/tasks?visit={asked['visit']}&detector={asked['detector']}",
        "tasks by error": "/tasks?state=failed&text=9+sources",
        "tasks, text that nothing has": "/tasks?text=nothing+such",
        "tasks, long": "/tasks?min_duration=100",
        "tasks, middle page": "/tasks?before=500000",
        "task that failed": f"/task/{asked['failed']}",
        "batch of 100,000": f"/task/{asked['batch']}",
        "alerts": "/alerts",
        "alerts by snr": "/alerts?order=snr",
        "alerts of a night": f"/alerts?night={asked['night']}&order=reliability",
        "alerts near": f"/alerts?near={asked['ra']},{asked['dec']},60",
        "alerts, rare": "/alerts?snr=1000",
        "object": f"/object/{asked['object']}",
        "stamps": f"/alert/{asked['source']}/stamps.png",
        "spectra": "/spectra",
        "about": "/about",
        "tasks as CSV, 1,000": "/tasks?n=1000&format=csv",
    }


class Pages:
    """The server in a process of its own."""

    def __init__(self, url, root):
        environment = {**os.environ, "ASTRA_ROOT": str(root), "ASTRA_DATABASE_URL": url}
        command = [sys.executable, "-m", "astra.cli", "web", "--port", "0"]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "pages on" in line:
                self.port = int(line.strip().rstrip("/").rpartition(":")[2])
                break
        else:
            raise SystemExit("the server did not start")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self._psutil = psutil.Process(self.process.pid)

    def get(self, path):
        """Return status and time [s] of a page."""
        begin = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, time.perf_counter() - begin

    def memory_mb(self):
        return self._psutil.memory_info().rss / 1e6

    def cpu_s(self):
        return sum(self._psutil.cpu_times()[:2])

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def time_pages(pages, wanted, n_times):
    """Times of each page [s], and what the server's processor spent on it [s]."""
    found = {}
    for name, path in wanted.items():
        pages.get(path)
        begin, times = pages.cpu_s(), []
        for _ in range(n_times):
            status, seconds = pages.get(path)
            assert status == 200, (name, path, status)
            times.append(seconds)
        found[name] = (times, (pages.cpu_s() - begin) / n_times)
    return found


class Night(threading.Thread):
    """Writes tasks as a night does: a hundred begin and end, again and again."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.ended, self.n_tasks = url, threading.Event(), 0

    def run(self):
        place = {"host": "here", "pid": 1}
        with transaction(self.url) as connection:
            run = start_run(connection)
        while not self.ended.is_set():
            records = [
                record("ProcessCcd", {"visit": str(self.n_tasks + n), "detector": "1"}) for n in range(100)
            ]
            with transaction(self.url) as connection:
                state.create_tasks(connection, records, run, NOW)
                keys = state.task_keys(connection, [one.task_id for one in records])
                state.start_tasks(connection, list(keys.values()), run, now=NOW, **place)
            ends = [outcomes.Outcome(one.task_id, 1, NOW, NOW) for one in records]
            with transaction(self.url) as connection:
                outcomes.end_tasks(connection, ends, keys, run, **place)
            self.n_tasks += len(records)
            self.ended.wait(0.2)


def read_in_parallel(pages, wanted, seconds, n_readers=50):
    """Let readers ask for pages for some time; return times [s] and memory [MB] at each second."""
    times, memory, failed = [], [], []
    end = time.monotonic() + seconds
    paths = list(wanted.values())

    def read(number):
        rng = np.random.default_rng(number)
        while time.monotonic() < end:
            status, taken = pages.get(paths[rng.integers(len(paths))])
            times.append(taken)
            if status not in (200, 503):
                failed.append(status)

    readers = [threading.Thread(target=read, args=(n,), daemon=True) for n in range(n_readers)]
    for one in readers:
        one.start()
    while time.monotonic() < end:
        time.sleep(1.0)
        memory.append(pages.memory_mb())
    for one in readers:
        one.join(120)
    return times, memory, failed


def print_readers(pages, wanted, seconds, before_mb):
    """Read with 50 at once, and print how that went."""
    times, memory, failed = read_in_parallel(pages, wanted, seconds)
    median, high = (1000 * np.percentile(times, [50, 95])).tolist()
    print(f"\n50 readers: {len(times) / seconds:.0f} pages/s, median {median:.0f} ms, p95 {high:.0f} ms")
    print(f"{len(failed)} failed {sorted(set(failed))}")
    during = " ".join(f"{one:.0f}" for one in memory[::2])
    print(f"memory [MB]: {before_mb:.0f} before, {during} in, {pages.memory_mb():.0f} after")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="database [default: a SQLite file]")
    parser.add_argument("--folder", help="where to keep it [default: a temporary folder]")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--alerts", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    root = Path(options.folder or tempfile.mkdtemp(prefix="web_pages-"))
    root.mkdir(parents=True, exist_ok=True)
    url = options.url or f"sqlite:///{root / 'astra.db'}"
    notes = root / "asked.json"
    if not notes.exists():
        begin = time.perf_counter()
        if options.url:
            engine = open_engine(url)
            upgrade(engine)
            engine.dispose()
        notes.write_text(json.dumps(fill(url, root, options.tasks, options.alerts)))
        print(
            f"filled in {time.perf_counter() - begin:.0f} s: {options.tasks} tasks, {options.alerts} alerts",
            flush=True,
        )
    wanted = addresses(json.loads(notes.read_text()))
    pages = Pages(url, root)
    try:
        alone = time_pages(pages, wanted, options.times)
        before = pages.memory_mb()
        writer = Night(url)
        writer.start()
        beside = time_pages(pages, wanted, options.times)
        writer.ended.set()
        writer.join()
        head = ("median", "p95", "cpu", "median", "p95", "cpu")
        print(
            f"\n{'[ms]':<30}" + "".join(f"{one:>8}" for one in head) + "   the last three while a night runs"
        )
        for name in wanted:
            cells = []
            for times, cpu in (alone[name], beside[name]):
                cells += [*np.percentile(times, [50, 95]).tolist(), cpu]
            print(f"{name:<30}" + "".join(f"{1000 * cell:8.0f}" for cell in cells))
        print(f"{writer.n_tasks} tasks were written meanwhile")
        print_readers(pages, wanted, options.seconds, before)
    finally:
        pages.stop()


if __name__ == "__main__":
    main()
