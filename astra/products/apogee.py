"""APOGEE spectra of all data releases: single visits (apVisit) and stars (apStar).

Units are addressed by number, since releases name them differently, and no size of a chip is assumed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.products.spectrum import CHIPS, Spectrum, ivar_of_error
from astra.products.survey_fits import SurveyFile, number_of, open_survey_file, read_cards, read_image

# APOGEE_PIXMASK: BADPIX, CRPIX, SATPIX, UNFIXABLE, BADDARK, BADFLAT, BADERR, NOSKY (bits 0 to 7), and
# NOT_ENOUGH_PSF (14).
BAD_PIXEL_BITS = 0b0100_0000_1111_1111

# Middle of the gaps between the chips in apStar files [log10 Angstrom], from the chip spans of ASPCAP's grid.
_CHIP_EDGES = np.array([4.199577, 4.216272])

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
        cards = read_cards(file.hdus[0].header)
        flux, error, flags = _read_planes(file)
        wavelength = read_image(file, 4, "wavelengths").astype(np.float64)
    if flux.shape[0] != len(CHIPS) or wavelength.shape != flux.shape:
        message = (
            f"{path} must have flux and wavelengths of 3 chips to be an apVisit file,"
            f" but has shapes {flux.shape} and {wavelength.shape}"
        )
        raise FormatError(message, path=str(path), product="apVisit", shape=flux.shape)
    order = _increasing_order(wavelength, path)
    chip = np.repeat(np.arange(len(CHIPS), dtype=np.int8), flux.shape[1])
    planes = tuple(plane.ravel()[order][None, :] for plane in (flux, error, flags))
    keys = {
        "snr": "SNR",
        "bc": "BC",
        "v_rel": "VRAD",
        "v_rad": "VHELIO",
        "jd_mid": "JD-MID",
        "exptime": "EXPTIME",
    }
    values: dict[str, Any] = {name: np.array([number_of(cards, key)]) for name, key in keys.items()}
    return Spectrum(
        product="apVisit",
        path=path,
        wavelength=wavelength.ravel()[order],
        chip=chip,
        kind=("visit",),
        frame="observed",
        sources=(path.name,),
        meta=cards,
        **_flagged(planes, bad_bits),
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
        cards = read_cards(file.hdus[0].header)
        planes = _read_planes(file)
        wavelength = _log_wavelength(cards, file.hdus[1].header, planes[0].shape[1], path)
    kind = _star_rows(cards, planes[0].shape[0], path)
    return Spectrum(
        product="apStar",
        path=path,
        wavelength=wavelength,
        chip=np.searchsorted(_CHIP_EDGES, np.log10(wavelength)).astype(np.int8),
        kind=kind,
        frame="rest",
        sources=tuple(str(cards.get(f"SFILE{i}") or "").strip() if i else "" for i in _visit_numbers(kind)),
        meta=cards,
        **_flagged(planes, bad_bits),
        **_star_values(cards, kind),
    )


def _read_planes(file: SurveyFile) -> Planes:
    """Read flux, error and flags, and check that they belong together."""
    flux = read_image(file, 1, "flux").astype(np.float64)
    error = read_image(file, 2, "error").astype(np.float64)
    flags = read_image(file, 3, "pixel flags")
    if not flux.shape == error.shape == flags.shape or not np.issubdtype(flags.dtype, np.integer):
        message = (
            f"{file.path} must have flux, error and integer flags of one shape in HDU 1 to 3, but has"
            f" {flux.shape}, {error.shape} and {flags.dtype} {flags.shape}"
        )
        raise FormatError(message, path=str(file.path), shapes=[flux.shape, error.shape, flags.shape])
    return flux, error, flags.astype(np.int64)


def _flagged(planes: tuple[NDArray[Any], ...], bad_bits: int) -> dict[str, Any]:
    """Return the per-pixel fields of a spectrum."""
    flux, error, flags = planes
    has_data = np.isfinite(flux) & np.isfinite(error)
    ivar = np.where(has_data, ivar_of_error(error), 0.0)
    return {
        "flux": np.where(np.isfinite(flux), flux, 0.0),
        "ivar": ivar,
        "pixel_flags": flags,
        "bad": (ivar == 0) | ((flags & bad_bits) != 0),
        "has_data": has_data,
    }


def _increasing_order(wavelength: NDArray[np.float64], path: Path) -> NDArray[np.intp]:
    """Return the order of all pixels of all chips in increasing wavelength."""
    order = np.argsort(wavelength, axis=None)
    values = wavelength.ravel()[order]
    chips: NDArray[np.intp] = (order // wavelength.shape[1]).reshape(wavelength.shape)
    is_increasing = bool(np.all(np.diff(values) > 0))  # False for NaN, too
    if not is_increasing or np.any(chips != chips[:, :1]):
        message = f"{path} must have three chips that do not overlap in wavelength, each of them monotonic"
        raise FormatError(message, path=str(path), hdu=4)
    return order


def _log_wavelength(
    cards: dict[str, Any], header: fits.Header, n_pixels: int, path: Path
) -> NDArray[np.float64]:
    """Return the wavelengths of the grid of apStar files [Angstrom]; their cards are no valid WCS."""
    found = {**read_cards(header), **cards}
    start, step = number_of(found, "CRVAL1"), number_of(found, "CDELT1")
    reference = number_of({"CRPIX1": 1, **found}, "CRPIX1")
    if not (3 < start < 5 and 0 < step < 1e-3) or "NVISITS" not in cards:
        message = (
            f"{path} must have CRVAL1, CDELT1 [log10 Angstrom] and NVISITS to be an apStar file,"
            f" but has {start}, {step} and {cards.get('NVISITS')}"
        )
        raise FormatError(message, path=str(path), product="apStar", CRVAL1=start, CDELT1=step)
    pixel = np.arange(n_pixels, dtype=np.float64) + 1 - reference
    wavelength: NDArray[np.float64] = np.power(10.0, start + step * pixel)
    return wavelength


def _star_rows(cards: dict[str, Any], n_rows: int, path: Path) -> tuple[str, ...]:
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


def _star_values(cards: dict[str, Any], kind: tuple[str, ...]) -> dict[str, Any]:
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
