"""What a run that waits for others tells now and then: how much is left, and who works on it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

FIRST_S = 30.0  # of waiting, after which it is told
LONGEST_S = 600.0  # between two lines
MAX_NAMES = 5

logger = logging.getLogger("luigi-interface")


class WaitingLines:
    """Lines in the log, at growing intervals for as long as nothing changes.

    Parameters
    ----------
    clock : callable, optional
        Returns the time [s].
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.stop()

    def stop(self) -> None:
        """Note that this worker has something to do."""
        self._due: float | None = None
        self._interval_s = FIRST_S

    def tell(self, sentence: Callable[[], str]) -> None:
        """Note that it waits; log the sentence if it is time to."""
        now = self._clock()
        if self._due is None:
            self._due = now + self._interval_s
        if now >= self._due:
            logger.warning("%s", sentence())
            self._interval_s = min(2 * self._interval_s, LONGEST_S)
            self._due = now + self._interval_s


def what_is_awaited(n_left: int, work: Mapping[str, Any] | None, *, plans_only: bool) -> str:
    """Say what a worker waits for.

    Parameters
    ----------
    n_left : int
        Tasks that are not done.
    work : mapping or None
        What `astra.scheduler.goings_on.GoingsOn.who_works` returns; None if the scheduler does not say.
    plans_only : bool
        Whether the worker runs nothing itself.
    """
    left = f"waiting: {n_left} task{'s are' if n_left != 1 else ' is'} left"
    if work is None:
        return left
    if work["running"]:
        return f"{left}, {sum(work['running'].values())} run elsewhere: {_named(work['running'])}"
    if work["connected"]:
        return (
            f"{left} and none runs, with {len(work['connected'])} other workers: {_named(work['connected'])}"
        )
    if not plans_only:
        return f"{left}, and none may run now"
    return f"{left}, and no worker is connected to run them; begin some with: astra workers"


def _named(found: Any) -> str:
    """List names, with numbers if there are any."""
    names = [f"{name} {found[name]}" if isinstance(found, Mapping) else name for name in found]
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
