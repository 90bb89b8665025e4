"""What Slurm's commands say, by commands that say what a test wants: no cluster says all of it when asked."""

import getpass
import http.server
import os
import threading

import pytest

from astra.cli import main
from astra.errors import BusyError, ConfigError, CrowdedError, UnavailableError
from astra.executors import slurm_commands
from astra.executors.interface import Cause, Handle, Order
from astra.executors.slurm import SlurmExecutor
from astra.executors.slurm_settings import SlurmSettings
from astra.scheduler.access import TOKEN_VARIABLE
from astra.tasks import job_folders

FAILED = "sbatch: error: Batch job submission failed: "
POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
ENDED = "ArrayJobId=5 ArrayTaskId={} JobState={} ExitCode=0:0 NodeList={} RunTime=00:00:09\n"
COMMAND = """\
#!/bin/sh
name=${0##*/}
echo "$name $*" >>"$FAKE_SLURM/calls"
env >"$FAKE_SLURM/environment"
cat "$FAKE_SLURM/$name.err" >&2
cat "$FAKE_SLURM/$name.out"
exit "$(cat "$FAKE_SLURM/$name.code")"
"""


class FakeSlurm:
    """Commands that answer as they are told, and what they were called with."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("sbatch", "squeue", "scontrol", "scancel", "sacct"):
            (folder / name).write_text(COMMAND)
            (folder / name).chmod(0o700)
            self.answers(name)

    def answers(self, name, out="", err="", code=0):
        for kind, text in (("out", out), ("err", err), ("code", str(code))):
            (self.folder / f"{name}.{kind}").write_text(text)

    @property
    def calls(self):
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def environment(self):
        lines = (self.folder / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    made = FakeSlurm(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path))
    return made


def submit(folder, n_jobs=3, **settings):
    order = Order("astra-Toy-1", ("true",), n_jobs, folder, SlurmSettings(**settings), "astra Toy")
    return SlurmExecutor().submit(order)


@pytest.mark.parametrize(
    ("answer", "limit"),
    [
        (f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{FAILED}{POLICY}", "QOSMaxSubmitJobPerUserLimit"),
        (f"sbatch: error: AssocMaxSubmitJobLimit\n{FAILED}{POLICY}", "AssocMaxSubmitJobLimit"),
        (f"sbatch: error: AssocGrpSubmitJobsLimit\n{FAILED}{POLICY}", "AssocGrpSubmitJobsLimit"),
        (f"{FAILED}Resource temporarily unavailable", "Resource temporarily unavailable"),
    ],
)
def test_where_there_is_no_room_for_an_array_there_may_be_for_fewer_jobs(fake, tmp_path, answer, limit):
    fake.answers("sbatch", err=answer, code=1)
    with pytest.raises(CrowdedError, match=f"Slurm takes no array of 3 jobs now: {limit}$"):
        submit(tmp_path)


def test_a_closed_partition_is_no_refusal_and_takes_no_smaller_array_either(fake, tmp_path):
    fake.answers("sbatch", err=f"{FAILED}Required partition not available (inactive or drain)", code=1)
    with pytest.raises(BusyError, match=r"takes no array of 3 jobs now: .*partition not available") as caught:
        submit(tmp_path)
    assert not isinstance(caught.value, CrowdedError)


def test_a_single_job_is_refused_where_none_may_ever_be_submitted(fake, tmp_path):
    fake.answers("sbatch", err=f"sbatch: error: AssocMaxSubmitJobLimit\n{FAILED}{POLICY}", code=1)
    records = (
        "ClusterName=c Account=obs UserName={}(7) Partition= ID=4\n    DefAssoc=Yes\n    MaxSubmitJobs={}\n"
    )
    fake.answers("scontrol", out=records.format(getpass.getuser(), "0(0)"))
    with pytest.raises(
        ConfigError, match=r"AssocMaxSubmitJobLimit; it never will, as user .* MaxSubmitJobs=0"
    ):
        submit(tmp_path, 1)
    with pytest.raises(CrowdedError):  # which is divided first
        submit(tmp_path, 2)
    fake.answers("scontrol", out=records.format(getpass.getuser(), "5(5)"))
    with pytest.raises(CrowdedError, match=r"takes no array of 1 job now: AssocMaxSubmitJobLimit$"):
        submit(tmp_path, 1)


@pytest.mark.parametrize(
    "answer",
    [
        f"{FAILED}Socket timed out on send/recv operation",
        f"{FAILED}Unable to contact slurm controller (connect failure)",
        f"{FAILED}Slurm backup controller in standby mode",
        f"{FAILED}Protocol authentication error",
        f"{FAILED}Zero Bytes were transmitted or received",
    ],
)
def test_a_controller_that_does_not_answer_leaves_it_open_whether_jobs_were_submitted(fake, tmp_path, answer):
    fake.answers("sbatch", err=answer, code=1)
    with pytest.raises(UnavailableError, match="Slurm does not answer sbatch") as caught:
        submit(tmp_path)
    assert not isinstance(caught.value, BusyError)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            f"sbatch: error: invalid partition specified: nowhere\n{FAILED}Invalid partition name specified",
            "invalid partition specified: nowhere; Batch job submission failed: Invalid partition name",
        ),
        (
            f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{FAILED}{POLICY}",
            "QOSMaxWallDurationPerJobLimit; ",
        ),
        (f"{FAILED}Requested node configuration is not available", "Requested node configuration"),
    ],
)
def test_what_will_never_be_allowed_is_refused_with_what_was_asked_for(fake, tmp_path, answer, words):
    fake.answers("sbatch", err=answer, code=1)
    with pytest.raises(
        ConfigError, match=f"Slurm refuses the array: .*{words}.*; asked for with .*--mem=4096M"
    ):
        submit(tmp_path, memory="4G")


def test_a_host_on_which_slurm_is_not_set_up_is_told_so(fake, tmp_path, monkeypatch):
    fake.answers("sbatch", err="sbatch: fatal: Could not establish a configuration source", code=1)
    with pytest.raises(
        ConfigError, match=r"sbatch finds no slurm\.conf, neither in /etc/slurm nor where SLURM_CONF"
    ):
        submit(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(
        ConfigError, match="not installed on this host: the command sbatch is not on the PATH"
    ):
        submit(tmp_path)


def test_what_a_plug_in_prints_before_the_job_id_is_no_job_id(fake, tmp_path):
    fake.answers("sbatch", out="You have used 1234 of 5000 hours\n77;night\n")
    assert submit(tmp_path) == "77"
    fake.answers("sbatch", out="welcome\n")
    with pytest.raises(UnavailableError, match="no job id in its answer"):
        submit(tmp_path)


def test_an_array_says_what_it_is_and_nothing_of_slurm_starts_it_again(fake, tmp_path):
    fake.answers("sbatch", out="77\n")
    folder = tmp_path / "100%"
    folder.mkdir()
    submit(folder, 3, max_running=2, memory="4G")
    (call,) = fake.calls
    for words in (
        *("--job-name=astra-Toy-1", "--comment=astra Toy", "--array=0-2%2", "--no-requeue", "--mem=4096M"),
        *("--open-mode=append", f"--output={tmp_path}/100%%/%a.log"),
    ):
        assert words in call


def test_slurm_is_given_no_secret_and_a_user_s_own_defaults(fake, tmp_path, monkeypatch):
    fake.answers("sbatch", out="77\n")
    given = {
        "SBATCH_ACCOUNT": "survey",
        "SLURM_CONF": "/etc/slurm/slurm.conf",
        "LD_LIBRARY_PATH": "/opt/lib",
        "SBATCH_WAIT": "1",
        "SLURM_MEM_PER_NODE": "400",
        "SQUEUE_STATES": "running",
        "PGPASSWORD": "hidden",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "ASTRA_SCHEDULER_TOKEN": "hidden",
        "ASTRA_DATABASE_URL": "postgresql+psycopg://astra:hidden@db/astra",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    submit(tmp_path)
    kept = {name: fake.environment.get(name) for name in given}
    assert kept == {**dict.fromkeys(given), **dict(list(given.items())[:3])}
    assert "hidden" not in "".join(fake.environment.values())


@pytest.mark.parametrize(
    ("limit", "count", "size", "largest"),
    [(1001, 10000, 1000, 1000), (500, 10000, 1000, 500), (5000, 10000, 50, 50), (5000, 300, 1000, 300)],
)
def test_an_array_is_no_larger_than_the_cluster_takes(fake, limit, count, size, largest):
    fake.answers(
        "scontrol", out=f"Configuration data\nMaxArraySize            = {limit}\nMaxJobCount = {count}\n"
    )
    executor = SlurmExecutor()
    assert executor.largest_array(SlurmSettings(array_size=size)) == largest
    executor.largest_array(SlurmSettings())
    assert len(fake.calls) == 1


def test_many_jobs_that_have_ended_are_asked_for_at_once_without_accounting_too(fake):
    handles = [Handle("a", number, "5") for number in range(4)]
    fake.answers("squeue", out="5|0|RUNNING|None\n5|1|NODE_FAIL|None\n")
    fake.answers("scontrol", out=ENDED.format(1, "NODE_FAIL", "n1") + ENDED.format(2, "COMPLETED", "n2"))
    fake.answers("sacct", err="Slurm accounting storage is disabled", code=1)
    ended = SlurmExecutor().look(handles)
    assert {handle.number: item.words for handle, item in ended.items()} == {
        1: "Slurm job 5_1 on node n1 is NODE_FAIL, exit code 0:0",
        2: "Slurm job 5_2 on node n2 is COMPLETED, exit code 0:0",
        3: "Slurm job 5_3 is no longer known to Slurm",
    }
    assert [call.split()[0] for call in fake.calls] == ["squeue", "scontrol", "sacct"]


def test_what_the_controller_has_forgotten_is_known_to_accounting(fake):
    fake.answers("squeue", err="slurm_load_jobs error: Invalid job id specified", code=1)
    fake.answers("scontrol", err="slurm_load_jobs error: Invalid job id specified", code=1)
    fake.answers("sacct", out="5_0|TIMEOUT|0:0|n1|3605|60|4G|1\n5_1|OUT_OF_MEMORY|0:125|n2|9|60|4G|1\n")
    ended = SlurmExecutor().look([Handle("a", 0, "5"), Handle("a", 1, "5")])
    assert [(item.cause, item.memory_mb, item.time_min) for item in ended.values()] == [
        (Cause.TIME, 4096, 60),
        (Cause.MEMORY, 4096, 60),
    ]


def test_what_will_never_start_is_taken_out_of_the_queue(fake):
    fake.answers("squeue", out="5|0|PENDING|PartitionTimeLimit\n5|1|PENDING|Resources\n")
    ended = SlurmExecutor().look([Handle("a", 0, "5"), Handle("a", 1, "5")])
    assert {handle.number: item.cause for handle, item in ended.items()} == {0: Cause.HOPELESS}
    assert fake.calls[-1] == "scancel 5_0"


def test_what_waits_is_told_with_its_reasons(fake):
    fake.answers(
        "squeue", out="5|0|PENDING|Resources\n5|1|PENDING|Resources\n5|2|RUNNING|None\n5|3|PENDING|Priority\n"
    )
    handles, executor = [Handle("a", number, "5") for number in range(4)], SlurmExecutor()
    assert executor.look(handles) == {}
    assert executor.why_waiting(handles) == {"Resources": 2, "Priority": 1}
    assert executor.why_waiting(handles[2:3]) == {}


def test_what_asks_for_more_than_all_jobs_may_have_together_is_taken_out_of_the_queue(fake):
    job = "JobId=5 UserId=me(7) Account=obs QOS=small JobState=PENDING Partition=main TRES=cpu=6 QoS=N/A\n"
    limits = "QOS=small(2)\n    GrpTRES=cpu={}(4),mem=N(0)\n"
    fake.answers("squeue", out="5|0|PENDING|QOSGrpCpuLimit\n5|1|PENDING|QOSGrpCpuLimit\n")
    fake.answers("scontrol", out=job + limits.format(8))
    handles, executor = [Handle("a", 0, "5"), Handle("a", 1, "5")], SlurmExecutor()
    for _ in range(3):
        assert executor.look(handles) == {}
    assert (
        sum(call.startswith("scontrol show assoc_mgr") for call in fake.calls) == 1
    )  # compared once in a while
    fake.answers("scontrol", out=job + limits.format(4))
    ended = SlurmExecutor().look(handles)
    assert {item.cause for item in ended.values()} == {Cause.HOPELESS}
    assert ended[handles[0]].words == (
        "Slurm job 5_0 would never start (QOSGrpCpuLimit: the job asks for cpu=6, and QOS small has cpu=4 "
        "for all jobs together) and is cancelled"
    )
    assert fake.calls[-1] == "scancel 5_0 5_1"


@pytest.mark.parametrize("command", ["squeue", "scontrol"])
def test_nothing_is_concluded_while_the_controller_is_silent(fake, command):
    fake.answers(command, err="slurm_load_jobs error: Socket timed out on send/recv operation", code=1)
    with pytest.raises(UnavailableError, match=f"does not answer {command}: .*timed out"):
        SlurmExecutor().look([Handle("a", 0, "5")])


def test_a_command_that_hangs_is_given_up(fake, monkeypatch):
    (fake.folder / "squeue").write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(slurm_commands, "TIMEOUT_S", 0.2)
    with pytest.raises(UnavailableError, match=r"no answer within 0\.2 s"):
        SlurmExecutor().find("astra-Toy-1")


def test_an_array_is_looked_for_in_the_queue_then_in_accounting_of_the_last_days(fake):
    fake.answers("sacct", out="9_0\n9_[1-3]\n")
    assert SlurmExecutor().find("astra-Toy-1") == "9"
    assert "--name=astra-Toy-1" in fake.calls[-1]
    assert "--starttime=now-7days" in fake.calls[-1]
    fake.answers("sacct", err="Slurm accounting storage is disabled", code=1)
    assert SlurmExecutor().find("astra-Toy-1") is None


def test_workers_that_were_killed_leave_no_token_for_long(fake, astra_root, capsys, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, "that of the file comes first")
    token_file = astra_root / "token"
    token_file.write_text("hidden")
    token_file.chmod(0o600)
    command = ["workers", "--slurm", "--scheduler-url", "http://head:8082/", "--token-file", str(token_file)]
    fake.answers("sbatch", out="77\n")
    assert main(command) == 0
    (first,) = job_folders.worker_folders(astra_root)
    assert (first / "token").read_text() == "hidden"
    (first / "0.log").write_text("killed")
    assert main(command) == 0  # Slurm has no job of the first ones
    (second,) = set(job_folders.worker_folders(astra_root)) - {first}
    assert [path.name for path in first.iterdir()] == ["0.log"]
    fake.answers("squeue", out="77\n")
    fake.answers("sbatch", err=f"sbatch: error: AssocMaxSubmitJobLimit\n{FAILED}{POLICY}", code=1)
    assert main(command) == 1  # the second ones run, and there is no room for more
    assert "takes no array of 1 job now" in capsys.readouterr().err
    assert set(job_folders.worker_folders(astra_root)) == {first, second}
    assert (second / "token").exists()


def test_workers_that_the_scheduler_would_refuse_are_not_submitted(fake, astra_root, capsys, monkeypatch):
    answers = {"ok": (200, b"{}"), "stock": (404, b""), "closed": (401, b"the scheduler needs its token")}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            status, body = answers["ok" if self.headers["Authorization"] else self.path.split("/")[1]]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    fake.answers("sbatch", out="77\n")
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert main(["workers", "--slurm", "--scheduler-url", f"{url}/closed"]) == 40
        assert "401: the scheduler needs its token; set ASTRA_SCHEDULER_TOKEN" in capsys.readouterr().err
        assert not (astra_root / "jobs").exists()
        assert main(["workers", "--slurm", "--scheduler-url", f"{url}/stock"]) == 0
        monkeypatch.setenv(TOKEN_VARIABLE, "a-token-of-this-very-test")
        assert main(["workers", "--slurm", "--scheduler-url", f"{url}/closed"]) == 0
        server.shutdown()
    assert "does not answer this host" not in capsys.readouterr().err
    assert main(["workers", "--slurm", "--scheduler-url", f"{url}/ok"]) == 0
    assert "does not answer this host: " in capsys.readouterr().err
    assert sum(call.startswith("sbatch") for call in fake.calls) == 3


def test_more_workers_than_may_be_submitted_are_refused_with_what_to_do(fake, astra_root, capsys):
    fake.answers("sbatch", err=f"sbatch: error: AssocMaxSubmitJobLimit\n{FAILED}{POLICY}", code=1)
    url = ["--scheduler-url", "http://127.0.0.1:9/"]  # where nobody listens
    assert main(["workers", "--slurm", "--count", "20", *url]) == 1
    words = "takes no array of 20 jobs now: AssocMaxSubmitJobLimit; ask for fewer with --count"
    assert words in capsys.readouterr().err
    assert not job_folders.worker_folders(astra_root)
