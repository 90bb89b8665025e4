"""Parameter types that Luigi lacks."""

from __future__ import annotations

import os
from typing import Any

import luigi

from astra.tasks.batch import Crossed
from astra.tasks.id_ranges import read_ids


class PathParameter(luigi.Parameter):
    """A file or folder, kept as an absolute path; empty stays empty."""

    def normalize(self, value: Any) -> Any:
        """Make one path, or each of a tuple, absolute."""
        if isinstance(value, (list, tuple)):
            return tuple(self.normalize(item) for item in value)
        return os.path.abspath(os.path.expanduser(value)) if value else value


class PathsParameter(luigi.Parameter):
    """Files or folders, separated by colons as in PATH; kept as absolute paths."""

    def normalize(self, value: Any) -> Any:
        """Make each path absolute."""
        if isinstance(value, (list, tuple)):
            value = os.pathsep.join(map(str, value))
        paths = [os.path.abspath(os.path.expanduser(item)) for item in value.split(os.pathsep) if item]
        return os.pathsep.join(paths)


class IdParameter(luigi.IntParameter):
    """The number of a visit, a detector or the like, or of many; batchable, unless ``batch_method`` is None.

    In text one number, ranges as in ``1..62^70`` or ``1..9:2``, or a JSON list. Ranges are combined with all
    values of the other batch parameters, while lists pair up entry by entry.
    """

    text_form = "one value, ranges as in 1..62^70 or a JSON list of values"

    def __init__(self, *args: Any, batch_method: Any = tuple, **kwargs: Any) -> None:
        super().__init__(*args, batch_method=batch_method, **kwargs)

    def parse_text(self, text: str) -> Any:
        """Read one number, or ranges; what has only one number is that number.

        Raises
        ------
        ValueError
            If a part is neither a number nor a range.
        """
        numbers = read_ids(text)
        return numbers[0] if len(numbers) == 1 else Crossed(numbers)


class IdsParameter(luigi.Parameter):
    """A set of identifiers in one word, as in ``12^15^20..22``: kept sorted, without ranges.

    The value is text, so that a tuple of them is a batch of sets.
    """

    def parse(self, text: str) -> str:
        """Read ``a^b`` and inclusive ranges ``a..b``.

        Raises
        ------
        ValueError
            If a part is neither a number nor a range.
        """
        return str(self.normalize(text))

    def normalize(self, value: Any) -> Any:
        """Sort and join the identifiers; of a tuple, each."""
        if isinstance(value, (list, tuple)):
            return tuple(self.normalize(item) for item in value)
        if isinstance(value, int):
            return str(value)
        return "^".join(map(str, sorted(read_ids(value)))) if value.strip() else ""

    @staticmethod
    def ids(value: str) -> list[int]:
        """Return the identifiers of a value."""
        return [int(part) for part in value.split("^")] if value else []
