"""Ingesting exposures and raw files: what is new or has changed is written, what contradicts is refused.

A file is taken or refused as a whole. What two files say of one exposure must agree where both say anything:
of those that are read together most are believed, and before them those that were ingested and still lie
there unchanged.
"""

from __future__ import annotations

import datetime as dt
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, or_, select

from astra.database.bulk import is_among
from astra.database.state import chunks, order_writers, product_table, upsert
from astra.database.survey import collection_table, exposure_table, raw_table
from astra.sky.visits import different_columns

ALL_RAWS = "raw/all"
EXPOSURE_KEY = ("instrument", "exposure")
RAW_KEY = (*EXPOSURE_KEY, "detector")
_OPEN = (None, "")  # a header that is silent contradicts nothing

Columns = Mapping[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class FileStamp:
    """What tells that a file is still the one that was read.

    Parameters
    ----------
    size : int
        [byte]
    modified_ns : int, optional
        Time of the last change [ns]; None for a copy of a file that was read elsewhere.
    """

    size: int
    modified_ns: int | None

    def is_of(self, status: os.stat_result) -> bool:
        """Say whether a file is still as it was."""
        same_time = self.modified_ns is None or self.modified_ns == status.st_mtime_ns
        return self.size == status.st_size and same_time


@dataclass(frozen=True)
class RawFile:
    """What one raw file says.

    Parameters
    ----------
    path : str
        The file.
    size : int
        [byte]
    modified_ns : int
        Time of its last change [ns].
    checksum : str
        SHA-256, hexadecimal.
    frames : sequence of (mapping, mapping)
        For each detector the columns of ``exposure``, and ``instrument``, ``exposure``, ``detector`` and
        ``region`` of ``raw``.
    """

    path: str
    size: int
    modified_ns: int
    checksum: str
    frames: Sequence[tuple[Columns, Columns]]

    def raw_row(self, raw: Columns) -> dict[str, Any]:
        """Row of ``raw`` of one detector."""
        own = {"path": self.path, "size": self.size, "modified_ns": self.modified_ns}
        return {**raw, **own, "checksum": self.checksum}


@dataclass
class Ingested:
    """What has become of raw files.

    Parameters
    ----------
    n_raws : int
        Images of detectors in the files that were taken, copies too.
    n_written : int
        Those of them that are new, have changed or lie elsewhere.
    refused : dict
        Why a file was refused, by path.
    """

    n_raws: int = 0
    n_written: int = 0
    refused: dict[str, str] = field(default_factory=dict)


def ingest_files(
    connection: Connection, files: Sequence[RawFile], now: dt.datetime, collection: str = ALL_RAWS
) -> Ingested:
    """Write exposures and raws of files; those that contradict others are refused, and the rest goes in.

    The same content again changes nothing, and a copy of it neither, unless the file that is known is gone.
    Other content in the same place replaces what was there.

    Parameters
    ----------
    connection : Connection
        In a transaction, which holds all of it.
    files : sequence of RawFile
        What was read, of one instrument.
    now : datetime
        The clock, timezone-aware UTC.
    collection : str, optional
        The raws become members of this collection.
    """
    order_writers(connection)  # two detectors of one exposure may come at once
    known = _Known.of(connection, files)
    result = Ingested()
    records = _believed(files, known, result.refused)
    taken = _without_duplicates([file for file in files if file.path not in result.refused], known, result)
    rows = [file.raw_row(raw) for file in taken for _, raw in file.frames]
    _write_exposures(connection, {key: records[key] for key in map(_exposure_key, rows)}, known)
    result.n_raws, result.n_written = len(rows), _write_raws(connection, rows, known)
    _write_collection(connection, rows, collection)
    _note_files(connection, taken, now)
    return result


@dataclass(frozen=True)
class _Known:
    """What the database has of the exposures of some files, and of what lies in their places."""

    exposures: Mapping[Key, Row[Any]]
    raws: Mapping[Key, Row[Any]]
    in_place: Sequence[Row[Any]]

    @classmethod
    def of(cls, connection: Connection, files: Sequence[RawFile]) -> _Known:
        keys = dict.fromkeys(_exposure_key(raw) for file in files for _, raw in file.frames)
        exposures: dict[Key, Row[Any]] = {}
        raws: dict[Key, Row[Any]] = {}
        in_place: list[Row[Any]] = []
        for chunk in chunks(keys):
            query = select(exposure_table).where(_any_of(exposure_table, chunk))
            exposures.update({_exposure_key(_columns(row)): row for row in connection.execute(query)})
            query = select(raw_table).where(_any_of(raw_table, chunk))
            raws.update({_raw_key(_columns(row)): row for row in connection.execute(query)})
        for some in chunks(file.path for file in files):
            query = select(raw_table).where(is_among(connection, raw_table.c.path, some))
            in_place += connection.execute(query).all()
        return cls(exposures, raws, in_place)

    def witnesses(self, paths: frozenset[str]) -> set[Key]:
        """Return the exposures of which a raw is known that is not read again, and has not changed."""
        return {key[:2] for key, row in self.raws.items() if row.path not in paths and not _has_changed(row)}


def _any_of(table: Any, keys: Iterable[Key]) -> Any:
    by_instrument: dict[str, list[int]] = {}
    for instrument, exposure in keys:
        by_instrument.setdefault(instrument, []).append(exposure)
    return or_(
        *(
            and_(table.c.instrument == instrument, table.c.exposure.in_(exposures))
            for instrument, exposures in by_instrument.items()
        )
    )


def _columns(row: Any) -> dict[str, Any]:
    return dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's public name for it


def _exposure_key(row: Columns) -> Key:
    return tuple(row[name] for name in EXPOSURE_KEY)


def _raw_key(row: Columns) -> Key:
    return tuple(row[name] for name in RAW_KEY)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _has_changed(row: Row[Any]) -> bool:
    """Say whether a raw that was ingested has other content now; what is gone has not."""
    status = _status(row.path)
    return status is not None and not FileStamp(row.size, row.modified_ns).is_of(status)


def _believed(files: Sequence[RawFile], known: _Known, refused: dict[str, str]) -> dict[Key, dict[str, Any]]:
    """Return what is believed of each exposure; note the files that say otherwise."""
    said: dict[Key, list[tuple[RawFile, Columns]]] = {}
    for file in files:
        for exposure, raw in file.frames:
            said.setdefault(_exposure_key(raw), []).append((file, exposure))
    witnessed = known.witnesses(frozenset(file.path for file in files))
    records = {}
    for key, statements in said.items():
        believed = _columns(known.exposures[key]) if key in witnessed else _most(statements)
        records[key] = dict(believed)
        for file, exposure in statements:
            wrong = _contradiction(exposure, records[key])
            if wrong:
                value, other = exposure[wrong], records[key][wrong]
                refused[file.path] = (
                    f"{file.path} says that {wrong} of exposure {key[1]} of {key[0]} is {value!r}, "
                    f"but for other detectors of it that is {other!r}"
                )
            else:
                records[key] |= {
                    name: value for name, value in exposure.items() if records[key][name] in _OPEN
                }
    return records


def _most(statements: Sequence[tuple[RawFile, Columns]]) -> Columns:
    """Return what most detectors say of an exposure; of equally many, what was read first."""
    texts = [tuple(exposure.items()) for _, exposure in statements]
    return dict(Counter(texts).most_common(1)[0][0])


def _contradiction(exposure: Columns, believed: Columns) -> str | None:
    """Return the first column in which both say something, and not the same."""
    both = {
        name: value for name, value in exposure.items() if value not in _OPEN and believed[name] not in _OPEN
    }
    return next(iter(different_columns(both, believed)), None)


def _without_duplicates(files: Sequence[RawFile], known: _Known, result: Ingested) -> list[RawFile]:
    """Return the files but those with an image that is known with other content from elsewhere."""
    taken: list[RawFile] = []
    owners: dict[Key, RawFile] = {}
    for file in files:
        reason = _duplicate(file, owners, known)
        if reason:
            result.refused[file.path] = reason
            continue
        taken.append(file)
        for _, raw in file.frames:
            owners.setdefault(_raw_key(raw), file)
    return taken


def _duplicate(file: RawFile, owners: Mapping[Key, RawFile], known: _Known) -> str | None:
    keys = [_raw_key(raw) for _, raw in file.frames]
    for key in keys:
        found: Any = owners.get(key) or known.raws.get(key)
        if keys.count(key) > 1:
            return f"{file.path} holds exposure {key[1]} detector {key[2]} of {key[0]} twice"
        if found is None or found.checksum == file.checksum or found.path == file.path:
            continue
        if key in owners or _status(found.path) is not None:
            return (
                f"{file.path} holds exposure {key[1]} detector {key[2]} of {key[0]}, which is ingested "
                f"already from {found.path} with other content; remove one of the two"
            )
    return None


def _write_exposures(connection: Connection, records: Mapping[Key, Columns], known: _Known) -> None:
    changed = [
        record
        for key, record in records.items()
        if key not in known.exposures or _columns(known.exposures[key]) != record
    ]
    upsert(connection, exposure_table, changed, EXPOSURE_KEY)


def _write_raws(connection: Connection, rows: Sequence[dict[str, Any]], known: _Known) -> int:
    """Write raws that are new, have changed or whose file is gone from where it was; return how many.

    What a file no longer holds, since it has changed, is removed.
    """
    kept = {(*_raw_key(row), row["path"]) for row in rows}
    places = {row["path"] for row in rows}
    stale = [
        old
        for old in known.in_place
        if old.path in places and (*_raw_key(_columns(old)), old.path) not in kept
    ]
    for old in stale:
        same = [raw_table.c[name] == getattr(old, name) for name in RAW_KEY]
        connection.execute(delete(raw_table).where(*same, raw_table.c.path == old.path))
    first: dict[Key, dict[str, Any]] = {}
    for row in rows:
        if _is_news(row, known.raws.get(_raw_key(row))):
            first.setdefault(_raw_key(row), row)
    upsert(connection, raw_table, list(first.values()), RAW_KEY)
    return len(first)


def _is_news(row: Columns, known: Row[Any] | None) -> bool:
    if known is None:
        return True
    if known.checksum == row["checksum"] and known.path != row["path"]:
        return _status(known.path) is None  # a copy, or where it lies now
    return _columns(known) != row


def _write_collection(connection: Connection, rows: Sequence[Columns], collection: str) -> None:
    columns = [collection_table.c[name] for name in RAW_KEY]
    wanted = {
        _raw_key(row): {**dict(zip(RAW_KEY, _raw_key(row), strict=True)), "collection": collection}
        for row in rows
    }
    for chunk in chunks({key[:2] for key in wanted}):
        query = select(*columns).where(
            _any_of(collection_table, chunk), collection_table.c.collection == collection
        )
        for row in connection.execute(query):
            wanted.pop(tuple(row), None)
    upsert(connection, collection_table, list(wanted.values()), [*RAW_KEY, "collection"])


def _note_files(connection: Connection, files: Sequence[RawFile], now: dt.datetime) -> None:
    """Note all raw files as products, copies of one content too: ``raw`` has one place for each content."""
    rows = {
        file.path: {
            "path": file.path,
            "kind": "raw",
            "size": file.size,
            "checksum": file.checksum,
            "created": now,
        }
        for file in files
    }
    for chunk in chunks(list(rows)):
        columns = (product_table.c.path, product_table.c.kind, product_table.c.size, product_table.c.checksum)
        for row in connection.execute(
            select(*columns).where(is_among(connection, product_table.c.path, chunk))
        ):
            if all(rows[row.path][name] == value for name, value in _columns(row).items()):
                del rows[row.path]
    upsert(connection, product_table, list(rows.values()), ["path"])


def raw_stamps(connection: Connection, paths: Iterable[str]) -> dict[str, FileStamp]:
    """Return size and time of the ingested files among ``paths``."""
    stamps: dict[str, FileStamp] = {}
    for chunk in chunks(paths):
        query = select(product_table.c.path, product_table.c.size).where(
            product_table.c.path.in_(chunk), product_table.c.kind == "raw"
        )
        stamps.update({row.path: FileStamp(row.size, None) for row in connection.execute(query)})
        columns = (raw_table.c.path, raw_table.c.size, raw_table.c.modified_ns)
        for row in connection.execute(select(*columns).where(raw_table.c.path.in_(chunk))):
            stamps[row.path] = FileStamp(row.size, row.modified_ns)
    return stamps
