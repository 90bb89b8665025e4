"""Jobs: parts of tasks that an executor runs elsewhere, as Slurm does."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from astra.database.models.base import Base, BigInt
from astra.database.models.state import UTC, Status


class Job(Base):
    """One element of an array of jobs: a task, or a batch of members of one, and what became of it.

    It is written before it is submitted, so that a submitter that is killed finds it again; the job itself
    writes its beginning and its end. ``owner`` is the task for whose sake it runs.
    """

    __tablename__ = "job"
    __table_args__ = (UniqueConstraint("submission", "number"), Index(None, "owner"))

    pk: Mapped[int] = mapped_column(BigInt, primary_key=True)
    executor: Mapped[str] = mapped_column(String(64))
    submission: Mapped[str] = mapped_column(String(64))
    number: Mapped[int] = mapped_column(Integer)
    external_id: Mapped[str | None] = mapped_column(String(64))
    owner: Mapped[str] = mapped_column(String(255))
    family: Mapped[str] = mapped_column(String(255))
    module: Mapped[str] = mapped_column(String(255))
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    attempt: Mapped[int] = mapped_column(Integer)
    status_code: Mapped[int] = mapped_column(Integer, default=Status.CREATED)
    message: Mapped[str | None] = mapped_column(Text)
    asked: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    folder: Mapped[str] = mapped_column(String(1024))
    host: Mapped[str | None] = mapped_column(String(255))
    submitter_pk: Mapped[int | None] = mapped_column(BigInt, ForeignKey("run.pk", ondelete="SET NULL"))
    run_pk: Mapped[int | None] = mapped_column(BigInt, ForeignKey("run.pk", ondelete="SET NULL"))
    since: Mapped[dt.datetime] = mapped_column(UTC)
    created: Mapped[dt.datetime] = mapped_column(UTC)
    started: Mapped[dt.datetime | None] = mapped_column(UTC)
    ended: Mapped[dt.datetime | None] = mapped_column(UTC)
