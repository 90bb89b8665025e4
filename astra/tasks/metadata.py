"""What a task notes about its own work: ordered, typed, repeatable items, and the timer that adds to them."""

from __future__ import annotations

import datetime as dt
import json
import logging
import math
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Scalar = str | int | float | bool

# getrusage gives kibibytes on Linux and bytes on macOS.
_MAX_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class Metadata:
    """Items in the order in which they were first added; a name may have several values of one type.

    A name may have parts, as in ``fit.nIter``: they tell the step from the item.

    Examples
    --------
    >>> items = Metadata()
    >>> items.add("nIter", 3)
    >>> items.add("nIter", 5)
    >>> items["nIter"]
    [3, 5]
    """

    def __init__(self, items: Mapping[str, Any] | None = None) -> None:
        self._values: dict[str, list[Scalar]] = {}
        for name, value in (items or {}).items():
            for one in value if isinstance(value, (list, tuple)) else [value]:
                self.add(name, one)

    def add(self, name: str, value: Any) -> None:
        """Append a value to what a name has.

        Parameters
        ----------
        name : str
            Name of the item.
        value : str, int, float or bool
            The value; a numpy scalar becomes the Python type, a whole number among floats a float.

        Raises
        ------
        TypeError
            If the value is no scalar, or of another type than those that the name has.
        """
        scalar = _scalar(name, value)
        values = self._values.get(name, [])
        kind = type(values[0]) if values else type(scalar)
        if kind is float and type(scalar) is int:
            scalar = float(scalar)
        if type(scalar) is not kind:
            message = f"metadata {name!r} holds {kind.__name__}, but {scalar!r} is {type(scalar).__name__}"
            raise TypeError(message)
        self._values.setdefault(name, values).append(scalar)

    def __setitem__(self, name: str, value: Any) -> None:
        """Replace what a name has by one value."""
        scalar = _scalar(name, value)
        self._values[name] = [scalar]

    def __getitem__(self, name: str) -> Scalar | list[Scalar]:
        """Value of a name; a list if it was added more than once."""
        values = self._values[name]
        return values[0] if len(values) == 1 else list(values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Metadata) and list(self._values.items()) == list(other._values.items())

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Metadata({self.as_dict()!r})"

    def get_array(self, name: str) -> list[Scalar]:
        """Return all values of a name, in order; none if it was never added."""
        return list(self._values.get(name, []))

    def get_scalar(self, name: str) -> Scalar:
        """Return the value of a name that was added last."""
        return self._values[name][-1]

    def items(self) -> Iterator[tuple[str, Scalar | list[Scalar]]]:
        """Yield the names with what they have."""
        for name in self._values:
            yield name, self[name]

    def clear(self) -> None:
        """Forget all items."""
        self._values.clear()

    def as_dict(self) -> dict[str, Scalar | list[Scalar]]:
        """Return the items by name."""
        return dict(self.items())

    def as_json(self) -> dict[str, Any]:
        """Return the items by name as strict JSON has them: what is not finite is null."""
        return {name: _finite(value) for name, value in self.items()}

    def to_json(self) -> str:
        """Write the items as one JSON object."""
        return json.dumps(self.as_json(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Metadata:
        """Read what `to_json` wrote; null is NaN."""

        def number(value: Any) -> Any:
            return math.nan if value is None else value

        return cls(
            {
                name: [number(one) for one in value] if isinstance(value, list) else number(value)
                for name, value in json.loads(text).items()
            }
        )


def _scalar(name: str, value: Any) -> Scalar:
    """Make a value one of the four types, or refuse it."""
    plain = value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
    if isinstance(plain, (str, bool, int, float)):
        for kind in (bool, int, float, str):
            if isinstance(plain, kind):
                return kind(plain)
    message = f"metadata {name!r} must be text, a number or a truth value, not {type(value).__name__}"
    raise TypeError(message)


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def resources() -> dict[str, Scalar]:
    """Return the clock and what this process has used so far.

    Returns
    -------
    used : dict
        ``Utc`` (ISO 8601 with its offset), ``CpuTime`` [s], ``UserTime`` [s], ``SystemTime`` [s] and
        ``MaxResidentSetSize`` [byte].
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "Utc": dt.datetime.now(dt.UTC).isoformat(),
        "CpuTime": time.process_time(),
        "UserTime": usage.ru_utime,
        "SystemTime": usage.ru_stime,
        "MaxResidentSetSize": usage.ru_maxrss * _MAX_RSS_UNIT_BYTES,
    }


@contextmanager
def timer(
    name: str,
    *,
    metadata: Metadata | None = None,
    logger: logging.Logger | None = None,
    log_level: int = logging.DEBUG,
) -> Iterator[Metadata]:
    """Note the resources used before and after a block, also if it raises.

    Parameters
    ----------
    name : str
        What is timed: its items are ``<name>StartUtc``, ``<name>StartCpuTime`` [s] ... and
        ``<name>EndUtc`` ...; see `resources`.
    metadata : Metadata, optional
        Where they are added.
    logger : logging.Logger, optional
        Where they are logged too.
    log_level : int, optional
        At which level.

    Yields
    ------
    metadata : Metadata
        Where the items are.
    """
    kept = Metadata() if metadata is None else metadata
    log = logger or logging.getLogger("timer.astra")
    _note(kept, log, log_level, f"{name}Start")
    try:
        yield kept
    finally:
        _note(kept, log, log_level, f"{name}End")


def _note(metadata: Metadata, logger: logging.Logger, log_level: int, prefix: str) -> None:
    used = resources()
    for item, value in used.items():
        metadata.add(prefix + item, value)
    if logger.isEnabledFor(log_level):
        text = "; ".join(f"{prefix}{item}={value}" for item, value in used.items())
        logger.log(log_level, "%s", text)
