"""Folders of arrays of jobs: what is left in them of arrays that are over, and for how long.

While an array may run its folder holds the ticket, which its jobs need and nobody else may read. Once it is
over the folder of an array of which every job ran to its end is removed; of another one the outputs stay for
``[astra] job_logs_days``, and the ticket does not.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from astra import config
from astra.executors.slurm import SCRIPT
from astra.tasks.job_ticket import JOBS, TICKET

DAY_S = 86400.0
WORKERS = "astra-workers-"  # names of arrays of workers; the others run jobs
WORKER_ARGUMENTS = "workers.json"
TOKEN = "token"  # noqa: S105  # the name of a file
SECRET_FILES = (TICKET, TOKEN, WORKER_ARGUMENTS, SCRIPT)
ENDED_SUFFIX = ".ended"


def tidy_jobs(database_url: str, folders: Iterable[Path]) -> set[str]:
    """Remove what arrays that are over no longer need.

    Parameters
    ----------
    database_url : str
        Where their rows are: those that have none there are left alone.
    folders : iterable of Path
        Their folders, which have their names.

    Returns
    -------
    names : set of str
        Those that are over.
    """
    from astra.database.engine import reading
    from astra.database.jobs import jobs_of
    from astra.database.models.state import Status

    by_name = {folder.name: folder for folder in folders}
    with reading(database_url) as connection:
        jobs = jobs_of(connection, by_name)
    known = {job.submission for job in jobs}
    over = known - {job.submission for job in jobs if job.is_live}
    unwell = {job.submission for job in jobs if job.status_code != Status.DONE}
    for name in over - unwell:
        shutil.rmtree(by_name[name], ignore_errors=True)
    for name in over & unwell:
        remove_secrets(by_name[name])
    return over


def job_folders(root: Path) -> list[Path]:
    """Return the folders of arrays of jobs below a root."""
    found = (root / JOBS).glob("astra-*")
    return [folder for folder in found if folder.is_dir() and not folder.name.startswith(WORKERS)]


def worker_folders(root: Path) -> list[Path]:
    """Return the folders of arrays of workers below a root."""
    return [folder for folder in (root / JOBS).glob(f"{WORKERS}*") if folder.is_dir()]


def remove_old(folders: Iterable[Path], now: float | None = None) -> None:
    """Remove folders in which nothing was written for as long as outputs are kept, and no ticket is.

    Parameters
    ----------
    folders : iterable of Path
        The folders.
    now : float, optional
        The time [s since 1970].
    """
    keep_s = DAY_S * float(config.option("job_logs_days"))
    before = (time.time() if now is None else now) - keep_s
    for folder in folders:
        if keep_s > 0 and not (folder / TICKET).exists() and _last_written(folder) < before:
            shutil.rmtree(folder, ignore_errors=True)


def remove_secrets(folder: Path) -> None:
    """Remove what jobs needed to begin: it may hold passwords."""
    for name in SECRET_FILES:
        (folder / name).unlink(missing_ok=True)


def note_worker_ended(folder: Path, number: str, count: int) -> None:
    """Note that a worker of an array has ended; the last one removes what they needed to begin.

    Parameters
    ----------
    folder : Path
        Folder of the array.
    number : str
        Which worker.
    count : int
        How many there are.
    """
    (folder / f"{number}{ENDED_SUFFIX}").touch()
    ended = list(folder.glob(f"*{ENDED_SUFFIX}"))
    if len(ended) >= count:
        remove_secrets(folder)
        for path in ended:
            path.unlink(missing_ok=True)


def _last_written(folder: Path) -> float:
    found = 0.0
    with suppress(FileNotFoundError):  # others tidy up, too
        for path in (folder, *folder.iterdir()):
            found = max(found, path.stat().st_mtime)
    return found
