"""The tasks that may run, in the order in which they are given out: by priority, then by age.

Tasks of one kind (`Kind`) differ for the scheduler in their rank alone, so that there is a heap for each kind
and one of the first task of each. What cannot run now for its resources is then passed over a kind at a time.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from astra.scheduler.scheduled_task import Entry, Kind, ScheduledTask, WorkerIds

MIN_LEFT_OVER = 64  # entries that are out of date, in a heap, before it is made anew

Group = tuple[str, Any, str]  # tasks that may run as one batch: family, resources, other parameters


class ReadyQueue:
    """The queue.

    A task has one entry in it or none (``task.entry``). An entry that its task no longer has is left over,
    and dropped when it comes up.
    """

    def __init__(self) -> None:
        self.n_ready = 0
        self.n_with_resources = 0  # of those that may run
        self.batched_names: dict[str, tuple[str, ...]] = {}  # by family: parameters that a batch may vary
        self._firsts: list[Entry] = []  # the first of each kind
        self._kinds: dict[Any, Kind] = {}
        self._kinds_of: defaultdict[str, set[Kind]] = defaultdict(set)
        self._groups: dict[Group, list[Entry]] = {}
        self._numbers = count()
        self._ages = Ages()

    def oldest_since(self) -> float | None:
        """Return since when the task that waits longest may run [s since the epoch], if there is one."""
        return self._ages.oldest()

    # -- kinds ----------------------------------------------------------------------------------------------

    def kind(self, resources: dict[str, int], workers: WorkerIds, runnable: bool) -> Kind:
        """Return the kind of tasks with these resources and workers."""
        found = self._kinds.get(Kind.key_of(resources, workers, runnable))
        if found is None:
            found = Kind(resources, workers, runnable)
            self._kinds[found.key] = found
            for worker in workers:
                self._kinds_of[worker].add(found)
        return found

    def kinds_of(self, worker: str) -> frozenset[Kind] | set[Kind]:
        """Return the kinds that a worker can run."""
        return self._kinds_of.get(worker, frozenset())

    def forget_kind(self, kind: Kind) -> None:
        """Drop a kind that no task is of."""
        self._kinds.pop(kind.key, None)
        kind.listed = None
        for worker in kind.workers:
            self._kinds_of[worker].discard(kind)
            if not self._kinds_of[worker]:
                del self._kinds_of[worker]

    def firsts(self, kinds: Iterable[Kind] | None = None) -> Iterator[Entry]:
        """Yield the first entry of each of some kinds, by default of all; nothing for those without any."""
        for kind in list(self._kinds.values() if kinds is None else kinds):
            entry = self._first(kind)
            if entry is not None:
                yield entry

    # -- tasks ----------------------------------------------------------------------------------------------

    def put(self, task: ScheduledTask) -> None:
        """Put in a task that may run; again, if its rank, kind or group has changed."""
        kind, rank = task.kind, -_number(task.priority)
        group = self._group_of(task)
        before, since = task.entry, task.ready_since
        if before is not None:
            if before[0] == rank and before[4] is kind and task.group == group:
                return
            self.take(task)
        task.ready_since = self._ages.note(task, self.n_ready) if since is None else since
        entry = task.entry = (rank, task.time, next(self._numbers), task, kind)
        self.n_ready += 1
        self.n_with_resources += bool(kind.resources)
        heappush(kind.heap, entry)
        if kind.heap[0] is entry:
            self._list(kind, entry)
        task.group = group
        if group is not None:
            heappush(self._groups.setdefault(group, []), entry)

    def take(self, task: ScheduledTask) -> None:
        """Take out a task that may not run any more."""
        entry, task.ready_since = task.entry, None
        if entry is not None:
            task.entry = task.group = None
            self.n_ready -= 1
            self.n_with_resources -= bool(entry[4].resources)

    def _list(self, kind: Kind, entry: Entry) -> None:
        kind.listed = entry
        heappush(self._firsts, entry)

    def _first(self, kind: Kind) -> Entry | None:
        """Return the first entry of a kind, without those that are left over."""
        heap = kind.heap
        while heap and heap[0][3].entry is not heap[0]:
            heappop(heap)
        return heap[0] if heap else None

    # -- batches --------------------------------------------------------------------------------------------

    def set_batched_names(self, family: str, names: tuple[str, ...]) -> bool:
        """Set which parameters a batch of a family may vary; return whether that is new."""
        if self.batched_names.get(family) == names:
            return False
        self.batched_names[family] = names
        return True

    def _group_of(self, task: ScheduledTask) -> Group | None:
        names = self.batched_names.get(task.family) if task.batchable else None
        return (task.family, task.kind.key[0], _others(task.params, names)) if names else None

    def followers(
        self, first: ScheduledTask, accept: Callable[[ScheduledTask], bool], n_most: float
    ) -> list[Any]:
        """Return the tasks after one, in order, that may run in a batch with it, ``n_most`` at most.

        Parameters
        ----------
        first : ScheduledTask
            The first of the batch; it has an entry.
        accept : callable
            Whether a task may be in it.
        n_most : float
            Number of tasks besides the first, at most; may be infinite.
        """
        begin = first.entry
        if begin is None or first.group is None:
            return []
        heap = self._groups.get(first.group, [])
        found: list[ScheduledTask] = []
        passed: list[Entry] = []
        while heap and len(found) < n_most:
            entry = heappop(heap)
            task = entry[3]
            if task.entry is not entry:
                continue
            passed.append(entry)
            if task is not first and entry > begin and accept(task):
                found.append(task)
        for entry in passed:
            heappush(heap, entry)
        return found

    def tidy(self) -> None:
        """Drop the groups of which all tasks have run or gone."""
        for group, heap in list(self._groups.items()):
            while heap and heap[0][3].entry is not heap[0]:
                heappop(heap)
            if not heap:
                del self._groups[group]

    # -- passes ---------------------------------------------------------------------------------------------

    def passes(self) -> Pass:
        """Begin a pass over the tasks in order; to be used in a ``with`` block."""
        if len(self._firsts) > 4 * len(self._kinds) + MIN_LEFT_OVER:
            self._firsts = [kind.listed for kind in self._kinds.values() if kind.listed is not None]
            heapify(self._firsts)
        return Pass(self)


class Ages:
    """Tasks that may run, in the order in which they first could; those that no longer may are dropped."""

    def __init__(self) -> None:
        self._since: deque[tuple[float, ScheduledTask]] = deque()

    def note(self, task: ScheduledTask, n_ready: int) -> float:
        """Note a task that may run from now on, beside others; return the time [s since the epoch]."""
        if len(self._since) > 2 * n_ready + MIN_LEFT_OVER:
            self._since = deque(entry for entry in self._since if entry[1].ready_since == entry[0])
        now = time.time()
        self._since.append((now, task))
        return now

    def oldest(self) -> float | None:
        """Return the time of the first that still may [s since the epoch]."""
        while self._since and self._since[0][1].ready_since != self._since[0][0]:
            self._since.popleft()
        return self._since[0][0] if self._since else None


class Pass:
    """A pass over the tasks that may run, in order, which leaves the queue as it was.

    A kind of which the caller wants no more is passed over with `skip`.
    """

    def __init__(self, queue: ReadyQueue) -> None:
        self._queue = queue
        self._taken: list[Entry] = []
        self._seen: list[Kind] = []
        self._skipped = False

    def __enter__(self) -> Pass:
        return self

    def __exit__(self, *_: object) -> None:
        for entry in self._taken:
            heappush(entry[4].heap, entry)
        for kind in self._seen:
            first = self._queue._first(kind)  # noqa: SLF001  # a part of it
            if first is not None and kind.listed is not first:
                self._queue._list(kind, first)  # noqa: SLF001

    def skip(self) -> None:
        """Pass over the rest of the kind that came last."""
        self._skipped = True

    def __iter__(self) -> Iterator[Entry]:
        queue = self._queue
        firsts = queue._firsts  # noqa: SLF001
        while firsts:
            listed = heappop(firsts)
            kind = listed[4]
            if kind.listed is not listed:
                continue
            kind.listed = None
            first = queue._first(kind)  # noqa: SLF001
            if first is not listed:
                if first is not None:
                    queue._list(kind, first)  # noqa: SLF001
                continue
            self._seen.append(kind)
            self._skipped = False
            yield first
            if not self._skipped:
                self._taken.append(heappop(kind.heap))
                following = queue._first(kind)  # noqa: SLF001
                if following is not None:
                    queue._list(kind, following)  # noqa: SLF001


def _others(params: Mapping[str, Any], names: tuple[str, ...] | None) -> str:
    """Return the parameters that do not vary in a batch, as text."""
    return repr(sorted(item for item in params.items() if item[0] not in (names or ())))


def _number(priority: Any) -> float:
    return priority if isinstance(priority, (int, float)) else 0
