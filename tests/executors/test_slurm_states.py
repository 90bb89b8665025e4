import pytest

from astra.executors.interface import Cause
from astra.executors.slurm import write_script
from astra.executors.slurm_states import (
    GONE,
    Report,
    parse_accounting,
    parse_queue,
    parse_reports,
    why_never,
)

KILLED = (
    "JobId=7 ArrayJobId=5 ArrayTaskId=2 JobName=astra-Toy-1 UserId=root(0) JobState=FAILED Reason=None "
    "Requeue=0 Restarts=0 ExitCode=0:9 RunTime=00:01:05 TimeLimit=01:00:00 NodeList=n1 NumCPUs=2 "
    "MinMemoryCPU=400M Partition=main\n"
)
WAITING = "JobId=5 ArrayJobId=5 ArrayTaskId=3,5-9%2 JobState=PENDING Reason=JobArrayTaskLimit ExitCode=0:0\n"


def test_a_job_killed_for_its_memory_is_recognised():
    report = parse_reports(WAITING + KILLED)[2]
    assert report == Report("FAILED", "None", "n1", "0:9", 65.0, 800, 60)
    ended = report.ended("5_2")
    assert (
        ended.words == "Slurm job 5_2 on node n1 is FAILED, exit code 0:9, killed over its memory of 800 MB"
    )
    assert (ended.cause, ended.exit_signal, ended.memory_mb) == (Cause.MEMORY, 9, 800)


def test_jobs_that_wait_together_are_found_by_their_numbers():
    reports = parse_reports(WAITING + KILLED)
    assert {number: report.state for number, report in reports.items()} == {
        2: "FAILED",
        **dict.fromkeys([3, 5, 6, 7, 8, 9], "PENDING"),
    }


def test_a_job_at_its_time_limit_says_how_long_that_was():
    ended = Report("TIMEOUT", "TimeLimit", "n2", "0:15", 62.0, None, 1).ended("5_0")
    assert ended.words == (
        "Slurm job 5_0 on node n2 is TIMEOUT, exit code 0:15 (TimeLimit), at its time limit of 1 min"
    )


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
        (Report("BOOT_FAIL", exit_code="0:0"), Cause.OTHER),
        (Report("PREEMPTED", exit_code="0:15"), Cause.PREEMPTED),
        (Report("DEADLINE", exit_code="0:15"), Cause.HOPELESS),
        (Report("PENDING", "BadConstraints"), Cause.HOPELESS),
    ],
)
def test_what_a_job_lacked_is_told_from_its_end(report, cause):
    assert report.cause is cause


@pytest.mark.parametrize(
    "reason",
    [
        *("BadConstraints", "PartitionConfig", "PartitionTimeLimit", "PartitionNodeLimit", "InvalidAccount"),
        *("InvalidQOS", "QOSNotAllowed", "AccountNotAllowed", "DependencyNeverSatisfied", "MaxMemPerLimit"),
        *("QOSMaxCpuPerJobLimit", "AssocMaxWallDurationPerJobLimit", "QOSMaxMemoryPerJob"),
        *("QOSMaxCpuPerNode", "QOSMinCpuNotSatisfied"),
    ],
)
def test_reasons_that_nothing_but_a_change_of_limits_ends_are_known(reason):
    assert why_never("PENDING", reason) == reason
    ended = Report("PENDING", reason).ended("5_0")
    assert ended.words.startswith(f"Slurm job 5_0 would never start ({reason}")
    assert ended.words.endswith(") and is cancelled")
    assert ended.cause is Cause.HOPELESS
    assert why_never("RUNNING", reason) is None


def test_a_reason_that_says_little_is_explained():
    assert Report("PENDING", "PartitionConfig").ended("5_0").words == (
        "Slurm job 5_0 would never start (PartitionConfig: it asks for more time, nodes or memory than its "
        "partition allows) and is cancelled"
    )


@pytest.mark.parametrize(
    "reason",
    [
        *("None", "Priority", "Resources", "Dependency", "BeginTime", "PartitionDown", "ReqNodeNotAvail"),
        *("JobArrayTaskLimit", "JobHeldAdmin", "JobHeldUser", "Reservation", "Licenses"),
        *("QOSMaxJobsPerUserLimit", "QOSMaxSubmitJobPerUserLimit", "QOSMaxNodePerUserLimit"),
        *("AssocMaxJobsLimit", "AssocGrpCpuLimit", "AssocGrpCPUMinutesLimit", "QOSGrpMemLimit"),
    ],
)
def test_reasons_that_may_pass_are_waited_for(reason):
    assert why_never("PENDING", reason) is None


def test_the_queue_is_read_by_array_and_number():
    text = "5|2|RUNNING|None|\n5|3|PENDING|Resources\n8|N/A|RUNNING|None\n"
    assert parse_queue(text) == {("5", 2): ("RUNNING", "None"), ("5", 3): ("PENDING", "Resources")}


def test_what_is_forgotten_everywhere_is_said_so():
    assert parse_accounting("") == {}
    assert Report(GONE).ended("5_2").words == "Slurm job 5_2 is no longer known to Slurm"


def test_accounting_is_read_by_number():
    text = (
        "5_2|CANCELLED by 0|0:15|n2|12|60|400Mc|2\n"
        "5_3|OUT_OF_MEMORY|0:125|n1|7|UNLIMITED|2G|1\n"
        "5_4|RUNNING|0:0|n1|7000|60|2G|1\n"
        "5_[7-9]|PENDING|0:0|None assigned|0|60|2G|1\n"
    )
    assert parse_accounting(text) == {
        2: Report("CANCELLED", "", "n2", "0:15", 12.0, 800, 60),
        3: Report("OUT_OF_MEMORY", "", "n1", "0:125", 7.0, 2048, None),
        # The controller, which was asked first, does not know it: accounting missed its end.
        4: Report(GONE, "", "n1", "0:0", 7000.0, 2048, 60),
    }


@pytest.mark.parametrize(
    ("state", "reason", "is_never"),
    [
        ("PENDING", "Resources", False),
        ("PENDING", "ReqNodeNotAvail, UnavailableNodes:n[1-2]", False),
        ("PENDING", "QOSMaxJobsPerUserLimit", False),
        ("PENDING", "AssocGrpCpuLimit", False),
        ("PENDING", "JobHeldUser", False),
        ("PENDING", "BadConstraints", True),
        ("PENDING", "PartitionTimeLimit", True),
        ("PENDING", "QOSMaxWallDurationPerJobLimit", True),
        ("PENDING", "AssocMaxCpuPerJobLimit", True),
        ("RUNNING", "BadConstraints", False),
    ],
)
def test_what_waits_for_room_is_told_from_what_will_never_start(state, reason, is_never):
    assert bool(why_never(state, reason)) is is_never


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
    assert script.stat().st_mode & 0o777 == 0o700
