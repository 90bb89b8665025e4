"""The server: Luigi's calls and pages, behind the rule of `astra.scheduler.access`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import luigi.scheduler
import luigi.server
import tornado.escape
import tornado.httpserver
import tornado.httputil
import tornado.ioloop
import tornado.netutil
import tornado.web

from astra.errors import FormatError, StateError
from astra.scheduler.access import Access, Request
from astra.scheduler.arguments import read_arguments
from astra.scheduler.durable import DurableScheduler
from astra.scheduler.health import CONTENT_TYPE, exposition, line, page
from astra.scheduler.leases import WATCH_S
from astra.scheduler.metrics import SAMPLE_S

PRUNE_INTERVAL_S = 5.0
MAX_BODY_BYTES = 256_000_000
CLOSED = 503  # what is answered when the state cannot be written
JSON = "application/json"
CALLS = luigi.scheduler.RPC_METHODS.keys() - {"update_metrics_task_started"}  # which takes no JSON
HEALTH = "/astra/health"
HEALTH_LINE = f"{HEALTH}/line"  # over Luigi's page
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
VISUALISER = "visualiser/index.html"  # Luigi's page
CONTENT = '<div class="content-wrapper">'  # in it
STYLE = "visualiser/lib/AdminLTE/css/AdminLTE.min.css"  # and one of its stylesheets
# It has scripts and styles in itself; nothing may come from elsewhere, or go there.
VISUALISER_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
REMOTE_IMPORT = re.compile(r"@import url\(https?://[^)]*\);")  # a font that the stylesheet does without

logger = logging.getLogger("luigi.server")


@tornado.web.stream_request_body
class Guarded(tornado.web.RequestHandler):
    """A handler that answers those alone who may call, and reads no body of others."""

    def data_received(self, chunk: bytes) -> None:
        """Drop a part of a body: pages take none."""

    def prepare(self) -> None:
        """Refuse a request, or let it through."""
        access: Access = self.settings["access"]
        request = Request(self.request.method or "", self.request.path, self.request.headers)
        refusal = access.refusal(request)
        if refusal is not None:
            self.refuse(*refusal)

    def refuse(self, status: int, reason: str) -> None:
        """Answer that a request is refused."""
        logger.warning("%s %s refused: %s", self.request.method, self.request.path, reason)
        meter = self.settings.get("meter")
        if meter is not None:
            meter.refused[status] += 1
        self.set_status(status)
        if status == 401:
            self.set_header("WWW-Authenticate", 'Basic realm="astra scheduler", charset="UTF-8"')
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(f"{reason}\n")

    def set_default_headers(self) -> None:
        """Keep the pages out of those of others."""
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")


class CallHandler(Guarded, luigi.server.RPCHandler):
    """Calls: the arguments stand in a field ``data``, as in Luigi, or are the body itself."""

    def prepare(self) -> None:
        """Refuse a request, or let it through; a body is kept only then."""
        self._parts: list[bytes] = []
        super().prepare()

    def data_received(self, chunk: bytes) -> None:
        """Keep a part of the body."""
        if not self._finished:
            self._parts.append(chunk)

    def get(self, method: str) -> None:
        """Answer a call; what it has changed is written first."""
        self._answer(method)

    def post(self, method: str) -> None:
        """Answer a call; what it has changed is written first."""
        self._answer(method)

    def _answer(self, method: str) -> None:
        began = time.perf_counter()
        call = getattr(self._scheduler, method, None) if method in CALLS else None
        if call is None:
            self.send_error(404)
            return
        try:
            arguments = read_arguments(method, call, self._text())
        except (FormatError, tornado.httputil.HTTPInputError) as exc:
            self.refuse(400, str(exc))
            return
        result = call(**arguments)
        if self._cors_config.enabled:
            self._handle_cors()
        self.write({"response": result})
        self._scheduler.meter.note_call(method, time.perf_counter() - began)

    def _text(self) -> str | bytes:
        body, kind = b"".join(self._parts), self.request.headers.get("Content-Type", "")
        if kind.partition(";")[0] == JSON:
            return body
        fields: dict[str, list[bytes]] = {}
        tornado.httputil.parse_body_arguments(kind, body, fields, {})
        return fields["data"][-1] if "data" in fields else self.get_query_argument("data", "{}")

    def write(self, chunk: Any) -> None:
        """Write an answer after the state that it tells of."""
        if isinstance(chunk, dict):
            try:
                self._scheduler.commit()
            except StateError as exc:
                logger.critical("%s", exc)
                self.set_status(CLOSED)
                super().write(f"{exc}\n")
                return
            chunk = json.dumps(chunk, separators=(",", ":"))
            self.set_header("Content-Type", f"{JSON}; charset=UTF-8")
        super().write(chunk)


class GuardedFiles(Guarded, tornado.web.StaticFileHandler):
    """Luigi's pages, with a link to that of the scheduler's health, and without what they ask of others."""

    async def get(self, path: str, include_body: bool = True) -> None:
        """Answer with a file."""
        if path == VISUALISER:
            self.set_header("Content-Type", "text/html; charset=UTF-8")
            self.set_header("Content-Security-Policy", VISUALISER_POLICY)
            self.write(with_link((Path(self.root) / VISUALISER).read_text()))
        elif path == STYLE:
            self.set_header("Content-Type", "text/css; charset=UTF-8")
            self.write(REMOTE_IMPORT.sub("", (Path(self.root) / STYLE).read_text()))
        else:
            await super().get(path, include_body)

    def compute_etag(self) -> str | None:
        """Return the mark of a version: that of the file, but where the answer is not what the file holds."""
        changed = self.request.path.endswith((f"/{VISUALISER}", f"/{STYLE}"))
        return tornado.web.RequestHandler.compute_etag(self) if changed else super().compute_etag()


def with_link(html: str) -> str:
    """Return Luigi's page with a line of health over it and a link in its bar; as it is, without such a bar.

    It gets an empty icon too, which browsers would ask for.
    """
    html = html.replace("</head>", '<link rel="icon" href="data:,"></head>', 1)
    head, bar, rest = html.partition('id="topNavbar">')
    items, end, rest = rest.partition("</ul>")
    if not (bar and end):
        return html
    style = "border:0;display:block;height:2.1em;width:100%"
    frame = f'<iframe src="../..{HEALTH_LINE}" title="Health of the scheduler" style="{style}"></iframe>'
    rest = rest.replace(CONTENT, f"{CONTENT}{frame}", 1)
    return f'{head}{bar}{items}<li><a href="{HEALTH}">Health</a></li>{end}{rest}'


class HealthHandler(Guarded):
    """The page of the scheduler's health."""

    def initialize(self, scheduler: DurableScheduler) -> None:
        """Keep the scheduler."""
        self._scheduler = scheduler

    def get(self) -> None:
        """Answer with the page."""
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Cache-Control", "no-store")
        self.write(page(self._scheduler.health()))


