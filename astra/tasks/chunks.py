"""Batches too large for one task, split into chunks by what their members are.

The members are divided by the leading bits of their hashes, until no part is larger than the class allows.
Which chunk a member is in depends on the members alone, not on their order, and one more of them changes the
one chunk that it falls into, or divides that chunk in two; all the others keep their task ids.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import luigi

from astra.tasks.base import AstraTask
from astra.tasks.batch import HASH_DIGITS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_CHUNK_SIZE = 1000  # members; where a class does not set `max_batch_size`
HASH_BITS = 4 * HASH_DIGITS


def split(task: AstraTask, size: int | None = None) -> list[AstraTask]:
    """Split a batch into batches of at most the number of members that its class allows.

    Parameters
    ----------
    task : AstraTask
        A batch of any size, or a single task.
    size : int, optional
        Largest number of members of a chunk; default `max_batch_size` of the class, and
        `DEFAULT_CHUNK_SIZE` where it sets none.

    Returns
    -------
    list of AstraTask
        In the order of their members' hashes. Equal members count once. A batch that is small enough is
        returned as it is.
    """
    import numpy as np

    size = chunk_size(type(task)) if size is None else size
    if task.get_batch_size() <= size:
        return [task]
    hashes = np.fromiter(
        (int(task_id[-HASH_DIGITS:], 16) for task_id in task.iterate_member_ids()),
        np.uint64,
        task.get_batch_size(),
    )
    hashes, first = np.unique(hashes, return_index=True)
    names = task.batch_param_names()
    common = {name: value for name, value in task.param_kwargs.items() if name not in names}
    chunks = []
    for part in _parts(hashes, size):
        rows = first[part].tolist()
        own = {name: tuple(map(task.param_kwargs[name].__getitem__, rows)) for name in names}
        chunks.append(type(task)(**common, **own))
    return chunks


def chunk_size(cls: type[AstraTask]) -> int:
    """Return the largest number of members of a chunk of a class.

    Raises
    ------
    ValueError
        If the class allows none.
    """
    size = cls.max_batch_size
    if size == math.inf:
        return DEFAULT_CHUNK_SIZE
    if size < 1:
        message = f"{cls.__name__}.max_batch_size is {size}, but a batch needs at least one member"
        raise ValueError(message)
    return int(size)


def _parts(hashes: NDArray[np.uint64], size: int) -> Iterator[slice]:
    """Divide sorted hashes at their leading bits until no part holds more than ``size``."""
    import numpy as np

    open_parts = [(0, len(hashes), 0, 0)]  # first, end, bits that are common, their value
    while open_parts:
        first, end, bits, prefix = open_parts.pop()
        if end - first <= size:
            if end > first:
                yield slice(first, end)
            continue
        middle = ((prefix << 1) + 1) << (HASH_BITS - bits - 1)
        cut = first + int(np.searchsorted(hashes[first:end], np.uint64(middle)))
        # The lower half goes on top, so that the parts come in the order of the hashes.
        open_parts.append((cut, end, bits + 1, (prefix << 1) + 1))
        open_parts.append((first, cut, bits + 1, prefix << 1))


class InChunks(luigi.WrapperTask):
    """Run a large batch of any task in chunks; done when they all are.

    ``InChunks.of(ProcessCcd(visit=visits, ...))`` wraps a batch. Its parameters are short: the values of the
    batch stay in the state database, where a worker of another process finds them.
    """

    family = luigi.Parameter(description="Family of the task.")
    module = luigi.Parameter(default="astra", description="Module that defines the task.")
    parameters = luigi.Parameter(description="Text form of the parameters of the whole batch, as JSON.")

    @classmethod
    def of(cls, task: AstraTask) -> Self:
        """Wrap a batch."""
        texts = json.dumps(task.to_str_params(), sort_keys=True, separators=(",", ":"))
        wrapper = cls(family=task.task_family, module=task.task_module, parameters=texts)
        wrapper._chunks = split(task)
        return wrapper

    _chunks: list[AstraTask] | None = None

    def requires(self) -> list[AstraTask]:
        """Return the chunks."""
        if self._chunks is None:
            task: Any = luigi.task_register.load_task(self.module, self.family, json.loads(self.parameters))
            self._chunks = split(task)
        return self._chunks

    def __repr__(self) -> str:
        """Tell the family of the task and the number of chunks."""
        return f"InChunks({self.family}: chunks={len(self.requires())})"
