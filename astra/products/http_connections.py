"""HTTP connections that are kept and used again, from any thread: redirects, logins and proxies."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from astra.errors import ConfigError
from astra.products.http_login import Logins

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_LARGEST_DRAINED_BYTES = 1 << 16


class UnreachableError(OSError):
    """No connection to a server could be made."""


@dataclass(frozen=True)
class Answer:
    """The answer of a server, whose body has not been read.

    Parameters
    ----------
    url : str
        Address that answered, after redirects.
    status : int
        HTTP status.
    headers : Message
        Header of the answer.
    body : HTTPResponse
        To be read in pieces.
    """

    url: str
    status: int
    headers: http.client.HTTPMessage
    body: http.client.HTTPResponse


class HttpConnections:
    """Connections to any number of servers.

    Parameters
    ----------
    timeout_s : float
        How long a server may be silent [s].
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.logins = Logins()
        self._idle: dict[str, list[http.client.HTTPConnection]] = {}
        self._busy: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self._proxies = getproxies()
        self._tls = ssl.create_default_context()

    @contextmanager
    def request(self, method: str, url: str, headers: Mapping[str, str]) -> Iterator[Answer]:
        """Ask a server, following redirects and logging in where it asks for that.

        Parameters
        ----------
        method : str
            ``GET`` or ``HEAD``.
        url : str
            Address.
        headers : mapping
            Header of the request.

        Yields
        ------
        answer : Answer
            Of any status but a redirect. The connection is kept if its body is read to the end.

        Raises
        ------
        UnreachableError
            If there is no connection.
        OSError, http.client.HTTPException
            If it breaks.
        ConfigError
            If the address is not one of http or https, or redirects do not end.
        """
        first = _origin(checked(url))
        for _ in range(MAX_REDIRECTS + 1):
            connection, response = self._ask(method, url, headers, first)
            target = response.headers.get("Location")
            if response.status not in _REDIRECTS or not target:
                break
            self._give_back(url, connection, response)
            following = urljoin(url, target)
            if urlsplit(url).scheme == "https" and checked(following).scheme != "https":
                message = f"{url} leads to {following}, which is not encrypted; it is not followed"
                raise ConfigError(message, url=url)
            url = following
        else:
            message = f"{url} leads on and on: more than {MAX_REDIRECTS} redirects"
            raise ConfigError(message, url=url)
        try:
            yield Answer(url, response.status, response.headers, response)
        except BaseException:
            self._drop(connection)
            raise
        self._give_back(url, connection, response)

    def interrupt(self) -> None:
        """Break the connections that are in use: those who wait for an answer get an error."""
        with self._lock:
            busy = [connection.sock for connection in self._busy]
        for sock in busy:
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connection in (one for some in idle.values() for one in some):
            connection.close()

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], first: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Ask one server, and again with a login if it wants one."""
        parts = checked(url)
        origin, host, is_secure = _origin(parts), parts.hostname or "", parts.scheme == "https"
        login = self.logins.known(origin)
        connection, response = self._send(method, parts, headers, login)
        if response.status != http.client.UNAUTHORIZED:
            return connection, response
        if login:
            self.logins.refuse(origin)
            return connection, response
        try:
            login = self.logins.asked(origin, host, is_secure=is_secure, default=origin == first)
        except ConfigError:
            self._drop(connection)
            raise
        if login is None:
            return connection, response
        self._give_back(url, connection, response)
        connection, response = self._send(method, parts, headers, login)
        if response.status == http.client.UNAUTHORIZED:
            self.logins.refuse(origin)
        return connection, response

    def _send(
        self, method: str, parts: SplitResult, headers: Mapping[str, str], login: str | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request on a kept connection, or on a new one if that has been closed meanwhile."""
        target = parts.path or "/"
        target += f"?{parts.query}" if parts.query else ""
        proxy = self._proxy(parts)
        headers = {"Accept-Encoding": "identity", "User-Agent": "astra", **headers}
        if login:
            headers["Authorization"] = login
        if proxy and parts.scheme == "http":
            target = f"{_origin(parts)}{target}"
            headers |= _proxy_login(proxy)
        kept = self._kept(_origin(parts))
        if kept is not None:
            with suppress(ConnectionError, http.client.CannotSendRequest):  # the server has closed it since
                return kept, self._exchange(kept, method, target, headers)
        connection = self._connect(parts, proxy)
        return connection, self._exchange(connection, method, target, headers)

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        with self._lock:
            self._busy.add(connection)
        try:
            connection.request(method, target, headers=dict(headers))
            return connection.getresponse()
        except BaseException:
            self._drop(connection)
            raise

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def _connect(self, parts: SplitResult, proxy: SplitResult | None) -> http.client.HTTPConnection:
        host, port = parts.hostname or "", parts.port
        via = proxy or parts
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                via.hostname or "", via.port, timeout=self.timeout_s, context=self._tls
            )
            if proxy:
                connection.set_tunnel(host, port, headers=_proxy_login(proxy))
        else:
            connection = http.client.HTTPConnection(via.hostname or "", via.port, timeout=self.timeout_s)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as exc:
            connection.close()
            _distrust(parts, exc)
        except OSError as exc:
            connection.close()
            reason = str(exc) or type(exc).__name__
            raise UnreachableError(f"no connection to {via.hostname}: {reason}") from exc
        return connection

    def _proxy(self, parts: SplitResult) -> SplitResult | None:
        named = self._proxies.get(parts.scheme)
        if not named or proxy_bypass(parts.hostname or ""):
            return None
        return urlsplit(named if "://" in named else f"http://{named}")

    def _kept(self, origin: str) -> http.client.HTTPConnection | None:
        with self._lock:
            idle = self._idle.get(origin)
            return idle.pop() if idle else None

    def _give_back(
        self, url: str, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        """Keep a connection for the next request, if the answer is over and the server keeps it too."""
        if not response.isclosed() and (response.length or 0) <= _LARGEST_DRAINED_BYTES:
            response.read(_LARGEST_DRAINED_BYTES)
        if not response.isclosed() or response.will_close or connection.sock is None:
            self._drop(connection)
            return
        with self._lock:
            self._busy.discard(connection)
            self._idle.setdefault(_origin(urlsplit(url)), []).append(connection)


def checked(url: str) -> SplitResult:
    """Return the parts of an address.

    Raises
    ------
    ConfigError
        If it is not one of http or https.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        message = f"{url} must be an http or https address"
        raise ConfigError(message, url=url)
    return parts


def _origin(parts: SplitResult) -> str:
    """Return scheme, machine and port: what a connection, and a login, is for."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def _proxy_login(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode('ascii')}"}


def _distrust(parts: SplitResult, exc: ssl.SSLCertVerificationError) -> NoReturn:
    message = (
        f"the certificate of {parts.hostname} is not trusted: {exc.verify_message};"
        " SSL_CERT_FILE of the environment names the authorities that are"
    )
    raise ConfigError(message, host=parts.hostname) from exc
