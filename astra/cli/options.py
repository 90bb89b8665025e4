"""``astra config``: the options that astra reads, their values and where these come from."""

from __future__ import annotations

import argparse
import configparser
import os
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import luigi

from astra import config
from astra.cli.terminal import print_json, print_lines, table_lines
from astra.errors import ConfigError

# Variables of the environment, before luigi.cfg and after it.
ENVIRONMENT_FIRST = {
    "root": "ASTRA_ROOT",
    "database_url": "ASTRA_DATABASE_URL",
    "executor": config.EXECUTOR_VARIABLE,
}
ENVIRONMENT_LAST = {"sas_base_dir": "SAS_BASE_DIR"}
RESOLVED: dict[str, Callable[[], object]] = {
    "root": config.root,
    "database_url": config.database_url,
    "executor": lambda: os.environ.get(config.EXECUTOR_VARIABLE) or config.option("executor"),
}
TYPE_NAMES = {
    "Parameter": "text",
    "IntParameter": "integer",
    "FloatParameter": "number",
    "BoolParameter": "true or false",
}
DESCRIPTION = "Print every option that astra reads from luigi.cfg; exit with 1 if a value cannot be read."


@dataclass(frozen=True)
class Option:
    """One option.

    Parameters
    ----------
    section, name, type, description : str
        As in luigi.cfg.
    default, value : str
        Text; passwords are masked.
    source : str
        ``default``, ``environment NAME`` or the file that sets it.
    problem : str
        Why its value cannot be used; empty if it can.
    """

    section: str
    name: str
    type: str
    default: str
    value: str
    source: str
    description: str
    problem: str = ""


def add_commands(commands: Any) -> None:
    """Add ``config``."""
    parser = commands.add_parser(
        "config", help="every option, its value and its source", description=DESCRIPTION
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(function=print_options)


def print_options(options: argparse.Namespace) -> int:
    """Print the options; return 1 if a value cannot be read."""
    found = list(list_options())
    if options.json:
        print_json([asdict(option) for option in found])
    else:
        header = ("section", "option", "type", "value", "default", "from", "description")
        rows = [
            (o.section, o.name, o.type, o.problem or o.value, o.default, o.source, o.description)
            for o in found
        ]
        print_lines(table_lines(header, rows))
    return int(any(option.problem for option in found))


def list_options() -> Iterator[Option]:
    """Yield the options of all sections that astra declares."""
    sections = [cls for cls in _subclasses(luigi.Config) if cls.__module__.partition(".")[0] == "astra"]
    for section in sorted(sections, key=lambda cls: str(cls.get_task_family())):
        for name, parameter in section.get_params():
            yield _option(str(section.get_task_family()), section, name, parameter)


def _subclasses(cls: Any) -> Iterator[Any]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def _option(section: str, cls: Any, name: str, parameter: luigi.Parameter) -> Option:
    value, problem = "", ""
    try:
        value = _value(section, cls, name, parameter)
    except (configparser.Error, ConfigError, ValueError, luigi.parameter.ParameterException) as exc:
        problem = f"cannot be read: {exc}"
    kind = type(parameter).__name__
    return Option(
        section,
        name,
        TYPE_NAMES.get(kind, kind.removesuffix("Parameter").lower()),
        _masked(name, _default(parameter)),
        _masked(name, value),
        _source(section, name),
        parameter.description or "",
        problem,
    )


def _value(section: str, cls: Any, name: str, parameter: luigi.Parameter) -> str:
    if section == "astra" and name in RESOLVED:
        return str(RESOLVED[name]())
    value = parameter.task_value(cls.get_task_family(), name)
    variable = ENVIRONMENT_LAST.get(name, "")
    return str(parameter.serialize(value)) or os.environ.get(variable, "")


def _default(parameter: luigi.Parameter) -> str:
    default = parameter._default  # noqa: SLF001  # Luigi gives it only where nothing else is set
    return str(parameter.serialize(default)) if isinstance(default, (str, int, float, bool)) else ""


def _masked(name: str, text: str) -> str:
    from astra.database.engine import mask_url

    return mask_url(text) if text and name.endswith("url") else text


def _source(section: str, name: str) -> str:
    """Say where the value of an option comes from."""
    first = ENVIRONMENT_FIRST.get(name) if section == "astra" else None
    if first and os.environ.get(first):
        return f"environment {first}"
    if luigi.configuration.get_config().has_option(section, name):
        return _file_of(section, name)
    last = ENVIRONMENT_LAST.get(name) if section == "astra" else None
    return f"environment {last}" if last and os.environ.get(last) else "default"


def _file_of(section: str, name: str) -> str:
    """Return the file that sets an option: the last one that Luigi reads."""
    paths = luigi.configuration.get_config()._config_paths  # noqa: SLF001  # Luigi does not tell otherwise
    for path in map(Path, reversed(paths)):
        if path.is_file() and name in _names_in(path, section):
            return str(path.absolute())
    return "luigi.cfg"


def _names_in(path: Path, section: str) -> set[str]:
    """Return the names of the options that a file sets in a section."""
    if path.suffix == ".toml":
        return set(tomllib.loads(path.read_text()).get(section, {}))
    parser = configparser.RawConfigParser(strict=False)
    parser.read(path)
    return (
        {name.replace("-", "_") for name in parser.options(section)} if parser.has_section(section) else set()
    )
