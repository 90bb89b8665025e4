"""Measure what the search finds of injected sources: for detectors, visits and nights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from astra.errors import BatchError, ConfigError, MissingDataError
from astra.tasks.batch import per_member
from astra.tasks.diffim import DiffIm
from astra.tasks.injection import COLLECTION, InjectionTask, InjectSources, as_in_production
from astra.tasks.parameters import IdsParameter, PathParameter

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from astra.images.injection_search import Search


class EfficiencyTask(InjectionTask):
    """What tasks share that compare detections with what was injected."""

    known_sources = PathParameter(
        default="",
        description="Table (FITS) with ra and dec [deg] of what really varies; detections within 1 arcsec of "
        "one are not counted as false.",
    )


class MeasureEfficiency(EfficiencyTask):
    """Measure completeness, fluxes, positions and false detections of a detector, or of many.

    A false detection is neither injected nor of ``known_sources``; it is new if the difference without
    injected sources does not have it. Products, below ``injected``: ``efficiency`` (by signal to noise and by
    magnitude), ``search`` and ``detections`` (what was injected, its detection, and the detections),
    ``efficiencyPlot`` (a picture). Rows in the tables ``efficiency`` and ``search_depth``.
    """

    step = "differencer"
    kinds: ClassVar[tuple[str, ...]] = ("efficiency", "search", "detections", "efficiencyPlot")

    @per_member
    def requires(self) -> dict[str, luigi.Task]:
        """Subtract the detector with injected sources, and without."""
        injected = {"injected": self.require(InjectSources), "diffim": as_in_production(self)}
        return {**injected, "uninjected": self.require(DiffIm)}

    def run(self) -> None:
        """Compare each detector."""
        for task in self.pending_tasks():
            with task.recording():
                task.sweep()
                task.measure()

    def measure(self) -> None:
        """Compare a single detector, write and note it."""
        from astra.images.injection_search import search_for
        from astra.products.catalogs import read_catalog, write_catalog
        from astra.products.exposures import read_exposure_info

        required = self.requires()
        injections = read_catalog(required["injected"].path("injected"))
        detections, uninjected = (read_catalog(required[n].path("diaSrc")) for n in ("diffim", "uninjected"))
        known = read_catalog(self.known_sources) if self.known_sources else None
        search = search_for(injections, detections, known, uninjected=uninjected)
        write_catalog(self.path("search"), search.matches)
        write_catalog(self.path("detections"), search.detections)
        info = read_exposure_info(required["injected"].path("calexp"))
        scope = {"instrument": self.instrument, "visit": self.visit, "detector": self.detector}
        note_efficiency(self, search, {**scope, "day_obs": None, "band": info.band}, self.path)


class PoolEfficiency(EfficiencyTask):
    """Measure the efficiency of visits, or of a night, over all their detectors, for each band.

    Products of each band, below ``injected/pooled``: ``efficiency_r`` and ``efficiencyPlot_r``; and rows of
    each band and each visit. Detectors that fail are left out; the task then fails at its end.
    """

    visit = IdsParameter(
        default="", description="Visits to pool, e.g. 12 or 12^15^20..22; those of the night if empty."
    )
    detector = IdsParameter(
        default="", description="Detectors to pool, e.g. 1..62^70; all that have raws if empty."
    )
    night = luigi.OptionalIntParameter(default=None, description="Day of observation, e.g. 20261120.")

    kinds: ClassVar[tuple[str, ...]] = ("efficiency", "efficiencyPlot")
    accepts_partial_batches = True  # what cannot be measured of a night is counted, and stops nothing

    def requires(self) -> list[luigi.Task]:
        """Measure every detector of the visits."""
        return [self.measure_task(self.pairs())]

    def measure_task(self, pairs: list[tuple[int, int]]) -> MeasureEfficiency:
        """Return the task that measures some visits and detectors, as one batch."""
        visit, detector = zip(*pairs, strict=True)
        ids = {"visit": visit, "detector": detector}
        if len(pairs) == 1:
            ids = {name: values[0] for name, values in ids.items()}
        task: MeasureEfficiency = self.require(MeasureEfficiency, **ids)
        return task

    def pairs(self) -> list[tuple[int, int]]:
        """Return the visits and detectors that are pooled.

        Raises
        ------
        ConfigError
            If neither visits nor a night are named.
        MissingDataError
            If there are none.
        """
        from astra.database.efficiency import detectors_of_visits
        from astra.database.engine import reading
        from astra.database.survey import visit_system_id

        visits = IdsParameter.ids(self.visit)
        if not visits and self.night is None:
            raise ConfigError("the efficiency of which visits? Name them with visit, or a night")
        with reading(self.database_url) as connection:
            system = visit_system_id(connection, self.visit_system)
            pairs = detectors_of_visits(connection, self.instrument, visits, self.night, system)
        chosen = set(IdsParameter.ids(self.detector))
        pairs = [(visit, detector) for visit, detector in pairs if not chosen or detector in chosen]
        if not pairs:
            which = f"visits {self.visit}" if self.visit else f"night {self.night}"
            message = (
                f"no detector of {which} of {self.instrument} is known; IngestRaws and DefineVisits make "
                "them known"
            )
            raise MissingDataError(message, instrument=self.instrument)
        return pairs

    def bands(self, visits: Iterable[int]) -> dict[int, str]:
        """Return the bands of visits, by id."""
        from astra.database.efficiency import bands_of_visits
        from astra.database.engine import reading
        from astra.database.survey import visit_system_id

        with reading(self.database_url) as connection:
            system = visit_system_id(connection, self.visit_system)
            return bands_of_visits(connection, self.instrument, visits, system)

    def path(self, kind: str) -> Path:
        """Path of one product: its kind, and its band behind an underscore."""
        from astra.products.layout import SUFFIXES, family_folder

        folder = family_folder(self.root / COLLECTION, "pooled", self.task_id)
        return folder / f"{kind}{SUFFIXES.get(kind.partition('_')[0], '.fits')}"

    def output(self) -> Any:
        """Return the products of each band; none as long as the visits are not known."""
        try:
            bands = sorted(set(self.bands({visit for visit, _ in self.pairs()}).values()))
        except (ConfigError, MissingDataError):
            bands = []
        kinds = [f"{kind}_{band}" for band in bands for kind in self.kinds]
        return {kind: luigi.LocalTarget(str(self.path(kind))) for kind in kinds}

    def run(self) -> None:
        """Pool what was measured; write and note it.

        Raises
        ------
        BatchError
            If detectors could not be measured.
        """
        for task in self.pending_tasks():
            with task.recording():
                pairs = task.pairs()
                searches = task.searches(pairs)
                bands = task.bands(visit for visit, _ in searches)
                for band in sorted(set(bands.values())):
                    task.pool(band, {p: s for p, s in searches.items() if bands.get(p[0]) == band})
                n_failed = len(pairs) - len(searches)
                if n_failed:
                    message = (
                        f"{n_failed} of {len(pairs)} detectors could not be measured; their own rows say "
                        "why, and the others are pooled without them"
                    )
                    raise BatchError(message, n_failed=n_failed)

    def searches(self, pairs: list[tuple[int, int]]) -> dict[tuple[int, int], Search]:
        """Read what was found on the detectors that could be measured."""
        batch = self.measure_task(pairs)
        ids = list(batch.member_ids())
        finished = batch.done_ids(set(ids))
        done = [pair for task_id, pair in zip(ids, pairs, strict=True) if task_id in finished]
        return {pair: read_search(self.measure_task([pair])) for pair in done}

    def pool(self, band: str, searches: dict[tuple[int, int], Search]) -> None:
        """Pool the detectors of one band."""
        from astra.images.injection_search import pool_searches

        scope = {"instrument": self.instrument, "detector": None, "band": band}
        for visit in sorted({visit for visit, _ in searches}):
            pooled = pool_searches([s for pair, s in searches.items() if pair[0] == visit])
            note_efficiency(self, pooled, {**scope, "visit": visit, "day_obs": None}, None)
        pooled = pool_searches(list(searches.values()))
        scope |= {"visit": None, "day_obs": self.night}
        note_efficiency(self, pooled, scope, lambda kind: self.path(f"{kind}_{band}"))


def read_search(task: MeasureEfficiency) -> Search:
    """Read what a single task compared."""
    from astra.images.injection_search import Search
    from astra.products.catalogs import read_catalog

    return Search(read_catalog(task.path("search")), read_catalog(task.path("detections")))


def note_efficiency(task: Any, search: Search, scope: dict[str, Any], path: Any) -> None:
    """Tabulate a search; note it in the database, and write table and picture if there are paths for them.

    Parameters
    ----------
    task : AstraTask
        Who measured it.
    search : Search
        What was injected and what was found.
    scope : dict
        ``instrument``, ``visit``, ``detector``, ``day_obs`` (None: all of them) and ``band``.
    path : callable
        Path of a kind of product; None writes no files.
    """
    from astra.database.efficiency import write_efficiency
    from astra.database.engine import transaction
    from astra.images.efficiency import fit_depth, measure_search
    from astra.products.catalogs import write_catalog
    from astra.products.efficiency_picture import write_efficiency_picture
    from astra.tasks.runner import utc_now

    table, depth = measure_search(search), fit_depth(search.magnitude, search.found)
    figures = {name: getattr(depth, name) for name in ("mag50", "mag50_err", "mag90", "plateau", "width_mag")}
    if path is not None:
        write_catalog(path("efficiency"), table, metadata=figures)
        write_efficiency_picture(path("efficiencyPlot"), table, depth, title=_title(scope))
    counts = _counts(search.matches, search.detections)
    with transaction(task.database_url) as connection:
        row = {**scope, **figures, **counts, "task_id": task.task_id, "created": utc_now()}
        write_efficiency(connection, row, table)
    if path is not None:
        step = "efficiency" if scope["detector"] is not None else f"efficiency_{scope['band']}"
        task.add_figures(step, {**figures, **counts})


def _counts(matches: NDArray[np.void], detections: NDArray[np.void]) -> dict[str, int]:
    return {
        "n_injected": len(matches),
        "n_found": int((matches["detection"] >= 0).sum()),
        "n_false": int(detections["isFalse"].sum()),
        "n_false_new": int((detections["isFalse"] & detections["isNew"]).sum()),
    }


def _title(scope: dict[str, Any]) -> str:
    names = {"visit": "visit", "detector": "detector", "day_obs": "night"}
    parts = [f"{word} {scope[name]}" for name, word in names.items() if scope[name] is not None]
    return f"{scope['instrument']}, {scope['band']} band, {', '.join(parts) or 'several visits'}"
