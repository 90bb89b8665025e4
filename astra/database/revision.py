"""The revision of a database, and moving it to that of the code.

Every process looks at the revision of its database, and alembic takes longer to import than a command to
answer, so that it is imported only where a database is migrated or compared.
"""

from __future__ import annotations

import fcntl
import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import DatabaseError

from astra.database.engine import mask_url
from astra.errors import SchemaVersionError, UnavailableError

if TYPE_CHECKING:
    from alembic.config import Config

NEW_SQLITE = "new_sqlite.sql"


def migrations_folder() -> Path:
    """Return the folder of the migrations: in the package, or beside it in a plain checkout."""
    try:
        module = importlib.import_module("astra.migrations")
    except ModuleNotFoundError:
        return Path(__file__).resolve().parents[2] / "migrations"
    return Path(str(module.__file__)).parent


def _config(connection: Connection | None = None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@cache
def _revisions() -> tuple[str, ...]:
    """Return all revisions that this code knows, in their order: files of migrations begin with theirs."""
    files = (migrations_folder() / "versions").glob("[0-9]*_*.py")
    return tuple(sorted(path.name.partition("_")[0] for path in files))


def head_revision() -> str:
    """Return the revision that this code needs."""
    if not _revisions():
        message = f"no migrations found in {migrations_folder()}; reinstall astra-pipeline"
        raise SchemaVersionError(message)
    return _revisions()[-1]


def current_revision(engine: Engine) -> str | None:
    """Return the revision of a database; None if it has never been migrated.

    Raises
    ------
    UnavailableError
        If the database cannot be read.
    """
    try:
        with engine.execution_options(astra_read_only=True).connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            return None if found is None else str(found)
    except DatabaseError as exc:
        reason = str(exc.orig).strip().splitlines()[0]
        url = mask_url(engine.url.render_as_string(hide_password=False))
        message = f"database {url} cannot be read: {reason}"
        raise UnavailableError(message, url=url) from exc


def upgrade(engine: Engine) -> None:
    """Move a database to the revision of the code, in one transaction.

    Raises
    ------
    SchemaVersionError
        If it is at a revision that this code does not know.
    """
    revision = current_revision(engine)
    if revision is not None and not _is_known(revision):
        raise _wrong_revision(engine, revision)
    from alembic import command

    with _exclusive(engine), engine.begin() as connection:
        command.upgrade(_config(connection), "head")


def require_head(engine: Engine) -> None:
    """Make sure that a database is at the revision of the code; migrate it if it is a new SQLite file.

    Raises
    ------
    SchemaVersionError
        If it is at another revision; the message names the command that mends it.
    UnavailableError
        If it cannot be read.
    """
    if engine.dialect.name == "sqlite" and current_revision(engine) is None:
        _migrate_if_new(engine)
    require_current(engine)


def require_current(engine: Engine) -> None:
    """Make sure that a database is at the revision of the code, and change nothing.

    Raises
    ------
    SchemaVersionError
        If it is at another revision; the message names the command that mends it.
    UnavailableError
        If it cannot be read.
    """
    revision = current_revision(engine)
    if revision != head_revision():
        raise _wrong_revision(engine, revision)


def schema_differences(engine: Engine) -> list[str]:
    """Say how the tables of a database differ from the models, a sentence each; nothing if they are equal.

    Tables that astra does not know are somebody else's, and no difference.
    """
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from astra.database.models import metadata

    def is_ours(_item: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
        return kind != "table" or name in metadata.tables

    with engine.execution_options(astra_read_only=True).connect() as connection, warnings.catch_warnings():
        # SQLite does not tell of what an index on an expression is.
        warnings.filterwarnings("ignore", message=".*expression-based index")
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": is_ours}
        )
        found = compare_metadata(context, metadata)
    steps = [step for item in found for step in (item if isinstance(item, list) else [item])]
    return [_describe(step) for step in steps]


def _describe(step: tuple[Any, ...]) -> str:
    """Say in a sentence what a step of alembic's comparison would do."""
    kind, *details = step
    if kind.startswith("modify_"):
        _, table, column, _, found, needed = details
        what = kind.removeprefix("modify_")
        return f"column {table}.{column}: its {what} is {found!r}, this code needs {needed!r}"
    item = details[-1]
    table = getattr(item, "table", None)
    name = getattr(item, "name", None) or ", ".join(column.name for column in getattr(item, "columns", ()))
    owner = table.name if table is not None and table is not item else ""
    if kind in ("add_column", "remove_column"):
        owner = details[1]
    what = kind.partition("_")[2]
    problem = "is missing" if kind.startswith("add") else "is not known to this code"
    return f"{what} {owner + '.' if owner else ''}{name} {problem}"


def _is_known(revision: str) -> bool:
    """Say whether the code has a revision."""
    return revision in _revisions()


def _wrong_revision(engine: Engine, revision: str | None) -> SchemaVersionError:
    """Say what the database is, what the code needs, and what to do."""
    found = "has no astra tables" if revision is None else f"is at revision {revision}"
    remedy = f"this code needs {head_revision()}; run: astra db upgrade"
    if revision is not None and not _is_known(revision):
        remedy = (
            f"this code needs {head_revision()} and does not know the other; install the astra that made it"
        )
    url = mask_url(engine.url.render_as_string(hide_password=False))
    message = f"database {url} {found}, {remedy}"
    return SchemaVersionError(message, url=url, found=revision, expected=head_revision())


def _migrate_if_new(engine: Engine) -> None:
    """Make the tables of a SQLite file that has none; one process does it, the others find it done."""
    with _exclusive(engine), engine.begin() as connection:
        if not inspect(connection).get_table_names():
            for statement in new_sqlite_statements():
                connection.exec_driver_sql(statement)


def new_sqlite_statements() -> list[str]:
    """Return the statements that make of an empty SQLite file what all migrations make of it, but at once."""
    text = (migrations_folder() / NEW_SQLITE).read_text()
    return text.removesuffix(";\n").split(";\n\n")


@contextmanager
def _exclusive(engine: Engine) -> Iterator[None]:
    """Let one process at a time migrate a SQLite file; other databases lock by themselves."""
    path = engine.url.database
    if engine.dialect.name != "sqlite" or not path or path == ":memory:":
        yield
        return
    with Path(path + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
