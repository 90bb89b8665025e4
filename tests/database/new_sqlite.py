"""The statements of a new SQLite file, as the migrations leave it.

``python -m tests.database.new_sqlite`` writes them again, which each new migration needs.
"""

import re
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from astra.database.engine import open_engine
from astra.database.revision import NEW_SQLITE, migrations_folder, upgrade

ORDER = ("CREATE TABLE", "INSERT INTO", "CREATE INDEX", "CREATE VIEW")


def migrated_statements():
    """Statements that make a SQLite file as all migrations leave it, with its rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "migrated.db"
        engine = open_engine(f"sqlite:///{path}")
        upgrade(engine)
        engine.dispose()
        with closing(sqlite3.connect(path)) as connection:
            return statements_of(connection)


def statements_of(connection):
    """Statements that make the tables, rows, indexes and views of a SQLite file, sorted."""
    dump = (re.sub(r"\s*\n\s*", "\n    ", text.expandtabs(4)) for text in connection.iterdump())
    lines = [text.replace("\n    )", "\n)").removesuffix(";").strip() for text in dump]
    return sorted((text for text in lines if text not in {"BEGIN TRANSACTION", "COMMIT"}), key=place)


def place(statement):
    """Where a statement comes: after what it needs."""
    return [statement.startswith(f"{what} ") for what in ORDER].index(True), statement


if __name__ == "__main__":
    (migrations_folder() / NEW_SQLITE).write_text(";\n\n".join(migrated_statements()) + ";\n")
