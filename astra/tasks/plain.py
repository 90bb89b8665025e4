"""Values and texts as every database takes them."""

from __future__ import annotations

import math
from typing import Any


def plain_text(text: str) -> str:
    """Return a text without NUL and without bytes that were no UTF-8; both are spelled out."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def plain_value(value: Any) -> Any:
    """Return a number, text, list or mapping fit for JSON: numpy scalars plain, what is not finite None."""
    if isinstance(value, dict):
        return {plain_text(str(key)): plain_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (int, bool, type(None))) else plain_text(str(value))
