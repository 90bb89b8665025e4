"""Combination of calibrated exposures into a coadd.

The exposures are read one at a time, twice: first to find the median of each pixel (for more than six
inputs, the mean without the two least and the two largest values), then to add up those pixels that agree
with it. A pixel may differ by its noise, and near stars by what the PSFs of the inputs differ from one
another: the largest difference of the PSFs, in units of their peak, times the brightest pixel nearby.
Weights are constant over an input, so that the PSF of the coadd is the mean of those of the inputs by the
same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import NoOverlapError
from astra.images.coadd_config import INPUT_DTYPE, CoaddConfig
from astra.images.coadd_psf import combine_psfs
from astra.images.coadd_sums import CoaddSums, PixelMedian
from astra.images.coadd_warps import CoaddInput, InputStack, WarpedInput
from astra.images.exposure import Exposure, PhotoCalib, require_one_band

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["INPUT_DTYPE", "Coadd", "CoaddConfig", "CoaddInput", "coadd_exposures", "coadd_onto_tile"]


@dataclass(frozen=True)
class Coadd:
    """What `coadd_onto_tile` makes.

    Parameters
    ----------
    exposure : Exposure
        Image, variance and mask of the frame [nJy], with WCS, PSF (`CoaddPsf`) and noise power. ``info`` is
        that of the first input but for visit and detector, which are 0, the mean time and the summed
        exposure time.
    coverage : uint16 ndarray, shape (ny, nx)
        Number of inputs that each pixel is the mean of.
    inputs : structured ndarray, shape (n_inputs,), dtype `INPUT_DTYPE`
        Each input in its order: name, visit, detector; weight (their sum is 1); variance of the sky
        [nJy**2] and FWHM in pixels of the coadd; number of its pixels that are in the coadd, of those that
        a mask bit and of those that clipping left out; whether it was used, and if not, why.
    """

    exposure: Exposure
    coverage: NDArray[np.uint16]
    inputs: NDArray[Any]


def coadd_onto_tile(
    inputs: Sequence[CoaddInput], wcs: WCS, shape: tuple[int, int], config: CoaddConfig | None = None
) -> Coadd:
    """Average exposures on the pixels of a tile.

    Parameters
    ----------
    inputs : sequence of CoaddInput
        Each is loaded once or twice, one at a time.
    wcs : astropy.wcs.WCS
        Of the tile.
    shape : tuple of int
        Rows and columns (ny, nx) of the tile [pixel].
    config : CoaddConfig, optional

    Returns
    -------
    coadd : Coadd
        Weighted mean of the pixels that agree, with their variance (the white equivalent, as in
        `astra.images.warp`). A mask bit is set where all used pixels have it, SAT where any has; CLIPPED and
        REJECTED where an input was left out, NO_DATA where there is none.

    Raises
    ------
    ValueError
        If there is no input.
    DataError
        If an input is not in nJy, lacks a WCS or a PSF, or the bands differ.
    NoOverlapError
        If no input has a good pixel on the tile.
    """
    if not inputs:
        raise ValueError("a coadd needs at least one exposure, found none")
    config = config or CoaddConfig()
    stack = InputStack(inputs, wcs, shape, config)
    median = PixelMedian(shape)
    stack.first_pass(median.add)
    _require_overlap(stack.table)
    sums = CoaddSums(median, config)
    differences = stack.psf_differences()

    def add(index: int, warped: WarpedInput) -> None:
        row = stack.table[index]
        used = sums.add(warped, float(row["weight"]), differences[index])
        row["nPixels"], row["nClipped"], row["nRejected"] = used

    stack.second_pass(add)
    image, variance, mask = sums.planes()
    exposure = Exposure(
        image,
        variance,
        mask,
        stack.info(),
        "nJy",
        stack.gain(),
        wcs,
        combine_psfs(stack.psfs(), sums.weights(), shape),
        PhotoCalib(1.0, stack.scale_error()),
        stack.metadata(),
        stack.noise_power(),
    )
    return Coadd(exposure, sums.coverage, stack.table)


def _require_overlap(table: NDArray[Any]) -> None:
    """Refuse a coadd of nothing."""
    if not table["used"].any():
        names = ", ".join(table["name"][:5]) + (", ..." if len(table) > 5 else "")
        message = f"none of {len(table)} exposures has a good pixel on the tile ({names})"
        raise NoOverlapError(message, n_exposures=len(table))


def coadd_exposures(exposures: Sequence[Exposure], config: CoaddConfig | None = None) -> Exposure:
    """Average exposures on the grid of the first.

    Parameters
    ----------
    exposures : sequence of Exposure
        Calibrated [nJy], background subtracted, with WCS and PSF.
    config : CoaddConfig, optional

    Returns
    -------
    template : Exposure
        The coadd, with ``info`` and ``metadata`` of the first. A single exposure is returned as it is.

    Raises
    ------
    DataError
        If they are not all of one band, in nJy and with WCS and PSF.
    ValueError
        If there is no exposure.
    NoOverlapError
        If an exposure does not overlap the first.
    """
    if not exposures:
        raise ValueError("a template needs at least one exposure, found none")
    first = exposures[0]
    if len(exposures) == 1:
        return first
    require_one_band(exposures)
    inputs = [
        CoaddInput(
            f"visit {exposure.info.visit}, detector {exposure.info.detector}", partial(_same, exposure)
        )
        for exposure in exposures
    ]
    coadd = coadd_onto_tile(inputs, first.wcs, first.shape, config)
    apart = coadd.inputs[~coadd.inputs["used"]]
    if len(apart):
        names = "; ".join(apart["name"])
        message = f"{len(apart)} of {len(exposures)} exposures have no usable pixel on the first ({names})"
        raise NoOverlapError(message, n_exposures=len(exposures), visit=first.info.visit)
    return coadd.exposure.replace(info=first.info, metadata=first.metadata | coadd.exposure.metadata)


def _same(exposure: Exposure) -> Exposure:
    """Return an exposure that is in memory already."""
    return exposure
