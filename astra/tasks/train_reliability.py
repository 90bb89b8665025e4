"""Train the model that gives detections their reliability."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import luigi

from astra.tasks.base import AstraTask
from astra.tasks.diffim import DiffIm
from astra.tasks.get_template import GetTemplate
from astra.tasks.imaging import ImagingTask
from astra.tasks.parameters import IdsParameter, PathParameter
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.template_rule import DifferenceTask

if TYPE_CHECKING:
    from astra.images.reliability_sampling import Examples, SamplingConfig
    from astra.tasks.training_frames import TrainingPair

CUT = 0.5  # that the report and the picture are of
SEEING_FACTORS = (1.0, 0.85, 1.3, 1.0, 1.7, 2.2)  # of the simulated nights, in turn


class TrainReliability(ImagingTask):
    """Train a reliability model on injected sources and on residuals, or on labels.

    The frames are of simulated nights, of visits that are named, or of both. Products: ``model.npz``, which
    ``--reliability-model`` of ``DiffIm`` takes, ``report.json``, and a picture of how well it does
    (``roc.png``).
    With ``--labels`` the detections of ``DiffIm`` on the named visits are taken as their labels say.
    """

    instrument = luigi.Parameter(default="", description="Camera of the named visits, e.g. sdss.")
    visits = IdsParameter(default="", description="Visits to train on, e.g. 12 or 12^15^20..22; may be none.")
    detectors = IdsParameter(default="", description="Detectors of the named visits, e.g. 4 or 1^3..6.")
    template_visits = IdsParameter(
        default="", description="Visits that make the template of the named visits, e.g. 12^15^20..22."
    )
    # The other ways to choose a template, as the tasks have them that this one requires.
    template_name = DifferenceTask.template_name
    template_begin = DifferenceTask.template_begin
    template_end = DifferenceTask.template_end
    template_max_fwhm_arcsec = DifferenceTask.template_max_fwhm_arcsec
    template_max_inputs = DifferenceTask.template_max_inputs
    sky_tile_order = DifferenceTask.sky_tile_order
    allow_own_visit = DifferenceTask.allow_own_visit
    visit_system = luigi.Parameter(
        default="one-to-one",
        description="System of the visits: one-to-one, by-group-metadata, by-seq-start-end, or a plug-in's.",
    )
    reference_catalog = PathParameter(
        default="",
        config_path={"section": "astra", "name": "reference_catalog"},
        description="Reference catalogue: FITS, ECSV, CSV or Parquet file, or folder of shards.",
    )
    labels = PathParameter(
        default="",
        description="Table (CSV, ECSV, FITS or Parquet) with diaSourceId and label: 1 real, 0 artefact.",
    )
    known_sources = PathParameter(
        default="",
        description="Table with ra and dec [deg] of what really varies or moves on the named visits.",
    )
    nights = luigi.IntParameter(default=12, description="Number of simulated nights, of four frames each.")
    seed = luigi.IntParameter(default=1, description="Seed of the simulations, the injections and the trees.")
    threshold_snr = luigi.FloatParameter(default=5.0, description="Detection limit: S/N of a point source.")
    trees = luigi.IntParameter(default=250, description="Number of trees of the model.")

    def requires(self) -> list[luigi.Task]:
        """Calibrate the named visits, put their template on them, and subtract it if they are labelled."""
        families: list[type[AstraTask]] = [ProcessCcd, GetTemplate]
        if self.labels:
            families.append(DiffIm)
        return [
            self.require(family, **{k: v for k, v in data_id.items() if k in family.get_param_names(True)})
            for data_id in self.data_ids()
            for family in families
        ]

    def data_ids(self) -> list[dict[str, int]]:
        """Return visit and detector of each named frame."""
        pairs = product(IdsParameter.ids(self.visits), IdsParameter.ids(self.detectors))
        return [{"visit": visit, "detector": detector} for visit, detector in pairs]

    def output(self) -> dict[str, luigi.LocalTarget]:
        """Return the model, the report and the picture."""
        names = {"model": "model.npz", "report": "report.json", "roc": "roc.png"}
        folder = self.output_base_dir / self.task_id
        return {kind: luigi.LocalTarget(str(folder / name)) for kind, name in names.items()}

    def run(self) -> None:
        """Collect examples, fit, and write.

        Raises
        ------
        ConfigError
            If scikit-learn is not installed, or there is nothing to train on.
        TooFewSourcesError
            If there are too few examples.
        """
        import numpy as np

        from astra.images.reliability_sampling import balance_examples, join_examples
        from astra.products.atomic import write_text
        from astra.products.reliability_model import write_reliability_model
        from astra.products.reliability_picture import write_reliability_picture
        from astra.tasks.reliability_fit import FitConfig, fit_model, scikit_learn
        from astra.tasks.reliability_report import make_report

        scikit_learn("ensemble")  # before the work, and not after it
        with self.timer("examples"):
            parts = list(self.examples())
        self._require_frames(len(parts))
        everything = join_examples([part for _, part in parts])
        chosen = balance_examples(everything, np.random.default_rng(self.seed))
        with self.timer("fit"):
            model, scores = fit_model(chosen, FitConfig(n_trees=self.trees, seed=self.seed))
        report = make_report(model, chosen, scores, parts, CUT) | {"seed": self.seed}
        write_reliability_model(self.output()["model"].path, model.with_report(report))
        write_text(self.output()["report"].path, json.dumps(report, indent=1, allow_nan=False) + "\n")
        write_reliability_picture(
            self.output()["roc"].path,
            *(chosen.labels, scores, chosen.snr),
            threshold=CUT,
            title=f"reliability model {model.version}: {len(chosen)} detections of {len(parts)} frames, "
            "each scored by trees that have not seen its frame",
        )
        self.add_figures("fit", report["cut"] | {"area": report["area"], "version": model.version})

    def _require_frames(self, n_frames: int) -> None:
        from astra.errors import ConfigError

        if n_frames == 0:
            message = (
                "TrainReliability has no frames to train on: give --nights, or --visits with --detectors, "
                "--instrument and --template-visits, or what else chooses a template"
            )
            raise ConfigError(message)

    def examples(self) -> Iterator[tuple[str, Examples]]:
        """Yield the examples of each frame, with its name."""
        import numpy as np

        from astra.images.reliability_sampling import on_grid_of, sample_pair

        if self.labels:
            yield from self._labelled_examples()
        frames = list(self._frames())
        for group, (pairs, config) in enumerate(frames):
            for number, pair in enumerate(pairs):
                rng = np.random.default_rng([self.seed, group, number])
                template = on_grid_of(pair.science, pair.template)
                found = sample_pair(pair.science, template, pair.sources, rng, config, known=pair.known)
                yield pair.name, found.examples(1000 * (group + 1) + number)

    def sampling(self, *, is_truth_known: bool) -> SamplingConfig:
        """Return how examples are made."""
        from astra.images.dia_detection_config import DiaDetectionConfig
        from astra.images.difference import DifferenceConfig
        from astra.images.reliability_sampling import SamplingConfig

        detection = DiaDetectionConfig(threshold_snr=self.threshold_snr)
        return SamplingConfig(difference=DifferenceConfig(detection=detection), is_truth_known=is_truth_known)

    def _frames(self) -> Iterator[tuple[Iterator[TrainingPair], SamplingConfig]]:
        """Yield the frames to inject into: simulated nights, then, without labels, the named visits."""
        from astra.tasks.training_frames import simulated_pairs

        folder = Path(self.output()["model"].path).parent
        for night in range(self.nights):
            # Seeds of nights do not overlap with those of other trainings.
            seeing = SEEING_FACTORS[night % len(SEEING_FACTORS)]
            pairs = simulated_pairs(folder / f"night-{night}", 1000 * self.seed + night, seeing)
            yield pairs, self.sampling(is_truth_known=True)
        if not self.labels:
            yield self._visit_pairs(), self.sampling(is_truth_known=False)

    def _visit_pairs(self) -> Iterator[TrainingPair]:
        """Yield the named visits with their templates."""
        from astra.tasks.training_frames import read_pair

        for data_id in self.data_ids():
            calexp = self.require(ProcessCcd, **data_id)
            template = self.require(GetTemplate, **data_id)
            yield read_pair(calexp, template, self.known_sources)

    def _labelled_examples(self) -> Iterator[tuple[str, Examples]]:
        """Yield the labelled detections of each named visit."""
        from astra.products.reliability_labels import read_labels
        from astra.tasks.training_frames import labelled_frames

        tasks = [
            (self.require(DiffIm, **data_id), self.require(ProcessCcd, **data_id))
            for data_id in self.data_ids()
        ]
        yield from labelled_frames(read_labels(self.labels), self.labels, tasks)
