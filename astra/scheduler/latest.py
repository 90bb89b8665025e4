"""Of the lines of a journal those that still hold: of each task what was written last.

While workers plan and run, each task is written several times. To tell which line is of which task takes a
look at its beginning; only the last ones are decoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

OF_TASK = b'{"t":"'
AFTER_ID = b'","s":"'
WHAT = b'"what":{'
MAX_STATUS = 20  # characters of a status with its quotes and comma, behind which the rest of a line begins


class LatestLines:
    """The last lines of each task, as `astra.scheduler.records.Writer` makes them."""

    def __init__(self) -> None:
        self._what: dict[bytes, bytes] = {}  # by the id as it stands in the line: what a task is
        self._how: dict[bytes, bytes] = {}  # and how it stands
        self._n_other = 0

    @property
    def size(self) -> int:
        """Length of the lines that still hold [B], about."""
        behind = (text for key, text in self._how.items() if self._what.get(key) is not text)
        return self._n_other + sum(map(len, self._what.values())) + sum(map(len, behind))

    def take(self, text: bytes) -> Any:
        """Take a line; return its change, if it is not of a task."""
        end = text.find(AFTER_ID, len(OF_TASK)) if text.startswith(OF_TASK) else -1
        if end > 0:
            key = text[len(OF_TASK) : end]
            begin = end + len(AFTER_ID)
            if text.find(WHAT, begin, begin + MAX_STATUS + len(WHAT)) > 0:
                self._what[key] = text
            self._how[key] = text
            return None
        change = json.loads(text)
        self._n_other += len(text)
        for task_id in change.get("gone", ()):
            key = json.dumps(task_id)[1:-1].encode()
            self._what.pop(key, None)
            self._how.pop(key, None)
        return change

    def changes(self) -> Iterator[Any]:
        """Yield the changes of the tasks, in the order in which these came."""
        for key, how in self._how.items():
            what = self._what.get(key, how)
            yield json.loads(what)
            if what is not how:
                yield json.loads(how)
