"""Wavelength grids that are uniform in the logarithm, where a velocity is a shift, and the spans of chips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra.spectra.velocities import SPEED_OF_LIGHT_KMS


@dataclass(frozen=True)
class LogGrid:
    """Wavelengths of equal steps in their logarithm.

    Parameters
    ----------
    start : float
        Of the first pixel [log10 Angstrom].
    step : float
        From pixel to pixel [log10 Angstrom].
    n_pixels : int
        Number of pixels.
    """

    start: float
    step: float
    n_pixels: int

    @property
    def wavelength(self) -> NDArray[np.float64]:
        """Of each pixel [Angstrom], shape (n_pixels,)."""
        return np.asarray(10.0 ** (self.start + self.step * np.arange(self.n_pixels)), np.float64)

    @property
    def pixel_kms(self) -> float:
        """Velocity of a shift by one pixel [km/s]."""
        return float(self.velocity_of(1.0))

    def pixel_of(self, wavelength: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where wavelengths [Angstrom] fall [pixel], 0 being the centre of the first one."""
        pixel: NDArray[np.float64] = (np.log10(wavelength) - self.start) / self.step
        return pixel

    def velocity_of(self, shift: ArrayLike) -> NDArray[np.float64]:
        """Return the velocity [km/s] of a shift towards the red [pixel], by the Doppler factor 1 + v/c."""
        factor: NDArray[np.float64] = np.expm1(np.log(10.0) * self.step * np.asarray(shift, np.float64))
        return SPEED_OF_LIGHT_KMS * factor

    def shift_of(self, velocity_kms: ArrayLike) -> NDArray[np.float64]:
        """Return the shift towards the red [pixel] of a velocity [km/s], by the Doppler factor 1 + v/c."""
        log10: NDArray[np.float64] = np.log1p(np.asarray(velocity_kms) / SPEED_OF_LIGHT_KMS) / np.log(10.0)
        return log10 / self.step


APSTAR_GRID = LogGrid(4.179, 6e-6, 8575)
"""Of apStar and asStar files."""

BOSS_GRID = LogGrid(3.5523, 1e-4, 4648)
"""Of BOSS spectra of SDSS-V; older ones begin elsewhere."""

ASPCAP_CHIP_STARTS = (4.180476, 4.200510, 4.217064)
ASPCAP_CHIP_PIXELS = (3028, 2495, 1991)


def aspcap_chips(grid: LogGrid = APSTAR_GRID) -> tuple[slice, ...]:
    """Return the pixels of a grid that ASPCAP takes of each chip, in increasing wavelength."""
    firsts = [round((start - grid.start) / grid.step) for start in ASPCAP_CHIP_STARTS]
    return tuple(slice(first, first + n) for first, n in zip(firsts, ASPCAP_CHIP_PIXELS, strict=True))


def log_grid_of(wavelength: NDArray[np.float64], tolerance: float = 1e-3) -> LogGrid | None:
    """Return the grid of wavelengths that are uniform in the logarithm; None if they are not.

    Parameters
    ----------
    wavelength : float64 ndarray, shape (n_pixels,)
        Increasing [Angstrom].
    tolerance : float, optional
        Largest deviation [pixel].

    Raises
    ------
    ValueError
        If there are fewer than two.
    """
    if wavelength.ndim != 1 or wavelength.size < 2:
        message = f"a grid needs two wavelengths or more, not shape {wavelength.shape}"
        raise ValueError(message)
    log10 = np.log10(wavelength)
    grid = LogGrid(float(log10[0]), float((log10[-1] - log10[0]) / (log10.size - 1)), log10.size)
    uniform = np.all(np.abs(grid.pixel_of(wavelength) - np.arange(log10.size)) < tolerance)
    return grid if grid.step > 0 and uniform else None
