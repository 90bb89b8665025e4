"""Who may call a server: on the loopback interface all but other sites' pages, else who has the token.

Whoever can call the scheduler can let workers import and run any module that they find. A page of another
site that is open in a browser on this machine is kept out by the headers that a browser sends: ``Host`` names
this server even if a name was made to point here, ``Origin`` and ``Sec-Fetch-Site`` name the page; and a call
that changes anything cannot be a plain link or image.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from astra.errors import ConfigError

TOKEN_VARIABLE = "ASTRA_SCHEDULER_TOKEN"  # noqa: S105  # the name of a variable
MIN_TOKEN_LENGTH = 16
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_REASONS = {
    "scheduler": "whoever calls it decides what the workers run; "
    f"set {TOKEN_VARIABLE} or --token-file, for the workers too",
    "server": f"whoever calls it reads the whole database; set {TOKEN_VARIABLE} or --token-file",
}
READING = frozenset(  # calls that change nothing
    (
        "bulk_protocol",
        "count_pending",
        "dep_graph",
        "fetch_error",
        "get_running_task_resources",
        "get_task_progress_percentage",
        "get_task_status_message",
        "graph",
        "has_task_history",
        "inverse_dep_graph",
        "is_pause_enabled",
        "is_paused",
        "resource_list",
        "task_list",
        "task_search",
        "worker_list",
    )
)


def split_url(url: str) -> SplitResult:
    """Return the parts of the address of a scheduler.

    Raises
    ------
    ConfigError
        If it is none: nobody should wait for what cannot be there.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    except ValueError:  # of a port that is no number, or half a bracket
        pass
    message = f"a scheduler's address must be http://HOST:PORT/ or https://HOST:PORT/, found {url!r}"
    raise ConfigError(message, url=url)


@dataclass(frozen=True)
class Request:
    """What is looked at of a request.

    Parameters
    ----------
    method, path : str
        As in HTTP.
    headers : mapping
        Its headers, by name.
    """

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Access:
    """The rule.

    Parameters
    ----------
    names : frozenset of str
        Names of this server, in lower case, without port.
    token : str
        What callers must know; empty if everyone on this machine may call.
    origins : frozenset of str
        Further sites whose pages may call.
    server : str
        What it is, for messages.
    """

    names: frozenset[str]
    token: str = ""
    origins: frozenset[str] = frozenset()
    server: str = "scheduler"

    def refusal(self, request: Request) -> tuple[int, str] | None:
        """Return the HTTP status and the reason why a request is refused; None if it is not."""
        host = request.headers.get("Host", "")
        if _name_of(host) not in self.names:
            return 403, f"this {self.server} is not called {host!r}"
        if not self._is_of_own_page(request, host):
            return 403, f"a page of another site must not call the {self.server}"
        if self.token and not self._is_known(request):
            return 401, f"the {self.server} needs its token"
        if _changes(request) and request.method == "GET" and "X-Requested-With" not in request.headers:
            return 403, "a call that changes something must be a POST"
        return None

    def _is_of_own_page(self, request: Request, host: str) -> bool:
        origin = request.headers.get("Origin")
        if origin is not None:
            return origin.lower().partition("://")[2] == host.lower() or origin in self.origins
        site = request.headers.get("Sec-Fetch-Site", "none")
        return site in {"none", "same-origin"} or self._may_be_linked(request)

    def _may_be_linked(self, request: Request) -> bool:
        """Say whether a link on a page of another site may lead here."""
        return request.path == "/"

    def _is_known(self, request: Request) -> bool:
        return self.knows_token(request.headers.get("Authorization", ""))

    def knows_token(self, authorization: str) -> bool:
        """Say whether a header ``Authorization`` tells the token."""
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "basic":
            given = _password(given)
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.strip().encode(), self.token.encode())


def _name_of(host: str) -> str:
    if not host.isascii() or " " in host:
        return ""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # brackets that hold no address
        return ""


def _changes(request: Request) -> bool:
    """Say whether a request is a call that may change something."""
    return request.path.startswith("/api/") and request.path.removeprefix("/api/") not in READING


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def is_loopback(address: str) -> bool:
    """Say whether an address is of the loopback interface."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def make_access(
    address: str,
    token: str,
    names: Iterable[str] = (),
    origins: Iterable[str] = (),
    *,
    server: str = "scheduler",
) -> Access:
    """Make the rule for a server.

    Parameters
    ----------
    address : str
        Where it listens; empty for all interfaces.
    token : str
        What callers must know; needed unless the address is of the loopback interface.
    names : iterable of str
        Further names of this server.
    origins : iterable of str
        Further sites whose pages may call.
    server : str, optional
        What it is, for messages.

    Raises
    ------
    ConfigError
        If there is no token for another address, or it is short.
    """
    if not token and not is_loopback(address):
        message = f"a {server} on {address or 'all interfaces'} needs a token: {_REASONS[server]}"
        raise ConfigError(message, address=address)
    if token and len(token) < MIN_TOKEN_LENGTH:
        message = f"the {server}'s token has {len(token)} characters, but needs {MIN_TOKEN_LENGTH} at least"
        raise ConfigError(message, length=len(token))
    own = {address, *LOCAL_NAMES, *names}
    if not is_loopback(address):
        own |= {socket.gethostname(), socket.getfqdn()}
    return Access(frozenset(name.lower() for name in own if name), token, frozenset(origins), server)


def read_token(path: str | None = None) -> str:
    """Return the token: what a file holds, else the environment's; empty if there is none.

    Raises
    ------
    ConfigError
        If the file cannot be read, or others may read it.
    """
    if not path:
        return os.environ.get(TOKEN_VARIABLE, "").strip()
    try:
        mode = Path(path).stat().st_mode
        text = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        message = f"the token file {path} cannot be read: {exc}"
        raise ConfigError(message, path=path) from exc
    if mode & 0o077:
        message = (
            f"the token file {path} has mode {mode & 0o777:o}, but nobody else may read it: chmod 600 {path}"
        )
        raise ConfigError(message, path=path)
    if not text:
        message = f"the token file {path} is empty"
        raise ConfigError(message, path=path)
    return text
