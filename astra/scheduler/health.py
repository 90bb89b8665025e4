"""How the scheduler and its workers are: figures of one moment, as pages and as Prometheus reads them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from astra.scheduler.journal import Journal
from astra.scheduler.metrics import Histogram, Meter

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_WORKERS = 200  # listed one by one, those that have been silent longest first
STATUSES = (
    "PENDING",
    "RUNNING",
    "BATCH_RUNNING",
    "DONE",
    "FAILED",
    "DISABLED",
    "UNKNOWN",
)
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class WorkerHealth:
    """One worker.

    Parameters
    ----------
    name, host : str
        Its id, and where it runs.
    state : str
        ``active``, ``silent``, ``ended`` as it has said itself, or ``disabled``.
    n_processes, n_running, n_held : int
        How many tasks it can run at a time, has, and may not have begun of these.
    silent_s, known_s : float
        Time since it was last heard of, and since the first time [s].
    """

    name: str
    host: str
    state: str
    n_processes: int
    n_running: int
    n_held: int
    silent_s: float
    known_s: float


@dataclass(frozen=True)
class Health:
    """The scheduler at one moment.

    Parameters
    ----------
    tasks : dict
        Number of tasks by status.
    n_ready : int
        Number of tasks that may run now.
    oldest_ready_s : float
        How long the first of them has waited [s]; 0 if there is none.
    workers : list of WorkerHealth
        The workers, those that have been silent longest first.
    paused : bool
        Whether no work is given out.
    lease_s : float
        Length of a lease [s].
    meter : Meter
        What has been counted.
    tally : mapping
        What has happened to leases and messages, by name.
    journal : Journal or None
        Where the state is written.
    """

    tasks: Mapping[str, int]
    n_ready: int
    oldest_ready_s: float
    workers: list[WorkerHealth]
    paused: bool
    lease_s: float
    meter: Meter
    tally: Mapping[str, int]
    journal: Journal | None

    def n_workers(self, state: str) -> int:
        """Return the number of workers in a state."""
        return sum(worker.state == state for worker in self.workers)


# -- Prometheus ---------------------------------------------------------------------------------------------

TASK_EVENTS = {
    "given": "Tasks given out to run.",
    "done": "Runs that ended well.",
    "found_done": "Tasks that were found to be done when they were planned.",
    "failed": "Failures, those of dead workers among them.",
    "disabled": "Tasks disabled, for their failures or by a worker.",
}
TALLIES = {
    "leases_expired": "Workers that were silent for longer than their lease.",
    "runs_lost": "Runs and held tasks taken from silent workers.",
    "runs_resumed": "Of these, those that their workers came back to.",
    "reports_void": "Late reports that were not taken, as another run had begun.",
    "messages_twice": "Messages that came twice.",
    "give_back_asked": "Times that a worker was asked to give back what it had not begun.",
    "given_back": "Tasks given back without having been begun.",
}


def exposition(health: Health) -> str:
    """Return the figures in the text format of Prometheus."""
    return "\n".join(_lines(health)) + "\n"


def _lines(health: Health) -> Iterator[str]:
    meter, tally = health.meter, health.tally
    by_status = [({"status": status}, health.tasks.get(status, 0)) for status in STATUSES]
    yield from _family("tasks", "gauge", "Tasks by status.", by_status)
    yield from _one("ready_tasks", "gauge", "Tasks that may run now.", health.n_ready)
    yield from _one(
        "oldest_ready_seconds", "gauge", "How long the first of them has waited.", health.oldest_ready_s
    )
    for name, text in TASK_EVENTS.items():
        yield from _one(f"tasks_{name}_total", "counter", text, meter.tasks[name])
    for name, text in TALLIES.items():
        yield from _one(f"{name}_total", "counter", text, tally.get(name, 0))
    yield from _histograms("wait_seconds", "Time from when a task may run to its start.", {"": meter.waits})
    yield from _histograms("run_seconds", "Time from the start of a run to its good end.", {"": meter.runs})
    yield from _histograms("call_seconds", "Time in which a call was answered.", meter.calls, "method")
    refused = [({"code": str(code)}, number) for code, number in sorted(meter.refused.items())]
    yield from _family("refused_requests_total", "counter", "Requests refused.", refused)
    yield from _of_workers(health)
    yield from _of_journal(health.journal)
    yield from _of_process()


def _of_workers(health: Health) -> Iterator[str]:
    states = [
        ({"state": state}, health.n_workers(state)) for state in ("active", "silent", "ended", "disabled")
    ]
    yield from _family("workers", "gauge", "Workers by state.", states)
    yield from _one("paused", "gauge", "Whether no work is given out.", int(health.paused))
    yield from _one("lease_seconds", "gauge", "Silence after which a worker loses its tasks.", health.lease_s)
    some = health.workers[:MAX_WORKERS]
    names = [{"worker": worker.name, "host": worker.host} for worker in some]
    silent = [worker.silent_s for worker in some]
    running = [worker.n_running for worker in some]
    yield from _family(
        "worker_silent_seconds", "gauge", "Time since a worker was heard of.", zip(names, silent, strict=True)
    )
    yield from _family(
        "worker_running_tasks", "gauge", "Tasks that a worker has.", zip(names, running, strict=True)
    )


def _of_journal(journal: Journal | None) -> Iterator[str]:
    if journal is None:
        return
    yield from _one("journal_bytes", "gauge", "Length of the journal.", journal.size)
    yield from _one(
        "journal_replaced_total", "counter", "Times that the journal was shortened.", journal.n_replaced
    )
    yield from _histograms("journal_write_seconds", "Time of a write.", {"": journal.writes})
    yield from _histograms("journal_sync_seconds", "Time of forcing to the disk.", {"": journal.syncs})


def _of_process() -> Iterator[str]:
    """Yield what Prometheus' own clients tell of a process, by the same names."""
    memory = process_memory()
    if memory:
        yield from _family("process_resident_memory_bytes", "gauge", "Memory.", [({}, memory)], prefix="")
    cpu_s = sum(os.times()[:2])
    yield from _family("process_cpu_seconds_total", "counter", "CPU time.", [({}, cpu_s)], prefix="")


