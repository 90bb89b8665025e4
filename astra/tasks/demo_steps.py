"""The two branches of the demonstration: its nights from raw frames to alerts, and its spectra.

Each is a chain of the very tasks that a survey runs. One detector goes first: it compiles what the steps
need on this machine, while the other process does what needs nothing new, so that no two compile the same.
What a difference needs has a task of its own, `astra.tasks.demo_simulation.CompileKernels`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import luigi

from astra.tasks.alerts import PackageAlerts
from astra.tasks.ap_night import ApNight
from astra.tasks.batch import merge_tasks
from astra.tasks.calibrations import CombineBias, CombineDark, CombineFlat
from astra.tasks.demo_simulation import (
    DETECTORS,
    SimulatedTask,
    SimulateRaws,
    SimulateSpectra,
    SimulateTables,
)
from astra.tasks.diffim import DiffIm
from astra.tasks.exposures import IngestRaws
from astra.tasks.get_template import GetTemplate
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.spectra.night import AnalyseNight

Pair = tuple[int, int]
CALIBRATIONS = {"bias": CombineBias, "dark": CombineDark, "flat": CombineFlat}


class ProcessSimulatedNights(SimulatedTask):
    """Take the simulated nights from raw frames to alerts, with all that lies between."""

    runs_in_place = True
    priority = 1  # the spectra fill the time in which one process waits for what the other compiles

    def requires(self) -> list[luigi.Task]:
        """Simulate the raws of each detector, and the tables."""
        raws = [self.part(SimulateRaws, detector=detector) for detector in DETECTORS[self.scale]]
        return [self.part(SimulateTables), *raws]

    def run(self) -> Generator[Any, Any, None]:
        """Process step by step; what is long is in parts that may run at the same time.

        The first detector goes ahead to its alerts while the templates of all others are made.
        """
        templates, later = (
            self.pairs([shot.visit for shot in shots])
            for shots in (self.night.template_shots, self.night.later_shots)
        )
        first, others = later[:1], later[1:]
        yield self.ingest()
        for kind in CALIBRATIONS:
            yield self.calibration(kind)
        yield self.calibrate(first)
        yield [self.calibrate(self.on(templates, half)) for half in self.halves()]
        yield [*self.tiles(first), *self.calibrate_later(others)]
        yield [self.step(PackageAlerts, first), self.step(GetTemplate, others)]
        yield [self.step(DiffIm, self.on(others, half)) for half in self.halves()]
        for night in self.later_nights():
            yield self.ap_night(night)

    def halves(self) -> list[tuple[int, ...]]:
        """Return the detectors in two halves."""
        detectors = self.night.scale.detectors
        middle = len(detectors) // 2
        return [detectors[:middle], detectors[middle:]]

    def pairs(self, visits: Sequence[int]) -> list[Pair]:
        """Return all pairs of visit and detector."""
        return [(visit, detector) for visit in visits for detector in self.night.scale.detectors]

    @staticmethod
    def on(pairs: Sequence[Pair], detectors: Sequence[int]) -> list[Pair]:
        """Return the pairs on some detectors."""
        return [pair for pair in pairs if pair[1] in detectors]

    @property
    def instrument(self) -> str:
        """Name of the camera."""
        return self.night.scale.camera.name

    def later_nights(self) -> list[int]:
        """Return the nights after those of the template."""
        return list(dict.fromkeys(shot.day_obs for shot in self.night.later_shots))

    def parameters(self) -> dict[str, Any]:
        """Parameters of every step on a visit."""
        return {
            "instrument": self.instrument,
            "template_visits": "^".join(str(shot.visit) for shot in self.night.template_shots),
            "reference_catalog": str(self.table_path("reference")),
            "ephemeris": str(self.table_path("ephemeris")),
            "output_root": self.output_root,
        }

    def ingest(self) -> IngestRaws:
        """Return the task that ingests all raws."""
        return IngestRaws(
            instrument=self.instrument, path=str(self.folder / "raw"), output_root=self.output_root
        )

    def calibration(self, kind: str) -> Any:
        """Return the task that combines the calibration frames of a kind of all detectors."""
        shots = [shot for shot in self.night.calibration_shots if shot.observation_type == kind]
        return CALIBRATIONS[kind](
            instrument=self.instrument,
            detector=self.night.scale.detectors,
            exposures="^".join(str(shot.visit) for shot in shots),
            output_root=self.output_root,
        )

    def step(self, task_class: type[Any], pairs: Sequence[Pair], **own: Any) -> Any:
        """Return a step on some pairs, as one batch, or on a single one."""
        visits, detectors = zip(*pairs, strict=True)
        ids = {"visit": visits, "detector": detectors}
        if len(pairs) == 1:
            ids = {"visit": visits[0], "detector": detectors[0]}
        known = {name: value for name, value in self.parameters().items() if name in _names(task_class)}
        return task_class(**known, **ids, **own)

    def calibrate(self, pairs: Sequence[Pair], *, pictures: bool = False) -> Any:
        """Return the calibration of some pairs, with or without pictures of it."""
        return self.step(ProcessCcd, pairs, quality_pictures=pictures)

    def calibrate_later(self, pairs: Sequence[Pair]) -> list[Any]:
        """Return the calibration of pairs in halves; those of the last night have pictures."""
        last = {shot.visit for shot in self.night.shots[self.later_nights()[-1]]}
        before, after = (
            [pair for pair in pairs if (pair[0] in last) is is_last] for is_last in (False, True)
        )
        return [
            self.calibrate(part, pictures=some is after)
            for some in (before, after)
            for half in self.halves()
            if (part := self.on(some, half))
        ]

    def tiles(self, pairs: Sequence[Pair]) -> list[Any]:
        """Return what builds the templates on the tiles of the sky below some pairs."""
        found = [need for pair in pairs for need in self.step(GetTemplate, [pair]).further_requires()]
        return merge_tasks({task.task_id: task for task in found}.values())

    def ap_night(self, night: int) -> ApNight:
        """Return the task that takes a night to its alerts."""
        return ApNight(night=night, report=night == self.later_nights()[-1], **self.parameters())


class AnalyseSimulatedSpectra(SimulatedTask):
    """Run every analysis of a night of spectra on the simulated one."""

    runs_in_place = True

    def requires(self) -> list[luigi.Task]:
        """Simulate the spectra."""
        return [self.part(SimulateSpectra)]

    def run(self) -> Generator[Any, Any, None]:
        """Analyse them."""
        yield self.analysis()

    def analysis(self) -> AnalyseNight:
        """Return the task that analyses the night."""
        from astra.simulation.spectra import APRED, MJD, TELESCOPE

        night = self.spectral_night
        models = {kind: str(night.path(kind)) for kind in ("manifest", "templates", "lines", "model")}
        return AnalyseNight(mjd=MJD, apred=APRED, telescope=TELESCOPE, output_root=self.output_root, **models)


def _names(task_class: type[luigi.Task]) -> set[str]:
    return {name for name, _ in task_class.get_params()}
