"""Defining visits of exposures: which exposures, which visits, one transaction for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from astra.database.engine import reading, transaction
from astra.database.exposures import (
    exposure_records,
    exposures_with_raws,
    raw_regions,
    sibling_records,
)
from astra.database.state import chunks
from astra.database.survey import definition_table
from astra.database.visits import (
    DefineOptions,
    FindRegions,
    Outcome,
    register_systems,
    sync_visit,
    unknown_systems,
)
from astra.errors import ConfigError, ConflictingDefinitionError, DataError, MissingDataError
from astra.sky.grouping import Grouper, group_id_of_digits
from astra.sky.visit_regions import RawRegions, VisitRegions
from astra.sky.visits import ExposureRecord, VisitDefinition


@dataclass(frozen=True)
class VisitRules:
    """How exposures of a camera become visits.

    Parameters
    ----------
    grouper : Grouper
        Groups them.
    find_regions : callable
        Finds the regions of exposures, in order of time, with the regions of their raw images.
    needs_tracking : bool
        Whether an exposure that does not say where the telescope pointed is of no use.
    group_id : callable, optional
        Turns the name of a group into the identifier of its visit.
    """

    grouper: Grouper
    find_regions: Callable[[Sequence[ExposureRecord], RawRegions], VisitRegions]
    needs_tracking: bool = True
    group_id: Callable[[str], int] = group_id_of_digits


@dataclass(frozen=True)
class VisitCounts:
    """What has become of visits, and of exposures that make none.

    Parameters
    ----------
    n_visits : int
        Visits that were looked at; the next four are parts of it.
    n_skipped : int
        Were there, and stay as they are.
    n_new : int
        Were not there.
    n_fully_updated : int
        Say something else now, or lie elsewhere.
    n_partially_updated : int
        Have got the regions of more detectors.
    n_filtered : int
        Exposures that were left out because all their visits are there.
    n_ignored : int
        Exposures that were left out because they cannot be placed on the sky.
    """

    n_visits: int = 0
    n_skipped: int = 0
    n_new: int = 0
    n_fully_updated: int = 0
    n_partially_updated: int = 0
    n_filtered: int = 0
    n_ignored: int = 0

    def __add__(self, other: VisitCounts) -> VisitCounts:
        """Sum of both, count by count."""
        names = (field.name for field in dataclasses.fields(self))
        return VisitCounts(*(getattr(self, name) + getattr(other, name) for name in names))


@dataclass(frozen=True)
class VisitPlan:
    """The visits that exposures make.

    Parameters
    ----------
    visits : tuple of VisitDefinition
        By identifier.
    warnings : tuple of str
        What was left out, and why.
    counts : VisitCounts
        Exposures that were left out.
    """

    visits: tuple[VisitDefinition, ...]
    warnings: tuple[str, ...]
    counts: VisitCounts


def define_visits(
    url: str,
    instrument: str,
    exposures: Iterable[int | ExposureRecord],
    rules: VisitRules,
    options: DefineOptions | None = None,
    *,
    warn: Callable[[str], None] = lambda _: None,
) -> VisitCounts:
    """Define the visits that exposures of one instrument make, one transaction for each visit.

    To define them again is safe, and writes nothing.

    Parameters
    ----------
    url : str
        The database.
    instrument : str
        Camera name.
    exposures : iterable of int or ExposureRecord
        Identifiers, or records of them; each counts once.
    rules : VisitRules
        How they become visits.
    options : DefineOptions, optional
        What to do with visits that are there.
    warn : callable, optional
        Is told in a sentence what was left out.

    Returns
    -------
    counts : VisitCounts

    Raises
    ------
    ConfigError
        If the exposures are not all of this instrument.
    MissingDataError
        If an exposure is not ingested, or has no raw in the collections.
    DataError
        If an exposure cannot be placed on the sky, and must not be left out.
    ConflictingDefinitionError
        If a visit is there, otherwise; the visits before it are written.
    """
    options = options or DefineOptions()
    plan = plan_visits(url, instrument, exposures, rules, options)
    for sentence in plan.warnings:
        warn(sentence)
    return sum((define_visit(url, visit, rules, options) for visit in plan.visits), plan.counts)


def plan_visits(
    url: str,
    instrument: str,
    exposures: Iterable[int | ExposureRecord],
    rules: VisitRules,
    options: DefineOptions,
    *,
    among: Collection[int] = (),
) -> VisitPlan:
    """Find the visits that exposures make; parameters and errors as of `define_visits`.

    Parameters
    ----------
    among : collection of int, optional
        Further exposures, which count only where they make a visit together with those given.
    """
    with reading(url) as connection:
        given = _records(connection, instrument, list(exposures))
        _require_raws(connection, instrument, given, options.collections)
        columns = rules.grouper.sibling_columns
        siblings = {}
        if columns and (options.incremental or among):
            siblings = sibling_records(connection, instrument, columns, given.values())
        if not options.incremental:
            siblings = {exposure: siblings[exposure] for exposure in siblings.keys() & set(among)}
        usable = _on_sky(connection, list({**siblings, **given}.values()), rules, options)
        grouping = rules.grouper.group(usable, group_id=rules.group_id)
        rest = usable
        if options.prefilter:
            rest = _not_yet_defined(connection, usable, grouping.visits)
            grouping = rules.grouper.group(rest, group_id=rules.group_id)
    n_usable, n_rest = (sum(record.exposure in given for record in records) for records in (usable, rest))
    counts = VisitCounts(n_filtered=n_usable - n_rest, n_ignored=len(given) - n_usable)
    return VisitPlan(grouping.visits, grouping.warnings, counts)


def define_visit(url: str, visit: VisitDefinition, rules: VisitRules, options: DefineOptions) -> VisitCounts:
    """Write one visit in a transaction of its own.

    Raises
    ------
    ConflictingDefinitionError
        If it is there, otherwise, and must neither be updated nor left as it is.
    DataError
        If its regions cannot be found.
    ConfigError
        If its systems have other names in the database.
    """
    find_regions = _remembering(rules, visit.instrument, options)
    names = {system: rules.grouper.systems[system] for system in visit.systems}
    with reading(url) as connection:  # what takes its time, before the database is locked
        find_regions(connection, visit.exposures)
        has_new_systems = bool(unknown_systems(connection, visit.instrument, names))
    if has_new_systems:
        with transaction(url) as connection:
            register_systems(connection, visit.instrument, names)
    try:
        with transaction(url) as connection:
            outcome = sync_visit(connection, visit, find_regions, options)
    except ConflictingDefinitionError:
        if not options.skip_conflicting:
            raise
        outcome = Outcome.SKIPPED
    return VisitCounts(n_visits=1, **{f"n_{outcome.name.lower()}": 1})


def _records(
    connection: Connection, instrument: str, exposures: Sequence[int | ExposureRecord]
) -> dict[int, ExposureRecord]:
    """Return the exposures by identifier; all must be ingested, and of one instrument."""
    given = {exposure.exposure: exposure for exposure in exposures if isinstance(exposure, ExposureRecord)}
    others = sorted({record.instrument for record in given.values()} - {instrument})
    if others:
        message = (
            f"the exposures of one call must be of one instrument, {instrument}, found {', '.join(others)}"
        )
        raise ConfigError(message, instrument=instrument, found=others)
    ids = dict.fromkeys(e.exposure if isinstance(e, ExposureRecord) else e for e in exposures)
    known = exposure_records(connection, instrument, ids)
    for exposure in ids:
        if exposure not in known:
            message = (
                f"exposure {exposure} of instrument {instrument} is not ingested; "
                f"run IngestRaws on it, or name its files with --raw"
            )
            raise MissingDataError(message, exposure=exposure, instrument=instrument)
    return {**{exposure: known[exposure] for exposure in ids}, **given}


def _require_raws(
    connection: Connection, instrument: str, exposures: Iterable[int], collections: Sequence[str]
) -> None:
    if not collections:
        return
    exposures = list(exposures)
    found = exposures_with_raws(connection, instrument, exposures, collections)
    for exposure in exposures:
        if exposure not in found:
            message = (
                f"exposure {exposure} of instrument {instrument} has no raw in collection "
                f"{' or '.join(collections)}"
            )
            raise MissingDataError(message, exposure=exposure, instrument=instrument)


def _on_sky(
    connection: Connection, records: Sequence[ExposureRecord], rules: VisitRules, options: DefineOptions
) -> list[ExposureRecord]:
    """Return the exposures that can be placed on the sky."""
    if rules.needs_tracking or not records:
        located = {record.exposure for record in records if record.has_tracking}
    else:
        ids, instrument = [record.exposure for record in records], records[0].instrument
        located = exposures_with_raws(connection, instrument, ids, options.collections, on_sky=True)
    for record in records:
        if options.ignore_non_science or (record.can_see_sky and record.exposure in located):
            continue
        reason = "does not say where the telescope pointed" if record.can_see_sky else "cannot see the sky"
        message = (
            f"exposure {record.exposure} of instrument {record.instrument} {reason}, so that it makes "
            f"no visit; leave it out, or let such exposures be ignored"
        )
        raise DataError(message, exposure=record.exposure, instrument=record.instrument)
    return [record for record in records if record.can_see_sky and record.exposure in located]


def _not_yet_defined(
    connection: Connection, exposures: Sequence[ExposureRecord], visits: Sequence[VisitDefinition]
) -> list[ExposureRecord]:
    """Return the exposures that a visit of theirs lacks."""
    known: set[tuple[int, int, int]] = set()
    table = definition_table
    for chunk in chunks(exposure.exposure for exposure in exposures):
        query = select(table.c.visit_system, table.c.visit, table.c.exposure).where(
            table.c.instrument == exposures[0].instrument, table.c.exposure.in_(chunk)
        )
        known.update((row.visit_system, row.visit, row.exposure) for row in connection.execute(query))
    lacking = {
        exposure
        for visit in visits
        for exposure in visit.exposure_ids
        for system in visit.systems
        if (system, visit.visit, exposure) not in known
    }
    return [exposure for exposure in exposures if exposure.exposure in lacking]


def _remembering(rules: VisitRules, instrument: str, options: DefineOptions) -> FindRegions:
    """Return what finds the regions of exposures, each time for others."""
    found: dict[tuple[int, ...], VisitRegions] = {}

    def find_regions(connection: Connection, exposures: Sequence[ExposureRecord]) -> VisitRegions:
        key = tuple(exposure.exposure for exposure in exposures)
        if key not in found:
            raws = raw_regions(connection, instrument, key, options.collections)
            found[key] = rules.find_regions(exposures, raws)
        return found[key]

    return find_regions
