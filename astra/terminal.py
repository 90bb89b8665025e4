"""Text as it may reach a terminal: without control characters, as tables, and as words of a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence


def escape(text: object, keep: str = "") -> str:
    r"""Write what is not printable as ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``.

    Messages, parameters and tracebacks come from anywhere; raw, their escape sequences would move the cursor,
    rename the window or hide text.

    Parameters
    ----------
    text : object
        Anything that has a text form.
    keep : str, optional
        Control characters to leave, such as a line feed in a traceback.
    """
    return "".join(
        character if character.isprintable() or character in keep else _code(character)
        for character in str(text)
    )


def _code(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def shell_word(text: str) -> str:
    r"""Quote a word for a POSIX shell; one with control characters as ``$'...'``, which bash and zsh read."""
    if text.isprintable():
        return shlex.quote(text)
    parts = []
    for character in text:
        if character in "'\\":
            parts.append("\\" + character)
        elif character.isprintable():
            parts.append(character)
        else:
            parts.extend(f"\\{byte:03o}" for byte in character.encode(errors="surrogateescape"))
    return f"$'{''.join(parts)}'"


def table_lines(header: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """Align a table; columns of numbers stand at the right, text at the left."""
    texts = [[escape("" if cell is None else cell) for cell in row] for row in (header, *(list(rows)))]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [all(map(_is_number, column[1:])) and len(texts) > 1 for column in zip(*texts, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in texts
    ]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[\d.]*(e[-+]?\d+)?", text) is not None
