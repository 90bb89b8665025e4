"""Files of a template on a tile of the sky, beside the exposure: its coverage, and what went into it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.images.astrometry_fit import pixel_scale_arcsec
from astra.products.catalogs import read_catalog, write_catalog
from astra.products.exposures import read_exposure_psf, read_exposure_wcs
from astra.products.fits_record import native, open_fits, software_version, write_hdus

KINDS = ("template", "coverage", "inputs")
MAX_REASON = 1024  # [character]
_INPUT_DTYPE = [("visit", "i8"), ("detector", "i4"), ("used", "?"), ("weight", "f8"), ("fwhm_arcsec", "f8")]


@dataclass(frozen=True)
class TemplateInput:
    """A calibrated exposure that was considered for a template.

    Parameters
    ----------
    visit, detector : int
        Which exposure.
    path : str
        Its file.
    fwhm_arcsec : float, optional
        FWHM of its PSF in the middle [arcsec]; None if it is not known.
    weight : float, optional
        Its part in the template, all of them sum to 1; None if it was not used.
    reason : str
        Why it was left out; empty if it was used.
    """

    visit: int
    detector: int
    path: str = ""
    fwhm_arcsec: float | None = None
    weight: float | None = None
    reason: str = ""

    @property
    def used(self) -> bool:
        """Whether it went into the template."""
        return not self.reason

    def without(self, reason: str) -> TemplateInput:
        """Return it as left out, unless it is already."""
        return dataclasses.replace(self, reason=reason[:MAX_REASON], weight=None) if self.used else self

    def row(self) -> dict[str, Any]:
        """Return its row, as ``template_input`` has it but for the key of the template."""
        names = ("visit", "detector", "used", "weight", "fwhm_arcsec", "reason")
        return {name: getattr(self, name) for name in names}


def write_template_inputs(path: Path | str, inputs: Iterable[TemplateInput]) -> None:
    """Write what was considered for a template, as a table with a row for each exposure."""
    rows = list(inputs)
    longest = max((len(one.reason) for one in rows), default=0)
    table = np.zeros(len(rows), dtype=[*_INPUT_DTYPE, ("reason", f"U{max(longest, 1)}")])
    for number, one in enumerate(rows):
        for name, value in one.row().items():
            table[name][number] = np.nan if value is None else value
    write_catalog(path, table, units={"fwhm_arcsec": "arcsec"})


def read_template_inputs(path: Path | str) -> list[TemplateInput]:
    """Read what `write_template_inputs` wrote, but for the paths.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is damaged.
    """
    return [
        TemplateInput(
            int(row["visit"]),
            int(row["detector"]),
            fwhm_arcsec=_number(row["fwhm_arcsec"]),
            weight=_number(row["weight"]),
            reason=str(row["reason"]),
        )
        for row in read_catalog(path)
    ]


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def write_coverage(path: Path | str, coverage: NDArray[Any], wcs: WCS) -> None:
    """Write how many exposures went into each pixel of a template.

    Parameters
    ----------
    path : Path or str
        Where to.
    coverage : int ndarray, shape (ny, nx)
        Number of exposures.
    wcs : astropy.wcs.WCS
        Of the tile.
    """
    header = wcs.to_header()
    header["ORIGIN"], header["ASTRAVER"] = "astra", software_version()
    image = fits.CompImageHDU(np.ascontiguousarray(coverage, dtype=np.int16), header, name="COVERAGE")
    write_hdus(path, [fits.PrimaryHDU(), image])


def read_coverage(path: Path | str) -> NDArray[np.int16]:
    """Read what `write_coverage` wrote; errors as in `read_template_inputs`."""
    with open_fits(path) as hdus:
        return native(hdus["COVERAGE"].data, np.int16)


def read_fwhm_arcsec(path: Path | str) -> float:
    """Read only the FWHM of the PSF in the middle of an exposure [arcsec].

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is damaged, or has no PSF or no WCS.
    """
    wcs, (ny, nx) = read_exposure_wcs(path)
    return psf_fwhm_arcsec(read_exposure_psf(path), wcs, (ny, nx))


def psf_fwhm_arcsec(psf: Any, wcs: WCS, shape: tuple[int, int]) -> float:
    """FWHM of a PSF in the middle of an image of shape ``(ny, nx)`` [arcsec]."""
    x, y = (shape[1] - 1) / 2.0, (shape[0] - 1) / 2.0
    return float(psf.fwhm_pixel(x, y) * pixel_scale_arcsec(wcs))
