"""Rows of state as the engine writes them, without running anything."""

import datetime as dt

from astra.database import outcomes, state
from astra.tasks.batch import hash_parameters

NOW = dt.datetime(2025, 11, 20, 3, 4, 5, tzinfo=dt.UTC)


def start_run(connection, command="luigi --module astra Any --local-scheduler"):
    """Write a run; return its key."""
    return state.insert_run(
        connection,
        {
            "command": command,
            "host": "here",
            "pid": 1,
            "version": "0",
            "packages": {},
            "configuration": {},
            "started": NOW,
        },
    )


def record(family, parameters, batch_size=None, module="astra"):
    """The record of a task."""
    task_id = f"{family}_{hash_parameters(parameters)}"
    return state.TaskRecord(task_id, family, module, parameters, "0", batch_size)


def end(connection, run, task, code, **details):
    """Write a task that has ended; a pending or running one as such."""
    state.create_tasks(connection, [task], run, NOW)
    keys = state.task_keys(connection, [task.task_id])
    place = {"host": "here", "pid": 4194304}
    if code == 2:
        state.start_tasks(connection, list(keys.values()), run, now=NOW, **place)
    elif code:
        outcome = outcomes.Outcome(task.task_id, code, NOW, NOW + dt.timedelta(seconds=1.5), **details)
        outcomes.end_tasks(connection, [outcome], keys, run, **place)
    return task.task_id
