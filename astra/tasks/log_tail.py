"""What is logged while an attempt at a task runs, in the process that runs it: the last lines, for its row.

Records are taken where a logger hands them to its handlers, behind its level and its filters. A handler on
the root logger would miss what loggers keep to themselves, and would change the console by being there:
`logging.basicConfig` does nothing where there is a handler, and where nobody has set up logging warnings are
shown only for as long as there is none.
"""

from __future__ import annotations

import functools
import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from astra.tasks.plain import plain_text
from astra.tasks.runner import mask_passwords

MAX_LINES = 100
MAX_BYTES = 16_000

# As in 2025-11-20T03:04:05.678Z INFO astra.demo: text
_formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
_formatter.converter = time.gmtime
_formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
_formatter.default_msec_format = "%s.%03dZ"

_current: LogTail | None = None


class LogTail:
    """The last lines of an attempt; of a batch also those of the member that is at work."""

    def __init__(self) -> None:
        self._own: deque[str] = deque(maxlen=MAX_LINES)
        self._lines = self._own

    def add(self, record: logging.LogRecord) -> None:
        """Keep a record with the member that is at work, else with the attempt itself."""
        try:
            text = _formatter.format(record)
        except Exception as exc:  # noqa: BLE001  # logging never fails what logs; its handlers have told of it
            text = f"{record.levelname} {record.name}: a message that cannot be written: {type(exc).__name__}"
        if len(text) > MAX_BYTES:  # [character] cut between words: half a URL would show its password
            text = text[-MAX_BYTES:].split(None, 1)[-1]
        self._lines.append(text)

    def begin_member(self) -> None:
        """Give a member of the batch what is logged from now on."""
        self._lines = deque(maxlen=MAX_LINES)

    def end_member(self, last: logging.LogRecord | None = None) -> str | None:
        """Return the log of the member that was at work, with a last record; None if it has none."""
        if self._lines is self._own:
            return None
        if last is not None:
            self.add(last)
        lines, self._lines = self._lines, self._own
        return _joined(lines)

    def end(self, last: logging.LogRecord | None = None) -> str | None:
        """Return the log of the attempt itself, with a last record; None if there is none."""
        if last is not None:
            self.add(last)
        return _joined(self._own)


@contextmanager
def capture_log() -> Iterator[LogTail]:
    """Keep the last lines of what any logger lets through in this process, from any thread.

    Within another attempt, whose task runs others, what they log is theirs alone.
    """
    global _current  # noqa: PLW0603  # one per process: threads that a task starts are part of it
    _tap_loggers()
    before = _current
    _current = tail = LogTail()
    try:
        yield tail
    finally:
        _current = before


@functools.cache
def _tap_loggers() -> None:
    """Pass what loggers hand to their handlers on to the running attempt; once, for the rest of the process.

    It is not taken out again: others may have wrapped the same method since.
    """
    hand_over = logging.Logger.callHandlers

    @functools.wraps(hand_over)
    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        hand_over(self, record)
        if _current is not None:
            _current.add(record)

    setattr(logging.Logger, "callHandlers", call_handlers)  # noqa: B010  # mypy refuses the assignment


def _joined(lines: deque[str]) -> str | None:
    """Join the last lines, as many as may be stored, without passwords."""
    if not lines:
        return None
    kept: list[str] = []
    length = 0
    for line in reversed(list(lines)):  # a list, as a thread may still log
        kept.append(line)
        length += len(line)
        if length > MAX_BYTES:
            break
    text = plain_text(mask_passwords("\n".join(reversed(kept))))
    text = "\n".join(text.split("\n")[-MAX_LINES:])
    content = text.encode()
    if len(content) <= MAX_BYTES:
        return text
    cut = content[-MAX_BYTES:]
    head, _, rest = cut.partition(b"\n")
    return (rest or head).decode(errors="ignore")
