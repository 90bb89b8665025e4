"""Which database a command looks at."""

from __future__ import annotations

from pathlib import Path

from astra import config
from astra.errors import MissingDataError

SQLITE_PREFIX = "sqlite:///"


def existing_database() -> str:
    """Return the URL of the database; looking at state must not make a new, empty file.

    Raises
    ------
    MissingDataError
        If it is a SQLite file that is not there.
    """
    url = config.database_url()
    path = Path(url.removeprefix(SQLITE_PREFIX))
    if url.startswith(SQLITE_PREFIX) and not path.exists():
        message = f"there is no database {path}; run a task first, or name its folder with --root"
        raise MissingDataError(message, path=str(path))
    return url
