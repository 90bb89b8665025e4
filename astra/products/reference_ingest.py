"""Make a reference catalogue in shards of source files.

The files are read one by one and their rows laid down by pixel, so that none but the largest file and the
largest shard must fit into memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from astra.errors import ConfigError, FormatError, MissingDataError
from astra.products.atomic import checksum
from astra.products.reference_columns import FORMATS, ReferenceTable, read_reference_table
from astra.products.reference_shards import (
    MANIFEST_VERSION,
    PIXELISATIONS,
    SHARD_FORMATS,
    SORT_COLUMN,
    Manifest,
    read_manifest,
    write_shard,
)
from astra.sky.healpix import MAX_ORDER, healpix_pixels

DATASET_PREFIX = "dataset-"
STAGING_PREFIX = f".staging~{socket.gethostname()}~"
UNITS = {"ra": "deg", "dec": "deg", "pmra": "mas/yr", "pmdec": "mas/yr", "epoch": "d"}
DEFAULT_DEPTH = {"healpix": 5, "htm": 7}


@dataclass(frozen=True)
class ShardConfig:
    """How to divide a catalogue.

    Parameters
    ----------
    format : {"fits", "parquet"}
        Of the shards.
    pixelisation : {"healpix", "htm"}
        Division of the sky.
    depth : int
        HEALPix order, or HTM level.
    columns : mapping of str to str
        Names in the source of columns that are called otherwise, by the names that they get.
    epoch_yr : float, optional
        Epoch of the positions of sources without such a column [Julian yr].
    """

    format: str = "fits"
    pixelisation: str = "healpix"
    depth: int = DEFAULT_DEPTH["healpix"]
    columns: Mapping[str, str] = field(default_factory=dict)
    epoch_yr: float | None = None

    def check(self) -> None:
        """Raise a `ConfigError` if a value is none of those possible."""
        for name, value, known in (
            ("format", self.format, SHARD_FORMATS),
            ("pixelisation", self.pixelisation, tuple(PIXELISATIONS)),
        ):
            if value not in known:
                message = f"the {name} of a reference catalogue is one of {', '.join(known)}, found {value!r}"
                raise ConfigError(message, value=value)
        deepest = PIXELISATIONS[self.pixelisation].max_depth
        if not 0 <= self.depth <= deepest:
            message = f"the depth of {self.pixelisation} shards is from 0 to {deepest}, found {self.depth}"
            raise ConfigError(message, value=self.depth)


def find_sources(path: Path) -> list[Path]:
    """Find the source files at a path: the file itself, or all tables below a folder, sorted.

    Raises
    ------
    MissingDataError
        If the path is not there, or holds no table.
    """
    if path.is_file():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*")
        if file.is_file()
        and not file.name.startswith(".")
        and Path(file.name.removesuffix(".gz")).suffix.lower() in FORMATS
    )
    if not found:
        message = (
            f"{path} is no reference catalogue, nor a folder with files that end in {', '.join(FORMATS)}"
        )
        raise MissingDataError(message, path=str(path))
    return found


def ingest_reference_catalog(sources: Sequence[Path], folder: Path, config: ShardConfig) -> Manifest:
    """Make the shards, or leave them if they are there already.

    Parameters
    ----------
    sources : sequence of Path
        FITS, ECSV, CSV or Parquet files of one catalogue, all with the same columns.
    folder : Path
        Where the catalogue goes. One that is there already is replaced once the new one is complete.
    config : ShardConfig
        Division and format.

    Returns
    -------
    manifest : Manifest

    Raises
    ------
    ConfigError
        If the configuration is impossible, or pyarrow is needed and not installed.
    MissingDataError, FormatError
        If a source is not there, cannot be read, or lacks a column; nothing is changed then.
    """
    config.check()
    checksums = [checksum(source) for source in sources if source.is_file()]
    dataset = DATASET_PREFIX + _digest(checksums, config)
    present = _present(folder, dataset)
    if present is not None:
        return present
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    with TemporaryDirectory(dir=folder, prefix=f"{STAGING_PREFIX}{os.getpid()}~") as staging:
        writer = _Writer(Path(staging), config)
        for source in sources:
            writer.add(source)
        manifest = writer.finish(folder, dataset, checksums)
    manifest.write()
    for other in folder.glob(DATASET_PREFIX + "*"):
        if other.name != dataset:
            shutil.rmtree(other)
    return manifest


def _digest(checksums: Sequence[str], config: ShardConfig) -> str:
    """Return a name for what would be made."""
    text = json.dumps([MANIFEST_VERSION, checksums, asdict(config)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sweep(folder: Path) -> None:
    """Remove what writers of this host that no longer live have left."""
    for left in folder.glob(STAGING_PREFIX + "*"):
        if not psutil.pid_exists(int(left.name.removeprefix(STAGING_PREFIX).partition("~")[0])):
            shutil.rmtree(left, ignore_errors=True)


def _present(folder: Path, dataset: str) -> Manifest | None:
    """Return the manifest of a folder that holds all of a dataset."""
    try:
        manifest = read_manifest(folder)
    except (MissingDataError, FormatError):
        return None
    whole = manifest.dataset == dataset and all(manifest.shard_path(p).is_file() for p in manifest.shards)
    return manifest if whole else None


class _Writer:
    """Lays the rows of source files down by pixel, then joins those of each pixel."""

    def __init__(self, staging: Path, config: ShardConfig) -> None:
        self._staging, self._config = staging, config
        self._dtype: np.dtype[np.void] | None = None
        self._pieces: dict[int, list[Path]] = {}
        self._n_rows: list[tuple[Path, int]] = []
        self._n_read = 0  # with those that have no position
        self._bands: list[str] = []
        self._epochs: list[float] = []

    def add(self, source: Path) -> None:
        """Lay down the rows of one source."""
        table = read_reference_table(source).renamed(self._config.columns)
        rows = self._standard_rows(table)
        pixels = PIXELISATIONS[self._config.pixelisation].pixels(rows["ra"], rows["dec"], self._config.depth)
        order = np.argsort(pixels, kind="stable")
        found, first = np.unique(pixels[order], return_index=True)
        for pixel, part in zip(found.tolist(), np.split(order, first[1:]), strict=False):
            pieces = self._pieces.setdefault(pixel, [])
            pieces.append(self._staging / f"{pixel}-{len(self._n_rows)}.npy")
            np.save(pieces[-1], rows[part])
        self._n_rows.append((source, len(rows)))
        self._n_read += len(table)

    def _standard_rows(self, table: ReferenceTable) -> NDArray[np.void]:
        """Return the rows with a position, in the columns that all sources must have."""
        table.require(["ra", "dec"])
        bands, motions = table.bands(), table.has_motions()
        if not bands:
            table.require(
                ["<band>_flux"], "<band>_flux and <band>_fluxErr [nJy], or <band> and <band>_err [AB mag]"
            )
        columns = self._columns(table, bands, motions)
        dtype = np.dtype([(name, values.dtype) for name, values in columns.items()])
        if self._dtype is not None and dtype.names != self._dtype.names:
            differing = sorted(set(dtype.names or ()) ^ set(self._dtype.names or ()))
            message = (
                f"{table.path} and {self._n_rows[0][0]} must have the same columns, "
                f"but {differing[0]} is in one alone"
            )
            raise FormatError(message, path=str(table.path), key=differing[0])
        self._dtype, self._bands = dtype, bands
        rows = np.zeros(len(table), dtype=dtype)
        for name, values in columns.items():
            rows[name] = values
        rows["ra"] = np.mod(rows["ra"], 360.0)
        placed = np.isfinite(rows["ra"]) & (np.abs(rows["dec"]) <= 90.0)
        rows = np.compress(placed, rows)
        rows[SORT_COLUMN] = healpix_pixels(rows["ra"], rows["dec"], MAX_ORDER)
        return rows

    def _columns(self, table: ReferenceTable, bands: Sequence[str], motions: bool) -> dict[str, NDArray[Any]]:
        columns: dict[str, NDArray[Any]] = {
            SORT_COLUMN: np.zeros(len(table), dtype=np.int64),
            "id": table.ids(self._n_read),
            "ra": table.numbers("ra"),
            "dec": table.numbers("dec"),
        }
        if motions:
            columns |= {name: table.numbers(name) for name in ("pmra", "pmdec")}
            columns["epoch"] = self._epoch(table)
            known = columns["epoch"][np.isfinite(columns["epoch"])]
            self._epochs += [float(known.min()), float(known.max())] if len(known) else []
        columns["isStar"] = table.is_star()
        for band in bands:
            columns[f"{band}_flux"], columns[f"{band}_fluxErr"] = table.flux(band)
        return columns

    def _epoch(self, table: ReferenceTable) -> NDArray[np.float64]:
        """Epoch of the positions [d, MJD TAI], of the configuration where the table has none."""
        if self._config.epoch_yr is None or "epoch" in table.columns or "ref_epoch" in table.columns:
            return table.epoch_mjd_tai()
        given = ReferenceTable(table.path, {"epoch": np.full(len(table), self._config.epoch_yr)}, {})
        return given.epoch_mjd_tai()

    def finish(self, folder: Path, dataset: str, checksums: Sequence[str]) -> Manifest:
        """Write the shards; return the manifest, which is not written yet."""
        names = self._dtype.names if self._dtype is not None else None
        units = {name: UNITS.get(name, "nJy" if "_flux" in name else "") for name in names or ()}
        manifest = Manifest(
            folder=folder,
            format=self._config.format,
            pixelisation=self._config.pixelisation,
            depth=self._config.depth,
            dataset=dataset,
            columns=units,
            bands=self._bands,
            epoch_mjd_tai=[min(self._epochs), max(self._epochs)] if self._epochs else [],
            n_rows=sum(n for _, n in self._n_rows),
            shards={},
            sources=[
                {"name": source.name, "checksum": digest, "n_rows": n}
                for (source, n), digest in zip(self._n_rows, checksums, strict=True)
            ],
        )
        shards = {}
        for pixel, pieces in sorted(self._pieces.items()):
            rows = np.concatenate([np.load(piece) for piece in pieces])
            rows = rows[np.argsort(rows[SORT_COLUMN], kind="stable")]
            write_shard(
                manifest.shard_path(pixel), rows, {name: unit for name, unit in units.items() if unit}
            )
            shards[pixel] = len(rows)
            for piece in pieces:
                piece.unlink()
        return Manifest(**{**vars(manifest), "shards": shards})
