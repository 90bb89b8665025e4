"""Connections to a server that stay open: one for each thread and process, behind the scheduler's token."""

from __future__ import annotations

import base64
import http.client
import os
import threading
from urllib.parse import unquote

import luigi.rpc

from astra.scheduler.access import TOKEN_VARIABLE, read_token, split_url


class RefusedError(luigi.rpc.RPCError):
    """The scheduler has answered, and not with what was asked for."""

    def __init__(self, status: int, url: str, reason: str) -> None:
        remedy = f"; set {TOKEN_VARIABLE} to that which it was started with" if status == 401 else ""
        super().__init__(f"the scheduler at {url} answers {status}: {reason}{remedy}")
        self.status = status


class Connections:
    """Open connections to one server, one for each thread and process.

    Parameters
    ----------
    url : str
        The server, with user and password if it wants them.
    """

    raises = (OSError, http.client.HTTPException)

    def __init__(self, url: str) -> None:
        parts = split_url(url)
        self._make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = parts.hostname or "localhost", parts.port
        self._prefix = parts.path.rstrip("/")
        self._own = threading.local()
        self._opened: list[tuple[int, http.client.HTTPConnection]] = []
        self._headers = _authorization(parts.username, parts.password)
        self.url = f"{parts.scheme}://{self._host}:{self._port or self._make.default_port}{self._prefix}"

    def post(self, path: str, body: bytes, kind: str, timeout: float) -> bytes:
        """Send a message; return the answer.

        Raises
        ------
        RefusedError
            If the status is not 200.
        """
        connection = self._connection(timeout)
        try:
            connection.request("POST", self._prefix + path, body, {**self._headers, "Content-Type": kind})
            response = connection.getresponse()
            answer = response.read()
        except self.raises:
            self.drop()
            raise
        if response.status != 200:
            reason = answer.decode(errors="replace").strip()[:200]
            raise RefusedError(response.status, self.url, reason or response.reason)
        return answer

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        own = self._own.__dict__
        if own.get("pid") != os.getpid():  # never speak on a connection of the process that forked this one
            own["pid"], own["connection"] = os.getpid(), self._make(self._host, self._port, timeout=timeout)
            self._opened.append((own["pid"], own["connection"]))
        connection: http.client.HTTPConnection = own["connection"]
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        return connection

    def drop(self) -> None:
        """Close the connection of this thread; the next message opens another one."""
        connection = self._own.__dict__.pop("connection", None)
        if connection is not None and self._own.__dict__.pop("pid") == os.getpid():
            connection.close()
            self._opened = [pair for pair in self._opened if pair[1] is not connection]

    def close(self) -> None:
        """Close those of all threads of this process; none of them may be in use."""
        for pid, connection in self._opened:
            if pid == os.getpid():
                connection.close()
        self._opened.clear()


def _authorization(user: str | None, password: str | None) -> dict[str, str]:
    token = read_token()
    if user is not None:
        pair = f"{unquote(user)}:{unquote(password or '')}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return {"Authorization": f"Bearer {token}"} if token else {}
