"""What the tasks of the imaging chain share: the camera, where raws come from, which steps run again."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import luigi
from luigi.parameter import ParameterVisibility

from astra import config
from astra.instruments.camera_files import look_for_camera_files
from astra.tasks.base import AstraTask
from astra.tasks.parameters import IdParameter, PathParameter, PathsParameter

STEPS = ("ccdProcessor", "differencer", "diaPipe")

look_for_camera_files(config.instrument_files)


class ImagingTask(AstraTask):
    """A task on the frames of a camera."""

    instrument = luigi.Parameter(description="Camera name, e.g. sdss.")
    raw = PathsParameter(
        default="",
        significant=False,
        description="Raw files or folders to ingest first, separated by colons.",
    )
    rerun_steps = luigi.Parameter(
        default="",
        significant=False,
        visibility=ParameterVisibility.HIDDEN,
        description="Steps to run again, separated by commas.",
    )

    step: ClassVar[str] = ""

    @property
    def must_rerun(self) -> bool:
        """Whether only a result of this invocation counts as done."""
        return bool(self.rerun) or (bool(self.step) and self.step in self.rerun_steps.split(","))

    def require(self, klass: type[AstraTask], **own: Any) -> Any:
        """Return a task of a class with this task's values of the parameters that they share.

        Whether to run again is not handed on: each step says that for itself.
        """
        kwargs = self.get_common_param_kwargs(klass)
        kwargs.pop("rerun", None)
        return klass(**{**kwargs, **own})


class ProductTask(ImagingTask):
    """A task that makes files of calibrated detectors."""

    visit_system = luigi.Parameter(
        default="one-to-one",
        description="System of the visits: one-to-one, by-group-metadata, by-seq-start-end, or a plug-in's.",
    )
    reference_catalog = PathParameter(
        default="",
        config_path={"section": "astra", "name": "reference_catalog"},
        description="Reference catalogue: FITS, ECSV, CSV or Parquet file, or folder of shards.",
    )

    kinds: ClassVar[tuple[str, ...]] = ()

    def input_files(self) -> Iterable[str | Path]:
        """Return the files of its own that a single task reads: none, but for those that calibrate."""
        return ()

    @abc.abstractmethod
    def path(self, kind: str) -> Path:
        """Path of one product of a single task."""

    def output(self) -> Any:
        """Return the products by kind; for a batch, those of each member."""
        if self.is_batch_mode:
            return [member.output() for member in self.get_batch_tasks()]
        return {kind: luigi.LocalTarget(str(self.path(kind))) for kind in self.kinds}

    def sweep(self) -> None:
        """Remove what a killed run of this task left behind."""
        from astra.products.atomic import sweep_leftovers

        for folder in {Path(target.path).parent for target in luigi.task.flatten(self.output())}:
            if folder.is_dir():
                sweep_leftovers(folder)


class DetectorTask(ProductTask):
    """A task on one detector of one visit, or on many."""

    visit = IdParameter(description="Visit id, or ids as in 1..62^70.")
    detector = IdParameter(description="Detector id, or ids as in 1..62^70.")

    def path(self, kind: str) -> Path:
        """Path of one product of a single task."""
        from astra.products.layout import product_path

        return product_path(self.root, self.instrument, self.visit, self.detector, self.task_id, kind=kind)
