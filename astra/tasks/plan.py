"""The plan of an invocation in the database: what is about to run, and what was left undone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import luigi

from astra.tasks.runner import current_invocation, utc_now


def write_plan(tasks: Iterable[luigi.Task]) -> None:
    """Write the tasks that were scheduled, and the members of batches, as created.

    A task that is done or running by somebody else's hand is left as it is.
    """
    for url, group in _by_database(tasks).items():
        from astra.database.engine import transaction
        from astra.database.plan import plan_tasks

        records = [record for task in group for record in task.state_records()]
        run_pk = current_invocation().run_pk(url)
        with transaction(url) as connection:
            plan_tasks(connection, records, run_pk, utc_now())


def close_plan(tasks: Iterable[luigi.Task]) -> None:
    """Mark what this invocation planned and never started, because something that it needs failed."""
    for url in _by_database(tasks):
        from astra.database.engine import transaction
        from astra.database.plan import block_unstarted

        with transaction(url) as connection:
            block_unstarted(connection, current_invocation().run_pk(url), utc_now())


def _by_database(tasks: Iterable[luigi.Task]) -> dict[str, list[Any]]:
    from astra.tasks.base import AstraTask

    groups: dict[str, list[Any]] = {}
    for task in tasks:
        if isinstance(task, AstraTask) and not task.is_external:
            groups.setdefault(task.database_url, []).append(task)
    return groups