def process_memory() -> int:
    """Return the resident memory of this process [B]; 0 if the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


def _one(name: str, kind: str, text: str, value: float) -> Iterator[str]:
    return _family(name, kind, text, [({}, value)])


def _family(
    name: str,
    kind: str,
    text: str,
    values: Iterable[tuple[Mapping[str, str], float]],
    prefix: str = "astra_scheduler_",
) -> Iterator[str]:
    yield f"# HELP {prefix}{name} {text}"
    yield f"# TYPE {prefix}{name} {kind}"
    for labels, value in values:
        yield f"{prefix}{name}{_labels(labels)} {_number(value)}"


def _histograms(name: str, text: str, found: Mapping[str, Histogram], label: str = "") -> Iterator[str]:
    full = f"astra_scheduler_{name}"
    yield f"# HELP {full} {text}"
    yield f"# TYPE {full} histogram"
    for key, histogram in sorted(found.items()):
        labels = {label: key} if label else {}
        for bound, total in histogram.cumulative():
            yield f"{full}_bucket{_labels({**labels, 'le': _number(bound)})} {total}"
        yield f"{full}_sum{_labels(labels)} {_number(histogram.sum_s)}"
        yield f"{full}_count{_labels(labels)} {histogram.n_all}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else f"{value:.12g}"


# -- the page -----------------------------------------------------------------------------------------------

_pages = jinja2.Environment(
    loader=jinja2.PackageLoader("astra.scheduler"), autoescape=True, undefined=jinja2.StrictUndefined
)


def page(health: Health) -> str:
    """Return the page, as HTML; it needs no script and loads itself anew every few seconds."""
    return _pages.get_template("health.html").render(
        health=health,
        meter=health.meter,
        statuses=STATUSES,
        events={name: text for name, text in {**TASK_EVENTS}.items() if name != "found_done"},
        tallies=TALLIES,
        workers=health.workers[:MAX_WORKERS],
        memory_mb=process_memory() / 1e6,
        now=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        duration=duration,
    )


def line(health: Health) -> str:
    """Return what stands over Luigi's page: the most important figures, as HTML that loads itself anew."""
    return _pages.get_template("health_line.html").render(
        health=health, meter=health.meter, calls=health.meter.all_calls(), duration=duration
    )


def duration(seconds: float) -> Any:
    """Return a time [s] as people say it."""
    for limit, unit, length in ((1.0, "ms", 1e-3), (120.0, "s", 1.0), (7200.0, "min", 60.0)):
        if seconds < limit:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 3600:.3g} h"
