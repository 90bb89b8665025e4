"""What the command prints: text without control characters, tables, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from astra.cli.moments import plain_json
from astra.terminal import escape, shell_word, table_lines

__all__ = ["escape", "print_json", "print_lines", "shell_word", "table_lines"]


def print_lines(lines: Iterable[str]) -> None:
    """Print lines to standard output."""
    for line in lines:
        print(line)


def print_json(value: Any, indent: int | None = 2) -> None:
    """Print JSON, in ASCII: control characters are escaped by JSON itself."""
    print(json.dumps(value, indent=indent, default=plain_json), flush=True)
