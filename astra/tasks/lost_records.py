"""State rows of tasks that could not write their own end: blocked, ended for their deadline, or killed."""

from __future__ import annotations

import os
import socket
from typing import Any

from astra.tasks.child_processes import Lost
from astra.tasks.plain import plain_text
from astra.tasks.runner import current_invocation, utc_now


def record_blocked(task: Any, message: str) -> None:
    """Record a task that was not started because something that it requires is not there."""
    from astra.database.models.state import Status

    _record_end(task, Status.DEPENDENCY_MISSING, message)


def record_lost(task: Any, lost: Lost) -> None:
    """Record a task whose process was ended for its deadline, or died, with the members that ran."""
    from astra.database.models.state import Status

    status = Status.TIMED_OUT if lost.timed_out else Status.PROCESS_DIED
    error = "TimeoutError" if lost.timed_out else "ProcessDied"
    signal = lost.exit_signal
    _record_end(task, status, lost.message, error_class=error, pid=lost.pid, exit_signal=signal)
    if task.is_batch_mode:
        record_cut_off(task, status.name, lost.message, signal, error)


def record_missing(task: Any) -> None:
    """Record a file task whose file is not there: each member that has none."""
    from astra.database.models.state import Status

    for member in task.get_batch_tasks():
        if not member.complete():
            explain = getattr(member, "why_incomplete", None)
            message = str(explain()) if explain is not None else f"{member!r} is not there"
            _record_end(member, Status.DEPENDENCY_MISSING, plain_text(message))


def record_broken(task: Any, message: str, error_class: str) -> None:
    """Record a task that could not be scheduled: it could not say what it requires, or if it is complete."""
    from astra.database.models.state import Status

    _record_end(task, Status.BROKEN, plain_text(message), error_class=error_class)


def record_cut_off(
    task: Any, status_name: str, message: str, exit_signal: int | None, error_class: str
) -> None:
    """Record that what ran of a task, itself and members of its batch, was ended from outside."""
    from astra.database.engine import transaction
    from astra.database.models.state import Status
    from astra.database.outcomes import Outcome
    from astra.database.plan import close_running
    from astra.tasks.handout import current_handout

    end: dict[str, Any] = {
        "message": plain_text(message),
        "exit_signal": exit_signal,
        "error_class": error_class,
    }
    now = utc_now()
    if current_handout().note_cut_off(Outcome(task.task_id, Status[status_name], now, now, **end)):
        return
    run_pk = current_invocation().run_pk(task.database_url)
    ids = list(dict.fromkeys([task.task_id, *task.member_ids()]))
    with transaction(task.database_url) as connection:
        close_running(connection, ids, run_pk, status=Status[status_name], **end)


def _record_end(task: Any, status: int, message: str, *, pid: int | None = None, **details: Any) -> None:
    """Write the end of an attempt in a process, by default this one, with further fields of `Outcome`."""
    from astra.database import state
    from astra.database.engine import transaction
    from astra.database.outcomes import Outcome, end_tasks

    run_pk = current_invocation().run_pk(task.database_url)
    now = utc_now()
    outcome = Outcome(task.task_id, status, now, now, message=message, **details)
    with transaction(task.database_url) as connection:
        if not state.task_keys(connection, [task.task_id]):
            state.create_tasks(connection, [task.state_record()], run_pk, now)
        keys = state.task_keys(connection, [task.task_id])
        where = os.getpid() if pid is None else pid
        end_tasks(connection, [outcome], keys, run_pk, host=socket.gethostname(), pid=where)
