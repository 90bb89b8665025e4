"""Write a star as the survey does (apStar): sums and visits at rest, for astra and any other program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from astra.errors import DataError
from astra.products.fits_blocks import image_unit, primary_unit, table_unit, texts, write_units
from astra.products.spectrum import Spectrum
from astra.spectra.coadd import Coadd, RestVisit
from astra.spectra.grid import APSTAR_GRID, LogGrid, log_grid_of

FLUX_UNIT = "10^(-17) erg/s/cm^2/Ang"
VOID_ERROR = 1e10  # of pixels without a measurement, as the survey has it
VOID_FACTOR = 1e8  # of a row's median error, so that readers find them void in any unit
_LARGEST_CARD_TEXT = 60
# Cards that are made here, or that describe the file that a spectrum came from.
_OWN_CARDS = ("SIMPLE", "BITPIX", "NAXIS", "EXTEND", "CHECKSUM", "DATASUM", "DATE", "NVISITS", "SNR", "OBJID")
_VISIT_CARDS = ("SFILE", "JD", "BC", "VREL", "VRAD", "VHELIO", "SNRVIS", "FIBER", "EXPTIM")


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
    v_rel_err : float, optional
        Error of ``v_rel`` [km/s]; NaN if it was given.
    """

    spectrum: RestVisit
    source: str
    jd_mid: float
    fiber: int
    bc: float
    v_rel: float
    v_rad: float
    snr: float
    v_rel_err: float = np.nan


@dataclass(frozen=True)
class CombinedStar:
    """The sums of the visits of a star, and the visits.

    Parameters
    ----------
    name : str
        Of the star.
    sums : sequence of Coadd
        Weighted by pixel, and by visit.
    visits : sequence of VisitRow
        In order. One visit alone is the only row of the file.
    snr : float
        Signal-to-noise ratio per pixel of the first sum.
    grid : LogGrid, optional
        Of the rows.
    """

    name: str
    sums: Sequence[Coadd]
    visits: Sequence[VisitRow]
    snr: float
    grid: LogGrid = APSTAR_GRID


@dataclass(frozen=True)
class _Rows:
    """What is written: planes of shape (n_rows, n_pixels), and numbers of each visit."""

    name: str
    grid: LogGrid
    flux: NDArray[np.float64]
    ivar: NDArray[np.float64]
    flags: NDArray[np.int64]
    has_data: NDArray[np.bool_]
    snr: float
    visits: list[dict[str, Any]]
    cards: dict[str, Any]


def write_ap_star(
    spectrum: Spectrum | CombinedStar,
    path: Path | str,
    *,
    cards: Mapping[str, Any] | None = None,
    dtype: DTypeLike = np.float32,
) -> None:
    """Write a star like the survey's apStar files; the file appears whole or not at all.

    Parameters
    ----------
    spectrum : Spectrum or CombinedStar
        Spectra of a star at rest on a logarithmic grid, as `read_ap_star` reads them or as a sum of visits
        gives them: two sums and the visits, or one row.
    path : Path or str
        Where to.
    cards : mapping, optional
        More of the header; it goes before that of the spectrum.
    dtype : dtype, optional
        Of flux and error; single precision, as in the survey's visits, errs by 6e-8.

    Raises
    ------
    DataError
        If the spectra are not at rest, not on a logarithmic grid, or not in the order of apStar files.
    """
    rows = _of_spectrum(spectrum) if isinstance(spectrum, Spectrum) else _of_sums(spectrum)
    error = _errors(rows)
    flux = np.where(rows.has_data, rows.flux, np.nan)
    axis = {
        "CRVAL1": rows.grid.start,
        "CDELT1": rows.grid.step,
        "CRPIX1": 1,
        "CTYPE1": "LOG-LINEAR",
        "DC-FLAG": 1,
    }
    planes = ((flux.astype(dtype), "Flux"), (error.astype(dtype), "Err"))
    images = [image_unit(values, {"BUNIT": f"{what} ({FLUX_UNIT})", **axis}) for values, what in planes]
    images.append(image_unit(_smallest(rows.flags), {"BUNIT": "Pixel bitmask", **axis}))
    header = {**_header(rows, cards or {}), **axis, "NWAVE": rows.grid.n_pixels}
    empty = [image_unit(None, {})] * 5  # sky, telluric and LSF, which astra does not make
    write_units(path, [primary_unit(header), *images, *empty, _visit_table(rows.visits)])


def _of_sums(star: CombinedStar) -> _Rows:
    """Arrange sums and visits."""
    planes: list[Any] = [*(star.sums if len(star.visits) > 1 else ()), *(row.spectrum for row in star.visits)]
    flux, ivar, flags = (np.stack([getattr(row, name) for row in planes]) for name in _PLANES)
    visits = [
        {name: getattr(row, name) for name in ("source", "jd_mid", "bc", "v_rel", "v_rad", "snr", "fiber")}
        for row in star.visits
    ]
    return _Rows(star.name, star.grid, flux, ivar, flags, np.isfinite(flux), star.snr, visits, {})


