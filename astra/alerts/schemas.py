"""The Avro schemas of the alert packets: versioned files, loaded and parsed once per process.

A version is written ``major.minor``; a minor version only adds fields that may be null.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import fastavro.schema

from astra.errors import AlertError

LATEST_VERSION = "11.1"
_FOLDER = Path(__file__).parent / "schema"

Schema = dict[str, Any]


def schema_id(version: str = LATEST_VERSION) -> int:
    """Return the number of a version on the wire: 100 * major + minor.

    Raises
    ------
    ValueError
        If the version is not ``major.minor``, with minor below 100.
    """
    major, dot, minor = version.partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal() and int(minor) < 100):
        message = f"a schema version is written as major.minor, for example 11.1, found {version!r}"
        raise ValueError(message)
    return 100 * int(major) + int(minor)


def schema_version(number: int) -> str:
    """Return the version of a number on the wire; the inverse of `schema_id`."""
    return f"{number // 100}.{number % 100}"


def full_name(record: str, version: str = LATEST_VERSION) -> str:
    """Return the Avro name of a record, ``lsst.v11_1.diaSource`` for ``diaSource``."""
    return f"lsst.v{version.replace('.', '_')}.{record}"


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
    name = full_name(record, version)
    named: dict[str, Schema] = load_schema(version)["__named_schemas"]
    if name not in named:
        message = f"alert schema {version} has no record {record}"
        raise ValueError(message)
    return named[name]


def available_versions() -> list[str]:
    """Return the versions that this package can write, oldest first."""
    names = [path.name.split(".") for path in _FOLDER.glob("lsst.v*.alert.avsc")]
    return sorted((name[1][1:].replace("_", ".") for name in names), key=schema_id)
