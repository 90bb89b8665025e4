"""Trees of tasks: a task, its subtasks, and what each notes, logs, configures and promises to write."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from astra import config as settings
from astra.tasks.metadata import Metadata, timer
from astra.tasks.node_config import ConfigurableField, ConfiguredTask, make_config

if TYPE_CHECKING:
    from types import SimpleNamespace

    import numpy as np
    from numpy.typing import NDArray

ROOT_LOGGER = logging.getLogger("astra")
OWN_STEP = "run"  # the step of what a task notes without naming one


@dataclass
class _Place:
    """Where a task stands in its tree, and what it has noted."""

    name: str
    full_name: str
    log: logging.Logger
    tasks: dict[str, Any]
    config: Any
    parent: Any = None
    metadata: Metadata = field(default_factory=Metadata)


class TaskNode:
    """What a task has as the node of a tree; a task without subtasks is a tree of one.

    `config_class` makes its default configuration, `default_name` is its name at the top, and
    `selecting_params` names parameters with a default that say on what it works, not how.
    """

    config_class: ClassVar[type | None] = None
    default_name: ClassVar[str | None] = None
    can_multiprocess: ClassVar[bool] = True
    runner_class: ClassVar[type | None] = None
    selecting_params: ClassVar[frozenset[str]] = frozenset()

    @property
    def _place(self) -> _Place:
        """Where this task stands; made at first use, as most tasks never ask."""
        place = self.__dict__.get("_node_place")
        if place is None:
            name = self.default_name or str(getattr(self, "task_family", type(self).__name__))
            place = _Place(name, name, ROOT_LOGGER.getChild(name), {name: self}, make_config(type(self)))
            self.__dict__["_node_place"] = place
        return place

    # -- tree -----------------------------------------------------------------------------------------------

    @property
    def config(self) -> Any:
        """Options of this task, and places for its subtasks."""
        return self._place.config

    @config.setter
    def config(self, value: Any) -> None:
        self._place.config = value

    @property
    def log(self) -> logging.Logger:
        """Logger of this task, a child of its parent's."""
        return self._place.log

    def get_name(self) -> str:
        """Return the name of this task."""
        return self._place.name

    def get_full_name(self) -> str:
        """Return the names from the top to this task, as in ``top.sub.sub2``."""
        return self._place.full_name

    def get_task_dict(self) -> dict[str, Any]:
        """Return all tasks of the tree by full name, in a new dict."""
        return dict(self._place.tasks)

    def make_subtask(self, name: str, **kwargs: Any) -> None:
        """Make the subtask that a field of the configuration describes, as an attribute of its name.

        Parameters
        ----------
        name : str
            Name of the field, of the subtask and of the attribute.
        **kwargs
            More arguments for its class.

        Raises
        ------
        KeyError
            If the configuration has no such field.
        """
        place = _field_of(self, name)
        setattr(self, name, place.target(name=name, parent_task=self, config=place.value, **kwargs))

    @classmethod
    def make_field(cls, doc: str) -> Any:
        """Return a field for a configuration, which holds this class and its configuration.

        Parameters
        ----------
        doc : str
            What the subtask does there.
        """
        return ConfigurableField(cls, doc)

    # -- metadata -------------------------------------------------------------------------------------------

    @property
    def metadata(self) -> Metadata:
        """What this task has noted since its run began."""
        return self._place.metadata

    def get_full_metadata(self) -> Metadata:
        """Return the items of all tasks of the tree, named as in ``top:sub:subsub.item``."""
        return Metadata(
            {
                f"{full_name.replace('.', ':')}.{item}": value
                for full_name, task in self._place.tasks.items()
                for item, value in task.metadata.items()
            }
        )

    def empty_metadata(self) -> None:
        """Forget what the tasks of the tree have noted."""
        if "_node_place" in self.__dict__:
            for task in self._place.tasks.values():
                task.metadata.clear()

    @contextmanager
    def timer(self, name: str, log_level: int = logging.DEBUG) -> Iterator[Metadata]:
        """Note in the metadata what a block uses, also if it raises; see `astra.timer`."""
        logger = logging.getLogger(f"timer.{self.log.name}")
        with timer(name, metadata=self.metadata, logger=logger, log_level=log_level) as metadata:
            yield metadata

    def metadata_figures(self) -> dict[str, Any]:
        """Return the items of the tree as figures of the state database: ``family:step.item``.

        The step is the subtask; of a task's own items it is what stands before the first dot, else ``run``.
        """
        if "_node_place" not in self.__dict__:
            return {}
        top = self._place.full_name
        return {
            _figure_key(str(getattr(self, "task_family", top)), full_name[len(top) + 1 :], item): value
            for full_name, task in self._place.tasks.items()
            if full_name == top or full_name.startswith(f"{top}.")
            for item, value in task.metadata.as_json().items()
        }

    # -- schemas --------------------------------------------------------------------------------------------

    def get_schema_catalogs(self) -> dict[str, NDArray[np.void]]:
        """Return an empty structured array for each table that this task writes, by its name.

        They are known as soon as the task is made, and do not depend on data.
        """
        return {}

    def get_all_schema_catalogs(self) -> dict[str, NDArray[np.void]]:
        """Return the empty tables of all tasks of the tree; the same from any of them."""
        return {
            name: table
            for task in self._place.tasks.values()
            for name, table in task.get_schema_catalogs().items()
        }

    # -- what is stored once per root -----------------------------------------------------------------------

    @property
    def root(self) -> Path:
        """Folder of products."""
        return Path(self._place.parent.root) if self._place.parent is not None else settings.root()

    @property
    def data_id_names(self) -> frozenset[str]:
        """Names of the parameters that say on what the task works, not how."""
        names = self.__dict__.get("_data_id_names")
        if names is None:
            names = self.batch_param_names() if hasattr(self, "batch_param_names") else ()
        return frozenset(names) | self.selecting_params

    @data_id_names.setter
    def data_id_names(self, names: frozenset[str]) -> None:
        self.__dict__["_data_id_names"] = names

    def stored_path(self, suffix: str) -> Path:
        """Return where something about this task is stored, below the root."""
        from astra.tasks.stored import FOLDER

        return Path(self.root) / FOLDER / suffix

    def write_config(self, clobber: bool = False, do_backup: bool = True) -> None:
        """Store the configuration, or compare it with that of earlier runs in this root.

        Parameters
        ----------
        clobber : bool, optional
            Replace what is stored.
        do_backup : bool, optional
            Keep what is replaced, as ``file~1`` and so on.

        Raises
        ------
        TaskError
            If it differs from what is stored.
        """
        from astra.tasks import stored

        stored.store_equal(
            {self.stored_path(f"{self.get_name()}_config.json"): stored.config_values(self)},
            what=f"the configuration of {self.get_full_name()}",
            flag=stored.CONFIG_FLAG,
            clobber=clobber,
            do_backup=do_backup,
        )

    def write_schemas(self, clobber: bool = False, do_backup: bool = True) -> None:
        """Store the schemas of all tables of the tree, or compare them; all or none; see `write_config`."""
        from astra.tasks import stored

        tables = self.get_all_schema_catalogs().items()
        stored.store_equal(
            {self.stored_path(f"{name}_schema.json"): stored.schema_values(table) for name, table in tables},
            what=f"the schemas of {self.get_full_name()}",
            flag=stored.CONFIG_FLAG,
            clobber=clobber,
            do_backup=do_backup,
        )

    def write_package_versions(self, clobber: bool = False, do_backup: bool = True) -> None:
        """Store the package versions, or compare those in common; see `write_config`."""
        from astra.tasks import stored

        path = self.stored_path("packages.json")
        stored.store_versions(path, stored.package_versions(), clobber=clobber, do_backup=do_backup)

    def write_metadata(self, label: str | None = None) -> Path | None:
        """Store what the tree has noted; a failure is only logged.

        Parameters
        ----------
        label : str, optional
            Which run of the task it was; default: the task id, if there is one.

        Returns
        -------
        path : Path or None
            The file; None if it could not be written.
        """
        from astra.products.atomic import write_text

        name = f"{self.get_name()}_metadata"
        run = label or getattr(self, "task_id", None)
        path = self.stored_path(f"{name}/{run}.json" if run else f"{name}.json")
        try:
            write_text(path, self.get_full_metadata().to_json() + "\n")
        except OSError as exc:
            self.log.warning("the metadata of %s could not be written to %s: %s", name, path, exc)
            return None
        return path

    # -- running over data ids ------------------------------------------------------------------------------

    @classmethod
    def apply_overrides(cls, config: Any) -> None:
        """Change the configuration after the instrument's files have, and before the command line does."""

    @classmethod
    def parse_and_run(
        cls,
        args: list[str] | None = None,
        config: Any = None,
        log: logging.Logger | None = None,
        do_return_results: bool = False,
    ) -> SimpleNamespace:
        """Run over the data ids of a command line; see `astra.tasks.task_command.parse_and_run`."""
        from astra.tasks.task_command import parse_and_run

        return parse_and_run(cls, args, config, log, do_return_results=do_return_results)