_PLANES = ("flux", "ivar", "pixel_flags")


def _of_spectrum(spectrum: Spectrum) -> _Rows:
    """Arrange the spectra of a file.

    Raises
    ------
    DataError
        If they do not make an apStar file.
    """
    grid = log_grid_of(spectrum.wavelength)
    n_visits = spectrum.kind.count("visit")
    expected = ("visit",) if n_visits == 1 and spectrum.n_rows == 1 else _SUMS + ("visit",) * n_visits
    if grid is None or spectrum.frame != "rest" or spectrum.kind != expected or n_visits == 0:
        message = (
            f"{spectrum.path} must have a star's sums and visits, or one visit, at rest on a logarithmic grid"
            f" to be written as apStar, but has {', '.join(spectrum.kind)} in the {spectrum.frame} frame"
        )
        raise DataError(message, path=str(spectrum.path), kind=spectrum.kind, frame=spectrum.frame)
    first = spectrum.n_rows - n_visits
    names = ("jd_mid", "bc", "v_rel", "v_rad", "snr")
    visits = [
        {
            "source": spectrum.sources[row],
            **{name: float(getattr(spectrum, name)[row]) for name in names},
            "fiber": spectrum.meta.get(f"FIBER{row - first + 1}", -1),
        }
        for row in range(first, spectrum.n_rows)
    ]
    own = {"VRAD": float(spectrum.v_rad[0])} if first else {}
    return _Rows(
        str(spectrum.meta.get("OBJID") or spectrum.meta.get("OBJ") or ""),
        LogGrid(round(grid.start, 12), float(f"{grid.step:.9e}"), grid.n_pixels),
        spectrum.flux,
        spectrum.ivar,
        spectrum.pixel_flags,
        spectrum.has_data,
        float(spectrum.snr[0]),
        visits,
        {**_foreign_cards(spectrum.meta), **own},
    )


_SUMS = ("coadd", "coadd_global")


def _foreign_cards(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cards of a spectrum's own header that still hold for another file of it."""
    own = set(_OWN_CARDS)
    return {
        key: value
        for key, value in meta.items()
        if key not in own
        and not (key.rstrip("0123456789") in _VISIT_CARDS and key[-1].isdigit())
        and key != "VHELIO"
        and len(key) <= 8
        and (not isinstance(value, str) or (len(value) <= _LARGEST_CARD_TEXT and value.isprintable()))
    }


def _header(rows: _Rows, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cards of the primary header."""
    cards: dict[str, Any] = {"OBJID": rows.name, "NVISITS": len(rows.visits), "SNR": rows.snr}
    cards |= {**rows.cards, **more}
    for number, visit in enumerate(rows.visits, start=1):
        numbers = {"JD": "jd_mid", "BC": "bc", "VREL": "v_rel", "VRAD": "v_rad", "SNRVIS": "snr"}
        cards |= {f"{key}{number}": float(visit[name]) for key, name in numbers.items()}
        cards |= {f"SFILE{number}": visit["source"], f"FIBER{number}": visit["fiber"]}
    return {key: _card(value) for key, value in cards.items()}


def _card(value: Any) -> Any:
    """Return a value for a header, which knows no NaN but as text."""
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else "NaN"
    return value


def _errors(rows: _Rows) -> NDArray[np.float64]:
    """Return 1-sigma errors: NaN where there are no data, huge where they cannot be used."""
    usable = rows.ivar > 0
    error = 1.0 / np.sqrt(np.where(usable, rows.ivar, 1.0))
    for row, good in zip(error, usable, strict=True):
        typical = float(np.median(row[good])) if good.any() else 1.0
        row[~good] = max(VOID_ERROR, VOID_FACTOR * typical)
    return np.where(rows.has_data, error, np.nan)


def _smallest(flags: NDArray[np.int64]) -> NDArray[np.signedinteger[Any]]:
    """Return flags in the smallest type that holds them: the survey has had 16, 32 and 64 bits."""
    low, high = (int(flags.min()), int(flags.max())) if flags.size else (0, 0)
    fits_in = (
        dtype for dtype in (np.int16, np.int32) if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max
    )
    return flags.astype(next(fits_in, np.int64))


def _visit_table(visits: Sequence[Mapping[str, Any]]) -> bytes:
    names = {"JD": "jd_mid", "BC": "bc", "VREL": "v_rel", "VRAD": "v_rad", "SNR": "snr"}
    units = {"JD": "d", "BC": "km/s", "VREL": "km/s", "VRAD": "km/s"}
    columns: dict[str, NDArray[Any]] = {"FILENAME": texts([visit["source"] for visit in visits], 64)}
    columns |= {key: np.array([visit[name] for visit in visits], float) for key, name in names.items()}
    return table_unit(columns, "VISITS", units)