class LineHandler(HealthHandler):
    """The line of it over Luigi's page, which alone may frame it."""

    def get(self) -> None:
        """Answer with the line."""
        self.set_header("X-Frame-Options", "SAMEORIGIN")
        self.set_header("Content-Security-Policy", POLICY.replace("ancestors 'none'", "ancestors 'self'"))
        self.set_header("Cache-Control", "no-store")
        self.write(line(self._scheduler.health()))


class StyleHandler(Guarded):
    """How that page looks."""

    def get(self) -> None:
        """Answer with the style sheet."""
        self.set_header("Content-Type", "text/css; charset=UTF-8")
        self.write((Path(__file__).parent / "templates" / "health.css").read_text())


class MetricsHandler(HealthHandler):
    """The figures as Prometheus reads them, and those of a collector that the user has chosen."""

    def get(self) -> None:
        """Answer with the figures."""
        collector = self._scheduler.meter
        further = collector.generate_latest()
        self.set_header("Content-Type", CONTENT_TYPE)
        self.write(exposition(self._scheduler.health()))
        if further:
            self.write(further)


def scheduler_rules(scheduler: DurableScheduler) -> list[Any]:
    """Return the handlers of Luigi's calls and pages, each behind the rule."""
    luigis = luigi.server
    options = {"scheduler": scheduler}
    handlers = {
        r"/": luigis.RootPathHandler,
        r"/tasklist": luigis.AllRunHandler,
        r"/tasklist/(.*?)": luigis.SelectedRunHandler,
        r"/history": luigis.RecentRunHandler,
        r"/history/by_name/(.*?)": luigis.ByNameHandler,
        r"/history/by_id/(.*?)": luigis.ByIdHandler,
        r"/history/by_task_id/(.*?)": luigis.ByTaskIdHandler,
        r"/history/by_params/(.*?)": luigis.ByParamsHandler,
    }
    guarded = [
        (path, type(f"Guarded{cls.__name__}", (Guarded, cls), {}), options) for path, cls in handlers.items()
    ]
    files = {"path": str(Path(luigis.__file__).parent / "static")}
    return [
        (r"/api/(.*)", CallHandler, options),
        (r"/metrics", MetricsHandler, options),
        (HEALTH, HealthHandler, options),
        (HEALTH_LINE, LineHandler, options),
        (f"{HEALTH}\\.css", StyleHandler),
        *guarded,
        (r"/static/(.*)", GuardedFiles, files),
    ]


