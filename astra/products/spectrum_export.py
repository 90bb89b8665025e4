"""Spectra as the objects of other packages: tables of astropy, and the spectra of specutils."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from astra.errors import ConfigError

if TYPE_CHECKING:
    from astra.products.spectrum import Spectrum

_ROW_UNITS = {"snr": "", "bc": "km / s", "v_rel": "km / s", "v_rad": "km / s", "jd_mid": "d", "exptime": "s"}
_DESCRIPTIONS = {
    "kind": "visit, coadd, coadd_global or exposure",
    "source": "file that the row was made from",
    "snr": "signal-to-noise ratio per pixel",
    "bc": "barycentric correction",
    "v_rel": "velocity relative to the observer",
    "v_rad": "barycentric velocity",
    "jd_mid": "middle of the observation, JD UTC",
    "exptime": "exposure time",
    "wavelength": "in vacuum",
    "ivar": "inverse variance of the flux, 0 where it cannot be used",
    "pixel_flags": "bits of the file",
    "bad": "not to be used",
}


def spectrum_table(spectrum: Spectrum) -> Any:
    """Return spectra as a table, a row for each.

    Parameters
    ----------
    spectrum : Spectrum
        The spectra of one file.

    Returns
    -------
    table : astropy.table.Table
        Columns ``kind``, ``source`` and the numbers of each row, and arrays of n_pixels values:
        ``wavelength``, ``flux``, ``ivar``, ``pixel_flags``, ``bad`` and the planes that the file has besides,
        with units and descriptions. ``meta`` has the header, with ``product``, ``path`` and ``frame``. It can
        be written as FITS, and read by any program.
    """
    from astropy import units
    from astropy.table import Column, Table

    flux_unit = units.Unit(spectrum.flux_unit)
    pixel_units = {"wavelength": units.AA, "flux": flux_unit, "ivar": flux_unit**-2, "continuum": flux_unit}
    pixel_units["model"] = flux_unit
    columns: dict[str, Any] = {
        "kind": np.array(spectrum.kind),
        "source": np.array(spectrum.sources),
        **{name: getattr(spectrum, name).copy() for name in _ROW_UNITS},
        "wavelength": np.repeat(spectrum.wavelength[None], spectrum.n_rows, axis=0),
        **{name: getattr(spectrum, name).copy() for name in ("flux", "ivar", "pixel_flags", "bad")},
        **{name: plane.copy() for name, plane in spectrum.planes.items()},
    }
    table = Table(meta={**_plain_meta(spectrum), **_identity(spectrum)})
    for name, values in columns.items():
        unit = pixel_units.get(name) or (units.Unit(_ROW_UNITS[name]) if _ROW_UNITS.get(name) else None)
        table[name] = Column(values, unit=unit, description=_DESCRIPTIONS.get(name))
    return table


def specutils_spectrum(spectrum: Spectrum) -> Any:
    """Return spectra as an object of specutils; all rows share the spectral axis.

    Parameters
    ----------
    spectrum : Spectrum
        The spectra of one file.

    Returns
    -------
    spectrum : specutils.Spectrum
        Flux of shape (n_rows, n_pixels), or (n_pixels,) if there is one row; uncertainty as inverse variance;
        the mask is `Spectrum.bad`. ``meta`` has the header under ``header``, and kind, sources and numbers of
        each row.

    Raises
    ------
    ConfigError
        If specutils is not installed.
    """
    from astropy import units
    from astropy.nddata import InverseVariance

    cls = _specutils_class()
    only = 0 if spectrum.n_rows == 1 else slice(None)
    unit = units.Unit(spectrum.flux_unit)
    rows = {name: getattr(spectrum, name).copy() for name in _ROW_UNITS}
    return cls(
        spectral_axis=spectrum.wavelength * units.AA,
        flux=spectrum.flux[only] * unit,
        uncertainty=InverseVariance(spectrum.ivar[only] * unit**-2),
        mask=spectrum.bad[only].copy(),
        meta={
            "header": dict(spectrum.meta),
            "kind": spectrum.kind,
            "sources": spectrum.sources,
            "pixel_flags": spectrum.pixel_flags[only].copy(),
            **rows,
            **_identity(spectrum),
        },
    )


def _specutils_class() -> Any:
    """Return the class of spectra of specutils, which has had two names."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it imports
            import specutils  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as exc:
        message = "to_specutils needs the package specutils; install it, or use to_table"
        raise ConfigError(message, package="specutils") from exc
    return getattr(specutils, "Spectrum", None) or specutils.Spectrum1D


def _identity(spectrum: Spectrum) -> dict[str, str]:
    return {"product": spectrum.product, "path": str(spectrum.path), "frame": spectrum.frame}


def _plain_meta(spectrum: Spectrum) -> dict[str, Any]:
    """Return the header without what describes the file rather than the observation, and without NaN."""
    structure = ("SIMPLE", "BITPIX", "NAXIS", "EXTEND", "CHECKSUM", "DATASUM")
    return {
        key: value
        for key, value in spectrum.meta.items()
        if not key.startswith(structure) and value is not None and value == value  # noqa: PLR0124  (NaN)
    }
