"""Stars of known lines and velocities, as visits with noise, sky residuals and cosmic rays."""

import numpy as np

from astra.spectra.velocities import SPEED_OF_LIGHT_KMS

CHIPS = ((15142.0, 15810.0), (15857.0, 16435.0), (16473.0, 16955.0))
CONTINUUM = 500.0
SIG_SKYLINE = 1 << 12
FINE = np.arange(
    14900.0, 17200.0, 0.01
)  # linear interpolation of 0.3 A wide lines errs by 1e-4 of their depth


class Star:
    """Absorption lines at rest, and how they look at any velocity."""

    def __init__(self, seed=5, n_lines=450, sigma_kms=7.0):
        rng = np.random.default_rng(seed)
        self.centres = np.sort(rng.uniform(15000.0, 17100.0, n_lines))
        self.depths = np.clip(rng.exponential(0.12, n_lines), 0.0, 0.7)
        self.sigma_kms = sigma_kms
        self._tables = {}

    def __call__(self, wavelength, v_kms=0.0, sigma_kms=None):
        rest = wavelength / (1.0 + v_kms / SPEED_OF_LIGHT_KMS)
        return np.interp(rest, FINE, self._table(sigma_kms or self.sigma_kms))

    def _table(self, sigma_kms):
        if sigma_kms not in self._tables:
            spectrum = np.ones_like(FINE)
            for centre, depth in zip(self.centres, self.depths, strict=True):
                sigma = centre * sigma_kms / SPEED_OF_LIGHT_KMS
                near = slice(*np.searchsorted(FINE, [centre - 6 * sigma, centre + 6 * sigma]))
                spectrum[near] *= 1.0 - depth * np.exp(-0.5 * ((FINE[near] - centre) / sigma) ** 2)
            self._tables[sigma_kms] = spectrum
        return self._tables[sigma_kms]


def visit_wavelength(n_pixels=4096):
    """Wavelengths of three chips, increasing, and the chip of each pixel."""
    chips = [np.linspace(low, high, n_pixels) for low, high in CHIPS]
    return np.concatenate(chips), np.repeat(np.arange(3), n_pixels)


def observe(star, v_kms, snr, rng, *, sky=False, cosmics=False, n_pixels=4096):
    """Return wavelength, flux, ivar and pixel flags of a visit.

    Sky residuals stand at the same wavelengths in all visits, each with a sign and strength of its own;
    most are flagged. Cosmic rays are not flagged.
    """
    wavelength, _ = visit_wavelength(n_pixels)
    level = CONTINUUM * (1.0 + 0.2 * np.sin(wavelength / 300.0))
    error = np.full(wavelength.size, CONTINUUM / snr)
    flux = level * star(wavelength, v_kms) + error * rng.standard_normal(wavelength.size)
    flags = np.zeros(wavelength.size, np.int64)
    if sky:
        for number, line in enumerate(np.random.default_rng(3).uniform(15150.0, 16950.0, 80)):
            near = slice(*np.searchsorted(wavelength, [line - 1.5, line + 1.5]))
            distance = wavelength[near] - line
            flux[near] += rng.normal(0.0, 1.5 * CONTINUUM) * np.exp(-0.5 * (distance / 0.25) ** 2)
            if number % 8:
                flags[near] |= np.where(np.abs(distance) < 0.9, SIG_SKYLINE, 0)
    if cosmics:
        hit = rng.integers(0, wavelength.size, 40)
        flux[hit] += rng.exponential(6.0 * CONTINUUM, 40)
    return wavelength, flux, error**-2, flags
