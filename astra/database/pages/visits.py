"""Visits and their detectors: when and where, what was made of them, and the figures of that."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select

from astra.database.bulk import is_among
from astra.database.models.apdb import apdb_marker
from astra.database.pages.tasks import states_of
from astra.database.pages.visit_tasks import TasksInBrief, of_visits, tasks_in_brief, worst_state
from astra.database.queries import as_utc
from astra.database.selection import parameter_text
from astra.database.state import attempt_table, chunks, metadata_table, product_table, task_table
from astra.database.survey import definition_table, raw_table, visit_table
from astra.sky.grouping import ONE_TO_ONE

PAGE = 200

_PLACE = re.compile(r"/(?P<visit>\d+)/(?P<detector>\d+)/[^/]+/[^/]+$")


@dataclass(frozen=True)
class VisitRow:
    """A visit; times [d, MJD TAI], exposure time [s], zenith angle [deg]."""

    instrument: str
    visit: int
    day_obs: int
    seq_num: int
    name: str
    band: str | None
    physical_filter: str | None
    begin_mjd_tai: float | None
    end_mjd_tai: float | None
    exposure_time_s: float
    target_name: str | None
    science_program: str | None
    zenith_angle: float | None

    @property
    def midpoint_mjd_tai(self) -> float | None:
        """Middle of the exposure [d, MJD TAI], None if it is not known."""
        if self.begin_mjd_tai is None:
            return None
        return 0.5 * (self.begin_mjd_tai + (self.end_mjd_tai or self.begin_mjd_tai))


@dataclass(frozen=True)
class Product:
    """A file that a task has written; size in [byte]."""

    pk: int
    kind: str
    path: str
    size: int
    created: dt.datetime | None
    task_pk: int


@dataclass(frozen=True)
class TaskOfDetector:
    """A task of one visit and detector, its state in a word, and what its last attempt said."""

    pk: int
    task_id: str
    family: str
    state: str
    duration: float | None
    message: str | None


@dataclass(frozen=True)
class Association:
    """What a detector of a visit gave to the Alert Production Database."""

    n_dia_sources: int
    n_new_objects: int
    n_updated_objects: int
    n_forced_sources: int
    processed_mjd_tai: float


@dataclass(frozen=True)
class DetectorRow:
    """All that is known of a detector of a visit.

    Parameters
    ----------
    visit, detector : int
        Which.
    products : mapping of str to Product
        The newest file of each kind.
    figures : mapping of str to value
        Figures of the tasks that wrote them, ``family:step.item``.
    tasks : sequence of TaskOfDetector
        In the order in which they began.
    association : Association, optional
        None where it is not associated.
    brief : TasksInBrief, optional
        In place of ``tasks``, where those are not asked for one by one.
    """

    visit: int
    detector: int
    products: Mapping[str, Product] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    tasks: Sequence[TaskOfDetector] = ()
    association: Association | None = None
    brief: TasksInBrief | None = None

    @functools.cached_property
    def state(self) -> str:
        """The worst state among its tasks; ``none`` without any."""
        if self.brief is not None:
            return self.brief.state
        return worst_state({task.state for task in self.tasks})

    @property
    def task_pks(self) -> Sequence[int]:
        """Keys of its tasks."""
        return self.brief.pks if self.brief is not None else [task.pk for task in self.tasks]


def visits_of_night(
    connection: Connection,
    instrument: str,
    day_obs: int,
    *,
    after: int | None = None,
    limit: int | None = None,
    visit_system: int = ONE_TO_ONE,
) -> list[VisitRow]:
    """Return the visits of a night by their id.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    instrument : str
        Camera name.
    day_obs : int
        Night, YYYYMMDD.
    after : int, optional
        The last visit of the page before.
    limit : int, optional
        How many at most.
    visit_system : int, optional
        System of the visits.
    """
    conditions = [visit_table.c.day_obs == day_obs]
    if after is not None:
        conditions.append(visit_table.c.visit > after)
    return _visits(connection, instrument, conditions, visit_system, limit)


def get_visit(
    connection: Connection, instrument: str, visit: int, *, visit_system: int = ONE_TO_ONE
) -> VisitRow | None:
    """Return a visit, None if there is none."""
    found = _visits(connection, instrument, [visit_table.c.visit == visit], visit_system, 1)
    return found[0] if found else None


def _visits(
    connection: Connection,
    instrument: str,
    conditions: Sequence[ColumnElement[bool]],
    visit_system: int,
    limit: int | None,
) -> list[VisitRow]:
    columns = [visit_table.c[name] for name in VisitRow.__dataclass_fields__]
    query = (
        select(*columns)
        .where(
            visit_table.c.instrument == instrument, visit_table.c.visit_system == visit_system, *conditions
        )
        .order_by(visit_table.c.visit)
        .limit(limit)
    )
    return [VisitRow(**row) for row in connection.execute(query).mappings()]


def detectors_of_visits(
    connection: Connection,
    root: str,
    instrument: str,
    visits: Collection[int],
    *,
    figures: Collection[str] | None = None,
    in_brief: bool = False,
    visit_system: int = ONE_TO_ONE,
) -> dict[tuple[int, int], DetectorRow]:
    """Return the detectors of visits that have raws or products, by visit and detector, sorted.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    root : str
        Folder of the products, as it is in their paths.
    instrument : str
        Camera name.
    visits : collection of int
        Which visits.
    figures : collection of str, optional
        Keys of the figures wanted; all of them without it.
    in_brief : bool, optional
        Whether the states of the tasks are enough: a night of a wide camera has ten thousands of them.
    visit_system : int, optional
        System of the visits.
    """
    if not visits:
        return {}
    products = products_of_visits(connection, root, instrument, visits)
    briefs = tasks_in_brief(connection, instrument, visits) if in_brief else {}
    tasks = {} if in_brief else tasks_of_visits(connection, instrument, visits)
    associations = associations_of_visits(connection, instrument, visits)
    places = {*_raws(connection, instrument, visits, visit_system), *products, *tasks, *briefs, *associations}
    made = {
        place: DetectorRow(
            *place,
            products=products.get(place, {}),
            tasks=tasks.get(place, ()),
            association=associations.get(place),
            brief=briefs.get(place),
        )
        for place in sorted(places)
    }
    own = {place: _tasks_with_figures(row) for place, row in made.items()}
    by_task = figures_of_tasks(connection, {pk for keys in own.values() for pk in keys}, figures)
    return {place: _with_figures(row, own[place], by_task) for place, row in made.items()}


def _tasks_with_figures(row: DetectorRow) -> set[int]:
    return {product.task_pk for product in row.products.values()}.union(row.task_pks)


def _with_figures(row: DetectorRow, own: set[int], by_task: Mapping[int, Mapping[str, Any]]) -> DetectorRow:
    """Return a detector with the figures of its tasks: of those that have the same, the newest ones."""
    has = sorted(pk for pk in own if pk in by_task)
    return replace(row, figures={key: by_task[pk][key] for pk in has for key in by_task[pk]}) if has else row


def _raws(
    connection: Connection, instrument: str, visits: Collection[int], visit_system: int
) -> set[tuple[int, int]]:
    definition, raw = definition_table, raw_table
    query = (
        select(definition.c.visit, raw.c.detector)
        .join(raw, and_(raw.c.instrument == definition.c.instrument, raw.c.exposure == definition.c.exposure))
        .where(
            definition.c.instrument == instrument,
            definition.c.visit_system == visit_system,
            is_among(connection, definition.c.visit, sorted(visits)),
        )
        .distinct()
    )
    return {(row.visit, row.detector) for row in connection.execute(query)}


def products_of_visits(
    connection: Connection, root: str, instrument: str, visits: Collection[int]
) -> dict[tuple[int, int], dict[str, Product]]:
    """Return the newest file of each kind of the detectors of visits, by visit and detector."""
    texts = sorted(str(visit) for visit in visits)
    if not texts:
        return {}
    folder = f"{root.rstrip('/')}/products/{instrument}"
    columns = [product_table.c[name] for name in Product.__dataclass_fields__]
    query = (
        select(*columns)
        .where(_between(connection, folder, texts[0], texts[-1]), product_table.c.task_pk.is_not(None))
        .order_by(product_table.c.created, product_table.c.pk)
    )
    wanted, found = set(texts), dict[tuple[int, int], dict[str, Product]]()
    for row in connection.execute(query).mappings():
        place = _PLACE.search(row["path"])
        if place is not None and place["visit"] in wanted:
            kinds = found.setdefault((int(place["visit"]), int(place["detector"])), {})
            kinds[row["kind"]] = Product(**{**row, "created": as_utc(row["created"])})
    return found


def _between(connection: Connection, folder: str, first: str, last: str) -> ColumnElement[bool]:
    """Return the condition that a path lies in the folders from one to another, as texts are sorted.

    SQLite compares bytes, and finds the range in its index; a PostgreSQL that sorts as languages do would
    leave out some of them, and is asked for the beginning that all have in common.
    """
    path = product_table.c.path
    if connection.dialect.name == "sqlite":
        after_slash = chr(ord("/") + 1)
        return and_(path >= f"{folder}/{first}/", path < f"{folder}/{last}{after_slash}")
    common = next(
        (n for n, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), len(first)
    )
    return path.startswith(f"{folder}/{first[:common]}", autoescape=True)


def tasks_of_visits(
    connection: Connection, instrument: str, visits: Collection[int]
) -> dict[tuple[int, int], list[TaskOfDetector]]:
    """Return the tasks of the detectors of visits, by visit and detector, in the order they began."""
    visit, detector = parameter_text("visit"), parameter_text("detector")
    query = select(
        *(task_table.c[name] for name in ("pk", "task_id", "family", "duration", "status_code")),
        visit.label("visit"),
        detector.label("detector"),
    ).where(of_visits(connection, instrument, visits), detector.is_not(None))
    rows: Sequence[Any] = connection.execute(query.order_by(task_table.c.started, task_table.c.pk)).all()
    states = states_of(connection, [(row[0], row[4]) for row in rows])
    messages = _messages(connection, [pk for pk, state in states.items() if state in {"failed", "blocked"}])
    found: dict[tuple[int, int], list[TaskOfDetector]] = {}
    # A night of a wide camera has ten thousands of them.
    for row in rows:
        if row.visit.isdigit() and row.detector.isdigit():
            task = TaskOfDetector(
                row.pk, row.task_id, row.family, states[row.pk], row.duration, messages.get(row.pk)
            )
            found.setdefault((int(row.visit), int(row.detector)), []).append(task)
    return found


def _messages(connection: Connection, task_pks: Sequence[int]) -> dict[int, str]:
    """Return what the last attempt at each of some tasks said."""
    table, found = attempt_table, dict[int, str]()
    for chunk in chunks(task_pks):
        query = select(table.c.task_pk, table.c.error_class, table.c.message).where(
            table.c.task_pk.in_(chunk)
        )
        for pk, error_class, message in connection.execute(query.order_by(table.c.pk)):
            found[pk] = ": ".join(word for word in (error_class, message) if word)
    return found


def associations_of_visits(
    connection: Connection, instrument: str, visits: Collection[int]
) -> dict[tuple[int, int], Association]:
    """Return what the detectors of visits gave to the Alert Production Database, by visit and detector."""
    table = apdb_marker
    query = select(table).where(
        table.c.instrument == instrument, is_among(connection, table.c.visit, sorted(visits))
    )
    return {
        (row["visit"], row["detector"]): Association(
            n_dia_sources=row["n_dia_sources"],
            n_new_objects=row["n_new_objects"],
            n_updated_objects=row["n_updated_objects"],
            n_forced_sources=row["n_forced_sources"],
            processed_mjd_tai=row["timeProcessedMjdTai"],
        )
        for row in connection.execute(query).mappings()
    }


def figures_of_tasks(
    connection: Connection, task_pks: Collection[int], keys: Collection[str] | None = None
) -> dict[int, dict[str, Any]]:
    """Return the figures of tasks by their key in the database; ``keys`` chooses among them."""
    table, found = metadata_table, dict[int, dict[str, Any]]()
    query = select(table.c.task_pk, table.c.key, table.c.value)
    query = query.where(is_among(connection, table.c.task_pk, sorted(task_pks)))
    if keys is not None:
        query = query.where(table.c.key.in_(sorted(keys)))
    for task_pk, key, value in connection.execute(query).all():
        found.setdefault(task_pk, {})[key] = value
    return found
