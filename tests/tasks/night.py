"""A simulated night, processed once for all tests, and the tasks that process it."""

import json
import shutil
import sqlite3
from pathlib import Path

import luigi
import numpy as np
from sqlalchemy import Double, Float

from astra.database.models import metadata
from astra.simulation.night import simulate_night
from astra.tasks.ap_pipe import ApPipe
from astra.tasks.diffim import DiffIm
from astra.tasks.process_ccd import ProcessCcd

# Columns that tell when something was done, and not what was found.
WALL_CLOCK = {"timeProcessedMjdTai", "apdb_replica_chunk"}
# Running sums are not among them: those that an order of events leaves out are made again when needed.
APDB_TABLES = (
    *("DiaObject", "DiaSource", "DiaForcedSource", "apdb_marker"),
    *("DiaObjectChunks", "DiaSourceChunks", "DiaForcedSourceChunks"),
    "dia_object_statistics",
)


class Night:
    """Files of a simulated night, and the parameters of the tasks on it."""

    def __init__(self, folder):
        self.files = simulate_night(folder / "night", 7)
        self.raw = str(folder / "night" / "raw")
        self.pairs = [(visit, detector) for visit in self.files.science_visits for detector in (0, 1)]

    def parameters(self, pairs=None):
        """Parameters of a batch of (visit, detector)."""
        pairs = pairs or self.pairs
        return {
            "instrument": "simcam",
            "raw": self.raw,
            "visit": tuple(visit for visit, _ in pairs),
            "detector": tuple(detector for _, detector in pairs),
            "template_visits": "^".join(map(str, self.files.template_visits)),
            "reference_catalog": str(self.files.reference_catalog_path),
        }

    def pipeline(self, pairs=None, **changes):
        """ApPipe on a batch."""
        return ApPipe(**{**self.parameters(pairs), **changes})

    def steps(self):
        """Batches that do the night in part, by what it is then: each needs the ones before it."""
        everything = [(visit, detector) for visit in self.all_visits() for detector in (0, 1)]
        return {
            "calibrated": self.pipeline(everything).require(ProcessCcd),
            "differenced": self.pipeline().require(DiffIm),
        }

    def all_visits(self):
        """Visits of the template, then those of the science."""
        return [*self.files.template_visits, *self.files.science_visits]

    def arguments(self, pairs=None):
        """Command line of `pipeline`."""
        found = []
        for name, value in self.parameters(pairs).items():
            text = json.dumps([str(item) for item in value]) if isinstance(value, tuple) else str(value)
            found += [f"--{name.replace('_', '-')}", text]
        return found


def build(*tasks):
    """Run tasks in this process; say whether all succeeded."""
    return luigi.build(list(tasks), local_scheduler=True, log_level="WARNING", no_lock=True)


def copy_root(source, target):
    """Copy a processed root, so that a test may damage it."""
    shutil.copytree(source, target, dirs_exist_ok=True)


def rows(root, query):
    """Rows of a query to the database of a root."""
    connection = sqlite3.connect(Path(root) / "astra.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def states(root, family):
    """State of each member of a family, by (visit, detector), or by the one of them that it has."""
    query = f"SELECT parameters, state FROM task_state WHERE family = '{family}' AND batch_size IS NULL"  # noqa: S608
    found = {}
    for text, state in rows(root, query):
        parameters = json.loads(text)
        key = tuple(
            int(parameters[name]) for name in ("visit", "exposure", "detector", "tile") if name in parameters
        )
        found[key] = state
    return found


def attempts(root):
    """Number of attempts at single tasks and members, by family."""
    query = """SELECT family, count(*) FROM task_attempt JOIN task ON task.pk = task_pk
               WHERE batch_size IS NULL GROUP BY family"""
    return dict(rows(root, query))


def plain(table, name, value):
    """A value as any database gives it: SQLite has no booleans and keeps REAL columns in double precision."""
    if isinstance(value, bool):
        return int(value)
    kind = metadata.tables[table].c[name].type
    single = isinstance(kind, Float) and not isinstance(kind, Double)
    return float(np.float32(value)) if single and value is not None else value


def apdb_rows(execute):
    """All rows of the APDB tables but for the columns of wall-clock time, sorted."""
    tables = {}
    for table in APDB_TABLES:
        result = execute(f'SELECT * FROM "{table}"')  # noqa: S608
        tables[table] = sorted(
            json.dumps(
                {name: plain(table, name, row[name]) for name in row if name not in WALL_CLOCK},
                sort_keys=True,
            )
            for row in result
        )
    return tables


def sqlite_rows(root):
    """`apdb_rows` of the SQLite database of a root."""

    def execute(query):
        connection = sqlite3.connect(Path(root) / "astra.db")
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(query)]
        finally:
            connection.close()

    return apdb_rows(execute)
