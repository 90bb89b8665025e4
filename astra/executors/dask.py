"""Dask: jobs as tasks of a `distributed` scheduler, given by its address or made in this process.

What a task of Dask does is to start the job as a process of its own and to wait for it, so that the job is
the same as any other executor's, whatever threads its worker has. It ends with its worker.
"""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from astra.errors import ConfigError, UnavailableError
from astra.executors.interface import Cause, Ended, Executor, Handle, Order, Settings, check_range, log_path

PARENT_VARIABLE = "ASTRA_JOB_PARENT"  # read by astra.tasks.job
CONNECT_TIMEOUT_S = 10.0
LOCAL = "local"
NEEDS_EXTRA = "executor dask needs the extra 'dask': pip install 'astra-pipeline[dask]'"
ENDED_STATES = frozenset(("memory", "erred", "released", "forgotten"))


@dataclass(frozen=True)
class DaskSettings(Settings):
    """The options of ``[dask]``, further to those of `Settings`.

    Parameters
    ----------
    address : str
        Scheduler, as tcp://HOST:PORT; if empty, threads of this process are the workers.
    workers : int
        How many of these; 0 for one a core.
    worker_resources : str
        What a job takes of Dask's abstract resources, as GPU=1,MEMORY=4e9.
    """

    poll_s: float = 2.0
    address: str = ""
    workers: int = 0
    worker_resources: str = ""

    def __post_init__(self) -> None:
        """Check the values; see `Settings`."""
        super().__post_init__()
        check_range("workers", self.workers, 0, 4096)
        if self.address and "://" not in self.address:
            message = f"address must be that of a Dask scheduler, as tcp://HOST:PORT, found {self.address!r}"
            raise ConfigError(message, option="address", value=self.address)
        _ = self.resources

    @property
    def resources(self) -> dict[str, float]:
        """What a job takes, by name.

        Raises
        ------
        ConfigError
            If it cannot be read.
        """
        found = {}
        for item in filter(None, self.worker_resources.split(",")):
            name, _, amount = item.partition("=")
            try:
                found[name.strip()] = float(amount)
            except ValueError as exc:
                message = f"worker_resources must be NAME=NUMBER,..., found {item!r}"
                raise ConfigError(message, option="worker_resources", value=item) from exc
        return found


