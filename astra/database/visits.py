"""Writing visits: new ones, those that have grown, and those that were defined otherwise.

All writes of a visit stand in the caller's transaction. A visit is keyed by instrument and system, so that
the rules that define them do not meet. What a visit has is never taken from it: an update adds exposures and
detectors, and computes the rest from all exposures that it has then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from lsst.sphgeom import ConvexPolygon
from sqlalchemy import Connection, and_, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from astra.database.exposures import exposure_records
from astra.database.state import order_writers, upsert
from astra.database.survey import (
    definition_table,
    membership_table,
    region_table,
    system_table,
    visit_table,
)
from astra.errors import ConfigError, ConflictingDefinitionError
from astra.sky.grouping import in_order
from astra.sky.regions import decode_polygon, encode, hull_of_regions
from astra.sky.visit_regions import CALIBRATED, VisitRegions, same_region
from astra.sky.visits import ExposureRecord, VisitDefinition, different_columns, visit_columns

FindRegions = Callable[[Connection, Sequence[ExposureRecord]], VisitRegions]
KEY = ("instrument", "visit_system", "visit")


class Outcome(IntEnum):
    """What has become of a visit; of the same visit in several systems the highest counts."""

    SKIPPED = 0
    PARTIALLY_UPDATED = 1
    FULLY_UPDATED = 2
    NEW = 3


@dataclass(frozen=True)
class DefineOptions:
    """What to do with visits that are there already, and which exposures to take.

    Parameters
    ----------
    update_records : bool
        Change what a visit says to what its exposures say now, where this differs.
    incremental : bool
        Exposures of a visit come in one by one: take those that are ingested already too, and update.
    skip_conflicting : bool
        Leave a visit that is defined otherwise as it is, instead of an error.
    prefilter : bool
        Leave exposures out, unseen, all of whose visits are there.
    check_detector_regions : bool
        Add the regions of detectors that a visit lacks.
    collections : tuple of str
        Use the raws of these collections; all if empty.
    ignore_non_science : bool
        Leave exposures out that cannot be placed on the sky, instead of an error.

    Raises
    ------
    ConfigError
        If what is filtered out would have to be updated.
    """

    update_records: bool = False
    incremental: bool = False
    skip_conflicting: bool = False
    prefilter: bool = False
    check_detector_regions: bool = False
    collections: tuple[str, ...] = ()
    ignore_non_science: bool = True

    def __post_init__(self) -> None:
        if self.prefilter and self.updates:
            name = "incremental" if self.incremental else "update_records"
            message = f"prefilter leaves out what {name} would update; give one of the two"
            raise ConfigError(message, prefilter=True, **{name: True})

    @property
    def updates(self) -> bool:
        """Whether visits that are there are changed: if exposures come in one by one, they must be."""
        return self.update_records or self.incremental


def sync_visit(
    connection: Connection,
    definition: VisitDefinition,
    find_regions: FindRegions,
    options: DefineOptions,
) -> Outcome:
    """Write a visit in all its systems, which are registered, unless it is there as it must be.

    Parameters
    ----------
    connection : Connection
        In a transaction, which holds all of it.
    definition : VisitDefinition
        The visit.
    find_regions : callable
        Finds the regions of exposures.
    options : DefineOptions
        What to do if the visit is there.

    Raises
    ------
    ConflictingDefinitionError
        If the visit is defined already, otherwise, and must not be updated.
    """
    # Always in one order: two processes that define one visit would else wait for each other.
    systems = sorted(definition.systems)
    return max(_Row(connection, definition, system, find_regions).sync(options) for system in systems)


def unknown_systems(connection: Connection, instrument: str, names: Mapping[int, str]) -> dict[int, str]:
    """Return the systems of visits that an instrument does not have yet.

    Raises
    ------
    ConfigError
        If it has one of another name, or another one of that name.
    """
    query = select(system_table.c.visit_system, system_table.c.name)
    rows = connection.execute(query.where(system_table.c.instrument == instrument))
    known = {row.visit_system: row.name for row in rows}
    numbers = {name: system for system, name in known.items()}
    for system, name in names.items():
        if known.get(system, name) != name or numbers.get(name, system) != system:
            other = system if known.get(system, name) != name else numbers[name]
            found = f"{other} is {known[other]}"
            message = f"visit system {system} of {instrument} cannot be {name}: in this database {found}"
            raise ConfigError(message, visit_system=system, name=name)
    return {system: name for system, name in names.items() if system not in known}


def register_systems(connection: Connection, instrument: str, names: Mapping[int, str]) -> None:
    """Write the systems of visits that an instrument does not have yet, in a transaction of their own.

    Others that write them, or visits in them, wait.

    Raises
    ------
    ConfigError
        If it has one of another name, or another one of that name.
    """
    order_writers(connection)
    rows = [
        {"instrument": instrument, "visit_system": system, "name": name}
        for system, name in unknown_systems(connection, instrument, names).items()
    ]
    if rows:
        connection.execute(insert(system_table), rows)


@dataclass(frozen=True)
class _Difference:
    """How a visit must be, and is not: columns, exposures, and regions that it lacks or has elsewhere."""

    columns: Mapping[str, Any]
    added: list[int]
    removed: list[int]
    missing: Mapping[int, ConvexPolygon]
    moved: Mapping[int, ConvexPolygon]
    known_regions: Mapping[int, ConvexPolygon]
    source: str


class _Row:
    """A visit in one system, and what the database has of it."""

    def __init__(
        self, connection: Connection, definition: VisitDefinition, system: int, find_regions: FindRegions
    ) -> None:
        self.connection, self.definition = connection, definition
        self.key = {"instrument": definition.instrument, "visit_system": system, "visit": definition.visit}
        self.find_regions = find_regions

    def sync(self, options: DefineOptions) -> Outcome:
        """Insert the visit, or compare or update the one that is there."""
        known = self._known()
        if known is None:
            if self._insert():
                return Outcome.NEW
            known = self._known() or {}  # another process was faster
        difference = self._compare(known, options)
        if not options.updates:
            self._require_same(known, difference)
        return self._apply(known, difference, options)

    def _where(self, table: Any) -> Any:
        return and_(*(table.c[name] == value for name, value in self.key.items()))

    def _known(self) -> dict[str, Any] | None:
        """Return the row that is there, locked against others that may update it."""
        query = select(visit_table).where(self._where(visit_table)).with_for_update()
        row = self.connection.execute(query).one_or_none()
        return None if row is None else dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's public name

    def _known_regions(self) -> dict[int, ConvexPolygon]:
        query = select(region_table.c.detector, region_table.c.region).where(self._where(region_table))
        return {row.detector: decode_polygon(row.region) for row in self.connection.execute(query)}

    def _insert(self) -> bool:
        """Write the visit with all that belongs to it; say whether it was not there."""
        regions = self.find_regions(self.connection, self.definition.exposures)
        row = {
            **self.key,
            "name": self.definition.name,
            **visit_columns(self.definition.exposures),
            "region": encode(regions.region),
            "region_source": regions.source,
        }
        make = sqlite.insert if self.connection.dialect.name == "sqlite" else postgresql.insert
        statement = make(visit_table).values(row).on_conflict_do_nothing().returning(visit_table.c.visit)
        if self.connection.execute(statement).first() is None:
            return False
        self._add_definitions(self.definition.exposure_ids)
        self.connection.execute(insert(membership_table), [self.key])
        self._write_regions(regions.detectors)
        return True

    def _compare(self, known: Mapping[str, Any], options: DefineOptions) -> _Difference:
        """Compare with the visit that is there; an update keeps the exposures that it has."""
        query = select(definition_table.c.exposure).where(self._where(definition_table))
        there, given = set(self.connection.execute(query).scalars()), set(self.definition.exposure_ids)
        exposures = list(self.definition.exposures)
        if options.updates and there - given:
            kept = exposure_records(self.connection, self.definition.instrument, there - given)
            exposures = in_order([*exposures, *kept.values()])
        wanted = {"name": self.definition.name, **visit_columns(exposures)}
        found = self.find_regions(self.connection, exposures)
        regions = self._known_regions()
        # Fitted WCSs know better; where regions come from was not kept before revision 0008.
        fixed = {CALIBRATED} if options.updates else {CALIBRATED, ""}
        has_moved = (
            {}
            if known["region_source"] in fixed
            else {
                number: region
                for number, region in found.detectors.items()
                if number in regions and not same_region(region, regions[number])
            }
        )
        return _Difference(
            columns={name: wanted[name] for name in different_columns(wanted, known)},
            added=sorted(given - there),
            removed=sorted(there - given),
            missing={number: found.detectors[number] for number in found.detectors.keys() - regions.keys()},
            moved=has_moved,
            known_regions=regions,
            source=known["region_source"] if known["region_source"] == CALIBRATED else found.source,
        )

    def _require_same(self, known: Mapping[str, Any], difference: _Difference) -> None:
        for name, value in difference.columns.items():
            raise self._conflict(name, f"{name} {known[name]!r}", f"{value!r}")
        if difference.added or difference.removed:
            parts = (("without exposure", difference.added), ("with exposure", difference.removed))
            texts = [f"{what} {', '.join(map(str, ids))}" for what, ids in parts if ids]
            raise self._conflict("exposures", " and ".join(texts), f"{self.definition.exposure_ids}")
        if difference.moved:
            detectors = ", ".join(map(str, sorted(difference.moved)))
            raise self._conflict("region", f"another region of detector {detectors}", "that of its exposures")

    def _conflict(self, column: str, stored: str, found: str) -> ConflictingDefinitionError:
        instrument, system, visit = self.key.values()
        message = (
            f"visit {visit} of {instrument} in system {system} is defined already with {stored}, "
            f"now found {found}; update the records to replace it, or fix the input"
        )
        return ConflictingDefinitionError(message, visit=visit, visit_system=system, column=column)

    def _apply(self, known: Mapping[str, Any], difference: _Difference, options: DefineOptions) -> Outcome:
        """Write what differs: after a comparison that is no more than detectors that are missing."""
        adds = options.updates or options.check_detector_regions
        written = {**difference.moved, **(difference.missing if adds else {})}
        changes = dict(difference.columns)
        if written:
            self._write_regions(written)
            hull = hull_of_regions(list({**difference.known_regions, **written}.values()))
            changes |= {"region": encode(hull), "region_source": difference.source}
        self._add_definitions(difference.added)
        if changes:
            self.connection.execute(update(visit_table).where(self._where(visit_table)).values(changes))
        if difference.columns or difference.added or difference.moved:
            return Outcome.FULLY_UPDATED
        return Outcome.PARTIALLY_UPDATED if written else Outcome.SKIPPED

    def _add_definitions(self, exposures: Iterable[int]) -> None:
        rows = [{**self.key, "exposure": exposure} for exposure in exposures]
        if rows:
            self.connection.execute(insert(definition_table), rows)

    def _write_regions(self, regions: Mapping[int, ConvexPolygon]) -> None:
        rows = [
            {**self.key, "detector": number, "region": encode(region)} for number, region in regions.items()
        ]
        upsert(self.connection, region_table, rows, [*KEY, "detector"])
