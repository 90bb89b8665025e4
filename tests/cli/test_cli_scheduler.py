import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from astra.cli import main
from tests.scheduler.test_pooled_worker import are_gone


def test_a_port_in_use_is_told_in_a_sentence(astra_root):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "astra.cli", "scheduler", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    words = f"astra: the scheduler cannot listen on address 127.0.0.1, port {port}: Address already in use"
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_nobody_knows_is_told_in_a_sentence(astra_root, capsys, monkeypatch):
    monkeypatch.setenv("ASTRA_SCHEDULER_TOKEN", "0123456789abcdef")
    assert main(["scheduler", "--address", "nowhere.invalid", "--port", "0"]) == 1
    assert (
        "astra: the scheduler cannot listen on address nowhere.invalid, port 0: " in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--port", "99999"], "--port: must be from 0, for any that is free, to 65535, found 99999"),
        (["--lease", "-1"], "--lease: must be a time in seconds, found -1"),
        (["--lease", "inf"], "--lease: must be a time in seconds, found inf"),
    ],
)
def test_numbers_that_a_scheduler_cannot_use_are_wrong_usage(astra_root, capsys, given, words):
    with pytest.raises(SystemExit) as caught:
        main(["scheduler", *given])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def run(*options):
    command = [sys.executable, "-m", "astra.cli", "scheduler", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_in_the_background_it_goes_on_when_the_command_has_ended(astra_root):
    begun = run("--background", "--port", "0", "--pidfile", str(astra_root / "pid"))
    assert (begun.returncode, begun.stderr) == (0, "")
    pid = int((astra_root / "pid").read_text())
    try:
        log = astra_root / "luigi-server.log"
        said = rf"scheduler on (http://127\.0\.0\.1:\d+/) as process {pid}; its log: {log}\n"
        url = re.fullmatch(said, begun.stdout)[1]
        assert f"scheduler on {url}" in log.read_text()
        assert os.getsid(pid) == pid
        with urllib.request.urlopen(f"{url}api/task_list", timeout=30) as answer:  # noqa: S310  # http
            assert json.loads(answer.read()) == {"response": {}}
        second = run("--background", "--port", "0")  # of the same root
        assert second.returncode == 1
        assert "scheduler.journal is in use by another scheduler" in second.stderr
    finally:
        os.kill(pid, signal.SIGTERM)
    assert are_gone([pid])
