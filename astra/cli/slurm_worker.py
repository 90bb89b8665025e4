"""One worker of ``astra workers --slurm``, in its job: ``python -m astra.cli.slurm_worker FOLDER NUMBER``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from astra.cli import main as run_command
from astra.tasks.job_folders import WORKER_ARGUMENTS, note_worker_ended
from astra.tasks.job_ticket import read_ticket


def main() -> int:
    """Run the worker; return its exit status."""
    folder, number = Path(sys.argv[1]), sys.argv[2]
    read_ticket(folder)
    content = json.loads((folder / WORKER_ARGUMENTS).read_text())
    name = f"slurm-{os.environ.get('SLURM_ARRAY_JOB_ID', folder.name)}_{number}"
    try:
        return run_command(["workers", *content["arguments"], "--name", name])
    finally:
        note_worker_ended(folder, number, content["count"])


if __name__ == "__main__":
    sys.exit(main())
