"""What the scheduler counts and times as it goes: to look at it costs nothing that grows with the tasks."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

from luigi.metrics import MetricsCollector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # of a call
LONG_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)  # of a task
SAMPLE_S = 5.0
KEPT_S = 300.0  # of samples


class Histogram:
    """How many of some durations [s] are up to each bound.

    Parameters
    ----------
    bounds : tuple of float
        Upper bounds, in order [s].
    """

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.n_each = [0] * (len(bounds) + 1)
        self.n_all = 0
        self.sum_s = 0.0
        self.max_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self.n_each[bisect_left(self.bounds, seconds)] += 1
        self.n_all += 1
        self.sum_s += seconds
        self.max_s = max(self.max_s, seconds)

    def add(self, other: Histogram) -> None:
        """Count the durations of another one, of the same bounds, too."""
        self.n_each = [mine + its for mine, its in zip(self.n_each, other.n_each, strict=True)]
        self.n_all += other.n_all
        self.sum_s += other.sum_s
        self.max_s = max(self.max_s, other.max_s)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bound [s] with the number of durations up to it; the last one is infinite."""
        total = 0
        for bound, n_here in zip((*self.bounds, float("inf")), self.n_each, strict=True):
            total += n_here
            yield bound, total

    def quantile(self, fraction: float) -> float:
        """Return the bound below which a fraction of the durations lies, or the longest [s]; 0 of none."""
        for bound, total in self.cumulative():
            if self.n_all and total >= fraction * self.n_all:
                return min(bound, self.max_s)
        return 0.0


class Meter(MetricsCollector):
    """Luigi's collector of what happens to tasks, before one that the user has chosen.

    Parameters
    ----------
    further : luigi.metrics.MetricsCollector
        That one.
    """

    def __init__(self, further: MetricsCollector) -> None:
        self.further = further
        self.tasks: Counter[str] = Counter()  # what has happened to tasks, by name
        self.waits = Histogram(LONG_SECONDS)  # from when a task may run to when it is given out
        self.runs = Histogram(LONG_SECONDS)
        self.calls: dict[str, Histogram] = {}  # by name of the call
        self.refused: Counter[int] = Counter()  # requests, by HTTP status
        self._samples: deque[tuple[float, Counter[str]]] = deque(maxlen=int(KEPT_S / SAMPLE_S) + 1)

    def handle_task_started(self, task: Any) -> None:
        """Count a task that is given out."""
        self.tasks["given"] += 1
        if task.ready_since is not None:
            self.waits.observe(max(0.0, time.time() - task.ready_since))
        self.further.handle_task_started(task)

    def handle_task_done(self, task: Any) -> None:
        """Count a task that is done, or was found to be."""
        if task.time_running is None:
            self.tasks["found_done"] += 1
        else:
            self.tasks["done"] += 1
            self.runs.observe(max(0.0, task.updated - task.time_running))
        self.further.handle_task_done(task)

    def handle_task_failed(self, task: Any) -> None:
        """Count a failure."""
        self.tasks["failed"] += 1
        self.further.handle_task_failed(task)

    def handle_task_disabled(self, task: Any, config: Any) -> None:
        """Count a task that is disabled for its failures, or by a worker."""
        self.tasks["disabled"] += 1
        self.further.handle_task_disabled(task, config)

    def handle_task_statistics(self, task: Any, statistics: Any) -> None:
        """Pass on what a task tells of itself."""
        self.further.handle_task_statistics(task, statistics)

    def generate_latest(self) -> Any:
        """Return what the other collector tells."""
        return self.further.generate_latest()

    def configure_http_handler(self, http_handler: Any) -> None:
        """Pass on the handler."""
        self.further.configure_http_handler(http_handler)

    def note_call(self, name: str, seconds: float) -> None:
        """Count a call that took some time [s]."""
        if name not in self.calls:
            self.calls[name] = Histogram()
        self.calls[name].observe(seconds)

    def all_calls(self) -> Histogram:
        """Return the durations of all calls, whatever their name."""
        found = Histogram()
        for histogram in self.calls.values():
            found.add(histogram)
        return found

    def sample(self) -> None:
        """Keep the counts of this moment; to be called every `SAMPLE_S`."""
        self._samples.append((time.monotonic(), self.tasks.copy()))

    def rate(self, name: str, over_s: float) -> float:
        """Return how often something happened to a task, in about the last seconds [1/s]; 0 if unknown."""
        now = time.monotonic()
        kept = [sample for sample in self._samples if now - sample[0] <= over_s]
        if not kept or now - kept[0][0] < 1.0:
            return 0.0
        return (self.tasks[name] - kept[0][1][name]) / (now - kept[0][0])
