"""What a run would do, and why: the tasks that are not complete, in the order in which they could run."""

from __future__ import annotations

import datetime as dt
import functools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import luigi

from astra.tasks.base import AstraTask, flat_requirements
from astra.tasks.inputs import changed_inputs
from astra.tasks.runner import astra_version, current_invocation, version_numbers

MISSING = "missing"
FAILED = "failed before"
BLOCKED = "blocked before"
RUNNING = "running"
CHANGED = "input newer"
VERSION = "version changed"
RERUN = "asked to run again"
NO_OUTPUT = "output missing"
BROKEN = "broken"
INCOMPLETE = "not complete"


@dataclass(frozen=True)
class Reason:
    """Why a task, or a member of a batch, would run.

    Parameters
    ----------
    kind : str
        In a few words, as in ``input newer``.
    detail : str
        Which input, which error ...
    """

    kind: str
    detail: str = ""

    def __str__(self) -> str:
        text = f"{self.kind}: {self.detail}" if self.detail else self.kind
        return text if text.isprintable() else repr(text)[1:-1]


@dataclass(frozen=True)
class PlannedTask:
    """A task that would run, or that others must make first.

    Parameters
    ----------
    task : Task
        The task.
    reasons : dict
        Why, by the task id of each member that would run; of a single task by its own.
    """

    task: luigi.Task
    reasons: dict[str, Reason] = field(default_factory=dict)


def plan(root: luigi.Task) -> Iterator[PlannedTask]:
    """Yield what a run of a task would do, requirements first; nothing is written.

    As in a real run what is complete is not looked behind.
    """
    seen: set[str] = set()
    waiting: list[tuple[luigi.Task, Any]] = [(root, None)]
    while waiting:
        task, planned = waiting.pop()
        if planned is not None:
            yield planned
            continue
        if task.task_id in seen:
            continue
        seen.add(task.task_id)
        planned, required = _look_at(task)
        if planned is not None:
            waiting.append((task, planned))
            waiting.extend((needed, None) for needed in reversed(required))


def _look_at(task: luigi.Task) -> tuple[PlannedTask | None, list[luigi.Task]]:
    """Return why a task would run, None if it would not, and what it requires."""
    try:
        if task.complete():
            return None, []
        if isinstance(task, AstraTask) and not task.is_external:
            return PlannedTask(task, _reasons(task)), [*flat_requirements(task), *task.further()]
        explain = getattr(task, "why_incomplete", None)
        external = luigi.task.flatten(task.output()) and task.run in (None, NotImplemented)
        kind = MISSING if external else INCOMPLETE
        reason = Reason(kind, str(explain()) if explain is not None else "")
        return PlannedTask(task, {task.task_id: reason}), flat_requirements(task)
    except Exception as exc:  # noqa: BLE001  # what one task cannot say must not hide the others
        return PlannedTask(task, {task.task_id: Reason(BROKEN, f"{type(exc).__name__}: {exc}")}), []


def _reasons(task: AstraTask) -> dict[str, Reason]:
    """Return why each member of a task, or the task itself, would run."""
    ids = list(dict.fromkeys(task.member_ids()))
    undone = set(ids) - task.done_ids(set(ids))
    states = task._states(undone)  # noqa: SLF001  # the engine's own
    done = {task_id for task_id, state in states.items() if state.status_code == 1}
    changed = changed_inputs(task.database_url, done)
    stale = task.stale_ids()
    messages = _messages(task, set(states) - done)
    former = _former_versions(task, undone - set(states))
    reasons = {}
    for task_id in ids:
        if task_id in former:
            reasons[task_id] = Reason(VERSION, f"was done by {former[task_id]}, this is {astra_version()}")
        elif task_id in done:
            reasons[task_id] = _reason_of_done(task, task_id, changed, stale)
        elif task_id in undone:
            code = states[task_id].status_code if task_id in states else 0
            reasons[task_id] = _reason_of_undone(code, messages.get(task_id, ""))
    return reasons


