"""Stars of known lines and velocities, as a spectrograph sees them: noise, sky lines, cosmic rays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.spectra.velocities import SPEED_OF_LIGHT_KMS

FloatArray = NDArray[np.float64]

CHIPS = ((15142.0, 15810.0), (15857.0, 16435.0), (16473.0, 16955.0))  # [Angstrom, vacuum]
CONTINUUM = 500.0
SIG_SKYLINE = 1 << 12
# Linear interpolation of 0.3 A wide lines errs by 1e-4 of their depth.
FINE = np.arange(14900.0, 17200.0, 0.01)


class Star:
    """Absorption lines at rest, and how they look at any velocity.

    Parameters
    ----------
    seed : int, optional
        Seed of the lines.
    n_lines : int, optional
        How many.
    sigma_kms : float, optional
        Their width [km/s].
    """

    def __init__(self, seed: int = 5, n_lines: int = 450, sigma_kms: float = 7.0) -> None:
        rng = np.random.default_rng(seed)
        self.centres = np.sort(rng.uniform(15000.0, 17100.0, n_lines))
        self.depths = np.clip(rng.exponential(0.12, n_lines), 0.0, 0.7)
        self.sigma_kms = sigma_kms
        self._tables: dict[float, FloatArray] = {}

    def __call__(
        self, wavelength: FloatArray, v_kms: float = 0.0, sigma_kms: float | None = None
    ) -> FloatArray:
        """Return the spectrum relative to its continuum, shape (n,).

        Parameters
        ----------
        wavelength : float64 ndarray, shape (n,)
            Where [Angstrom, vacuum].
        v_kms : float, optional
            Velocity of the star [km/s].
        sigma_kms : float, optional
            Width of the lines [km/s], in place of their own.
        """
        rest = wavelength / (1.0 + v_kms / SPEED_OF_LIGHT_KMS)
        return np.interp(rest, FINE, self._table(sigma_kms or self.sigma_kms))

    def _table(self, sigma_kms: float) -> FloatArray:
        if sigma_kms not in self._tables:
            spectrum = np.ones_like(FINE)
            for centre, depth in zip(self.centres, self.depths, strict=True):
                sigma = centre * sigma_kms / SPEED_OF_LIGHT_KMS
                near = slice(*np.searchsorted(FINE, [centre - 6 * sigma, centre + 6 * sigma]))
                spectrum[near] *= 1.0 - depth * np.exp(-0.5 * ((FINE[near] - centre) / sigma) ** 2)
            self._tables[sigma_kms] = spectrum
        return self._tables[sigma_kms]


def visit_wavelength(n_pixels: int = 4096) -> tuple[FloatArray, NDArray[np.int64]]:
    """Wavelengths of three chips, increasing [Angstrom, vacuum], and the chip of each pixel."""
    chips = [np.linspace(low, high, n_pixels) for low, high in CHIPS]
    return np.concatenate(chips), np.repeat(np.arange(3), n_pixels)


def observe(
    star: Star,
    v_kms: float,
    snr: float,
    rng: np.random.Generator,
    *,
    sky: bool = False,
    cosmics: bool = False,
    n_pixels: int = 4096,
    strength: float = 1.0,
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.int64]]:
    """Observe a star once.

    Sky residuals stand at the same wavelengths in all visits, each with a sign and strength of its own;
    most are flagged. Cosmic rays are not flagged.

    Parameters
    ----------
    star : Star
        What is observed.
    v_kms : float
        Its velocity relative to the observatory [km/s].
    snr : float
        Signal to noise of a pixel of the continuum.
    rng : numpy.random.Generator
        Source of all randomness.
    sky, cosmics : bool, optional
        Whether there are residuals of sky lines, and cosmic rays.
    n_pixels : int, optional
        Of each chip.
    strength : float, optional
        Factor of the depths of the lines.

    Returns
    -------
    wavelength, flux, ivar : float64 ndarray, shape (3 n_pixels,)
        [Angstrom, vacuum], and of an arbitrary unit.
    flags : int64 ndarray, shape (3 n_pixels,)
        Pixel flags of APOGEE.
    """
    wavelength, _ = visit_wavelength(n_pixels)
    level = CONTINUUM * (1.0 + 0.2 * np.sin(wavelength / 300.0))
    error = np.full(wavelength.size, CONTINUUM / snr)
    seen = star(wavelength, v_kms)
    seen = seen if strength == 1.0 else 1.0 - strength * (1.0 - seen)
    flux = level * seen + error * rng.standard_normal(wavelength.size)
    flags = np.zeros(wavelength.size, np.int64)
    if sky:
        _add_sky_lines(wavelength, flux, flags, rng)
    if cosmics:
        hit = rng.integers(0, wavelength.size, 40)
        flux[hit] += rng.exponential(6.0 * CONTINUUM, 40)
    return wavelength, flux, error**-2, flags


def _add_sky_lines(
    wavelength: FloatArray, flux: FloatArray, flags: NDArray[np.int64], rng: np.random.Generator
) -> None:
    """Add residuals of sky lines, in place; seven of eight are flagged."""
    for number, line in enumerate(np.random.default_rng(3).uniform(15150.0, 16950.0, 80)):
        near = slice(*np.searchsorted(wavelength, [line - 1.5, line + 1.5]))
        distance = wavelength[near] - line
        flux[near] += rng.normal(0.0, 1.5 * CONTINUUM) * np.exp(-0.5 * (distance / 0.25) ** 2)
        if number % 8:
            flags[near] |= np.where(np.abs(distance) < 0.9, SIG_SKYLINE, 0)
