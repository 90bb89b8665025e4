"""Luigi's summary of an invocation, which names tasks by the parameters that their users gave.

Luigi leaves out parameters whose names are long together, and the hidden ones of every `AstraTask` are. A
batch is still shown without its values.
"""

from __future__ import annotations

from typing import Any

import luigi.execution_summary
from luigi.parameter import ParameterVisibility

luigi_lines = luigi.execution_summary._get_str  # noqa: SLF001  # Luigi has no public name for it


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
    try:
        return str(luigi_lines(shown, extra_indent))
    except (TypeError, OverflowError):  # Luigi hashes values, and asks which one comes next
        return str(luigi_lines(tasks, extra_indent))


def _shown(group: list[Any]) -> list[Any]:
    from astra.tasks.base import AstraTask

    single = all(isinstance(task, AstraTask) and not task.is_batch_mode for task in group)
    return [ShownTask(task) for task in group] if single else group
