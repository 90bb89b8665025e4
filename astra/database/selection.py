"""Choosing tasks: by family, state, run and night; the words for status codes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, String, cast, func, or_, select, tuple_

from astra.database.constants import constants_table
from astra.database.models.state import Status
from astra.database.state import attempt_table, task_table
from astra.database.survey import visit_table

STATES: dict[str, tuple[int, ...]] = {
    "done": (Status.DONE,),
    "failed": (Status.FAILED, Status.PROCESS_DIED, Status.BROKEN, Status.TIMED_OUT),
    "blocked": (Status.DEPENDENCY_MISSING,),
    "running": (Status.RUNNING,),
    "pending": (Status.CREATED,),
}
_words = {int(code): word for word, codes in STATES.items() for code in codes}


def state_word(code: int) -> str:
    """Return done, failed, blocked, running or pending; the number of a code that is not known."""
    return _words.get(code, str(code))


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
    """

    family: str | None = None
    state: str | None = None
    run: int | None = None
    night: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions on rows of ``task``; rows of batches are left out: members have their own."""
        found: list[ColumnElement[bool]] = [task_table.c.batch_size.is_(None)]
        if self.family is not None:
            found.append(task_table.c.family == self.family)
        if self.state is not None:
            found.append(task_table.c.status_code.in_([int(code) for code in STATES[self.state]]))
        if self.run is not None:
            found.append(_in_run(self.run))
        if self.night is not None:
            found.append(_in_night(self.night))
        return found


def _in_run(run: int) -> ColumnElement[bool]:
    tried = select(attempt_table.c.task_pk).where(attempt_table.c.run_pk == run)
    return or_(task_table.c.run_pk == run, task_table.c.pk.in_(tried))


def _in_night(night: int) -> ColumnElement[bool]:
    """Compare the text of parameters with the visits of a night."""
    visit, instrument = _parameter("visit"), _parameter("instrument")
    number = cast(visit_table.c.visit, String)
    of_night = visit_table.c.day_obs == night
    return or_(
        tuple_(instrument, visit).in_(select(visit_table.c.instrument, number).where(of_night)),
        instrument.is_(None) & visit.in_(select(number).where(of_night)),
    )


def _parameter(name: str) -> ColumnElement[str]:
    """Text of a parameter, whether it is a task's own or one that many share."""
    common = select(constants_table.c.parameters[name].as_string())
    common = common.where(constants_table.c.pk == task_table.c.constants_pk)
    own = cast(task_table.c.parameters[name].as_string(), String)
    return func.coalesce(own, cast(common.scalar_subquery(), String))
