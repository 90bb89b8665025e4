"""Who may see the pages, and what a browser may do with them.

The rule is that of the scheduler (`astra.scheduler.access`) with two differences: a link on another site may
lead to a page, which changes nothing; and a browser that has told the token once keeps a cookie, which tells
not the token but until when it is good.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from astra.scheduler.access import Access, Request, make_access

COOKIE = "astra_session"
SESSION_S = 12 * 3600
MAX_ADDRESS = 4000  # characters of path and query
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), interest-cohort=()",
}
OPEN_PATHS = ("/login", "/static/style.css")  # without the token: what one needs to tell it

Clock = Callable[[], float]


@dataclass(frozen=True)
class PageAccess(Access):
    """The rule for pages; parameters as in `astra.scheduler.access.Access`."""

    server: str = "server"

    def refusal(self, request: Request) -> tuple[int, str] | None:
        """Return the HTTP status and the reason why a request is refused; None if it is not."""
        refused = super().refusal(request)
        if refused is not None and refused[0] == 401 and request.path in OPEN_PATHS:
            return None
        return refused

    def _may_be_linked(self, request: Request) -> bool:
        is_opened = request.headers.get("Sec-Fetch-Mode") == "navigate"
        is_page = request.headers.get("Sec-Fetch-Dest") == "document"
        return request.method == "GET" and is_opened and is_page and not request.path.startswith("/api/")

    def _is_known(self, request: Request) -> bool:
        cookie = _cookie_of(request.headers.get("Cookie", ""))
        return super()._is_known(request) or self.knows_session(cookie)

    def make_session(self, now: Clock = time.time) -> str:
        """Return the value of a cookie for one who has told the token."""
        until = str(int(now()) + SESSION_S)
        return f"{until}.{self._signature(until)}"

    def knows_session(self, value: str, now: Clock = time.time) -> bool:
        """Say whether a cookie was made here and is still good."""
        until, _, signature = value.partition(".")
        is_ours = hmac.compare_digest(signature.encode(), self._signature(until).encode())
        return is_ours and until.isascii() and until.isdigit() and now() < int(until)

    def _signature(self, until: str) -> str:
        return hmac.new(
            self.token.encode(), f"astra pages until {until}".encode(), hashlib.sha256
        ).hexdigest()


def _cookie_of(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def make_page_access(
    address: str, token: str, names: Iterable[str] = (), origins: Iterable[str] = ()
) -> PageAccess:
    """Make the rule for pages; parameters and errors as in `astra.scheduler.access.make_access`."""
    rule = make_access(address, token, names, origins, server="server")
    return PageAccess(rule.names, rule.token, rule.origins)


def own_path(address: str) -> str:
    """Return an address if it is a path of this server, else the first page: a login leads nowhere else."""
    parts = urlsplit(address)
    is_plain = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_plain and not parts.netloc and "\\" not in address else "/"
