"""The whole alert production of a visit, as one task."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import luigi

from astra.errors import BatchError
from astra.tasks.alerts import PackageAlerts
from astra.tasks.associated import AssociatedTask
from astra.tasks.association import Associate
from astra.tasks.batch import per_member
from astra.tasks.diffim import DiffIm
from astra.tasks.imaging import STEPS
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.runner import current_invocation
from astra.tasks.template_rule import DifferenceTask

NOTHING = "nothing"
LAST_STEP = "all"

STEP_TASKS: dict[str, type[DifferenceTask] | type[ProcessCcd]] = {
    "ccdProcessor": ProcessCcd,
    "differencer": DiffIm,
    "diaPipe": Associate,
}


@dataclass(frozen=True)
class ApPipeResult:
    """What a run of `ApPipe` did for one detector of one visit.

    Parameters
    ----------
    apdb : str
        URL of the database with the DiaObjects and DiaSources, its password masked.
    ccdProcessor, differencer, diaPipe : str, optional
        Task id of each step that ran in this invocation; None for a step that was skipped.
    """

    apdb: str
    ccdProcessor: str | None  # noqa: N815  # the names of these steps in the Rubin pipeline
    differencer: str | None
    diaPipe: str | None  # noqa: N815


class ApPipe(AssociatedTask):
    """Run everything from raw frame to alerts for one detector of one visit, or for many.

    A second run does nothing. ``--rerun`` runs every step again, but for those that ``--reuse`` names.
    """

    runs_in_place = True

    reuse = luigi.ChoiceParameter(
        default=NOTHING,
        choices=[NOTHING, *STEPS, LAST_STEP],
        significant=False,
        description="With --rerun: last step to use as it is; those before it are included.",
    )

    @property
    def steps_to_rerun(self) -> list[str]:
        """Names of the steps that run again."""
        if not self.rerun or self.reuse == LAST_STEP:
            return []
        return list(STEPS[STEPS.index(self.reuse) + 1 :]) if self.reuse in STEPS else list(STEPS)

    def step_task(self, step: str) -> Any:
        """Return the task of a step, by its name, with this task's parameters."""
        return self.require(STEP_TASKS[step], rerun_steps=",".join(self.steps_to_rerun))

    @per_member
    def requires(self) -> list[luigi.Task]:
        """Package the alerts, which needs all else."""
        return [self.require(PackageAlerts, rerun_steps=",".join(self.steps_to_rerun))]

    def run(self) -> None:
        """Note which steps this invocation ran."""
        for task in self.pending_tasks():
            with task.recording():
                if task.rerun and task.reuse in {"diaPipe", LAST_STEP}:
                    task.warn_of_mixing()
                task.add_figures("result", asdict(task.result()))

    def result(self) -> ApPipeResult:
        """Return what this invocation did for a single task."""
        from astra.database.engine import mask_url

        tasks = {step: self.step_task(step) for step in STEPS}
        states = self._states({task.task_id for task in tasks.values()})
        began = current_invocation().started
        ran = {
            step: task.task_id
            for step, task in tasks.items()
            if task.task_id in states and (states[task.task_id].completed or began) > began
        }
        return ApPipeResult(mask_url(self.database_url), **{step: ran.get(step) for step in STEPS})

    def run_process_ccd(self) -> Any:
        """Run the calibration alone, with what it requires; return its task."""
        return self._build("ccdProcessor")

    def run_diff_im(self) -> Any:
        """Run the subtraction alone, with what it requires; return its task."""
        return self._build("differencer")

    def run_association(self) -> Any:
        """Run the association alone, with what it requires; return its task."""
        return self._build("diaPipe")

    def warn_of_mixing(self) -> None:
        """Say that an association was kept while what it came from was made again."""
        from astra.tasks.recording import logger

        logger.warning(
            "%r: the association is reused; its rows may not be those that a new run would give, "
            "so that results may mix",
            self,
        )

    def _build(self, step: str) -> Any:
        task = self.step_task(step)
        if not luigi.build([task], local_scheduler=True, log_level="WARNING"):
            message = f"step {step} of {self!r} failed; astra status says why"
            raise BatchError(message, step=step)
        return task
