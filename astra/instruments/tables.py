"""Tables of a TOML file whose keys are checked as they are taken.

Whatever is wrong is one sentence that names the file, the table and the key, what was expected and what was
found. The file is the user's: a key that nobody asked for is a mistake, and is never passed over.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from astra.errors import ConfigError

_REQUIRED: Any = object()
_LARGEST_NUMBER = 1e300  # TOML has integers of any length, floats have not


class Table:
    """One table of the file.

    Parameters
    ----------
    values : mapping
        Its content.
    source : str
        Name of the file, for messages.
    place : str
        Name of the table, as in ``exposure`` or ``detectors 3``; empty at the top.
    """

    def __init__(self, values: Mapping[str, Any], source: str, place: str = "") -> None:
        self.values, self.source, self.place = values, source, place
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def has(self, key: str) -> bool:
        """Whether a key that can stand in the table does."""
        self._known.add(key)
        return key in self.values

    def error(self, key: str, expected: str) -> ConfigError:
        """Return the error for the value of a key."""
        where = f"[{self.place}] {key}" if self.place else key
        if key in self.values:
            value = f"{self.values[key]!r}"
            found = value if len(value) <= 200 else f"{value[:200]}..."
        else:
            close = difflib.get_close_matches(
                key, [name for name in self.values if name not in self._known], 1
            )
            found = "nothing" + (f" (is {close[0]!r} meant to be it?)" if close else "")
        message = f"{self.source}: {where} must be {expected}, found {found}"
        return ConfigError(message, file=self.source, table=self.place, key=key)

    def take(self, key: str, default: Any = _REQUIRED, *, expected: str = "given") -> Any:
        """Take a value of any type.

        Raises
        ------
        ConfigError
            If it is absent and has no default.
        """
        if key not in self.values and default is _REQUIRED:
            raise self.error(key, expected)
        self._known.add(key)
        return self.values.get(key, default)

    def text(self, key: str, default: Any = _REQUIRED, *, expected: str = "text that is not empty") -> Any:
        """Take text; ConfigError if it is not, or empty."""
        value = self.take(key, default, expected=expected)
        if key in self.values and (not isinstance(value, str) or not value.strip()):
            raise self.error(key, expected)
        return value

    def choice(self, key: str, options: Sequence[str], default: Any = _REQUIRED) -> Any:
        """Take one of some words."""
        expected = f"one of {', '.join(map(repr, options))}"
        value = self.take(key, default, expected=expected)
        if key in self.values and value not in options:
            raise self.error(key, expected)
        return value

    def number(
        self,
        key: str,
        default: Any = _REQUIRED,
        *,
        low: float = -math.inf,
        high: float = math.inf,
        above: float | None = None,
        unit: str = "",
    ) -> Any:
        """Take a finite number within bounds; ``above`` is a lower bound that is left out itself."""
        expected = describe_number(low if above is None else above, high, unit, is_open=above is not None)
        value = self.take(key, default, expected=expected)
        if key not in self.values:
            return value
        if not is_number(value) or not low <= value <= high or (above is not None and value <= above):
            raise self.error(key, expected)
        return float(value)

    def integer(self, key: str, default: Any = _REQUIRED, *, low: int = 0, high: int = 2**63 - 1) -> Any:
        """Take an integer within bounds."""
        top = "" if high == 2**63 - 1 else f" to {high}"
        expected = f"an integer from {low}{top}" + ("" if top else " up")
        value = self.take(key, default, expected=expected)
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if key in self.values and not (is_integer and low <= value <= high):
            raise self.error(key, expected)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Take true or false."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def items(self, key: str, kind: type | tuple[type, ...], expected: str) -> tuple[Any, ...]:
        """Take a list of values of one type; empty where it is absent."""
        value = self.take(key, [])
        if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
            raise self.error(key, expected)
        return tuple(value)

    def table(self, key: str, *, required: bool = False) -> Table:
        """Take a table; where it is absent and need not be there, an empty one."""
        value = self.take(key, *(() if required else ({},)), expected="a table")
        if not isinstance(value, Mapping):
            raise self.error(key, "a table")
        return Table(value, self.source, f"{self.place}.{key}" if self.place else key)

    def tables(self, key: str, *, required: bool = False) -> list[Table]:
        """Take an array of tables, as of ``[[key]]``; they are counted from 1 in messages."""
        expected = f"an array of tables, written [[{key}]]"
        value = self.take(key, *(() if required else ([],)), expected=expected)
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            raise self.error(key, expected)
        if required and not value:
            raise self.error(key, "an array with a table at least")
        place = f"{self.place}.{key}" if self.place else key
        return [Table(item, self.source, f"{place} {number}") for number, item in enumerate(value, start=1)]

    def only(self, keys: Sequence[str]) -> None:
        """Refuse keys that are none of these, before one of them is missed: it may be one that is misspelt.

        Raises
        ------
        ConfigError
            As `finish`.
        """
        self._known.update(keys)
        self.finish()

    def finish(self) -> None:
        """Refuse keys that nobody asked for; call it when all that can stand in the table were.

        Raises
        ------
        ConfigError
            If there is one; the message lists the names that could have been used.
        """
        for key in self.values:
            if key not in self._known:
                close = difflib.get_close_matches(key, self._known, 1)
                hint = f"{close[0]!r} is" if close else f"known are {', '.join(sorted(self._known))}"
                where = f"[{self.place}] {key}" if self.place else key
                message = f"{self.source}: {where} is not a key of this table; {hint}"
                raise ConfigError(message, file=self.source, table=self.place, key=key)


def is_number(value: object) -> bool:
    """Whether a value is a finite number (and not true or false)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= _LARGEST_NUMBER


def describe_number(low: float, high: float, unit: str, *, is_open: bool = False) -> str:
    """Say which numbers are meant, as in ``a number above 0 [e-/adu]``."""
    lower = f"above {low:g}" if is_open else f"from {low:g}"
    if math.isinf(low):
        bounds = "" if math.isinf(high) else f" up to {high:g}"
    else:
        bounds = f" {lower}" + ("" if math.isinf(high) else f" to {high:g}")
    return f"a number{bounds}" + (f" [{unit}]" if unit else "")
