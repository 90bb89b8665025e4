"""Slurm: arrays of jobs by ``sbatch``, looked at by ``squeue``, ``scontrol`` and, if it is there, ``sacct``.

Only what Slurm says is believed: a controller that does not answer is no reason to think that jobs are lost.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from astra.errors import ConfigError, UnavailableError
from astra.executors.interface import Ended, Executor, Handle, Order
from astra.executors.slurm_settings import SlurmSettings
from astra.executors.slurm_states import (
    GONE,
    Report,
    is_live,
    parse_accounting,
    parse_queue,
    parse_report,
    why_never,
)

TIMEOUT_S = 120.0
SCRIPT = "job.sh"
# sbatch within a job would take over what that job was given.
_INHERITED = re.compile(r"(SLURM|SBATCH|SALLOC|SRUN)_(?!CONF$)\w+")


class SlurmExecutor(Executor):
    """Arrays of jobs under Slurm; its options are those of ``[slurm]``."""

    settings_class = SlurmSettings
    max_jobs = 1000  # Slurm's own MaxArraySize is 1001 unless a site changes it

    def submit(self, order: Order) -> str:
        """Submit an array; return its job id. See `Executor.submit`."""
        settings: SlurmSettings = order.settings
        script = write_script(order.folder, order.command, settings.setup)
        limit = f"%{settings.max_running}" if settings.max_running else ""
        answer = run_command(
            "sbatch",
            "--parsable",
            f"--job-name={order.name}",
            f"--array=0-{order.n_jobs - 1}{limit}",
            f"--output={order.folder}/%a.log",
            *settings.arguments(),
            str(script),
        )
        if answer.returncode:
            raise _refusal(answer.stderr)
        return answer.stdout.strip().partition(";")[0]  # the cluster's name may follow

    def find(self, name: str) -> str | None:
        """Return the job id of the array of a name. See `Executor.find`."""
        answer = run_command("squeue", "--noheader", "--states=all", f"--name={name}", "--format=%F")
        if answer.returncode:
            raise _unavailable("squeue", answer.stderr)
        found = answer.stdout.split()
        if not found:
            known = run_command("sacct", "-n", "-X", "-P", f"--name={name}", "--format=JobID")
            found = [text.partition("_")[0] for text in known.stdout.split()] if not known.returncode else []
        return found[0] if found else None

    def look(self, handles: Sequence[Handle]) -> dict[Handle, Ended]:
        """Return which jobs have ended, or never will run. See `Executor.look`."""
        if not handles:
            return {}
        queue = self._queue({handle.external_id for handle in handles})
        ended = {}
        for handle in handles:
            state, reason = queue.get((handle.external_id, handle.number), (GONE, ""))
            if is_live(state) and why_never(state, reason) is None:
                continue
            found = self._report(handle)
            if found is not None:
                ended[handle] = found
        return ended

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
            raise _unavailable("squeue", answer.stderr)
        return parse_queue(answer.stdout)

    def _report(self, handle: Handle) -> Ended | None:
        """Return how a job has ended that is not in the queue; None if it is after all."""
        name = _name_of(handle)
        answer = run_command("scontrol", "--oneliner", "show", "job", name)
        if answer.returncode and "Invalid job id" not in answer.stderr + answer.stdout:
            raise _unavailable("scontrol", answer.stderr or answer.stdout)
        found = parse_report(answer.stdout, handle.number) if not answer.returncode else None
        if found is None:
            found = self._accounting(name)
        if is_live(found.state) and why_never(found.state, found.reason) is None:
            return None
        return found.ended(name)

    @staticmethod
    def _accounting(name: str) -> Report:
        """Ask the accounting, where there is one, for a job that the controller has forgotten."""
        columns = "State,ExitCode,NodeList,ElapsedRaw"
        answer = run_command("sacct", "-n", "-X", "-P", f"--jobs={name}", f"--format={columns}")
        return parse_accounting(answer.stdout if not answer.returncode else "")


def write_script(folder: Path, command: Sequence[str], setup: str = "") -> Path:
    """Write the script of an array, in which nothing is left to the shell but the number of the job."""
    path = folder / SCRIPT
    lines = ["#!/bin/sh", setup.rstrip(), f'exec {shlex.join(command)} "$SLURM_ARRAY_TASK_ID"']
    path.write_text("\n".join(line for line in lines if line) + "\n")
    path.chmod(0o700)
    return path


def run_command(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Slurm, without what it would inherit of a job around this process.

    Raises
    ------
    ConfigError
        If it is not installed.
    UnavailableError
        If it does not answer.
    """
    environment = {name: value for name, value in os.environ.items() if not _INHERITED.fullmatch(name)}
    try:
        return subprocess.run(  # noqa: S603  # a list of arguments, no shell
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except FileNotFoundError as exc:
        if command[0] == "sacct":
            return subprocess.CompletedProcess(command, 1, "", "sacct is not installed")
        message = f"executor slurm needs the command {command[0]}, which is not on the PATH"
        raise ConfigError(message, command=command[0]) from exc
    except subprocess.TimeoutExpired as exc:
        raise _unavailable(command[0], f"no answer within {TIMEOUT_S:g} s") from exc


def _name_of(handle: Handle) -> str:
    return f"{handle.external_id}_{handle.number}"


def _unavailable(command: str, answer: str) -> UnavailableError:
    return UnavailableError(f"Slurm does not answer {command}: {_last_line(answer)}", command=command)


def _refusal(answer: str) -> ConfigError | UnavailableError:
    """Tell what Slurm refuses from what it could not do now."""
    passing = (
        "Unable to contact",
        "timed out",
        "Connection refused",
        "Zero Bytes",
        "temporarily",
        "try again",
    )
    if any(text in answer for text in passing):
        return _unavailable("sbatch", answer)
    return ConfigError(f"Slurm refuses the array: {_last_line(answer)}", command="sbatch")


def _last_line(answer: str) -> str:
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    return lines[-1].removeprefix("sbatch: ").removeprefix("error: ") if lines else "nothing was said"
