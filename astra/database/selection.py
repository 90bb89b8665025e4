"""Choosing tasks: by family, state, run and night; the words for their states.

The word for a task that has not begun depends on others: it is blocked where anything that it waits for, at
any distance, has failed or is blocked, and pending where not. What it waits for is the lineage in
``task_dependency``. A member of a batch has a lineage of its own, from when the batch begins, and no other: a
batch behind a failed one goes on with those of its members whose own requirements are done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    String,
    Table,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from astra.database.constants import constants_table
from astra.database.models.state import Status
from astra.database.models.survey import Visit
from astra.database.state import attempt_table, batch_table, dependency_table, task_table

visit_table: Table = Visit.__table__  # type: ignore[assignment]  # without what `survey` loads for regions

# The codes for each word; of what is created some is blocked, see above.
STATES: dict[str, tuple[int, ...]] = {
    "done": (Status.DONE,),
    "failed": (Status.FAILED, Status.PROCESS_DIED, Status.BROKEN, Status.TIMED_OUT),
    "blocked": (Status.DEPENDENCY_MISSING,),
    "running": (Status.RUNNING,),
    "pending": (Status.CREATED,),
}


def codes_of(*states: str) -> list[int]:
    """Return the status codes of some states."""
    return [int(code) for state in states for code in STATES[state]]


def status_name(code: int) -> str:
    """Return the words of a status code, as in ``process died``."""
    try:
        return Status(code).name.lower().replace("_", " ")
    except ValueError:
        return str(code)


@dataclass(frozen=True)
class Selection:
    """Which tasks; what is None does not choose.

    Parameters
    ----------
    family : str, optional
        Family of the task.
    state : str, optional
        One of `STATES`.
    run : int, optional
        Key of the run that planned or tried it.
    night : int, optional
        YYYYMMDD: its parameter ``visit`` (and ``instrument``, if it has one) is a visit of that night.
    instrument : str, optional
        Its parameter ``instrument``.
    visit : int, optional
        Its parameter ``visit``.
    """

    family: str | None = None
    state: str | None = None
    run: int | None = None
    night: int | None = None
    instrument: str | None = None
    visit: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions on rows of ``task``; rows of batches are left out: members have their own."""
        found: list[ColumnElement[bool]] = [task_table.c.batch_size.is_(None)]
        if self.family is not None:
            found.append(task_table.c.family == self.family)
        if self.state is not None:
            found.append(in_state(self.state))
        if self.run is not None:
            found.append(_in_run(self.run))
        if self.night is not None:
            found.append(_in_night(self.night, self.instrument))
        for name, value in (("visit", self.visit), ("instrument", self.instrument)):
            if value is not None:
                found.append(parameter_text(name) == str(value))
        return found


def in_state(state: str) -> ColumnElement[bool]:
    """Return the condition that a row of ``task`` is in a state, one of `STATES`."""
    has_code = task_table.c.status_code.in_(codes_of(state))
    if state == "blocked":
        return or_(has_code, _is_stopped())
    return and_(has_code, ~_is_stopped()) if state == "pending" else has_code


def state_of_task() -> ColumnElement[str]:
    """Return the column ``state`` of a row of ``task``: its word; the number of a code that is not known."""
    code = task_table.c.status_code
    words = ((code.in_(codes_of(word)), word) for word in STATES)
    return case((_is_stopped(), "blocked"), *words, else_=cast(code, String)).label("state")


def _is_stopped() -> ColumnElement[bool]:
    created = task_table.c.status_code == int(Status.CREATED)
    return and_(created, task_table.c.pk.in_(select(_stopped.c.pk)))


def stopped_by(bad: Any, *narrower: ColumnElement[bool]) -> CTE:
    """Return the keys of what has failed or is blocked, and of what is created and waits for any of it.

    It begins with the few that have failed, not with the many that wait.

    Parameters
    ----------
    bad : Alias
        Of ``task``: what it begins with.
    *narrower : ColumnElement
        Conditions on that which all that has failed meets, by which a database finds it sooner.
    """
    created = int(Status.CREATED)
    waiting = task_table.alias("waiting")
    is_bad = bad.c.status_code.in_(codes_of("failed", "blocked"))
    begin = select(bad.c.pk, literal(created).label("code")).where(is_bad, ~is_made_good(bad), *narrower)
    stopped = begin.cte("stopped", recursive=True)
    # A dependent comes with its code, and is followed by it in the next step. As a condition of this step,
    # SQLite and PostgreSQL both chose to ask it of all tasks, for each that is followed: minutes for 100,000.
    code = select(waiting.c.status_code).where(waiting.c.pk == dependency_table.c.task_pk).scalar_subquery()
    step = (
        select(dependency_table.c.task_pk, code)
        .join(stopped, stopped.c.pk == dependency_table.c.required_task_pk)
        .where(stopped.c.code == created)
    )
    # UNION, not UNION ALL: each task is followed once, whatever the number of paths to it.
    return stopped.union(step)


def is_made_good(batch: Any) -> ColumnElement[bool]:
    """Say whether a batch that failed has members which are all done since, each by itself or in another."""
    member = task_table.alias("member")
    members = (
        select(member.c.pk)
        .join(batch_table, batch_table.c.child_task_pk == member.c.pk)
        .where(batch_table.c.parent_task_pk == batch.c.pk)
        .correlate(batch)
    )
    undone = members.where(member.c.status_code != int(Status.DONE))
    return and_(batch.c.batch_size.is_not(None), exists(members), ~exists(undone))


_stopped = stopped_by(task_table.alias("bad"))


def _in_run(run: int) -> ColumnElement[bool]:
    tried = select(attempt_table.c.task_pk).where(attempt_table.c.run_pk == run)
    return or_(task_table.c.run_pk == run, task_table.c.pk.in_(tried))


def _in_night(night: int, instrument: str | None) -> ColumnElement[bool]:
    """Compare the text of parameters with the visits of a night.

    That of the visit comes first, which leaves few rows: to look up what a row shares with others takes
    longer than to read its own.
    """
    visit, camera = parameter_text("visit"), parameter_text("instrument")
    number = cast(visit_table.c.visit, String)
    of_night = [visit_table.c.day_obs == night]
    if instrument is not None:
        of_night.append(visit_table.c.instrument == instrument)
    is_visit = visit.in_(select(number).where(*of_night))
    is_pair = tuple_(camera, visit).in_(select(visit_table.c.instrument, number).where(*of_night))
    return and_(is_visit, or_(camera.is_(None), is_pair))


def parameter_text(name: str) -> ColumnElement[str]:
    """Return the text of a parameter, whether it is a task's own or one that many share."""
    common = select(constants_table.c.parameters[name].as_string())
    common = common.where(constants_table.c.pk == task_table.c.constants_pk)
    own = cast(task_table.c.parameters[name].as_string(), String)
    return func.coalesce(own, cast(common.scalar_subquery(), String))
