import pytest

from astra.executors.interface import Cause
from astra.executors.slurm import write_script
from astra.executors.slurm_states import Report, parse_accounting, parse_queue, parse_report

KILLED = (
    "JobId=7 ArrayJobId=5 ArrayTaskId=2 JobName=astra-Toy-1 UserId=root(0) JobState=FAILED Reason=None "
    "Requeue=0 Restarts=0 ExitCode=0:9 RunTime=00:01:05 TimeLimit=01:00:00 NodeList=n1 NumCPUs=2 "
    "MinMemoryCPU=400M Partition=main\n"
)
WAITING = "JobId=5 ArrayJobId=5 ArrayTaskId=3,5-9%2 JobState=PENDING Reason=JobArrayTaskLimit ExitCode=0:0\n"


def test_a_job_killed_for_its_memory_is_recognised():
    report = parse_report(WAITING + KILLED, 2)
    assert report == Report("FAILED", "None", "n1", "0:9", 65.0, 800, 60)
    ended = report.ended("5_2")
    assert ended.words == "Slurm job 5_2 on node n1 is FAILED, exit code 0:9"
    assert (ended.cause, ended.exit_signal, ended.memory_mb) == (Cause.MEMORY, 9, 800)


@pytest.mark.parametrize(("number", "state"), [(2, "FAILED"), (3, "PENDING"), (7, "PENDING"), (4, None)])
def test_jobs_that_wait_together_are_found_by_their_number(number, state):
    report = parse_report(WAITING + KILLED, number)
    assert (report.state if report else None) == state


@pytest.mark.parametrize(
    ("report", "cause"),
    [
        (Report("OUT_OF_MEMORY", exit_code="0:125"), Cause.MEMORY),
        (Report("TIMEOUT", exit_code="0:15"), Cause.TIME),
        (Report("FAILED", exit_code="75:0", run_time_s=3500, time_min=60), Cause.TIME),
        (Report("FAILED", exit_code="75:0", run_time_s=500, time_min=60), Cause.OTHER),
        (Report("CANCELLED", exit_code="0:15"), Cause.OTHER),
        (Report("NODE_FAIL", exit_code="0:0"), Cause.OTHER),
        (Report("FAILED", exit_code="1:0"), Cause.OTHER),
    ],
)
def test_what_a_job_lacked_is_told_from_its_end(report, cause):
    assert report.cause is cause


def test_the_queue_is_read_by_array_and_number():
    text = "5|2|RUNNING|None|\n5|3|PENDING|Resources\n8|N/A|RUNNING|None\n"
    assert parse_queue(text) == {("5", 2): ("RUNNING", "None"), ("5", 3): ("PENDING", "Resources")}


def test_what_is_forgotten_everywhere_is_said_so():
    ended = parse_accounting("").ended("5_2")
    assert ended.words == "Slurm job 5_2 is no longer known to Slurm"
    assert parse_accounting("CANCELLED by 0|0:15|n2|12\n") == Report("CANCELLED", "", "n2", "0:15", 12.0)


def test_nothing_of_a_command_is_left_to_the_shell(tmp_path):
    folder = tmp_path / "a $(touch gone) 'quoted'"
    folder.mkdir()
    script = write_script(folder, ("printf", "%s|", str(folder)))
    import subprocess

    answer = subprocess.run(
        [script], capture_output=True, text=True, check=True, cwd=tmp_path, env={"SLURM_ARRAY_TASK_ID": "7"}
    )
    assert answer.stdout == f"{folder}|7|"
    assert list(tmp_path.iterdir()) == [folder]
