"""How far the work on many files is, told now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Progress:
    """Files and bytes so far, counted from any thread.

    Parameters
    ----------
    report : callable, optional
        Takes a sentence, now and then.
    n_files : int, optional
        How many there are; 0 if that is not known.
    """

    def __init__(self, report: Callable[[str], None] | None = None, n_files: int = 0) -> None:
        self.report = report
        self.n_files = n_files
        self.n_done = self.n_failed = self.n_bytes = 0
        self._began = self._reported = time.monotonic()
        self._lock = threading.Lock()

    def add_bytes(self, count: int) -> None:
        """Count what has arrived [byte]."""
        with self._lock:
            self.n_bytes += count

    def add_file(self, *, failed: bool = False) -> None:
        """Count a file that has ended."""
        with self._lock:
            self.n_done += 1
            self.n_failed += failed

    def report_if_due(self, interval_s: float) -> None:
        """Tell how far it is, if that was last told so long ago [s]."""
        now = time.monotonic()
        if self.report is not None and now - self._reported >= interval_s:
            self._reported = now
            self.report(self.sentence())

    def report_end(self) -> None:
        """Tell how it has ended, if there was anything to do."""
        if self.report is not None and self.n_done:
            self.report(self.sentence())

    def sentence(self) -> str:
        """Say how far it is."""
        duration_s = max(time.monotonic() - self._began, 1e-3)
        of = f" of {self.n_files}" if self.n_files else ""
        failed = f", {self.n_failed} failed" if self.n_failed else ""
        rate = (
            f"{self.n_bytes / 1e6:.1f} MB in {duration_s:.0f} s, {self.n_bytes / 1e6 / duration_s:.1f} MB/s"
        )
        return f"{self.n_done}{of} files{failed}, {rate}"
