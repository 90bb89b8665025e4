"""Whether workers that share tasks share the database too: what one has done the others must see there.

Who plans tells the scheduler a mark of its row in the database, see `astra.database.runs`. A worker that does
not find the run there writes to another database, and must not work on its tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra import config
from astra.errors import ConfigError
from astra.scheduler.leases import PLANNED_IN

if TYPE_CHECKING:
    from astra.tasks.runner import Invocation


def own_marks(invocation: Invocation) -> list[str]:
    """Return the marks of a run in the databases that it has a row in."""
    from astra.database.engine import reading
    from astra.database.runs import run_mark

    marks = []
    for url, run_pk in invocation.run_keys.items():
        with reading(url) as connection:
            marks.append(run_mark(connection, run_pk))
    return [mark for mark in marks if mark is not None]


def check_database(urls: Iterable[str], marks: Sequence[str]) -> None:
    """Make sure that a run which has planned tasks is in one of some databases.

    Raises
    ------
    ConfigError
        If none of the runs with these marks is; not if there are no marks.
    """
    from astra.database.engine import reading
    from astra.database.runs import has_run

    known = list(dict.fromkeys(urls))
    if not marks or not known:
        return
    for url in known:
        with reading(url) as connection:
            if any(has_run(connection, mark) for mark in marks):
                return
    from astra.tasks.runner import mask_passwords

    names = ", ".join(map(mask_passwords, known))
    message = (
        f"this worker writes to {names}, but its tasks were planned in another database: name that of who "
        f"plans, with ASTRA_DATABASE_URL or ASTRA_ROOT"
    )
    raise ConfigError(message, database=names)


class CheckedDatabases:
    """The check for a worker that serves: each database is looked into once for each set of planners."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, tuple[str, ...]]] = set()

    def check(self, work: dict[str, Any]) -> None:
        """Check the database of work that the scheduler gives.

        Raises
        ------
        ConfigError
            As `check_database` does.
        """
        marks = tuple(work.get(PLANNED_IN) or ())
        root = (work.get("task_params") or {}).get("output_root", "")
        url = config.own_database_url(Path(root).absolute()) if root else config.database_url()
        if marks and (url, marks) not in self._seen:
            check_database([url], marks)
            self._seen.add((url, marks))
