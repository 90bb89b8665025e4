"""The server as it is called: by pages, by workers, by others."""

import http.client
import json

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
