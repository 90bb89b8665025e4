"""Alerts that are packaged again, as what they tell of has changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import luigi

if TYPE_CHECKING:
    from sqlalchemy import Connection

FOLLOWERS = ("PackageAlerts", "ApPipe")


def reopen_alerts(connection: Connection, associations: Iterable[Any]) -> int:
    """Let the alerts of associations, given as tasks, count as not packaged yet; return how many do."""
    from astra.database.models.state import Status
    from astra.database.task_rows import change_task_rows

    classes = [luigi.task_register.Register.get_task_cls(name) for name in FOLLOWERS]
    members = list(associations)
    counts = [
        change_task_rows(
            connection,
            [member.require(klass).task_id for member in members],
            {"status_code": int(Status.CREATED)},
        )
        for klass in classes
    ]
    return counts[0]


def reopen_alerts_of(connection: Connection, task_ids: Iterable[str]) -> int:
    """Do the same by the ids of the tasks that have associated; those that are forgotten are left out."""
    from astra.database.stored import find_stored_task

    found = [find_stored_task(connection, task_id) for task_id in task_ids]
    stored = [task for task in found if task is not None]
    register = luigi.task_register.Register
    return reopen_alerts(
        connection, [register.get_task_cls(task.family).from_str_params(task.parameters) for task in stored]
    )
