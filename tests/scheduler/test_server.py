"""The server as it is called: by pages, by workers, by others."""

import http.client
import json
import os
import subprocess
import sys

import pytest

from astra.cli import main
from astra.scheduler.access import TOKEN_VARIABLE
from astra.scheduler.connections import RefusedError
from astra.scheduler.remote import RemoteScheduler
from tests.scheduler.conftest import Server

TOKEN = "a token of some length"  # noqa: S105


def answer(server, path, method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


def status_before_body(server, path):
    """Announce a large body; return what is answered while nothing of it is sent."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", "200000000")
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def test_pages_and_calls(central):
    assert answer(central, "/")[0].status == 302
    page, text = answer(central, "/static/visualiser/index.html")
    assert page.status == 200
    assert "Luigi Task Visualiser" in text
    assert page.headers["X-Frame-Options"] == "DENY"
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    style, rules = answer(central, "/static/visualiser/lib/AdminLTE/css/AdminLTE.min.css")
    assert style.status == 200
    assert "@import" not in rules  # no font from elsewhere
    assert len(rules) > 10_000
    form = "data=%7B%22worker%22%3A%22w%22%2C%22task_id%22%3A%22a%22%7D"
    stock = {"Content_Type": "application/x-www-form-urlencoded"}
    assert answer(central, "/api/add_task", "POST", form, **stock)[0].status == 200
    listed = json.loads(answer(central, "/api/task_list?data=%7B%22status%22%3A%22PENDING%22%7D")[1])
    assert list(listed["response"]) == ["a"]
    assert answer(central, "/api/__init__", "POST", "{}")[0].status == 404
    assert answer(central, "/api/pause")[0].status == 403
    assert answer(central, "/api/pause", "POST", Origin="http://evil.example")[0].status == 403
    assert answer(central, "/api/task_list", Host=f"evil.example:{central.port}")[0].status == 403
    assert central.call("is_paused") == {"paused": False}
    proxy = RemoteScheduler(central.url)
    assert proxy.is_bulk
    proxy.add_task(worker="w", task_id="a", status="DONE", priority=0)
    assert central.call("task_list", status="DONE") == {}  # it waits for the next message
    assert proxy.get_work(worker="w", host="h", current_tasks=[])["task_id"] is None
    assert list(central.call("task_list", status="DONE")) == ["a"]
    proxy.close()


def test_the_token_is_asked_for(tmp_path, monkeypatch):
    server = Server(tmp_path)
    server.start(**{TOKEN_VARIABLE: TOKEN})
    try:
        assert answer(server, "/static/visualiser/index.html")[0].status == 401
        assert status_before_body(server, "/api/add_tasks") == 401
        assert status_before_body(server, "/metrics") == 401
        monkeypatch.setenv(TOKEN_VARIABLE, TOKEN + "x")
        proxy = RemoteScheduler(server.url)
        with pytest.raises(RefusedError, match="answers 401"):
            proxy.ping(worker="w")
        proxy.close()
        monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
        proxy = RemoteScheduler(server.url)
        assert proxy.ping(worker="w") == {"rpc_messages": [], "lease_s": 20.0, "lost": []}
        proxy.close()
        monkeypatch.delenv(TOKEN_VARIABLE)
        proxy = RemoteScheduler(server.url.replace("//", f"//me:{TOKEN.replace(' ', '%20')}@"))
        assert proxy.ping(worker="w") == {"rpc_messages": [], "lease_s": 20.0, "lost": []}
        proxy.close()
    finally:
        server.stop()


def test_all_interfaces_need_a_token(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert main(["scheduler", "--address", "0.0.0.0", "--state-path", str(tmp_path / "j")]) == 1  # noqa: S104
    assert "needs a token" in capsys.readouterr().err
    assert not (tmp_path / "j").exists()


def test_our_workers_use_a_stock_luigid(luigid):
    proxy = RemoteScheduler(f"http://127.0.0.1:{luigid}")
    assert not proxy.is_bulk
    proxy.add_task(worker="w", task_id="a", family="F", module="m")
    work = proxy.get_work(worker="w", host="h", assistant=False, current_tasks=[])
    assert (work["task_id"], work["task_family"]) == ("a", "F")
    proxy.add_task(worker="w", task_id="a", status="DONE")
    assert list(proxy.task_list("DONE", "")) == ["a"]
    proxy.close()


STOCK = """
import luigi


class Leaf(luigi.Task):
    number = luigi.IntParameter(batch_method=max)
    max_batch_size = 2
    resources = {"disk": 0.5}
    priority = float("inf")
    disable_window = 10.0
    accepts_messages = True
    owner_email = "somebody@example.org"

    def output(self):
        return luigi.LocalTarget(f"leaf{self.number}")

    def run(self):
        self.set_status_message("on its way")
        self.set_progress_percentage(50)
        self.set_tracking_url("http://somewhere")
        self.decrease_running_resources({"disk": 0.25})
        for number in range(self.number + 1):
            luigi.LocalTarget(f"leaf{number}").open("w").close()


class Root(luigi.Task):
    retry_count = 2

    def requires(self):
        return [Leaf(number=number) for number in range(3)]

    def output(self):
        return luigi.LocalTarget("root")

    def run(self):
        yield Leaf(number=3)
        if not luigi.LocalTarget("tried").exists():
            luigi.LocalTarget("tried").open("w").close()
            raise ValueError("at first")
        self.output().open("w").close()


class Broken(luigi.WrapperTask):
    def requires(self):
        raise ValueError("it cannot say")
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_stock_workers_use_our_scheduler(central, tmp_path, workers):
    (tmp_path / "stock.py").write_text(STOCK)
    (tmp_path / "luigi.cfg").write_text("[scheduler]\nretry_delay = 0\n")
    central.call("update_resources", disk=1)
    command = [sys.executable, "-m", "luigi", "--module", "stock", "--scheduler-url", central.url]
    command += ["--workers", workers, "--retcode-task-failed", "30", "--retcode-scheduling-error", "35"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    codes = [
        subprocess.run(
            [*command, task], check=False, cwd=tmp_path, env=env, timeout=120, stderr=subprocess.PIPE
        ).returncode
        for task in ("Root", "Root", "Broken")
    ]
    assert codes == [30, 0, 35]
    assert (tmp_path / "root").exists()
    assert central.call("task_list", status="RUNNING") == {}
    assert "refused" not in (central.folder / "log").read_text()
