"""Corrections of the Alert Production Database that were asked for, so that they outlast a further run."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, SmallInteger, String, Table

from astra.database.models.base import BigInt, metadata

apdb_correction = Table(
    "apdb_correction",
    metadata,
    Column("pk", BigInt, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("timeMjdTai", Double, nullable=False, comment="[d]"),
    Column("ra", Double, nullable=False, comment="[deg]"),
    Column("dec", Double, nullable=False, comment="[deg]"),
    Column("pixelId", BigInteger, nullable=False),
    Column("diaSourceId", BigInteger),
    Column("diaObjectId", BigInteger),
    Column("visit", BigInteger),
    Column("detector", SmallInteger),
    Column("target", BigInteger),
    Column("previousDiaObjectId", BigInteger),
    Column("previousSsObjectId", BigInteger),
    Column("by_merge", Boolean, nullable=False),
    Index("ix_apdb_correction_pixelId", "pixelId"),
    Index("ix_apdb_correction_visit_detector", "visit", "detector"),
    Index("ix_apdb_correction_diaObjectId", "diaObjectId"),
    Index("ix_apdb_correction_target", "target"),
    Index("ix_apdb_correction_previousDiaObjectId", "previousDiaObjectId"),
)
