"""Slurm: arrays of jobs by ``sbatch``, looked at by ``squeue``, ``scontrol`` and, if it is there, ``sacct``.

Only what Slurm says is believed: a controller that does not answer is no reason to think that jobs are lost.
A look at any number of jobs is one ``squeue``, and one ``scontrol`` for each array with jobs that have ended.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from astra.errors import AstraError, ConfigError, CrowdedError
from astra.executors.interface import Ended, Executor, Handle, Order
from astra.executors.slurm_commands import not_installed, refusal, run_command, unavailable
from astra.executors.slurm_limits import GROUP_LIMIT, Asked, exceeded_limit, no_job_allowed, parse_asked
from astra.executors.slurm_settings import SlurmSettings
from astra.executors.slurm_states import (
    GONE,
    WAITING,
    Report,
    is_live,
    parse_accounting,
    parse_queue,
    parse_reports,
    why_never,
)

SCRIPT = "job.sh"
ACCOUNTING_COLUMNS = "JobID,State,ExitCode,NodeList,ElapsedRaw,TimelimitRaw,ReqMem,ReqCPUS"
LONGEST_DOUBT = "now-7days"  # since when accounting is searched for an array by its name

_JOB_ID = re.compile(r"^(\d+)(?:;.*)?$", re.MULTILINE)  # the cluster's name may follow
_MOST_JOBS = re.compile(r"^(?:MaxArraySize|MaxJobCount)\s*=\s*(\d+)", re.MULTILINE)
JUDGED_S = 600.0  # for which a job that may start within its limits is not compared with them again


class SlurmExecutor(Executor):
    """Arrays of jobs under Slurm; its options are those of ``[slurm]``."""

    settings_class = SlurmSettings
    max_jobs = 1000  # Slurm's own MaxArraySize is 1001 unless a site changes it

    def __init__(self) -> None:
        self._max_array: int | None = None
        self._reasons: dict[Handle, str] = {}
        self._judged: dict[tuple[str, str], tuple[float, str | None]] = {}  # by array and reason

    def check(self) -> None:
        """See that Slurm is installed. See `Executor.check`."""
        if shutil.which("sbatch") is None:
            raise not_installed("sbatch")

    def submit(self, order: Order) -> str:
        """Submit an array; return its job id. See `Executor.submit`."""
        settings: SlurmSettings = order.settings
        script = write_script(order.folder, order.command, settings.setup)
        limit = f"%{settings.max_running}" if settings.max_running else ""
        logs = str(order.folder).replace("%", "%%")
        answer = run_command(
            "sbatch",
            "--parsable",
            f"--job-name={order.name}",
            *([f"--comment={order.comment}"] if order.comment else []),
            f"--array=0-{order.n_jobs - 1}{limit}",
            f"--output={logs}/%a.log",
            "--open-mode=append",
            *settings.arguments(),
            str(script),
        )
        if answer.returncode:
            raise self._refusal(answer.stderr, order.n_jobs, settings)
        found = _JOB_ID.findall(answer.stdout)
        if not found:
            raise unavailable("sbatch", f"no job id in its answer {answer.stdout!r}")
        return str(found[-1])  # a site's plug-in may have printed something before

    @staticmethod
    def _refusal(answer: str, n_jobs: int, settings: SlurmSettings) -> AstraError:
        """Return why an array was refused: a limit of no job at all is none that passes."""
        error = refusal(answer, n_jobs, settings.arguments())
        if not isinstance(error, CrowdedError) or n_jobs > 1:
            return error
        where = no_job_allowed(_accounting_limits(), Asked(account=settings.account, qos=(settings.qos,)))
        return ConfigError(f"{error}; it never will, as {where}", command="sbatch") if where else error

    def largest_array(self, settings: SlurmSettings) -> int:
        """Return how many jobs an array may have: as the settings say, but no more than the cluster takes."""
        if self._max_array is None:
            self._max_array = self._ask_max_array()
        return max(1, min(settings.array_size, self._max_array))

    def _ask_max_array(self) -> int:
        try:
            found = _MOST_JOBS.findall(run_command("scontrol", "show", "config").stdout)
        except AstraError:  # whatever is wrong will be said when something is submitted
            found = []
        return min(map(int, found), default=self.max_jobs)

    def find(self, name: str) -> str | None:
        """Return the job id of the array of a name. See `Executor.find`."""
        answer = run_command("squeue", "--noheader", "--states=all", f"--name={name}", "--format=%F")
        if answer.returncode:
            raise unavailable("squeue", answer.stderr)
        found = answer.stdout.split()
        if not found:
            chosen = (f"--name={name}", f"--starttime={LONGEST_DOUBT}", "--format=JobID")
            known = run_command("sacct", "-n", "-X", "-P", *chosen)
            found = [text.partition("_")[0] for text in known.stdout.split()] if not known.returncode else []
        return found[0] if found else None

    def is_over(self, name: str) -> bool:
        """Say whether no job of the array of a name waits or runs.

        Raises
        ------
        UnavailableError
            If Slurm does not answer.
        """
        answer = run_command("squeue", "--noheader", f"--name={name}", "--format=%F")
        if answer.returncode:
            raise unavailable("squeue", answer.stderr)
        return not answer.stdout.split()

    def look(self, handles: Sequence[Handle]) -> dict[Handle, Ended]:
        """Return which jobs have ended, or never will run. See `Executor.look`.

        Those that never will run are cancelled: they would stay in the queue.
        """
        if not handles:
            return {}
        queue = self._queue({handle.external_id for handle in handles})
        reports: dict[Handle, Report] = {}
        doubtful: dict[str, list[Handle]] = {}
        self._reasons.clear()
        for handle in handles:
            state, reason = queue.get((handle.external_id, handle.number), (GONE, ""))
            if never := why_never(state, reason) or self._exceeded(handle, state, reason):
                reports[handle] = Report(state, never)
            elif state in WAITING:
                self._reasons[handle] = reason
            elif not is_live(state):
                doubtful.setdefault(handle.external_id, []).append(handle)
        self.cancel(list(reports))
        for external_id, some in doubtful.items():
            reports.update(self._reports(external_id, some))
        return {handle: report.ended(_name_of(handle)) for handle, report in reports.items()}

    def why_waiting(self, handles: Sequence[Handle]) -> dict[str, int]:
        """Return why jobs wait. See `Executor.why_waiting`."""
        return dict(Counter(self._reasons[handle] for handle in handles if handle in self._reasons))

    def _exceeded(self, handle: Handle, state: str, reason: str) -> str | None:
        """Return why a job that waits for others to leave room would wait for ever; None if it may not.

        All jobs of an array ask for the same, so that one is compared with the limits in place of all.
        """
        if state not in WAITING or not GROUP_LIMIT.search(reason):
            return None
        key = handle.external_id, reason
        when, found = self._judged.get(key, (0.0, None))
        if key not in self._judged or time.monotonic() - when > JUDGED_S:
            found = self._compare(handle.external_id)
            self._judged[key] = time.monotonic(), found
        return f"{reason}: {found}" if found else None

    @staticmethod
    def _compare(external_id: str) -> str | None:
        """Compare what the jobs of an array ask for with limits on what many jobs have together."""
        asked = parse_asked(run_command("scontrol", "--oneliner", "show", "job", external_id).stdout)
        if asked is None:
            return None
        partition = run_command("scontrol", "--oneliner", "show", "partition", asked.partition).stdout
        return exceeded_limit(_accounting_limits(), asked.with_qos_of(partition))

    def cancel(self, handles: Sequence[Handle]) -> None:
        """Cancel jobs. See `Executor.cancel`."""
        if handles:
            run_command("scancel", *(_name_of(handle) for handle in handles))

    @staticmethod
    def _queue(ids: Iterable[str]) -> dict[tuple[str, int], tuple[str, str]]:
        """Return state and reason of all jobs of some arrays that Slurm lists."""
        listed = ",".join(sorted(ids))
        answer = run_command(
            "squeue", "--noheader", "--array", "--states=all", f"--jobs={listed}", "--format=%F|%K|%T|%r"
        )
        if answer.returncode and "Invalid job id" not in answer.stderr:
            raise unavailable("squeue", answer.stderr)
        return parse_queue(answer.stdout)

    def _reports(self, external_id: str, handles: Sequence[Handle]) -> dict[Handle, Report]:
        """Return what is known of jobs of one array that are not in the queue, but for those that are."""
        answer = run_command("scontrol", "--oneliner", "show", "job", external_id)
        if answer.returncode and "Invalid job id" not in answer.stderr + answer.stdout:
            raise unavailable("scontrol", answer.stderr or answer.stdout)
        found = parse_reports(answer.stdout) if not answer.returncode else {}
        forgotten = [handle for handle in handles if handle.number not in found]
        found |= self._accounting(forgotten) if forgotten else {}
        reports = {handle: found.get(handle.number, Report(GONE)) for handle in handles}
        return {handle: report for handle, report in reports.items() if not is_live(report.state)}

    @staticmethod
    def _accounting(handles: Sequence[Handle]) -> dict[int, Report]:
        """Ask the accounting, where there is one, for jobs that the controller has forgotten."""
        listed = ",".join(map(_name_of, handles))
        answer = run_command("sacct", "-n", "-X", "-P", f"--jobs={listed}", f"--format={ACCOUNTING_COLUMNS}")
        return parse_accounting(answer.stdout if not answer.returncode else "")


def _accounting_limits() -> str:
    """Return limits of accounts and qualities of service, as the controller tells them."""
    return run_command("scontrol", "show", "assoc_mgr", "flags=assoc,qos").stdout


def write_script(folder: Path, command: Sequence[str], setup: str = "") -> Path:
    """Write the script of an array, in which nothing is left to the shell but the number of the job."""
    path = folder / SCRIPT
    lines = ["#!/bin/sh", setup.rstrip(), f'exec {shlex.join(command)} "$SLURM_ARRAY_TASK_ID"']
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "w") as stream:
        stream.write("\n".join(line for line in lines if line) + "\n")
    return path


def _name_of(handle: Handle) -> str:
    return f"{handle.external_id}_{handle.number}"