class Subtask(TaskNode):
    """A node that is no Luigi task: a part of one, or the top of a tree that is run by itself.

    Parameters
    ----------
    config : optional
        Its configuration; default that of the parent's field of its name, at the top `config_class`'s.
    name : str, optional
        Its name; default `default_name` at the top.
    parent_task : TaskNode, optional
        The task that it is part of.
    log : logging.Logger, optional
        Parent of its logger.

    Raises
    ------
    RuntimeError
        If it has no name.
    """

    def __init__(
        self,
        config: Any = None,
        name: str | None = None,
        parent_task: Any = None,
        log: logging.Logger | None = None,
    ) -> None:
        own_name = name if parent_task is not None else name or self.default_name
        if not own_name:
            message = (
                f"{type(self).__name__} needs a name: a subtask is given one, a task may declare default_name"
            )
            raise RuntimeError(message)
        if parent_task is None:
            full_name, tasks = own_name, {}
            parent_log = log or ROOT_LOGGER
            own_config = make_config(type(self)) if config is None else config
        else:
            full_name = f"{parent_task.get_full_name()}.{own_name}"
            tasks = parent_task._place.tasks  # noqa: SLF001  # one dict for the whole tree
            parent_log = log or parent_task.log
            own_config = _field_of(parent_task, own_name).value if config is None else config
        suffix = full_name if log is not None else own_name
        place = _Place(own_name, full_name, parent_log.getChild(suffix), tasks, own_config, parent_task)
        if isinstance(own_config, ConfiguredTask):
            place.config = own_config.value
        self.__dict__["_node_place"] = place
        tasks[full_name] = self


def _field_of(task: TaskNode, name: str) -> ConfiguredTask:
    """Return the place of a subtask in a task's configuration."""
    found = getattr(task.config, name, None)
    if not isinstance(found, ConfiguredTask):
        message = f"{task.get_full_name()}'s config does not have field {name!r}"
        raise KeyError(message)
    return found


def _figure_key(family: str, subtask: str, item: str) -> str:
    if subtask:
        return f"{family}:{subtask.replace('.', ':')}.{item}"
    return f"{family}:{item}" if "." in item else f"{family}:{OWN_STEP}.{item}"


def figures_of(task: Any) -> dict[str, Any]:
    """Return all figures of a run of a task: those added, and those of the metadata of its tree."""
    return {**task.metadata_figures(), **task.figures}
