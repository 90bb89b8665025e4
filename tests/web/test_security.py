"""What is made to harm does not get through: texts, paths, sizes, hosts, other sites, missing tokens."""

import html.parser
import os
import re
import threading
import time
import urllib.parse

import pytest

from astra.cli import main
from astra.errors import ConfigError
from astra.scheduler.access import TOKEN_VARIABLE
from astra.web import handlers
from astra.web.exports import to_csv, to_json
from astra.web.security import COOKIE, SESSION_S, make_page_access, own_path
from tests.web.conftest import Server
from tests.web.example_site import FORMULA, IMAGE, INSTRUMENT, NIGHT, SCRIPT, SECRET, VISITS
from tests.web.test_server_pages import paths

TOKEN = "a token of some length"  # noqa: S105


class Markup(html.parser.HTMLParser):
    """What a page is made of, as a browser reads it."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.handlers, self.addresses, self.styles, self.scripts = [], [], [], 0, []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self._in_script = tag in {"script", "style"}
        for name, value in attrs:
            self.handlers += [name] if name.startswith("on") else []
            self.styles += name == "style"
            self.addresses += [value or ""] if name in {"href", "src", "action", "xlink:href"} else []

    def handle_endtag(self, tag):
        self._in_script = self._in_script and tag not in {"script", "style"}

    def handle_data(self, data):
        if self._in_script and data.strip():
            self.scripts.append(data)


@pytest.fixture(scope="module")
def closed(example):
    """A server that asks for a token."""
    made = Server(example.url, example.root, token=TOKEN)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def everything(server, example):
    """The text of every page, those of hostile tasks among them."""
    wanted = [
        *paths(example),
        f"/task/{example.hostile}",
        "/tasks?family=Hostile",
        f"/object/{example.object_id}?scale=mag",
    ]
    wanted += [
        f"/tasks?text={urllib.parse.quote(SCRIPT)}",
        f"/alerts?near={urllib.parse.quote(SCRIPT)}",
        f"/no{SCRIPT}",
    ]
    found = {}
    for path in wanted:
        response, content = server.ask(path.replace(" ", "%20"))
        assert response.status < 500, (path, content)
        found[path] = (response, content.decode())
    return found


def test_script_in_parameters_logs_and_names_is_text(everything):
    shown = 0
    for path, (response, text) in everything.items():
        assert "text/html" in response.headers["Content-Type"]
        markup = Markup(text)
        assert not markup.handlers, path
        assert not markup.scripts, path
        assert markup.elements.count("script") == 1, path
        shown += text.count("&lt;script&gt;")
    assert shown > 5  # the texts are there


def test_no_page_has_style_or_addresses_of_its_own_that_run(everything):
    for path, (_, text) in everything.items():
        markup = Markup(text)
        assert not markup.styles, path
        for address in markup.addresses:
            assert urllib.parse.urlsplit(address).scheme in {"", "http", "https", "data"}, (path, address)
            assert not address.startswith("data:text"), (path, address)


def test_nothing_is_loaded_from_elsewhere(everything):
    for path, (response, text) in everything.items():
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert "http" not in policy, path
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in policy
        for loaded in re.findall(r"<(?:img|script|link|image)[^>]+(?:src|href)=\"([^\"]*)\"", text):
            assert loaded.startswith(("/", "data:")), (path, loaded)


def test_formulae_and_control_characters_are_harmless_in_exports(server, example):
    text = server.page("/tasks", family="Hostile", format="csv")
    assert f"'{FORMULA[:5]}" not in text.splitlines()[0]
    assert to_csv([{"a": FORMULA, "b": "-1+1", "c": -1.5, "d": "\t=1", "e": "@x"}], "abcde") == (
        'a,b,c,d,e\r\n"\'=HYPERLINK(""http://evil.example"";""open"")",\'-1+1,-1.5,\'\t=1,\'@x\r\n'
    )
    assert to_json({"diaSourceId": 2**60, "n": 3, "flux": float("nan"), "s": SCRIPT}) == (
        f'{{"diaSourceId":"{2**60}","n":3,"flux":null,"s":"{SCRIPT}"}}'
    )
    response, content = server.ask(f"/task/{example.hostile}?format=json")
    assert response.headers["Content-Type"].startswith("application/json")
    assert b"\x1b" not in content


def test_a_file_outside_the_root_is_refused(server, example):
    for name in ("link", "outside", "climbs", "passwd", "kind", "missing"):
        response, content = server.ask(f"/product/{example.products[name]}")
        assert response.status == 404, name
        assert SECRET.encode() not in content
        assert b"root:" not in content


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "/static//etc/passwd",
        "/static/%2fetc%2fpasswd", "/static/style.css/../../server.py", "/product/..%2f..%2fetc%2fpasswd",
        "/product/1001/../1002", "/pictures/../../secret.db", "/pictures/%2e%2e%2f%2e%2e%2fsecret.db",
        "/alert/1/../../secret.db", "//etc/passwd", "/task/..%2f..%2fetc%2fpasswd",
        "/static/style.css%00.png",
    ],
)  # fmt: skip
def test_path_traversal_leads_nowhere(server, path):
    response, content = server.ask(path)
    assert response.status in {400, 403, 404}, path
    assert b"root:" not in content
    assert SECRET.encode() not in content
    assert b"import" not in content


@pytest.mark.parametrize(
    "path",
    ["/tasks?text=" + "x" * 5000, "/" + "a" * 9000, "/tasks?" + "&".join(f"a{n}=1" for n in range(1200))],
)
def test_an_oversized_address_is_refused(server, path):
    assert server.ask(path)[0].status in {400, 404, 414}


def test_oversized_headers_and_bodies_are_refused(server):
    import http.client

    for ask in (
        lambda: server.ask("/tasks", headers={"X-Long": "x" * 40_000}),
        lambda: server.ask("/login", "POST", b"token=" + b"x" * 200_000),
    ):
        try:
            response, _ = ask()
        except (ConnectionError, http.client.BadStatusLine):
            continue  # the connection was closed
        assert response.status in {400, 413, 431}


def test_too_many_rows_pixels_and_points_are_not_given(server):
    for path in ("/tasks?n=1001", "/alerts?n=100000", "/spectra?n=1001", "/alerts?near=1,1,3601"):
        assert server.ask(path)[0].status == 400, path


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "", "localhost.evil.example", "a b"]
)
def test_a_wrong_host_is_refused(server, host):
    for path in ("/", "/tasks?format=json", "/static/style.css", "/login", "/nothing"):
        response, content = server.ask(path, headers={"Host": host})
        assert response.status in {400, 403}, (path, host)
        assert b"task" not in content


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_foreign_origin_is_refused(server, origin):
    assert server.ask("/tasks?format=json", headers={"Origin": origin})[0].status == 403
    assert server.ask("/login", "POST", b"token=x", headers={"Origin": origin})[0].status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_may_link_to_a_page_and_not_load_it(server, site):
    fetched = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    linked = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    framed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    assert server.ask("/tasks", headers=fetched)[0].status == 403
    assert server.ask("/tasks", headers=framed)[0].status == 403
    assert server.ask("/tasks", headers=linked)[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_no_page_takes_anything(server, example, method):
    for path in ("/tasks", f"/task/{example.failed}", f"/product/{example.products['table']}"):
        assert server.ask(path, method, b"")[0].status in {403, 405}


def test_a_missing_token_is_asked_for(closed, example):
    for path in [*paths(example), "/nothing", f"/product/{example.products['table']}", "/static/astra.js"]:
        response, content = closed.ask(path)
        assert response.status == 401, path
        assert b"ProcessCcd" not in content
    response, _ = closed.ask("/tasks", headers={"Accept": "text/html"})
    assert (response.status, response.headers["Location"]) == (302, "/login?next=%2Ftasks")
    assert closed.ask("/login")[0].status == 200
    assert closed.ask("/static/style.css")[0].status == 200
    for wrong in ("Bearer wrong", f"Bearer {TOKEN}x", "Basic !!!", f"Digest {TOKEN}", ""):
        assert closed.ask("/tasks", headers={"Authorization": wrong})[0].status == 401
    assert closed.ask("/tasks", headers={"Authorization": f"Bearer {TOKEN}"})[0].status == 200


def log_in(server, token, target="/tasks"):
    body = urllib.parse.urlencode({"token": token, "next": target}).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded", "Origin": server.address}
    return server.ask("/login", "POST", body, headers={**kind, "Host": f"127.0.0.1:{server.port}"})[0]


def test_a_browser_gets_a_cookie_for_the_token(closed, monkeypatch):
    monkeypatch.setattr(handlers, "WRONG_TOKEN_PAUSE_S", 0.0)
    refused = log_in(closed, "wrong")
    assert (refused.status, refused.headers["Set-Cookie"]) == (403, None)
    response = log_in(closed, TOKEN)
    assert (response.status, response.headers["Location"]) == (303, "/tasks")
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    value = cookie.partition(";")[0]
    assert closed.ask("/tasks", headers={"Cookie": value})[0].status == 200
    forged = value[:-1] + ("0" if value[-1] != "0" else "1")
    assert closed.ask("/tasks", headers={"Cookie": forged})[0].status == 401
    until = value.partition("=")[2].partition(".")
    longer = f"{COOKIE}={int(until[0]) + 1000}.{until[2]}"
    assert closed.ask("/tasks", headers={"Cookie": longer})[0].status == 401
    assert log_in(closed, TOKEN, "//evil.example/x").headers["Location"] == "/"


def test_a_session_ends():
    rule = make_page_access("127.0.0.1", TOKEN)
    value = rule.make_session(lambda: 1000.0)
    assert rule.knows_session(value, lambda: 1000.0 + SESSION_S - 1)
    assert not rule.knows_session(value, lambda: 1000.0 + SESSION_S + 1)
    assert not make_page_access("127.0.0.1", TOKEN + "2").knows_session(value, lambda: 1000.0)


@pytest.mark.parametrize(
    "address",
    [
        "//evil.example",
        "/\\evil.example",
        "http://evil.example/",
        "javascript:alert(1)",
        "/a\\b",
        "/a\r\nX: y",
        "",
    ],
)
def test_a_login_leads_to_no_other_site(address):
    assert own_path(address) == "/"
    assert own_path("/tasks?state=failed") == "/tasks?state=failed"


def test_elsewhere_than_on_the_loopback_interface_a_token_is_needed(astra_root, capsys, monkeypatch):
    from astra.database.engine import get_engine

    get_engine(f"sqlite:///{astra_root / 'astra.db'}")
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert main(["web", "--address", "0.0.0.0", "--port", "0"]) == 1  # noqa: S104
    assert "needs a token" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="needs a token"):
        make_page_access("", "")
    path = astra_root / "token"
    path.write_text(TOKEN)
    os.chmod(path, 0o644)
    assert main(["web", "--token-file", str(path), "--port", "0"]) == 1
    assert "nobody else may read it" in capsys.readouterr().err


def test_what_fails_tells_nothing_of_the_inside(example, monkeypatch):
    from astra.web.live import LIVE_PAGES

    def fail(*_):
        raise RuntimeError(SECRET)

    monkeypatch.setitem(LIVE_PAGES, "about", fail)
    made = Server(example.url, example.root)
    try:
        for path in ("/about", "/about?format=json"):
            response, content = made.ask(path)
            assert response.status == 500
            assert SECRET.encode() not in content
            assert b"Traceback" not in content
            assert response.headers["Content-Security-Policy"]
    finally:
        made.stop()


def test_too_many_requests_are_told_to_come_again(example, monkeypatch):
    from astra.web.live import LIVE_PAGES

    free = threading.Event()
    waits = lambda *_: free.wait(30)  # noqa: E731
    monkeypatch.setitem(LIVE_PAGES, "about", waits)
    made = Server(example.url, example.root)
    made.application.settings["threads"]._n_most = 3
    asked = [threading.Thread(target=made.ask, args=("/about",), daemon=True) for _ in range(3)]
    try:
        for one in asked:
            one.start()
        deadline = time.monotonic() + 20
        while made.application.settings["threads"]._n_asked < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        response, _ = made.ask("/tasks")
        assert response.status == 503
        assert response.headers["Retry-After"]
    finally:
        free.set()
        for one in asked:
            one.join(30)
        made.stop()


def test_the_scheduler_in_the_same_process_is_guarded_too(example):
    from astra.scheduler.durable import DurableScheduler

    made = Server(example.url, example.root, token=TOKEN, scheduler=DurableScheduler())
    own = {"Authorization": f"Bearer {TOKEN}"}
    try:
        for path in ("/api/task_list", "/static/visualiser/index.html", "/metrics"):
            assert made.ask(path)[0].status == 401, path
        assert made.ask("/api/is_paused", headers=own)[0].status == 200
        assert made.ask("/api/pause", headers=own)[0].status == 403  # a link must not change anything
        assert (
            made.ask("/api/pause", "POST", b"", headers={**own, "Origin": "http://evil.example"})[0].status
            == 403
        )
        wrong = {**own, "Host": "evil.example"}
        assert made.ask("/api/is_paused", headers=wrong)[0].status == 403
        linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert made.ask("/api/is_paused", headers={**own, **linked})[0].status == 403
        _, text = made.ask("/static/visualiser/index.html", headers=own)
        assert b"Luigi Task Visualiser" in text
        assert made.ask("/static/style.css", headers=own)[1].startswith(b"/* astra")
        assert made.ask(f"/night/{INSTRUMENT}/{NIGHT}", headers=own)[0].status == 200
    finally:
        made.stop()


def test_hostile_words_stand_on_the_pages_as_they_are(server, example):
    text = server.page(f"/task/{example.hostile}")
    assert "&lt;script&gt;window.harmed=1&lt;/script&gt;" in text
    assert "&lt;img src=x onerror" in text
    assert IMAGE not in text
    assert "&lt;script&gt;" in server.page(f"/visit/{INSTRUMENT}/{VISITS[0]}")
