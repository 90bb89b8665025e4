"""Pure functions on spectra."""
