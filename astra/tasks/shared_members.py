"""Tasks and members of a batch that another worker has in hand: they are left to it for as long as it lives.

Workers that plan the same objects may cut them into different batches, or not at all; these are different
tasks for the scheduler. The database knows which of them run, and of each its members. Of two that share
members the one that has begun earlier makes them; the other makes what is its own first, then waits until
the rest is done, or nobody has it in hand any more.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from astra.tasks.others import ask_scheduler
from astra.tasks.runner import utc_now

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from astra.database.held import Holder
    from astra.tasks.recording import Recorder

Key = TypeVar("Key", int, str)

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0  # between two looks

logger = logging.getLogger("luigi-interface")


class SharedMembers:
    """What other attempts have in hand of a batch, or a single task, that runs in this process.

    Parameters
    ----------
    url : str
        Database.
    keys : mapping
        Keys in it of the task and of its members, by task id.
    batch_id : str
        Id of the task.
    """

    def __init__(self, url: str, keys: Mapping[str, int], batch_id: str) -> None:
        self._url = url
        self._keys = keys
        self._batch_id = batch_id
        self._attempt = 0
        self.held: set[str] = set()  # ids of members

    def begin(self, connection: Connection, undone: Collection[str], run_pk: int, pid: int) -> None:
        """Look who has members in hand, in the transaction in which the task is written as running."""
        from astra.database.held import running_attempt

        self._attempt = running_attempt(connection, self._keys[self._batch_id], run_pk, pid)
        self.held = set(self._holders(connection, undone))

    def _holders(self, connection: Connection, ids: Iterable[str]) -> dict[str, list[Holder]]:
        from astra.database.held import holders

        by_key = {self._keys[task_id]: task_id for task_id in ids}
        found = holders(connection, list(by_key), self._keys[self._batch_id], self._attempt)
        return {by_key[key]: some for key, some in found.items()}

    def _still_held(self) -> set[str]:
        from astra.database.engine import reading

        with reading(self._url) as connection:
            found = self._holders(connection, self.held)
        return _held_alive(found)

    def wait(self, done_among: Callable[[set[str]], set[str]]) -> tuple[set[str], set[str]]:
        """Wait until some of what others have in hand is done, or nobody has it any more.

        Parameters
        ----------
        done_among : callable
            Returns which of some tasks are done, by id.

        Returns
        -------
        done, free : set of str
            Ids of what others have made, and of what is to be made here.
        """
        what = "a batch that makes it" if self._batch_id in self.held else f"{len(self.held)} members"
        logger.info("%s waits for %s: others have that in hand", self._batch_id, what)
        wait_s = FIRST_WAIT_S
        while True:
            held = self._still_held()
            done = done_among(self.held)  # after it: what has ended in between is seen as done
            free = self.held - held - done
            if done or free:
                self.held -= done | free
                return done, free
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def is_made_by_others(recorder: Recorder) -> bool:
    """Wait for the batch that a single task is a member of, if another attempt at one has it in hand.

    Returns
    -------
    made : bool
        Whether the task is done then; else it is to be made here.
    """
    shared, task = recorder.shared, recorder.task
    if shared is None or task.is_batch_mode or not shared.held:
        return False
    done, _ = shared.wait(task.done_ids)
    recorder.started = utc_now()
    return bool(done)


def held_ids(url: str, keys: Mapping[str, int]) -> set[str]:
    """Return which of some single tasks are in the hand of a batch that is known to live.

    Parameters
    ----------
    url : str
        Database.
    keys : mapping
        Keys in it by task id.
    """
    from astra.database.engine import reading
    from astra.database.held import batches_at

    with reading(url) as connection:
        found = batches_at(connection, keys.values())
    alive = _held_alive(found)
    return {task_id for task_id, key in keys.items() if key in alive}


def _held_alive(found: Mapping[Key, Collection[Holder]]) -> set[Key]:
    """Return what is in the hand of anyone who is known to live, of what some have in hand."""
    alive = alive_among({holder for some in found.values() for holder in some}) if found else set()
    return {key for key, some in found.items() if not alive.isdisjoint(some)}


def alive_among(some: Collection[Holder]) -> set[Holder]:
    """Return those that are known to live, here by the system, elsewhere by the scheduler.

    What this process has left to an executor does not go on while it waits, and is not among them.
    """
    from astra.tasks.plan import is_alive

    here = socket.gethostname()
    near = (holder for holder in some if holder.host == here and holder.pid != os.getpid())
    own = {holder for holder in near if is_alive(holder.pid)}
    elsewhere = [holder for holder in some if holder.host != here]
    running: Any = ask_scheduler("running_among", sorted({holder.task_id for holder in elsewhere}))
    return own | {holder for holder in elsewhere if holder.task_id in (running or ())}
