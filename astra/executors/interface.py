"""What every executor does, and the values that pass between it and those who use it."""

from __future__ import annotations

import abc
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any, Self

from astra.errors import ConfigError

MAX_MEMBERS_PER_JOB = 100_000
_PRIVATE_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_KEY", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"://[^/\s@]*:[^/\s@]*@")


@dataclass(frozen=True)
class Settings:
    """How jobs run; every executor has these.

    Parameters
    ----------
    members_per_job : int
        Most members of a batch that one job runs, one after the other.
    attempts : int
        How often the same work is submitted before a lost job counts as failed.
    poll_s : float
        Time between two looks at the jobs [s].
    start_within_min : float
        Time after which a job that has not started is submitted again [min]; 0 for no limit.
    ask_s : float
        Time between two questions to the executor about jobs that write nothing of themselves [s]; those of
        `poll_s` are to the database.
    """

    members_per_job: int = 100
    attempts: int = 3
    poll_s: float = 5.0
    start_within_min: float = 0.0
    ask_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises
        ------
        ConfigError
            If one is out of its range.
        """
        check_range("members_per_job", self.members_per_job, 1, MAX_MEMBERS_PER_JOB)
        check_range("attempts", self.attempts, 1, 100)
        check_range("poll_s", self.poll_s, 0.05, 3600)
        check_range("start_within_min", self.start_within_min, 0, 1e6)
        check_range("ask_s", self.ask_s, 0, 3600)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Make them of the options of a section; those that are not given have their defaults.

        Raises
        ------
        ConfigError
            If an option is unknown or its value cannot be used.
        """
        kinds = {item.name: type(item.default) for item in fields(cls)}
        unknown = sorted(set(options) - set(kinds))
        if unknown:
            message = f"option {unknown[0]!r} is unknown; known are {', '.join(kinds)}"
            raise ConfigError(message, option=unknown[0])
        return cls(**{name: _typed(name, value, kinds[name]) for name, value in options.items()})

    def after(self, ended: Ended) -> Self | None:
        """Return the settings for another attempt after a job was lost; None if none would help."""
        return None if ended.cause is Cause.HOPELESS else self


def _typed(name: str, value: Any, kind: type) -> Any:
    """Return a value of the type of its default: of plug-ins' options the text alone is known."""
    if not isinstance(value, str) or kind is str:
        return value
    try:
        return value.strip().lower() in {"1", "true", "yes", "on"} if kind is bool else kind(value)
    except ValueError as exc:
        message = f"{name} must be of type {kind.__name__}, found {value!r}"
        raise ConfigError(message, option=name, value=value) from exc


def check_range(name: str, value: float, least: float, most: float) -> None:
    """Refuse an option that is out of its range."""
    if not least <= value <= most:
        message = f"{name} must be from {least:g} to {most:g}, found {value:g}"
        raise ConfigError(message, option=name, value=value)


class Cause(Enum):
    """Why a job has ended before its work was done."""

    MEMORY = "memory"
    TIME = "time"
    PREEMPTED = "preempted"  # by others' work, as often as that may be
    HOPELESS = "hopeless"  # the same would become of it again
    OTHER = "other"


@dataclass(frozen=True)
class Handle:
    """One job, as an executor knows it.

    Parameters
    ----------
    submission : str
        Name of the array.
    number : int
        Which of it.
    external_id : str
        What `Executor.submit` returned.
    """

    submission: str
    number: int
    external_id: str


@dataclass(frozen=True)
class Ended:
    """How a job has ended, or why it never will.

    Parameters
    ----------
    words : str
        For messages: which job, on which node, in which state, with which exit code.
    cause : Cause
        Why.
    exit_signal : int, optional
        Number of the signal that ended it.
    memory_mb, time_min : int, optional
        What it was allowed [MB], [min].
    """

    words: str
    cause: Cause = Cause.OTHER
    exit_signal: int | None = None
    memory_mb: int | None = None
    time_min: int | None = None


@dataclass(frozen=True)
class Order:
    """An array of jobs to submit.

    Parameters
    ----------
    name : str
        By which it is found again.
    command : tuple of str
        What each job runs, with its number as one more argument.
    n_jobs : int
        Their numbers are 0 to one less.
    folder : Path
        Where the outputs go, as ``NUMBER.log``; all nodes see it.
    settings : Settings
        How they run.
    comment : str
        For those who look at the cluster.
    """

    name: str
    command: tuple[str, ...]
    n_jobs: int
    folder: Path
    settings: Any
    comment: str = ""


class Executor(abc.ABC):
    """A way to run commands elsewhere.

    Another distribution registers one under the entry-point group ``astra.executors``; its options are those
    of the section of luigi.cfg that has its name.
    """

    settings_class: type[Settings] = Settings
    max_jobs = 1000  # of one submission

    def check(self) -> None:  # noqa: B027  # most need nothing
        """See that this host has what is needed to submit jobs.

        Raises
        ------
        ConfigError
            If it has not.
        """

    @abc.abstractmethod
    def submit(self, order: Order) -> str:
        """Start jobs; return the id of them all.

        Raises
        ------
        ConfigError
            If they are refused for what they ask.
        BusyError
            If there is no room for them, and none was started.
        CrowdedError
            If the same holds, and there may be room for fewer.
        UnavailableError
            If it is not known whether they were started.
        """

    @abc.abstractmethod
    def find(self, name: str) -> str | None:
        """Return the id of what was submitted under a name; None if nothing was, or it is forgotten.

        Raises
        ------
        UnavailableError
            If that cannot be told now.
        """

    @abc.abstractmethod
    def look(self, handles: Sequence[Handle]) -> dict[Handle, Ended]:
        """Return which of some jobs have ended or never will run; the others run or wait.

        Raises
        ------
        UnavailableError
            If that cannot be told now.
        """

    @abc.abstractmethod
    def cancel(self, handles: Sequence[Handle]) -> None:
        """Ask jobs to end; those that have ended already are no error."""

    def why_waiting(self, _handles: Sequence[Handle]) -> dict[str, int]:
        """Return why jobs have not started, as the last look at them told, and how many for each reason."""
        return {}

    def largest_array(self, _settings: Any) -> int:
        """Return how many jobs one submission may have."""
        return self.max_jobs

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """Let go of what was opened."""


def log_path(folder: str | Path, number: int) -> Path:
    """Return the file with the output of a job."""
    return Path(folder) / f"{number}.log"


def is_private(name: str, value: str) -> bool:
    """Say whether a variable of the environment may hold a secret, so that no cluster should keep it."""
    return bool(_PRIVATE_NAME.search(name) or _PASSWORD_IN_URL.search(value))
