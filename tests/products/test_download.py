import base64
import hashlib
import http.client
import ssl
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from astra.errors import ConfigError, DataError, MissingDataError
from astra.products.download import DownloadConfig, Downloader, RemoteFile, exists_remotely
from astra.products.http_connections import HttpConnections
from astra.products.http_login import Logins
from astra.products.progress import Progress
from astra.products.sdss_paths import SdssPath
from tests.products.http_server import Server, basic, long_ago

CONTENT = bytes(range(256)) * 4000
FAST = DownloadConfig(pause_s=0.0, timeout_s=10.0)


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with Server() as server:
        server.rules["/file"] = {"content": CONTENT}
        yield server


@pytest.fixture
def login(tmp_path):
    def write(text):
        (tmp_path / "netrc").write_text(text)
        (tmp_path / "netrc").chmod(0o600)

    return write


def fetch(server, path, target, **kwargs):
    return fetch_url(server.url + path, target, **kwargs)


def fetch_url(url, target, **kwargs):
    with Downloader(FAST) as downloader:
        return downloader.fetch(RemoteFile(url, target, **kwargs))


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_file_arrives_whole_and_nothing_else(server, tmp_path):
    fetched = fetch(server, "/file", tmp_path / "a/b/c.fits")
    assert fetched.path.read_bytes() == CONTENT
    assert (fetched.size, fetched.path) == (len(CONTENT), tmp_path / "a/b/c.fits")
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["c.fits"]


def test_busy_server_is_asked_again_and_as_late_as_it_wants(server, tmp_path):
    busy = [{"status": 503, "headers": {"Retry-After": "1"}}, {"status": 429}, {"status": 500}, {}]
    server.rules["/busy"] = {"content": CONTENT, "script": busy}
    began = time.monotonic()
    fetch(server, "/busy", tmp_path / "b.fits")
    assert time.monotonic() - began > 0.9
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    "state", [{"etag": '"one"'}, {"changed": long_ago()}], ids=["by its tag", "by its time of change"]
)
def test_rest_follows_what_has_arrived(server, tmp_path, state):
    cuts = [{"cut": 200_000}, {"cut": 300_000}, {"cut": 100}, {}]
    server.rules["/cut"] = {"content": CONTENT, **state, "script": cuts}
    fetch(server, "/cut", tmp_path / "b.fits")
    assert (tmp_path / "b.fits").read_bytes() == CONTENT
    starts = [headers.get("Range") for _, headers in server.asked]
    assert starts == [None, "bytes=200000-", "bytes=500000-", "bytes=500100-"]
    assert {headers.get("If-Range") for _, headers in server.asked[1:]} == set(state.values())
    assert hidden(tmp_path) == []


def test_attempts_that_get_further_are_not_counted(server, tmp_path):
    cuts = [{"cut": 100_000}] * 9
    server.rules["/cut"] = {"content": CONTENT, "etag": '"one"', "script": [*cuts, {}]}
    fetch(server, "/cut", tmp_path / "b.fits")
    assert (tmp_path / "b.fits").read_bytes() == CONTENT
    assert len(server.asked) == 10


