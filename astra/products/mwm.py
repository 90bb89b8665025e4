"""Spectra of the Milky Way Mapper: all visits (mwmVisit), or their sums (mwmStar), of one source.

A file has a table for each instrument and observatory, often without rows. BOSS and APOGEE have grids of
their own, and are read one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.products import apogee, boss
from astra.products.fits_columns import read_columns
from astra.products.spectrum import NO_CHIP, Spectrum, pixel_values
from astra.products.survey_fits import SurveyFile, number_of, open_survey_file, text_of

INSTRUMENTS = ("BOSS", "APOGEE")
_TABLES = (("BOSS", "APO"), ("BOSS", "LCO"), ("APOGEE", "APO"), ("APOGEE", "LCO"))  # HDU 1 to 4
_PIXEL_COLUMNS = ("wavelength", "flux", "ivar", "pixel_flags", "continuum")
_ROW_COLUMNS = {
    "snr": ("snr",),
    "bc": ("bc",),
    "v_rel": ("v_rel",),
    "v_rad": ("v_rad", "xcsao_v_rad"),
    "jd_mid": ("jd",),
    "exptime": ("exptime",),
}
_TEXTS = ("telescope", "release", "filetype", "field", "plate", "obj")
_CATALOGUE = ("mjd", "fiber", "fieldid", "catalogid", "spectrum_pk", "in_stack", "spectrum_flags", *_TEXTS)


@dataclass(frozen=True)
class _Part:
    """The rows of one table."""

    columns: dict[str, NDArray[Any]]
    cards: dict[str, Any]
    n_rows: int


def read_mwm(path: str | Path, instrument: str = "", *, bad_bits: int | None = None) -> Spectrum:
    """Read an mwmVisit or mwmStar file: all visits of a source, or the sum at each observatory.

    Parameters
    ----------
    path : str or Path
        The file, of any data release.
    instrument : str, optional
        ``BOSS`` or ``APOGEE``; need not be given if the file has spectra of one alone.
    bad_bits : int, optional
        Pixel flags that make a pixel bad; by default those of the instrument's own files.

    Returns
    -------
    spectrum : Spectrum
        The rows of both observatories, in the source's rest frame; ``product`` is ``spec`` or ``apStar``.
        What the tables say of each row stands in ``catalogue`` as tuples, with ``in_stack``; the fitted
        continuum is the plane ``continuum``.

    Raises
    ------
    ValueError
        If there is no such instrument.
    MissingDataError
        If there is no such file.
    FormatError
        If it is truncated or of another kind, or has no spectra of the instrument, or those of both and none
        is named.
    """
    if instrument and instrument.upper() not in INSTRUMENTS:
        message = f"instrument must be BOSS or APOGEE, not {instrument!r}"
        raise ValueError(message)
    path = Path(path)
    with open_survey_file(path) as file:
        cards = {key: None if value == "None" else value for key, value in file.cards(0).items()}
        chosen = instrument.upper() or _only_instrument(file)
        parts = [part for number in _numbers(file, chosen) if (part := _read_part(file, number)) is not None]
    if not parts:
        message = f"{path} has no spectra of {chosen}"
        raise FormatError(message, path=str(path), instrument=chosen)
    telescopes = {text for text in _texts(parts, "telescope") if text}
    if telescopes and "TELESCOP" not in cards:
        cards["TELESCOP"] = "+".join(sorted(telescopes))  # of two sites nothing can be corrected as of one
    wavelength = _wavelength(parts, path)
    rows: dict[str, Any] = {name: _row_values(parts, names) for name, names in _ROW_COLUMNS.items()}
    kind = "visit" if "in_stack" in parts[0].columns else "coadd"  # only visits can be left out of a sum
    n_rows = sum(part.n_rows for part in parts)
    policy = {"BOSS": boss.BAD_PIXEL_BITS, "APOGEE": apogee.BAD_PIXEL_BITS}[chosen]
    return Spectrum(
        product="spec" if chosen == "BOSS" else "apStar",
        path=path,
        wavelength=wavelength,
        chip=_chips(wavelength, chosen),
        kind=(kind,) * n_rows,
        frame="rest",
        sources=("",) * n_rows,
        meta=cards,
        catalogue={
            **{name: cards[name] for name in ("SDSS_ID", "RA", "DEC") if name in cards},
            "RACAT": cards.get("RA"),
            "DECCAT": cards.get("DEC"),
            **{name: _texts(parts, name) for name in _CATALOGUE if name in parts[0].columns},
        },
        planes=_continuum(parts),
        **_pixels(parts, policy if bad_bits is None else bad_bits),
        **rows,
    )


def _only_instrument(file: SurveyFile) -> str:
    """Return the instrument that has spectra, if it is one alone."""
    found = [
        name
        for name in INSTRUMENTS
        if any(_count_rows(file.cards(number)) for number in _numbers(file, name))
    ]
    if len(found) != 1:
        what = "spectra of BOSS and of APOGEE: say which are wanted" if found else "no spectra"
        message = f"{file.path} has {what}"
        raise FormatError(message, path=str(file.path), instruments=found)
    return found[0]


def _count_rows(cards: Mapping[str, Any]) -> int:
    """Return the number of rows of a unit; 0 if it is no table."""
    return int(cards.get("NAXIS2") or 0) if cards.get("XTENSION") == "BINTABLE" else 0


def _numbers(file: SurveyFile, instrument: str) -> list[int]:
    """Return the numbers of the tables of an instrument, by their names or, where they have none, places."""
    numbers = []
    for number in range(1, len(file.units)):
        name = text_of(file.cards(number), "EXTNAME").upper()
        place = "/".join(_TABLES[number - 1]) if number <= len(_TABLES) else ""
        if (name or place).startswith(instrument):
            numbers.append(number)
    return numbers


def _read_part(file: SurveyFile, number: int) -> _Part | None:
    """Read the rows of one table; None if it has none."""
    cards = file.cards(number)
    n_rows = _count_rows(cards)
    if n_rows == 0:
        return None
    wanted = {name for names in _ROW_COLUMNS.values() for name in names} | {*_PIXEL_COLUMNS, *_CATALOGUE}
    columns = read_columns(file.content, file.units[number], sorted(wanted))
    missing = [name for name in ("flux", "ivar", "pixel_flags") if name not in columns]
    if missing or columns["flux"].ndim != 2:
        message = (
            f"{file.path} must have columns of arrays flux, ivar and pixel_flags in HDU {number} to be an"
            f" mwmVisit or mwmStar file, but lacks {', '.join(missing) or 'arrays'}"
        )
        raise FormatError(message, path=str(file.path), hdu=number, missing=missing)
    return _Part(columns, cards, n_rows)


def _wavelength(parts: Sequence[_Part], path: Path) -> NDArray[np.float64]:
    """Return the grid [Angstrom]: of the header, which has all digits, else that of the rows."""
    n_pixels = parts[0].columns["flux"].shape[1]
    start, step = number_of(parts[0].cards, "CRVAL"), number_of(parts[0].cards, "CDELT")
    stored = parts[0].columns.get("wavelength")
    if np.isfinite(start) and step > 0:
        wavelength = np.asarray(10.0 ** (start + step * np.arange(n_pixels)), np.float64)
    else:
        wavelength = np.zeros(0) if stored is None else stored[0].astype(np.float64)
    agree = stored is None or bool(np.all(np.abs(stored[0] / wavelength - 1.0) < 1e-6))
    same = all(part.columns["flux"].shape[1] == n_pixels for part in parts)
    if wavelength.size != n_pixels or not np.all(np.diff(wavelength) > 0) or not agree or not same:
        message = f"{path} must have one increasing wavelength grid in CRVAL, CDELT or column wavelength"
        raise FormatError(message, path=str(path))
    return wavelength


def _chips(wavelength: NDArray[np.float64], instrument: str) -> NDArray[np.int8]:
    if instrument == "BOSS":
        return np.full(wavelength.size, NO_CHIP, np.int8)
    return apogee.star_chips(wavelength)


def _row_values(parts: Sequence[_Part], names: Sequence[str]) -> NDArray[np.float64]:
    """Return a number of each row, from the first of some columns that a table has; NaN where none is."""
    found = []
    for part in parts:
        column = next((part.columns[name] for name in names if name in part.columns), None)
        found.append(np.full(part.n_rows, np.nan) if column is None else column.astype(np.float64))
    return np.concatenate(found)


def _texts(parts: Sequence[_Part], name: str) -> tuple[Any, ...]:
    """Return a value of each row as a number or text; None where a table has no such column."""
    values: list[Any] = []
    for part in parts:
        column = part.columns.get(name)
        rows = [None] * part.n_rows if column is None else column.tolist()
        values += [row.decode("ascii", "replace").strip() if isinstance(row, bytes) else row for row in rows]
    return tuple(_LOGICALS.get(value, value) if name == "in_stack" else value for value in values)


_LOGICALS: Mapping[Any, bool] = {"T": True, "F": False}


def _pixels(parts: Sequence[_Part], bad_bits: int) -> dict[str, Any]:
    """Return the per-pixel fields of a spectrum."""
    flux, ivar = (np.concatenate([part.columns[name] for part in parts]) for name in ("flux", "ivar"))
    flags = np.concatenate([part.columns["pixel_flags"].astype(np.int64) for part in parts])
    flux, ivar = flux.astype(np.float64), ivar.astype(np.float64)
    has_data = np.isfinite(flux) & np.isfinite(ivar)
    return pixel_values(flux, np.where(ivar > 0, ivar, 0.0), has_data, flags, bad_bits)


def _continuum(parts: Sequence[_Part]) -> dict[str, NDArray[np.float64]]:
    if not all("continuum" in part.columns for part in parts):
        return {}
    return {"continuum": np.concatenate([part.columns["continuum"] for part in parts]).astype(np.float64)}
