"""A Slurm of two nodes on this host's loopback interface, as root without systemd."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

COMMANDS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={munge}/socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=400
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
ReturnToService=2
KillWait=5
SlurmdTimeout=10
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8 RealMemory=4000
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES:4 PriorityTier=1
PartitionName=urgent Nodes=n[1-2] MaxTime=INFINITE State=UP PriorityTier=2
"""


def is_installed():
    """Whether the programs are there, and this process may start them."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    return os.geteuid() == 0 and all(shutil.which(name, path=path) for name in COMMANDS)


class Cluster:
    """Two nodes, n1 and n2, of 8 declared cores and 4000 MB each."""

    def __init__(self, folder, ports):
        self.folder = Path(folder)
        self.configuration = self.folder / "slurm.conf"
        self.munge = Path(tempfile.mkdtemp(prefix="munge-"))  # whose parents its own user may pass
        self.munge.chmod(0o755)
        self.ports = ports  # of the controller and the nodes
        self.processes = []

    def start(self):
        """Start the daemons in the foreground, as children of this process."""
        self._prepare()
        names = {"key": "key", "log": "log", "pid": "pid", "seed": "seed"}
        files = [f"--{option}-file={self.munge / name}" for option, name in names.items()]
        user = {"user": "munge", "group": "munge", "extra_groups": []}
        self._start("munged", "--foreground", f"--socket={self.munge / 'socket'}", *files, **user)
        self._wait((self.munge / "socket").exists, "munged")
        self._start("slurmctld", "-D", "-f", str(self.configuration))
        for node in ("n1", "n2"):
            self._start("slurmd", "-D", "-N", node, "-f", str(self.configuration))
        self._wait(lambda: self.command("sinfo", "-h", "-o", "%T").strip() == "idle", "two idle nodes")

    def stop(self):
        """Cancel the jobs, end the daemons."""
        self.command("scancel", "--user=root", check=False)
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.munge)

    def command(self, *arguments, check=True):
        """Standard output of a command of Slurm."""
        answer = subprocess.run(
            arguments, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        if check and answer.returncode:
            raise AssertionError(f"{arguments}: {answer.stderr}")
        return answer.stdout

    def stored_environments(self):
        """What the controller has stored of the environments of jobs."""
        found = b""
        for path in (self.folder / "state").glob("hash.*/job.*/environment"):
            with contextlib.suppress(FileNotFoundError):  # of a job that has just ended
                found += path.read_bytes()
        return found

    @property
    def environment(self):
        """Environment in which commands find this cluster."""
        return {**os.environ, "SLURM_CONF": str(self.configuration)}

    def _prepare(self):
        for name in ("state", "spool-n1", "spool-n2"):
            (self.folder / name).mkdir(parents=True)
        text = CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            ports=self.ports,
            folder=self.folder,
            munge=self.munge,
        )
        self.configuration.write_text(text)
        key = self.munge / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        for path in (key, self.munge):
            shutil.chown(path, "munge", "munge")

    def _start(self, program, *arguments, **options):
        path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        with open(self.folder / f"{program}-output.txt", "ab") as output:
            process = subprocess.Popen(
                [path, *arguments], env=self.environment, stdout=output, stderr=output, **options
            )
        self.processes.append(process)

    @staticmethod
    def _wait(is_ready, what, timeout_s=30):
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            if time.monotonic() > deadline:
                raise AssertionError(f"Slurm did not start: no {what} within {timeout_s} s")
            time.sleep(0.05)
