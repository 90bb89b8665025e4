"""The comparison at the start of a ``luigi`` run: versions, configuration and schemas, as in the root so far.

`astra.run` compares the parameters of the task that it runs; here those of the task that the command line
names are compared. The parameters of what that requires follow from them, and what `luigi.build` is handed
was chosen one by one and is part of the identity: of all these, what luigi.cfg and the command line set for
their family is compared, with the options of ``config_class`` and the schemas.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import luigi

from astra.errors import ConfigError, TaskError
from astra.tasks import stored
from astra.tasks.base import AstraTask, flat_requirements
from astra.tasks.chunks import InChunks
from astra.tasks.hook import AstraOptions, is_from_command_line


class Precall:
    """What one run has compared.

    Parameters
    ----------
    configuration : dict
        Where the configuration of each family is noted, by its name.
    """

    def __init__(self, configuration: dict[str, Any]) -> None:
        self.configuration = configuration
        self._roots: set[Path] = set()
        self._families: set[tuple[Path, str]] = set()
        self._schemas: set[tuple[Path, str]] = set()

    def check_root(self, root: luigi.Task) -> None:
        """Compare versions, and the configuration of a root task and of what it requires, before any work.

        Raises
        ------
        TaskError
            If anything differs from what is stored; nothing is written then.
        """
        self._named = root if is_from_command_line(root) else None
        self._settle([step for task in _one_of_each(root) for step in self._steps(task)])

    def check_task(self, task: luigi.Task) -> None:
        """Compare what `check_root` has not seen of a task that is about to be scheduled, and its schemas."""
        if not isinstance(task, AstraTask) or task.is_external:
            return
        steps = list(self._steps(task))
        key = (task.root, task.task_family)
        if key not in self._schemas:
            self._schemas.add(key)
            steps.append(_schemas_step(task))
        self._settle(steps)

    _named: luigi.Task | None = None

    def _steps(self, task: AstraTask) -> Iterator[_Step]:
        """Yield what is still to compare of a task: versions once a root, configuration once a family."""
        root = task.root
        if root not in self._roots:
            self._roots.add(root)
            options = AstraOptions()  # made for few tasks alone: it takes as long as all else
            if not options.no_versions:
                yield _Step(
                    lambda: stored.refuse_versions(_versions_path(task), stored.package_versions()),
                    lambda clobber: stored.store_versions(
                        _versions_path(task), stored.package_versions(), clobber=clobber
                    ),
                    clobber=options.clobber_versions,
                )
        if (root, task.task_family) not in self._families:
            self._families.add((root, task.task_family))
            self.configuration[task.task_family] = stored.config_values(task)
            yield _config_step(task, "defaults", stored.configured_values(task))
            if task is self._named:
                yield _config_step(task, "config", stored.config_values(task))

    @staticmethod
    def _settle(steps: list[_Step]) -> None:
        """Compare everything, then write what is new or to be replaced."""
        refused = [error for step in steps if not step.clobber and (error := step.difference()) is not None]
        if refused:
            raise TaskError(
                "; ".join(map(str, refused)),
                differences=[text for error in refused for text in error.context["differences"]],
            )
        for step in steps:
            try:
                step.write(step.clobber)
            except OSError as exc:
                message = (
                    f"the configuration of this run cannot be stored: {exc}; the root must be a folder that "
                    f"can be written, see root in [astra] of luigi.cfg"
                )
                raise ConfigError(message) from exc


class _Step:
    """One comparison, and what writes its value."""

    def __init__(self, compare: Callable[[], None], write: Callable[[bool], None], *, clobber: bool) -> None:
        self._compare = compare
        self.write = write
        self.clobber = clobber

    def difference(self) -> TaskError | None:
        """Return the error that names the differences; None if there are none."""
        try:
            self._compare()
        except TaskError as exc:
            return exc
        return None


def _config_step(task: AstraTask, kind: str, values: dict[str, Any]) -> _Step:
    """Compare what both runs have configured; what is new is added."""
    path, options = task.stored_path(f"{task.get_name()}_{kind}.json"), AstraOptions()
    what = f"the configuration of {task.get_full_name()}"
    known = None if options.clobber_config else stored.read_stored(path, stored.CONFIG_FLAG)
    if known is None:
        return _equal_step({path: values} if values else {}, what)

    def add(_clobber: bool) -> None:
        if set(values) - set(known):
            stored.write_stored(path, {**known, **values}, do_backup=not options.no_backup_config)

    both = {**known, **{name: value for name, value in values.items() if name in known}}
    compare = functools.partial(stored.refuse_differences, {path: both}, what, stored.CONFIG_FLAG)
    return _Step(compare, add, clobber=False)


def _schemas_step(task: AstraTask) -> _Step:
    tables = task.get_all_schema_catalogs().items()
    values = {task.stored_path(f"{name}_schema.json"): stored.schema_values(table) for name, table in tables}
    return _equal_step(values, f"the schemas of {task.get_full_name()}")


def _equal_step(values: dict[Path, Any], what: str) -> _Step:
    options = AstraOptions()
    return _Step(
        lambda: stored.refuse_differences(values, what, stored.CONFIG_FLAG),
        lambda clobber: stored.store_equal(
            values,
            what=what,
            flag=stored.CONFIG_FLAG,
            clobber=clobber,
            do_backup=not options.no_backup_config,
        ),
        clobber=options.clobber_config,
    )


def _versions_path(task: AstraTask) -> Path:
    return task.stored_path("packages.json")


def _one_of_each(root: luigi.Task) -> Iterator[AstraTask]:
    """Yield one task of each family that a task requires, itself first; of a batch one member is asked.

    What cannot say what it requires is left to Luigi, which reports it.
    """
    waiting, seen = [root], set()
    while waiting:
        task = waiting.pop(0)
        if isinstance(task, InChunks):
            waiting += task.requires()[:1]
        if not isinstance(task, AstraTask) or task.is_external or task.task_family in seen:
            continue
        seen.add(task.task_family)
        yield task
        try:
            waiting += flat_requirements(next(iter(task.get_batch_tasks())))
        except Exception:  # noqa: BLE001, S112  # Luigi asks again, and reports it
            continue
