"""Reference catalogues: one table layout in memory for the photometric and astrometric standards.

A catalogue is one file (see `astra.products.reference_columns`), or a folder of shards, of which those that a
region touches are read (see `astra.products.reference_shards`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astra.images.photometry import ColorTerm, apply_color_term
from astra.products.reference_columns import DAYS_PER_YEAR, ReferenceTable, read_reference_table
from astra.products.reference_shards import manifest_path, read_manifest
from astra.sky.proper_motion import move_stars
from astra.sky.regions import contains, convex_hull, dilate

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from lsst.sphgeom import ConvexPolygon, Region

DTYPE = np.dtype(
    [("id", "i8"), ("ra", "f8"), ("dec", "f8"), ("flux", "f8"), ("fluxErr", "f8"), ("isStar", "?")]
)


def read_reference_catalog(
    path: Path | str,
    band: str,
    *,
    region: Region | None = None,
    epoch_mjd_tai: float | None = None,
    color_term: ColorTerm | None = None,
) -> NDArray[np.void]:
    """Read the standards of one band.

    Parameters
    ----------
    path : Path or str
        FITS (first table), ECSV, CSV or Parquet file, or a folder that `IngestReferenceCatalog` has made.
    band : str
        One of ``ugrizy``; with a colour term, the camera's band that it is for.
    region : lsst.sphgeom.Region, optional
        Only what lies in it is returned, and of a folder only the shards that it touches are read.
    epoch_mjd_tai : float, optional
        Move the stars to where they are then [d, MJD TAI], if the catalogue has proper motions.
    color_term : ColorTerm, optional
        Predict the fluxes in the camera's band with it.

    Returns
    -------
    reference : structured ndarray, shape (n,)
        ``id``, ``ra`` in 0..360 and ``dec`` [deg, ICRS], ``flux`` and ``fluxErr`` [nJy], ``isStar``. Rows
        without a finite position are left out; an unknown flux is NaN. Without an ``id`` column the rows are
        counted from 1; without a column ``isStar`` or ``starnotgal`` all are stars.

    Raises
    ------
    MissingDataError
        If the file, or a shard, is not there.
    FormatError
        If it cannot be read, or lacks a column.
    ConfigError
        If it is Parquet, and pyarrow is not installed.
    """
    path = Path(path)
    bands = (band,) if color_term is None else color_term.bands
    tables = read_manifest(path).read_tables(region, bands) if path.is_dir() else [read_reference_table(path)]
    return _concatenate(_standards(table, bands, region, epoch_mjd_tai, color_term) for table in tables)


def catalog_files(path: Path | str) -> list[Path]:
    """Return the files that tell whether a catalogue has changed: the file, or the manifest of a folder."""
    path = Path(path)
    return [manifest_path(path)] if path.is_dir() else [path]


def image_region(wcs: WCS, shape: tuple[int, int], margin_arcsec: float = 0.0) -> ConvexPolygon:
    """Return the part of the sky that an image covers, and a margin.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Pixels to sky.
    shape : tuple of int
        Rows and columns of the image [pixel].
    margin_arcsec : float, optional
        [arcsec]
    """
    ny, nx = shape
    x, y = np.array([0.0, nx, nx, 0.0]) - 0.5, np.array([0.0, 0.0, ny, ny]) - 0.5
    corners = convex_hull(*wcs.all_pix2world(x, y, 0))
    return dilate(corners, margin_arcsec) if margin_arcsec > 0 else corners


def _concatenate(parts: Iterable[NDArray[np.void]]) -> NDArray[np.void]:
    """Join the rows of all parts."""
    rows: NDArray[np.void] = np.concatenate([np.zeros(0, dtype=DTYPE), *parts])
    return rows


def _standards(
    table: ReferenceTable,
    bands: tuple[str, ...],
    region: Region | None,
    epoch_mjd_tai: float | None,
    color_term: ColorTerm | None,
) -> NDArray[np.void]:
    """Make the layout in memory of one file."""
    reference = np.zeros(len(table), dtype=DTYPE)
    reference["id"] = table.ids()
    reference["ra"], reference["dec"] = np.mod(table.numbers("ra"), 360.0), table.numbers("dec")
    fluxes = {band: table.flux(band) for band in bands}
    reference["flux"], reference["fluxErr"] = (
        fluxes[bands[0]] if color_term is None else apply_color_term(fluxes, color_term)
    )
    reference["isStar"] = table.is_star()
    good = np.isfinite(reference["ra"]) & (np.abs(reference["dec"]) <= 90.0)
    if epoch_mjd_tai is not None and table.has_motions():
        interval_yr = (epoch_mjd_tai - table.epoch_mjd_tai()) / DAYS_PER_YEAR
        motions = table.numbers("pmra"), table.numbers("pmdec")
        columns = reference["ra"], reference["dec"], *motions, interval_yr
        ra, dec, pmra, pmdec, interval = (column[good] for column in columns)
        reference["ra"][good], reference["dec"][good] = move_stars(ra, dec, pmra, pmdec, interval)
    if region is not None:
        good[good] = contains(region, reference["ra"][good], reference["dec"][good])
    placed: NDArray[np.void] = reference[good]
    return placed
