"""APOGEE spectra of all data releases: visits (apVisit), stars (apStar), and fits to them (aspcapStar).

Units are addressed by number, since releases name them differently, and no size of a chip is assumed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.products.fits_columns import read_row
from astra.products.spectrum import CHIPS, Spectrum, ivar_of_error, pixel_values
from astra.products.survey_fits import SurveyFile, number_of, open_survey_file, read_image, text_of

# APOGEE_PIXMASK: BADPIX, CRPIX, SATPIX, UNFIXABLE, BADDARK, BADFLAT, BADERR, NOSKY (bits 0 to 7), and
# NOT_ENOUGH_PSF (14).
BAD_PIXEL_BITS = 0b0100_0000_1111_1111

# Middle of the gaps between the chips in apStar files [log10 Angstrom], from the chip spans of ASPCAP's grid.
_CHIP_EDGES = np.array([4.199577, 4.216272])

# What the fit of a star says, as the releases of aspcapStar call it.
_FIT_COLUMNS = (
    *("APOGEE_ID", "LOCATION_ID", "FIELD", "TELESCOPE", "RA", "DEC", "SNR", "SNREV", "NVISITS"),
    *("VHELIO", "VHELIO_AVG", "VSCATTER", "VERR", "CLASS", "ASPCAP_CLASS"),
    *("STARFLAG", "ANDFLAG", "ASPCAPFLAG", "PARAM_CHI2", "ASPCAP_CHI2"),
    *("TEFF", "TEFF_ERR", "LOGG", "LOGG_ERR", "M_H", "M_H_ERR", "ALPHA_M", "ALPHA_M_ERR", "VMICRO", "VSINI"),
)

_VISIT_KEYS = {
    "snr": "SNR",
    "bc": "BC",
    "v_rel": "VRAD",
    "v_rad": "VHELIO",
    "jd_mid": "JD-MID",
    "exptime": "EXPTIME",
}

Planes = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]


def read_ap_visit(path: str | Path, *, bad_bits: int = BAD_PIXEL_BITS) -> Spectrum:
    """Read an apVisit (or asVisit) file: one visit of one star, in the observed frame.

    Parameters
    ----------
    path : str or Path
        The file, of any data release, from dithered or undithered exposures.
    bad_bits : int, optional
        Pixel flags that make a pixel bad.

    Returns
    -------
    spectrum : Spectrum
        One row, the three chips one after the other in increasing wavelength. Velocities are those of the
        header, which only files up to data release 16 have, and which are known to be wrong in many.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is truncated or not an apVisit file.
    """
    path = Path(path)
    with open_survey_file(path) as file:
        cards = file.cards(0)
        planes = _read_planes(file)
        wavelength = read_image(file, 4, "wavelengths", np.float64)
    shape = planes[0].shape
    if shape[0] != len(CHIPS) or wavelength.shape != shape:
        message = (
            f"{path} must have flux and wavelengths of 3 chips to be an apVisit file,"
            f" but has shapes {shape} and {wavelength.shape}"
        )
        raise FormatError(message, path=str(path), product="apVisit", shape=shape)
    parts = _increasing_parts(wavelength, path)
    joined = [np.concatenate([plane[part] for part in parts])[None, :] for plane in planes]
    values: dict[str, Any] = {name: np.array([number_of(cards, key)]) for name, key in _VISIT_KEYS.items()}
    return Spectrum(
        product="apVisit",
        path=path,
        wavelength=np.concatenate([wavelength[part] for part in parts]),
        chip=np.repeat(np.arange(len(CHIPS), dtype=np.int8), shape[1]),
        kind=("visit",),
        frame="observed",
        sources=(path.name,),
        meta=cards,
        **_flagged(joined, bad_bits),
        **values,
    )


def read_ap_star(path: str | Path, *, bad_bits: int = BAD_PIXEL_BITS) -> Spectrum:
    """Read an apStar (or asStar) file: the visits of one star and their sums, in its rest frame.

    Parameters
    ----------
    path : str or Path
        The file, of any data release.
    bad_bits : int, optional
        Pixel flags that make a pixel bad.

    Returns
    -------
    spectrum : Spectrum
        The visit alone if there is one; else the sum weighted by pixel, the sum weighted by visit, and the
        visits in the order of the header.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is truncated or not an apStar file.
    """
    path = Path(path)
    with open_survey_file(path) as file:
        cards = file.cards(0)
        planes = _read_planes(file)
        wavelength, chip = _star_grid(cards, file.cards(1), planes[0].shape[1], path, "NVISITS")
    kind = _star_rows(cards, planes[0].shape[0], path)
    return Spectrum(
        product="apStar",
        path=path,
        wavelength=wavelength,
        chip=chip,
        kind=kind,
        frame="rest",
        sources=tuple(text_of(cards, f"SFILE{i}") if i else "" for i in _visit_numbers(kind)),
        meta=cards,
        **_flagged(planes, bad_bits),
        **_star_values(cards, kind),
    )


def read_aspcap_star(path: str | Path) -> Spectrum:
    """Read an aspcapStar file: the sum of a star's visits over its continuum, and the model fitted to it.

    Parameters
    ----------
    path : str or Path
        The file, of any data release.

    Returns
    -------
    spectrum : Spectrum
        One row in the star's rest frame, without unit. The files have no pixel flags; what the fit has left
        out has no error, or a large one. The model is the plane ``model``, and what was fitted stands in
        ``catalogue``.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is truncated or not an aspcapStar file.
    """
    path = Path(path)
    with open_survey_file(path) as file:
        cards = file.cards(0)
        flux, error, model = (
            read_image(file, number, content, np.float64)
            for number, content in ((1, "normalised flux"), (2, "error"), (3, "model"))
        )
        wavelength, chip = _star_grid(cards, file.cards(1), flux.shape[1], path, "")
        fit = read_row(file.content, file.units[4], _FIT_COLUMNS) if len(file.units) > 4 else {}
    if not flux.shape == error.shape == model.shape or len(flux) != 1:
        shapes = [flux.shape, error.shape, model.shape]
        message = f"{path} must have flux, error and model of one star to be an aspcapStar file, not {shapes}"
        raise FormatError(message, path=str(path), product="aspcapStar", shapes=shapes)
    known = {**fit, **cards}
    unknown = np.array([np.nan])
    return Spectrum(
        product="aspcapStar",
        path=path,
        wavelength=wavelength,
        chip=chip,
        kind=("coadd",),
        frame="rest",
        snr=np.array([number_of(known, "SNR")]),
        bc=unknown,
        v_rel=unknown,
        v_rad=np.array([number_of(known, "VHELIO", "VHELIO_AVG")]),
        jd_mid=unknown,
        exptime=unknown,
        sources=(text_of(known, "FILE"),),
        meta=cards,
        catalogue=fit,
        flux_unit="",
        planes={"model": np.where((model == 0) | ~np.isfinite(model), np.nan, model)},
        **_flagged((flux, error, np.zeros(flux.shape, np.int64)), 0),
    )


def _read_planes(file: SurveyFile) -> Planes:
    """Read flux, error and flags, and check that they belong together."""
    flux = read_image(file, 1, "flux", np.float64)
    error = read_image(file, 2, "error", np.float64)
    flags = read_image(file, 3, "pixel flags")
    if not flux.shape == error.shape == flags.shape or not np.issubdtype(flags.dtype, np.integer):
        message = (
            f"{file.path} must have flux, error and integer flags of one shape in HDU 1 to 3, but has"
            f" {flux.shape}, {error.shape} and {flags.dtype} {flags.shape}"
        )
        raise FormatError(message, path=str(file.path), shapes=[flux.shape, error.shape, flags.shape])
    return flux, error, flags.astype(np.int64)


def _flagged(planes: Any, bad_bits: int) -> dict[str, Any]:
    """Return the per-pixel fields of a spectrum."""
    flux, error, flags = planes
    has_data = np.isfinite(flux) & np.isfinite(error)
    return pixel_values(flux, ivar_of_error(error), has_data, flags, bad_bits)


def _increasing_parts(wavelength: NDArray[np.float64], path: Path) -> list[tuple[int, slice]]:
    """Return where the chips stand in the planes of a visit: in increasing wavelength, as their pixels."""
    chips = []
    for number, row in enumerate(wavelength):
        falls = row[0] > row[-1]
        chips.append((row[-1] if falls else row[0], number, slice(None, None, -1 if falls else 1)))
    parts = [(number, order) for _, number, order in sorted(chips, key=lambda chip: chip[:2])]
    joined = np.concatenate([wavelength[part] for part in parts])
    if not np.all(np.diff(joined) > 0):  # false for NaN, too
        message = f"{path} must have three chips that do not overlap in wavelength, each of them monotonic"
        raise FormatError(message, path=str(path), hdu=4)
    return parts


def _star_grid(
    cards: Mapping[str, Any], image: Mapping[str, Any], n_pixels: int, path: Path, needed: str
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Return wavelengths [Angstrom] and chips of the grid of stars; its cards are no valid WCS."""
    found = {**image, **cards}
    start, step = number_of(found, "CRVAL1"), number_of(found, "CDELT1")
    reference = number_of({"CRPIX1": 1, **found}, "CRPIX1")
    if not (3 < start < 5 and 0 < step < 1e-3) or (needed and needed not in cards):
        product = "apStar" if needed else "aspcapStar"
        wanted = ", ".join(["CRVAL1", "CDELT1 [log10 Angstrom]", *filter(None, [needed])])
        message = (
            f"{path} must have {wanted} to be an {product} file, but has {start}, {step}"
            + f" and {cards.get(needed)}" * bool(needed)
        )
        raise FormatError(message, path=str(path), product=product, CRVAL1=start, CDELT1=step)
    return _log_grid(start + step * (1 - reference), step, n_pixels)


