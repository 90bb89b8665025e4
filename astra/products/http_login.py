"""Logins of HTTP and rsync servers: from the file ``.netrc``, looked at when a server first asks for one."""

from __future__ import annotations

import base64
import ipaddress
import netrc
import os
import threading
from pathlib import Path

from astra.errors import ConfigError


def netrc_path() -> Path:
    """Return the file of logins: what ``NETRC`` of the environment names, else ``~/.netrc``."""
    named = os.environ.get("NETRC")
    return Path(named).expanduser() if named else Path.home() / ".netrc"


def netrc_login(host: str, *, default: bool = True) -> tuple[str, str] | None:
    """Return login and password of a machine.

    Parameters
    ----------
    host : str
        The machine, without port.
    default : bool, optional
        Whether the entry ``default`` counts.

    Returns
    -------
    login : tuple of (str, str) or None
        None if there is no file or no entry.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    path = netrc_path()
    if not path.is_file():
        return None
    try:
        entries = netrc.netrc(str(path)).hosts
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as exc:
        reason = f"{exc.msg} (line {exc.lineno})" if isinstance(exc, netrc.NetrcParseError) else str(exc)
        message = f"{path} cannot be read: {reason}"
        raise ConfigError(message, path=str(path)) from exc
    entry = entries.get(host) or (entries.get("default") if default else None)
    return (entry[0], entry[2]) if entry else None


class Logins:
    """The logins of one batch of requests: each machine's is looked up once, and not sent again if refused.

    A login goes to the machine of its entry alone, over https, or to this machine itself.
    """

    def __init__(self) -> None:
        self._headers: dict[str, str | None] = {}
        self._refused: set[str] = set()
        self._lock = threading.Lock()

    def known(self, origin: str) -> str | None:
        """Return the header of a machine that has asked before; None if it has not, or has refused."""
        with self._lock:
            return None if origin in self._refused else self._headers.get(origin)

    def asked(self, origin: str, host: str, *, is_secure: bool, default: bool) -> str | None:
        """Return the header for a machine that asks.

        Parameters
        ----------
        origin : str
            Scheme, machine and port.
        host : str
            The machine.
        is_secure : bool
            Whether the connection is encrypted.
        default : bool
            Whether the entry ``default`` counts: not for a machine that another has led to.

        Returns
        -------
        header : str or None
            None if there is no login, it may not be sent, or it has been refused.

        Raises
        ------
        ConfigError
            If the file of logins cannot be read.
        """
        with self._lock:
            if origin in self._refused:
                return None
            if self._headers.get(origin) is None:
                login = netrc_login(host, default=default) if is_secure or is_this_machine(host) else None
                self._headers[origin] = _basic(*login) if login else None
            return self._headers[origin]

    def refuse(self, origin: str) -> None:
        """Remember that a machine has refused its login: many tries might lock the account."""
        with self._lock:
            self._refused.add(origin)

    def why_not(self, origin: str, host: str, *, is_secure: bool) -> str:
        """Say what is wrong with the login of a machine, and what to do about it."""
        entry = f"the entry of machine {host} in {netrc_path()}"
        if origin in self._refused:
            return f"{entry} was refused"
        if not is_secure and not is_this_machine(host):
            return f"{entry} is not sent without encryption: use https"
        return f"{entry} is missing: machine {host} login NAME password WORD"


def is_this_machine(host: str) -> bool:
    """Say whether a host is this machine by its loopback interface."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _basic(login: str, password: str) -> str:
    token = base64.b64encode(f"{login}:{password}".encode()).decode("ascii")
    return f"Basic {token}"