class DaskExecutor(Executor):
    """Jobs as tasks of Dask; its options are those of ``[dask]``."""

    settings_class = DaskSettings
    max_jobs = 10_000

    def __init__(self) -> None:
        self._own = f"{LOCAL}:{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._clients: dict[str, Any] = {}  # by external id
        self._futures: dict[tuple[str, int], Any] = {}
        self._cluster: Any = None

    def check(self) -> None:
        """See that the extra is installed. See `Executor.check`."""
        if find_spec("distributed") is None:
            raise ConfigError(NEEDS_EXTRA)

    def submit(self, order: Order) -> str:
        """Hand jobs to the scheduler; return where it is. See `Executor.submit`."""
        from distributed import fire_and_forget

        settings: DaskSettings = order.settings
        external_id = settings.address or self._own
        client = self._client(external_id, settings.workers)
        for number in range(order.n_jobs):
            future = client.submit(
                run_command_job,
                [*order.command, str(number)],
                str(log_path(order.folder, number)),
                key=_key(order.name, number),
                pure=False,
                resources=settings.resources or None,
            )
            fire_and_forget(future)  # type: ignore[no-untyped-call]  # it outlives this client
            self._futures[order.name, number] = future
        return external_id

    def find(self, name: str) -> str | None:
        """Return where jobs of a name are, if this process has submitted them. See `Executor.find`.

        Those that another has are not submitted twice: their keys are known to the scheduler.
        """
        for external_id in self._clients:
            if self._states(external_id, [_key(name, 0)]):
                return external_id
        return None

    def look(self, handles: Sequence[Handle]) -> dict[Handle, Ended]:
        """Return which jobs have ended. See `Executor.look`."""
        ended: dict[Handle, Ended] = {}
        for external_id in {handle.external_id for handle in handles}:
            own = [handle for handle in handles if handle.external_id == external_id]
            if external_id.startswith(LOCAL) and external_id != self._own:
                words = "was a task of Dask in a process that is gone"
                ended.update({handle: Ended(f"{_name_of(handle)} {words}") for handle in own})
                continue
            ended.update(self._ended_at(external_id, own))
        return ended

    def _ended_at(self, external_id: str, handles: Sequence[Handle]) -> dict[Handle, Ended]:
        """Return which jobs of one scheduler have ended: it may not have heard yet of what is submitted."""
        states = self._states(external_id, [_key(item.submission, item.number) for item in handles])
        ended = {}
        for handle in handles:
            state = states.get(_key(handle.submission, handle.number))
            future = self._futures.get((handle.submission, handle.number))
            is_over = state is None or state in ENDED_STATES if future is None else future.status != "pending"
            if is_over:
                ended[handle] = self._how(handle, state or "unknown to its scheduler")
        return ended

    def cancel(self, handles: Sequence[Handle]) -> None:
        """Take back jobs that have not begun. See `Executor.cancel`."""
        for handle in handles:
            future = self._futures.pop((handle.submission, handle.number), None)
            if future is not None:
                future.cancel()

    def close(self) -> None:
        """Leave the schedulers; one in this process ends."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._futures.clear()
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    def _client(self, external_id: str, workers: int = 0) -> Any:
        """Return the client of a scheduler; that in this process is started."""
        if external_id in self._clients:
            return self._clients[external_id]
        try:
            from distributed import Client, LocalCluster
        except ImportError as exc:
            raise ConfigError(NEEDS_EXTRA) from exc
        address: Any = external_id
        if external_id == self._own:
            address = self._cluster = LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=workers or os.cpu_count(),
                threads_per_worker=1,
                processes=False,
                dashboard_address=None,
            )
        try:
            client = Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)  # type: ignore[no-untyped-call]
            self._clients[external_id] = client
        except OSError as exc:
            message = f"the Dask scheduler {external_id} does not answer within {CONNECT_TIMEOUT_S:g} s"
            raise UnavailableError(message, address=external_id) from exc
        return self._clients[external_id]

    def _states(self, external_id: str, keys: list[str]) -> Mapping[str, str]:
        """Return the states of tasks as their scheduler has them, by key; it does not know the others."""
        try:
            found: Mapping[str, str] = self._client(external_id).run_on_scheduler(_states_of, keys=keys)
        except (OSError, TimeoutError) as exc:
            message = f"the Dask scheduler {external_id} does not answer: {exc}"
            raise UnavailableError(message, address=external_id) from exc
        return found

    def _how(self, handle: Handle, state: str) -> Ended:
        """Say how a task of Dask has ended."""
        future = self._futures.get((handle.submission, handle.number))
        name = _name_of(handle)
        if future is not None and future.status == "error":
            exc = future.exception()
            return Ended(f"{name} is erred ({type(exc).__name__}: {str(exc).splitlines()[0]})")
        if future is not None and future.status == "finished":
            host, code = future.result()
            signal = -code if code < 0 else None
            words = f"{name} on host {host} is over, exit code {max(code, 0)}:{signal or 0}"
            return Ended(words, Cause.OTHER, signal)
        return Ended(f"{name} is {state}")


def run_command_job(command: list[str], log: str) -> tuple[str, int]:
    """Run a job, in a worker of Dask; return host and exit code, negative for a signal."""
    environment = {**os.environ, PARENT_VARIABLE: str(os.getpid())}
    with open(log, "ab") as output:
        done = subprocess.run(  # noqa: S603  # a list of arguments, no shell
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, check=False
        )
    return socket.gethostname(), done.returncode


def _states_of(keys: list[str], dask_scheduler: Any = None) -> dict[str, str]:
    """Return the states of tasks, in the scheduler itself."""
    tasks = dask_scheduler.tasks
    return {key: tasks[key].state for key in keys if key in tasks}


def _key(name: str, number: int) -> str:
    return f"{name}-{number}"


def _name_of(handle: Handle) -> str:
    return f"Dask job {_key(handle.submission, handle.number)}"
