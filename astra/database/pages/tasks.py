"""Lists of tasks, newest first, a page at a time, whatever their number.

Nothing is counted, and no question looks at more than `WINDOW` tasks: where a filter is rare, a page may be
short, and says from where to go on. What has failed or could not start is found by its attempts, which an
index keeps (`ix_task_attempt_told`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Select,
    String,
    cast,
    exists,
    func,
    literal_column,
    select,
)

from astra.database.bulk import is_among
from astra.database.constants import all_parameters, constants_of
from astra.database.models.state import VISIT_OF, Status
from astra.database.queries import as_utc
from astra.database.selection import STATES, codes_of, is_made_good, stopped_by
from astra.database.state import attempt_table, dependency_table, task_table
from astra.database.survey import visit_table

PAGE_ROWS = 100
WINDOW = 50_000
MAX_VISITS = 5_000  # of a night
MAX_WALK = 5_000  # tasks that are looked at upstream of those of a page
FEW = 500  # tasks that are created, of which each is followed upstream by itself
TROUBLED = ("failed", "blocked")
VISIT: ColumnElement[str] = literal_column(VISIT_OF.replace("parameters", "task.parameters"), String)

_task, _attempt = task_table.c, attempt_table.c
_WORD_OF = {int(code): word for word, codes in STATES.items() for code in codes}


@dataclass(frozen=True)
class TaskFilter:
    """Which tasks; what is None does not choose.

    Parameters
    ----------
    state : str, optional
        One of `astra.database.selection.STATES`.
    family : str, optional
        Family of the task.
    night : int, optional
        YYYYMMDD: its parameter ``visit`` is a visit of that night.
    visit, detector : int, optional
        Its parameters.
    text : str, optional
        Part of what its last attempt said, in any case of letters.
    min_duration_s : float, optional
        Least length of its last attempt [s].
    """

    state: str | None = None
    family: str | None = None
    night: int | None = None
    visit: int | None = None
    detector: int | None = None
    text: str | None = None
    min_duration_s: float | None = None


@dataclass(frozen=True)
class TaskPage:
    """Some tasks of a list.

    Parameters
    ----------
    rows : sequence of mapping
        ``pk``, ``task_id``, ``family``, ``state``, ``status_code``, ``parameters``, ``started``,
        ``duration`` [s], ``batch_size``, ``host`` and ``message`` of the last attempt.
    before : int or None
        The next page has keys less than this; None if this is the last.
    is_short : bool
        Whether the page ends at the limit of what was looked at, not for its length.
    """

    rows: Sequence[Mapping[str, Any]]
    before: int | None
    is_short: bool = False


def list_task_page(
    connection: Connection, wanted: TaskFilter, *, before: int | None = None, n_rows: int = PAGE_ROWS
) -> TaskPage:
    """Return the tasks of a filter, the last planned first.

    Parameters
    ----------
    connection : Connection
        To the database.
    wanted : TaskFilter
        Which.
    before : int, optional
        Keys of the tasks are less than this.
    n_rows : int, optional
        How many at most.
    """
    # Where nothing else chooses, the page itself is all that is looked at.
    window = WINDOW if _chooses_further(wanted) else n_rows + 1
    of_visit = _of_visit(connection, wanted)
    candidates = _candidates(wanted, of_visit, before, window).subquery("candidate")
    query = (
        _columns()
        .join(candidates, candidates.c.pk == _task.pk)
        .where(*_conditions(wanted), *of_visit)
        .order_by(_task.pk.desc())
        .limit(n_rows + 1)
    )
    found = connection.execute(query).mappings().all()
    rows = _with_states(connection, [_row(row) for row in found[:n_rows]])
    if len(found) > n_rows:
        return TaskPage(_with_messages(connection, rows), rows[-1]["pk"])
    last, number = connection.execute(select(func.min(candidates.c.pk), func.count())).one()
    is_cut = number >= window
    return TaskPage(_with_messages(connection, rows), int(last) if is_cut else None, is_cut)


def _columns() -> Select[Any]:
    names = ("pk", "task_id", "family", "status_code", "parameters", "started", "duration", "batch_size")
    return select(*(_task[name] for name in names), constants_of(task_table))


def _chooses_further(wanted: TaskFilter) -> bool:
    """Say whether a filter has more than what `_candidates` answers."""
    further = (wanted.state, wanted.detector, wanted.text, wanted.min_duration_s)
    return any(value is not None for value in further)


def _candidates(
    wanted: TaskFilter, of_visit: Sequence[ColumnElement[bool]], before: int | None, window: int
) -> Select[Any]:
    """Keys of the tasks that are looked at: by family, or by their attempts, or the newest."""
    if wanted.state == "blocked":
        stopped = stopped_tasks()
        key = stopped.c.pk
        return select(key).where(*_earlier(key, before)).distinct().order_by(key.desc()).limit(window)
    if wanted.state == "failed":
        key = _attempt.task_pk
        told = select(key.label("pk")).where(_attempt.message.is_not(None), *_earlier(key, before))
        return told.distinct().order_by(key.desc()).limit(window)
    if wanted.state == "running":
        newest = select(_attempt.task_pk, _attempt.status_code).order_by(_attempt.pk.desc()).limit(WINDOW)
        last = newest.subquery("last")
        running = select(last.c.task_pk.label("pk")).where(last.c.status_code == int(Status.RUNNING))
        return running.where(*_earlier(last.c.task_pk, before)).distinct()
    conditions = _earlier(_task.pk, before)
    if wanted.family is not None:
        conditions.append(_task.family == wanted.family)
    if not of_visit:
        return select(_task.pk).where(*conditions).order_by(_task.pk.desc()).limit(window)
    # By itself, so that no database goes through all tasks in the order of their keys instead.
    some = select(_task.pk).where(*of_visit, *conditions).cte("of_visit").prefix_with("MATERIALIZED")
    return select(some.c.pk).order_by(some.c.pk.desc()).limit(window)


def _earlier(key: ColumnElement[Any], before: int | None) -> list[ColumnElement[bool]]:
    return [] if before is None else [key < before]


def _conditions(wanted: TaskFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.family is not None:
        found.append(_task.family == wanted.family)
    if wanted.state is not None:
        codes = codes_of(*(("blocked", "pending") if wanted.state == "blocked" else (wanted.state,)))
        found.append(_task.status_code.in_(codes))
    if wanted.min_duration_s is not None:
        found.append(_task.duration >= wanted.min_duration_s)
    if wanted.text is not None:
        found.append(_last_message_has(wanted.text))
    if wanted.detector is not None:
        found.append(cast(_task.parameters["detector"].as_string(), String) == str(wanted.detector))
    return found


def _of_visit(connection: Connection, wanted: TaskFilter) -> list[ColumnElement[bool]]:
    """Conditions on the visit of a task, which an index answers."""
    found: list[ColumnElement[bool]] = []
    if wanted.visit is not None:
        found.append(is_among(connection, VISIT, [str(wanted.visit)]))
    if wanted.night is not None:
        query = select(visit_table.c.visit).where(visit_table.c.day_obs == wanted.night).distinct()
        visits = connection.execute(query.limit(MAX_VISITS)).scalars()
        found.append(is_among(connection, VISIT, [str(visit) for visit in visits]))
    return found


def _last_message_has(text: str) -> ColumnElement[bool]:
    other = attempt_table.alias("other")
    newest = select(func.max(other.c.pk)).where(other.c.task_pk == _task.pk).correlate(task_table)
    said = func.lower(func.coalesce(_attempt.error_class, "") + ": " + func.coalesce(_attempt.message, ""))
    is_said = said.contains(text.lower(), autoescape=True)
    return exists().where(_attempt.pk == newest.scalar_subquery(), is_said)


def stopped_tasks() -> CTE:
    """Keys of what has failed or is blocked, and of what is created and waits for any of it.

    As `astra.database.selection.in_state` has it for ``blocked``, but begun from the attempts that say
    something: a million tasks that are done are not looked at.
    """
    bad = task_table.alias("bad")
    return stopped_by(bad, bad.c.pk.in_(select(_attempt.task_pk).where(_attempt.message.is_not(None))))


def _row(row: Mapping[Any, Any]) -> dict[str, Any]:
    values = {**row, "parameters": all_parameters(row), "started": as_utc(row["started"])}
    del values["constants"]
    return values


def states_of(connection: Connection, tasks: Iterable[tuple[int, int]]) -> dict[int, str]:
    """Return the words for the states of tasks, given as (key, status code).

    A task that is created is blocked where anything upstream has failed or is blocked; at most `MAX_WALK`
    tasks upstream are looked at.
    """
    given = list(tasks)
    words = {key: _WORD_OF.get(code, str(code)) for key, code in given}
    created = [key for key, code in given if code == Status.CREATED]
    for key in _stopped_among(connection, created) if created else ():
        words[key] = "blocked"
    return words


def _stopped_among(connection: Connection, created: Sequence[int]) -> set[int]:
    """Of tasks that are created, those that something upstream keeps from running."""
    if len(created) > FEW:
        query = select(_task.pk).where(is_among(connection, _task.pk, created))
        return set(connection.execute(query.where(_task.pk.in_(select(stopped_tasks().c.pk)))).scalars())
    start = select(_task.pk.label("root"), _task.pk, _task.status_code).where(_task.pk.in_(created))
    walk = start.cte("upstream", recursive=True)
    needed = task_table.alias("needed")
    step = (
        select(walk.c.root, needed.c.pk, needed.c.status_code)
        .join(dependency_table, dependency_table.c.task_pk == walk.c.pk)
        .join(needed, needed.c.pk == dependency_table.c.required_task_pk)
        .where(walk.c.status_code == int(Status.CREATED))
    )
    walk = walk.union(step)
    looked_at = select(walk.c.root, walk.c.pk, walk.c.status_code).limit(MAX_WALK)
    troubled = set(codes_of(*TROUBLED))
    bad = [(root, key) for root, key, code in connection.execute(looked_at) if code in troubled]
    among = is_among(connection, _task.pk, list({key for _, key in bad}))
    query = select(_task.pk).where(among, is_made_good(task_table))
    made_good = set(connection.execute(query).scalars()) if bad else set()
    return {root for root, key in bad if key not in made_good}


def _with_states(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    words = states_of(connection, [(row["pk"], row["status_code"]) for row in rows])
    return [{**row, "state": words[row["pk"]]} for row in rows]


def _with_messages(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add host and message of the last attempt."""
    keys = [row["pk"] for row in rows]
    latest = select(func.max(_attempt.pk)).where(_attempt.task_pk.in_(keys)).group_by(_attempt.task_pk)
    columns = _attempt.task_pk, _attempt.host, _attempt.error_class, _attempt.message
    query = select(*columns).where(_attempt.pk.in_(latest))
    said = {
        row.task_pk: {"host": row.host, "message": ": ".join(filter(None, (row.error_class, row.message)))}
        for row in connection.execute(query)
    }
    return [{**row, **said.get(row["pk"], {"host": None, "message": ""})} for row in rows]


def families(connection: Connection, n_most: int = 200) -> list[str]:
    """Return the families that there are, sorted: each is looked up once, the tasks are not gone through."""
    first = select(func.min(_task.family).label("family")).cte("family", recursive=True)
    following = select(func.min(_task.family)).where(_task.family > first.c.family).scalar_subquery()
    chain = first.union_all(select(following).where(first.c.family.is_not(None)))
    query = select(chain.c.family).where(chain.c.family.is_not(None)).limit(n_most)
    return [str(name) for name in connection.execute(query).scalars()]


@dataclass(frozen=True)
class Neighbours:
    """Tasks before and after one in the order of a list: their ids, None at an end."""

    newer: str | None
    older: str | None


def neighbours_of(connection: Connection, family: str, key: int) -> Neighbours:
    """Return the tasks of a family next to one, by the order in which they were planned."""
    of_family = select(_task.task_id).where(_task.family == family)
    newer = of_family.where(_task.pk > key).order_by(_task.pk).limit(1)
    older = of_family.where(_task.pk < key).order_by(_task.pk.desc()).limit(1)
    return Neighbours(
        connection.execute(newer).scalar_one_or_none(), connection.execute(older).scalar_one_or_none()
    )
