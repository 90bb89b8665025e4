"""What the search for sources finds of those that were injected."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import DateTime, Double, ForeignKeyConstraint, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from astra.database.models.base import Base, BigInt


class SearchDepth(Base):
    """How deep a search was: of a detector of a visit, of a visit (no detector) or of a night (``day_obs``).

    Magnitudes are AB; they, ``plateau`` and ``width_mag`` are null where nothing could be fitted. Of the
    ``n_false`` detections of nothing injected or known, ``n_false_new`` are not on the difference without
    injected sources; null in rows older than that column.
    """

    __tablename__ = "search_depth"
    __table_args__ = (
        Index(None, "task_id"),
        Index(None, "instrument", "visit", "detector"),
        Index(None, "instrument", "day_obs"),
    )

    pk: Mapped[int] = mapped_column(BigInt, primary_key=True)
    task_id: Mapped[str] = mapped_column(String(255))
    instrument: Mapped[str] = mapped_column(String(64))
    visit: Mapped[int | None] = mapped_column(BigInt)
    detector: Mapped[int | None] = mapped_column(Integer)
    day_obs: Mapped[int | None] = mapped_column(Integer)
    band: Mapped[str] = mapped_column(String(8))
    mag50: Mapped[float | None] = mapped_column(Double)
    mag50_err: Mapped[float | None] = mapped_column(Double)
    mag90: Mapped[float | None] = mapped_column(Double)
    plateau: Mapped[float | None] = mapped_column(Double)
    width_mag: Mapped[float | None] = mapped_column(Double)
    n_injected: Mapped[int] = mapped_column(Integer)
    n_found: Mapped[int] = mapped_column(Integer)
    n_false: Mapped[int] = mapped_column(Integer)
    n_false_new: Mapped[int | None] = mapped_column(Integer)
    created: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))


class Efficiency(Base):
    """One bin of signal to noise or of magnitude of a search; ``high`` is null for the open bin.

    Columns as in `astra.images.efficiency.EFFICIENCY_DTYPE`; null where there is no source to tell.
    """

    __tablename__ = "efficiency"
    __table_args__ = (ForeignKeyConstraint(["search_pk"], ["search_depth.pk"], ondelete="CASCADE"),)

    search_pk: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    quantity: Mapped[str] = mapped_column(String(8), primary_key=True)
    low: Mapped[float] = mapped_column(Double, primary_key=True)
    high: Mapped[float | None] = mapped_column(Double)
    n_injected: Mapped[int] = mapped_column(Integer)
    n_found: Mapped[int] = mapped_column(Integer)
    completeness: Mapped[float | None] = mapped_column(Double)
    completeness_low: Mapped[float | None] = mapped_column(Double)
    completeness_high: Mapped[float | None] = mapped_column(Double)
    flux_bias: Mapped[float | None] = mapped_column(Double)
    flux_bias_err: Mapped[float | None] = mapped_column(Double)
    flux_pull_median: Mapped[float | None] = mapped_column(Double)
    flux_pull_sigma: Mapped[float | None] = mapped_column(Double)
    position_error_pixel: Mapped[float | None] = mapped_column(Double)
    position_pull_sigma: Mapped[float | None] = mapped_column(Double)
    n_false: Mapped[int] = mapped_column(Integer)
    n_false_new: Mapped[int | None] = mapped_column(Integer)
