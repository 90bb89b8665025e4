"""What Slurm's commands print about jobs, read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from astra.executors.interface import Cause, Ended

GONE = "UNKNOWN"
LIVE = frozenset(
    (
        *("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "STAGE_OUT"),
        *(
            "SIGNALING",
            "RESIZING",
            "REQUEUED",
            "REQUEUE_FED",
            "REQUEUE_HOLD",
            "SPECIAL_EXIT",
            "RESV_DEL_HOLD",
        ),
    )
)
# Reasons for which a pending job will not start by itself, nor when the cluster has room.
NEVER = re.compile(
    r"BadConstraints|DependencyNeverSatisfied|launch.failed.requeued.held|InvalidAccount|InvalidQOS"
    r"|QOSNotAllowed|AccountNotAllowed|JobHoldMaxRequeue|PartitionTimeLimit|PartitionNodeLimit|PartitionConfig"
    r"|Max\w+PerJob|Max\w+PerNode|MaxMemPerLimit|QOSMin\w+",
    re.IGNORECASE,
)
MEANINGS = {  # of those that do not say it themselves
    "PartitionConfig": "it asks for more time, nodes or memory than its partition allows",
    "BadConstraints": "no node has what it asks for",
}
WAITING = frozenset(("PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT"))
KILL = 9
ASKED_EXIT = 75  # of a job that has been asked to end, and has: EX_TEMPFAIL
NEAR_END_S = 240  # of its time limit

_FIELD = re.compile(r"(?:^|\s)(\w+(?:/\w+)?)=(\S*)")
_INDEX_RANGE = re.compile(r"(\d+)(?:-(\d+))?(?::(\d+))?")
_UNITS_MB = {"K": 1 / 1024, "M": 1.0, "": 1.0, "G": 1024.0, "T": 1024.0**2}


@dataclass(frozen=True)
class Report:
    """What Slurm says of one job.

    Parameters
    ----------
    state, reason, node, exit_code : str
        As it prints them.
    run_time_s : float
        How long it ran [s].
    memory_mb, time_min : int, optional
        What it was allowed [MB], [min].
    """

    state: str
    reason: str = ""
    node: str = ""
    exit_code: str = ""
    run_time_s: float = 0.0
    memory_mb: int | None = None
    time_min: int | None = None

    @property
    def exit_signal(self) -> int | None:
        """Number of the signal that ended it."""
        text = self.exit_code.partition(":")[2]
        return int(text) or None if text.isdigit() else None

    @property
    def cause(self) -> Cause:
        """Why it ended, as far as that calls for something else than to run it once more.

        Slurm without cgroups kills a job that is over its memory and reports it as failed with signal 9.
        """
        if self.state == "OUT_OF_MEMORY" or (self.state == "FAILED" and self.exit_signal == KILL):
            return Cause.MEMORY
        if self.state == "DEADLINE" or self.state in WAITING:  # that will never start
            return Cause.HOPELESS
        if self.state == "PREEMPTED":
            return Cause.PREEMPTED
        asked = self.exit_code == f"{ASKED_EXIT}:0"
        near_end = self.time_min is not None and self.run_time_s > 60 * self.time_min - NEAR_END_S
        if self.state == "TIMEOUT" or (asked and near_end):
            return Cause.TIME
        return Cause.OTHER

    def ended(self, name: str) -> Ended:
        """Return it in words, with the name of the job."""
        node = f" on node {self.node}" if self.node not in {"", "(null)", "None assigned"} else ""
        code = f", exit code {self.exit_code}" if self.exit_code else ""
        reason = f" ({self.reason})" if self.reason not in {"", "None"} else ""
        state = "no longer known to Slurm" if self.state == GONE else self.state
        words = f"Slurm job {name}{node} is {state}{code}{reason}{self._lack()}"
        if self.state in WAITING:
            meaning = f": {MEANINGS[self.reason]}" if self.reason in MEANINGS else ""
            words = f"Slurm job {name} would never start ({self.reason}{meaning}) and is cancelled"
        return Ended(words, self.cause, self.exit_signal, self.memory_mb, self.time_min)

    def _lack(self) -> str:
        """Say of what it had too little, and how much it had."""
        if self.cause is Cause.MEMORY:
            return f", killed over its memory of {self.memory_mb} MB" if self.memory_mb else ", killed"
        if self.cause is Cause.TIME:
            return f", at its time limit of {self.time_min} min" if self.time_min else ", at its time limit"
        return ""


def is_live(state: str) -> bool:
    """Say whether a job waits or runs."""
    return state in LIVE


def why_never(state: str, reason: str) -> str | None:
    """Return why a job that waits will never start; None if it may."""
    return reason if state in WAITING and NEVER.search(reason) else None


def parse_queue(text: str) -> dict[tuple[str, int], tuple[str, str]]:
    """Read lines of ``squeue``: array, number, state and reason."""
    found = {}
    for line in text.splitlines():
        array, number, state, reason = [*line.strip().split("|"), "", "", ""][:4]
        if number.isdigit():
            found[array, int(number)] = (state, reason)
    return found


def parse_reports(text: str) -> dict[int, Report]:
    """Read what ``scontrol --oneliner show job`` prints: a line for each job, or for some that wait together.

    Parameters
    ----------
    text : str
        What it printed of one array.

    Returns
    -------
    reports : dict
        By the number of the job.
    """
    found: dict[int, Report] = {}
    for line in text.splitlines():
        values = dict(_FIELD.findall(line))
        if "JobState" not in values:
            continue
        report = Report(
            values["JobState"],
            values.get("Reason", ""),
            values.get("NodeList", ""),
            values.get("ExitCode", ""),
            _seconds(values.get("RunTime", "")),
            _memory(values),
            _minutes(values.get("TimeLimit", "")),
        )
        found.update(dict.fromkeys(_indices(values.get("ArrayTaskId", "")), report))
    return found


def parse_accounting(text: str) -> dict[int, Report]:
    """Read what ``sacct`` prints of jobs of one array, by their numbers.

    A job that is asked for here is unknown to the controller: one that accounting believes to run is gone.
    """
    found = {}
    for line in text.splitlines():
        job, state, exit_code, node, elapsed, limit, memory, cpus = [*line.split("|"), *[""] * 8][:8]
        number = job.partition("_")[2]
        if not number.isdigit() or not state:
            continue
        word = state.split()[0]
        found[int(number)] = Report(
            GONE if is_live(word) else word,
            node=node,
            exit_code=exit_code,
            run_time_s=float(elapsed or 0),
            memory_mb=_requested(memory, cpus),
            time_min=int(limit) if limit.isdigit() else None,
        )
    return found


def _indices(text: str) -> Iterator[int]:
    """Yield the array indices of a list of them, as 1,3-5%2."""
    for first, last, step in _INDEX_RANGE.findall(text.partition("%")[0]):
        yield from range(int(first), int(last or first) + 1, int(step or 1))


def _requested(text: str, cpus: str) -> int | None:
    """Return the memory of a job as accounting has it [MB]; c means for each core, as older versions say."""
    found = re.fullmatch(r"([\d.]+)([KMGT]?)([cn]?)", text)
    if not found or not float(found[1]):
        return None
    factor = int(cpus) if found[3] == "c" and cpus.isdigit() else 1
    return round(float(found[1]) * _UNITS_MB[found[2]]) * factor


def _memory(values: dict[str, str]) -> int | None:
    """Return the memory of a job on its node [MB]."""
    for name, factor in (("MinMemoryNode", 1), ("MinMemoryCPU", int(values.get("NumCPUs", "1") or 1))):
        found = re.fullmatch(r"([\d.]+)([KMGT]?)", values.get(name, ""))
        if found and float(found[1]):
            return round(float(found[1]) * _UNITS_MB[found[2]]) * factor
    return None


def _seconds(text: str) -> float:
    """Return a time as Slurm prints it, days-hours:minutes:seconds [s]."""
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if len(parts) != 3 or not all(part.isdigit() for part in [*parts, days or "0"]):
        return 0.0
    hours, minutes, seconds = map(int, parts)
    return 86400.0 * int(days or 0) + 3600.0 * hours + 60.0 * minutes + seconds


def _minutes(text: str) -> int | None:
    seconds = _seconds(text)
    return round(seconds / 60) if seconds else None
