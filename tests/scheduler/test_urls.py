"""Schedulers behind a prefix, over TLS, with a token, or not there: errors are sentences."""

import contextlib
import http.server
import json
import shutil
import ssl
import subprocess
import threading

import luigi
import luigi.interface
import luigi.rpc
import pytest

from astra import config
from astra.errors import ConfigError
from astra.scheduler.access import TOKEN_VARIABLE
from astra.scheduler.remote import RemoteScheduler
from tests.conftest import ON_CI
from tests.scheduler.conftest import Server

TOKEN = "a token of some length"  # noqa: S105


class Gateway(http.server.BaseHTTPRequestHandler):
    """What stands before a scheduler and serves it below ``/luigi``."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        found = self.path == "/luigi/api/bulk_protocol"
        self.server.authorizations.append(self.headers.get("Authorization"))
        body = json.dumps({"response": {"version": 7}}).encode() if found else b"not here"
        self.send_response(200 if found else 502)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@contextlib.contextmanager
def gateway(certificate=None):
    """A gateway on the loopback interface, with TLS if there is a certificate."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.daemon_threads, server.authorizations = True, []
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # who does not trust it hangs up
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate with its key that nobody has signed but its owner."""
    if shutil.which("openssl") is None:
        if ON_CI:
            pytest.fail("openssl is not installed, and CI must not skip it: apt-get install openssl")
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "certificate.pem").read_text())
    return both


def test_a_prefix_is_kept(monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    with gateway() as server:
        for end in ("/luigi", "/luigi/"):
            proxy = RemoteScheduler(f"http://127.0.0.1:{server.server_port}{end}")
            proxy.greet()
            assert proxy.is_bulk
            proxy._connections.drop()
        with pytest.raises(luigi.rpc.RPCError, match="answers 502: not here"):
            RemoteScheduler(f"http://127.0.0.1:{server.server_port}/other").greet()
        assert server.authorizations == [f"Bearer {TOKEN}"] * 3


def test_tls_is_spoken_to_who_is_trusted(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with gateway(certificate) as server:
        proxy = RemoteScheduler(f"https://localhost:{server.server_port}/luigi")
        proxy.greet()
        proxy._connections.drop()


def test_who_is_not_trusted_is_refused_at_once(certificate, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with gateway(certificate) as server:
        url = f"https://localhost:{server.server_port}/luigi"
        with pytest.raises(
            luigi.rpc.RPCError, match=f"no scheduler that can be trusted at {url}: .*certificate"
        ):
            RemoteScheduler(url).greet()
        assert server.authorizations == []


def test_tls_to_who_speaks_none_is_an_error_at_once():
    with gateway() as server, pytest.raises(luigi.rpc.RPCError, match="can be trusted"):
        RemoteScheduler(f"https://localhost:{server.server_port}/luigi").greet()


def test_the_environment_comes_before_the_configuration(monkeypatch):
    stored = luigi.configuration.get_config()
    monkeypatch.delenv(config.SCHEDULER_URL_VARIABLE, raising=False)
    assert config.scheduler_url() == "http://localhost:8082/"
    monkeypatch.setenv(config.SCHEDULER_URL_VARIABLE, "http://far.example:80/luigi")
    assert config.scheduler_url() == "http://far.example:80/luigi"
    monkeypatch.delenv(config.SCHEDULER_URL_VARIABLE)
    stored.set("core", "scheduler_url", "https://cfg.example/")
    try:
        assert config.scheduler_url() == "https://cfg.example/"
    finally:
        stored.remove_option("core", "scheduler_url")


def test_the_luigi_command_takes_the_environments_url_and_token(tmp_path, astra_root, run_luigi):
    folder = tmp_path / "scheduler"
    folder.mkdir()
    server = Server(folder)
    server.start(**{TOKEN_VARIABLE: TOKEN})
    words = {"module": "tests.tasks.exit_tasks", "local": False}
    try:
        good = {config.SCHEDULER_URL_VARIABLE: server.url, TOKEN_VARIABLE: TOKEN}
        done = run_luigi("ExitGood", env=good, **words)
        assert done.returncode == 0, done.stderr
        refused = run_luigi("ExitGood", "--name", "other", env={**good, TOKEN_VARIABLE: "no"}, **words)
    finally:
        server.stop()
    assert refused.returncode == 40
    assert f"answers 401: the scheduler needs its token; set {TOKEN_VARIABLE}" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "url",
    ["10.0.0.1:8082", "//head:8082/", "ftp://head:8082/", "http://", "http://head:eight/", "http://[::1"],
)
def test_what_is_no_address_is_refused_at_once(url):
    with pytest.raises(ConfigError, match=r"a scheduler's address must be http://HOST:PORT/ .*, found"):
        RemoteScheduler(url)
