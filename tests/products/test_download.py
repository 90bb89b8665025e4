import base64
import http.server
import threading

import pytest

from astra.errors import ConfigError, DataError, MissingDataError
from astra.products.download import download

CONTENT = b"SIMPLE  =" * 100_000


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path == "/secret" and self.headers.get("Authorization") != self.server.login:
            self.send_error(401)
        elif self.path == "/none":
            self.send_error(404)
        elif self.path == "/busy" and len(self.server.requests) < 3:
            self.send_error(503)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            cut = self.path == "/cut" or (self.path == "/flaky" and len(self.server.requests) == 1)
            self.wfile.write(CONTENT[:1000] if cut else CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    server.login = "Basic " + base64.b64encode(b"sdss:word").decode()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("name", "n_requests"), [("/file", 1), ("/flaky", 2), ("/busy", 3)])
def test_file_arrives_whole_after_as_many_attempts_as_it_takes(server, tmp_path, name, n_requests):
    download(server.url + name, tmp_path / "a/b.fits", pause_s=0.0)
    assert (tmp_path / "a/b.fits").read_bytes() == CONTENT
    assert len(server.requests) == n_requests


def test_incomplete_file_never_appears(server, tmp_path):
    with pytest.raises(DataError, match="could not be fetched in 2 attempts: 1000 of 900000 bytes arrived"):
        download(server.url + "/cut", tmp_path / "a/b.fits", n_attempts=2, pause_s=0.0)
    assert list((tmp_path / "a").iterdir()) == []


def test_file_that_the_server_lacks_is_asked_for_once(server, tmp_path):
    with pytest.raises(MissingDataError, match=r"/none does not exist \(HTTP 404\)"):
        download(server.url + "/none", tmp_path / "b.fits")
    assert server.requests == ["/none"]


def test_login_comes_from_netrc_and_is_never_asked_for(server, tmp_path):
    with pytest.raises(ConfigError, match=r"machine 127\.0\.0\.1 in ~/\.netrc is missing"):
        download(server.url + "/secret", tmp_path / "b.fits")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login sdss password wrong\n")
    netrc.chmod(0o600)
    with pytest.raises(ConfigError, match="was refused"):
        download(server.url + "/secret", tmp_path / "b.fits")
    netrc.write_text("machine 127.0.0.1 login sdss password word\n")
    download(server.url + "/secret", tmp_path / "b.fits")
    assert (tmp_path / "b.fits").read_bytes() == CONTENT
    netrc.write_text("nonsense\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        download(server.url + "/secret", tmp_path / "b.fits")


def test_server_that_does_not_answer_is_one_sentence(server, tmp_path):
    with pytest.raises(DataError, match="could not be fetched in 1 attempts"):
        download("http://127.0.0.1:9/file", tmp_path / "b.fits", n_attempts=1)
    with pytest.raises(ConfigError, match="must be an http or https address"):
        download("file:///etc/hosts", tmp_path / "b.fits")
