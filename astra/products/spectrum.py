"""A spectrum in memory, whichever file of the survey it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHIPS = ("blue", "green", "red")
NO_CHIP = -1


@dataclass(frozen=True)
class Spectrum:
    """The spectra of one file, one row each, on one wavelength grid.

    Parameters
    ----------
    product : str
        ``apVisit``, ``apStar`` or ``spec``.
    path : Path
        The file.
    wavelength : float64 ndarray, shape (n_pixels,)
        Strictly increasing, in vacuum [Angstrom].
    flux : float64 ndarray, shape (n_rows, n_pixels)
        [1e-17 erg/s/cm^2/Angstrom]; 0 where the file has no number.
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
        ``visit``, ``coadd`` or ``coadd_global``, by row.
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
        What the file says of the target in a table of its own.
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

    @property
    def n_rows(self) -> int:
        """Number of spectra."""
        return int(self.flux.shape[0])

    @property
    def n_pixels(self) -> int:
        """Number of pixels of each spectrum."""
        return int(self.flux.shape[1])


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
        good = usable[row] & (error[row] <= 1e6 * np.median(error[row][usable[row]]))
        ivar[row, good] = error[row, good] ** -2
    return ivar
