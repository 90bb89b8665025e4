"""What Luigi's pages ask for, within limits: one open page must not keep the workers waiting.

The server answers one call at a time. Lists and graphs are cut where they would take longer than some tens
of milliseconds; Luigi's own limits of 100,000 take seconds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

from luigi.scheduler import TASK_FAMILY_RE
from luigi.task_status import RUNNING, UNKNOWN

from astra.scheduler.bulk import BulkScheduler
from astra.scheduler.scheduled_task import ScheduledTask

MAX_GRAPH_NODES = 1000  # a browser cannot show more
MAX_GRAPH_EDGES = 20_000
MAX_SHOWN_TASKS = 2000
MAX_RUNNING = 100  # shown of one worker
MAX_SEARCHED = 50_000  # tasks that a search looks at

Needs = Callable[[ScheduledTask], Iterable[str]]


class PagedScheduler(BulkScheduler):
    """The scheduler with limits for its pages."""

    def limit_pages(self) -> None:
        """Cut Luigi's limits of what a page shows."""
        config = self._config
        config.max_graph_nodes = min(config.max_graph_nodes, MAX_GRAPH_NODES)
        config.max_shown_tasks = min(config.max_shown_tasks, MAX_SHOWN_TASKS)

    # -- graphs ---------------------------------------------------------------------------------------------

    def graph(self, **_: Any) -> dict[str, Any]:
        """Return the graph of all tasks, cut."""
        self.prune()
        shown: dict[str, Any] = {}
        for task_id in self._some_ids(self._config.max_graph_nodes):
            if len(shown) >= self._config.max_graph_nodes:
                break
            if task_id not in shown:
                shown.update(self._traverse_graph(task_id, set(shown)))
        return shown

    def _some_ids(self, n_most: int) -> list[str]:
        tasks = iter(self._state.get_active_tasks())
        return [task.id for task, _ in zip(tasks, range(n_most), strict=False)]

    def inverse_dep_graph(self, task_id: str, include_done: bool = True, **_: Any) -> dict[str, Any]:
        """Return the graph of what requires a task, cut."""
        self.prune()
        if not self._state.has_task(task_id):
            return {}
        return self._traverse_graph(
            task_id,
            dep_func=lambda task: [other.id for other in self._state.waiting_for(task.id)],
            include_done=include_done,
        )

    def _traverse_graph(
        self,
        root_task_id: str,
        seen: set[str] | None = None,
        dep_func: Needs | None = None,
        include_done: bool = True,
    ) -> dict[str, Any]:
        """Return the graph below a task, the nearest first, up to the limits of nodes and edges."""
        needs: Needs = dep_func or (lambda task: task.deps)
        known = set() if seen is None else seen
        shown: dict[str, Any] = {}
        n_edges = 0
        waiting = deque([root_task_id])
        n_most = max(1, self._config.max_graph_nodes - len(known))
        known.add(root_task_id)
        while waiting and len(shown) < n_most and n_edges < MAX_GRAPH_EDGES:
            task_id = waiting.popleft()
            node, deps = self._node(task_id, needs, include_done=include_done)
            if task_id != root_task_id:
                del node["display_name"]
            shown[task_id] = node
            n_edges += len(deps)
            new = [dep for dep in sorted(deps) if dep not in known]
            known.update(new)
            waiting.extend(new)
        if n_edges >= MAX_GRAPH_EDGES:
            for node in shown.values():
                node["deps"] = [dep for dep in node["deps"] if dep in shown]
        return shown

    def _node(self, task_id: str, needs: Needs, *, include_done: bool) -> tuple[dict[str, Any], list[str]]:
        """Return a task as the graph shows it, and what it requires."""
        task = self._state.get_task(task_id)
        if task is None or not task.family:
            return _unknown_node(task_id), []
        deps = list(needs(task))
        if not include_done:
            deps = list(self._filter_done(deps))
        return self._serialize_task(task_id, deps=deps), deps

    # -- lists ----------------------------------------------------------------------------------------------

    def task_list(
        self,
        status: str = "",
        upstream_status: str = "",
        limit: bool = True,
        search: str | None = None,
        max_shown_tasks: int | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """Return the tasks of a status, or their number if there are too many to show or to search."""
        n_tasks = self._state.get_active_task_count_for_status(status)
        if search and limit and n_tasks > MAX_SEARCHED:
            return {"num_tasks": -1 if upstream_status else n_tasks}
        found: dict[str, Any] = super().task_list(status, upstream_status, limit, search, max_shown_tasks)
        return found

    def task_search(self, task_str: str, **_: Any) -> dict[str, Any]:
        """Return the tasks whose id holds a text, by status; not more than a page shows."""
        self.prune()
        found: dict[str, dict[str, Any]] = {}
        n_found = 0
        for task in self._state.get_active_tasks():
            if task_str in task.id:
                found.setdefault(task.status, {})[task.id] = self._serialize_task(task.id, include_deps=False)
                n_found += 1
                if n_found >= self._config.max_shown_tasks:
                    break
        return found

    def worker_list(self, include_running: bool = True, **_: Any) -> list[dict[str, Any]]:
        """Return the workers, with what they run, some of it, and how much waits for them."""
        workers: list[dict[str, Any]] = super().worker_list(include_running=False)
        for worker in workers if include_running else ():
            worker.update(self._load_of(worker["name"]))
        return workers

    def _load_of(self, worker_id: str) -> dict[str, Any]:
        counts: Counter[str] = Counter()
        for kind in self._state.queue.kinds_of(worker_id):
            counts["pending"] += kind.n_pending
            counts["unique"] += kind.n_pending if len(kind.workers) == 1 else 0
        running = [task.id for task in self._state.run_by(worker_id) if task.status == RUNNING]
        shown = {
            task_id: self._serialize_task(task_id, include_deps=False) for task_id in running[:MAX_RUNNING]
        }
        return {
            "num_running": len(running),
            "num_pending": counts["pending"],
            "num_uniques": counts["unique"],
            "running": shown,
        }


def _unknown_node(task_id: str) -> dict[str, Any]:
    """Return the node of a task of which nothing but its id is known."""
    family = TASK_FAMILY_RE.match(task_id)
    return {
        "deps": [],
        "status": UNKNOWN,
        "workers": [],
        "start_time": UNKNOWN,
        "params": {"task_id": task_id},
        "name": family[1] if family else UNKNOWN,
        "display_name": task_id,
        "priority": 0,
    }
