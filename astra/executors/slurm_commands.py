"""Slurm's commands, run: what they take over of this process, and what their refusals mean."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence

from astra.errors import BusyError, ConfigError, CrowdedError, UnavailableError
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
_CROWDED = re.compile(
    r"\w*(?:Max|Grp)Submit\w*|MaxJobCount|temporarily unable to accept|Resource temporarily unavailable"
)
_CLOSED = re.compile(r"partition not available")
_NO_CONFIGURATION = re.compile(r"Could not establish a configuration source")
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
        raise not_installed(command[0]) from exc
    except subprocess.TimeoutExpired as exc:
        raise unavailable(command[0], f"no answer within {TIMEOUT_S:g} s") from exc


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not _NOT_INHERITED.fullmatch(name) and (name == "SLURM_JWT" or not is_private(name, value))
    }
    return {**kept, "SLURM_BITSTR_LEN": "0"}  # lists of array indices as long as they are


def not_installed(command: str) -> ConfigError:
    """Return the error of a command that is not there."""
    message = f"Slurm is not installed on this host: the command {command} is not on the PATH"
    return ConfigError(message, command=command)


def unavailable(command: str, answer: str) -> UnavailableError:
    """Return the error of a command that did not answer."""
    return UnavailableError(f"Slurm does not answer {command}: {_last_line(answer)}", command=command)


def refusal(answer: str, n_jobs: int, asked: Sequence[str] = ()) -> ConfigError | UnavailableError:
    """Tell what Slurm refuses from what it does not take now, and from what it could not hear.

    Parameters
    ----------
    answer : str
        What ``sbatch`` wrote to its standard error.
    n_jobs : int
        Number of jobs of the array.
    asked : sequence of str
        Options of ``sbatch`` that asked for resources.

    Returns
    -------
    error : ConfigError, CrowdedError, BusyError or UnavailableError
        What is to be raised.
    """
    jobs = f"{n_jobs} jobs" if n_jobs > 1 else "1 job"
    if limit := _CROWDED.search(answer):
        message = f"Slurm takes no array of {jobs} now: {limit[0]}"
        return CrowdedError(message, command="sbatch", n_jobs=n_jobs, limit=limit[0])
    if _CLOSED.search(answer):
        message = f"Slurm takes no array of {jobs} now: {_last_line(answer)}"
        return BusyError(message, command="sbatch", n_jobs=n_jobs)
    if _NO_CONFIGURATION.search(answer):
        message = (
            "Slurm is not set up on this host: sbatch finds no slurm.conf, neither in /etc/slurm nor where "
            "SLURM_CONF says"
        )
        return ConfigError(message, command="sbatch")
    if _NO_ANSWER.search(answer):
        return unavailable("sbatch", answer)
    words = f"; asked for with {' '.join(asked)}" if asked else ""
    return ConfigError(f"Slurm refuses the array: {'; '.join(_lines(answer))}{words}", command="sbatch")


def _lines(answer: str) -> list[str]:
    """Return what a command has said, without what each line begins with."""
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    said = [line.removeprefix("sbatch: ").removeprefix("error: ").removeprefix("fatal: ") for line in lines]
    return list(dict.fromkeys(said)) or ["nothing was said"]


def _last_line(answer: str) -> str:
    return _lines(answer)[-1]
