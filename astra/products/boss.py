"""BOSS spectra, and those of its predecessor, of all data releases: spec, specFull, specLite, spSpec.

Columns are addressed by name in either case of letters, since releases order and spell them differently.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.products.fits_units import read_row
from astra.products.spectrum import NO_CHIP, Spectrum
from astra.products.survey_fits import SurveyFile, number_of, open_survey_file, read_cards

# SPPIXMASK: NOPLUG, BADTRACE, BADFLAT, BADARC (bits 0 to 3) of the fibre, BRIGHTSKY (23) of the pixel.
BAD_PIXEL_BITS = 0b1111 | 1 << 23

_LOG_STEP = 1e-4
_COLUMNS = ("flux", "ivar", "loglam", "and_mask")
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
        One row, in the barycentric frame; ``bc`` is the correction that its wavelengths have had.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is truncated or not a BOSS spectrum.
    """
    path = Path(path)
    with open_survey_file(path) as file:
        cards = read_cards(file.hdus[0].header)
        columns = _read_columns(file)
        # The second table has up to 236 columns, of which a few are wanted.
        catalogue = read_row(file.content, file.units[2], _CATALOGUE) if len(file.units) > 2 else {}
    unknown = np.array([np.nan])
    return Spectrum(
        product="spec",
        path=path,
        wavelength=_wavelength(columns["loglam"].astype(np.float64), path),
        chip=np.full(columns["flux"].size, NO_CHIP, dtype=np.int8),
        kind=("coadd",),
        frame="barycentric",
        snr=np.array([number_of(catalogue, "SN_MEDIAN_ALL")]),
        bc=np.array([number_of(cards, "HELIO_RV")]),
        v_rel=unknown,
        v_rad=unknown,
        jd_mid=unknown,
        exptime=np.array([number_of(cards, "EXPTIME")]),
        sources=(path.name,),
        meta=cards,
        catalogue=catalogue,
        **_flagged(columns, bad_bits),
    )


def _read_columns(file: SurveyFile) -> dict[str, NDArray[Any]]:
    """Return the columns of the sum."""
    path = file.path
    table = file.hdus[1].data if len(file.units) > 1 and isinstance(file.hdus[1], fits.BinTableHDU) else None
    names = {name.lower(): name for name in table.names} if table is not None else {}
    missing = [name for name in _COLUMNS if name not in names]
    if missing or table is None or len(table) < 2:
        message = f"{path} must have a table with {', '.join(_COLUMNS)} in HDU 1 to be a BOSS spectrum"
        message += f", but lacks {', '.join(missing)}" if missing else ", but has no rows"
        raise FormatError(message, path=str(path), product="spec", missing=missing)
    return {name: np.asarray(table[names[name]]) for name in _COLUMNS}


def _wavelength(loglam: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    """Return wavelengths [Angstrom] from their logarithms.

    These are stored in single precision, wrong by up to 0.16 km/s, but lie on a grid of 1e-4 dex: where
    they do, within that precision, the grid is taken.
    """
    grid = np.round(loglam[0], 4) + _LOG_STEP * np.arange(loglam.size)
    chosen = grid if np.all(np.abs(grid - loglam) < 5e-7) else loglam
    if not np.all(np.diff(chosen) > 0):  # false for NaN, too
        message = f"{path} must have increasing wavelengths in column loglam [log10 Angstrom]"
        raise FormatError(message, path=str(path), key="loglam")
    wavelength: NDArray[np.float64] = 10.0**chosen
    return wavelength


def _flagged(columns: dict[str, NDArray[Any]], bad_bits: int) -> dict[str, Any]:
    """Return the per-pixel fields of a spectrum."""
    flux = columns["flux"].astype(np.float64)[None, :]
    stored = columns["ivar"].astype(np.float64)[None, :]
    flags = columns["and_mask"].astype(np.int64)[None, :]
    has_data = np.isfinite(flux) & np.isfinite(stored)
    ivar = np.where(has_data & (stored > 0), stored, 0.0)
    return {
        "flux": np.where(np.isfinite(flux), flux, 0.0),
        "ivar": ivar,
        "pixel_flags": flags,
        "bad": (ivar == 0) | ((flags & bad_bits) != 0),
        "has_data": has_data,
    }
