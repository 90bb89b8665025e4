"""Templates on the tiles of the sky: what may go into one, what went into it, and which cover a detector.

All of it stands in the caller's transaction.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lsst.sphgeom import DISJOINT, HealpixPixelization, Region
from sqlalchemy import Connection, Row, Select, Table, and_, delete, exists, func, insert, or_, select

from astra.database.bulk import is_among
from astra.database.models.templates import Template, TemplateInput
from astra.database.state import upsert
from astra.database.survey import definition_table, exposure_table, raw_table, region_table, visit_table
from astra.sky.grouping import ONE_TO_ONE
from astra.sky.healpix import healpix_ranges
from astra.sky.regions import decode, decode_polygon

template_table: Table = Template.__table__  # type: ignore[assignment]
template_input_table: Table = TemplateInput.__table__  # type: ignore[assignment]

TemplateRow = Row[Any]


@dataclass(frozen=True)
class VisitRule:
    """Which visits may make a template, as far as the database can tell.

    Parameters
    ----------
    instrument, band : str
        Camera and band.
    visits : tuple of int
        Identifiers; any if empty.
    begin_mjd_tai, end_mjd_tai : float, optional
        Their middle is not before the one, and before the other [d, MJD TAI]; without limit if None.
    visit_system : int
        System of the visits.
    """

    instrument: str
    band: str
    visits: tuple[int, ...] = ()
    begin_mjd_tai: float | None = None
    end_mjd_tai: float | None = None
    visit_system: int = ONE_TO_ONE


@dataclass(frozen=True)
class Candidates:
    """Exposures of detectors that may make a template, and what became of the other visits.

    Parameters
    ----------
    pairs : list of (int, int)
        Visits and detectors, sorted.
    n_visits : int
        Number of visits that were looked at.
    dropped : dict of str to int
        Number of visits that each rule left out, in the order in which the rules apply.
    """

    pairs: list[tuple[int, int]]
    n_visits: int
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def visits(self) -> list[int]:
        """The visits of the pairs."""
        return sorted({visit for visit, _ in self.pairs})


def find_candidates(connection: Connection, rule: VisitRule, region: Region) -> Candidates:
    """Return the detectors of visits that a rule allows, have raws, and look at a region of the sky.

    Parameters
    ----------
    connection : Connection
        To the database.
    rule : VisitRule
        Which visits.
    region : Region
        The tile.

    Returns
    -------
    candidates : Candidates
        They overlap by the regions of the database, which are predicted with a margin unless they were
        refined: some may not overlap at all.
    """
    among = _among(connection, rule)
    known = int(connection.execute(select(func.count()).select_from(visit_table).where(*among)).scalar_one())
    n_visits = len(set(rule.visits)) or known
    query = select(visit_table.c.visit, visit_table.c.band, visit_table.c.region)
    dated = connection.execute(query.where(*among, *_dates(rule))).all()
    in_band = [row for row in dated if row.band == rule.band]
    here = [row.visit for row in in_band if _overlaps(row.region, region)]
    pairs = _overlapping_detectors(connection, rule, here, region)
    counts = [n_visits, known, len(dated), len(in_band), len(here), len({visit for visit, _ in pairs})]
    names = (
        "are not defined",
        "lie outside the dates",
        f"are not in band {rule.band}",
        "look elsewhere",
        "have no raws there",
    )
    lost = (before - after for before, after in itertools.pairwise(counts))
    return Candidates(pairs, n_visits, {name: n for name, n in zip(names, lost, strict=True) if n})


def exposures_to_define(
    connection: Connection, instrument: str, begin_mjd_tai: float | None, end_mjd_tai: float | None
) -> list[int]:
    """Return the exposures of some dates that see the sky and have no visit of their own yet, sorted.

    The middle of an exposure is not before the one date, and before the other [d, MJD TAI].
    """
    table = exposure_table
    middle = 0.5 * (table.c.begin_mjd_tai + table.c.end_mjd_tai)
    has_visit = exists().where(
        definition_table.c.instrument == table.c.instrument,
        definition_table.c.visit_system == ONE_TO_ONE,
        definition_table.c.exposure == table.c.exposure,
    )
    has_region = exists().where(
        *(raw_table.c[name] == table.c[name] for name in ("instrument", "exposure")),
        raw_table.c.region.is_not(None),
    )
    query = select(table.c.exposure).where(
        table.c.instrument == instrument, *_within(middle, begin_mjd_tai, end_mjd_tai), has_region, ~has_visit
    )
    return list(connection.execute(query.order_by(table.c.exposure)).scalars())


def _among(connection: Connection, rule: VisitRule) -> list[Any]:
    """Return the conditions that a visit is one of those that are named, if any are."""
    same = [
        visit_table.c.instrument == rule.instrument,
        visit_table.c.visit_system == rule.visit_system,
    ]
    if rule.visits:
        same.append(is_among(connection, visit_table.c.visit, sorted(set(rule.visits))))
    return same


def _dates(rule: VisitRule) -> list[Any]:
    middle = 0.5 * (visit_table.c.begin_mjd_tai + visit_table.c.end_mjd_tai)
    return _within(middle, rule.begin_mjd_tai, rule.end_mjd_tai)


def _within(middle: Any, begin: float | None, end: float | None) -> list[Any]:
    return [*([] if begin is None else [middle >= begin]), *([] if end is None else [middle < end])]


def _overlaps(encoded: bytes, region: Region) -> bool:
    return not decode(encoded).relate(region) & DISJOINT


def _overlapping_detectors(
    connection: Connection, rule: VisitRule, visits: Sequence[int], region: Region
) -> list[tuple[int, int]]:
    if not visits:
        return []
    table, definition = region_table, definition_table
    has_raw = exists().where(
        *(definition.c[name] == table.c[name] for name in ("instrument", "visit_system", "visit")),
        *(raw_table.c[name] == definition.c[name] for name in ("instrument", "exposure")),
        raw_table.c.detector == table.c.detector,
    )
    query = (
        select(table.c.visit, table.c.detector, table.c.region)
        .where(
            table.c.instrument == rule.instrument,
            table.c.visit_system == rule.visit_system,
            is_among(connection, table.c.visit, list(visits)),
            has_raw,
        )
        .order_by(table.c.visit, table.c.detector)
    )
    return [(row.visit, row.detector) for row in connection.execute(query) if _overlaps(row.region, region)]


def write_template_row(
    connection: Connection, row: Mapping[str, Any], inputs: Iterable[Mapping[str, Any]] = ()
) -> None:
    """Write the row of a template, in place of an older one of the same file, and of its inputs.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    row : mapping
        All columns of ``template`` but ``pk``.
    inputs : iterable of mapping
        All columns of ``template_input`` but ``template_pk``.
    """
    upsert(connection, template_table, [row], ["path"])
    query = select(template_table.c.pk).where(template_table.c.path == row["path"])
    pk = connection.execute(query).scalar_one()
    connection.execute(delete(template_input_table).where(template_input_table.c.template_pk == pk))
    rows = [{**one, "template_pk": pk} for one in inputs]
    if rows:
        connection.execute(insert(template_input_table), rows)


def forget_templates(connection: Connection, task_id: str, kept: Iterable[str]) -> None:
    """Remove the rows of the templates of a task, but for those in some files."""
    query = select(template_table.c.pk, template_table.c.path).where(template_table.c.task_id == task_id)
    paths = set(kept)
    gone = [row.pk for row in connection.execute(query) if row.path not in paths]
    for table, column in ((template_input_table, "template_pk"), (template_table, "pk")):
        connection.execute(delete(table).where(is_among(connection, table.c[column], gone)))


def inputs_of_template(connection: Connection, path: str) -> Sequence[Row[Any]]:
    """Return what was considered for the template in a file, by visit and detector."""
    query = (
        select(template_input_table)
        .join(template_table, template_table.c.pk == template_input_table.c.template_pk)
        .where(template_table.c.path == path)
        .order_by(template_input_table.c.visit, template_input_table.c.detector)
    )
    return connection.execute(query).all()


def templates_on_tiles(
    connection: Connection,
    instrument: str,
    tiles: Mapping[tuple[int, float], Iterable[int]],
    *,
    band: str,
    collection: str | None = None,
) -> list[TemplateRow]:
    """Return the templates of a band on some tiles, those made last first.

    Parameters
    ----------
    connection : Connection
        To the database.
    instrument : str
        Camera name.
    tiles : mapping
        Tiles, by order and pixel scale [arcsec] of their division of the sky.
    band : str
        Band.
    collection : str, optional
        Name of the collection, empty for those that were built; by default all.
    """
    table = template_table
    divisions = [
        and_(
            table.c.tile_order == order,
            table.c.pixel_scale_arcsec == scale,
            is_among(connection, table.c.tile, sorted(some)),
        )
        for (order, scale), some in tiles.items()
    ]
    if not divisions:
        return []
    query = _of_band(select(table), instrument, band, collection).where(or_(*divisions))
    return list(connection.execute(query.order_by(table.c.created.desc(), table.c.pk.desc())).all())


def divisions_of(
    connection: Connection, instrument: str, band: str, collection: str | None = None
) -> list[tuple[int, float]]:
    """Return order and pixel scale [arcsec] of the tiles on which a camera has templates of a band."""
    table = template_table
    query = _of_band(select(table.c.tile_order, table.c.pixel_scale_arcsec), instrument, band, collection)
    found = connection.execute(query.distinct().order_by(table.c.tile_order, table.c.pixel_scale_arcsec))
    return [(row.tile_order, row.pixel_scale_arcsec) for row in found]


def templates_of_detector(
    connection: Connection,
    instrument: str,
    visit: int,
    detector: int,
    *,
    visit_system: int = ONE_TO_ONE,
    band: str | None = None,
    collection: str | None = None,
) -> list[TemplateRow]:
    """Return the templates that cover the region of a detector of a visit, those made last first.

    Parameters
    ----------
    connection : Connection
        To the database.
    instrument : str
        Camera name.
    visit, detector : int
        Which detector.
    visit_system : int, optional
        The system of the visit.
    band : str, optional
        Band of the templates, by default that of the visit.
    collection : str, optional
        Name of the collection, empty for those that were built; by default all.

    Returns
    -------
    templates : list of rows
        None if the visit is not defined. The region of a detector has a margin unless it was refined.
    """
    key = {"instrument": instrument, "visit_system": visit_system, "visit": visit}
    query = (
        select(region_table.c.region, visit_table.c.band)
        .join(visit_table, and_(*(visit_table.c[name] == region_table.c[name] for name in key)))
        .where(*(region_table.c[name] == value for name, value in key.items()))
        .where(region_table.c.detector == detector)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return []
    band = row.band if band is None else band
    if band is None:
        return []
    region = decode_polygon(row.region)
    tiles = {
        (order, scale): _tiles_under(region, order)
        for order, scale in divisions_of(connection, instrument, band, collection)
    }
    return templates_on_tiles(connection, instrument, tiles, band=band, collection=collection)


def _tiles_under(region: Region, order: int) -> list[int]:
    """Return the tiles that a region lies on; the ranges hold some of their neighbours too."""
    pixel = HealpixPixelization(order).pixel
    numbers = (n for first, last in healpix_ranges(region, order) for n in range(first, last + 1))
    return [number for number in numbers if not pixel(number).relate(region) & DISJOINT]


def collections_of(connection: Connection, instrument: str) -> list[tuple[str, str]]:
    """Return name and band of the collections of templates that were ingested for a camera."""
    table = template_table
    query = select(table.c.collection, table.c.band).where(
        table.c.instrument == instrument, table.c.collection != ""
    )
    found = connection.execute(query.distinct().order_by(table.c.collection, table.c.band))
    return [(row.collection, row.band) for row in found]


def _of_band(query: Select[Any], instrument: str, band: str, collection: str | None) -> Select[Any]:
    """Restrict a query to the templates of a camera in a band, and of a collection if one is named."""
    table = template_table
    query = query.where(table.c.instrument == instrument, table.c.band == band)
    return query if collection is None else query.where(table.c.collection == collection)
