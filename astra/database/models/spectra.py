"""Results of the analysis of spectra: one row per spectrum of a file."""

from __future__ import annotations

from sqlalchemy import Double, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from astra.database.models.base import Base, BigInt


class SignalToNoise(Base):
    """Signal-to-noise ratios per pixel of one spectrum; null where nothing can be measured."""

    __tablename__ = "signal_to_noise"
    __table_args__ = (Index(None, "path"),)

    task_pk: Mapped[int] = mapped_column(
        BigInt, ForeignKey("task.pk", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    row_index: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    product: Mapped[str] = mapped_column(String(32))
    path: Mapped[str] = mapped_column(String(1024))
    file_size: Mapped[int] = mapped_column(BigInt)
    file_modified_ns: Mapped[int] = mapped_column(BigInt)
    kind: Mapped[str] = mapped_column(String(32))
    snr: Mapped[float | None] = mapped_column(Double)
    snr_drp: Mapped[float | None] = mapped_column(Double)
    snr_blue: Mapped[float | None] = mapped_column(Double)
    snr_green: Mapped[float | None] = mapped_column(Double)
    snr_red: Mapped[float | None] = mapped_column(Double)
    header_snr: Mapped[float | None] = mapped_column(Double)
    n_pixels: Mapped[int] = mapped_column(Integer)
    n_good: Mapped[int] = mapped_column(Integer)
