"""The base class of every task: identity, batch mode, completeness from the database, recorded runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import luigi
from luigi.parameter import ParameterVisibility

from astra import config
from astra.tasks.batch import accept_batches, is_batchable
from astra.tasks.further import further_of_all, wait_for
from astra.tasks.handout import current_handout
from astra.tasks.members import BatchMode
from astra.tasks.nodes import TaskNode
from astra.tasks.parameters import PathParameter
from astra.tasks.plain import plain_value
from astra.tasks.recorded_run import recorded
from astra.tasks.recording import logger
from astra.tasks.runner import astra_version, current_invocation, version_numbers
from astra.tasks.state_api import StateApi

if TYPE_CHECKING:
    from astra.database.planned_members import MemberColumns
    from astra.database.queries import TaskState
    from astra.database.state import TaskRecord
    from astra.tasks.recording import Recorder
    from astra.tasks.runner import Invocation

_MAJOR, _MINOR, _MICRO = version_numbers(astra_version())


def flat_requirements(task: luigi.Task) -> list[luigi.Task]:
    """Return the tasks that a task requires, as a flat list."""
    return list(luigi.task.flatten(task.requires()))


class AstraTask(TaskNode, BatchMode, StateApi, luigi.Task):
    """A step of a survey's data processing, on one object or on many in one batch.

    Subclasses declare parameters, `requires`, `output` and `run`, as any Luigi task does. A parameter with
    ``batch_method=tuple`` may hold a tuple; the task is then a batch, and its members are its single tasks.
    `run` goes through ``for task in self.pending_tasks(): with task.recording(): ...``, which skips the
    members that are done and lets one fail alone. State is written round `run` by the engine.
    """

    astra_version_major = luigi.IntParameter(
        default=_MAJOR,
        visibility=ParameterVisibility.HIDDEN,
        positional=False,
        description="Major version of astra: another one runs everything again.",
    )
    astra_version_minor = luigi.IntParameter(
        default=_MINOR,
        visibility=ParameterVisibility.HIDDEN,
        positional=False,
        description="Minor version of astra: another one runs everything again.",
    )
    astra_version_micro = luigi.IntParameter(
        default=_MICRO,
        significant=False,
        visibility=ParameterVisibility.HIDDEN,
        positional=False,
        description="Micro version of astra.",
    )
    astra_version_dev = luigi.BoolParameter(
        default="dev" in astra_version(),
        significant=False,
        visibility=ParameterVisibility.HIDDEN,
        positional=False,
        description="Whether this is a development version of astra.",
    )
    strict_output_checking = luigi.BoolParameter(
        default=False,
        significant=False,
        visibility=ParameterVisibility.HIDDEN,
        positional=False,
        description="Whether the outputs must exist too before a task counts as done.",
    )
    rerun = luigi.BoolParameter(
        default=False,
        significant=False,
        visibility=ParameterVisibility.HIDDEN,
        positional=False,
        description="Run again, even if done.",
    )

    output_root = luigi.Parameter(
        default="",
        visibility=ParameterVisibility.HIDDEN,
        positional=False,
        description="Root of products with a SQLite database of its own, in place of the configured ones.",
    )

    accepts_partial_batches = False
    runs_in_place = False  # whether a task does so little that no executor is asked to run it
    conclude: Callable[[], Any] | None = None  # what is left for `run`, if an executor has run the task
    recorder: Recorder | None = None
    required_in: Invocation | None = None
    required_ids: Sequence[str] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Not `get_params`: the class is not finished yet, and its `dir` holds names that cannot be read.
        for name, value in [item for klass in cls.__mro__ for item in vars(klass).items()]:
            if isinstance(value, luigi.Parameter) and is_batchable(value):
                accept_batches(name, value)
        run = cls.__dict__.get("run")
        if inspect.isfunction(run):
            setattr(cls, "run", recorded(run))  # noqa: B010  # mypy refuses the assignment

    # -- files ----------------------------------------------------------------------------------------------

    @property
    def root(self) -> Path:
        """Folder of products."""
        return Path(self.output_root).absolute() if self.output_root else config.root()

    @property
    def output_base_dir(self) -> Path:
        """Folder for what tasks of this family write: ``<root>/products/<major.minor>/<family>``.

        The micro version is no part of it, as it is none of the identity: what is done is found again.
        """
        from astra.products.layout import family_folder

        version = f"{self.astra_version_major}.{self.astra_version_minor}"
        return family_folder(self.root, version, self.get_task_family())

    @property
    def database_url(self) -> str:
        """URL of the database that holds this task's state."""
        return config.own_database_url(self.root) if self.output_root else config.database_url()

    def further_requires(self) -> list[luigi.Task]:
        """Return what a single task requires besides, and can tell only once `requires` is there.

        A `run` asks for it with ``yield self.further()``, before anything else. A class that
        ``accepts_partial_batches`` runs without what failed of it, and looks at that itself.
        """
        return []

    def further(self) -> list[luigi.Task]:
        """Return what the members that are still to do require besides, see `further_requires`."""
        return further_of_all(self)

    def get_input(self, key: Any) -> Any:
        """Return the output of one requirement, without looking at the others."""
        return self.requires()[key].output()

    def input_files(self) -> Iterable[str | Path]:
        """Return the files that a single task reads besides the outputs of what it requires.

        By default those that its path parameters name. A change of any of them, or of what the task requires,
        lets it run again. What is no file, or not there, does not count.
        """
        return [
            value
            for name, parameter in self.get_params()
            if isinstance(parameter, PathParameter) and isinstance(value := self.param_kwargs[name], str)
        ]

    def product_rows(self) -> list[dict[str, Any]]:
        """Return a row for each file of `output` that is there, as `data_product` has it."""
        from astra.products.checksums import stamp, with_checksum

        outputs = self.output()
        named = outputs.items() if isinstance(outputs, dict) else enumerate(luigi.task.flatten(outputs))
        rows = []
        for kind, target in named:
            found = stamp(target.path) if isinstance(target, luigi.LocalTarget) else None
            if found is not None:
                rows.append({"kind": str(kind), **vars(with_checksum(found))})
        return rows

    # -- completeness ---------------------------------------------------------------------------------------

    @property
    def is_external(self) -> bool:
        """Whether this task stands for something that others make."""
        return self.run is None or isinstance(self, luigi.ExternalTask)

    @property
    def is_required(self) -> bool:
        """Whether a task of this invocation waits for this one, or for what it can give."""
        return self.required_in is current_invocation()

    @property
    def must_rerun(self) -> bool:
        """Whether only a result of this invocation counts as done."""
        return bool(self.rerun)

    def deps(self) -> list[luigi.Task]:
        """Return the requirements, and note that somebody waits for them who can do with a part of a batch.

        A batch leaves out the members whose own requirements failed; a single task needs all of a batch.
        ``required_ids`` are for the plan, without a batch that need not be whole: its failure stops nothing.
        """
        requirements = list(super().deps())
        parts = self.accepts_partial_batches
        self.required_ids = [
            need.task_id
            for need in requirements
            if isinstance(need, luigi.Task) and not (parts and getattr(need, "is_batch_mode", False))
        ]
        wait_for(self, requirements)
        return requirements

    def complete(self) -> bool:
        """Say whether the database calls this task done; with strict checking, whether its outputs exist too.

        A batch is done if all its members are. While others wait for it, it is enough that each member has
        been tried in this invocation and one of them is done: those that wait leave the failed ones out.
        """
        if self.is_external:
            return self._external_complete()
        if current_handout().is_done(self.task_id):
            return True
        ids = set(self.member_ids())
        done = self.done_ids(ids)
        if self.is_batch_mode and self.is_required and done and done != ids:
            done |= self._failed_ids(ids)
        return done == ids

    def stale_ids(self) -> set[str]:
        """Return the ids of members whose inputs have changed since they were done."""
        return set()

    def _external_complete(self) -> bool:
        exist = [target.exists() for target in luigi.task.flatten(self.output())]
        return any(exist) if self.is_batch_mode and self.is_required else bool(exist) and all(exist)

    def _outputs_exist(self) -> bool:
        return all(target.exists() for target in luigi.task.flatten(self.output()))

    def done_ids(self, task_ids: set[str]) -> set[str]:
        """Return which of some tasks, this one or its members, need not run (again)."""
        from astra.database.engine import reading
        from astra.database.progress import done_ids

        invocation = current_invocation()
        since = invocation.started if self.must_rerun else None
        with reading(self.database_url) as connection:
            done = done_ids(connection, task_ids, since, invocation.run_keys.get(self.database_url))
        done -= self.stale_ids()
        if config.option("check_inputs"):
            done -= self.changed_ids(done)
        if self.strict_output_checking and done:
            done = {member.task_id for member in self.members(done) if member._outputs_exist()}  # noqa: SLF001
        return done

    def changed_ids(self, done: set[str]) -> set[str]:
        """Return which of some tasks that are done depend on a file that has changed since; log why."""
        from astra.tasks.inputs import changed_inputs

        changed = changed_inputs(self.database_url, done)
        told = current_invocation().told
        new = [task_id for task_id in changed if task_id not in told]
        if new:
            told.update(new)
            which = f"{self!r} is"
            if self.is_batch_mode and done.issubset(self.member_ids()):
                which = f"{len(new)} members of {self!r} are"
            elif done != {self.task_id}:  # others of this family were asked about with this one
                which = f"{len(new)} tasks of {self.get_task_family()} are"
            logger.info("%s done again: %s", which, changed[new[0]])
        return set(changed)

    def _failed_ids(self, task_ids: set[str]) -> set[str]:
        from astra.database.engine import reading
        from astra.database.progress import failed_ids

        with reading(self.database_url) as connection:
            invocation = current_invocation()
            return failed_ids(connection, task_ids, invocation.tried_since or invocation.started)

    def _states(self, task_ids: set[str]) -> dict[str, TaskState]:
        from astra.database.engine import reading
        from astra.database.queries import task_states

        with reading(self.database_url) as connection:
            return task_states(connection, task_ids)

    # -- state ----------------------------------------------------------------------------------------------

    def state_record(self) -> TaskRecord:
        """Return what the database keeps of this task."""
        own = {name: self.text_of(name, parameter) for name, parameter in self._public_params(batchable=True)}
        return self._record(self.task_id, own, self.get_batch_size() if self.is_batch_mode else None)

    @classmethod
    def _public_params(cls, *, batchable: bool) -> list[tuple[str, luigi.Parameter]]:
        """Return the public parameters that may differ between the members of a batch, or the others.

        All those of a class that makes no batches are its tasks' own.
        """
        names = set(cls.batch_param_names() or cls.get_param_names(include_significant=True))
        return [
            (name, parameter)
            for name, parameter in cls.get_params()
            if parameter.visibility == ParameterVisibility.PUBLIC and (name in names) is batchable
        ]

    def member_columns(self) -> Iterator[MemberColumns]:
        """Yield the records of the members of a batch column by column, in parts."""
        from astra.database.planned_members import MemberColumns, json_objects
        from astra.database.state import PLANNED_ROWS, chunks

        if not self.is_batch_mode:
            return
        own = {
            name: map(parameter.serialize, self.param_kwargs[name])
            for name, parameter in self._public_params(batchable=True)
        }
        common = self._record("", {}, None)
        constants = common.constants or {}
        for ids in chunks(self.member_ids(), PLANNED_ROWS):
            texts = json_objects(own, len(ids))
            yield MemberColumns(ids, texts, common.family, common.module, common.version, constants)

    def unfinished_ids(self) -> list[str]:
        """Return the ids of what is still to do: this task, or the members that are not done, each once."""
        if not self.is_batch_mode:
            return [self.task_id]
        ids = dict.fromkeys(self.member_ids())
        done = self.done_ids(set(ids))
        return [task_id for task_id in ids if task_id not in done]

    def unfinished_records(self) -> list[TaskRecord]:
        """Return the records of what is still to do: this task, or the members that are not done."""
        if not self.is_batch_mode:
            return [self.state_record()]
        return list(self.member_records(self.done_ids(set(self.member_ids()))))

    def records_of(self, task_ids: Collection[str]) -> list[TaskRecord]:
        """Return the records of some: of this task, if its id is among these, and of its members."""
        own = [self.state_record()] if self.task_id in task_ids else []
        if len(task_ids) == len(own):
            return own
        return [*own, *self.member_records(set(self.member_ids()).difference(task_ids))]

    def member_records(self, left_out: Iterable[str] = ()) -> Iterator[TaskRecord]:
        """Yield the records of the members of a batch, each once, but for some ids."""
        if not self.is_batch_mode:
            return
        own = {
            name: map(parameter.serialize, self.param_kwargs[name])
            for name, parameter in self._public_params(batchable=True)
        }
        seen = set(left_out)
        for task_id, *texts in zip(self.member_ids(), *own.values(), strict=True):
            if task_id not in seen:
                seen.add(task_id)
                yield self._record(task_id, dict(zip(own, texts, strict=True)), None)

    def _record(self, task_id: str, own: dict[str, str], batch_size: int | None) -> TaskRecord:
        from astra.database.state import TaskRecord

        if self._constants is None:
            common = self._public_params(batchable=False)
            self._constants = {name: self.text_of(name, parameter) for name, parameter in common}
        family, module = self.get_task_family(), type(self).__module__
        return TaskRecord(task_id, family, module, own, astra_version(), batch_size, self._constants)

    def pending_tasks(self) -> Iterator[Self]:
        """Yield the members that are still to do, as single tasks, from within `run`.

        A member that is done is left out; so is one whose own requirements are not met, with that recorded.
        """
        if self.recorder is None or not self.is_batch_mode:
            yield self
            return
        yield from self.recorder.pending()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record what happens inside as this task's: in a batch, one member fails alone."""
        if self.recorder is None or self.recorder.task is self:
            yield
            return
        with self.recorder.member(self):
            yield

    def add_figures(self, step: str, figures: dict[str, Any]) -> None:
        """Keep named figures of this task (timings, quality), as ``family:step.item`` in the database."""
        family = self.get_task_family()
        for item, value in figures.items():
            self.figures[f"{family}:{step}.{item}"] = plain_value(value)


BaseTask = AstraTask  # its name in the task API of 2021
