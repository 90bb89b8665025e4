"""The Avro schemas of the alert packets: versioned files, loaded and parsed once per process.

Rubin's versions are written ``major.minor``; a minor version only adds fields that may be null. Ours are
written ``astra-major.minor``: all fields of one of Rubin's, in their order, so that a reader of that version
takes them, and then our own.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, cast

import fastavro.schema

from astra.errors import AlertError

LATEST_VERSION = "11.1"
OWN_VERSION = "astra-1.0"
_OWN_IDS = 1_000_000  # above all that Rubin's numbering reaches
_FOLDER = Path(__file__).parent / "schema"
_VERSION = re.compile(r"(?P<own>astra-)?(?P<major>\d{1,4})\.(?P<minor>\d{1,2})", re.ASCII)
_FILE = re.compile(r"(?P<space>lsst|astra)\.v(?P<major>\d+)_(?P<minor>\d+)\.alert\.avsc")

Schema = dict[str, Any]


def schema_id(version: str = LATEST_VERSION) -> int:
    """Return the number of a version on the wire: 100 * major + minor, for ours above a million.

    Raises
    ------
    ValueError
        If the version is not ``major.minor``, with minor below 100.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        example = f"for example 11.1 or {OWN_VERSION}"
        message = f"a schema version is written as major.minor, {example}, found {version!r}"
        raise ValueError(message)
    return (_OWN_IDS if match["own"] else 0) + 100 * int(match["major"]) + int(match["minor"])


def schema_version(number: int) -> str:
    """Return the version of a number on the wire; the inverse of `schema_id`."""
    own, number = ("astra-", number - _OWN_IDS) if number >= _OWN_IDS else ("", number)
    return f"{own}{number // 100}.{number % 100}"


def full_name(record: str, version: str = LATEST_VERSION) -> str:
    """Return the Avro name of a record, ``lsst.v11_1.diaSource`` for ``diaSource``.

    In one of our versions, this is the name of a record of our own.
    """
    space = "astra" if version.startswith("astra-") else "lsst"
    return f"{space}.v{version.removeprefix('astra-').replace('.', '_')}.{record}"


@cache
def load_schema(version: str = LATEST_VERSION) -> Schema:
    """Return the parsed writer schema of a whole packet.

    Raises
    ------
    AlertError
        If this package has no such version.
    """
    schema_id(version)
    path = _FOLDER / f"{full_name('alert', version)}.avsc"
    if not path.is_file():
        known = ", ".join(available_versions())
        message = f"alert schema {version} is not known; known are {known}"
        raise AlertError(message, version=version)
    schema = fastavro.schema.load_schema(str(path))
    return cast(Schema, schema)


@cache
def load_record_schema(record: str, version: str = LATEST_VERSION) -> Schema:
    """Return the schema of one record of a packet, ``diaSource`` for example, by its short name."""
    named: dict[str, Schema] = load_schema(version)["__named_schemas"]
    for name, schema in named.items():
        if name.rpartition(".")[2] == record:
            return schema
    message = f"alert schema {version} has no record {record}"
    raise ValueError(message)


def extra_fields(version: str = LATEST_VERSION) -> tuple[str, ...]:
    """Return the fields of a packet that Rubin's schema does not have."""
    names = tuple(field["name"] for field in load_schema(version)["fields"])
    return names[len(load_schema()["fields"]) :]


def available_versions() -> list[str]:
    """Return the versions that this package can write: Rubin's, oldest first, then ours."""
    matches = [match for path in _FOLDER.iterdir() if (match := _FILE.fullmatch(path.name))]
    own = {"lsst": "", "astra": "astra-"}
    return sorted((f"{own[m['space']]}{m['major']}.{m['minor']}" for m in matches), key=schema_id)
