"""Luigi's summary of an invocation, which names tasks by the parameters that their users gave.

Luigi leaves out parameters whose names are long together, and the hidden ones of every `AstraTask` are. A
batch is still shown without its values. And Luigi recurs, to the limit of Python, to find out why tasks that
stand in a long chain have not run.
"""

from __future__ import annotations

from typing import Any

import luigi.execution_summary
from luigi.parameter import ParameterVisibility

from astra.scheduler.bulk_worker import cached_parameters

luigi_lines = luigi.execution_summary._get_str  # noqa: SLF001  # Luigi has no public names for these
luigi_reasons = luigi.execution_summary._populate_unknown_statuses  # noqa: SLF001

CAUSES = (  # what a required task may be, and what the task that waits for it is then
    ("ever_failed", "upstream_failure"),
    ("still_pending_ext", "upstream_missing_dependency"),
    ("run_by_other_worker", "upstream_run_by_other_worker"),
    ("scheduling_error", "upstream_scheduling_error"),
)


class ShownTask:
    """A task in the summary: as it is, but for its hidden parameters and its text, which is that of Luigi."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def __str__(self) -> str:
        values = self._task.param_kwargs
        significant = [(name, parameter) for name, parameter in self.get_params() if parameter.significant]
        shown = ", ".join(f"{name}={parameter.serialize(values[name])}" for name, parameter in significant)
        return f"{self._task.get_task_family()}({shown})"

    def get_params(self) -> list[tuple[str, luigi.Parameter]]:
        """Return the public parameters."""
        return [
            (name, parameter)
            for name, parameter in self._task.get_params()
            if parameter.visibility == ParameterVisibility.PUBLIC
        ]


def summary_lines(tasks: dict[str, list[Any]], extra_indent: bool) -> str:
    """Return the lines of the summary for tasks by family."""
    shown = {family: _shown(group) for family, group in tasks.items()}
    with cached_parameters():  # Luigi writes the text of every task, to sort them
        try:
            return str(luigi_lines(shown, extra_indent))
        except (TypeError, OverflowError):  # Luigi hashes values, and asks which one comes next
            return str(luigi_lines(tasks, extra_indent))


def _shown(group: list[Any]) -> list[Any]:
    from astra.tasks.base import AstraTask

    single = all(isinstance(task, AstraTask) and not task.is_batch_mode for task in group)
    return [ShownTask(task) for task in group] if single else group


def find_reasons(sets: dict[str, set[Any]]) -> None:
    """Find out why tasks wait that could run; what each of them requires is looked at first.

    Parameters
    ----------
    sets : dict
        Sets of tasks by what became of them; those of reasons are filled.
    """
    waiting = sets["still_pending_not_ext"]
    required: dict[Any, list[Any]] = {}
    seen: set[Any] = set()
    stack = list(waiting)
    while stack:
        task = stack[-1]
        if task not in required and task in waiting:
            required[task] = list(task._requires())  # noqa: SLF001  # as Luigi asks
            stack += [needed for needed in required[task] if needed in waiting and needed not in required]
            continue
        stack.pop()
        if task not in seen:
            seen.add(task)
            _judge(sets, task, required[task])


def _judge(sets: dict[str, set[Any]], task: Any, required: list[Any]) -> None:
    """Put a task that waits into the sets of its reasons."""
    reasons = [
        behind
        for cause, behind in CAUSES
        if any(needed in sets[cause] or needed in sets[behind] for needed in required)
    ]
    if not reasons and task not in sets["run_by_other_worker"]:
        reasons = ["not_run"]
    for reason in reasons:
        sets[reason].add(task)