def make_application(scheduler: DurableScheduler, access: Access) -> tornado.web.Application:
    """Make the application: Luigi's, each handler behind the rule."""
    return tornado.web.Application(
        scheduler_rules(scheduler),
        access=access,
        meter=scheduler.meter,
        static_path=str(Path(luigi.server.__file__).parent / "static"),
        static_handler_class=GuardedFiles,
        unescape=tornado.escape.xhtml_unescape,
        compress_response=True,
    )


async def serve(
    scheduler: DurableScheduler,
    access: Access,
    *,
    address: str,
    port: int,
    unix_socket: str | None = None,
    ready: Any = None,
    application: tornado.web.Application | None = None,
) -> None:
    """Serve until the process is asked to end.

    Parameters
    ----------
    scheduler : DurableScheduler
        The scheduler, its journal open; it is closed at the end.
    access : Access
        Who may call.
    address : str
        Address to listen on; empty for all interfaces.
    port : int
        Port; 0 for any that is free.
    unix_socket : str, optional
        Socket in the file system to listen on instead.
    ready : callable, optional
        Called with the names of the sockets, once they listen.
    application : tornado.web.Application, optional
        What is served, if more than the scheduler.
    """
    if unix_socket:
        sockets = [tornado.netutil.bind_unix_socket(unix_socket)]
    else:
        sockets = tornado.netutil.bind_sockets(port, address=address or None)
    served = application or make_application(scheduler, access)
    server = tornado.httpserver.HTTPServer(served, max_body_size=MAX_BODY_BYTES)
    server.add_sockets(sockets)
    timers = [
        tornado.ioloop.PeriodicCallback(
            lambda: _written(scheduler, scheduler.prune), PRUNE_INTERVAL_S * 1000
        ),
        tornado.ioloop.PeriodicCallback(lambda: _written(scheduler, scheduler.watch), WATCH_S * 1000),
        tornado.ioloop.PeriodicCallback(scheduler.meter.sample, SAMPLE_S * 1000),
    ]
    for timer in timers:
        timer.start()
    if ready is not None:
        ready([socket.getsockname() for socket in sockets])
    try:
        await end_asked()
    finally:
        for timer in timers:
            timer.stop()
        server.stop()
        scheduler.dump()
        scheduler.close()


def _written(scheduler: DurableScheduler, change: Callable[[], None]) -> None:
    """Let the scheduler change its state, and write that."""
    try:
        change()
        scheduler.commit()
    except StateError as exc:
        logger.critical("%s", exc)


async def end_asked() -> None:
    """Wait for a signal to end."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        with contextlib.suppress(ValueError):  # of a thread that hears no signals
            loop.add_signal_handler(number, asked.set)
    await asked.wait()
