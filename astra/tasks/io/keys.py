"""Parameters that are keys of paths: the same whether they come as number or as text."""

from __future__ import annotations

import numbers
from typing import Any

import luigi

from astra.tasks.parameters import IdParameter


class NameKey(luigi.Parameter):
    """A key that is text in a path, as the name of a field; a number stands for its digits. Batchable."""

    def __init__(self, *args: Any, batch_method: Any = tuple, **kwargs: Any) -> None:
        super().__init__(*args, batch_method=batch_method, **kwargs)

    def normalize(self, value: Any) -> Any:
        """Make text of a number."""
        return str(value) if isinstance(value, numbers.Number) else value


class NumberKey(IdParameter):
    """A key that is a number in a path, as a night; text and numbers of tables stand for it. Batchable."""

    def normalize(self, value: Any) -> Any:
        """Make a number of text or of a number of a table; what is none is for the path to refuse."""
        if isinstance(value, numbers.Integral):
            return int(value)
        text = str(value).strip()
        return int(text) if text.isascii() and text.isdigit() else value
