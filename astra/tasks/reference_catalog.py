"""Ingest reference catalogues: from the files of a survey to shards that are read by region."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import DataError
from astra.tasks.base import AstraTask
from astra.tasks.parameters import PathParameter

if TYPE_CHECKING:
    from astra.products.reference_ingest import ShardConfig


class IngestReferenceCatalog(AstraTask):
    """Divide a reference catalogue into shards on the sky, for ProcessCcd to read those that it needs.

    The catalogue is the folder ``<root>/reference_catalogs/<name>``: give it as ``--reference-catalog``.
    Running again makes it anew only if the sources or the options have changed; one that is there stays
    until the new one is complete.
    """

    path = PathParameter(
        batch_method=tuple,
        description="Source file of the catalogue, or folder of them: FITS, ECSV, CSV or Parquet.",
    )
    name = luigi.Parameter(batch_method=tuple, description="Name of the catalogue.")
    shard_format = luigi.ChoiceParameter(
        default="fits",
        choices=["fits", "parquet"],
        description="Format of the shards; parquet needs the extra of that name.",
    )
    pixelisation = luigi.ChoiceParameter(
        default="healpix", choices=["healpix", "htm"], description="Division of the sky."
    )
    depth = luigi.OptionalIntParameter(
        default=None, description="HEALPix order (default 5: 1.8 deg) or HTM level (default 7: 0.6 deg)."
    )
    columns = luigi.DictParameter(
        default={},
        description='Columns that are called otherwise in the source, as in {"id": "source_id"}.',
    )
    epoch_yr = luigi.OptionalFloatParameter(
        default=None, description="Epoch of the positions, of sources without such a column [Julian yr]."
    )

    @property
    def folder(self) -> Path:
        """Folder of the catalogue of a single task."""
        from astra.products.layout import reference_catalog_folder

        return reference_catalog_folder(self.root, self.name)

    def output(self) -> Any:
        """Return the manifest; for a batch, those of all members."""
        from astra.products.reference_shards import manifest_path

        if self.is_batch_mode:
            return [member.output() for member in self.get_batch_tasks()]
        return {"manifest": luigi.LocalTarget(str(manifest_path(self.folder)))}

    def input_files(self) -> list[str | Path]:
        """Return the source files of a single task."""
        from astra.products.reference_ingest import find_sources

        try:
            return list(find_sources(Path(self.path)))
        except DataError:
            return []

    def run(self) -> None:
        """Read the sources and write the shards."""
        from astra.products.reference_ingest import find_sources, ingest_reference_catalog

        for task in self.pending_tasks():
            with task.recording():
                with task.timer("ingest"):
                    manifest = ingest_reference_catalog(
                        find_sources(Path(task.path)), task.folder, task.shard_config()
                    )
                figures = {"nSources": len(manifest.sources), "nShards": len(manifest.shards)}
                task.add_figures("ingest", {**figures, "nRows": manifest.n_rows})

    def shard_config(self) -> ShardConfig:
        """Return the options of the division."""
        from astra.products.reference_ingest import DEFAULT_DEPTH, ShardConfig

        return ShardConfig(
            format=self.shard_format,
            pixelisation=self.pixelisation,
            depth=DEFAULT_DEPTH[self.pixelisation] if self.depth is None else self.depth,
            columns=dict(self.columns),
            epoch_yr=self.epoch_yr,
        )

    def stale_ids(self) -> set[str]:
        """Return the ids of members whose folder holds another catalogue by now, or none."""
        return {task.task_id for task in self.get_batch_tasks() if not task.is_in_place()}

    def is_in_place(self) -> bool:
        """Whether the catalogue of a single task is the one in its folder."""
        from astra.products.reference_shards import read_manifest

        try:
            found = read_manifest(self.folder)
        except DataError:
            return False
        wanted, names = self.shard_config(), {Path(file).name for file in self.input_files()}
        if names and names != {source["name"] for source in found.sources}:
            return False
        return all(getattr(found, key) == getattr(wanted, key) for key in ("format", "pixelisation", "depth"))
