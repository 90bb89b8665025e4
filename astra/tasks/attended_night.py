"""What the ``luigi`` command shows of a night, if it is asked to: see `astra.tasks.attended`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from astra import config
from astra.tasks.attended import log_to_file
from astra.tasks.closing import RULE, failure_words, has_failed, shown_path, tasks_line
from astra.terminal import escape

if TYPE_CHECKING:
    from astra.database.selection import Selection


class AttendedNight:
    """A task on a night with the switch ``progress``, as part of a task class."""

    instrument: str
    night: int
    progress: bool
    database_url: str
    root: Path

    @property
    def is_attended(self) -> bool:
        """Whether it was asked for."""
        return self.progress

    @property
    def log_path(self) -> Path:
        """Log of Luigi."""
        return self.root / "logs" / f"{Path(self.instrument).name}_{self.night}.log"

    def prepare_command(self) -> None:
        """Send Luigi's log to its file."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        log_to_file(self.log_path)

    def opening_words(self) -> str:
        """Return what stands above the progress."""
        return f"night {self.night} of {escape(self.instrument)}; log {shown_path(self.log_path)}\n"

    def shown_tasks(self, run: Selection) -> Selection:
        """Return the tasks of this run: the database may hold many nights."""
        return run

    def closing_words(self, was_done: bool, run: Selection) -> str:
        """Return how many tasks are done, and the report, or what failed."""
        from astra.database.engine import reading
        from astra.database.queries import family_counts
        from astra.products.layout import report_folder

        if was_done:
            return f"night {self.night} of {escape(self.instrument)} is done already - nothing to do\n"
        if has_failed(self.database_url, run):
            root = {} if self.root == Path.cwd() else {"ASTRA_ROOT": str(config.root())}
            return failure_words(
                self.database_url, self.root, self.log_path, sys.argv[1:], environment=root, selection=run
            )
        with reading(self.database_url) as connection:
            lines = [RULE, tasks_line(family_counts(connection, run))]
        report = report_folder(self.root, self.instrument, self.night) / "index.html"
        if report.is_file():
            lines.append(f"Report   {report.as_uri()}")
        return "".join(f"{line}\n" for line in lines)
