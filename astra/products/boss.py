"""BOSS spectra, and those of its predecessor, of all data releases: spec, specFull, specLite, spSpec.

Columns are addressed by name in either case of letters, since releases order and spell them differently.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.products.fits_columns import find_columns, read_columns, read_row
from astra.products.spectrum import NO_CHIP, Spectrum, pixel_values
from astra.products.survey_fits import SurveyFile, number_of, open_survey_file, text_of

# SPPIXMASK: NOPLUG, BADTRACE, BADFLAT, BADARC (bits 0 to 3) of the fibre, BRIGHTSKY (23) of the pixel.
BAD_PIXEL_BITS = 0b1111 | 1 << 23

_LOG_STEP = 1e-4
_COLUMNS = ("flux", "ivar", "loglam", "and_mask")
_EXPOSURE_COLUMNS = ("flux", "ivar", "loglam", "mask")
# Signal-to-noise ratio and identity of the target, as the releases call them.
_CATALOGUE = (
    *(
        "CATALOGID",
        "SDSS_ID",
        "GAIA_ID",
        "FIELD",
        "PLATE",
        "FIBERID",
        "MJD",
        "MJD_FINAL",
        "OBS",
        "NEXP",
        "EXPTIME",
    ),
    *("RACAT", "DECCAT", "PLUG_RA", "PLUG_DEC", "FIRSTCARTON", "PROGRAMNAME", "OBJTYPE"),
    *("CLASS", "SUBCLASS", "Z", "Z_ERR", "ZWARNING", "SN_MEDIAN_ALL"),
    *("XCSAO_RV", "XCSAO_ERV", "XCSAO_RXC", "XCSAO_TEFF", "XCSAO_LOGG", "XCSAO_FEH"),
)

# TAI less UTC [s] from each MJD on, since the survey began.
_LEAP_SECONDS = ((51179, 32), (53736, 33), (54832, 34), (56109, 35), (57204, 36), (57754, 37))


def read_spec(path: str | Path, *, bad_bits: int = BAD_PIXEL_BITS) -> Spectrum:
    """Read the sum of all exposures of a BOSS spectrum.

    Parameters
    ----------
    path : str or Path
        The file, of any data release and observatory.
    bad_bits : int, optional
        Bits of the AND mask that make a pixel bad. The OR mask is of no use for this: it is set in most
        pixels of good spectra.

    Returns
    -------
    spectrum : Spectrum
        One row, in the barycentric frame; ``bc`` is the correction that its wavelengths have had. The model
        of the reduction is the plane ``model``.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is truncated or not a BOSS spectrum.
    """
    path = Path(path)
    with open_survey_file(path) as file:
        cards = file.cards(0)
        columns = _read_columns(file, 1, (*_COLUMNS, "model"), _COLUMNS)
        # The second table has up to 236 columns, of which a few are wanted.
        catalogue = read_row(file.content, file.units[2], _CATALOGUE) if len(file.units) > 2 else {}
    known = {**catalogue, **cards}
    model = columns.get("model")
    return Spectrum(
        kind=("coadd",),
        snr=np.array([number_of(catalogue, "SN_MEDIAN_ALL")]),
        bc=np.array([number_of(cards, "HELIO_RV")]),
        jd_mid=np.array([_jd_mid(known)]),
        exptime=np.array([number_of(cards, "EXPTIME")]),
        sources=(path.name,),
        meta=cards,
        catalogue=catalogue,
        planes={} if model is None else {"model": model.astype(np.float64)[None, :]},
        **_common(columns, path, bad_bits),
    )


def read_spec_exposures(path: str | Path, *, bad_bits: int = BAD_PIXEL_BITS) -> tuple[Spectrum, ...]:
    """Read the single exposures of a full BOSS spectrum; lite files have none.

    Parameters
    ----------
    path : str or Path
        The file, of any data release and observatory.
    bad_bits : int, optional
        Bits of the mask that make a pixel bad.

    Returns
    -------
    spectra : tuple of Spectrum
        In the order of the file, one row each: the cameras have wavelengths of their own. ``sources`` has the
        name of the extension, ``meta`` its header.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is truncated or not a BOSS spectrum.
    """
    path = Path(path)
    spectra = []
    unknown = np.array([np.nan])
    with open_survey_file(path) as file:
        _read_columns(file, 1, _COLUMNS, _COLUMNS)
        for number in range(4, len(file.units)):
            if len(find_columns(file.units[number], _EXPOSURE_COLUMNS)) < len(_EXPOSURE_COLUMNS):
                continue  # the lines that were fitted
            columns = _read_columns(file, number, _EXPOSURE_COLUMNS, _EXPOSURE_COLUMNS)
            cards = file.cards(number)
            if columns["loglam"][0] > columns["loglam"][-1]:
                columns = {name: values[::-1] for name, values in columns.items()}
            columns["and_mask"] = columns["mask"]
            spectra.append(
                Spectrum(
                    kind=("exposure",),
                    snr=unknown,
                    bc=np.array([number_of(cards, "HELIO_RV")]),
                    jd_mid=np.array([_jd_mid(cards)]),
                    exptime=np.array([number_of(cards, "EXPTIME")]),
                    sources=(text_of(cards, "EXTNAME"),),
                    meta=cards,
                    **_common(columns, path, bad_bits),
                )
            )
    return tuple(spectra)


def _common(columns: Mapping[str, NDArray[Any]], path: Path, bad_bits: int) -> dict[str, Any]:
    """Return the fields that a sum and an exposure have alike."""
    unknown = np.array([np.nan])
    return {
        "product": "spec",
        "path": path,
        "wavelength": _wavelength(columns["loglam"].astype(np.float64), path),
        "chip": np.full(columns["flux"].size, NO_CHIP, dtype=np.int8),
        "frame": "barycentric",
        "v_rel": unknown,
        "v_rad": unknown,
        **_flagged(columns, bad_bits),
    }


def _read_columns(
    file: SurveyFile, number: int, names: tuple[str, ...], needed: tuple[str, ...]
) -> dict[str, NDArray[Any]]:
    """Return columns of a table with a row for each pixel."""
    path = file.path
    found = read_columns(file.content, file.units[number], names) if len(file.units) > number else {}
    missing = [name for name in needed if name not in found]
    if missing or len(found["flux"]) < 2:
        message = f"{path} must have a table with {', '.join(needed)} in HDU {number} to be a BOSS spectrum"
        message += f", but lacks {', '.join(missing)}" if missing else ", but has no rows"
        raise FormatError(message, path=str(path), product="spec", missing=missing)
    return found


def _wavelength(loglam: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    """Return wavelengths [Angstrom] from their logarithms.

    These are stored in single precision, wrong by up to 0.16 km/s, but lie on a grid of 1e-4 dex: where
    they do, within that precision, the grid is taken.
    """
    first = loglam[0]
    if math.isfinite(first):
        grid, wavelength = _grid(round(float(first), 4), loglam.size)
        if np.all(np.abs(grid - loglam) < 5e-7):
            return wavelength
    if not np.all(np.diff(loglam) > 0):  # false for NaN, too
        message = f"{path} must have increasing wavelengths in column loglam [log10 Angstrom]"
        raise FormatError(message, path=str(path), key="loglam")
    own: NDArray[np.float64] = 10.0**loglam
    return own


@functools.lru_cache(maxsize=64)
def _grid(start: float, n_pixels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return logarithms and wavelengths [Angstrom] of a grid; all spectra share them, so nobody may write."""
    loglam: NDArray[np.float64] = start + _LOG_STEP * np.arange(n_pixels, dtype=np.float64)
    wavelength: NDArray[np.float64] = np.power(10.0, loglam)
    wavelength.setflags(write=False)
    return loglam, wavelength


def _jd_mid(cards: Mapping[str, Any]) -> float:
    """Return the middle of the observation [d, JD UTC]; NaN if the file does not state it.

    Tables state its mean in MJD, headers begin and end in seconds of MJD TAI.
    """
    mean = number_of(cards, "MJD_FINAL")
    if mean > 1:
        return mean + 2400000.5
    begin, end = number_of(cards, "TAI-BEG"), number_of(cards, "TAI-END")
    middle = 0.5 * (begin + end) / 86400.0
    leap = [seconds for mjd, seconds in _LEAP_SECONDS if middle >= mjd]
    return middle - leap[-1] / 86400.0 + 2400000.5 if leap and end >= begin else math.nan


def _flagged(columns: Mapping[str, NDArray[Any]], bad_bits: int) -> dict[str, Any]:
    """Return the per-pixel fields of a spectrum."""
    flux = columns["flux"].astype(np.float64)[None, :]
    stored = columns["ivar"].astype(np.float64)[None, :]
    flags = columns["and_mask"].astype(np.int64)[None, :]
    has_data = np.isfinite(flux) & np.isfinite(stored)
    return pixel_values(flux, np.where(stored > 0, stored, 0.0), has_data, flags, bad_bits)
