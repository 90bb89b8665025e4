"""The Rubin Alert Production Database at schema 10.0.0, name for name and column for column.

The tables are those that Rubin's SQL back end makes, with its spatial column ``pixelId`` (HTM level 20), so
that Rubin's own client can read them, and its replica chunks. SSObject, SSSource, mpc_orbits and the
identifications of the published schema are none of them: Rubin's back end makes no such table, and what an
alert tells of a solar-system object is made for the packet (`astra.sky.ss_sources`). A specification is a
list of lines ``type: columns``; a ``!`` after the type means not null. Units are the comments of the columns;
times are MJD TAI, positions ICRS, and ``raErr`` includes cos(dec). The tables in snake_case at the end are
ours: ``apdb_marker``, ``dia_object_statistics`` (what DiaObject has no column for), and ``dia_object_sums``
and ``dia_forced_sums`` (running sums of the detections of the newest version of each object, and of all its
forced measurements, from which the next version is made; they may be lost without harm).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    CHAR,
    REAL,
    TIMESTAMP,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.types import TypeEngine

from astra.database.models.base import BigInt, metadata

SCHEMA_VERSION = "10.0.0"
HTM_LEVEL = 20
BANDS = "ugrizy"

# What Rubin's client looks for before it reads a database; it stops without these rows.
METADATA_ROWS = {
    "version:schema": SCHEMA_VERSION,
    "version:ApdbSql": "1.2.1",
    "version:ApdbSqlReplica": "1.0.0",
    "config:apdb-sql.json": (
        '{"enable_replica": true, "dia_object_index": "baseline", "htm_level": 20, '
        '"htm_index_column": "pixelId", "ra_dec_columns": ["ra", "dec"]}'
    ),
}

_TYPES: dict[str, TypeEngine[Any]] = {
    "long": BigInteger(),
    "int": Integer(),
    "short": SmallInteger(),
    "double": Double(),
    "float": REAL(),
    "boolean": Boolean(),
    "band": CHAR(1),
    "version": String(7),
}

_DIA_OBJECT = [
    "long!: diaObjectId",
    "double!: validityStartMjdTai",
    "double: validityEndMjdTai",
    "double!: ra",
    "float: raErr",
    "double!: dec",
    "float: decErr ra_dec_Cov",
    *(
        line
        for b in BANDS
        for line in (
            f"float: {b}_psfFluxMean {b}_psfFluxMeanErr {b}_psfFluxSigma",
            f"int!: {b}_psfFluxNdata",
            f"float: {b}_fpFluxMean {b}_fpFluxMeanErr",
        )
    ),
    *(f"float: {b}_scienceFluxMean {b}_scienceFluxMeanErr" for b in BANDS),
    *(f"float: {b}_psfFluxMin {b}_psfFluxMax {b}_psfFluxMaxSlope {b}_psfFluxErrMean" for b in BANDS),
    "double: firstDiaSourceMjdTai lastDiaSourceMjdTai",
    "int!: nDiaSources",
    "long!: pixelId",
]

_DIA_SOURCE = [
    "long!: diaSourceId visit",
    "short!: detector",
    "long: diaObjectId ssObjectId parentDiaSourceId",
    "double: ssObjectReassocTimeMjdTai",
    "double!: midpointMjdTai",
    "float: exposureTime",
    "double!: ra",
    "float: raErr",
    "double!: dec",
    "float: decErr ra_dec_Cov",
    "float!: x",
    "float: xErr",
    "float!: y",
    "float: yErr",
    "boolean: centroid_flag",
    "float: apFlux apFluxErr",
    "boolean: apFlux_flag apFlux_flag_apertureTruncated isNegative",
    "float: snr psfFlux psfFluxErr psfLnL psfChi2",
    "int!: psfNdata",
    "boolean: psfFlux_flag psfFlux_flag_edge psfFlux_flag_noGoodPixels",
    "float: trailFlux trailFluxErr",
    "double: trailRa",
    "float: trailRaErr",
    "double: trailDec",
    "float: trailDecErr trailLength trailLengthErr trailAngle trailAngleErr trailChi2",
    "int!: trailNdata",
    "int: trailAlgorithm",
    "boolean: trail_flag_edge trail_flag",
    "float: dipoleMeanFlux dipoleMeanFluxErr dipoleFluxDiff dipoleFluxDiffErr",
    "float: dipoleLength dipoleAngle dipoleChi2",
    "int!: dipoleNdata",
    "float: scienceFlux scienceFluxErr",
    "boolean: forced_PsfFlux_flag forced_PsfFlux_flag_edge forced_PsfFlux_flag_noGoodPixels",
    "float: templateFlux templateFluxErr ixx iyy ixy ixxPSF iyyPSF ixyPSF",
    "boolean: shape_flag shape_flag_no_pixels shape_flag_not_contained shape_flag_parent_source",
    "float: extendedness reliability",
    "version: reliabilityVersion",
    "band: band",
    "boolean: isDipole dipoleFitAttempted",
    "double!: timeProcessedMjdTai",
    "double: timeWithdrawnMjdTai",
    "int!: bboxSize",
    "boolean: pixelFlags pixelFlags_bad pixelFlags_cr pixelFlags_crCenter pixelFlags_edge",
    "boolean: pixelFlags_nodata pixelFlags_nodataCenter",
    "boolean: pixelFlags_interpolated pixelFlags_interpolatedCenter pixelFlags_offimage",
    "boolean: pixelFlags_saturated pixelFlags_saturatedCenter pixelFlags_suspect pixelFlags_suspectCenter",
    "boolean: pixelFlags_streak pixelFlags_streakCenter pixelFlags_injected pixelFlags_injectedCenter",
    "boolean: pixelFlags_injected_template pixelFlags_injected_templateCenter glint_trail",
    "long!: pixelId",
]

_DIA_FORCED_SOURCE = [
    "long!: diaForcedSourceId diaObjectId",
    "double!: ra dec",
    "long!: visit",
    "short!: detector",
    "float: psfFlux psfFluxErr",
    "double!: midpointMjdTai",
    "float: scienceFlux scienceFluxErr",
    "band: band",
    "double!: timeProcessedMjdTai",
    "double: timeWithdrawnMjdTai",
]


_STATISTICS = [
    "long!: diaObjectId",
    "double!: validityStartMjdTai",
    *(
        f"double: {b}_{name}"
        for b in BANDS
        for name in (
            *(f"psfFluxPercentile{percent:02d}" for percent in (5, 25, 50, 75, 95)),
            *("psfFluxChi2", "psfFluxMAD", "psfFluxSkew", "psfFluxStetsonJ"),
            *("psfFluxLinearSlope", "psfFluxLinearIntercept", "scienceFluxSigma"),
            *("period", "power", "multiAmp", "multiPhase"),
        )
    ),
    "double: multiPeriod multiPower multiFap",
    "boolean: flags",
]

_UNITS = {
    "nJy/d": r"._psfFlux(MaxSlope|LinearSlope)",
    "nJy": r"(._)?(psf|fp|science|ap|trail|template)Flux"
    r"(Mean|MeanErr|Sigma|Min|Max|ErrMean|Err|Percentile..|MAD|LinearIntercept)?"
    r"|dipole(FluxDiff|MeanFlux)(Err)?|._multiAmp",
    "deg**2": "ra_dec_Cov",
    "deg": r"(ra|dec|trailRa|trailDec|trailAngle)(Err)?|dipoleAngle",
    "arcsec**2": "i(xx|yy|xy)(PSF)?",
    "arcsec": "dist|(dipole|trail)Length(Err)?",
    "pixel": "[xy](Err)?|bboxSize",
    "s": "exposureTime",
    "d": r".*MjdTai|._period|multiPeriod",
}


def unit_of(name: str) -> str | None:
    """Return the unit of a column of these tables by its name, None if it has none."""
    return next((unit for unit, pattern in _UNITS.items() if re.fullmatch(pattern, name)), None)


def _columns(specification: list[str], primary_key: str) -> Iterator[Column[Any]]:
    """Make the columns of a specification, in order."""
    keys = primary_key.split()
    for line in specification:
        kind, names = line.split(":")
        for name in names.split():
            unit = unit_of(name)
            yield Column(
                name,
                _TYPES[kind.rstrip("!")],
                primary_key=name in keys,
                nullable=not kind.endswith("!"),
                autoincrement=False,  # PostgreSQL would make a sequence for a 64-bit key
                comment=None if unit is None else f"[{unit}]",
                server_default="0" if name == "trailNdata" else None,
            )


# A region has as many objects that are current as there are, and a version of each for every detection.
_IS_CURRENT = text('"validityEndMjdTai" IS NULL')

dia_object = Table(
    "DiaObject",
    metadata,
    *_columns(_DIA_OBJECT, "diaObjectId validityStartMjdTai"),
    Index("IDX_DiaObject_validityStart", "validityStartMjdTai"),
    Index("IDX_DiaObject_pixelId", "pixelId"),
    Index("ix_DiaObject_current", "pixelId", sqlite_where=_IS_CURRENT, postgresql_where=_IS_CURRENT),
)

dia_source = Table(
    "DiaSource",
    metadata,
    *_columns(_DIA_SOURCE, "diaSourceId"),
    Index("IDX_DiaSource_visitDetector", "visit", "detector"),
    Index("IDX_DiaSource_diaObjectId", "diaObjectId"),
    Index("IDX_DiaSource_ssObjectId", "ssObjectId"),
    Index("IDX_DiaSource_pixelId", "pixelId"),
)

dia_forced_source = Table(
    "DiaForcedSource",
    metadata,
    *_columns(_DIA_FORCED_SOURCE, "diaObjectId visit detector"),
    Index("IDX_DiaForcedSource_visitDetector", "visit", "detector"),
)

dia_object_match = Table(
    "DiaObject_To_Object_Match",
    metadata,
    *_columns(["long!: diaObjectId objectId", "float: dist lnP"], ""),
    Index("IDX_DiaObjectToObjectMatch_diaObjectId", "diaObjectId"),
    Index("IDX_DiaObjectToObjectMatch_objectId", "objectId"),
)

apdb_metadata = Table(
    "metadata",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

replica_chunks = Table(
    "ApdbReplicaChunks",
    metadata,
    Column("apdb_replica_chunk", BigInteger, primary_key=True, autoincrement=False, comment="[s]"),
    Column("last_update_time", TIMESTAMP(timezone=True), nullable=False),
    Column("unique_id", Uuid, nullable=False),
)


def _chunk_table(table: Table, key: str) -> Table:
    """Make the table that tells the replica chunk of each row of another.

    Its key has the columns of the other's, in an order in which a visit adds to the end: one that leads with
    the object would change a page for each of the thousands that are measured.
    """
    columns = [Column(one.name, one.type, nullable=False, autoincrement=False) for one in table.primary_key]
    name, names = f"{table.name}Chunks", [column.name for column in columns]

    def refer(other: Table, own: list[str]) -> ForeignKeyConstraint:
        targets = [other.c[column] for column in own]
        constraint = f"{name}_fk_{other.name}"
        return ForeignKeyConstraint(own, targets, name=constraint, onupdate="CASCADE", ondelete="CASCADE")

    return Table(
        name,
        metadata,
        Column("apdb_replica_chunk", BigInteger, nullable=False, comment="[s]"),
        *columns,
        PrimaryKeyConstraint(*key.split()),
        refer(table, names),
        refer(replica_chunks, ["apdb_replica_chunk"]),
        Index(f"{name}_apdb_replica_chunk_idx", "apdb_replica_chunk"),
        sqlite_with_rowid=False,
    )


dia_object_chunks = _chunk_table(dia_object, "validityStartMjdTai diaObjectId")
dia_source_chunks = _chunk_table(dia_source, "diaSourceId")
dia_forced_source_chunks = _chunk_table(dia_forced_source, "visit detector diaObjectId")

update_record_chunks = Table(
    "ApdbUpdateRecordChunks",
    metadata,
    Column("apdb_replica_chunk", BigInteger, primary_key=True, autoincrement=False, comment="[s]"),
    Column("update_time_ns", BigInteger, primary_key=True, autoincrement=False, comment="[ns]"),
    Column("update_order", Integer, primary_key=True, autoincrement=False),
    Column("update_unique_id", Uuid, primary_key=True),
    Column("update_payload", String, nullable=False),
)

apdb_marker = Table(
    "apdb_marker",
    metadata,
    Column("instrument", String(64), primary_key=True),
    Column("visit", BigInteger, primary_key=True, autoincrement=False),
    Column("detector", SmallInteger, primary_key=True, autoincrement=False),
    Column("task_id", String(255), nullable=False),
    Column("band", CHAR(1), nullable=False),
    Column("midpointMjdTai", Double, nullable=False),
    Column("timeProcessedMjdTai", Double, nullable=False),
    Column("n_dia_sources", Integer, nullable=False),
    Column("n_new_objects", Integer, nullable=False),
    Column("n_updated_objects", Integer, nullable=False),
    Column("n_forced_sources", Integer, nullable=False),
    Index("ix_apdb_marker_visit_detector", "visit", "detector"),
)

dia_object_statistics = Table(
    "dia_object_statistics",
    metadata,
    *_columns(_STATISTICS, "diaObjectId validityStartMjdTai"),
)

dia_object_sums = Table(
    "dia_object_sums",
    metadata,
    Column("diaObjectId", BigInt, primary_key=True, autoincrement=False),
    Column("validityStartMjdTai", Double, nullable=False, comment="[d]"),
    Column("bands", String(6), nullable=False),
    Column("sums", LargeBinary, nullable=False),
)

dia_forced_sums = Table(
    "dia_forced_sums",
    metadata,
    Column("diaObjectId", BigInt, primary_key=True, autoincrement=False),
    Column("midpointMjdTai", Double, nullable=False, comment="[d]"),
    Column("sums", LargeBinary, nullable=False),
)
