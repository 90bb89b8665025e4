"""What the answers of file servers mean: a file, the rest of one, a state of one, or why there is none."""

from __future__ import annotations

import http.client
import re
import time
from email.utils import parsedate_to_datetime
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from astra.errors import AstraError, ConfigError, DataError, MissingDataError
from astra.products.http_connections import Answer
from astra.products.http_login import Logins

_PAGES = frozenset({".html", ".htm", ""})
_COMPRESSIONS = {"gzip": ".gz", "x-gzip": ".gz", "bzip2": ".bz2", "x-bzip2": ".bz2"}
# A time of change so far back tells states of a file apart (RFC 9110, section 8.8.2.2).
_VALIDATOR_AGE_S = 60.0


class TryAgainError(Exception):
    """Another attempt may succeed.

    Parameters
    ----------
    reason : str
        What went wrong.
    pause_s : float
        How long the server wants to be left alone [s].
    """

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


def require_data(answer: Answer, url: str) -> None:
    """Refuse what comes in place of a file.

    Raises
    ------
    ConfigError
        If it is a web page, as servers send to those who must log in.
    DataError
        If it is compressed on its way, which would become the content of the file.
    """
    suffix = PurePosixPath(urlsplit(url).path).suffix
    kind = answer.headers.get_content_type()
    if "Content-Type" in answer.headers and kind == "text/html" and suffix not in _PAGES:
        message = f"{url} answers with a web page in place of the file, as if it wanted a login"
        raise ConfigError(message, url=url, content_type=kind)
    coding = (answer.headers.get("Content-Encoding") or "identity").strip().lower()
    if coding != "identity" and _COMPRESSIONS.get(coding) != suffix:
        message = f"{url} comes with Content-Encoding {coding}, which was not asked for"
        raise DataError(message, url=url, coding=coding)


def require_rest(answer: Answer, start: int, total: int | None) -> None:
    """Refuse a part of a file that does not follow what is here.

    Parameters
    ----------
    answer : Answer
        Of status 206.
    start : int
        What is here [byte].
    total : int or None
        Size of the file [byte], if known.

    Raises
    ------
    TryAgainError
        If it begins elsewhere, or is of a file of another size.
    """
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", (answer.headers.get("Content-Range") or "").strip())
    is_rest = found is not None and int(found[1]) == start
    if found is None or not is_rest or (total is not None and found[2] not in ("*", str(total))):
        reason = f"the server sends {answer.headers.get('Content-Range')} in place of the rest from {start}"
        raise TryAgainError(reason)


def validator(answer: Answer) -> str:
    """Return what tells this state of a file from others byte by byte, for If-Range; else an empty text."""
    tag = str(answer.headers.get("ETag") or "").strip()
    if tag:
        return "" if tag.startswith("W/") else tag
    changed = str(answer.headers.get("Last-Modified") or "").strip()
    moments = [_seconds(changed), _seconds(str(answer.headers.get("Date") or ""))]
    if moments[0] is None or moments[1] is None or moments[1] - moments[0] < _VALIDATOR_AGE_S:
        return ""
    return changed


def length(answer: Answer) -> int | None:
    """Return the size of the body [byte], if the server tells it."""
    text = str(answer.headers.get("Content-Length") or "").strip()
    return int(text) if text.isdigit() else None


def retry_after(answer: Answer) -> float:
    """Return how long the server wants to be left alone [s]; 0 if it does not say."""
    text = str(answer.headers.get("Retry-After") or "").strip()
    if text.isdigit():
        return float(text)
    moment = _seconds(text)
    return max(0.0, moment - time.time()) if moment is not None else 0.0


def refusal(answer: Answer, url: str, logins: Logins) -> AstraError:
    """Return the error of an answer that another attempt would not change."""
    status = answer.status
    parts = urlsplit(answer.url)
    led = "" if answer.url == url else f" leads to {answer.url}, which"
    if status == http.client.UNAUTHORIZED:
        host, origin = parts.hostname or "", f"{parts.scheme}://{parts.netloc}".lower()
        why = logins.why_not(origin, host, is_secure=parts.scheme == "https")
        return ConfigError(f"{url}{led} needs a login (HTTP {status}): {why}", url=url, status=status)
    if status == http.client.FORBIDDEN:
        message = (
            f"{url}{led} is forbidden (HTTP {status}): the login of machine {parts.hostname},"
            " if any, does not reach it"
        )
        return ConfigError(message, url=url, status=status)
    if status in (http.client.NOT_FOUND, http.client.GONE):
        return MissingDataError(f"{url}{led} does not exist (HTTP {status})", url=url, status=status)
    return DataError(f"{url}{led} could not be fetched: HTTP {status}", url=url, status=status)


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None
