"""What searches for injected sources have found: depths of nights, visits and detectors, and their bins."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, or_, select

from astra.database.bulk import is_among
from astra.database.efficiency import efficiency_table, search_table


@dataclass(frozen=True)
class SearchRow:
    """A search: row of ``search_depth``, and its bins by magnitude and by signal to noise.

    Parameters
    ----------
    depth : mapping
        Columns of ``search_depth``.
    bins : mapping of str to sequence of mapping
        Columns of ``efficiency``, by quantity: ``mag`` and ``snr``.
    """

    depth: Mapping[str, Any]
    bins: Mapping[str, Sequence[Mapping[str, Any]]]


def searches_of_night(
    connection: Connection, instrument: str, day_obs: int, visits: Collection[int]
) -> list[SearchRow]:
    """Return the searches of a night: those of the whole night first, then visits, then detectors."""
    table = search_table.c
    query = (
        select(search_table)
        .where(
            table.instrument == instrument,
            or_(table.day_obs == day_obs, is_among(connection, table.visit, sorted(visits))),
        )
        .order_by(
            table.visit.is_not(None), table.detector.is_not(None), table.visit, table.detector, table.pk
        )
    )
    rows = [dict(row) for row in connection.execute(query).mappings()]
    bins: dict[int, dict[str, list[Mapping[str, Any]]]] = {}
    found = select(efficiency_table).where(
        is_among(connection, efficiency_table.c.search_pk, [row["pk"] for row in rows])
    )
    for row in connection.execute(found.order_by(efficiency_table.c.low)).mappings():
        bins.setdefault(row["search_pk"], {}).setdefault(row["quantity"], []).append(dict(row))
    return [SearchRow(row, bins.get(row["pk"], {})) for row in rows]
