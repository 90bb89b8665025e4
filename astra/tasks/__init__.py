"""The Luigi tasks: parameters, requirements, outputs and a short run."""

from astra.tasks.base import AstraTask, BaseTask

__all__ = ["AstraTask", "BaseTask"]