@functools.lru_cache(maxsize=16)
def _log_grid(start: float, step: float, n_pixels: int) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Return wavelengths [Angstrom] and chips of a grid; all spectra share them, so nobody may write."""
    wavelength = np.power(10.0, start + step * np.arange(n_pixels, dtype=np.float64))
    chip = star_chips(wavelength)
    wavelength.setflags(write=False)
    chip.setflags(write=False)
    return wavelength, chip


def star_chips(wavelength: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return the chip in which each wavelength [Angstrom] of the grid of stars was observed."""
    return np.searchsorted(_CHIP_EDGES, np.log10(wavelength)).astype(np.int8)


def _star_rows(cards: Mapping[str, Any], n_rows: int, path: Path) -> tuple[str, ...]:
    """Return the kind of each row of an apStar file."""
    n_visits = number_of(cards, "NVISITS")
    if n_rows == 1 and n_visits == 1:
        return ("visit",)
    if n_rows < 3 or n_rows != n_visits + 2:
        message = (
            f"{path} must have two sums and a row per visit, or one row, not {n_rows} for {n_visits} visits"
        )
        raise FormatError(message, path=str(path), n_rows=n_rows, NVISITS=n_visits)
    return ("coadd", "coadd_global", *["visit"] * (n_rows - 2))


