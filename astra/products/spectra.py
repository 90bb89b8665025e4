"""Read a spectrum of the survey by the name of its product."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from astra.errors import ConfigError
from astra.products.apogee import read_ap_star, read_ap_visit, read_aspcap_star
from astra.products.boss import read_spec, read_spec_exposures
from astra.products.mwm import read_mwm
from astra.products.spectrum import CHIPS, Spectrum

__all__ = [
    "CHIPS",
    "READERS",
    "Spectrum",
    "read_ap_star",
    "read_ap_visit",
    "read_aspcap_star",
    "read_mwm",
    "read_spec",
    "read_spec_exposures",
    "read_spectrum",
]

READERS: dict[str, Callable[[str | Path], Spectrum]] = {
    "apVisit": read_ap_visit,
    "apVisit-1m": read_ap_visit,
    "apStar": read_ap_star,
    "aspcapStar": read_aspcap_star,
    "spec": read_spec,
    "spec-lite": read_spec,
    "specFull": read_spec,
    "specLite": read_spec,
    "spSpec": read_spec,
    **{
        f"{product}{suffix}": functools.partial(read_mwm, instrument=instrument)
        for product in ("mwmVisit", "mwmStar")
        for suffix, instrument in (("", ""), ("-boss", "BOSS"), ("-apogee", "APOGEE"))
    },
}


def read_spectrum(product: str, path: str | Path) -> Spectrum:
    """Read the file of a spectral product.

    Parameters
    ----------
    product : str
        One of `READERS`, as in the survey's paths. Files of the Milky Way Mapper that have spectra of both
        instruments go by ``mwmVisit-boss`` and ``mwmVisit-apogee``, and so for ``mwmStar``.
    path : str or Path
        The file.

    Returns
    -------
    spectrum : Spectrum
        All its rows.

    Raises
    ------
    ConfigError
        If there is no reader of that name.
    MissingDataError
        If there is no such file.
    FormatError
        If the file is truncated or of another kind.
    """
    if product not in READERS:
        message = f"no reader for product {product!r}; it must be one of {', '.join(READERS)}"
        raise ConfigError(message, product=product)
    return READERS[product](path)
