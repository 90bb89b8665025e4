"""Requests: who may ask, a bounded number of threads that answer, and the form in which it is said."""

from __future__ import annotations

import asyncio
import contextlib
import html
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

import tornado.web

from astra.database.read_only import SlowQueryError
from astra.errors import AstraError, MissingDataError, UnavailableError
from astra.scheduler.access import Request
from astra.web.exports import to_csv, to_json
from astra.web.filters import BadFilterError, Query
from astra.web.render import render
from astra.web.security import COOKIE, HEADERS, MAX_ADDRESS, SESSION_S, PageAccess, own_path
from astra.web.site import Answer, PageFunction, Site

N_THREADS = 8
MAX_WAITING = 200  # requests that wait for a thread: more are told to come again
ANSWER_LIMIT_S = 15.0
FORMATS = ("html", "json", "csv")
WRONG_TOKEN_PAUSE_S = 0.5

logger = logging.getLogger("astra.web")
T = TypeVar("T")


class BusyError(Exception):
    """Too many requests wait."""


class Threads:
    """Threads that answer: so many at a time, so many waiting, and so long.

    Parameters
    ----------
    n_threads, n_waiting : int, optional
        How many answer, and how many wait for that.
    limit_s : float, optional
        Longest time until an answer [s].
    """

    def __init__(
        self, n_threads: int = N_THREADS, n_waiting: int = MAX_WAITING, limit_s: float = ANSWER_LIMIT_S
    ) -> None:
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="page")
        self._n_most = n_threads + n_waiting
        self._limit_s = limit_s
        self._n_asked = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Run something in a thread.

        Raises
        ------
        BusyError
            If too many wait already.
        TimeoutError
            If it takes too long.
        """
        if self._n_asked >= self._n_most:
            raise BusyError
        self._n_asked += 1
        loop = asyncio.get_running_loop()
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: _call_soon(loop, self._leave))
        return await asyncio.wait_for(asyncio.wrap_future(future), self._limit_s)

    def _leave(self) -> None:
        self._n_asked -= 1

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call something in the thread of a loop; one that has ended is left alone."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call)


class GuardedPage(tornado.web.RequestHandler):
    """A handler that answers those alone who may see the pages."""

    @property
    def access(self) -> PageAccess:
        """The rule."""
        rule: PageAccess = self.settings["access"]
        return rule

    @property
    def site(self) -> Site:
        """What the pages read."""
        found: Site = self.settings["site"]
        return found

    def prepare(self) -> None:
        """Refuse a request, or let it through."""
        request = self.request
        if len(request.uri or "") > MAX_ADDRESS:
            self._refuse(414, f"an address may have {MAX_ADDRESS} characters")
            return
        refusal = self.access.refusal(Request(request.method or "", request.path, request.headers))
        if refusal is not None:
            self._refuse(*refusal)

    def _refuse(self, status: int, reason: str) -> None:
        logger.warning("%s %s refused: %s", self.request.method, self.request.path, reason)
        if status == 401 and "text/html" in self.request.headers.get("Accept", ""):
            self.redirect("/login?" + urlencode({"next": self.request.uri or "/"}))
            return
        self.set_status(status)
        if status == 401:
            self.set_header("WWW-Authenticate", 'Basic realm="astra", charset="UTF-8"')
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(f"{reason}\n")

    def set_default_headers(self) -> None:
        """Tell browsers what pages may do: nothing but what comes from here."""
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.set_header("Cache-Control", "no-store" if self.access.token else "no-cache")
        self.clear_header("Server")

    def head(self, *arguments: str, **keys: str) -> Any:
        """Answer without the body."""
        return self.get(*arguments, **keys)

    def query(self) -> Query:
        """Return the values of the address."""
        try:
            return Query({name: self.get_query_argument(name) for name in self.request.query_arguments})
        except tornado.web.HTTPError as exc:
            message = "the address is not text in UTF-8"
            raise BadFilterError(message) from exc

    async def answer(self, work: Callable[[], T]) -> T | None:
        """Run something in a thread; say what is wrong, and return None, if it fails."""
        threads: Threads = self.settings["threads"]
        try:
            return await threads.run(work)
        except BusyError:
            self.set_header("Retry-After", "2")
            self.say(503, "Too many requests wait; try again in a moment.")
        except TimeoutError:
            self.say(504, f"This took longer than {ANSWER_LIMIT_S:g} s; ask for less.")
        except BadFilterError as exc:
            self.say(400, str(exc))
        except SlowQueryError as exc:
            self.say(504, str(exc))
        except MissingDataError as exc:
            self.say(404, str(exc))
        except UnavailableError as exc:
            logger.warning("%s", exc)
            self.say(503, "The database cannot be read at the moment.")
        except AstraError as exc:
            self.say(422, str(exc))
        return None

    def say(self, status: int, reason: str) -> None:
        """Answer with a status and a sentence."""
        self.set_status(status)
        if self.get_query_argument("format", "html", strip=True) == "json":
            self.set_header("Content-Type", "application/json; charset=UTF-8")
            self.finish(to_json({"error": reason, "status": status}))
            return
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        values = {"status": status, "reason": reason, "live": True}
        self.finish(render("error.html", self.site.links, page="error", scope={}, **values))

    def write_error(self, status_code: int, **_: Any) -> None:
        """Say that something failed; what it was stands in the log alone."""
        reason = self._reason if status_code != 500 else "This page failed; the server's log says why."
        self.say(status_code, html.unescape(reason))


class NoPage(GuardedPage):
    """What is not there."""

    def get(self, *_: str, **__: str) -> None:
        """Say so."""
        self.say(404, "There is no such page.")


class PageHandler(GuardedPage):
    """One kind of page."""

    def initialize(self, function: PageFunction) -> None:
        """Keep the function that makes it."""
        self._function = function

    async def get(self, **keys: str) -> None:
        """Make the page, and say it in the form that is asked for."""
        made = await self.answer(partial(self._make, keys))
        if made is not None:
            kind, text = made
            self.set_header("Content-Type", kind)
            if kind.startswith("text/csv"):
                self.set_header("Content-Disposition", 'attachment; filename="astra.csv"')
            self.finish(text)

    def _make(self, keys: Mapping[str, str]) -> tuple[str, str]:
        query = self.query()
        form = query.choice("format", FORMATS, "html")
        answer = self._function(self.site, query, keys)
        if form == "json":
            return "application/json; charset=UTF-8", to_json(answer.data)
        if form == "csv":
            return "text/csv; charset=UTF-8", to_csv(answer.rows, answer.columns)
        return "text/html; charset=UTF-8", self._page(answer, query)

    def _page(self, answer: Answer, query: Query) -> str:
        here = {form: query.address(self.request.path, format=form) for form in ("json", "csv")}
        return render(
            answer.template,
            self.site.links,
            page=answer.page,
            scope=dict(answer.scope),
            here=self.request.path,
            query=query,
            forms=here,
            live=True,
            **answer.values,
        )


class BytesHandler(GuardedPage):
    """A picture or a file that is made of a row of the database."""

    def initialize(
        self, function: Callable[[Site, Query, Mapping[str, str]], tuple[str, str, bytes]]
    ) -> None:
        """Keep the function, which gives kind of content, name of the file (empty: shown), and content."""
        self._function = function

    async def get(self, **keys: str) -> None:
        """Send it."""
        made = await self.answer(lambda: self._function(self.site, self.query(), keys))
        if made is None:
            return
        kind, name, content = made
        self.set_header("Content-Type", kind)
        self.set_header("Cache-Control", "private, max-age=3600")
        if name:
            self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.finish(content)


class LoginHandler(GuardedPage):
    """Where a browser tells the token."""

    def get(self) -> None:
        """Ask for it."""
        self._ask()

    async def post(self) -> None:
        """Take it, and give a cookie that tells until when it is known."""
        given = self.get_body_argument("token", "")
        if not self.access.token or not self.access.knows_token(f"Bearer {given}"):
            await asyncio.sleep(WRONG_TOKEN_PAUSE_S)
            self.set_status(403)
            self._ask("This is not the token.")
            return
        secure = self.request.protocol == "https"
        self.set_cookie(
            COOKIE,
            self.access.make_session(),
            httponly=True,
            samesite="Strict",
            secure=secure,
            path="/",
            max_age=SESSION_S,
        )
        self.redirect(own_path(self.get_body_argument("next", "/")), status=303)

    def _ask(self, problem: str = "") -> None:
        target = self.get_argument("next", "/")
        self.finish(
            render(
                "login.html",
                self.site.links,
                page="login",
                scope={},
                live=True,
                problem=problem,
                target=own_path(target),
            )
        )


class Assets(GuardedPage, tornado.web.StaticFileHandler):
    """Stylesheet and script of the pages."""
