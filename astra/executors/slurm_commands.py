"""Slurm's commands, run: what they take over of this process, and what their refusals mean."""

from __future__ import annotations

import os
import re
import subprocess

from astra.errors import BusyError, ConfigError, UnavailableError
from astra.executors.interface import is_private

TIMEOUT_S = 120.0
# What a job around this process was given is not for the jobs that it submits, and what a user prefers to see
# of the queue is not what is asked here; a user's own choice where jobs go is.
_NOT_INHERITED = re.compile(
    r"SLURM_(?!(?:CONF|CONF_SERVER|JWT)$)\w+"
    r"|SBATCH_(?!(?:ACCOUNT|PARTITION|QOS|RESERVATION|CONSTRAINT|TIMELIMIT)$)\w+"
    r"|(?:SALLOC|SRUN|SQUEUE|SACCT|SCANCEL|SCONTROL)_\w+"
)
# Limits on what may wait, a full queue, a closed partition: nothing was submitted.
_BUSY = re.compile(
    r"(?:Max|Grp)Submit\w*|temporarily unable to accept|Resource temporarily unavailable"
    r"|partition not available|MaxJobCount"
)
# Nobody knows whether something was submitted.
_NO_ANSWER = re.compile(
    r"Unable to contact|timed out|Connection (?:refused|reset)|Zero Bytes|temporarily|try again|standby mode"
    r"|authentication (?:error|credential)|Munge|connect failure|Communication connection",
    re.IGNORECASE,
)


def run_command(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Slurm, without what it would inherit of a job around this process.

    Variables that may hold secrets are left out, too: Slurm keeps the environment of a job, maybe in its
    accounting.

    Raises
    ------
    ConfigError
        If it is not installed.
    UnavailableError
        If it does not answer.
    """
    try:
        return subprocess.run(  # noqa: S603  # a list of arguments, no shell
            command, env=_environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except FileNotFoundError as exc:
        if command[0] == "sacct":
            return subprocess.CompletedProcess(command, 1, "", "sacct is not installed")
        message = f"executor slurm needs the command {command[0]}, which is not on the PATH"
        raise ConfigError(message, command=command[0]) from exc
    except subprocess.TimeoutExpired as exc:
        raise unavailable(command[0], f"no answer within {TIMEOUT_S:g} s") from exc


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not _NOT_INHERITED.fullmatch(name) and (name == "SLURM_JWT" or not is_private(name, value))
    }
    return {**kept, "SLURM_BITSTR_LEN": "0"}  # lists of array indices as long as they are


def unavailable(command: str, answer: str) -> UnavailableError:
    """Return the error of a command that did not answer."""
    return UnavailableError(f"Slurm does not answer {command}: {_last_line(answer)}", command=command)


def refusal(answer: str, n_jobs: int) -> ConfigError | UnavailableError:
    """Tell what Slurm refuses from what it does not take now, and from what it could not hear.

    Parameters
    ----------
    answer : str
        What ``sbatch`` wrote to its standard error.
    n_jobs : int
        Number of jobs of the array.

    Returns
    -------
    error : ConfigError, BusyError or UnavailableError
        What is to be raised.
    """
    if limit := _BUSY.search(answer):
        words = f"{_last_line(answer)} ({limit[0]})" if limit[0] not in _last_line(answer) else limit[0]
        message = (
            f"Slurm takes no array of {n_jobs} jobs now: {words}; if that many are never allowed, array_size "
            "in [slurm] must be less"
        )
        return BusyError(message, command="sbatch", n_jobs=n_jobs)
    if _NO_ANSWER.search(answer):
        return unavailable("sbatch", answer)
    return ConfigError(f"Slurm refuses the array: {_last_line(answer)}", command="sbatch")


def _last_line(answer: str) -> str:
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    return lines[-1].removeprefix("sbatch: ").removeprefix("error: ") if lines else "nothing was said"
