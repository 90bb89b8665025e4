"""A central scheduler in a process of its own, which can be killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from tests.conftest import PROJECT
from tests.postgresql import free_port


class Server:
    def __init__(self, folder, *options):
        self.folder = folder
        self.port = free_port()
        self.options = options
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, **environment):
        command = [sys.executable, "-m", "astra.cli", "scheduler", "--port", str(self.port)]
        command += ["--state-path", str(self.folder / "journal"), *self.options]
        env = {**os.environ, "PYTHONPATH": str(PROJECT), "ASTRA_ROOT": str(self.folder), **environment}
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, env=env, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.call("bulk_protocol")
            except urllib.error.HTTPError as refusal:
                refusal.close()
                return
            except OSError:
                time.sleep(0.05)
            else:
                return
        pytest.fail((self.folder / "log").read_text()[-3000:])

    def call(self, method, headers=None, **arguments):
        body = json.dumps(arguments).encode()
        given = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(f"{self.url}/api/{method}", body, given)  # noqa: S310  # http
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read())["response"]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)


@pytest.fixture
def central(tmp_path):
    folder = tmp_path / "scheduler"
    folder.mkdir()
    server = Server(folder)
    server.start()
    yield server
    server.stop()
