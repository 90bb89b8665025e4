"""What a run answers: it speaks of the root, whoever has done the work.

Luigi's answer speaks of the worker, so that of two that share the work at least one says that it was not
given permission to run. Here what others have done is counted, and if the root is complete all is well.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import luigi
import luigi.execution_summary
import luigi.retcodes
import luigi.worker
from luigi.task_status import DONE, FAILED, UNKNOWN

TOLD = 5  # failed tasks of others of which the reason is logged

logger = logging.getLogger("luigi-interface")


def exit_status(worker: luigi.worker.Worker) -> int:
    """Return what the ``luigi`` command answers after a run: it says so nowhere but in its exit."""
    if not worker._add_task_history:  # noqa: SLF001  # an assistant that found nothing to do
        return 0
    summary = luigi.execution_summary._summary_dict(worker)  # noqa: SLF001  # no public names
    root = luigi.execution_summary._root_task(worker)  # noqa: SLF001
    codes = luigi.retcodes.retcode()
    found = {
        "still_pending_ext": codes.missing_data,
        "failed": codes.task_failed,
        "run_by_other_worker": codes.already_running,
        "scheduling_error": codes.scheduling_error,
        "not_run": codes.not_run,
    }
    status = max(code for name, code in {**found, "": 0}.items() if not name or summary.get(name))
    is_there = root in summary["completed"] or root in summary["already_done"]
    return int(status if status or is_there else codes.not_run)


def count_work_of_others(
    worker: luigi.worker.Worker, roots: Sequence[luigi.Task], tasks: Sequence[luigi.Task]
) -> None:
    """Count what other workers have finished, or failed at, in what the summary of a worker is made of.

    If the roots are complete, so is what they require, and nobody is asked about that.

    Parameters
    ----------
    worker : luigi.worker.Worker
        The worker; it has ended.
    roots : sequence of Task
        What it was to run.
    tasks : sequence of Task
        All that it has planned.
    """
    history = worker._add_task_history  # noqa: SLF001  # no public names
    done = {task.task_id for task, status, _ in history if status == DONE}
    if all(task.task_id in done for task in tasks):
        _forget_running(worker)
        return
    failed = {task.task_id for task, status, _ in history if status == FAILED} - done
    lost = _failed_elsewhere(worker) - done - failed
    if complete_ids(roots, done | _wrappers_done(worker, roots)) >= {root.task_id for root in roots}:
        history[:] = [entry for entry in history if entry[1] != UNKNOWN]
        _forget_running(worker)
        found = {task.task_id for task in tasks} - failed
        found |= _wholly_done(task for task in tasks if task.task_id in failed)
    else:
        found = complete_ids((task for task in tasks if task.task_id not in failed), done)
    new = found - done - lost
    _tell_why(worker, sorted(lost))
    history.extend((task, DONE, True) for task in tasks if task.task_id in new)
    history.extend((task, FAILED, None) for task in tasks if task.task_id in lost)
    _forget_running(worker, found | lost)


def _forget_running(worker: luigi.worker.Worker, over: Collection[str] | None = None) -> None:
    """Take what is over out of what other workers were seen to run; all, if nothing is named."""
    for response in worker._get_work_response_history:  # noqa: SLF001
        running = response["running_tasks"] or ()
        response["running_tasks"] = [
            other for other in running if over is not None and other["task_id"] not in over
        ]


def _wrappers_done(worker: luigi.worker.Worker, roots: Sequence[luigi.Task]) -> set[str]:
    """Ask the scheduler which of the roots that only wrap others are done: they would ask each of these."""
    ask = getattr(worker._scheduler, "done_among", None)  # noqa: SLF001
    wrappers = [root.task_id for root in roots if _only_wraps(root)]
    return set(ask(wrappers)) if ask is not None and wrappers else set()


def complete_ids(tasks: Iterable[luigi.Task], known: Iterable[str] = ()) -> set[str]:
    """Return the ids of the complete ones among some tasks, with few questions for many of them.

    Parameters
    ----------
    tasks : iterable of Task
        Tasks; one that cannot tell whether it is complete is not.
    known : iterable of str
        Ids of tasks that are complete, and need not be asked.
    """
    from astra.tasks.completeness import known_completeness

    complete = set(known)
    wrapped, single = _unwrapped([task for task in tasks if task.task_id not in complete], complete)
    answers = known_completeness(single)
    for task in single:
        if answers[task.task_id] if task.task_id in answers else _is_complete(task):
            complete.add(task.task_id)
    for task_id, needed in reversed(wrapped.items()):
        if needed is not None and complete >= needed:
            complete.add(task_id)
    return complete


def _unwrapped(
    tasks: Sequence[luigi.Task], complete: set[str]
) -> tuple[dict[str, set[str] | None], list[luigi.Task]]:
    """Part tasks into those that are complete if all that they require is, and those that must be asked.

    Of the former the ids of what each requires, each after all that require it, None if it cannot tell; the
    latter include all that these come down to.
    """
    wrapped: dict[str, set[str] | None] = {}
    single: dict[str, luigi.Task] = {}
    layer = list(tasks)
    while layer:
        below: dict[str, luigi.Task] = {}
        for task in layer:
            if not _only_wraps(task):
                single[task.task_id] = task
                continue
            needed = _required(task)
            wrapped.pop(task.task_id, None)
            wrapped[task.task_id] = None if needed is None else {need.task_id for need in needed}
            below |= {need.task_id: need for need in needed or () if need.task_id not in complete}
        layer = list(below.values())
    return wrapped, list(single.values())


def _required(task: luigi.Task) -> list[luigi.Task] | None:
    try:
        return list(task.deps())
    except Exception:  # noqa: BLE001  # Luigi has reported it
        return None


def _wholly_done(tasks: Iterable[luigi.Task]) -> set[str]:
    """Return the ids of the complete ones among tasks that failed here; of a batch all members must be."""
    from astra.tasks.base import AstraTask

    found = set()
    for task in tasks:
        if isinstance(task, AstraTask) and task.is_batch_mode:
            ids = set(task.member_ids())
            is_done = task.done_ids(ids) == ids
        else:
            is_done = _is_complete(task)
        if is_done:
            found.add(task.task_id)
    return found


def _only_wraps(task: luigi.Task) -> bool:
    """Say whether a task is complete if all that it requires is."""
    return type(task).complete is luigi.WrapperTask.complete


def _is_complete(task: luigi.Task) -> bool:
    """Ask a task whether it is complete; one that cannot tell is not."""
    try:
        return bool(task.complete())
    except Exception as exc:  # noqa: BLE001  # Luigi has reported it where it mattered
        logger.warning("%r cannot tell whether it is complete: %s", task, exc)
        return False


def _failed_elsewhere(worker: luigi.worker.Worker) -> set[str]:
    """Ask the scheduler which of the worker's tasks have failed, in whatever hands."""
    ask = getattr(worker._scheduler, "failed_of", None)  # noqa: SLF001
    return set(ask(worker._id)) if ask is not None else set()  # noqa: SLF001


def _tell_why(worker: luigi.worker.Worker, task_ids: Sequence[str]) -> None:
    """Log why tasks failed at other workers: some of them have written that nowhere else."""
    for task_id in task_ids[:TOLD]:
        answer = worker._scheduler.fetch_error(task_id=task_id)  # noqa: SLF001
        logger.error("%s has failed elsewhere: %s", task_id, last_line(answer["error"]))
    if len(task_ids) > TOLD:
        logger.error("%d more have failed elsewhere", len(task_ids) - TOLD)


def last_line(explanation: Any) -> str:
    """Return the last line of a traceback as Luigi encodes it."""
    try:
        text = json.loads(explanation or '""')
    except ValueError:
        text = explanation
    lines = str(text).strip().splitlines()
    return lines[-1].removeprefix("astra.errors.") if lines else ""
