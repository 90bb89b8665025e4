"""Point-spread functions of stamps, as sums of terms that a compiled loop adds up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.alerts.cutout_kernels import PsfTerms, add_psf_terms
from astra.images.exposure import Exposure

NO_PSF = np.zeros((0, 0))


def psf_terms(
    exposure: Exposure, x: NDArray[np.float64], y: NDArray[np.float64], *, average: bool = False
) -> PsfTerms:
    """Point-spread functions of stamps.

    Parameters
    ----------
    exposure : Exposure
        Image; without a PSF, the terms have no pixels.
    x, y : float64 ndarray, shape (n,)
        Positions [pixel].
    average : bool, optional
        Take that of the middle of the image for all.
    """
    psf = exposure.psf
    if psf is None:
        return _with_sums(np.zeros((len(x), 0)), NO_PSF)
    if average:
        ny, nx = exposure.shape
        middle = psf.stamp((nx - 1) / 2, (ny - 1) / 2)
        return _with_sums(np.ones((len(x), 1)), middle.reshape(1, -1))
    step = psf.oversampling
    nodes = psf.coefficients[:, ::step, ::step]
    terms = np.ascontiguousarray(nodes.reshape(len(nodes), -1), dtype=np.float64)
    return _with_sums(np.ascontiguousarray(psf.design(x, y)), terms)


def _with_sums(design: NDArray[np.float64], terms: NDArray[np.float64]) -> PsfTerms:
    return PsfTerms(design, terms, terms.sum(axis=1))


def psf_stamps(terms: PsfTerms) -> NDArray[np.float32]:
    """Stamps of unit sum, float32, shape (n, size, size)."""
    stamps: NDArray[np.float32] = add_psf_terms(terms)
    side = round(stamps.shape[1] ** 0.5)
    return stamps.reshape(len(stamps), side, side)
