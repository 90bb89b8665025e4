"""A daemon of rsync on the loopback interface, run by the user of the tests."""

import os
import subprocess
import time

from tests.postgresql import free_port

CONF = """
log file = {folder}/log
munge symlinks = no
address = 127.0.0.1
port = {port}
{owner}
[dr17]
path = {folder}/dr17
[dr19]
path = {folder}/dr19
[sdsswork]
path = {folder}/sdsswork
auth users = sdss5
secrets file = {folder}/secrets
"""


class Daemon:
    """Modules ``dr17``, ``dr19`` and, for the user ``sdss5`` with the password ``v3ry``, ``sdsswork``."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.url = f"rsync://127.0.0.1:{self.port}"
        self.log = folder / "log"

    def __enter__(self):
        for name in ("dr17", "dr19", "sdsswork"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "secrets").write_text("sdss5:v3ry\n")
        (self.folder / "secrets").chmod(0o600)
        conf = self.folder / "rsyncd.conf"
        # Without chroot, which is root's, the program follows no links.
        owner = "use chroot = yes\nuid = root\ngid = root" if os.geteuid() == 0 else "use chroot = no"
        conf.write_text(CONF.format(port=self.port, folder=self.folder, owner=owner))
        command = ["rsync", "--daemon", "--no-detach", f"--config={conf}"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        for _ in range(500):
            if subprocess.run(["rsync", self.url], capture_output=True, check=False).returncode == 0:
                return self
            time.sleep(0.02)
        raise TimeoutError(self.url)

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait()

    def put(self, location, content=b"content"):
        path = self.folder / location
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return location

    def n_calls(self):
        """Number of calls that fetched something."""
        return self.log.read_text().count("rsync on ") if self.log.exists() else 0
