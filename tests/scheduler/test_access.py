import hmac
import os

import pytest

from astra.errors import ConfigError
from astra.scheduler import access
from astra.scheduler.access import READING, Request, make_access, read_token

TOKEN = "sixteen letters!"  # noqa: S105
LOCAL = make_access("127.0.0.1", "")
FAR = make_access("10.1.2.3", TOKEN, ["farm.example"])


def refused(rule, method="POST", path="/api/get_work", **headers):
    named = {name.replace("_", "-"): value for name, value in {"Host": "127.0.0.1:8082", **headers}.items()}
    refusal = rule.refusal(Request(method, path, named))
    return refusal and refusal[0]


def test_workers_of_this_machine_may_call():
    assert refused(LOCAL) is None
    assert refused(LOCAL, Host="localhost:8082") is None
    assert refused(LOCAL, Host="[::1]:8082") is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8082", "127.0.0.1.evil.example", "", "a b", "\xe9", "[::1", "[x]"]
)
def test_a_name_that_was_made_to_point_here_is_refused(host):
    assert refused(LOCAL, Host=host) == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:8082", "http://[::1"]
)
def test_a_page_of_another_site_is_refused(origin):
    assert refused(LOCAL, Origin=origin) == 403


def test_the_own_page_may_call():
    assert refused(LOCAL, Origin="http://127.0.0.1:8082", Sec_Fetch_Site="same-origin") is None


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_an_image_on_another_site_cannot_call(site):
    assert refused(LOCAL, "GET", "/api/task_list", Sec_Fetch_Site=site) == 403
    assert refused(LOCAL, "GET", "/", Sec_Fetch_Site=site) is None


def test_what_changes_something_is_no_plain_link():
    assert refused(LOCAL, "GET", "/api/pause") == 403
    assert refused(LOCAL, "GET", "/api/pause", X_Requested_With="XMLHttpRequest") is None
    assert {refused(LOCAL, "GET", f"/api/{name}") for name in READING} == {None}


def test_calls_that_only_read_are_calls():
    from luigi.scheduler import RPC_METHODS

    import astra.scheduler.durable  # noqa: F401  # registers those for many tasks

    assert RPC_METHODS.keys() >= READING
    assert not {name for name in READING if name.startswith(("add", "set", "update", "re_enable", "mark"))}


def test_another_address_needs_a_token():
    with pytest.raises(ConfigError, match=r"a scheduler on 10\.1\.2\.3 needs a token"):
        make_access("10.1.2.3", "")
    with pytest.raises(ConfigError, match="all interfaces"):
        make_access("", "")
    with pytest.raises(ConfigError, match="5 characters"):
        make_access("10.1.2.3", "short")


def test_who_has_the_token_may_call():
    import base64

    pair = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
    for good in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Basic {pair}"):
        assert refused(FAR, Host="farm.example:8082", Authorization=good) is None
    for bad in (
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        "Basic !!!",
        f"Digest {TOKEN}",
        "Bearer \xe9",
    ):
        assert refused(FAR, Host="10.1.2.3", Authorization=bad) == 401
    assert refused(FAR, "GET", "/static/visualiser/index.html", Host="10.1.2.3") == 401


def test_tokens_are_compared_in_constant_time(monkeypatch):
    seen = []
    compare = hmac.compare_digest
    monkeypatch.setattr(access.hmac, "compare_digest", lambda *two: seen.append(two) or compare(*two))
    refused(FAR, Host="10.1.2.3", Authorization="Bearer no")
    assert seen == [(b"no", TOKEN.encode())]


def test_a_token_file_is_for_its_owner_alone(tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    os.chmod(path, 0o600)
    assert read_token(str(path)) == TOKEN
    os.chmod(path, 0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(str(tmp_path / "none"))
    monkeypatch.setenv(access.TOKEN_VARIABLE, " abc ")
    assert read_token() == "abc"
