"""Every analysis of the spectra of a night, in batches, as one task that can be stopped at any moment."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from astra.errors import AstraError, BatchError, StateError
from astra.tasks.base import AstraTask
from astra.tasks.io.by_path import absolute_path
from astra.tasks.parameters import PathParameter
from astra.tasks.recording import logger
from astra.tasks.spectra.combine_visits import CombineVisits
from astra.tasks.spectra.continuum import ContinuumNormalize
from astra.tasks.spectra.export_results import ExportResults
from astra.tasks.spectra.lines_and_labels import ClassifySpectrum, MeasureLines, TheCannon
from astra.tasks.spectra.night_list import SPECTRA, STARS, VISIT, ListNight, Unit
from astra.tasks.spectra.night_source import NightTask
from astra.tasks.spectra.signal_to_noise import SignalToNoise
from astra.tasks.spectra.velocities import BarycentricCorrection, RadialVelocity

if TYPE_CHECKING:
    from astra.products.night_lists import NightFile


class AnalysisOfNight(NightTask):
    """What the analysis of a night takes."""

    templates = PathParameter(
        default="",
        description="Templates of the velocities of visits and stars (npz, or an apStar file); empty: only "
        "CombineVisits measures velocities, of the visits of a star against each other.",
    )
    boss_templates = PathParameter(
        default="", description="Templates of the velocities of BOSS spectra (npz); empty to measure none."
    )
    lines = PathParameter(
        default="",
        description="Table of lines to measure in the sums of APOGEE stars; empty to measure none.",
    )
    boss_lines = PathParameter(
        default="",
        description="Table of lines to measure in BOSS spectra; empty for indices of the Lick system.",
    )
    model = PathParameter(default="", description="Model of The Cannon for the sums; empty for no labels.")
    classes = PathParameter(
        default="", description="Templates of the classes of BOSS spectra (npz); empty to classify none."
    )
    chunk_files = luigi.IntParameter(
        default=1000, significant=False, description="Number of files, or stars, of a batch, about."
    )

    def list_task(self) -> ListNight:
        """Return the task that lists the night."""
        kwargs = self.get_common_param_kwargs(ListNight)
        kwargs.pop("rerun", None)  # it always runs
        return ListNight(**kwargs)


class NightStep(AnalysisOfNight):
    """A part of the spectra of a night, or of its stars, with all analyses of them, one after the other.

    It is done when every analysis of every member has been tried in this run; what fails is left for the next
    run, and stops nothing. The members are the tasks of the analyses, with states of their own.
    """

    kind = luigi.ChoiceParameter(choices=[SPECTRA, STARS], description="What is analysed: spectra or stars.")
    chunk = luigi.IntParameter(description="Which part, from 0.")
    n_parts = luigi.IntParameter(description="Number of parts.")

    @property
    def must_rerun(self) -> bool:
        """Always: what is done is known by its members."""
        return True

    def __repr__(self) -> str:
        """Tell which part of what it is."""
        return f"NightStep({self.mjd}: {self.kind} {self.chunk + 1} of {self.n_parts})"

    def batches(self) -> Iterator[AstraTask]:
        """Yield the analyses, each as one batch, in the order in which they build on each other."""
        units = self.list_task().part(self.kind, self.chunk, self.n_parts)
        if units and self.kind == SPECTRA:
            yield from self._of_spectra([file for _, files in units for file in files])
        elif units:
            yield from self._of_stars(units)

    def _of_spectra(self, files: Sequence[NightFile]) -> Iterator[AstraTask]:
        """Yield the analyses of visits and BOSS spectra."""
        visits = [file for file in files if file.product == VISIT]
        others = [file for file in files if file.product != VISIT]
        yield self._batch(SignalToNoise, files)
        yield self._batch(ContinuumNormalize, files)
        if visits:
            yield self._batch(BarycentricCorrection, visits)
        if visits and self.templates:
            yield self._batch(RadialVelocity, visits, templates=self.templates)
        if others and self.boss_templates:
            yield self._batch(RadialVelocity, others, templates=self.boss_templates)
        if others:
            yield self._batch(MeasureLines, others, lines=self.boss_lines)
        if others and self.classes:
            yield self._batch(ClassifySpectrum, others, classes=self.classes)

    def _of_stars(self, units: Sequence[Unit]) -> Iterator[AstraTask]:
        """Yield the sums of the visits that are there, and the analyses of the sums."""
        present = [(obj, _existing(files)) for obj, files in units]
        stars = [(obj, paths) for obj, paths in present if paths]
        if not stars:
            return
        names, visits = zip(*stars, strict=True)
        combine = self._task(
            CombineVisits,
            obj=names,
            visits=tuple(map(os.pathsep.join, visits)),
            velocities_of=("",) * len(names),
            templates=self.templates,
        )
        yield combine
        paths = tuple(str(star.product_path) for star in combine.get_batch_tasks())
        sums = {"product": ("apStar",) * len(paths), "path": paths}
        if self.lines:
            yield self._task(MeasureLines, **sums, lines=self.lines)
        if self.model:
            yield self._task(TheCannon, **sums, model=self.model)

    def _batch(self, task_class: type[AstraTask], files: Sequence[NightFile], **own: Any) -> Any:
        products, paths = tuple(file.product for file in files), tuple(file.path for file in files)
        return self._task(task_class, product=products, path=paths, **own)

    def _task(self, task_class: type[Any], **own: Any) -> Any:
        return task_class(output_root=self.output_root, rerun=self.rerun, **own)

    def complete(self) -> bool:
        """Say whether all analyses of all members have been tried."""
        return bool(self.list_task().units(self.kind)) and not any(map(_untried, self.batches()))

    def run(self) -> None:
        """Run each batch, whatever became of those before."""
        for batch in self.batches():
            if not _untried(batch):
                continue
            try:
                batch.run()
            except StateError:
                raise
            except AstraError as exc:
                logger.error("%r: %s", self, exc)  # its own row has the traceback
        # Luigi keeps every task ever made, here one for each file: 8 MB for a thousand of them.
        luigi.task_register.Register.clear_instance_cache()


class AnalyseNight(AnalysisOfNight):
    """Run every analysis on the spectra of a night, and write the tables of results.

    Of each visit and BOSS spectrum: `SignalToNoise`, `ContinuumNormalize`, of visits `BarycentricCorrection`,
    `RadialVelocity` where templates are given, of BOSS spectra `MeasureLines`, and `ClassifySpectrum` where
    templates of classes are given. Of the stars: `CombineVisits`, and of the sums `MeasureLines` and
    `TheCannon` where lines and a model are given. At the end `ExportResults`. What is done is not done again,
    and what fails stops nothing else; the task then fails at its end.
    """

    runs_in_place = True
    accepts_partial_batches = True  # what fails of a night is counted, and stops nothing

    TABLES: ClassVar[dict[type[AstraTask], str]] = {
        SignalToNoise: "signal_to_noise",
        ContinuumNormalize: "continuum_fit",
        BarycentricCorrection: "barycentric_correction",
        RadialVelocity: "radial_velocity",
        CombineVisits: "combined_visit",
        MeasureLines: "line_strength",
        ClassifySpectrum: "spectral_classification",
        TheCannon: "stellar_label",
    }

    @property
    def must_rerun(self) -> bool:
        """Always: the night is listed anew, and what is new of it analysed."""
        return True

    def requires(self) -> list[AstraTask]:
        """List the night."""
        return [self.list_task()]

    def steps(self) -> list[NightStep]:
        """Return the parts of the night."""
        kwargs = self.get_common_param_kwargs(NightStep)
        night = self.list_task()
        return [
            NightStep(**kwargs, kind=kind, chunk=chunk, n_parts=n_parts)
            for kind in (SPECTRA, STARS)
            for n_parts in [night.n_parts(kind, self.chunk_files)]
            for chunk in range(n_parts)
        ]

    def run(self) -> Generator[Any, Any, None]:
        """Analyse, export, and count.

        Raises
        ------
        BatchError
            If an analysis of a member failed.
        """
        steps = self.steps()
        yield steps
        batches = [batch for step in steps for batch in step.batches()]
        tables = dict.fromkeys(self.TABLES[type(batch)] for batch in batches)
        if tables:
            yield ExportResults(table=tuple(tables), output_root=self.output_root)
        counts = count_members(batches)
        self.add_figures("night", counts)
        if counts["n_failed"]:
            message = (
                f"{counts['n_failed']} of {counts['n_tasks']} analyses of night {self.mjd} failed; "
                "their own rows say why, and a further run does them again"
            )
            raise BatchError(message, n_failed=counts["n_failed"], mjd=self.mjd)


def count_members(batches: Iterable[AstraTask]) -> dict[str, int]:
    """Count the members of batches, and those that are not done."""
    n_tasks = n_failed = 0
    for batch in batches:
        ids = set(batch.member_ids())
        n_tasks += len(ids)
        n_failed += len(ids - batch.done_ids(ids))
    return {"n_tasks": n_tasks, "n_failed": n_failed}


def _untried(batch: AstraTask) -> bool:
    """Say whether a member of a batch is neither done nor has failed in this run."""
    ids = set(batch.member_ids())
    return bool(ids - batch.done_ids(ids) - batch._failed_ids(ids))  # noqa: SLF001  # the engine's own


def _existing(files: Sequence[NightFile]) -> list[str]:
    """Return the paths of the files that are there; each once, in the order of time."""
    paths = dict.fromkeys(file.path for file in sorted(files, key=lambda file: (file.mjd, file.path)))
    return [path for path in paths if os.path.exists(absolute_path(path))]
