"""Reference catalogues in shards: a folder of FITS or Parquet files, one a pixel of the sky.

The layout is that of HATS: ``<dataset>/Norder=<depth>/Dir=<k>/Npix=<pixel>.<format>`` for HEALPix pixels
(nested), and ``Level=`` in the place of ``Norder=`` for those of the Hierarchical Triangular Mesh. The rows
of a HEALPix shard are sorted by the column ``_healpix_29``. ``manifest.json`` says what the catalogue is; it
is written last, so that a catalogue is there whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import FormatError, MissingDataError
from astra.products.atomic import atomic_path, write_text
from astra.products.catalogs import read_catalog, write_catalog
from astra.products.reference_columns import ReferenceTable, parquet_module
from astra.sky.healpix import healpix_pixels, healpix_ranges
from astra.sky.regions import htm_pixels, htm_ranges

if TYPE_CHECKING:
    from lsst.sphgeom import Region

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
SHARD_FORMATS = ("fits", "parquet")
SORT_COLUMN = "_healpix_29"
_PER_FOLDER = 10_000


@dataclass(frozen=True)
class Pixelisation:
    """A division of the sky.

    Parameters
    ----------
    level_name : str
        What its depth is called in paths.
    max_depth : int
        Deepest division for shards.
    pixels : callable
        From ra, dec [deg] and depth to the pixel of each position.
    ranges : callable
        From a region and depth to the ranges of pixels that cover it, first and last.
    """

    level_name: str
    max_depth: int
    pixels: Callable[[NDArray[np.float64], NDArray[np.float64], int], NDArray[np.int64]]
    ranges: Callable[[Region, int], list[tuple[int, int]]]


PIXELISATIONS = {
    "healpix": Pixelisation("Norder", 12, healpix_pixels, healpix_ranges),
    "htm": Pixelisation("Level", 13, htm_pixels, htm_ranges),
}


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    Parameters
    ----------
    folder : Path
        Where it is.
    format : {"fits", "parquet"}
        Of the shards.
    pixelisation : {"healpix", "htm"}
        Division of the sky.
    depth : int
        HEALPix order, or HTM level.
    dataset : str
        Folder of the shards.
    columns : mapping of str to str
        Unit of each column, empty without.
    bands : list of str
        With fluxes.
    epoch_mjd_tai : list of float
        First and last epoch of the positions [d, MJD TAI]; empty if they are not known.
    n_rows : int
        Stars.
    shards : mapping of int to int
        Rows of each pixel that has some.
    sources : list of dict
        ``name``, ``checksum`` (SHA-256) and ``n_rows`` of each file it is made of.
    """

    folder: Path
    format: str
    pixelisation: str
    depth: int
    dataset: str
    columns: Mapping[str, str]
    bands: Sequence[str]
    epoch_mjd_tai: Sequence[float]
    n_rows: int
    shards: Mapping[int, int]
    sources: Sequence[Mapping[str, Any]]

    def shard_path(self, pixel: int) -> Path:
        """Path of the file of one pixel."""
        level = f"{PIXELISATIONS[self.pixelisation].level_name}={self.depth}"
        directory = f"Dir={pixel // _PER_FOLDER * _PER_FOLDER}"
        return self.folder / self.dataset / level / directory / f"Npix={pixel}.{self.format}"

    def pixels_in(self, region: Region | None) -> list[int]:
        """Pixels with stars that a region touches, or all."""
        if region is None:
            return sorted(self.shards)
        ranges = PIXELISATIONS[self.pixelisation].ranges(region, self.depth)
        if sum(last - first + 1 for first, last in ranges) <= len(self.shards):
            return [p for first, last in ranges for p in range(first, last + 1) if p in self.shards]
        return sorted(p for p in self.shards if any(first <= p <= last for first, last in ranges))

    def read_tables(self, region: Region | None, bands: Sequence[str]) -> Iterator[ReferenceTable]:
        """Read the shards that a region touches, with the fluxes of some bands.

        Raises
        ------
        FormatError
            If the catalogue has not all the bands.
        MissingDataError
            If a shard is not there.
        """
        missing = [band for band in bands if band not in self.bands]
        if missing:
            path = self.folder / MANIFEST
            message = (
                f"reference catalogue {self.folder} has the bands {', '.join(self.bands)}, not {missing[0]}"
            )
            raise FormatError(message, path=str(path), key=missing[0])
        fluxes = {f"{band}_flux{err}" for band in self.bands if band not in bands for err in ("", "Err")}
        names = [name for name in self.columns if name not in fluxes]
        for pixel in self.pixels_in(region):
            path = self.shard_path(pixel)
            if not path.is_file():
                message = f"shard {path} of a reference catalogue is not there; ingest the catalogue again"
                raise MissingDataError(message, path=str(path))
            yield ReferenceTable(path, read_shard(path, names), self.columns)

    def write(self) -> None:
        """Write the manifest; from then on the catalogue is there."""
        record = {"kind": "reference catalogue", "version": MANIFEST_VERSION, **asdict(self)}
        del record["folder"]
        write_text(manifest_path(self.folder), json.dumps(record, indent=1) + "\n")


