"""State of tasks: who ran what, when, with which parameters, and how it ended."""

from __future__ import annotations

import datetime as dt
from enum import IntEnum
from typing import Any

from sqlalchemy import (
    JSON,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from astra.database.models.base import Base, BigInt


class Status(IntEnum):
    """Status codes of a task."""

    CREATED = 0
    DONE = 1
    RUNNING = 2
    FAILED = 30
    PROCESS_DIED = 40
    BROKEN = 50
    DEPENDENCY_MISSING = 60
    TIMED_OUT = 70


UTC = DateTime(timezone=True)
_IS_TOLD = text("message IS NOT NULL")
# The visit among a task's own parameters, in the words of both databases.
VISIT_OF = "(parameters ->> 'visit')"
_HAS_VISIT = text(f"{VISIT_OF} IS NOT NULL")


class Run(Base):
    """One invocation of the program."""

    __tablename__ = "run"

    pk: Mapped[int] = mapped_column(BigInt, primary_key=True)
    command: Mapped[str] = mapped_column(Text)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(Integer)
    version: Mapped[str] = mapped_column(String(64))
    packages: Mapped[dict[str, str]] = mapped_column(JSON)
    configuration: Mapped[dict[str, Any]] = mapped_column(JSON)
    started: Mapped[dt.datetime] = mapped_column(UTC)
    ended: Mapped[dt.datetime | None] = mapped_column(UTC)
    exit_status: Mapped[int | None] = mapped_column(Integer)


class TaskConstants(Base):
    """Parameters that the members of a batch have in common, under the hash of their text."""

    __tablename__ = "task_constants"
    __table_args__ = (UniqueConstraint("digest"),)

    pk: Mapped[int] = mapped_column(BigInt, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)


class Task(Base):
    """One row per task, per batch (``batch_size`` is set) and per member of a batch.

    ``parameters`` holds those that may differ between the members of a batch; the others are those of
    ``constants``. `all_parameters` has both.
    """

    __tablename__ = "task"
    # No index on what changes with the state: PostgreSQL then rewrites a row without touching any index.
    __table_args__ = (
        UniqueConstraint("task_id"),
        Index(None, "family"),
        Index("ix_task_visit", text(VISIT_OF), sqlite_where=_HAS_VISIT, postgresql_where=_HAS_VISIT),
    )

    pk: Mapped[int] = mapped_column(BigInt, primary_key=True)
    task_id: Mapped[str] = mapped_column(String(255))
    family: Mapped[str] = mapped_column(String(255))
    module: Mapped[str] = mapped_column(String(255))
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    constants_pk: Mapped[int | None] = mapped_column(BigInt, ForeignKey("task_constants.pk"))
    status_code: Mapped[int] = mapped_column(Integer, default=Status.CREATED)
    batch_size: Mapped[int | None] = mapped_column(BigInt)
    created: Mapped[dt.datetime] = mapped_column(UTC)
    started: Mapped[dt.datetime | None] = mapped_column(UTC)
    modified: Mapped[dt.datetime] = mapped_column(UTC)
    completed: Mapped[dt.datetime | None] = mapped_column(UTC)
    duration: Mapped[float | None] = mapped_column(Float)
    overhead: Mapped[float | None] = mapped_column(Float)
    run_pk: Mapped[int | None] = mapped_column(BigInt, ForeignKey("run.pk", ondelete="SET NULL"))
    version: Mapped[str] = mapped_column(String(64))
    constants: Mapped[TaskConstants | None] = relationship(lazy="joined")

    @property
    def all_parameters(self) -> dict[str, Any]:
        """Text of all public parameters by name."""
        common = self.constants.parameters if self.constants is not None else {}
        return {**self.parameters, **common}


class TaskAttempt(Base):
    """One row per attempt at a task: where, how long, and what went wrong."""

    __tablename__ = "task_attempt"
    # Of attempts that say why they did not succeed, which are few.
    __table_args__ = (
        Index(None, "task_pk"),
        Index("ix_task_attempt_told", "task_pk", sqlite_where=_IS_TOLD, postgresql_where=_IS_TOLD),
    )

    pk: Mapped[int] = mapped_column(BigInt, primary_key=True)
    task_pk: Mapped[int] = mapped_column(BigInt, ForeignKey("task.pk", ondelete="CASCADE"))
    run_pk: Mapped[int | None] = mapped_column(BigInt, ForeignKey("run.pk", ondelete="SET NULL"))
    status_code: Mapped[int] = mapped_column(Integer)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(Integer)
    started: Mapped[dt.datetime] = mapped_column(UTC)
    ended: Mapped[dt.datetime | None] = mapped_column(UTC)
    duration: Mapped[float | None] = mapped_column(Float)
    exit_signal: Mapped[int | None] = mapped_column(Integer)
    error_class: Mapped[str | None] = mapped_column(String(255))
    message: Mapped[str | None] = mapped_column(Text)
    context: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    traceback: Mapped[str | None] = mapped_column(Text)
    log: Mapped[str | None] = mapped_column(Text)


class BatchInterface(Base):
    """Membership of a task in a batch."""

    __tablename__ = "batch_interface"
    __table_args__ = (Index(None, "child_task_pk"),)

    parent_task_pk: Mapped[int] = mapped_column(
        BigInt, ForeignKey("task.pk", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(BigInt, primary_key=True)
    child_task_pk: Mapped[int] = mapped_column(BigInt, ForeignKey("task.pk", ondelete="CASCADE"))


class TaskDependency(Base):
    """Lineage: which task needed which."""

    __tablename__ = "task_dependency"
    __table_args__ = (Index(None, "required_task_pk"),)

    task_pk: Mapped[int] = mapped_column(BigInt, ForeignKey("task.pk", ondelete="CASCADE"), primary_key=True)
    required_task_pk: Mapped[int] = mapped_column(
        BigInt, ForeignKey("task.pk", ondelete="CASCADE"), primary_key=True
    )


class DataProduct(Base):
    """A file that a task wrote."""

    __tablename__ = "data_product"
    __table_args__ = (UniqueConstraint("path"), Index(None, "task_pk"))

    pk: Mapped[int] = mapped_column(BigInt, primary_key=True)
    path: Mapped[str] = mapped_column(String(1024))
    kind: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInt)
    checksum: Mapped[str] = mapped_column(String(64))
    modified_ns: Mapped[int | None] = mapped_column(BigInt)
    created: Mapped[dt.datetime] = mapped_column(UTC)
    task_pk: Mapped[int | None] = mapped_column(BigInt, ForeignKey("task.pk", ondelete="SET NULL"))


class FileVersion(Base):
    """A file that tasks have read, as it was then; size and time of change are the quick test of it."""

    __tablename__ = "file_version"
    __table_args__ = (UniqueConstraint("path", "checksum"),)

    pk: Mapped[int] = mapped_column(BigInt, primary_key=True)
    path: Mapped[str] = mapped_column(String(1024))
    checksum: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInt)
    modified_ns: Mapped[int] = mapped_column(BigInt)


class TaskInput(Base):
    """A file that a task has read."""

    __tablename__ = "task_input"
    __table_args__ = (Index(None, "file_pk"),)

    task_pk: Mapped[int] = mapped_column(BigInt, ForeignKey("task.pk", ondelete="CASCADE"), primary_key=True)
    file_pk: Mapped[int] = mapped_column(BigInt, ForeignKey("file_version.pk"), primary_key=True)


class TaskMetadata(Base):
    """A named figure of a task: timing or quality; keys are ``family:step.item``."""

    __tablename__ = "task_metadata"

    task_pk: Mapped[int] = mapped_column(BigInt, ForeignKey("task.pk", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)


class BatchParameter(Base):
    """The values of one parameter of a large batch, under the hash of their text."""

    __tablename__ = "batch_parameters"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    n_values: Mapped[int] = mapped_column(BigInt)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    created: Mapped[dt.datetime] = mapped_column(UTC)
