"""What tasks read, and whether it has changed since: a task is done again if it depends on a changed file.

A file is looked at first (size and time of change), and read only if it looks different: one that was only
touched, or written again with the same content, is no reason to do anything again. Nor is one that is gone:
raw frames move to archives. What a task requires in another database is not looked behind.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import DataError, StateError
from astra.products.checksums import FileStamp, learn, stamp, unknown, with_checksum
from astra.tasks.further import further_requirements
from astra.tasks.plain import plain_text

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from astra.database.inputs import RecordedFile
    from astra.tasks.base import AstraTask


MAX_PATH_LENGTH = 1024  # of a column; longer paths are not watched


def input_stamps(task: AstraTask, required: Iterable[luigi.Task]) -> list[FileStamp]:
    """Look at the files that a single task is about to read: outputs of what it requires, and its own.

    Parameters
    ----------
    task : AstraTask
        The task, see `AstraTask.input_files`.
    required : iterable of Task
        What it requires.
    """
    outputs = (target for needed in required for target in luigi.task.flatten(needed.output()))
    names = dict.fromkeys([*_local_paths(outputs), *map(os.path.abspath, task.input_files())])
    own = set(_local_paths(luigi.task.flatten(task.output())))  # a path parameter may name what it writes
    stamps = (stamp(name) for name in names if name not in own and len(name) <= MAX_PATH_LENGTH)
    return [found for found in stamps if found is not None]


def look_again(stamps: Iterable[FileStamp]) -> list[FileStamp]:
    """Look at files once more, just before they are read."""
    return [stamp(before.path) or before for before in stamps]


def _local_paths(targets: Iterable[Any]) -> list[str]:
    return [os.path.abspath(target.path) for target in targets if isinstance(target, luigi.LocalTarget)]


def linked_requirements(task: luigi.Task) -> list[luigi.Task]:
    """Return what a task requires, with what stands behind the wrappers among it."""
    found: dict[str, luigi.Task] = {}
    waiting = [*luigi.task.flatten(task.requires()), *further_requirements(task)]
    while waiting:
        needed = waiting.pop(0)
        if needed.task_id in found:
            continue
        found[needed.task_id] = needed
        if isinstance(needed, luigi.WrapperTask):
            waiting += luigi.task.flatten(needed.requires())
    return list(found.values())


def why_incomplete(needed: Any) -> str:
    """Say what is missing: a requirement that knows better than its name says so."""
    explain = getattr(needed, "why_incomplete", None)
    return str(explain()) if explain is not None else f"{needed!r} is not there"


def learn_checksums(connection: Connection, stamps: Iterable[FileStamp]) -> None:
    """Take the checksums of files that tasks have made from the database, where they were noted."""
    from astra.database.inputs import known_checksums

    paths = {found.path for found in unknown(stamps)}
    if paths:
        learn(known_checksums(connection, paths))


def input_rows(stamps: Iterable[FileStamp]) -> list[dict[str, Any]]:
    """Return what the database keeps of files that a task has read.

    Raises
    ------
    DataError
        If one has changed since the task began: nobody knows what it read. It has not if its content is the
        same: two workers may have been given batches that share a member, and both have made it.
    """
    rows = []
    for before in stamps:
        now = stamp(before.path)
        # What is gone was read, and cannot be read again.
        if now not in (before, None) and not _is_same_again(before, now):
            message = f"input {before.path} has changed while it was read; run it again"
            raise DataError(message, path=before.path)
        rows.append({**vars(with_checksum(before)), "path": plain_text(before.path)})
    return rows


def _is_same_again(before: FileStamp, now: FileStamp) -> bool:
    """Say whether a file was written again with the content that it had, as far as that was noted."""
    if before.size != now.size or unknown([before]):
        return False
    return with_checksum(before).checksum == with_checksum(now).checksum


def changed_inputs(url: str, task_ids: Collection[str]) -> dict[str, str]:
    """Return the tasks among some that depend, at any distance, on a file that has changed, each with why."""
    from astra.database.engine import reading, transaction
    from astra.database.inputs import files_behind, refresh_files, tasks_behind

    if not task_ids:
        return {}
    with reading(url) as connection:
        files = files_behind(connection, task_ids)
    changed, touched = _compare(files)
    if touched:
        with suppress(StateError), transaction(url) as connection:  # a look spared, no more
            refresh_files(connection, touched)
    if not changed:
        return {}
    with reading(url) as connection:
        found = tasks_behind(connection, task_ids, list(changed))
    return {task_id: f"input {path} has changed" for task_id, path in found.items()}


def _compare(files: Iterable[RecordedFile]) -> tuple[list[int], dict[int, tuple[int, int]]]:
    """Return the keys of files with other content now, and new stamps of those that only look different."""
    changed, touched = [], {}
    for file in files:
        found = stamp(file.path)
        if found is None or (found.size, found.modified_ns) == (file.size, file.modified_ns):
            continue
        if found.size == file.size and with_checksum(found).checksum == file.checksum:
            touched[file.pk] = (found.size, found.modified_ns)
        else:
            changed.append(file.pk)
    return changed, touched
