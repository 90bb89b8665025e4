"""The ``luigi`` commands that run stored tasks again."""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import luigi
from luigi.task_register import Register, TaskClassException

from astra.terminal import shell_word

if TYPE_CHECKING:
    from astra.database.stored import StoredTask

OWN_ENVIRONMENT = ("ASTRA_ROOT", "ASTRA_DATABASE_URL")
LONGEST_ARGUMENT = 100_000  # [byte]; Linux takes 128 KiB in one argument


@dataclass(frozen=True)
class LuigiCommand:
    """A command line.

    Parameters
    ----------
    words : list of str
        The arguments of ``luigi``.
    environment : mapping
        Variables to set for it.
    not_said : list of str
        Names of parameters whose value Luigi's command line cannot say: it takes an empty one for none.
    """

    words: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    not_said: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The command as one types it in a shell."""
        variables = [f"{name}={shell_word(value)}" for name, value in self.environment.items()]
        return " ".join([*variables, *map(shell_word, ["luigi", *self.words])])

    def remarks(self) -> list[str]:
        """Return what must be known before the command is used, a sentence each."""
        return [
            f"(the stored value of {name} cannot be said on a command line; set it in luigi.cfg)"
            for name in self.not_said
        ]


@functools.cache
def find_task_class(module: str, family: str) -> type[luigi.Task] | None:
    """Return the class of a stored task; None where its module cannot be imported or lacks it."""
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", module):
        return None
    try:
        importlib.import_module(module)
        found: type[luigi.Task] = Register.get_task_cls(family)
    except (ImportError, SyntaxError, TaskClassException):
        return None
    return found


def make_command(
    module: str,
    family: str,
    parameters: Mapping[str, Any],
    *,
    run_command: str | None,
    root: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> LuigiCommand:
    """Make the command that runs a stored task.

    Parameters
    ----------
    module, family : str
        Where the task is defined, and its name.
    parameters : mapping
        Text of its parameters, by name.
    run_command : str or None
        Command line of the run that made it: the scheduler is chosen as there, and is a local one if that
        was not ``luigi``.
    root : str, optional
        The root that was named on the command line, to be named again.
    environment : mapping, optional
        Variables to set for it, in place of those that name the root.
    """
    task_class = find_task_class(module, family)
    known = dict(task_class.get_params()) if task_class is not None else {}
    words = ["--module", module, family]
    for name, text in parameters.items():
        words += _parameter_words(name, str(text), known.get(name))
    if _is_local(run_command or ""):
        words.append("--local-scheduler")
    if environment is None:
        environment = {name: os.environ[name] for name in OWN_ENVIRONMENT if root and os.environ.get(name)}
    not_said = [
        name
        for name, parameter in known.items()
        if name in parameters and not _can_be_said(parameter, family, name, str(parameters[name]))
    ]
    return LuigiCommand(words, environment, not_said)


def _can_be_said(parameter: luigi.Parameter, family: str, name: str, text: str) -> bool:
    is_switch = _is_switch(parameter)
    if text if not is_switch else parameter.parse(text):
        return True
    if not parameter.has_task_value(family, name):
        return False
    default = parameter.task_value(family, name)
    return not default if is_switch else bool(default == parameter.parse(text))


def _is_switch(parameter: luigi.Parameter | None) -> bool:
    """Say whether a parameter is a flag without a value."""
    return isinstance(parameter, luigi.BoolParameter) and parameter.parsing == parameter.IMPLICIT_PARSING


def make_commands(
    tasks: Iterable[StoredTask], root: str | None = None, environment: Mapping[str, str] | None = None
) -> list[LuigiCommand]:
    """Make the commands that run stored tasks: one batch for those that differ in batch parameters alone.

    Parameters
    ----------
    tasks : iterable of StoredTask
        Single tasks and members; a batch stays by itself.
    root, environment : optional
        As in `make_command`.
    """
    groups: dict[tuple[Any, ...], list[StoredTask]] = {}
    for task in tasks:
        names = _batch_names(task)
        common = tuple((name, text) for name, text in task.parameters.items() if name not in names)
        alone = () if names else (task.task_id,)
        is_local = _is_local(task.run_command or "")
        groups.setdefault((task.module, task.family, is_local, common, alone), []).append(task)
    return [
        make_command(
            group[0].module,
            group[0].family,
            merged,
            run_command=group[0].run_command,
            root=root,
            environment=environment,
        )
        for group in groups.values()
        for merged in _merge(group)
    ]


def _batch_names(task: StoredTask) -> frozenset[str]:
    """Return the parameters in which a task can be merged with others."""
    task_class = find_task_class(task.module, task.family)
    if task_class is None or task.batch_size is not None:
        return frozenset()
    return frozenset(task_class.batch_param_names()) & frozenset(task.parameters)


def _merge(group: Sequence[StoredTask]) -> Iterator[dict[str, Any]]:
    """Yield the parameters of batches that hold the tasks of a group, each short enough to be typed."""
    task_class = find_task_class(group[0].module, group[0].family)
    if len(group) == 1 or task_class is None:
        yield from (dict(task.parameters) for task in group)
        return
    names = _batch_names(group[0])
    parameters = {name: parameter for name, parameter in task_class.get_params() if name in names}
    for part in _parts(group, names):
        values = {
            name: tuple(parameter.parse(str(task.parameters[name])) for task in part)
            for name, parameter in parameters.items()
        }
        texts = {name: parameters[name].serialize(value) for name, value in values.items()}
        yield {**part[0].parameters, **texts}


def _parts(group: Sequence[StoredTask], names: frozenset[str]) -> Iterator[list[StoredTask]]:
    part: list[StoredTask] = []
    length = 0
    for task in group:
        own = max(len(str(task.parameters[name]).encode()) for name in names) * 2 + 8
        if part and length + own > LONGEST_ARGUMENT:
            yield part
            part, length = [], 0
        part.append(task)
        length += own
    yield part


def _is_local(run_command: str) -> bool:
    words = run_command.split()
    return "--local-scheduler" in words or "--module" not in words


def _parameter_words(name: str, text: str, parameter: luigi.Parameter | None) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if parameter is not None and _is_switch(parameter):
        return [flag] if parameter.parse(text) else []
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]
