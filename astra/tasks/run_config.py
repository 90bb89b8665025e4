"""The configuration of a run over data ids: parameters and options of a task, and what overrides them."""

from __future__ import annotations

import ast
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import luigi

from astra.errors import ConfigError
from astra.tasks.node_config import make_config

FOLDER = "config"


class TaskConfig:
    """Parameters of a Luigi task class, and the options of its ``config_class``, as attributes.

    A parameter that is not set here has Luigi's value: that of luigi.cfg, or its default.

    Parameters
    ----------
    task_class : type
        Subclass of `astra.tasks.AstraTask`.
    """

    def __init__(self, task_class: Any) -> None:
        vars(self).update(
            task_class=task_class,
            options=make_config(task_class),
            defined=dict(task_class.get_params()),
            given={},
            frozen=False,
        )

    def __getattr__(self, name: str) -> Any:
        own = vars(self)
        if name.startswith("__"):
            raise AttributeError(name)
        if name in own["given"]:
            return own["given"][name]
        if name in own["defined"]:
            parameter, family = own["defined"][name], own["task_class"].get_task_family()
            return parameter.task_value(family, name) if parameter.has_task_value(family, name) else None
        return getattr(own["options"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        own = vars(self)
        if own["frozen"]:
            message = f"the configuration is frozen, {name} cannot be set any more"
            raise ConfigError(message, name=name)
        if name in own["defined"]:
            parameter = own["defined"][name]
            own["given"][name] = parameter.normalize(
                parameter.parse(value) if isinstance(value, str) else value
            )
        elif hasattr(own["options"], name):
            setattr(own["options"], name, value)
        else:
            message = f"no config field: {name}"
            raise ConfigError(message, name=name)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that were set."""
        return dict(vars(self)["given"])

    def validate(self) -> None:
        """Let the options check themselves, if they can."""
        check = getattr(vars(self)["options"], "validate", None)
        if check is not None:
            check()

    def freeze(self) -> None:
        """Refuse further changes of the parameters."""
        vars(self)["frozen"] = True


def make_run_config(task_class: Any) -> Any:
    """Return the default configuration of runs of a task class."""
    if issubclass(task_class, luigi.Task):
        return TaskConfig(task_class)
    return make_config(task_class)


def set_option(config: Any, name: str, value: Any) -> None:
    """Set an option by its dotted name.

    Parameters
    ----------
    config : object
        The configuration.
    name : str
        As in ``sub.inner.nMax``.
    value
        The value; text is read as what the option holds now.

    Raises
    ------
    ConfigError
        If there is no such option, or it cannot have this value.
    """
    *path, last = name.split(".")
    holder = config
    for part in path:
        holder = getattr(holder, part, None)
    if holder is None or not hasattr(holder, last):
        message = f"no config field: {name}"
        raise ConfigError(message, name=name)
    is_parameter = isinstance(holder, TaskConfig) and last in vars(holder)["defined"]
    try:
        setattr(holder, last, value if is_parameter else _converted(holder, last, value))
    except (ValueError, TypeError, SyntaxError, AttributeError) as exc:
        message = f"cannot set config.{name}={value!r}: {exc}"
        raise ConfigError(message, name=name) from exc


def _converted(holder: Any, name: str, value: Any) -> Any:
    """Make a value what the option holds now."""
    current = getattr(holder, name)
    if isinstance(current, str) or not isinstance(value, str):
        found = value
    elif isinstance(current, bool) and value.lower() in {"true", "false"}:
        found = value.lower() == "true"
    else:
        found = ast.literal_eval(value)
    if isinstance(current, float) and type(found) is int:
        return float(found)
    if isinstance(current, tuple) and isinstance(found, list):
        return tuple(found)
    if current is not None and type(found) is not type(current):
        message = f"it holds {type(current).__name__}, not {type(found).__name__}"
        raise TypeError(message)
    return found


def read_options(path: Path) -> dict[str, Any]:
    """Read a file of options, TOML or JSON by its suffix; tables become dotted names.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    try:
        text = path.read_text()
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as exc:
        message = f"cannot read the configuration file {path}: {exc}"
        raise ConfigError(message, path=str(path)) from exc
    return dict(_dotted(values))


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def configure(
    task_class: Any, config: Any, overrides: list[tuple[str, Any]], root: Path, instrument: str | None
) -> None:
    """Apply all that overrides a configuration, in order, then check and freeze it.

    First the files ``config/<task>.toml`` and ``config/<instrument>/<task>.toml`` below the root, then the
    task's `apply_overrides`, then the overrides of the command line from left to right.

    Parameters
    ----------
    task_class : type
        The task.
    config : object
        Changed in place.
    overrides : list of (str, value)
        Dotted names with values; the name ``@`` stands for a file.
    root : Path
        Folder of products.
    instrument : str, optional
        Whose file is read.
    """
    folder = root / FOLDER
    name = task_class.default_name or getattr(task_class, "task_family", task_class.__name__)
    places = [folder, folder / instrument] if instrument else [folder]
    for path in [place / f"{name}.toml" for place in places]:
        if path.exists():
            _set_options(config, read_options(path))
    task_class.apply_overrides(config)
    for option, value in overrides:
        _set_options(config, read_options(Path(value)) if option == "@" else {option: value})
    for step in ("validate", "freeze"):
        if hasattr(config, step):
            getattr(config, step)()


def _set_options(config: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        set_option(config, name, value)
