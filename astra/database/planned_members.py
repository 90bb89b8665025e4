"""Rows of the members of batches that are about to run, made column by column.

A night has ten thousands of them, which differ in their id and a few parameters alone: an object and a dict
for each would take longer than the database does.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from astra.database.bulk import JsonText
from astra.database.constants import Constants
from astra.database.models.state import Status
from astra.database.state import PLANNED_ROWS


@dataclass(frozen=True)
class MemberColumns:
    """Members of one batch, or some of them.

    Parameters
    ----------
    task_ids : list of str
        Their ids.
    parameters : list of JsonText
        Their own parameters, in the same order, each a JSON object.
    family, module, version : str
        What all have in common, see `astra.database.state.TaskRecord`.
    constants : mapping
        Their other parameters.
    """

    task_ids: Sequence[str]
    parameters: Sequence[JsonText]
    family: str
    module: str
    version: str
    constants: Mapping[str, Any]


def json_objects(columns: Mapping[str, Iterable[str]], size: int) -> list[JsonText]:
    """Return the JSON object of each of ``size`` rows of texts, without a dict for each.

    Parameters
    ----------
    columns : mapping
        The texts by name, in the order of the names in the objects.
    size : int
        Number of rows.
    """
    if not columns:
        return [JsonText("{}")] * size
    encode = json.encoder.encode_basestring_ascii
    slots = (f"{encode(name).replace('%', '%%')}: %s" for name in columns)
    template = "{" + ", ".join(slots) + "}"
    rows = itertools.islice(zip(*(map(encode, column) for column in columns.values()), strict=False), size)
    return [JsonText(template % row) for row in rows]


def member_rows(
    constants: Constants, members: Iterable[MemberColumns], run_pk: int, now: dt.datetime
) -> Iterator[dict[str, list[Any]]]:
    """Yield the columns of rows in parts of about `PLANNED_ROWS`, each member once in a part.

    Parameters
    ----------
    constants : Constants
        Where the parameters that they share are stored.
    members : iterable of MemberColumns
        The members.
    run_pk : int
        The invocation that plans them.
    now : datetime
        Wall clock, timezone-aware UTC.
    """
    rows = _Rows()
    for some in members:
        rows.add(some, constants.key(some.constants))
        if len(rows) >= PLANNED_ROWS:
            yield rows.columns(run_pk, now)
            rows = _Rows()
    if len(rows):
        yield rows.columns(run_pk, now)


class _Rows:
    """Rows that are gathered for one statement, which must not name one twice."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._varied: dict[str, list[Any]] = {
            name: [] for name in ("task_id", "parameters", "family", "module", "version", "constants_pk")
        }

    def __len__(self) -> int:
        return len(self._varied["task_id"])

    def add(self, some: MemberColumns, constants_pk: int | None) -> None:
        """Add members; those that are there already, from another batch, are left out."""
        parameters = dict(zip(some.task_ids, some.parameters, strict=True))
        if not self._seen.isdisjoint(parameters):
            parameters = {task_id: own for task_id, own in parameters.items() if task_id not in self._seen}
        self._seen.update(parameters)
        self._varied["task_id"] += parameters.keys()
        self._varied["parameters"] += parameters.values()
        common = {
            "family": some.family,
            "module": some.module,
            "version": some.version,
            "constants_pk": constants_pk,
        }
        for name, value in common.items():
            self._varied[name] += itertools.repeat(value, len(parameters))

    def columns(self, run_pk: int, now: dt.datetime) -> dict[str, list[Any]]:
        """Return all columns of the rows."""
        common = {
            "status_code": int(Status.CREATED),
            "batch_size": None,
            "created": now,
            "modified": now,
            "completed": None,
            "run_pk": run_pk,
        }
        return {**self._varied, **{name: [value] * len(self) for name, value in common.items()}}
