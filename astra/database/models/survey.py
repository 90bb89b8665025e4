"""The survey: exposures, visits and their regions; names as in the Rubin data model."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from astra.database.models.base import Base, BigInt


class Exposure(Base):
    """One shot of the telescope; angles are in degrees, ``dark_time`` in seconds."""

    __tablename__ = "exposure"
    __table_args__ = (Index(None, "instrument", "day_obs"), Index(None, "instrument", "group_name"))

    instrument: Mapped[str] = mapped_column(String(64), primary_key=True)
    exposure: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    obs_id: Mapped[str] = mapped_column(String(128))
    day_obs: Mapped[int] = mapped_column(Integer)
    seq_num: Mapped[int] = mapped_column(BigInt)
    seq_start: Mapped[int] = mapped_column(BigInt)
    seq_end: Mapped[int] = mapped_column(BigInt)
    band: Mapped[str] = mapped_column(String(8))
    physical_filter: Mapped[str] = mapped_column(String(64))
    begin_mjd_tai: Mapped[float | None] = mapped_column(Double)
    end_mjd_tai: Mapped[float | None] = mapped_column(Double)
    exposure_time_s: Mapped[float] = mapped_column(Double)
    dark_time: Mapped[float | None] = mapped_column(Double)
    observation_type: Mapped[str] = mapped_column(String(64))
    observation_reason: Mapped[str] = mapped_column(String(128))
    target_name: Mapped[str] = mapped_column(String(128))
    science_program: Mapped[str] = mapped_column(String(128))
    group_name: Mapped[str] = mapped_column(String(128))
    tracking_ra: Mapped[float | None] = mapped_column(Double)
    tracking_dec: Mapped[float | None] = mapped_column(Double)
    sky_angle: Mapped[float | None] = mapped_column(Double)
    azimuth: Mapped[float | None] = mapped_column(Double)
    zenith_angle: Mapped[float | None] = mapped_column(Double)
    can_see_sky: Mapped[bool] = mapped_column(Boolean)


class RawProduct(Base):
    """The raw file of one detector of an exposure; a file may hold several detectors."""

    __tablename__ = "raw"
    __table_args__ = (
        ForeignKeyConstraint(
            ["instrument", "exposure"], ["exposure.instrument", "exposure.exposure"], ondelete="CASCADE"
        ),
        Index(None, "path"),
    )

    instrument: Mapped[str] = mapped_column(String(64), primary_key=True)
    exposure: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    detector: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    path: Mapped[str] = mapped_column(String(1024))
    size: Mapped[int] = mapped_column(BigInt)
    modified_ns: Mapped[int] = mapped_column(BigInt)
    checksum: Mapped[str] = mapped_column(String(64))
    region: Mapped[bytes | None] = mapped_column(LargeBinary)


class RawCollection(Base):
    """Which raws belong to a collection of a given name; a raw may belong to several."""

    __tablename__ = "raw_collection"
    __table_args__ = (
        ForeignKeyConstraint(
            ["instrument", "exposure", "detector"],
            ["raw.instrument", "raw.exposure", "raw.detector"],
            ondelete="CASCADE",
        ),
    )

    instrument: Mapped[str] = mapped_column(String(64), primary_key=True)
    exposure: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    detector: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    collection: Mapped[str] = mapped_column(String(128), primary_key=True)


class VisitSystem(Base):
    """A system of visits: exposures of one instrument, grouped by one rule."""

    __tablename__ = "visit_system"
    __table_args__ = (UniqueConstraint("instrument", "name"),)

    instrument: Mapped[str] = mapped_column(String(64), primary_key=True)
    visit_system: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(64))


class Visit(Base):
    """A visit, keyed by the system that it belongs to; null is what its exposures do not agree on.

    Angles are in degrees. ``region_source`` names the algorithm that made the regions.
    """

    __tablename__ = "visit"
    __table_args__ = (
        ForeignKeyConstraint(
            ["instrument", "visit_system"], ["visit_system.instrument", "visit_system.visit_system"]
        ),
        Index(None, "instrument", "day_obs"),
    )

    instrument: Mapped[str] = mapped_column(String(64), primary_key=True)
    visit_system: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    visit: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(128))
    day_obs: Mapped[int] = mapped_column(Integer)
    seq_num: Mapped[int] = mapped_column(BigInt)
    band: Mapped[str | None] = mapped_column(String(8))
    physical_filter: Mapped[str | None] = mapped_column(String(64))
    begin_mjd_tai: Mapped[float | None] = mapped_column(Double)
    end_mjd_tai: Mapped[float | None] = mapped_column(Double)
    exposure_time_s: Mapped[float] = mapped_column(Double)
    target_name: Mapped[str | None] = mapped_column(String(128))
    science_program: Mapped[str | None] = mapped_column(String(128))
    observation_reason: Mapped[str] = mapped_column(String(128))
    azimuth: Mapped[float | None] = mapped_column(Double)
    zenith_angle: Mapped[float | None] = mapped_column(Double)
    region: Mapped[bytes] = mapped_column(LargeBinary)
    region_source: Mapped[str] = mapped_column(String(64))


class VisitDefinition(Base):
    """Which exposures make a visit."""

    __tablename__ = "visit_definition"
    __table_args__ = (
        ForeignKeyConstraint(
            ["instrument", "visit_system", "visit"],
            ["visit.instrument", "visit.visit_system", "visit.visit"],
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(["instrument", "exposure"], ["exposure.instrument", "exposure.exposure"]),
        Index(None, "instrument", "exposure"),
    )

    instrument: Mapped[str] = mapped_column(String(64), primary_key=True)
    visit_system: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    visit: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    exposure: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)


class VisitSystemMembership(Base):
    """Which visits belong to a system."""

    __tablename__ = "visit_system_membership"
    __table_args__ = (
        ForeignKeyConstraint(
            ["instrument", "visit_system", "visit"],
            ["visit.instrument", "visit.visit_system", "visit.visit"],
            ondelete="CASCADE",
        ),
    )

    instrument: Mapped[str] = mapped_column(String(64), primary_key=True)
    visit_system: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    visit: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)


class VisitDetectorRegion(Base):
    """Where on the sky a detector of a visit looked, as an encoded convex polygon."""

    __tablename__ = "visit_detector_region"
    __table_args__ = (
        ForeignKeyConstraint(
            ["instrument", "visit_system", "visit"],
            ["visit.instrument", "visit.visit_system", "visit.visit"],
            ondelete="CASCADE",
        ),
    )

    instrument: Mapped[str] = mapped_column(String(64), primary_key=True)
    visit_system: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    visit: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    detector: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    region: Mapped[bytes] = mapped_column(LargeBinary)
