"""Analysis of spectra as tasks."""
