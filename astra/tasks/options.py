"""Options of a science step in one parameter, as in ``psf.order=1,threshold=6``.

The names and types are those of the step's configuration (a frozen dataclass, whose fields may be dataclasses
too); a value that the command line names replaces the default.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

import luigi

from astra.errors import ConfigError

C = TypeVar("C")

SWITCHES = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}
LIST_SEPARATOR = ":"


class OptionsParameter(luigi.Parameter):
    """Options as ``name=value`` separated by commas; kept sorted by name, without blanks."""

    def normalize(self, value: Any) -> Any:
        """Sort the options, so that their order makes no other task; of a tuple, each."""
        if isinstance(value, (list, tuple)):
            return tuple(self.normalize(item) for item in value)
        if isinstance(value, Mapping):
            value = ",".join(f"{name}={item}" for name, item in value.items())
        return ",".join(f"{name}={item}" for name, item in sorted(read_options(value).items()))


def read_options(text: str) -> dict[str, str]:
    """Read ``name=value,name=value``.

    Raises
    ------
    ConfigError
        If a part has no ``=``, or a name is given twice with two values.
    """
    options: dict[str, str] = {}
    for part in filter(None, (item.strip() for item in text.split(","))):
        name, equals, value = (item.strip() for item in part.partition("="))
        if not (name and equals and value):
            raise ConfigError(f"an option is given as name=value, found {part!r}", option=part)
        if options.setdefault(name, value) != value:
            message = f"option {name} is given twice, as {options[name]} and as {value}"
            raise ConfigError(message, option=name)
    return options


def with_options(config: C, text: str) -> C:
    """Return a configuration with some of its fields changed.

    Parameters
    ----------
    config : dataclass
        The defaults.
    text : str
        As `read_options` takes it; a dot leads into a field that is a dataclass, ``on`` and ``off`` are
        switches, a list is separated by colons and ``none`` is None where that is allowed.

    Raises
    ------
    ConfigError
        If there is no such option, or its value is not of its type or out of range.
    """
    for name, value in read_options(text).items():
        config = _with_option(config, name, name.split("."), value)
    return config


def option_names(config: Any, prefix: str = "") -> list[str]:
    """Names of all options of a configuration."""
    names: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Mapping):
            continue  # a table is no option
        inner = dataclasses.is_dataclass(value)
        names += option_names(value, f"{prefix}{field.name}.") if inner else [prefix + field.name]
    return names


def _with_option(config: Any, full_name: str, path: list[str], text: str) -> Any:
    """Replace one field, perhaps of a field of a field."""
    fields = {field.name: field for field in dataclasses.fields(config)}
    old = getattr(config, path[0]) if path[0] in fields else {}
    if isinstance(old, Mapping) or (len(path) == 1) == dataclasses.is_dataclass(old):
        raise _unknown(config, full_name, path)
    if len(path) > 1:
        new = _with_option(old, full_name, path[1:], text)
    else:
        new = _read(full_name, text, old, "None" in str(fields[path[0]].type))
    try:
        return dataclasses.replace(config, **{path[0]: new})
    except ValueError as exc:
        raise ConfigError(f"option {full_name}={text} is not possible: {exc}", option=full_name) from exc


def _unknown(config: Any, full_name: str, path: list[str]) -> ConfigError:
    """Make the error that says which options there are."""
    known = option_names(config)
    prefix = full_name[: len(full_name) - len(".".join(path))]
    near = difflib.get_close_matches(".".join(path), known, n=1)
    hint = f"; did you mean {prefix}{near[0]}?" if near else ""
    listed = ", ".join(prefix + name for name in known)
    return ConfigError(f"option {full_name} is unknown{hint} Known are {listed}", option=full_name)


def _read(name: str, text: str, old: Any, may_be_none: bool) -> Any:
    """Read a value of the type of the default."""
    if may_be_none and text.lower() == "none":
        return None
    if isinstance(old, bool):
        return _switch(name, text)
    if isinstance(old, tuple):
        kind = type(old[0]) if old else str
        return tuple(_number(name, item, kind) for item in filter(None, text.split(LIST_SEPARATOR)))
    return _number(name, text, type(old) if old is not None else float)


def _switch(name: str, text: str) -> bool:
    """Read ``on`` or ``off``."""
    if text.lower() not in SWITCHES:
        raise ConfigError(f"option {name} is a switch, on or off, found {text!r}", option=name)
    return SWITCHES[text.lower()]


def _number(name: str, text: str, kind: type) -> Any:
    """Read a number or a word."""
    try:
        return kind(text)
    except ValueError as exc:
        wanted = {int: "an integer", float: "a number"}.get(kind, kind.__name__)
        raise ConfigError(f"option {name} must be {wanted}, found {text!r}", option=name) from exc
