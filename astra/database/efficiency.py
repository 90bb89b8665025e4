"""What searches find of injected sources: rows written and asked for in the caller's transaction."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, and_, delete, exists, insert, select

from astra.database.bulk import is_among
from astra.database.models.efficiency import Efficiency, SearchDepth
from astra.database.survey import definition_table, raw_table, visit_table
from astra.sky.grouping import ONE_TO_ONE

search_table: Table = SearchDepth.__table__  # type: ignore[assignment]
efficiency_table: Table = Efficiency.__table__  # type: ignore[assignment]

SCOPE = ("task_id", "instrument", "visit", "detector", "day_obs", "band")


def write_efficiency(connection: Connection, row: Mapping[str, Any], table: NDArray[Any]) -> None:
    """Write how deep a search was and its bins, in place of older ones of the same task and scope.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    row : mapping
        All columns of ``search_depth`` but ``pk``.
    table : structured ndarray, dtype `astra.images.efficiency.EFFICIENCY_DTYPE`
        The bins.
    """
    same = and_(*(search_table.c[name].is_not_distinct_from(row[name]) for name in SCOPE))
    old = list(connection.execute(select(search_table.c.pk).where(same)).scalars())
    connection.execute(
        delete(efficiency_table).where(is_among(connection, efficiency_table.c.search_pk, old))
    )
    connection.execute(delete(search_table).where(is_among(connection, search_table.c.pk, old)))
    values = {name: _finite(value) for name, value in row.items()}
    pk = connection.execute(insert(search_table).values(values).returning(search_table.c.pk)).scalar_one()
    bins = [{"search_pk": pk, **_columns(line)} for line in table]
    if bins:
        connection.execute(insert(efficiency_table), bins)


def _columns(line: np.void) -> dict[str, Any]:
    """Columns of one bin, in snake case, what is not finite as null."""
    names = line.dtype.names or ()
    return {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): _finite(line[name].item()) for name in names}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def bands_of_visits(
    connection: Connection, instrument: str, visits: Iterable[int], visit_system: int = ONE_TO_ONE
) -> dict[int, str]:
    """Return the bands of visits, by id; those of several bands are left out."""
    table = visit_table
    query = select(table.c.visit, table.c.band).where(
        table.c.instrument == instrument,
        table.c.visit_system == visit_system,
        table.c.band.is_not(None),
        is_among(connection, table.c.visit, sorted(set(visits))),
    )
    return {row.visit: row.band for row in connection.execute(query)}


def detectors_of_visits(
    connection: Connection,
    instrument: str,
    visits: Sequence[int] = (),
    day_obs: int | None = None,
    visit_system: int = ONE_TO_ONE,
) -> list[tuple[int, int]]:
    """Return visits and their detectors that have raws, sorted, of visits that are named or of a night."""
    definition, raw = definition_table, raw_table
    conditions = [visit_table.c.instrument == instrument, visit_table.c.visit_system == visit_system]
    if visits:
        conditions.append(is_among(connection, visit_table.c.visit, sorted(set(visits))))
    if day_obs is not None:
        conditions.append(visit_table.c.day_obs == day_obs)
    chosen = exists().where(
        *conditions,
        *(visit_table.c[name] == definition.c[name] for name in ("instrument", "visit_system", "visit")),
    )
    query = (
        select(definition.c.visit, raw.c.detector)
        .join(raw, and_(raw.c.instrument == definition.c.instrument, raw.c.exposure == definition.c.exposure))
        .where(chosen)
        .distinct()
        .order_by(definition.c.visit, raw.c.detector)
    )
    return [(row.visit, row.detector) for row in connection.execute(query)]
