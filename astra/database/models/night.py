"""What the production of alerts knows of detectors and nights beyond Rubin's tables."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import DateTime, Double, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from astra.database.models.base import Base, BigInt


class AssociationFootprint(Base):
    """Where a detector looked that has been associated, and when; declinations in [deg] bound it."""

    __tablename__ = "association_footprint"
    __table_args__ = (Index(None, "instrument", "midpoint_mjd_tai"),)

    instrument: Mapped[str] = mapped_column(String(64), primary_key=True)
    visit: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    detector: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    midpoint_mjd_tai: Mapped[float] = mapped_column(Double)
    dec_min: Mapped[float] = mapped_column(Double)
    dec_max: Mapped[float] = mapped_column(Double)
    region: Mapped[bytes] = mapped_column(LargeBinary)


class NightSummary(Base):
    """What a task made of a night; latencies [s] are those from the shutter's close to the association.

    Detectors are counted over all visits. Latencies are null where nothing was associated.
    """

    __tablename__ = "night_summary"
    __table_args__ = (Index(None, "instrument", "day_obs"),)

    task_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    instrument: Mapped[str] = mapped_column(String(64))
    day_obs: Mapped[int] = mapped_column(Integer)
    n_visits: Mapped[int] = mapped_column(Integer)
    n_detectors: Mapped[int] = mapped_column(Integer)
    n_done: Mapped[int] = mapped_column(Integer)
    n_failed: Mapped[int] = mapped_column(Integer)
    n_dia_sources: Mapped[int] = mapped_column(BigInt)
    n_new_objects: Mapped[int] = mapped_column(BigInt)
    n_updated_objects: Mapped[int] = mapped_column(BigInt)
    n_forced_sources: Mapped[int] = mapped_column(BigInt)
    n_alerts: Mapped[int] = mapped_column(BigInt)
    latency_median_s: Mapped[float | None] = mapped_column(Double)
    latency_p95_s: Mapped[float | None] = mapped_column(Double)
    latency_max_s: Mapped[float | None] = mapped_column(Double)
    updated: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
