"""Configurations that hold those of subtasks, and their form as plain JSON values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class ConfigurableField:
    """A place in a configuration for a subtask's class and its configuration.

    It is declared on a class, plain or a dataclass; each object of that class then has a `ConfiguredTask` of
    its own there.

    Parameters
    ----------
    target : type
        Default class of the subtask; its ``config_class`` is the type of its configuration.
    doc : str
        What the subtask does.
    """

    def __init__(self, target: type, doc: str) -> None:
        self.target = target
        self.doc = doc
        self._slot = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._slot = f"_{name}_task"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Return the object's own place; on the class, this declaration."""
        if instance is None:
            return self
        return vars(instance).setdefault(self._slot, ConfiguredTask(self.target))

    def __set__(self, instance: Any, value: Any) -> None:
        """Take another place, or another configuration for the present class."""
        if value is self:  # a dataclass assigns what it takes for the default
            return
        own = value if isinstance(value, ConfiguredTask) else ConfiguredTask(self.target, value)
        vars(instance)[self._slot] = own


class ConfiguredTask:
    """The class of a subtask, and its configuration, whose options are attributes here too.

    Parameters
    ----------
    target : type
        Class of the subtask.
    value : optional
        Its configuration; default ``target.config_class()``.
    """

    target: type
    value: Any

    def __init__(self, target: type, value: Any = None) -> None:
        vars(self).update(target=target, value=make_config(target) if value is None else value)

    def retarget(self, target: type) -> None:
        """Let another class do it, with its own default configuration."""
        vars(self).update(target=target, value=make_config(target))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in dir(vars(self).get("value")):
            message = f"the configuration of {vars(self).get('target')} has no option {name!r}"
            raise AttributeError(message)
        return getattr(self.value, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in {"target", "value"}:
            vars(self)[name] = value
        else:
            setattr(self.value, name, value)


class NoConfig:
    """The configuration of a task that declares none."""


def make_config(target: Any) -> Any:
    """Return the default configuration of a task class."""
    return (getattr(target, "config_class", None) or NoConfig)()


def option_names(config: Any) -> list[str]:
    """Return the names of the options of a configuration, those of subtasks too."""
    if dataclasses.is_dataclass(config):
        names = [item.name for item in dataclasses.fields(config)]
    else:
        declared = [name for klass in reversed(type(config).__mro__) for name in vars(klass)]
        names = [name for name in [*declared, *vars(config)] if not callable(getattr(config, name))]
    fields = [
        name
        for klass in reversed(type(config).__mro__)
        for name, value in vars(klass).items()
        if isinstance(value, ConfigurableField)
    ]
    return [name for name in dict.fromkeys([*names, *fields]) if not name.startswith("_")]


def plain(value: Any) -> Any:
    """Return a value as JSON can have it: configurations as objects, whatever else is no JSON as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # which no JSON has
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, ConfiguredTask):
        return {"target": _qualified(value.target), "config": plain(value.value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    return _plain_object(value)


def _plain_object(value: Any) -> Any:
    if isinstance(value, type):
        return _qualified(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Path) or not hasattr(value, "__dict__"):
        return str(value)
    return {name: plain(getattr(value, name)) for name in option_names(value)}


def _qualified(target: type) -> str:
    return f"{target.__module__}.{target.__qualname__}"