def test_another_process_goes_on_where_one_was_killed(server, tmp_path):
    server.rules["/held"] = {
        "content": CONTENT,
        "etag": '"one"',
        "script": [{"cut": 300_000, "hold": True}, {}],
    }
    code = (
        "import sys; from astra.products.download import Downloader, RemoteFile\n"
        "with Downloader() as one: one.fetch(RemoteFile(sys.argv[1], sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, server.url + "/held", str(tmp_path / "b.fits")])
    part = tmp_path / ".part~b.fits"
    for _ in range(6000):
        if part.exists() and part.stat().st_size >= 262_144:
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    arrived = part.stat().st_size
    assert not (tmp_path / "b.fits").exists()
    server.released.set()
    fetch(server, "/held", tmp_path / "b.fits")
    assert (tmp_path / "b.fits").read_bytes() == CONTENT
    assert server.asked[-1][1]["Range"] == f"bytes={arrived}-"
    assert hidden(tmp_path) == []


def test_file_that_has_changed_is_not_glued(server, tmp_path):
    other = CONTENT[::-1]
    server.rules["/new"] = {"script": [{"content": CONTENT, "etag": '"one"', "cut": 5000}, {}]}
    server.rules["/new"] |= {"content": other, "etag": '"two"'}
    fetch(server, "/new", tmp_path / "b.fits")
    assert (tmp_path / "b.fits").read_bytes() == other


@pytest.mark.parametrize("state", [{}, {"etag": 'W/"weak"'}, {"changed": "Fri, 02 Oct 2096 07:06:40 GMT"}])
def test_what_cannot_be_told_apart_begins_anew(server, tmp_path, state):
    server.rules["/cut"] = {"content": CONTENT, **state, "script": [{"cut": 5000}, {}]}
    fetch(server, "/cut", tmp_path / "b.fits")
    assert (tmp_path / "b.fits").read_bytes() == CONTENT
    assert [headers.get("Range") for _, headers in server.asked] == [None, None]


@pytest.mark.parametrize("answer", [{"from": 7}, {"ranges": False}, {"status": 416}])
def test_wrong_part_of_a_file_is_not_taken(server, tmp_path, answer):
    server.rules["/cut"] = {"content": CONTENT, "etag": '"one"', "script": [{"cut": 5000}, answer, {}]}
    fetch(server, "/cut", tmp_path / "b.fits")
    assert (tmp_path / "b.fits").read_bytes() == CONTENT


def test_incomplete_file_never_appears(server, tmp_path):
    server.rules["/cut"] = {"content": CONTENT, "cut": 1000}
    with pytest.raises(DataError, match="could not be fetched in 4 attempts: 1000 of 1024000 bytes arrived"):
        fetch(server, "/cut", tmp_path / "a/b.fits")
    assert list((tmp_path / "a").iterdir()) == []
    server.rules["/cut"] |= {"etag": '"one"', "script": [{"cut": 1000}, *[{"cut": 0}] * 9]}
    with pytest.raises(DataError, match="1000 of 1024000 bytes arrived"):
        fetch(server, "/cut", tmp_path / "a/b.fits")
    assert [path.name for path in (tmp_path / "a").iterdir() if not path.name.startswith(".part~")] == []


def test_wrong_sizes_are_found(server, tmp_path):
    server.rules["/long"] = {"content": CONTENT, "length": len(CONTENT) + 1}
    with pytest.raises(DataError, match="1024000 of 1024001 bytes arrived"):
        fetch(server, "/long", tmp_path / "b.fits")
    server.rules["/short"] = {"content": CONTENT, "length": 1000}
    assert fetch(server, "/short", tmp_path / "b.fits").size == 1000  # the server's own word


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_checksum_is_required_if_given(server, tmp_path, algorithm):
    fetch(server, "/file", tmp_path / "b.fits", checksum=hashlib.new(algorithm, CONTENT).hexdigest())
    wrong = hashlib.new(algorithm, b"other").hexdigest()
    with pytest.raises(DataError, match=f"must have the {algorithm} {wrong}, but has"):
        fetch(server, "/file", tmp_path / "c.fits", checksum=wrong)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.fits"]
    assert len(server.asked) == 3  # once more, and then no more


def test_checksums_of_the_header_are_required(server, tmp_path):
    def given(content):
        token = base64.b64encode(hashlib.sha256(content).digest()).decode()
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        return {"Repr-Digest": f"sha-256=:{token}:, unixsum=:MDA=:", "Content-MD5": md5}

    server.rules["/sure"] = {"content": CONTENT, "headers": given(CONTENT)}
    fetch(server, "/sure", tmp_path / "b.fits")
    server.rules["/sure"]["headers"] = given(b"other")
    with pytest.raises(DataError, match="but has"):
        fetch(server, "/sure", tmp_path / "c.fits")
    server.rules["/sure"]["script"] = [{}, {"headers": given(CONTENT)}]
    fetch(server, "/sure", tmp_path / "c.fits")


def test_file_that_the_server_lacks_is_asked_for_once(server, tmp_path):
    with pytest.raises(MissingDataError, match=r"/none does not exist \(HTTP 404\)"):
        fetch(server, "/none", tmp_path / "b.fits")
    assert server.paths() == ["/none"]
    server.rules |= {"/odd": {"status": 418}, "/no": {"status": 403}}
    with pytest.raises(DataError, match=r"/odd could not be fetched: HTTP 418"):
        fetch(server, "/odd", tmp_path / "b.fits")
    with pytest.raises(
        ConfigError, match=r"/no is forbidden \(HTTP 403\): the login of machine 127\.0\.0\.1"
    ):
        fetch(server, "/no", tmp_path / "b.fits")
    assert len(server.asked) == 3


def test_compressed_form_is_taken_where_the_server_has_only_that(server, tmp_path):
    server.rules["/a.fits.gz"] = {"content": b"packed", "headers": {"Content-Encoding": "x-gzip"}}
    fetched = fetch(server, "/a.fits", tmp_path / "a.fits", with_siblings=True)
    assert fetched.path == tmp_path / "a.fits.gz"
    assert fetched.path.read_bytes() == b"packed"
    server.rules["/b.fits"] = {"content": b"plain"}
    assert fetch(server, "/b.fits.gz", tmp_path / "b.fits.gz", with_siblings=True).path.name == "b.fits"
    with pytest.raises(MissingDataError, match=r"/c\.fits does not exist"):
        fetch(server, "/c.fits", tmp_path / "c.fits", with_siblings=True)


def test_login_comes_from_netrc_and_is_never_asked_for(server, tmp_path, login):
    server.rules["/secret"] = {"content": CONTENT, "login": "sdss:word"}
    with pytest.raises(
        ConfigError, match=r"needs a login \(HTTP 401\): .*machine 127\.0\.0\.1 in .*is missing"
    ):
        fetch(server, "/secret", tmp_path / "b.fits")
    login("machine 127.0.0.1 login sdss password wrong\n")
    with pytest.raises(ConfigError, match=r"machine 127\.0\.0\.1 in .*netrc was refused"):
        fetch(server, "/secret", tmp_path / "b.fits")
    login("machine 127.0.0.1 login sdss password word\n")
    fetch(server, "/secret", tmp_path / "b.fits")
    login("nonsense\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        fetch(server, "/secret", tmp_path / "b.fits")


def test_public_file_needs_no_login_whatever_netrc_is_like(server, tmp_path, login):
    login("nonsense\n")
    fetch(server, "/file", tmp_path / "b.fits")
    login("machine 127.0.0.1 login sdss password word\n")
    fetch(server, "/file", tmp_path / "b.fits")
    assert all("Authorization" not in headers for _, headers in server.asked)


def test_refused_login_is_sent_once_for_a_thousand_files(server, tmp_path, login):
    login("machine 127.0.0.1 login sdss password wrong\n")
    for number in range(40):
        server.rules[f"/{number}"] = {"content": b"x", "login": "sdss:word"}
    files = [RemoteFile(f"{server.url}/{number}", tmp_path / str(number)) for number in range(40)]
    with Downloader(DownloadConfig(n_connections=1, pause_s=0.0)) as downloader:
        errors = [outcome for _, outcome in downloader.fetch_all(files)]
    assert all(isinstance(error, ConfigError) and "was refused" in str(error) for error in errors)
    assert sum("Authorization" in headers for _, headers in server.asked) == 1


def test_login_is_asked_for_once_for_many_files(server, tmp_path, login):
    login("machine 127.0.0.1 login sdss password word\n")
    for number in range(20):
        server.rules[f"/{number}"] = {"content": b"x", "login": "sdss:word"}
    files = [RemoteFile(f"{server.url}/{number}", tmp_path / "got" / str(number)) for number in range(20)]
    with Downloader(DownloadConfig(n_connections=1)) as downloader:
        assert len([outcome.size for _, outcome in downloader.fetch_all(files)]) == 20
    assert len(server.asked) == 21


def test_redirect_to_another_server_takes_no_login_along(server, tmp_path, login):
    with Server() as other:
        other.rules["/there"] = {"content": CONTENT}
        server.rules["/here"] = {"status": 302, "headers": {"Location": f"{other.url}/there"}, "login": "a:b"}
        login("machine 127.0.0.1 login a password b\n")
        fetch(server, "/here", tmp_path / "b.fits")
        assert (tmp_path / "b.fits").read_bytes() == CONTENT
        assert "Authorization" in server.asked[-1][1]
        assert "Authorization" not in other.asked[0][1]
        # Nor does the entry that is for any server go to one that another has led to.
        other.rules["/there"]["login"] = "a:b"
        other.rules["/there"]["content"] = b""
        login("default login a password b\n")
        url = other.url.replace("127.0.0.1", "localhost")
        server.rules["/here"]["headers"] = {"Location": f"{url}/there"}
        with pytest.raises(ConfigError, match=rf"/here leads to {url}/there, which needs a login.*localhost"):
            fetch(server, "/here", tmp_path / "c.fits")
        assert "Authorization" not in other.asked[-1][1]


def test_redirects_are_followed_but_not_for_ever(server, tmp_path):
    server.rules["/here"] = {"status": 301, "headers": {"Location": "file"}}
    assert fetch(server, "/here", tmp_path / "b.fits").size == len(CONTENT)
    server.rules["/round"] = {"status": 302, "headers": {"Location": "/round"}}
    with pytest.raises(ConfigError, match="more than 5 redirects"):
        fetch(server, "/round", tmp_path / "b.fits")
    server.rules["/out"] = {"status": 302, "headers": {"Location": "file:///etc/passwd"}}
    with pytest.raises(ConfigError, match="must be an http or https address"):
        fetch(server, "/out", tmp_path / "b.fits")


def test_login_is_not_sent_without_encryption(tmp_path, monkeypatch, login):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    login("machine data.sdss5.org login sdss5 password word\n")
    origin, host = "http://data.sdss5.org", "data.sdss5.org"
    logins = Logins()
    assert logins.asked(origin, host, is_secure=False, default=True) is None
    assert "is not sent without encryption" in logins.why_not(origin, host, is_secure=False)
    assert logins.asked("https://data.sdss5.org", host, is_secure=True, default=True).startswith("Basic ")


def test_web_page_in_place_of_a_file_is_refused(server, tmp_path):
    server.rules["/a.fits"] = {"content": b"<html>", "headers": {"Content-Type": "text/html; charset=utf-8"}}
    with pytest.raises(ConfigError, match="answers with a web page in place of the file"):
        fetch(server, "/a.fits", tmp_path / "a.fits")
    server.rules["/b.fits"] = {"content": b"x", "headers": {"Content-Encoding": "gzip"}}
    with pytest.raises(DataError, match="Content-Encoding gzip, which was not asked for"):
        fetch(server, "/b.fits", tmp_path / "b.fits")
    assert list(tmp_path.glob("*.fits")) == []


def test_files_come_many_at_a_time_over_few_connections(server, tmp_path):
    for number in range(200):
        server.rules[f"/{number}"] = {"content": b"%d" % number * 100}
    files = [RemoteFile(f"{server.url}/{number}", tmp_path / f"{number}.fits") for number in range(200)]
    taken = []

    def asked_for():
        for file in files:
            taken.append(file)
            yield file

    sentences = []
    progress = Progress(sentences.append, len(files))
    config = DownloadConfig(n_connections=4, report_interval_s=0.0)
    with Downloader(config, progress) as downloader:
        outcomes = downloader.fetch_all(asked_for())
        next(outcomes)
        assert len(taken) < 100  # as they arrive, not all at once
        list(outcomes)
    assert all((tmp_path / f"{number}.fits").read_bytes() == b"%d" % number * 100 for number in range(200))
    assert 1 <= server.n_connections <= 8
    assert progress.n_done == 200
    assert sentences[-1].startswith("200 of 200 files, 0.0 MB in")


def test_one_file_that_fails_does_not_reach_the_others(server, tmp_path):
    server.rules["/cut"] = {"content": CONTENT, "cut": 10}
    server.rules["/page"] = {"status": 403}
    names = ["/file", "/none", "/cut", "/page"]
    files = [RemoteFile(server.url + name, tmp_path / f"{name[1:]}.fits") for name in [*names, *names]]
    with Downloader(FAST) as downloader:
        outcomes = [
            (file.url.rpartition("/")[2], type(found).__name__) for file, found in downloader.fetch_all(files)
        ]
    kinds = {"file": "Fetched", "none": "MissingDataError", "cut": "DataError", "page": "ConfigError"}
    assert sorted(outcomes) == sorted(2 * list(kinds.items()))
    assert downloader.progress.n_failed == 6


def test_server_that_is_down_is_given_up_for_all_its_files(tmp_path):
    files = [RemoteFile(f"http://127.0.0.1:9/{number}", tmp_path / str(number)) for number in range(50)]
    with Downloader(DownloadConfig(n_connections=1, n_attempts=2, pause_s=0.2)) as downloader:
        began = time.monotonic()
        errors = [str(outcome) for _, outcome in downloader.fetch_all(files)]
    assert time.monotonic() - began < 3
    [tried] = [error for error in errors if "could not be fetched in 2 attempts" in error]
    assert "no connection to 127.0.0.1" in tried
    assert sum("is not tried: no connection to 127.0.0.1" in error for error in errors) == len(files) - 1


def test_connection_that_the_server_has_closed_is_made_anew(server, tmp_path):
    with Downloader(FAST) as downloader:
        downloader.fetch(RemoteFile(server.url + "/file", tmp_path / "a.fits"))
        idle = next(iter(downloader._connections._idle.values()))
        idle[0].sock.shutdown(2)
        downloader.fetch(RemoteFile(server.url + "/file", tmp_path / "b.fits"))
    assert server.n_connections == 2
    assert len(server.asked) == 2


def test_place_that_cannot_be_written_is_no_failure_of_the_server(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/b\.fits cannot be written: (Not a directory|File exists)"):
        fetch(server, "/file", tmp_path / "file" / "b.fits")
    assert server.asked == []


def test_two_processes_do_not_share_what_has_arrived(server, tmp_path):
    server.rules["/held"] = {
        "content": CONTENT,
        "etag": '"one"',
        "script": [{"cut": 300_000, "hold": True}, {}, {}],
    }
    first = threading.Thread(target=fetch, args=(server, "/held", tmp_path / "b.fits"))
    first.start()
    while not server.asked:
        time.sleep(0.01)
    assert fetch(server, "/held", tmp_path / "b.fits").size == len(CONTENT)
    server.released.set()
    first.join()
    assert (tmp_path / "b.fits").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["b.fits"]


def test_who_wants_no_more_does_not_wait_for_the_rest(server, tmp_path):
    server.rules["/held"] = {"content": CONTENT, "etag": '"one"', "cut": 300_000, "hold": True}
    files = [RemoteFile(server.url + "/file", tmp_path / "a.fits")]
    files += [RemoteFile(server.url + "/held", tmp_path / f"{number}.fits") for number in range(8)]
    began = time.monotonic()
    with Downloader(DownloadConfig(n_connections=2)) as downloader:
        outcomes = downloader.fetch_all(files)
        next(outcomes)
        outcomes.close()
    assert time.monotonic() - began < 5
    assert list(tmp_path.glob("[0-9].fits")) == []


def test_presence_is_asked_without_fetching(server):
    assert exists_remotely(server.url + "/file")
    assert not exists_remotely(server.url + "/none")
    server.rules["/secret"] = {"content": CONTENT, "login": "a:b"}
    with pytest.raises(ConfigError, match="HTTP 401"):
        exists_remotely(server.url + "/secret")
    paths = SdssPath("dr19", "/sas", server=server.url)
    keys = {"apred": "1.3", "telescope": "apo25m"}
    assert not paths.exists("allStar", remote=True, **keys)
    server.rules["/" + paths.location("allStar", **keys)] = {"content": b"x"}
    assert paths.exists("allStar", remote=True, **keys)


def test_proxy_of_the_environment_is_spoken_to(server, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", server.url.replace("//", "//me:secret@"))
    server.rules["http://data.example/file"] = {"content": CONTENT}
    with Downloader(FAST) as downloader:
        downloader.fetch(RemoteFile("http://data.example/file", tmp_path / "b.fits"))
    assert server.paths() == ["http://data.example/file"]
    assert server.asked[0][1]["Proxy-Authorization"] == basic("me:secret")


def test_addresses_of_other_kinds_are_refused(tmp_path):
    for url in ("file:///etc/hosts", "ftp://127.0.0.1/a", "http:///a", "nothing"):
        with pytest.raises(ConfigError, match="must be an http or https address"):
            fetch_url(url, tmp_path / "b.fits")


def test_server_that_cannot_prove_who_it_is_is_refused_at_once(tmp_path, monkeypatch):
    def connect(_self):
        exc = ssl.SSLCertVerificationError(1, "certificate verify failed")
        exc.verify_message = "self-signed certificate"
        raise exc

    monkeypatch.setattr(http.client.HTTPSConnection, "connect", connect)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(ConfigError, match=r"certificate of data\.sdss\.org is not trusted: self-signed"):
        fetch_url("https://data.sdss.org/sas/a.fits", tmp_path / "a.fits")


def test_redirect_that_leaves_encryption_is_not_followed(monkeypatch):
    answer = SimpleNamespace(
        status=302, headers={"Location": "http://data.sdss.org/a"}, isclosed=lambda: True
    )
    answer.will_close = True
    connections = HttpConnections(1.0)
    connection = http.client.HTTPConnection("127.0.0.1")
    monkeypatch.setattr(connections, "_ask", lambda *_: (connection, answer))
    with (
        pytest.raises(ConfigError, match=r"leads to http://data\.sdss\.org/a, which is not encrypted"),
        connections.request("GET", "https://data.sdss.org/a", {}),
    ):
        pass
