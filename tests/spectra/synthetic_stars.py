"""Stars of known lines and velocities, as visits with noise, sky residuals and cosmic rays."""

from astra.simulation.stars import (
    CHIPS,
    CONTINUUM,
    FINE,
    SIG_SKYLINE,
    Star,
    observe,
    visit_wavelength,
)

__all__ = ["CHIPS", "CONTINUUM", "FINE", "SIG_SKYLINE", "Star", "observe", "visit_wavelength"]
