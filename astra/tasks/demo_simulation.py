"""The simulation of the demonstration, as tasks: raw frames by detector, tables, and spectra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi
from luigi.parameter import ParameterVisibility

from astra.errors import DataError
from astra.tasks.base import AstraTask
from astra.tasks.parameters import IdParameter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astra.images.exposure import Exposure
    from astra.simulation.demo_night import DemoNight
    from astra.simulation.spectra import SpectralNight

FULL, SMALL = "full", "small"
DETECTORS = {FULL: (0, 1, 2, 3), SMALL: (0, 1)}  # without the simulation, which imports much
N_SPECTRA = {FULL: (120, 80), SMALL: (6, 2)}  # stars, and those of them that were seen before


class SimulatedTask(AstraTask):
    """What the parts of the demonstration share: its seed and its scale."""

    seed = luigi.IntParameter(default=42, description="Seed of the sky, the camera, the stars and the noise.")
    scale = luigi.ChoiceParameter(
        default=FULL,
        choices=[FULL, SMALL],
        visibility=ParameterVisibility.HIDDEN,
        description="How large it is: full, or small for tests.",
    )

    @property
    def folder(self) -> Path:
        """Folder of the simulated files."""
        return self.root / "simulation"

    @property
    def night(self) -> DemoNight:
        """What is observed."""
        from astra.simulation import demo_night

        scales = {FULL: demo_night.FULL, SMALL: demo_night.SMALL}
        return demo_night.DemoNight(self.seed, scales[self.scale])

    @property
    def spectral_night(self) -> SpectralNight:
        """The night of spectra."""
        from astra.simulation.spectra import SpectralNight

        return SpectralNight(self.folder / "spectra", self.seed, *N_SPECTRA[self.scale])

    def table_path(self, kind: str) -> Path:
        """Path of a table: reference, ephemeris, truth or changing."""
        return self.folder / f"{kind}.fits"

    def part(self, task_class: type[Any], **own: Any) -> Any:
        """Return a task of the demonstration with the same seed, scale and root."""
        return task_class(seed=self.seed, scale=self.scale, output_root=self.output_root, **own)


class CompileKernels(SimulatedTask):
    """Subtract a small simulated pair: it compiles what a difference needs, while the frames are made.

    On a new machine this takes most of a minute of one process; later ones find what it has compiled.
    """

    priority = 2  # first of all, for it needs nothing

    def run(self) -> None:
        """Subtract, detect, measure and judge in memory."""
        from astra.simulation.pair import make_pair

        rows = subtract_and_score(*make_pair(self.seed))
        self.add_figures("compile", {"nDiaSources": len(rows)})


class SimulateRaws(SimulatedTask):
    """Simulate what one detector, or many, take in the nights of the demonstration, calibrations included."""

    detector = IdParameter(description="Detector id, or ids as in 0..3.")

    def run(self) -> None:
        """Render the frames of each detector, and write them."""
        for task in self.pending_tasks():
            with task.recording():
                with task.timer("simulate"):
                    paths = task.night.write_raws(task.folder / "raw", task.detector)
                task.add_figures("simulate", {"nRaws": len(paths)})


class SimulateTables(SimulatedTask):
    """Write the reference catalogue, the ephemeris, and the truth of the demonstration."""

    def output(self) -> dict[str, luigi.LocalTarget]:
        """Return the tables by kind."""
        kinds = ("reference", "ephemeris", "truth", "changing")
        return {kind: luigi.LocalTarget(str(self.table_path(kind))) for kind in kinds}

    def run(self) -> None:
        """Write them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.night.write_tables({kind: target.path for kind, target in self.output().items()})


class SimulateSpectra(SimulatedTask):
    """Simulate the visits of a night of APOGEE, in a tree of SDSS with its summary."""

    def output(self) -> dict[str, luigi.LocalTarget]:
        """Return the list of the night, models and truth."""
        from astra.simulation.spectra import FILES

        return {kind: luigi.LocalTarget(str(self.spectral_night.path(kind))) for kind in FILES}

    def run(self) -> None:
        """Write them."""
        self.spectral_night.write()
        self.add_figures("simulate", {"nSpectra": len(self.spectral_night.visits)})


def subtract_and_score(science: Exposure, template: Exposure) -> NDArray[np.void]:
    """Return the detections of a difference with their reliability, as `DiffIm` finds them."""
    from astra.images.difference import difference_images
    from astra.images.reliability import score_dia_sources
    from astra.products.reliability_model import load_reliability_model

    result = difference_images(science, template)
    model = load_reliability_model("")
    if result.science is None or model is None:
        raise DataError("the difference was not measured, or there is no model of reliability")
    return score_dia_sources(
        result.dia_sources, result.difference, result.science, result.matched_template, model
    )
