"""Identity of tasks and batches: task ids from columns of values, members made one at a time."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import luigi
from luigi.parameter import ParameterVisibility

from astra.tasks import references
from astra.tasks.batch import (
    Column,
    accept_batches,
    hash_members,
    hash_parameters,
    is_batchable,
    member_kwargs,
    normalize_batch,
)

if TYPE_CHECKING:
    from luigi import Task as _Base
else:
    _Base = object  # not a task of its own, which Luigi would register


def _identifies(parameter: luigi.Parameter) -> bool:
    """Say whether a parameter makes the identity; a private one is not handed on, and must not be missed."""
    return bool(parameter.significant) and parameter.visibility != ParameterVisibility.PRIVATE


class BatchMode(_Base):
    """The part of a task that knows its parameters: who it is, and who its members are."""

    scheduler_batching = False
    _params: list[tuple[str, luigi.Parameter]]
    _batch_names: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._set_up(self._identity(self._significant(self.param_kwargs)))

    def _set_up(self, task_id: str) -> None:
        """Set what a task has besides its parameters; for tasks made by call and members alike."""
        self.task_id = task_id
        self._Task__hash = hash(task_id)
        self.set_tracking_url = self.set_status_message = self.set_progress_percentage = None
        self.figures: dict[str, Any] = {}
        self._member_ids: list[str] | None = None
        self._references: dict[str, str] | None = None
        self._constants: dict[str, str] | None = None

    # -- parameters -----------------------------------------------------------------------------------------

    @classmethod
    def get_params(cls) -> list[tuple[str, luigi.Parameter]]:
        """Return the parameters; looked up once for each class, as Luigi asks ten times for each task."""
        if "_params" not in cls.__dict__:
            cls._params = super().get_params()
            for name, parameter in cls._params:  # those that `astra.inherits` has added to the class too
                if is_batchable(parameter):
                    accept_batches(name, parameter)
        return cls._params

    @classmethod
    def batch_param_names(cls) -> list[str]:
        """Return the names of the batch parameters; looked up once for each class."""
        if "_batch_names" not in cls.__dict__:
            cls._batch_names = super().batch_param_names()
        return cls._batch_names

    @classmethod
    def get_param_values(cls, params: Any, args: Any, kwargs: Any) -> list[tuple[str, Any]]:
        """Return the parameter values; those of a batch as tuples of one length."""
        names = frozenset(name for name, parameter in params if is_batchable(parameter))
        # Luigi writes all values into a text that it needs only for its errors.
        shown = {name: Column.of(value) if name in names else value for name, value in kwargs.items()}
        values = super().get_param_values(params, args, shown)
        return normalize_batch(cls.get_task_family(), values, names)

    @property
    def param_args(self) -> tuple[Any, ...]:
        """Values of the parameters that can be given by position; deprecated by Luigi."""
        pairs = zip(self.get_params(), super().param_args, strict=True)
        return tuple(value for (_, parameter), value in pairs if parameter.positional)

    def _warn_on_wrong_param_types(self) -> None:
        """Check types as Luigi does, but never print a tuple of values, and take that of a batch as it is."""
        batch_names = set(self.batch_param_names())
        for name, parameter in self.get_params():
            value = Column.of(self.param_kwargs[name])
            if name not in batch_names or not isinstance(value, tuple):
                parameter._warn_on_wrong_param_type(name, value)  # noqa: SLF001  # overridden here

    def get_hashed_params(self, only_significant: bool = True, only_public: bool = False) -> dict[str, Any]:
        """Return the values that make the identity, by name; never those of private parameters.

        With ``only_significant=False`` all of them, with ``only_public=True`` none that is hidden.
        """
        return {
            name: self.param_kwargs[name]
            for name, parameter in self.get_params()
            if (parameter.significant or not only_significant)
            and parameter.visibility != ParameterVisibility.PRIVATE
            and (parameter.visibility == ParameterVisibility.PUBLIC or not only_public)
        }

    def get_common_param_names(self, klass: type[luigi.Task], include_significant: bool = True) -> set[str]:
        """Return the names of the parameters that this task shares with a class.

        With ``include_significant=False`` only the significant ones, as in `luigi.Task.get_param_names`.
        """
        own = self.get_param_names(include_significant=include_significant)
        other = klass.get_param_names(include_significant=include_significant)
        return set(own) & set(other)

    def get_common_param_kwargs(
        self, klass: type[luigi.Task], include_significant: bool = True
    ) -> dict[str, Any]:
        """Return this task's values of the parameters that it shares with a class."""
        names = self.get_common_param_names(klass, include_significant)
        return {name: value for name, value in self.param_kwargs.items() if name in names}

    # -- text form ------------------------------------------------------------------------------------------

    def to_str_params(self, only_significant: bool = False, only_public: bool = False) -> dict[str, str]:
        """Return the text form of the parameters, from which `from_str_params` makes an equal task.

        The values of a large batch are stored once in the state database, and a short reference to them
        stands in their place.
        """
        if not self.initialized():
            return {}  # Luigi would make an identity of it, which is made otherwise here
        if not references.is_large(self):
            return dict(super().to_str_params(only_significant, only_public))
        return {
            name: self.text_of(name, parameter)
            for name, parameter in self.get_params()
            if (parameter.significant or not only_significant)
            and (parameter.visibility == ParameterVisibility.PUBLIC or not only_public)
            and parameter.visibility != ParameterVisibility.PRIVATE
        }

    def text_of(self, name: str, parameter: luigi.Parameter) -> str:
        """Return the text form of one parameter: a reference, for the values of a large batch."""
        if references.is_large(self) and is_batchable(parameter):
            if self._references is None:
                self._references = references.store(self)
            return self._references[name]
        return str(parameter.serialize(self.param_kwargs[name]))

    @classmethod
    def from_str_params(cls, params_str: Mapping[str, Any]) -> Self:
        """Make a task from the text form of its parameters; references are looked up.

        Raises
        ------
        MissingDataError
            If a reference is not in the state database.
        """
        task: Self = super().from_str_params(references.resolve(params_str, cls.batch_param_names()))
        return task

    @classmethod
    def from_table(cls, path: str | Path, **common: Any) -> Self:
        """Make a batch of the rows of a table: its columns are batch parameters, the others are ``common``.

        Parameters
        ----------
        path : path
            CSV, ECSV, FITS or Parquet.
        **common
            Parameters that the table does not hold.

        Raises
        ------
        FormatError
            If a column is missing, superfluous or holds what its parameter does not take.
        """
        from astra.tasks.tables import batch_values

        return cls(**common, **batch_values(cls, path, common))

    # -- identity -------------------------------------------------------------------------------------------

    @classmethod
    def _significant(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Text of the parameters among some values that make the identity."""
        return {
            name: parameter.serialize(values[name])
            for name, parameter in cls.get_params()
            if _identifies(parameter) and name in values
        }

    @classmethod
    def _identity(cls, significant: Mapping[str, str]) -> str:
        """Task id that the text of the significant parameters makes."""
        return f"{cls.get_task_family()}_{hash_parameters(significant)}"

    def __repr__(self) -> str:
        """Family, hash and the significant parameters; for a batch their number instead."""
        family, _, digits = self.task_id.rpartition("_")
        if self.is_batch_mode:
            return f"{family}({digits}: batch_size={self.get_batch_size()})"
        hidden = ParameterVisibility.PUBLIC
        shown = ", ".join(
            f"{name}={self.param_kwargs[name]!r}"
            for name, parameter in self.get_params()
            if parameter.significant and parameter.visibility == hidden
        )
        return f"{family}({digits}: {shown})"

    # -- members --------------------------------------------------------------------------------------------

    @property
    def is_batch_mode(self) -> bool:
        """Whether the batchable parameters hold tuples."""
        names = self.batch_param_names()
        return bool(names) and all(isinstance(self.param_kwargs[name], tuple) for name in names)

    @property
    def batchable(self) -> bool:
        """Whether Luigi's scheduler may merge tasks of this class that happen to wait at the same time.

        It would give them all to one worker, fail them all for one, and never merge them twice alike: off,
        unless a class says ``scheduler_batching = True``. A batch is never merged.
        """
        return self.scheduler_batching and not self.is_batch_mode and bool(self.batch_param_names())

    def get_batch_size(self) -> int:
        """Return the number of members; 1 for a single task."""
        return len(self.param_kwargs[self.batch_param_names()[0]]) if self.is_batch_mode else 1

    def get_batch_task_kwds(self, include_non_batch_keywords: bool = True) -> Iterator[dict[str, Any]]:
        """Yield the keyword arguments of each member, in order."""
        names = frozenset(self.batch_param_names())
        if self.is_batch_mode:
            yield from member_kwargs(self.param_kwargs, names, include_non_batch_keywords)
        else:
            kwargs = self.param_kwargs
            yield {name: kwargs[name] for name in kwargs if include_non_batch_keywords or name in names}

    def get_batch_tasks(self) -> Iterator[Self]:
        """Yield the members as single tasks, or this task alone."""
        if not self.is_batch_mode:
            yield self
            return
        for task_id, kwargs in zip(self.member_ids(), self.get_batch_task_kwds(), strict=True):
            yield self._member(task_id, kwargs)

    def _member(self, task_id: str, kwargs: dict[str, Any]) -> Self:
        """Make the single task of one member, outside Luigi's cache, which would keep a million of them."""
        cls = type(self)
        if cls.__init__ is not BatchMode.__init__:
            made: Self = abc.ABCMeta.__call__(cls, **kwargs)
            return made
        # The values are those of the batch, parsed and normalised already.
        member = cls.__new__(cls)
        member.__dict__.update(kwargs)
        member.param_kwargs = kwargs
        member._set_up(task_id)  # noqa: SLF001  # of this very class
        return member

    def member_ids(self) -> list[str]:
        """Return the task ids of the members, in order, without making the members."""
        if not self.is_batch_mode:
            return [self.task_id]
        if self._member_ids is None:
            self._member_ids = list(self.iterate_member_ids())
        return self._member_ids

    def iterate_member_ids(self) -> Iterator[str]:
        """Yield the task ids of the members, in order, from the columns of their values."""
        names = set(self.batch_param_names())
        values = {name: value for name, value in self.param_kwargs.items() if name not in names}
        columns = {
            name: list(map(parameter.serialize, self.param_kwargs[name]))
            for name, parameter in self.get_params()
            if name in names and _identifies(parameter)
        }
        prefix = f"{self.get_task_family()}_"
        for digits in hash_members(self._significant(values), columns, self.get_batch_size()):
            yield prefix + digits

    def members(self, wanted: set[str]) -> Iterator[Self]:
        """Yield the members with the wanted ids, each once."""
        seen: set[str] = set()
        for task_id, kwargs in zip(self.member_ids(), self.get_batch_task_kwds(), strict=True):
            if task_id in wanted and task_id not in seen:
                seen.add(task_id)
                yield self._member(task_id, kwargs) if self.is_batch_mode else self