def _messages(task: AstraTask, task_ids: set[str]) -> dict[str, str]:
    from astra.database.engine import reading
    from astra.database.queries import last_errors

    with reading(task.database_url) as connection:
        return last_errors(connection, task_ids)


def _reason_of_done(task: AstraTask, task_id: str, changed: dict[str, str], stale: set[str]) -> Reason:
    """Return why a task runs that the database calls done."""
    if task.must_rerun:
        return Reason(RERUN)
    if task_id in changed:
        return Reason(CHANGED, changed[task_id])
    return Reason(CHANGED, "what it depends on has changed") if task_id in stale else Reason(NO_OUTPUT)


def _reason_of_undone(code: int, message: str) -> Reason:
    from astra.database.models.state import Status
    from astra.database.selection import codes_of, status_name

    if code == Status.RUNNING:
        return Reason(RUNNING, "another process may be at it")
    if code == Status.DEPENDENCY_MISSING:
        return Reason(BLOCKED, message)
    return Reason(FAILED, message or status_name(code)) if code in codes_of("failed") else Reason(MISSING)


def _former_versions(task: AstraTask, unknown: set[str]) -> dict[str, str]:
    """Return the version of astra that has done what this one would do anew, by task id."""
    from astra.database.engine import reading
    from astra.database.progress import done_ids

    if not unknown:
        return {}
    versions = _versions(task.database_url, task.get_task_family(), current_invocation().started)
    former: dict[str, str] = {}
    for version in versions:
        major, minor, _ = version_numbers(version)
        if (major, minor) == (task.astra_version_major, task.astra_version_minor):
            continue
        kwargs = {**task.param_kwargs, "astra_version_major": major, "astra_version_minor": minor}
        then = dict(zip(type(task)(**kwargs).member_ids(), task.member_ids(), strict=True))
        with reading(task.database_url) as connection:
            done = done_ids(connection, then)
        former.update((then[task_id], version) for task_id in done if then[task_id] in unknown)
    return former


@functools.lru_cache(maxsize=64)
def _versions(url: str, family: str, _invocation: dt.datetime) -> list[str]:
    """Return the versions that a family was run by, asked once an invocation."""
    from astra.database.engine import reading
    from astra.database.progress import versions_of

    with reading(url) as connection:
        return versions_of(connection, family)


def write_plan_lines(root: luigi.Task, members: int) -> None:
    """Write what a run of a task would do to the standard output.

    Parameters
    ----------
    root : Task
        The task.
    members : int
        How many members of a batch to name, at most.
    """
    n_tasks = n_members = 0
    for planned in plan(root):
        n_tasks += 1
        n_members += len(planned.reasons)
        sys.stdout.writelines(f"{line}\n" for line in _lines(planned, members))
    if not n_tasks:
        sys.stdout.write(f"nothing to do: {root!r} is complete\n")
        return
    plural = "task" if n_tasks == 1 else "tasks"
    sys.stdout.write(f"{n_tasks} {plural} would run; {n_members} if each member of a batch counts\n")


def _lines(planned: PlannedTask, limit: int) -> Iterable[str]:
    """Write a task in one line, and the members of a batch in one line each."""
    task, reasons = planned.task, planned.reasons
    if not getattr(task, "is_batch_mode", False) or task.task_id in reasons:
        yield f"{task!r}  {next(iter(reasons.values()), Reason(INCOMPLETE))}"
        return
    counts = Counter(reason.kind for reason in reasons.values())
    words = ", ".join(f"{number} {kind}" for kind, number in counts.items()) or "its members are done"
    yield f"{task!r}  {len(reasons)} of {task.get_batch_size()} members: {words}"
    for shown, member in enumerate(task.members(set(reasons))):
        if shown == limit:
            yield f"    ... and {len(reasons) - limit} more; see --dry-run-members"
            return
        yield f"    {_data_id(member)}  {reasons[member.task_id]}"


def _data_id(member: AstraTask) -> str:
    names = member.batch_param_names()
    return ", ".join(f"{name}={member.param_kwargs[name]!r}" for name in names)
