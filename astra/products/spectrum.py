"""A spectrum in memory, whichever file of the survey it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHIPS = ("blue", "green", "red")
NO_CHIP = -1
FLUX_UNIT = "1e-17 erg / (Angstrom s cm2)"


@dataclass(frozen=True)
class Spectrum:
    """The spectra of one file, one row each, on one wavelength grid.

    Parameters
    ----------
    product : str
        What kind of spectra they are: ``apVisit``, ``apStar``, ``aspcapStar``, or ``spec`` for all of BOSS.
    path : Path
        The file.
    wavelength : float64 ndarray, shape (n_pixels,)
        Strictly increasing, in vacuum [Angstrom]. It may be shared between spectra, and is not to be changed.
    flux : float64 ndarray, shape (n_rows, n_pixels)
        [`flux_unit`]; 0 where the file has no number.
    ivar : float64 ndarray, shape (n_rows, n_pixels)
        Inverse variance of the flux; 0 where a pixel cannot be used, never NaN.
    pixel_flags : int64 ndarray, shape (n_rows, n_pixels)
        The bits of the file.
    bad : bool ndarray, shape (n_rows, n_pixels)
        Pixels not to be used: no inverse variance, or one of the reader's bits.
    has_data : bool ndarray, shape (n_rows, n_pixels)
        Whether the file has a finite flux and error; the reduction's own statistics take these pixels.
    chip : int8 ndarray, shape (n_pixels,)
        Index in `CHIPS`, or -1 where there are none.
    kind : tuple of str
        ``visit``, ``coadd``, ``coadd_global`` or ``exposure``, by row.
    frame : str
        Rest frame of the wavelengths: ``observed``, ``barycentric`` or ``rest`` (the star's).
    snr : float64 ndarray, shape (n_rows,)
        Signal-to-noise ratio per pixel as the file states it; NaN where it does not.
    bc, v_rel, v_rad : float64 ndarray, shape (n_rows,)
        Barycentric correction, velocity relative to the observer, and barycentric velocity [km/s], as the
        file states them; NaN where it does not.
    jd_mid : float64 ndarray, shape (n_rows,)
        Middle of the observation [d, JD UTC]; NaN where the file does not state it.
    exptime : float64 ndarray, shape (n_rows,)
        Exposure time [s]; NaN where the file does not state it.
    sources : tuple of str
        The file that each row was made from; empty where unknown.
    meta : dict
        The primary header without commentary. Text that says NaN is NaN.
    catalogue : dict
        What the file says of the target, or of each row, in a table of its own.
    flux_unit : str
        Of the flux [1e-17 erg/s/cm^2/Angstrom], in the spelling of the FITS standard; empty where it is
        divided by a continuum.
    planes : dict of str to float64 ndarray, shape (n_rows, n_pixels)
        What else the file has on this grid: ``model``, ``continuum``; NaN where it has no number.
    """

    product: str
    path: Path
    wavelength: NDArray[np.float64]
    flux: NDArray[np.float64]
    ivar: NDArray[np.float64]
    pixel_flags: NDArray[np.int64]
    bad: NDArray[np.bool_]
    has_data: NDArray[np.bool_]
    chip: NDArray[np.int8]
    kind: tuple[str, ...]
    frame: str
    snr: NDArray[np.float64]
    bc: NDArray[np.float64]
    v_rel: NDArray[np.float64]
    v_rad: NDArray[np.float64]
    jd_mid: NDArray[np.float64]
    exptime: NDArray[np.float64]
    sources: tuple[str, ...]
    meta: dict[str, Any] = field(repr=False)
    catalogue: dict[str, Any] = field(default_factory=dict, repr=False)
    flux_unit: str = FLUX_UNIT
    planes: dict[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    @property
    def n_rows(self) -> int:
        """Number of spectra."""
        return int(self.flux.shape[0])

    @property
    def n_pixels(self) -> int:
        """Number of pixels of each spectrum."""
        return int(self.flux.shape[1])

    @property
    def instrument(self) -> str:
        """``BOSS`` or ``APOGEE``."""
        return "BOSS" if self.product == "spec" else "APOGEE"

    def to_table(self) -> Any:
        """Return an `astropy.table.Table` with a row for each spectrum, see `spectrum_table`."""
        from astra.products.spectrum_export import spectrum_table

        return spectrum_table(self)

    def to_specutils(self) -> Any:
        """Return a `specutils.Spectrum` of all rows, see `specutils_spectrum`; it needs specutils."""
        from astra.products.spectrum_export import specutils_spectrum

        return specutils_spectrum(self)


def pixel_values(
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    has_data: NDArray[np.bool_],
    flags: NDArray[np.int64],
    bad_bits: int,
) -> dict[str, Any]:
    """Return the fields of a spectrum that have a value for each pixel.

    Parameters
    ----------
    flux : float64 ndarray, shape (n_rows, n_pixels)
        As in the file.
    ivar : float64 ndarray, shape (n_rows, n_pixels)
        Inverse variance, not negative; NaN only where there are no data.
    has_data : bool ndarray, shape (n_rows, n_pixels)
        Whether the file has a finite flux and error.
    flags : int64 ndarray, shape (n_rows, n_pixels)
        The bits of the file.
    bad_bits : int
        Those of them that make a pixel bad.
    """
    if not has_data.all():
        ivar = np.where(has_data, ivar, 0.0)
        flux = np.where(np.isfinite(flux), flux, 0.0)
    return {
        "flux": flux,
        "ivar": ivar,
        "pixel_flags": flags,
        "bad": (ivar == 0) | ((flags & bad_bits) != 0),
        "has_data": has_data,
    }


def ivar_of_error(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse variance of 1-sigma errors, 0 where they say that a pixel is void.

    Parameters
    ----------
    error : float64 ndarray, shape (n_rows, n_pixels)
        Standard deviations. Void are those that are not positive and finite, or exceed a million times the
        row's median: the reductions mark bad pixels by huge errors.

    Returns
    -------
    ivar : float64 ndarray, shape (n_rows, n_pixels)
        In the inverse square of the unit of the error.
    """
    usable = np.isfinite(error) & (error > 0)
    ivar = np.zeros_like(error)
    for row in np.flatnonzero(usable.any(axis=1)):
        own, good = error[row], usable[row]
        good = good & (own <= 1e6 * np.median(own[good]))
        with np.errstate(over="ignore"):  # of what is not good
            np.divide(1.0, own * own, out=ivar[row], where=good)
    return ivar
