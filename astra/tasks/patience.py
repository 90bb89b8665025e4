"""When to try again what did not work, and when to ask again what was answered."""

from __future__ import annotations

import time
from collections.abc import Hashable


class Patience:
    """Delays by key: each failure in a row doubles one, up to a largest.

    Parameters
    ----------
    first_s, longest_s : float
        The first delay and the longest [s].
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._delays: dict[Hashable, float] = {}
        self._next: dict[Hashable, float] = {}

    def is_due(self, key: Hashable) -> bool:
        """Say whether it is time for what has a key."""
        return time.monotonic() >= self._next.get(key, 0.0)

    def put_off(self, key: Hashable) -> float:
        """Put off what has failed; return the delay [s]."""
        last = self._delays.get(key)
        delay = self._first_s if last is None else min(2 * last, self._longest_s)
        self._delays[key] = delay
        self._next[key] = time.monotonic() + delay
        return delay

    def succeed(self, key: Hashable, pause_s: float = 0.0) -> None:
        """Forget failures; it is time again after a pause [s]."""
        self._delays.pop(key, None)
        self._next[key] = time.monotonic() + pause_s
