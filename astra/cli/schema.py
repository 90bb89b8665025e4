"""``astra db``: the database and its revision."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from astra import config
from astra.cli.place import existing_database
from astra.cli.terminal import escape, print_json, print_lines


def add_commands(commands: Any) -> None:
    """Add ``db`` and its actions."""
    database = commands.add_parser("db", help="the state database")
    actions = database.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, function, text in (
        ("upgrade", upgrade_database, "create the tables, or move them to the revision of this code"),
        ("current", print_revision, "print the revision of the database and that of this code"),
        ("check", check_schema, "compare the tables with what this code needs; exit with 1 if they differ"),
        ("url", print_url, "print the URL of the database, its password masked"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.set_defaults(function=function)
        if name != "upgrade":
            action.add_argument("--json", action="store_true", help="print JSON")
    text = "print the reference of all tables and columns as Markdown"
    reference = actions.add_parser("reference", help=text, description=text)
    reference.set_defaults(function=print_reference)


def upgrade_database(_options: argparse.Namespace) -> None:
    """Move the database to the revision of this code."""
    from astra.database.engine import mask_url, open_engine
    from astra.database.revision import current_revision, head_revision, upgrade

    url = config.database_url()
    engine = open_engine(url)
    before = current_revision(engine)
    upgrade(engine)
    engine.dispose()
    print(f"database {escape(mask_url(url))}: revision {escape(before or 'none')} -> {head_revision()}")


def print_revision(options: argparse.Namespace) -> None:
    """Print the revision of the database and that of this code."""
    from astra.database.engine import mask_url, open_engine
    from astra.database.revision import current_revision, head_revision

    url = existing_database()
    engine = open_engine(url)
    found = current_revision(engine)
    engine.dispose()
    if options.json:
        print_json({"database": mask_url(url), "revision": found, "needed": head_revision()})
        return
    found = escape(found or "none")
    print(f"database {escape(mask_url(url))}: revision {found}, this code needs {head_revision()}")


def check_schema(options: argparse.Namespace) -> int:
    """Print how the tables differ from the models; return 1 if they do."""
    from astra.database.engine import closing_on_error, mask_url, open_engine
    from astra.database.revision import require_current, schema_differences

    url = existing_database()
    with closing_on_error(open_engine(url)) as engine:
        require_current(engine)
        differences = schema_differences(engine)
        engine.dispose()
    if options.json:
        print_json({"database": mask_url(url), "differences": differences})
    else:
        print_lines(map(escape, differences))
        verdict = (
            f"differs from this code in {len(differences)} places" if differences else "is as it must be"
        )
        print(f"database {escape(mask_url(url))} {verdict}", file=sys.stderr)
    return 1 if differences else 0


def print_url(options: argparse.Namespace) -> None:
    """Print the URL of the database without its password."""
    from astra.database.engine import mask_url

    url = mask_url(config.database_url())
    if options.json:
        print_json({"database": url})
    else:
        print(escape(url))


def print_reference(_options: argparse.Namespace) -> None:
    """Print what tables and columns mean."""
    from astra.alerts.schemas import load_record_schema
    from astra.database.reference import make_reference

    fields = {
        (f"D{record[1:]}", field["name"]): field.get("doc", "")
        for record in ("diaObject", "diaSource", "diaForcedSource")
        for field in load_record_schema(record)["fields"]
    }
    print(make_reference(fields), end="")
