"""Calibrations: which file calibrates which detector, and when."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, DateTime, Double, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from astra.database.models.base import Base, BigInt


class CalibrationProduct(Base):
    """A calibration of one detector, valid from its beginning to before its end; null where it is open.

    Of those of one kind that are valid at one time, the one made last is used. Older ones stay: they tell
    what was used before. ``physical_filter`` is empty where the filter does not matter.
    """

    __tablename__ = "calibration"
    __table_args__ = (UniqueConstraint("path"), Index(None, "instrument", "detector", "kind"))

    pk: Mapped[int] = mapped_column(BigInt, primary_key=True)
    instrument: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(32))
    detector: Mapped[int] = mapped_column(Integer)
    physical_filter: Mapped[str] = mapped_column(String(64))
    begin_mjd_tai: Mapped[float | None] = mapped_column(Double)
    end_mjd_tai: Mapped[float | None] = mapped_column(Double)
    path: Mapped[str] = mapped_column(String(1024))
    checksum: Mapped[str] = mapped_column(String(64))
    task_id: Mapped[str] = mapped_column(String(255))
    created: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    statistics: Mapped[dict[str, Any]] = mapped_column(JSON)
