"""An HTTP server on the loopback interface whose answers a test decides, and which counts what is asked."""

import base64
import http.server
import threading
from email.utils import formatdate

CHUNK = 1000


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.n_connections += 1

    def do_HEAD(self):
        self.answer(is_head=True)

    def do_GET(self):
        self.answer()

    def answer(self, *, is_head=False):
        server = self.server
        with server.lock:
            server.asked.append((self.path, dict(self.headers)))
            rule = server.rules.get(self.path, {})
            script = rule.get("script")
            if script:
                rule = {**rule, **script.pop(0)}
        if rule.get("login") and self.headers.get("Authorization") != basic(rule["login"]):
            self.empty(401, {"WWW-Authenticate": 'Basic realm="sdss"'})
        elif "status" in rule:
            self.empty(rule["status"], rule.get("headers", {}))
        elif "content" not in rule:
            self.empty(404, {})
        else:
            self.send_content(rule, is_head)

    def empty(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def first_byte(self, rule):
        """Where the answer begins, None for a whole file."""
        wanted, states = self.headers.get("Range"), (None, rule.get("etag"), rule.get("changed"))
        if not wanted or not rule.get("ranges", True) or self.headers.get("If-Range") not in states:
            return None
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def send_content(self, rule, is_head):
        content, first = rule["content"], self.first_byte(rule)
        start = first or 0
        self.send_response(200 if first is None else 206)
        headers = {"Content-Length": rule.get("length", len(content) - start), **rule.get("headers", {})}
        headers |= {"ETag": rule.get("etag"), "Last-Modified": rule.get("changed")}
        if first is not None:
            headers["Content-Range"] = f"bytes {rule.get('from', start)}-{len(content) - 1}/{len(content)}"
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        if not is_head:
            self.send_body(rule, content[start:])

    def send_body(self, rule, content):
        cut = rule.get("cut")
        self.wfile.write(content if cut is None else content[:cut])
        if rule.get("hold"):
            self.wfile.flush()
            self.server.released.wait(20)
        self.close_connection = cut is not None or "length" in rule

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """Rules by path: content, etag, changed, cut, status, headers, login, script (a rule a request)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.rules = {}
        self.asked = []
        self.n_connections = 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, *_):
        """Say nothing of connections that a client breaks."""

    def paths(self):
        """What was asked for, in order."""
        return [path for path, _ in self.asked]


def basic(login):
    return "Basic " + base64.b64encode(login.encode()).decode()


def long_ago():
    return formatdate(1_600_000_000, usegmt=True)
