"""The command line of a run over data ids: its options, its data ids, its exit status."""

from __future__ import annotations

import argparse
import itertools
import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import luigi

from astra import config as settings
from astra.errors import ConfigError
from astra.tasks.id_ranges import check_count, is_range, read_range
from astra.tasks.run_config import configure, make_run_config
from astra.tasks.task_runner import MAX_EXIT_STATUS, TaskRunner, count_failed

EXIT_PRECALL = 1
LEVELS = {
    "trace": 5,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class _Override(argparse.Action):
    """Collect ``NAME=VALUE`` and files in the order in which they stand."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        found = list(getattr(namespace, "overrides", None) or [])
        for word in values:
            name, separator, value = word.partition("=")
            if self.dest == "config_file":
                found.append(("@", word))
            elif separator:
                found.append((name, value))
            else:
                parser.error(f"{option_string} needs NAME=VALUE, not {word!r}")
        namespace.overrides = found


class _DataIds(argparse.Action):
    """Append the data ids of one ``--id``."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        try:
            namespace.id = [*namespace.id, *parse_data_ids(values, self.const)]
        except ValueError as exc:
            parser.error(f"{option_string}: {exc}")


class _Parser(argparse.ArgumentParser):
    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """Let a line of an ``@file`` have many arguments, and comments."""
        return arg_line.partition("#")[0].split()


def build_parser(task_class: Any) -> argparse.ArgumentParser:
    """Return the parser of the command line of a task class."""
    parser = _Parser(prog=task_class.__name__, fromfile_prefix_chars="@")
    text = "data ids: values separated by ^, ranges a..b or a..b:stride, all combinations; may be repeated"
    parser.add_argument(
        "--id", nargs="+", action=_DataIds, const=task_class, default=[], metavar="KEY=VALUE", help=text
    )
    parser.add_argument(
        "-c", "--config", nargs="+", action=_Override, default=None, metavar="NAME=VALUE", help="options"
    )
    parser.add_argument(
        "-C", "--config-file", nargs="+", action=_Override, metavar="FILE", help="options, in TOML or JSON"
    )
    parser.add_argument("-L", "--loglevel", nargs="+", default=[], metavar="LEVEL|COMPONENT=LEVEL")
    parser.add_argument("-j", "--processes", type=int, default=1, help="tasks at a time [default: 1]")
    parser.add_argument("-t", "--timeout", type=float, help="longest time of a task [s; default: 30 days]")
    flags = {
        "--do-raise": "let the first error through",
        "--no-exit": "return, even if data ids failed",
        "--clobber-config": "replace the stored configuration and schemas",
        "--no-backup-config": "keep no copy of a replaced configuration",
        "--clobber-versions": "replace the stored package versions",
        "--no-versions": "do not look at package versions",
    }
    for flag, text in flags.items():
        parser.add_argument(flag, action="store_true", help=text)
    parser.set_defaults(overrides=[], store=None, log=None)
    return parser


def parse_data_ids(words: Sequence[str], task_class: Any) -> list[dict[str, Any]]:
    """Return the combinations of the values of all keys.

    Parameters
    ----------
    words : sequence of str
        As in ``visit=1^2``, ``detector=0..3``; ranges include both ends.
    task_class : type
        Whose parameters the keys are; a key that is none warns, and its values stay text.

    Raises
    ------
    ValueError
        If a word has no value, a key stands twice, a value is not of its parameter's type, or there are too
        many combinations.
    """
    values: dict[str, list[Any]] = {}
    for word in words:
        key, separator, text = word.partition("=")
        if not separator or not key or not text:
            message = f"{word!r} is not KEY=VALUE"
            raise ValueError(message)
        if key in values:
            message = f"{key} is given twice"
            raise ValueError(message)
        values[key] = [_cast(task_class, key, one) for part in text.split("^") for one in _expand(part)]
    check_count(math.prod(map(len, values.values())))
    return [dict(zip(values, one, strict=True)) for one in itertools.product(*values.values())]


def _expand(part: str) -> list[str]:
    return [str(number) for number in read_range(part)] if is_range(part) else [part]


def _cast(task_class: Any, key: str, text: str) -> Any:
    defined = dict(task_class.get_params()) if issubclass(task_class, luigi.Task) else {}
    if key not in defined:
        logging.getLogger("astra").warning("%s has no parameter %s: kept as text", task_class.__name__, key)
        return text
    try:
        return defined[key].normalize(defined[key].parse(text))
    except (ValueError, TypeError) as exc:
        message = f"{key}={text}: {exc}"
        raise ValueError(message) from exc


def configured_command(task_class: Any, config: Any, **options: Any) -> argparse.Namespace:
    """Return the command that runs from Python, as a command line would.

    Raises
    ------
    TypeError
        If there is no such option.
    ConfigError
        If the configuration has no such value.
    """
    command = build_parser(task_class).parse_args([])
    unknown = [name for name in options if name not in vars(command)]
    if unknown:
        message = f"astra.run has no option {unknown[0]!r}"
        raise TypeError(message)
    vars(command).update(options)
    if isinstance(config, Mapping):
        command.overrides, config = list(config.items()), None
    _configure(task_class, config, command)
    return command


def _configure(task_class: Any, config: Any, command: argparse.Namespace) -> None:
    """Complete a command by its configuration, and keep libraries to one thread a process."""
    command.config = make_run_config(task_class) if config is None else config
    cameras = {data_id.get("instrument") for data_id in command.id}
    instrument = cameras.pop() if len(cameras) == 1 else None
    configure(task_class, command.config, command.overrides, settings.root(), instrument)
    if not os.environ.get("ASTRA_ALLOW_IMPLICIT_THREADS"):
        os.environ.update((name, os.environ.get(name, "1")) for name in THREADS)


def parse_and_run(
    task_class: Any,
    args: Sequence[str] | None = None,
    config: Any = None,
    log: logging.Logger | None = None,
    do_return_results: bool = False,
) -> SimpleNamespace:
    """Run a task class over the data ids of a command line.

    Exits with the number of failed data ids, at most 250, or 1 if nothing could start; with ``--no-exit`` it
    logs that and returns.

    Parameters
    ----------
    task_class : type
        The task.
    args : sequence of str, optional
        Arguments; default those of the process.
    config : object, optional
        Configuration to begin with; default the task's.
    log : logging.Logger, optional
        Where the runner logs.
    do_return_results : bool, optional
        Return reference, metadata and result of each data id.

    Returns
    -------
    run : SimpleNamespace
        ``argumentParser``, ``parsedCmd``, ``taskRunner`` and ``resultList``.

    Raises
    ------
    SystemExit
        If data ids failed, nothing could start, or the arguments are wrong (2).
    """
    words = list(sys.argv[1:] if args is None else args)
    logger = log or logging.getLogger("astra")
    parser = build_parser(task_class)
    command = parser.parse_args(words)
    command.log = logger
    try:
        _set_levels(command.loglevel)
        _configure(task_class, config, command)
    except ConfigError as exc:
        parser.error(str(exc))
    logger.info("Running: %s %s", task_class.__name__, " ".join(words))
    runner = (task_class.runner_class or TaskRunner)(task_class, command, do_return_results)
    results = list(runner.run(command))
    _leave(runner, count_failed(results, logger), command, logger)
    return SimpleNamespace(argumentParser=parser, parsedCmd=command, taskRunner=runner, resultList=results)


def _leave(runner: Any, n_failed: int, command: argparse.Namespace, logger: logging.Logger) -> None:
    """Exit if anything failed, unless told to stay."""
    started = getattr(runner, "precall_succeeded", True)
    status = min(n_failed, MAX_EXIT_STATUS) if started else EXIT_PRECALL
    if not status:
        return
    if not command.no_exit:
        sys.exit(status)
    logger.error("%d data ids failed" if started else "nothing was run (%d failed)", n_failed)


def _set_levels(words: Sequence[str]) -> None:
    for word in words:
        component, _, level = word.rpartition("=")
        if level.lower() not in LEVELS:
            message = f"the log level {level!r} is none of {', '.join(LEVELS)}"
            raise ConfigError(message, level=level)
        logging.getLogger(component or "astra").setLevel(LEVELS[level.lower()])
