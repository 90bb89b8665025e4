"""Alerts on their way: what each sink is still to get, and how long it took."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import BigInteger, DateTime, Double, Index, Integer, SmallInteger, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from astra.database.models.base import Base, BigInt

PENDING, SENT, FAILED, REFUSED = 0, 1, 30, 50


class AlertOutbox(Base):
    """An alert that a sink gets, and whether it has.

    The packet itself stays in the file of its visit and detector; ``digest`` (SHA-256 of what is sent) tells
    whether it has changed since. ``partition_key`` is ``diaObjectId``, or ``diaSourceId`` where there is no
    object: alerts with one key are sent in the order of their time. ``status_code`` is 0 pending, 1 sent,
    30 failed, 50 refused (the others need not wait for it); ``error`` says why.
    """

    __tablename__ = "alert_outbox"
    __table_args__ = (
        UniqueConstraint("sink", "diaSourceId"),
        Index(None, "sink", "status_code"),
        Index(None, "sink", "instrument", "visit", "detector"),
    )

    pk: Mapped[int] = mapped_column(BigInt, primary_key=True)
    sink: Mapped[str] = mapped_column(String(64))
    diaSourceId: Mapped[int] = mapped_column(BigInteger)
    partition_key: Mapped[int] = mapped_column(BigInteger)
    instrument: Mapped[str] = mapped_column(String(64))
    visit: Mapped[int] = mapped_column(BigInteger)
    detector: Mapped[int] = mapped_column(Integer)
    midpointMjdTai: Mapped[float] = mapped_column(Double)
    path: Mapped[str] = mapped_column(String(1024))
    digest: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(Integer)
    status_code: Mapped[int] = mapped_column(SmallInteger)
    n_attempts: Mapped[int] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(String(1024))
    created: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    sentMjdTai: Mapped[float | None] = mapped_column(Double)


class AlertTiming(Base):
    """When the shutter closed for an alert, when it was associated, and when written [d, MJD TAI].

    ``shutterCloseMjdTai`` is the middle of the exposure and half its length; when an alert was sent to a sink
    is told by `AlertOutbox`.
    """

    __tablename__ = "alert_timing"
    __table_args__ = (Index(None, "instrument", "visit", "detector"),)

    diaSourceId: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    instrument: Mapped[str] = mapped_column(String(64))
    visit: Mapped[int] = mapped_column(BigInteger)
    detector: Mapped[int] = mapped_column(Integer)
    shutterCloseMjdTai: Mapped[float] = mapped_column(Double)
    associatedMjdTai: Mapped[float] = mapped_column(Double)
    writtenMjdTai: Mapped[float] = mapped_column(Double)
