"""``astra apdb``: find duplicate objects, and correct what is stored: merge, withdraw, reassign, close."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from astra.cli.place import existing_database
from astra.cli.terminal import print_lines
from astra.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

DESCRIPTION = """Corrections delete nothing: they are told in update records to those that copy the database,
and hold when a visit is associated again. Alerts that tell of what has changed are packaged again by the next
run of the tasks that made them."""


def add_commands(commands: Any) -> None:
    """Add ``apdb``."""
    parser = commands.add_parser("apdb", help="correct detections and objects", description=DESCRIPTION)
    inner = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    duplicates = inner.add_parser("duplicates", help="list objects that are one thing on the sky")
    duplicates.add_argument("--ra", type=float, required=True, metavar="DEG", help="middle of where to look")
    duplicates.add_argument("--dec", type=float, required=True, metavar="DEG", help="middle of where to look")
    duplicates.add_argument("--size", type=float, default=0.5, metavar="DEG", help="how far from it [0.5]")
    duplicates.add_argument(
        "--radius", type=float, default=1.0, metavar="ARCSEC", help="largest separation of one thing [1.0]"
    )
    duplicates.set_defaults(function=list_duplicates)
    merge = _correction(inner, "merge", "give all detections of an object to another", merge_two)
    merge.add_argument("duplicate", type=int, metavar="DUPLICATE", help="diaObjectId of what goes")
    merge.add_argument("stays", type=int, metavar="STAYS", help="diaObjectId of what stays")
    withdraw = _correction(inner, "withdraw", "let detections or forced measurements not count", withdraw_all)
    withdraw.add_argument("ids", type=int, nargs="*", metavar="DIASOURCEID", help="detections")
    withdraw.add_argument(
        "--forced",
        type=int,
        nargs=3,
        action="append",
        default=[],
        metavar=("DIAOBJECTID", "VISIT", "DETECTOR"),
        help="a forced measurement",
    )
    reassign = _correction(inner, "reassign", "give detections to another object", reassign_all)
    reassign.add_argument("ids", type=int, nargs="+", metavar="DIASOURCEID", help="detections")
    target = reassign.add_mutually_exclusive_group(required=True)
    target.add_argument("--to-object", type=int, metavar="DIAOBJECTID", help="a current object")
    target.add_argument("--to-body", type=int, metavar="SSOBJECTID", help="a body of the solar system")
    close = _correction(inner, "close", "end the validity of objects", close_all)
    close.add_argument("ids", type=int, nargs="+", metavar="DIAOBJECTID", help="objects")


def _correction(inner: Any, name: str, text: str, function: Callable[..., int]) -> Any:
    """Add a command that corrects."""
    parser = inner.add_parser(name, help=text, description=f"{text.capitalize()}. {DESCRIPTION}")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.set_defaults(function=function)
    return parser


def list_duplicates(options: argparse.Namespace) -> int:
    """Print each duplicate and what it would be merged into."""
    from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d

    from astra.database.apdb import find_duplicate_objects
    from astra.database.engine import reading

    middle = UnitVector3d(LonLat.fromDegrees(options.ra, options.dec))
    region = Circle(middle, Angle.fromDegrees(options.size))
    with reading(existing_database()) as connection:
        found = find_duplicate_objects(connection, region, radius_arcsec=options.radius)
    print_lines(f"{duplicate} is {stays}" for duplicate, stays in sorted(found.items()))
    print(f"astra: duplicates: {len(found)}", file=sys.stderr)
    return 0


def merge_two(options: argparse.Namespace) -> int:
    """Merge an object into another."""
    from astra.database.apdb import merge_objects

    pair = {options.duplicate: options.stays}
    return _correct(
        options,
        lambda connection, how: merge_objects(connection, pair, **how),
        f"merged object {options.duplicate} into {options.stays}",
        objects=[options.duplicate, options.stays],
    )


def withdraw_all(options: argparse.Namespace) -> int:
    """Withdraw detections and forced measurements.

    Raises
    ------
    ConfigError
        If none is named.
    """
    from astra.database.apdb import withdraw_forced_sources, withdraw_sources

    keys = [(one[0], one[1], one[2]) for one in options.forced]
    if not options.ids and not keys:
        raise ConfigError("astra apdb withdraw needs the diaSourceId of a detection, or --forced")

    def change(connection: Connection, how: dict[str, Any]) -> int:
        n_records = withdraw_sources(connection, options.ids, **how)
        return n_records + withdraw_forced_sources(connection, keys, **how)

    what = [f"detection {number}" for number in options.ids]
    what += [f"forced measurement of {key[0]} at visit {key[1]} detector {key[2]}" for key in keys]
    objects = [key[0] for key in keys]
    return _correct(options, change, f"withdrew {', '.join(what)}", objects=objects, sources=options.ids)


def reassign_all(options: argparse.Namespace) -> int:
    """Give detections to another object."""
    from astra.database.apdb import reassign_to_dia_objects, reassign_to_ss_objects

    is_body = options.to_body is not None
    target = options.to_body if is_body else options.to_object
    function = reassign_to_ss_objects if is_body else reassign_to_dia_objects
    listed = ", ".join(map(str, options.ids))
    return _correct(
        options,
        lambda connection, how: function(connection, dict.fromkeys(options.ids, target), **how),
        f"reassigned {listed} to {'body' if is_body else 'object'} {target}",
        objects=[] if is_body else [target],
        sources=options.ids,
    )


def close_all(options: argparse.Namespace) -> int:
    """Close objects."""
    from astra.database.apdb import close_validity

    def change(connection: Connection, how: dict[str, Any]) -> int:
        return close_validity(connection, options.ids, time_mjd_tai=how["time_mjd_tai"])

    listed = ", ".join(map(str, options.ids))
    return _correct(options, change, f"closed object {listed}", objects=options.ids)


def _correct(
    options: argparse.Namespace,
    change: Callable[[Connection, dict[str, Any]], int],
    done: str,
    *,
    objects: Iterable[int],
    sources: Iterable[int] = (),
) -> int:
    """Make a correction under the lock of the APDB, reopen the alerts, and say what was done in one line."""
    from astropy.time import Time

    import astra.tasks  # noqa: F401  # the tasks whose alerts are made again
    from astra.database.apdb import lock
    from astra.database.apdb_concerned import concerned_tasks, owners_of
    from astra.database.engine import transaction
    from astra.sky.light_curve_plugins import DEFAULT_PLUGINS, FURTHER_PLUGINS
    from astra.tasks.reopened_alerts import reopen_alerts_of

    how = {"time_mjd_tai": float(Time.now().tai.mjd), "plugins": (*DEFAULT_PLUGINS, *FURTHER_PLUGINS)}
    with transaction(existing_database()) as connection:
        lock(connection)
        tasks = concerned_tasks(connection, {*objects, *owners_of(connection, sources)}, sources)
        n_records = change(connection, how)
        n_alerts = reopen_alerts_of(connection, tasks) if n_records else 0
        if options.dry_run:
            connection.rollback()
    if not n_records:
        print(f"nothing to do: {done} before")
        return 0
    result = f"update records: {n_records}, visits whose alerts are made again: {n_alerts}"
    print(f"{'would have ' * options.dry_run}{done}; {result}")
    return 0
