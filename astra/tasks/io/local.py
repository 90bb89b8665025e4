"""A file that others make, by its path alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import luigi

from astra.tasks.base import AstraTask


class LocalTargetTask(AstraTask):
    """A file at a path, that others make."""

    path = luigi.Parameter(batch_method=tuple, description="The file.")

    run: Any = None

    def output(self) -> Any:
        """Return the file, or those of a batch in order."""
        if self.is_batch_mode:
            return [luigi.LocalTarget(path) for path in self.path]
        return luigi.LocalTarget(self.path)

    def why_incomplete(self) -> str:
        """Name the file that is not there."""
        return (
            f"{Path(self.path).absolute()} does not exist"
            if not self.is_batch_mode
            else f"{self!r} misses files"
        )
