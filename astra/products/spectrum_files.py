"""Spectra that astra makes, as FITS files: stars like the survey's apStar, and planes on one grid."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astra.products.atomic import atomic_path
from astra.spectra.coadd import Coadd, RestVisit
from astra.spectra.grid import APSTAR_GRID, LogGrid

FLUX_UNIT = "10^(-17) erg/s/cm^2/Ang"
VOID_ERROR = 1e10  # of pixels without a measurement, as the survey has it


@dataclass(frozen=True)
class VisitRow:
    """One visit of a star: its spectrum at rest, and what its header says.

    Parameters
    ----------
    spectrum : RestVisit
        On the grid of stars.
    source : str
        Name of its file.
    jd_mid : float
        Middle of the observation [d, JD UTC]; NaN if unknown.
    fiber : int
        Fibre; -1 if unknown.
    bc, v_rel, v_rad : float
        Barycentric correction, velocity relative to the observer, barycentric velocity [km/s].
    snr : float
        Signal-to-noise ratio per pixel.
    """

    spectrum: RestVisit
    source: str
    jd_mid: float
    fiber: int
    bc: float
    v_rel: float
    v_rad: float
    snr: float


def write_ap_star(
    path: Path | str,
    name: str,
    sums: Sequence[Coadd],
    visits: Sequence[VisitRow],
    *,
    snr: float,
    cards: Mapping[str, Any] | None = None,
    grid: LogGrid = APSTAR_GRID,
) -> None:
    """Write a star like the survey's apStar files; the file appears whole or not at all.

    Parameters
    ----------
    path : Path or str
        Where to.
    name : str
        Of the star.
    sums : sequence of Coadd
        Weighted by pixel, and by visit.
    visits : sequence of VisitRow
        In order. One visit alone is the only row.
    snr : float
        Signal-to-noise ratio per pixel of the first sum.
    cards : mapping, optional
        More of the header.
    grid : LogGrid, optional
        Of the rows.
    """
    rows: list[Any] = [*(sums if len(visits) > 1 else ()), *(visit.spectrum for visit in visits)]
    flux = np.stack([row.flux for row in rows])
    ivar = np.stack([row.ivar for row in rows])
    flags = np.stack([row.pixel_flags for row in rows])
    error = np.where(ivar > 0, 1.0 / np.sqrt(np.where(ivar > 0, ivar, 1.0)), VOID_ERROR)
    header = fits.Header({"OBJID": name, "NVISITS": len(visits), "SNR": _card(snr), **dict(cards or {})})
    for number, visit in enumerate(visits, start=1):
        header.update(_visit_cards(number, visit))
    axis = {"CRVAL1": grid.start, "CDELT1": grid.step, "CRPIX1": 1, "CTYPE1": "LOG-LINEAR", "DC-FLAG": 1}
    images = [_image(flux, f"Flux ({FLUX_UNIT})"), _image(error, f"Err ({FLUX_UNIT})")]
    images.append(_image(flags, "Pixel bitmask"))
    for image in images:
        image.header.update(axis)
    empty = [fits.ImageHDU() for _ in range(5)]  # sky, telluric and LSF, which astra does not make
    _write(path, [fits.PrimaryHDU(header=header), *images, *empty, _visit_table(visits)])


def write_planes(
    path: Path | str,
    wavelength: NDArray[np.float64],
    planes: Mapping[str, tuple[NDArray[Any], str]],
    cards: Mapping[str, Any] | None = None,
) -> None:
    """Write planes on one grid as images; the file appears whole or not at all.

    Parameters
    ----------
    path : Path or str
        Where to.
    wavelength : float64 ndarray, shape (n_pixels,)
        In vacuum [Angstrom]; the extension ``WAVELENGTH``.
    planes : mapping of str to (ndarray of shape (n_rows, n_pixels), str)
        By name of the extension: values and their unit.
    cards : mapping, optional
        Header.
    """
    images = [_image(values, unit, name) for name, (values, unit) in planes.items()]
    hdus = [
        fits.PrimaryHDU(header=fits.Header(dict(cards or {}))),
        _image(wavelength, "Angstrom", "WAVELENGTH"),
    ]
    _write(path, [*hdus, *images])


def _image(values: NDArray[Any], unit: str, name: str = "") -> fits.ImageHDU:
    image = fits.ImageHDU(values, name=name)
    image.header["BUNIT"] = unit
    return image


def _card(value: float) -> float | str:
    """Return a number for a header, which knows no NaN but as text."""
    return float(value) if np.isfinite(value) else "NaN"


def _visit_cards(number: int, visit: VisitRow) -> dict[str, Any]:
    values = {"JD": visit.jd_mid, "BC": visit.bc, "VREL": visit.v_rel, "VRAD": visit.v_rad}
    cards = {f"{key}{number}": _card(value) for key, value in values.items()}
    return {
        f"SFILE{number}": visit.source,
        f"FIBER{number}": visit.fiber,
        f"SNRVIS{number}": _card(visit.snr),
        **cards,
    }


def _visit_table(visits: Sequence[VisitRow]) -> fits.BinTableHDU:
    units = {"JD": "d", "BC": "km/s", "VREL": "km/s", "VRAD": "km/s", "SNR": ""}
    names = {"JD": "jd_mid", "BC": "bc", "VREL": "v_rel", "VRAD": "v_rad", "SNR": "snr"}
    columns = [fits.Column("FILENAME", "64A", array=[visit.source for visit in visits])]
    columns += [
        fits.Column(key, "D", unit=units[key] or None, array=[getattr(visit, name) for visit in visits])
        for key, name in names.items()
    ]
    return fits.BinTableHDU.from_columns(columns, name="VISITS")


def _write(path: Path | str, hdus: list[Any]) -> None:
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        fits.HDUList(hdus).writeto(temporary, overwrite=True, checksum=True)
