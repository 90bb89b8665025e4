"""Fetch a file over HTTP, so that it appears whole or not at all."""

from __future__ import annotations

import base64
import http.client
import netrc
import os
import shutil
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from astra.errors import ConfigError, DataError, MissingDataError
from astra.products.atomic import atomic_path


def download(
    url: str, path: str | Path, *, timeout_s: float = 60.0, n_attempts: int = 3, pause_s: float = 1.0
) -> None:
    """Fetch a file.

    Logs in with the entry of the server in ``~/.netrc`` (or the file that the environment variable ``NETRC``
    names), if there is one; never asks.

    Parameters
    ----------
    url : str
        Address, http or https.
    path : str or Path
        Where the file must appear; missing folders are made.
    timeout_s : float, optional
        How long the server may be silent [s].
    n_attempts : int, optional
        How often to try if the connection fails or the file arrives incomplete.
    pause_s : float, optional
        Time before the second attempt, doubled before each further one [s].

    Raises
    ------
    MissingDataError
        If the server has no such file.
    ConfigError
        If the server wants a login, or the address is not of HTTP.
    DataError
        If the file could not be fetched for another reason.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        message = f"{url} must be an http or https address"
        raise ConfigError(message, url=url)
    reason = ""
    for attempt in range(n_attempts):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            return _fetch(url, Path(path), timeout_s)
        except HTTPError as exc:
            reason = f"HTTP {exc.code}"
            exc.close()
            _raise_if_final(url, exc.code)
        except (OSError, http.client.HTTPException) as exc:
            reason = str(exc) or type(exc).__name__
    message = f"{url} could not be fetched in {n_attempts} attempts: {reason}"
    raise DataError(message, url=url, reason=reason)


def _fetch(url: str, path: Path, timeout_s: float) -> None:
    request = Request(url, headers=_login(url))  # noqa: S310  # the scheme has been checked
    with urlopen(request, timeout=timeout_s) as response, atomic_path(path) as temporary:  # noqa: S310
        with temporary.open("wb") as stream:
            shutil.copyfileobj(response, stream)
        expected, found = response.headers.get("Content-Length"), temporary.stat().st_size
        if expected is not None and int(expected) != found:
            message = f"{found} of {expected} bytes arrived"
            raise OSError(message)


def _raise_if_final(url: str, code: int) -> None:
    """Raise for an answer that another attempt would not change."""
    if code in (401, 403):
        host = urlsplit(url).hostname
        found = "was refused" if _login(url) else "is missing"
        message = f"{url} needs a login (HTTP {code}): the entry of machine {host} in ~/.netrc {found}"
        raise ConfigError(message, url=url, status=code)
    if code in (404, 410):
        message = f"{url} does not exist (HTTP {code})"
        raise MissingDataError(message, url=url, status=code)


def _login(url: str) -> dict[str, str]:
    """Return the header of a login, if ``.netrc`` has one for the server."""
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    if not path.is_file():
        return {}
    try:
        entry = netrc.netrc(str(path)).authenticators(urlsplit(url).hostname or "")
    except netrc.NetrcParseError as exc:
        message = f"{path} cannot be read: {exc.msg} (line {exc.lineno})"
        raise ConfigError(message, path=str(path)) from exc
    if entry is None:
        return {}
    token = base64.b64encode(f"{entry[0]}:{entry[2]}".encode()).decode("ascii")
    return {"Authorization": f"Basic {token}"}
