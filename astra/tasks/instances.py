"""Luigi's instances of tasks: it keeps every task that is made for as long as the process lives.

That makes equal tasks one object, which matters while tasks are planned. The single tasks that members of
batches require are made when the members run, by the ten thousand, and nobody asks for them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from luigi.task_register import Register


@contextmanager
def forgotten_instances() -> Iterator[None]:
    """Let Luigi forget the tasks made inside, unless an error ends it; what was there before stays."""
    known = _known()
    n_before = len(known or ())
    yield
    if known is not None and known is _known():  # else it has forgotten all meanwhile, or keeps none
        while len(known) > n_before:
            known.popitem()


def _known() -> dict[Any, Any] | None:
    known: dict[Any, Any] | None = vars(Register).get("_Register__instance_cache")
    return known
