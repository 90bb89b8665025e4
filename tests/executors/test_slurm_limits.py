"""Limits as ``scontrol show assoc_mgr`` printed them on a cluster with accounting, Slurm 22.05."""

import pytest

from astra.executors.slurm_limits import GROUP_LIMIT, Asked, exceeded_limit, no_job_allowed, parse_asked

LIMITS = """\
Current Association Manager state

Association Records

ClusterName=test Account=root UserName= Partition= Priority=0 ID=1
    ParentAccount= Lft=1 DefAssoc=No
    GrpJobs=N(0) GrpJobsAccrue=N(1)
    GrpSubmitJobs=N(2) GrpWall=N(0.00)
    GrpTRES=cpu=N(0),mem={root_mem}(0),energy=N(0),node=N(0),billing=N(0)
    MaxJobs= MaxJobsAccrue= MaxSubmitJobs= MaxWallPJ=
ClusterName=test Account=obs UserName= Partition= Priority=0 ID=3
    ParentAccount=root(1) Lft=2 DefAssoc=No
    GrpJobs=N(0) GrpJobsAccrue=N(1)
    GrpSubmitJobs=N(2) GrpWall=N(0.00)
    GrpTRES=cpu=N(0),mem={obs_mem}(0),energy=N(0),node=N(0),billing=N(0)
    MaxJobs= MaxJobsAccrue= MaxSubmitJobs= MaxWallPJ=
ClusterName=test Account=obs UserName=eve(0) Partition=other Priority=0 ID=5
    ParentAccount= Lft=3 DefAssoc=No
    MaxJobs=0(0) MaxJobsAccrue= MaxSubmitJobs=0(0) MaxWallPJ=
ClusterName=test Account=obs UserName=eve(0) Partition= Priority=0 ID=4
    ParentAccount= Lft=3 DefAssoc=Yes
    GrpTRES=cpu=N(0),mem=N(0),energy=N(0),node=N(0),billing=N(0)
    MaxJobs={jobs}(0) MaxJobsAccrue= MaxSubmitJobs={submit}(0) MaxWallPJ=
ClusterName=test Account=obs UserName=bob(8) Partition= Priority=0 ID=9
    ParentAccount= Lft=3 DefAssoc=Yes
    GrpTRES=cpu=1(0)
    MaxJobs=0(0) MaxJobsAccrue= MaxSubmitJobs=0(0) MaxWallPJ=

QOS Records

QOS=normal(1)
    GrpJobs=N(0) GrpJobsAccrue=N(0) GrpSubmitJobs=0(0) GrpWall=N(0.00)
    GrpTRES=cpu=2(0),mem=N(0),energy=N(0),node=N(0),billing=N(0)
    User Limits
        No Users
QOS=small(2)
    GrpJobs=N(0) GrpJobsAccrue=N(1) GrpSubmitJobs=N(2) GrpWall=N(0.00)
    GrpTRES=cpu={qos_cpu}(4),mem=N(0),energy=N(0),node=N(0),billing=N(0),gres/gpu={gpu}(0)
    Account Limits
      obs
        MaxJobsPA=N(0) MaxJobsAccruePA=N(1) MaxSubmitJobsPA=N(2)
        MaxTRESPA=cpu=N(0),mem=N(0),energy=N(0),node=N(0),billing=N(0)
    User Limits
      0
        MaxJobsPU=N(0) MaxJobsAccruePU=N(1) MaxSubmitJobsPU={submit_each}(2)
        MaxTRESPU=cpu={each_cpu}(0),mem=N(0),energy=N(0),node=N(0),billing=N(0)
"""
NONE = dict.fromkeys(
    ("root_mem", "obs_mem", "jobs", "submit", "qos_cpu", "gpu", "submit_each", "each_cpu"), "N"
)
JOB = (
    "JobId=6 ArrayJobId=5 ArrayTaskId=0 JobName=wrap UserId=eve(0) GroupId=eve(0) Account=obs QOS=small "
    "JobState={} Reason=QOSGrpCpuLimit Partition=main TRES=cpu=6,mem=2.5G,node=1,billing=6,gres/gpu=2 "
    "MinMemoryCPU=400M\n"
)
PARTITION = (
    "PartitionName=main AllowQos=ALL QoS={} DefaultTime=NONE MaxNodes=UNLIMITED TRES=cpu=16,mem=8000M\n"
)


def asked():
    return parse_asked(JOB.format("RUNNING") + JOB.format("PENDING"))


def test_what_a_job_asks_for_is_read_from_one_that_waits():
    assert asked() == Asked(
        account="obs",
        user="eve",
        partition="main",
        qos=("small",),
        tres={"cpu": 6, "mem": 2560, "node": 1, "billing": 6, "gres/gpu": 2},
    )
    assert parse_asked(JOB.format("RUNNING")) is None
    assert parse_asked("") is None


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"qos_cpu": 4}, "the job asks for cpu=6, and QOS small has cpu=4 for all jobs together"),
        ({"each_cpu": 5}, "the job asks for cpu=6, and QOS small has cpu=5 for the jobs of a user together"),
        ({"gpu": 1}, "the job asks for gres/gpu=2, and QOS small has gres/gpu=1 for all jobs together"),
        ({"obs_mem": 1000}, "asks for mem=2560 MB, and account obs has mem=1000 MB for all jobs together"),
        ({"root_mem": "2G"}, "asks for mem=2560 MB, and account root has mem=2048 MB for all jobs together"),
        ({"jobs": 0}, "user eve of account obs has MaxJobs=0"),
    ],
)
def test_a_limit_that_one_job_exceeds_is_named_with_whose_it_is(limits, words):
    assert exceeded_limit(LIMITS.format(**{**NONE, **limits}), asked()).endswith(words)


@pytest.mark.parametrize("limits", [{}, {"qos_cpu": 6, "obs_mem": 2560, "jobs": 1}])
def test_a_job_within_all_limits_only_waits_for_others(limits):
    assert exceeded_limit(LIMITS.format(**{**NONE, **limits}), asked()) is None
    assert exceeded_limit("Current Association Manager state\n", asked()) is None  # no accounting


def test_the_quality_of_service_of_a_partition_counts_too():
    text = LIMITS.format(**NONE)
    assert exceeded_limit(text, asked().with_qos_of(PARTITION.format("N/A"))) is None
    assert "QOS normal has cpu=2" in exceeded_limit(text, asked().with_qos_of(PARTITION.format("normal")))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"submit": 0}, "user eve of account obs has MaxSubmitJobs=0"),
        ({"submit_each": 0}, "QOS small has MaxSubmitJobsPU=0"),
        ({"submit": 1, "submit_each": 10}, None),
    ],
)
@pytest.mark.parametrize("account", ["", "obs"])
def test_an_account_for_which_nothing_may_be_submitted_is_found(limits, words, account):
    text = LIMITS.format(**{**NONE, **limits})
    assert no_job_allowed(text, Asked(account=account, user="eve", qos=("small",))) == words


@pytest.mark.parametrize(
    ("reason", "is_one"),
    [
        *((name, True) for name in ("QOSGrpCpuLimit", "AssocGrpMemLimit", "QOSMaxCpuPerUserLimit")),
        *((name, True) for name in ("QOSMaxMemoryPerUser", "MaxCpuPerAccount", "AssocMaxJobsLimit")),
        *((name, False) for name in ("Resources", "Priority", "JobArrayTaskLimit", "None")),
    ],
)
def test_reasons_that_name_what_many_jobs_have_together_are_known(reason, is_one):
    assert bool(GROUP_LIMIT.search(reason)) is is_one
