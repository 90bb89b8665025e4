"""The products of a calibrated detector, each whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from astra.images.exposure import Exposure
from astra.images.process_ccd import ProcessCcdResult
from astra.products.backgrounds import write_background
from astra.products.catalogs import write_catalog
from astra.products.column_units import column_units
from astra.products.exposures import write_exposure
from astra.products.quality_picture import write_quality_picture

KINDS = ("calexp", "src", "bkgd", "srcMatch")


def write_calibrated(paths: Mapping[str, Path], result: ProcessCcdResult) -> None:
    """Write what a calibration made.

    Parameters
    ----------
    paths : mapping
        Where each kind goes; those that are not named are not written. ``calexp``, ``src``, ``bkgd`` and
        ``srcMatch`` are the calibrated exposure, its sources, its sky and the pairs with standards;
        ``icExp`` and ``icSrc`` are the first pass (if it was kept), ``qa`` a picture of all.
    result : ProcessCcdResult
        What was made.
    """
    first = result.characterisation
    if "icSrc" in paths:
        _write_table(paths["icSrc"], first.sources, result.calexp)
    if "icExp" in paths and first.exposure is not None:
        write_exposure(paths["icExp"], first.exposure)
    if "qa" in paths:
        write_quality_picture(paths["qa"], result)
    write_background(paths["bkgd"], result.background, unit=result.calexp.unit)
    _write_table(paths["srcMatch"], result.matches, result.calexp)
    _write_table(paths["src"], result.sources, result.calexp)
    write_exposure(paths["calexp"], result.calexp)


def _write_table(path: Path, table: NDArray[Any], exposure: Exposure) -> None:
    """Write a table with the history of its exposure."""
    write_catalog(path, table, units=column_units(table.dtype.names or ()), metadata=exposure.metadata)