def _visit_numbers(kind: tuple[str, ...]) -> list[int]:
    """Return the header's number of the visit of each row, 0 for sums."""
    n_sums = sum(name != "visit" for name in kind)
    return [0] * n_sums + list(range(1, len(kind) - n_sums + 1))


def _star_values(cards: Mapping[str, Any], kind: tuple[str, ...]) -> dict[str, Any]:
    """Return the per-row numbers of an apStar file.

    Up to data release 17 VRAD is the velocity relative to the observer and VHELIO the barycentric one;
    later files call these VREL and VRAD.
    """
    numbers = _visit_numbers(kind)

    def by_visit(*names: str) -> NDArray[np.float64]:
        return np.array(
            [number_of(cards, *(f"{name}{i}" for name in names)) if i else np.nan for i in numbers]
        )

    values = {
        "snr": by_visit("SNRVIS"),
        "bc": by_visit("BC"),
        "v_rel": by_visit("VREL", "VRAD"),
        "v_rad": by_visit("VHELIO", "VRAD"),
        "jd_mid": by_visit("JD"),
        "exptime": np.full(len(kind), np.nan),
    }
    values["snr"][0] = number_of(cards, "SNR")
    sums = np.array(numbers) == 0
    values["v_rad"][sums] = number_of(cards, "VHELIO", "VRAD")
    return values
