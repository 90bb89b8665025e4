"""The caller's side: connections that stay open, many reports in one message, several tasks at a time.

To a stock ``luigid`` it speaks as Luigi's own client does. To ours, reports of a worker wait until it asks
for work, at most half a second, and travel with that wish. It is given as many tasks as it runs in a quarter
of a second; what it has not begun it gives back when it is asked to, see `astra.scheduler.bulk`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

import luigi.rpc
from luigi.task_status import DONE, PENDING, RUNNING

from astra.scheduler.connections import Connections, RefusedError
from astra.scheduler.held_work import HeldWork, Pace
from astra.scheduler.inquiries import Inquiries

REPORTS_PER_MESSAGE = 1000
REPORT_DELAY_S = 0.5  # that a report waits at most
PING_TIMEOUT_S = 3.0
MAX_WAIT_S = 2.0  # between two attempts to reach the scheduler
DEFAULTS: dict[str, Any] = {  # of arguments of a report, which then need not be sent
    "status": PENDING,
    "runnable": True,
    "priority": 0,
    "accepts_messages": False,
    "assistant": False,
    "batchable": None,
    "deps": None,
    "new_deps": None,
    "resources": None,
    "owners": None,
}
OF_FAMILY = ("module", "param_visibilities", "retry_policy_dict")  # arguments alike for all of a family

OF_SOME = ("new_deps", "resources")  # arguments that need not be sent if they are empty

logger = logging.getLogger("luigi-interface")


class RemoteScheduler(Inquiries, luigi.rpc.RemoteScheduler):
    """Luigi's proxy of a scheduler, with messages for many tasks where the scheduler takes them.

    Parameters are those of `luigi.rpc.RemoteScheduler`.
    """

    def __init__(self, url: str, connect_timeout: float | None = None) -> None:
        super().__init__(url, connect_timeout)
        self._connections = Connections(self._url)
        self._version: int | None = None  # of the calls for many tasks; 0 for none, None before it is known
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._reports: list[dict[str, Any]] = []
        self._unanswered: dict[str, Any] | None = None  # a message with reports that may not have come
        self._families: dict[str, dict[str, Any]] = {}
        self._sequence = int(time.time())  # that of another process of the same id must differ
        self._oldest = 0.0
        self._work = HeldWork()
        self._asked: dict[str, Any] = {}
        self._pace = Pace()
        self.n_exchanges = 0
        self.before_reports: list[Callable[[], None]] = []  # called before reports are sent

    # -- messages -------------------------------------------------------------------------------------------

    @property
    def is_bulk(self) -> bool:
        """Whether the scheduler takes messages for many tasks."""
        if self._version is None:
            self._version = self._ask_version()
        return self._version > 0

    def greet(self) -> None:
        """Find out whether there is a scheduler that answers.

        Raises
        ------
        luigi.rpc.RPCError
            If there is none in time, or it refuses to answer.
        """
        try:
            _ = self.is_bulk
        except BaseException:
            self._connections.drop()
            raise

    def _ask_version(self) -> int:
        try:
            return int(self._call("/api/bulk_protocol", {}, own=True)["version"])
        except RefusedError as exc:
            if exc.status != 404:
                raise
            return 0

    def _request(self, url: str, data: Any, attempts: int = 3, allow_null: bool = True) -> Any:
        own = self.is_bulk
        if own and os.getpid() == self._owner:
            self.send_reports()
        for _ in range(attempts):
            response = self._call(url, data, own=own)
            if allow_null or response is not None:
                return response
        message = f"the scheduler at {self._connections.url} answers nothing"
        raise luigi.rpc.RPCError(message)

    def _call(self, url: str, data: Any, *, own: bool, timeout: float | None = None) -> Any:
        text = json.dumps(data, separators=(",", ":"))
        kind = "application/json" if own else "application/x-www-form-urlencoded"
        body = text if own else urlencode({"data": text})
        answer = self._persist(
            lambda: self._connections.post(url, body.encode(), kind, timeout or self._connect_timeout)
        )
        return json.loads(answer)["response"]

    def _persist(self, send: Callable[[], bytes]) -> bytes:
        """Send until there is an answer: at once, then at growing intervals, for as long as Luigi would."""
        patience_s = self._rpc_retry_attempts * self._rpc_retry_wait
        deadline, wait_s = time.monotonic() + patience_s, 0.05
        while True:
            try:
                return send()
            except Connections.raises as exc:
                if isinstance(exc, ssl.SSLError) or time.monotonic() + wait_s > deadline:
                    message = f"no scheduler at {self._connections.url} for {patience_s:g} s: {exc}"
                    if isinstance(exc, ssl.SSLError):
                        message = f"no scheduler that can be trusted at {self._connections.url}: {exc}"
                    raise luigi.rpc.RPCError(message, exc) from exc
                if wait_s >= 1.0 and self._rpc_log_retries:
                    logger.warning("the scheduler at %s cannot be reached: %s", self._connections.url, exc)
            except RefusedError as exc:
                if exc.status != 503 or time.monotonic() + wait_s > deadline:
                    raise
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_WAIT_S)

    # -- reports --------------------------------------------------------------------------------------------

    def add_task(self, **report: Any) -> None:
        """Report on a task: with the next message, unless others must know at once."""
        if os.getpid() != self._owner or not self.is_bulk:
            super().add_task(**report)
            return
        with self._lock:
            self._reports.append(self._shortened(report))
            self._oldest = self._oldest or time.monotonic()
            is_urgent = report.get("status") == RUNNING or len(self._reports) >= REPORTS_PER_MESSAGE
            if is_urgent:
                self.send_reports(report["worker"])

    def _shortened(self, report: dict[str, Any]) -> dict[str, Any]:
        """Leave out what the scheduler knows without being told."""
        short = {
            name: value
            for name, value in report.items()
            if not (name in DEFAULTS and value == DEFAULTS[name]) and (value or name not in OF_SOME)
        }
        self._asked.setdefault("worker", short.pop("worker"))
        run = self._work.end(report)
        if run is not None:
            short["run"] = run
            if short.get("status") == DONE:
                short.pop("params", None)  # they came with the task
        if not any(value is not None for value in (short.get("retry_policy_dict") or {}).values()):
            short.pop("retry_policy_dict", None)
        family = report.get("family", "")
        common = self._families.get(family)
        if common is None:
            common = self._families[family] = {name: short[name] for name in OF_FAMILY if name in short}
        for name, value in common.items():
            if name in short and short[name] == value:
                del short[name]
        return short

    def _take_reports(self) -> dict[str, Any]:
        """Take out the reports that wait, as arguments of a message."""
        reports, self._reports, self._oldest = self._reports, [], 0.0
        self._sequence += 1
        families = {report.get("family", "") for report in reports}
        common = {family: self._families[family] for family in families if self._families.get(family)}
        return {"reports": reports, "families": common, "sequence": self._sequence}

    def send_reports(self, worker: str | None = None) -> None:
        """Send the reports that wait."""
        with self._lock:
            for prepare in self.before_reports if self._reports else ():
                prepare()
            if self._reports or self._unanswered is not None:
                self._tell("/api/add_tasks", {"worker": worker or self._asked["worker"]})

    def _tell(self, url: str, wish: dict[str, Any]) -> Any:
        """Send a message with the reports that wait.

        Those of one that was never answered go before it, by its number: they may have come.
        """
        if self._unanswered is not None:
            self._tell_once("/api/add_tasks", self._unanswered, {})
        reports = self._take_reports()
        return self._tell_once(url, {"worker": wish["worker"], **reports}, wish)

    def _tell_once(self, url: str, reports: dict[str, Any], wish: dict[str, Any]) -> Any:
        self._unanswered = reports if reports["reports"] else None
        try:
            answer = self._call(url, {**wish, **reports}, own=True)
        except RefusedError as exc:
            if exc.status != 503:  # it would be refused again
                self._unanswered = None
            raise
        self._unanswered = None
        return answer

    def ping(self, **kwargs: Any) -> Any:
        """Say that the worker is alive; send reports that have waited long."""
        if not self.is_bulk:
            return self._call("/api/ping", kwargs, own=False)
        answer = self._renew(kwargs["worker"])
        for prepare in self.before_reports:
            prepare()
        is_late = bool(self._oldest) and time.monotonic() - self._oldest > REPORT_DELAY_S
        if is_late or self._unanswered is not None:
            self.send_reports(kwargs["worker"])
        return answer

    def _renew(self, worker: str) -> Any:
        """Renew the lease; what others have been given since is not begun any more."""
        if self._version == 1:
            return self._call("/api/ping", {"worker": worker}, own=True)
        with self._lock:
            message = {"worker": worker, "current_tasks": self._work.ids()}
        sent = time.monotonic()
        timeout = min(PING_TIMEOUT_S, self._connect_timeout)
        answer = self._call("/api/renew_lease", message, own=True, timeout=timeout)
        with self._lock:
            for task_id in self._work.drop(answer["lost"]):
                logger.warning(
                    "%s is no longer this worker's, which was not heard of for long: what it makes may be "
                    "made by another worker too",
                    task_id,
                )
            self._work.note_heard(sent, answer["lease_s"])
        return answer

    # -- work -----------------------------------------------------------------------------------------------

    def get_work(self, **wish: Any) -> Any:
        """Return something to run, or how much is left."""
        if not self.is_bulk:
            return super().get_work(**wish)
        with self._lock:
            self._pace.tick()
            is_late = bool(self._oldest) and time.monotonic() - self._oldest > REPORT_DELAY_S
            if is_late and self._work:
                self.send_reports(wish["worker"])
            if not self._work:
                self._exchange(wish)
            if not self._work.is_sure:
                self._renew(wish["worker"])
            if not self._work:
                self._exchange(wish)
            return self._work.begin()

    def _exchange(self, wish: dict[str, Any]) -> None:
        for prepare in self.before_reports if self._reports else ():
            prepare()
        self._asked["worker"] = wish["worker"]
        sent = time.monotonic()
        replies = self._tell("/api/exchange_work", {**wish, "n_wanted": self._pace.n_wanted})
        self._pace.got(len(replies))
        self.n_exchanges += 1
        self._work.take(replies, sent)

    def held_ids(self) -> list[str]:
        """Return the ids of the tasks that came with the last one, and have not been begun."""
        with self._lock:
            return self._work.held_ids()

    def _ask_of_others(self, path: str, **arguments: Any) -> Any:
        return self._request(path, arguments) if self.is_bulk else None

    def was_lost(self, task_id: str) -> bool:
        """Say whether a task that has been begun was lost by another worker: it may have been done."""
        return self._work.was_lost(task_id)

    def give_back(self) -> list[str]:
        """Give back what is held and not begun; return the ids."""
        with self._lock:
            ids = self._work.held_ids()
            if ids:
                runs = self._work.held_runs()
                self._work.drop(ids)
                self._pace.slow_down()
                self._return(ids, runs)
        return ids

    def return_tasks(self, ids: Sequence[str]) -> bool:
        """Give back tasks that were not finished; return whether the scheduler takes them."""
        if self.is_bulk:
            with self._lock:
                self._return(ids, self._work.forget(ids))
        return self.is_bulk

    def _return(self, ids: Sequence[str], runs: Sequence[int | None]) -> None:
        numbered = {"runs": runs} if (self._version or 0) > 1 else {}
        self._call(
            "/api/return_work", {"worker": self._asked["worker"], "task_ids": ids, **numbered}, own=True
        )

    def _leave(self) -> None:
        """Say that the worker ends; where that cannot be said, its lease runs out."""
        if "worker" not in self._asked:
            return
        body = json.dumps({"worker": self._asked["worker"]}).encode()
        with contextlib.suppress(*Connections.raises, RefusedError):
            self._connections.post("/api/leave", body, "application/json", PING_TIMEOUT_S)

    def close(self) -> None:
        """Send what waits, give back what is held, say that the worker ends, and close the connection."""
        if self._version and os.getpid() == self._owner:
            self.send_reports()
            self.give_back()
            self._leave()
        self._connections.close()
        super().close()
