"""Large batches by reference: what travels in the place of the values of a batch.

The values of a batch parameter are stored once in the state database under the hash of their text, and
``@batch:<hash>:<number of values>`` stands for them in all that is sent to a scheduler, written to a state
row or shown. A worker that is handed the reference asks the database, which it needs anyway, so that no
folder must be shared beside it. The identity of a batch does not depend on how it travels.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luigi.parameter import ParameterVisibility

from astra import config
from astra.errors import MissingDataError
from astra.tasks.batch import REFERENCE, is_batchable

if TYPE_CHECKING:
    from astra.tasks.members import BatchMode

LARGE_BATCH = 300  # members; the text of fewer is short enough to travel
HASH_DIGITS = 32  # 128 bits: nobody meets a collision

_PATTERN = re.compile(rf"{REFERENCE}([0-9a-f]{{{HASH_DIGITS}}}):([0-9]+)")
_stored: set[tuple[str, str]] = set()


def is_large(task: BatchMode) -> bool:
    """Say whether the values of a task travel by reference."""
    return task.is_batch_mode and task.get_batch_size() > LARGE_BATCH


def store(task: BatchMode) -> dict[str, str]:
    """Store the values of a large batch; return the reference to those of each parameter by name."""
    from astra.database.batches import store_values
    from astra.database.engine import transaction

    url, size = database_url(task.output_root), task.get_batch_size()
    references, new = {}, {}
    for name, parameter in task.get_params():
        if not is_batchable(parameter) or parameter.visibility == ParameterVisibility.PRIVATE:
            continue  # what is private is not handed on
        text = parameter.serialize(task.param_kwargs[name])
        digest = hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]
        references[name] = f"{REFERENCE}{digest}:{size}"
        if (url, digest) not in _stored:
            new[digest] = text
    if new:
        with transaction(url) as connection:
            store_values(connection, new, size)
        _stored.update((url, digest) for digest in new)
    return references


def resolve(texts: Mapping[str, Any], batch_names: Iterable[str]) -> dict[str, Any]:
    """Replace the references among the texts of batch parameters by the texts that they stand for."""
    url = ""
    resolved = dict(texts)
    for name in batch_names:
        text = texts.get(name)
        if isinstance(text, str) and text.startswith(REFERENCE):
            url = url or database_url(texts.get("output_root", ""))
            resolved[name] = load(text, url)
    return resolved


def load(reference: str, url: str = "") -> str:
    """Return the text that a reference stands for: a JSON list of the text of each value.

    Parameters
    ----------
    reference : str
        As `store` returns them.
    url : str
        Database; default: the configured one.

    Raises
    ------
    MissingDataError
        If it is no reference, or the database does not hold it.
    """
    from astra.database.batches import load_values
    from astra.database.engine import mask_url, reading

    url = url or config.database_url()
    found = _PATTERN.fullmatch(reference)
    if found is not None:
        with reading(url) as connection:
            text = load_values(connection, found[1])
        if text is not None and len(json.loads(text)) == int(found[2]):
            return text
    message = (
        f"the values of batch parameter {reference[:80]!r} are not in database {mask_url(url)}; "
        "use the database in which the batch was made, or run it from its values again"
    )
    raise MissingDataError(message, reference=reference[:80], database=mask_url(url))


def database_url(output_root: str) -> str:
    """Return the URL of the database of tasks with this root of products; of the configured one if empty."""
    if output_root:
        return config.own_database_url(Path(output_root).absolute())
    return config.database_url()
