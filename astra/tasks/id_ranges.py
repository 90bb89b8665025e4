"""Identifiers in one word, as in ``1..62^70``: numbers and inclusive ranges, joined by ``^``.

This is the one grammar for all that names data by number: the id parameters of tasks, sets of visits, and the
``--id`` of `astra.tasks.task_command`.
"""

from __future__ import annotations

import re

MAX_IDS = 10_000_000  # of one word, and of the members that ranges may make

_NUMBER = r"\s*([-+]?\d+)\s*"
_PART = re.compile(rf"{_NUMBER}(?:\.\.{_NUMBER}(?::\s*(\d+)\s*)?)?")


def is_range(part: str) -> bool:
    """Say whether a part has the form ``a..b`` or ``a..b:stride``."""
    found = _PART.fullmatch(part)
    return found is not None and found[2] is not None


def read_range(part: str) -> range:
    """Read ``a``, ``a..b`` or ``a..b:stride``; both ends are included.

    Raises
    ------
    ValueError
        If it is none of them, ends before it begins, or holds more than `MAX_IDS`.
    """
    found = _PART.fullmatch(part)
    if found is None:
        message = f"{part!r} is neither an identifier nor a range as in 3..7 or 1..9:2"
        raise ValueError(message)
    first, last, stride = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
    if stride < 1:
        message = f"the stride of {part!r} must be at least 1"
        raise ValueError(message)
    if last < first:
        message = f"the range {part!r} is empty: it must not end before it begins"
        raise ValueError(message)
    check_count((last - first) // stride + 1)
    return range(first, last + 1, stride)


def read_ids(text: str) -> list[int]:
    """Read parts joined by ``^``: each identifier once, in the order in which they stand.

    Raises
    ------
    ValueError
        If a part cannot be read, or there are more than `MAX_IDS`.
    """
    ranges = [read_range(part) for part in text.split("^")]
    check_count(sum(map(len, ranges)))
    if len(ranges) == 1:
        return list(ranges[0])
    return list(dict.fromkeys(number for one in ranges for number in one))


def check_count(count: int) -> None:
    """Refuse more identifiers, or combinations of them, than a batch may have.

    Raises
    ------
    ValueError
        If there are more than `MAX_IDS`.
    """
    if count > MAX_IDS:
        message = f"ranges may make {MAX_IDS} members at most, not {count}"
        raise ValueError(message)
