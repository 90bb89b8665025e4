"""State of a task by hand: the calls of the task API of 2021, with their documented meaning.

`run` is recorded by itself (`astra.tasks.recording`); these are for tasks that keep their own books, for
notebooks and for repairs. Each call is one transaction, and one of a batch touches all its members at once.
What `run` marks by them stands when it ends: as failed, or as done within the time that it tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import luigi

from astra.tasks.runner import current_invocation, utc_now

if TYPE_CHECKING:
    from sqlalchemy import Row

    from astra.database.models.state import Status


class StateApi:
    """The part of a task that reads and writes its own state."""

    if TYPE_CHECKING:
        task_id: str

        member_ids: Callable[[], list[str]]
        state_record: Callable[[], Any]
        member_records: Callable[[], Iterator[Any]]
        trigger_event: Callable[..., None]
        recorder: Any

        @property
        def database_url(self) -> str:
            """URL of the database."""

        @property
        def is_batch_mode(self) -> bool:
            """Whether this is a batch."""

    def query_state(self, full_output: bool = False) -> Any:
        """Return an ORM query for the row of this task; looking creates nothing.

        With ``full_output`` the query, the model and the filter come as a triple.
        """
        from astra.database.models.state import Task
        from astra.database.task_rows import query_tasks

        self._expose()
        keys = {"module": type(self).__module__, "task_id": self.task_id}
        query = query_tasks(self.database_url, keys)
        return (query, Task, keys) if full_output else query

    def get_or_create_state(self, defaults: dict[str, Any] | None = None) -> tuple[Row[Any], bool]:
        """Return the row of this task and whether it had to be created, with ``defaults`` then."""
        from astra.database import task_rows
        from astra.database.engine import transaction

        self._expose()
        run_pk = current_invocation().run_pk(self.database_url)
        with transaction(self.database_url) as connection:
            row = task_rows.get_task_row(connection, self.task_id)
            if row is not None:
                return row, False
            task_rows.add_task_rows(connection, [self.state_record()], run_pk, utc_now())
            if defaults:
                task_rows.change_task_rows(connection, [self.task_id], defaults)
            created = task_rows.get_task_row(connection, self.task_id)
        if created is None:
            message = f"the row of {self.task_id} has gone while it was created"
            raise LookupError(message)
        return created, True

    def create_state(self) -> tuple[int, ...]:
        """Write the rows of this task and its members that are not there; return the keys, parent first."""
        from astra.database import task_rows
        from astra.database.engine import transaction
        from astra.database.state import link_batch

        self._expose(marks=True)
        run_pk = current_invocation().run_pk(self.database_url)
        records = [self.state_record(), *self.member_records()]
        with transaction(self.database_url) as connection:
            keys = task_rows.add_task_rows(connection, records, run_pk, utc_now())
            if self.is_batch_mode:
                link_batch(connection, self.task_id, self.member_ids())
        return tuple(keys[record.task_id] for record in records)

    def delete_state(self, cascade: bool = False) -> int:
        """Delete the row of this task, with ``cascade`` those of its members too; return how many."""
        from astra.database.engine import transaction
        from astra.database.task_rows import delete_task_rows

        self._expose(marks=True)
        with transaction(self.database_url) as connection:
            return delete_task_rows(connection, self._own_ids(cascade))

    def update_state(self, state: dict[str, Any], cascade: bool = False) -> int:
        """Set columns of the row of this task, with ``cascade`` of its members too; return how many.

        A status brings the times along that go with it: a task that is set to 1 counts as done.
        """
        from astra.database.engine import transaction
        from astra.database.task_rows import change_task_rows

        self._expose(marks=True)
        with transaction(self.database_url) as connection:
            return change_task_rows(connection, self._own_ids(cascade), state)

    def trigger_event_start(self) -> None:
        """Write that this task and its members run, and fire START."""
        self.create_state()
        self._set_status("RUNNING")
        self.trigger_event(luigi.Event.START, self)

    def trigger_event_succeeded(self) -> None:
        """Write that this task and its members are done, and fire SUCCESS."""
        self.create_state()
        self._set_status("DONE")
        self.trigger_event(luigi.Event.SUCCESS, self)

    def trigger_event_failed(self, exception: BaseException | None = None) -> None:
        """Write that this task and its members have failed, and fire FAILURE."""
        self.create_state()
        self._set_status("FAILED")
        self.trigger_event(luigi.Event.FAILURE, self, exception)

    def trigger_event_processing_time(self, duration: float, cascade: bool = False) -> None:
        """Write how long this task took [s] and fire PROCESSING_TIME; with ``cascade`` it is done too."""
        self.create_state()
        self.update_state({"duration": float(duration), "modified": utc_now()})
        self.trigger_event(luigi.Event.PROCESSING_TIME, self, duration)
        if cascade:
            self.trigger_event_succeeded()

    def _expose(self, *, marks: bool = False) -> None:
        """Have what is known of a run written, before it looks at its row or marks it."""
        expose = getattr(self.recorder, "expose", None)
        if expose is not None:
            expose(marks=marks)

    def _own_ids(self, cascade: bool) -> list[str]:
        if not cascade or not self.is_batch_mode:
            return [self.task_id]
        return list(dict.fromkeys([self.task_id, *self.member_ids()]))

    def _set_status(self, name: str) -> None:
        from astra.database.models.state import Status
        from astra.database.task_rows import values_of_status

        status: Status = Status[name]
        self.update_state(values_of_status(status, utc_now()), cascade=True)
