"""The server of pages, alone or together with the scheduler."""

from __future__ import annotations

import gc
import importlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import tornado.httpserver
import tornado.netutil
import tornado.web

from astra.web.handlers import (
    Assets,
    BytesHandler,
    GuardedPage,
    LoginHandler,
    NoPage,
    PageHandler,
    Threads,
)
from astra.web.links import PAGES
from astra.web.live import BYTES, LIVE_PAGES
from astra.web.live.products import ProductHandler
from astra.web.security import PageAccess
from astra.web.site import Site

if TYPE_CHECKING:
    from astra.scheduler.durable import DurableScheduler

MAX_BODY_BYTES = 65_536
MAX_HEADER_BYTES = 32_768
IDLE_S = 60.0
BODY_S = 10.0
KEY_PATTERNS = {
    "instrument": r"[^/]{1,64}",
    "task_id": r"[^/]{1,255}",
    "picture": r"[0-9a-f]{32}\.png",
}  # others are whole numbers
NUMBER_PATTERN = r"\d{1,19}"
# What the pages import when they need it, and astropy with it.
NEEDED_LATER = (
    *(
        "astra.alerts.packet_index",
        "astra.alerts.views",
        "astra.products.exposures",
        "astra.products.catalogs",
    ),
    *("astra.products.spectra", "astra.database.pages.best_alerts", "astra.database.pages.light_curves"),
)

Rule = tuple[str, type[tornado.web.RequestHandler], dict[str, Any]]


def page_rules() -> list[Rule]:
    """Return the handlers of all pages: pattern, class and arguments."""
    pages: list[Rule] = [
        (_pattern(PAGES[kind].address), PageHandler, {"function": function})
        for kind, function in LIVE_PAGES.items()
    ]
    parts: list[Rule] = [
        (_pattern(address), BytesHandler, {"function": function}) for address, function in BYTES.items()
    ]
    static = str(files("astra.web") / "static")
    return [
        *pages,
        *parts,
        (_pattern(PAGES["product"].address), ProductHandler, {}),
        (r"/login", LoginHandler, {}),
        (r"/static/([a-z_]+\.(?:css|js))", Assets, {"path": static}),
    ]


def _pattern(address: str) -> str:
    """Make the pattern of a path with keys in braces."""
    parts = re.split(r"\{(\w+)\}", address)
    made = [
        re.escape(part) if number % 2 == 0 else f"(?P<{part}>{KEY_PATTERNS.get(part, NUMBER_PATTERN)})"
        for number, part in enumerate(parts)
    ]
    return "".join(made)


def make_application(
    site: Site, access: PageAccess, scheduler: DurableScheduler | None = None
) -> tornado.web.Application:
    """Make the application.

    Parameters
    ----------
    site : Site
        What the pages read.
    access : PageAccess
        Who may ask.
    scheduler : DurableScheduler, optional
        A scheduler whose calls and pages are served too.
    """
    rules: list[Any] = list(page_rules())
    if scheduler is not None:
        from astra.scheduler.server import scheduler_rules

        rules += [rule for rule in scheduler_rules(scheduler) if rule[0] != "/"]
    return tornado.web.Application(
        rules,
        access=access,
        meter=None if scheduler is None else scheduler.meter,
        site=site,
        threads=Threads(),
        default_handler_class=NoPage,
        compress_response=True,
        serve_traceback=False,
        unescape=tornado.escape.xhtml_unescape,
    )


async def serve(
    site: Site,
    access: PageAccess,
    *,
    address: str,
    port: int,
    ready: Callable[[Sequence[Any]], None] | None = None,
    scheduler: DurableScheduler | None = None,
) -> None:
    """Serve until the process is asked to end.

    Parameters
    ----------
    site, access, scheduler
        As in `make_application`.
    address : str
        Address to listen on; empty for all interfaces.
    port : int
        Port; 0 for any that is free.
    ready : callable, optional
        Called with the names of the sockets, once they listen.
    """
    from astra.scheduler.server import end_asked
    from astra.scheduler.server import serve as serve_scheduler

    application = make_application(site, access, scheduler)
    threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
    try:
        if scheduler is not None:
            await serve_scheduler(
                scheduler, access, address=address, port=port, ready=ready, application=application
            )
            return
        sockets = tornado.netutil.bind_sockets(port, address=address or None)
        server = tornado.httpserver.HTTPServer(application, **limits())
        server.add_sockets(sockets)
        if ready is not None:
            ready([socket.getsockname() for socket in sockets])
        await end_asked()
        server.stop()
    finally:
        application.settings["threads"].close()
        site.database.close()


def warm_up() -> None:
    """Import what pages need, and keep it from being looked through again and again.

    A page of a wide night makes so many objects that the garbage collector looks through all there are; those
    of the modules, which never go, are most of them.
    """
    for name in NEEDED_LATER:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def limits() -> Mapping[str, Any]:
    """Return the limits of the server: sizes [byte] and times [s]."""
    return {
        "max_body_size": MAX_BODY_BYTES,
        "max_buffer_size": MAX_BODY_BYTES + MAX_HEADER_BYTES,
        "max_header_size": MAX_HEADER_BYTES,
        "idle_connection_timeout": IDLE_S,
        "body_timeout": BODY_S,
    }


__all__ = ["GuardedPage", "limits", "make_application", "page_rules", "serve"]
