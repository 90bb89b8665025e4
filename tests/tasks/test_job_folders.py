"""What is left in the folders of arrays of jobs, and for how long."""

import os

import luigi
import pytest

from astra.database.engine import get_engine, transaction
from astra.database.jobs import end_job, insert_jobs, jobs_of
from astra.database.models.state import Status
from astra.tasks import job_folders
from astra.tasks.job import main as run_job_command
from astra.tasks.job_ticket import write_ticket
from astra.tasks.runner import utc_now

DAY_S = 86400.0


@pytest.fixture
def url(astra_root):
    found = f"sqlite:///{astra_root / 'astra.db'}"
    get_engine(found)
    return found


def write_array(url, root, name, statuses):
    """An array of jobs, its ticket and outputs; a status of None is that of a job that still waits."""
    folder = root / "jobs" / name
    place = {"executor": "slurm", "submission": name, "folder": str(folder)}
    task = {"owner": "Toy_1", "family": "Toy", "module": "toy", "parameters": {}}
    row = {**place, **task, "settings": {}, "attempt": 1, "since": utc_now(), "created": utc_now()}
    with transaction(url) as connection:
        insert_jobs(connection, [{**row, "number": number} for number in range(len(statuses))])
        for job, status in zip(jobs_of(connection, [name]), statuses, strict=True):
            if status is not None:
                end_job(connection, job.pk, status)
    write_ticket(folder, url, name)
    (folder / "job.sh").touch()
    (folder / "0.log").write_text("what it said")
    return folder


def names(folder):
    return {path.name for path in folder.iterdir()} if folder.exists() else None


def test_only_what_says_why_something_failed_is_kept_of_an_array_that_is_over(url, astra_root):
    done = write_array(url, astra_root, "astra-Toy-1", [Status.DONE, Status.DONE])
    lost = write_array(url, astra_root, "astra-Toy-2", [Status.DONE, Status.PROCESS_DIED])
    live = write_array(url, astra_root, "astra-Toy-3", [Status.PROCESS_DIED, None])
    other = astra_root / "jobs" / "astra-Toy-4"
    other.mkdir()
    (other / "ticket.json").touch()
    over = job_folders.tidy_jobs(url, job_folders.job_folders(astra_root))
    assert over == {"astra-Toy-1", "astra-Toy-2"}
    assert names(done) is None
    assert names(lost) == {"0.log"}
    assert names(live) == {"ticket.json", "job.sh", "0.log"}
    assert names(other) == {"ticket.json"}


@pytest.mark.parametrize(("days", "is_kept"), [("30", False), ("50", True), ("0", True)])
def test_outputs_are_kept_for_as_long_as_is_said(url, astra_root, astra_option, days, is_kept):
    astra_option("job_logs_days", days)
    lost = write_array(url, astra_root, "astra-Toy-2", [Status.FAILED])
    live = write_array(url, astra_root, "astra-Toy-3", [None])
    job_folders.tidy_jobs(url, [lost, live])
    now = (lost / "0.log").stat().st_mtime + 40 * DAY_S
    job_folders.remove_old([lost, live], now)
    assert lost.exists() is is_kept
    assert live.exists()  # its ticket is there, so that it may run
    job_folders.remove_old([lost], now - 39 * DAY_S)
    assert lost.exists() is is_kept


def test_a_job_whose_array_has_been_given_up_does_nothing(url, astra_root, caplog):
    folder = write_array(url, astra_root, "astra-Toy-2", [Status.FAILED])
    job_folders.tidy_jobs(url, [folder])
    assert run_job_command([str(folder), "0"]) == 0
    assert "job 0 has been given up: nothing is done" in caplog.text


def test_the_last_of_the_workers_takes_the_token_away(astra_root):
    folder = astra_root / "jobs" / "astra-workers-1"
    folder.mkdir(parents=True)
    for name in ("token", "ticket.json", "workers.json", "job.sh", "0.log", "1.log"):
        (folder / name).touch()
    job_folders.note_worker_ended(folder, "1", 2)
    job_folders.note_worker_ended(folder, "1", 2)  # started again by its cluster
    assert (folder / "token").exists()
    job_folders.note_worker_ended(folder, "0", 2)
    assert names(folder) == {"0.log", "1.log"}
    assert job_folders.worker_folders(astra_root) == [folder]
    assert job_folders.job_folders(astra_root) == []


def test_variables_that_may_hold_secrets_travel_by_the_ticket(url, astra_root, monkeypatch):
    name, value = "SURVEY_TOKEN", "hidden"
    monkeypatch.setenv(name, value)
    folder = astra_root / "jobs" / "astra-Toy-1"
    write_ticket(folder, url, "astra-Toy-1")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "ticket.json").stat().st_mode & 0o777 == 0o600
    monkeypatch.delenv(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", dict(os.environ))
        patch.setattr(luigi.configuration.get_config(), "set", lambda *_: None)
        from astra.tasks.job_ticket import read_ticket

        assert read_ticket(folder) == (url, "astra-Toy-1")
        assert os.environ[name] == value
