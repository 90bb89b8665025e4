"""How jobs run under Slurm: the options of ``[slurm]``, checked, as arguments of ``sbatch``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from astra.errors import ConfigError
from astra.executors.interface import Cause, Ended, Settings, check_range

MEMORY_UNITS_MB = {"K": 1 / 1024, "M": 1.0, "": 1.0, "G": 1024.0, "T": 1024.0**2}
WARNING_S = 120  # before the end of its time a job is asked to write what it has done
LONG_ENOUGH_MIN = 10  # Slurm may ask a minute too early: a shorter job would hardly begin

_MEMORY = re.compile(r"(\d+)([KMGT]?)", re.IGNORECASE)
_TIME = re.compile(
    r"(?:(?P<days>\d+)-(?P<hours>\d+)(?::(?P<rest>\d+(?::\d+)?))?|(?P<clock>\d+(?::\d+){0,2}))"
)
_NAME = re.compile(r"[\w.,:+@/=-]+")
_CONSTRAINT = re.compile(r"[\w.,:&|*()\[\]+!-]+")
_EXTRA = re.compile(r"--[a-z][a-z-]*(=[^\n\0]+)?")
# What is decided here, or what would let a job escape from being found again.
_RESERVED = (
    *("array", "job-name", "output", "error", "open-mode", "parsable", "wrap", "wait", "comment"),
    *("chdir", "clusters", "cluster-constraint", "test-only", "uid", "help", "version", "usage"),
)


@dataclass(frozen=True)
class SlurmSettings(Settings):
    """The options of ``[slurm]``, further to those of `Settings`; empty ones are left to the cluster.

    Parameters
    ----------
    partition, account, qos, constraint : str
        As of ``sbatch``.
    time, max_time : str
        Time limit of a job as Slurm writes it; and the largest, up to which it grows for what ran out of it.
    memory, max_memory : str
        Memory of a job, as 4G; and the largest, up to which it grows for what was killed for it.
    time_factor, memory_factor : float
        By which they grow.
    cpus : int
        Cores of a job.
    max_running : int
        Most jobs of one array that run at a time; 0 for no limit.
    array_size : int
        Most jobs of one array; one for which there is no room is halved.
    extra : str
        Further options of ``sbatch``, one a line, as --exclusive or --reservation=night.
    setup : str
        Lines of shell that a job runs first.
    """

    ask_s: float = 20.0
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    time: str = ""
    max_time: str = ""
    time_factor: float = 2.0
    memory: str = ""
    max_memory: str = ""
    memory_factor: float = 2.0
    cpus: int = 1
    max_running: int = 0
    array_size: int = 1000
    extra: str = ""
    setup: str = ""

    def __post_init__(self) -> None:
        """Check the values; see `Settings`."""
        super().__post_init__()
        for name in ("partition", "account", "qos"):
            _check_text(name, getattr(self, name), _NAME)
        _check_text("constraint", self.constraint, _CONSTRAINT)
        check_range("cpus", self.cpus, 1, 4096)
        check_range("max_running", self.max_running, 0, 1_000_000)
        check_range("array_size", self.array_size, 1, 1_000_000)
        for name in ("time_factor", "memory_factor"):
            check_range(name, getattr(self, name), 1, 100)
        _check_growth("memory", memory_mb(self.memory), memory_mb(self.max_memory, "max_memory"))
        _check_growth("time", time_min(self.time), time_min(self.max_time, "max_time"))
        _ = self.extra_arguments

    @property
    def extra_arguments(self) -> list[str]:
        """The further options, one by one.

        Raises
        ------
        ConfigError
            If one is none, or is decided here.
        """
        lines = [line.strip() for line in self.extra.splitlines() if line.strip()]
        for line in lines:
            name = line[2:].partition("=")[0]
            # sbatch takes the beginning of a name for the name.
            if not _EXTRA.fullmatch(line) or any(item.startswith(name) for item in _RESERVED):
                message = (
                    f"extra must be options of sbatch as --name or --name=value, one a line, but none of "
                    f"{', '.join(sorted(_RESERVED))}; found {line!r}"
                )
                raise ConfigError(message, option="extra", value=line)
        return lines

    def arguments(self) -> list[str]:
        """Return the options of ``sbatch`` that ask for resources, and how jobs end.

        Slurm itself starts nothing again unless ``extra`` says so: what is lost is seen, counted and told.
        """
        given = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "time": str(time_min(self.time) or ""),
            "mem": f"{memory_mb(self.memory)}M" if self.memory else "",
            "cpus-per-task": str(self.cpus),
        }
        chosen = [f"--{name}={value}" for name, value in given.items() if value]
        if (time_min(self.time) or 0) >= LONG_ENOUGH_MIN:
            chosen.append(f"--signal=B:TERM@{WARNING_S}")
        return [*chosen, "--no-requeue", *self.extra_arguments]

    def after(self, ended: Ended) -> SlurmSettings | None:
        """Return the settings with more of what a job was killed for; None if it had the largest already.

        None, too, for what would become of it again. Where no largest is set, the number of attempts bounds
        the growth.
        """
        if ended.cause is Cause.MEMORY:
            had = memory_mb(self.memory) or ended.memory_mb
            more = _grown(had, self.memory_factor, memory_mb(self.max_memory))
            return None if more is None else replace(self, memory=f"{more}M" if more else "")
        if ended.cause is Cause.TIME:
            had = time_min(self.time) or ended.time_min
            more = _grown(had, self.time_factor, time_min(self.max_time))
            return None if more is None else replace(self, time=str(more or ""))
        return super().after(ended)


def _grown(had: int | None, factor: float, most: int | None) -> int | None:
    """Return the next larger value; 0 if nobody knows the present one, None if it is the largest."""
    if had is None:
        return 0
    if most is None:
        return math.ceil(had * factor)
    return None if had >= most else min(math.ceil(had * factor), most)


def memory_mb(text: str, name: str = "memory") -> int | None:
    """Return an amount of memory as Slurm writes it, as 4G or 500M [MB]; None if it is empty.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    if not text:
        return None
    found = _MEMORY.fullmatch(text)
    amount = math.ceil(int(found[1]) * MEMORY_UNITS_MB[found[2].upper()]) if found else 0
    if amount < 1:
        message = f"{name} must be a number with K, M, G or T [MB without], found {text!r}"
        raise ConfigError(message, option=name, value=text)
    return amount


