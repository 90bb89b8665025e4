"""Templates: which coadds there are on the tiles of the sky, and what went into them."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import (
    Boolean,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from astra.database.models.base import Base, BigInt


class Template(Base):
    """A template on one tile of the sky: built of visits, or ingested under the name of a collection.

    ``collection`` and ``source``, the file that it was made of, are empty for one that was built.
    ``coverage`` is the fraction of the tile's pixels with data. The tiles are those of
    `astra.sky.sky_tiles` at ``tile_order`` and ``pixel_scale_arcsec``.
    """

    __tablename__ = "template"
    __table_args__ = (
        UniqueConstraint("path"),
        Index(None, "instrument", "collection", "band", "tile_order", "tile"),
    )

    pk: Mapped[int] = mapped_column(BigInt, primary_key=True)
    instrument: Mapped[str] = mapped_column(String(64))
    collection: Mapped[str] = mapped_column(String(128))
    band: Mapped[str] = mapped_column(String(8))
    tile_order: Mapped[int] = mapped_column(Integer)
    pixel_scale_arcsec: Mapped[float] = mapped_column(Double)
    tile: Mapped[int] = mapped_column(BigInt)
    path: Mapped[str] = mapped_column(String(1024))
    source: Mapped[str] = mapped_column(String(1024))
    task_id: Mapped[str] = mapped_column(String(255))
    n_inputs: Mapped[int] = mapped_column(Integer)
    coverage: Mapped[float] = mapped_column(Double)
    fwhm_arcsec: Mapped[float | None] = mapped_column(Double)
    created: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))


class TemplateInput(Base):
    """A calibrated exposure that was considered for a template, whether it was used, and if not, why."""

    __tablename__ = "template_input"
    __table_args__ = (
        ForeignKeyConstraint(["template_pk"], ["template.pk"], ondelete="CASCADE"),
        Index(None, "visit", "detector"),
    )

    template_pk: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    visit: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    detector: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    used: Mapped[bool] = mapped_column(Boolean)
    weight: Mapped[float | None] = mapped_column(Double)
    fwhm_arcsec: Mapped[float | None] = mapped_column(Double)
    reason: Mapped[str] = mapped_column(String(1024))
