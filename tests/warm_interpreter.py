"""Run ``python -m luigi`` over and over, without the time that an interpreter takes to load its libraries.

Run as a program, this file is an interpreter that has imported what Luigi and astra need, but neither of
them. It forks for each command that it is sent; what it forks reads its environment and configuration,
imports Luigi and astra, runs the command and ends as any other process does.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARIES = (
    *("requests", "jsonschema", "tenacity", "psutil", "numpy", "numba", "sep", "fastavro", "psycopg"),
    *("sqlalchemy.orm", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql"),
    *("scipy.ndimage", "scipy.optimize", "scipy.interpolate"),
    *("astropy.io.fits", "astropy.table", "astropy.wcs"),
)
# Variables that an interpreter or those libraries read when they start.
READ_AT_START = ("PYTHON", "NUMBA", "OMP", "OPENBLAS", "MKL", "LD_", "LC_", "LANG", "TZ", "HOME", "XDG")


def can_run(changes):
    """Whether a command with these changes of the environment does not need an interpreter of its own."""
    return not any(name.startswith(READ_AT_START) for name in changes)


class WarmInterpreter:
    """An interpreter that has begun, to be sent commands one after the other."""

    def __init__(self, environment):
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def run(self, arguments, *, cwd, env, timeout):
        """Run ``luigi`` with arguments; return what `subprocess.run` would."""
        with tempfile.TemporaryDirectory() as folder:
            outputs = [Path(folder) / name for name in ("stdout", "stderr")]
            request = {
                "arguments": arguments,
                "cwd": str(cwd),
                "env": env,
                "outputs": list(map(str, outputs)),
            }
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            pid = int(self._process.stdout.readline())
            in_time, _, _ = select.select([self._process.stdout], [], [], timeout)
            if not in_time:
                os.kill(pid, signal.SIGKILL)
            code = int(self._process.stdout.readline())
            texts = [path.read_text() for path in outputs]
        if not in_time:
            raise subprocess.TimeoutExpired(arguments, timeout, *texts)
        return subprocess.CompletedProcess(arguments, code, *texts)

    def close(self):
        """End the interpreter."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=30)


def next_command():
    """Fork for each request, and say how it ended; return one in the process that is to run it."""
    for line in sys.stdin.buffer:
        pid = os.fork()
        if pid == 0:
            return json.loads(line)
        sys.stdout.buffer.write(b"%d\n" % pid)
        sys.stdout.buffer.flush()
        _, status = os.waitpid(pid, 0)
        sys.stdout.buffer.write(b"%d\n" % os.waitstatus_to_exitcode(status))
        sys.stdout.buffer.flush()
    sys.exit()


def become(command):
    """Become the process of a command: its folder, environment, arguments and files."""
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["env"])
    sys.path.insert(0, command["cwd"])
    sys.argv = ["luigi", *command["arguments"]]
    modes = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
    for target, (path, mode) in enumerate(zip((os.devnull, *command["outputs"]), modes, strict=True)):
        opened = os.open(path, mode, 0o600)
        os.dup2(opened, target)
        os.close(opened)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file, which no module of a command comes from
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    become(next_command())
    runpy.run_module("luigi", run_name="__main__", alter_sys=True)
