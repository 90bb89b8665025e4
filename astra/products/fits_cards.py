"""The cards of a FITS header as plain values, ten times faster than with a header object.

Commentary is left out. What the surveys' headers are known for is forgiven: text that says NaN, numbers that
are no FITS numbers, repeated keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

CARD = 80
_TEXT = re.compile(r" *'((?:[^']|'')*)'")
_COMMENTARY = frozenset({"", "COMMENT", "HISTORY", "CONTINUE", "END"})
_LOGICAL = {"T": True, "F": False}


def parse_cards(header: bytes) -> dict[str, Any]:
    """Return the values of a header by key; the first of a repeated key counts.

    Parameters
    ----------
    header : bytes
        Cards of 80 characters; END and what follows it may be there.

    Returns
    -------
    cards : dict of str to value
        Text without trailing blanks, joined over CONTINUE; bool, int or float; None for a card without
        value. A text that says NaN is a float NaN: cards cannot hold one as a number.
    """
    cards: dict[str, Any] = {}
    for key, field in _fields(header.decode("latin-1")):
        if key not in cards:
            cards[key] = _value(field)
    return cards


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """Yield key and value field of each card; a text is joined over the cards that continue it."""
    key, field = "", ""
    for start in range(0, len(text), CARD):
        card = text[start : start + CARD]
        name = card[:8].rstrip()
        if name == "CONTINUE" and key:
            field = _continued(field, card[8:])
            continue
        if key:
            yield key, field
        key = ""
        if name == "HIERARCH" and "=" in card:
            long, _, field = card[8:].partition("=")
            key = long.strip()
        elif card[8:10] == "= " and name not in _COMMENTARY:
            key, field = name, card[10:]
        elif name == "END":
            return
    if key:
        yield key, field


def _continued(field: str, more: str) -> str:
    """Join a text that ends in an ampersand with the next card's."""
    first, second = _TEXT.match(field), _TEXT.match(more)
    if not first or not second or not first[1].rstrip().endswith("&"):
        return field
    return f"'{first[1].rstrip()[:-1]}{second[1]}'"


def _value(field: str) -> Any:
    """Return the value of a card."""
    found = _TEXT.match(field)
    if found:
        text = found[1].replace("''", "'").rstrip()
        return math.nan if text.strip().lower() == "nan" else text
    text = field.partition("/")[0].strip()
    if not text:
        return None
    return _LOGICAL[text] if text in _LOGICAL else _number(text)


def _number(text: str) -> int | float | str:
    """Return an integer or a real number; what is neither stays text."""
    if "_" in text:  # Python would read it
        return text
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text.upper().replace("D", "E"))
    except ValueError:
        return text