def manifest_path(folder: Path | str) -> Path:
    """Path of the manifest of a folder."""
    return Path(folder) / MANIFEST


def read_manifest(folder: Path | str) -> Manifest:
    """Read what a folder of shards holds.

    Raises
    ------
    MissingDataError
        If there is no manifest.
    FormatError
        If it is none, or of another version.
    """
    path = manifest_path(folder)
    if not path.is_file():
        message = (
            f"{folder} is no reference catalogue: it has no {MANIFEST}; make one with IngestReferenceCatalog"
        )
        raise MissingDataError(message, path=str(path))
    try:
        record = json.loads(path.read_text())
        if (found := record.pop("version")) != MANIFEST_VERSION:
            message = (
                f"{path} has version {found}, this code reads {MANIFEST_VERSION}; ingest the catalogue again"
            )
            raise FormatError(message, path=str(path), version=found)
        del record["kind"]
        record["shards"] = {int(pixel): n for pixel, n in record["shards"].items()}
        manifest = Manifest(folder=Path(folder), **record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path} is no manifest of a reference catalogue: {error!r}"
        raise FormatError(message, path=str(path)) from error
    if manifest.pixelisation not in PIXELISATIONS or manifest.format not in SHARD_FORMATS:
        message = (
            f"{path} names the pixelisation {manifest.pixelisation!r} and the format {manifest.format!r}"
        )
        raise FormatError(message, path=str(path))
    return manifest


def write_shard(path: Path, rows: NDArray[np.void], units: Mapping[str, str]) -> None:
    """Write one shard in the format of its suffix; it appears whole or not at all."""
    if path.suffix == ".fits":
        write_catalog(path, rows, units=units)
        return
    parquet = parquet_module(path)
    import pyarrow as pa  # type: ignore[import-not-found,import-untyped,unused-ignore]

    names = rows.dtype.names or ()
    fields = []
    for name in names:
        metadata = {"unit": units[name]} if name in units else None
        fields.append(pa.field(name, pa.from_numpy_dtype(rows.dtype[name]), metadata=metadata))
    arrays = [pa.array(np.ascontiguousarray(rows[name])) for name in names]
    with atomic_path(path) as temporary:
        parquet.write_table(pa.table(arrays, schema=pa.schema(fields)), temporary, compression="zstd")


def read_shard(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read some columns of one shard.

    Raises
    ------
    FormatError
        If it is damaged, or lacks one.
    ConfigError
        If it is Parquet, and pyarrow is not installed.
    """
    try:
        if path.suffix == ".fits":
            rows = read_catalog(path)
            return {name: rows[name] for name in names}
        table = parquet_module(path).read_table(path, columns=list(names), partitioning=None)
        return {name: table[name].to_numpy() for name in names}
    except (OSError, ValueError, KeyError) as error:
        message = f"shard {path} of a reference catalogue cannot be read: {error}"
        raise FormatError(message, path=str(path)) from error
