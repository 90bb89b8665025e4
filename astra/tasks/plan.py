"""The plan of an invocation in the database: what is about to run, and what was left undone."""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterable
from itertools import chain
from typing import Any

import luigi
import psutil

from astra import config
from astra.tasks.runner import current_invocation, utc_now


def write_plan(tasks: Iterable[luigi.Task]) -> None:
    """Write the tasks that are to run, and the members of batches, as created.

    A task that has run before is left as it is. What a process that is gone left running is closed. What a
    task requires is written as it was when it was scheduled; members of a batch have their own, once it runs.
    """
    for url, group in _by_database(tasks).items():
        from astra.database.engine import transaction
        from astra.database.plan import bury_dead, plan_tasks
        from astra.database.state import link_dependencies

        run_pk = current_invocation().run_pk(url)
        parents = [task.state_record() for task in group]  # may write the values of a large batch
        members = chain.from_iterable(task.member_columns() for task in group)
        pairs = [(task.task_id, needed) for task in group for needed in task.required_ids]
        with transaction(url) as connection:
            bury_dead(connection, socket.gethostname(), is_alive, utc_now())
            plan_tasks(connection, parents, run_pk, utc_now(), members)
            link_dependencies(connection, pairs)


def write_found(tasks: Iterable[luigi.Task]) -> None:
    """Write that files which were missing are there, of tasks that stand for files.

    Only those are looked for that are known as missing, in the databases that this run writes.
    """
    from astra.tasks.base import AstraTask

    found: dict[str, list[str]] = {}
    missing_ids = functools.cache(_missing_ids)
    for task in tasks:
        if isinstance(task, AstraTask) and task.is_external:
            url = task.database_url
            missing = missing_ids(url, task.get_task_family())
            here = (member.task_id for member in task.members(missing) if member.complete())
            found.setdefault(url, []).extend(here if missing else ())
    for url, task_ids in found.items():
        if task_ids:
            _mark_found(url, task_ids)


def _mark_found(url: str, task_ids: list[str]) -> None:
    from astra.database.engine import transaction
    from astra.database.models.state import Status
    from astra.database.task_rows import change_task_rows, values_of_status

    with transaction(url) as connection:
        change_task_rows(connection, task_ids, values_of_status(Status.DONE, utc_now()))


def _missing_ids(url: str, family: str) -> set[str]:
    if url not in current_invocation().run_keys:
        return set()
    from astra.database.engine import reading
    from astra.database.progress import missing_ids

    with reading(url) as connection:
        return missing_ids(connection, family)


def close_plan(tasks: Iterable[luigi.Task]) -> None:
    """Mark what this invocation planned and never started, because something that it needs failed."""
    for url in _by_database(tasks):
        from astra.database.engine import transaction
        from astra.database.plan import block_unstarted, bury_dead

        run_pk = current_invocation().run_pk(url)  # written in a transaction of its own, if nothing ran
        with transaction(url) as connection:
            bury_dead(connection, socket.gethostname(), is_alive, utc_now())
            block_unstarted(connection, run_pk, utc_now())


def is_alive(pid: int) -> bool:
    """Say whether a process of this host is there and not a corpse that waits for its parent."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _by_database(tasks: Iterable[luigi.Task]) -> dict[str, list[Any]]:
    from astra.tasks.base import AstraTask

    groups: dict[str, list[Any]] = {}
    with config.held():
        for task in tasks:
            if isinstance(task, AstraTask) and not task.is_external:
                groups.setdefault(task.database_url, []).append(task)
    return groups
