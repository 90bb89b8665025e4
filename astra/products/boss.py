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
from astra.products.spectrum import NO_CHIP, Spectrum
from astra.products.survey_fits import number_of, open_survey_file, read_cards

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
    with open_survey_file(path) as hdus:
        cards = read_cards(hdus[0].header)
        columns = _read_columns(hdus, path)
        catalogue = _read_catalogue(hdus)
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


def _read_columns(hdus: fits.HDUList, path: Path) -> dict[str, NDArray[Any]]:
    """Return the columns of the sum."""
    table = hdus[1].data if len(hdus) > 1 and isinstance(hdus[1], fits.BinTableHDU) else None
    names = {name.lower(): name for name in table.names} if table is not None else {}
    missing = [name for name in _COLUMNS if name not in names]
    if missing or table is None or len(table) < 2:
        message = f"{path} must have a table with {', '.join(_COLUMNS)} in HDU 1 to be a BOSS spectrum"
        message += f", but lacks {', '.join(missing)}" if missing else ", but has no rows"
        raise FormatError(message, path=str(path), product="spec", missing=missing)
    return {name: np.asarray(table[names[name]]) for name in _COLUMNS}


def _read_catalogue(hdus: fits.HDUList) -> dict[str, Any]:
    """Return what the file says of the target in the one row of its second table."""
    if len(hdus) < 3 or not isinstance(hdus[2], fits.BinTableHDU) or hdus[2].header["NAXIS2"] != 1:
        return {}
    table = hdus[2].data
    names = {name.upper(): name for name in table.names}
    values = {name: table[names[name]][0] for name in _CATALOGUE if name in names}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    """Return a scalar of a table as a Python value."""
    value = value.item() if isinstance(value, np.generic) else value
    return value.strip() if isinstance(value, str) else value


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