def time_min(text: str, name: str = "time") -> int | None:
    """Return a time limit as Slurm writes it [min, rounded up]; None if it is empty.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    if not text:
        return None
    found = _TIME.fullmatch(text)
    seconds = 0.0
    if found and found["clock"]:
        parts = [int(part) for part in found["clock"].split(":")]
        hours, minutes, rest = {1: (0, *parts, 0), 2: (0, *parts), 3: tuple(parts)}[len(parts)]
        seconds = 3600 * hours + 60 * minutes + rest
    elif found:
        minutes, rest = [int(part) for part in f"{found['rest'] or 0}:0".split(":")[:2]]
        seconds = 86400 * int(found["days"]) + 3600 * int(found["hours"]) + 60 * minutes + rest
    if seconds < 1:
        message = f"{name} must be minutes, hours:minutes:seconds or days-hours:minutes, found {text!r}"
        raise ConfigError(message, option=name, value=text)
    return math.ceil(seconds / 60)


def _check_text(name: str, text: str, form: re.Pattern[str]) -> None:
    if text and (not form.fullmatch(text) or text.startswith("-")):
        message = f"{name} must be a name as sbatch takes it, found {text!r}"
        raise ConfigError(message, option=name, value=text)


def _check_growth(name: str, value: int | None, most: int | None) -> None:
    if value is not None and most is not None and most < value:
        unit = "MB" if name == "memory" else "min"
        message = f"max_{name} must not be less than {name}, found {most} and {value} [{unit}]"
        raise ConfigError(message, option=f"max_{name}", value=most)
