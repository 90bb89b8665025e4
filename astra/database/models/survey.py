"""The survey: exposures, visits and their regions; names as in the Rubin data model."""

from __future__ import annotations

from sqlalchemy import (
    Double,
    ForeignKey,
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
    """One shot of the telescope."""

    __tablename__ = "exposure"

    instrument: Mapped[str] = mapped_column(String(64), primary_key=True)
    exposure: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    obs_id: Mapped[str] = mapped_column(String(128))
    day_obs: Mapped[int] = mapped_column(Integer)
    seq_num: Mapped[int] = mapped_column(BigInt)
    band: Mapped[str] = mapped_column(String(8))
    physical_filter: Mapped[str] = mapped_column(String(64))
    begin_mjd_tai: Mapped[float] = mapped_column(Double)
    end_mjd_tai: Mapped[float] = mapped_column(Double)
    exposure_time_s: Mapped[float] = mapped_column(Double)
    observation_type: Mapped[str] = mapped_column(String(64))
    target_name: Mapped[str] = mapped_column(String(128))
    science_program: Mapped[str] = mapped_column(String(128))
    group_name: Mapped[str] = mapped_column(String(128))


class RawProduct(Base):
    """The raw file of one detector of an exposure."""

    __tablename__ = "raw"
    __table_args__ = (
        ForeignKeyConstraint(
            ["instrument", "exposure"], ["exposure.instrument", "exposure.exposure"], ondelete="CASCADE"
        ),
        UniqueConstraint("path"),
    )

    instrument: Mapped[str] = mapped_column(String(64), primary_key=True)
    exposure: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    detector: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    path: Mapped[str] = mapped_column(String(1024))
    size: Mapped[int] = mapped_column(BigInt)
    modified_ns: Mapped[int] = mapped_column(BigInt)
    checksum: Mapped[str] = mapped_column(String(64))
    region: Mapped[bytes] = mapped_column(LargeBinary)


class VisitSystem(Base):
    """A rule that groups exposures into visits."""

    __tablename__ = "visit_system"
    __table_args__ = (UniqueConstraint("name"),)

    visit_system: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(64))


class Visit(Base):
    """A visit, keyed by the system that defined it."""

    __tablename__ = "visit"
    __table_args__ = (Index(None, "instrument", "day_obs"),)

    instrument: Mapped[str] = mapped_column(String(64), primary_key=True)
    visit_system: Mapped[int] = mapped_column(
        Integer, ForeignKey("visit_system.visit_system"), primary_key=True
    )
    visit: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(128))
    day_obs: Mapped[int] = mapped_column(Integer)
    seq_num: Mapped[int] = mapped_column(BigInt)
    band: Mapped[str] = mapped_column(String(8))
    physical_filter: Mapped[str] = mapped_column(String(64))
    begin_mjd_tai: Mapped[float] = mapped_column(Double)
    end_mjd_tai: Mapped[float] = mapped_column(Double)
    exposure_time_s: Mapped[float] = mapped_column(Double)
    target_name: Mapped[str] = mapped_column(String(128))
    science_program: Mapped[str] = mapped_column(String(128))
    region: Mapped[bytes] = mapped_column(LargeBinary)


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
