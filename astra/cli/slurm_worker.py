"""One worker of ``astra workers --slurm``, in its job: ``python -m astra.cli.slurm_worker FOLDER NUMBER``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from astra.cli import main as run_command
from astra.cli.slurm_workers import ARGUMENTS
from astra.tasks.job_ticket import read_ticket


def main() -> int:
    """Run the worker; return its exit status."""
    folder, number = Path(sys.argv[1]), sys.argv[2]
    read_ticket(folder)
    arguments = json.loads((folder / ARGUMENTS).read_text())
    name = f"slurm-{os.environ.get('SLURM_ARRAY_JOB_ID', folder.name)}_{number}"
    return run_command(["workers", *arguments, "--name", name])


if __name__ == "__main__":
    sys.exit(main())
