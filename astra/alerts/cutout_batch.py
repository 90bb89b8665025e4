"""Stamps of all sources of an image at once, written where they belong by compiled loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.alerts.cutout_headers import (
    BLOCK,
    MASK_CARDS,
    VARIANCE_CARDS,
    CutoutConfig,
    corners,
    is_on_image,
    is_same_wcs,
    plane_header,
    primary_headers,
)
from astra.alerts.cutout_kernels import Headers, Planes, PsfTerms, Stamps, find_data, write_stamps
from astra.alerts.cutout_psf import psf_terms
from astra.alerts.cutouts import njy_per_unit
from astra.images.exposure import MASK_NO_DATA, Exposure


@dataclass(frozen=True)
class StampPlan:
    """Which stamps there will be, and what is in them.

    Parameters
    ----------
    sizes : int64 ndarray, shape (n,)
        Bytes of each stamp; -1 for none.
    content : Stamps
        What is in them, see `astra.alerts.cutout_kernels`.
    wcs : astropy.wcs.WCS or None
        That of the image.
    """

    sizes: NDArray[np.int64]
    content: Stamps
    wcs: Any = None

    def write(self, out: NDArray[np.uint8], position: NDArray[np.int64], rows: slice) -> None:
        """Write the stamps of some rows where they belong; a negative position is left out."""
        whole = self.content
        headers = whole.headers._replace(
            primary=whole.headers.primary[rows], side_number=whole.headers.side_number[rows]
        )
        psf = whole.psf._replace(design=whole.psf.design[rows])
        write_stamps(out, position, Stamps(whole.corner[rows], whole.side[rows], whole.planes, psf, headers))

    def stamps(self) -> list[bytes | None]:
        """Return all stamps, each by itself."""
        start = np.zeros(len(self.sizes) + 1, dtype=np.int64)
        np.cumsum(np.maximum(self.sizes, 0), out=start[1:])
        out = np.empty(start[-1], dtype=np.uint8)
        self.write(out, np.where(self.sizes < 0, -1, start[:-1]), slice(None))
        ends = zip(start[:-1].tolist(), start[1:].tolist(), strict=True)
        return [out[a:b].tobytes() if b > a else None for a, b in ends]


class StampCutter:
    """Cuts the stamps of one image; see `astra.alerts.cutouts.make_cutout`, which gives the same bytes.

    Parameters
    ----------
    exposure : Exposure
        In [nJy], or in [adu] with a photometric calibration.
    config : CutoutConfig, optional
        Side, PSF, and how the detector lies in the focal plane.

    Raises
    ------
    ValueError
        If the exposure is not calibrated to flux.
    """

    def __init__(self, exposure: Exposure, config: CutoutConfig | None = None) -> None:
        self.exposure = exposure
        self.config = config or CutoutConfig()
        scale = njy_per_unit(exposure)
        self.planes = Planes(
            np.ascontiguousarray(exposure.image, dtype=np.float32),
            np.ascontiguousarray(exposure.variance, dtype=np.float32),
            np.ascontiguousarray(exposure.mask, dtype=np.uint32),
            np.float32(scale),
            np.float32(scale**2),
            MASK_NO_DATA,
        )

    def plan(
        self, x: NDArray[Any], y: NDArray[Any], size_pixel: NDArray[Any], like: StampPlan | None = None
    ) -> StampPlan:
        """Plan stamps around positions.

        Parameters
        ----------
        x, y : ndarray, shape (n,)
            Positions [pixel]; a masked one has no stamp.
        size_pixel : ndarray, shape (n,)
            Sides of the footprints [pixel].
        like : StampPlan, optional
            Plan of the same positions and configuration on another image: where the WCS is the same, so are
            the headers, and they are not made again.
        """
        at_x, at_y = _numbers(x), _numbers(y)
        on_image = is_on_image(at_x, at_y, self.exposure.shape)
        at = np.where(on_image, at_x, 0.0), np.where(on_image, at_y, 0.0)
        side = np.where(on_image, self.config.sides(_numbers(size_pixel)), 0)
        corner, found = corners(*at, side), np.zeros(len(side), dtype=np.bool_)
        find_data(corner, side, self.planes.image, self.planes.mask, self.planes.no_data, found)
        psf = psf_terms(self.exposure, *at, average=self.config.use_average_psf)
        headers = self._headers(at, side, like)._replace(psf=_psf_header(psf))
        sizes = np.where(found, _sizes(side, psf, headers), -1)
        return StampPlan(sizes, Stamps(corner, side, self.planes, psf, headers), self.exposure.wcs)

    def _headers(
        self,
        at: tuple[NDArray[np.float64], NDArray[np.float64]],
        side: NDArray[np.int64],
        like: StampPlan | None,
    ) -> Headers:
        """Make all headers but that of the PSF."""
        wcs = self.exposure.wcs
        if like is not None and np.array_equal(like.content.side, side) and is_same_wcs(like.wcs, wcs):
            return like.content.headers
        sides, number = np.unique(side, return_inverse=True)
        return Headers(
            primary_headers(self.exposure, *at, side, self.config.detector_rotation_deg),
            _stack([plane_header("MASK", "i4", one, MASK_CARDS) for one in sides.tolist()]),
            _stack([plane_header("UNCERT", "f4", one, VARIANCE_CARDS) for one in sides.tolist()]),
            _stack([]).ravel(),
            number.astype(np.int64),
        )


def _psf_header(psf: PsfTerms) -> NDArray[np.uint8]:
    side = round(psf.terms.shape[1] ** 0.5)
    return _stack([plane_header("PSFIMAGE", "f4", side, [])] if side else []).ravel()


def _numbers(column: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers of a column, NaN where it is null."""
    values: NDArray[Any] = np.array(np.ma.getdata(column), dtype=np.float64)
    if isinstance(column, np.ma.MaskedArray):
        values[np.ma.getmaskarray(column)] = np.nan
    return values


def _stack(headers: list[bytes]) -> NDArray[np.uint8]:
    content = np.frombuffer(bytearray(b"".join(headers)), dtype=np.uint8)
    return content.reshape(len(headers), -1) if headers else content.reshape(0, 0)


def _sizes(side: NDArray[np.int64], psf: PsfTerms, headers: Headers) -> NDArray[np.int64]:
    """Bytes of stamps."""
    fixed = headers.primary.shape[1] + headers.mask.shape[1] + headers.variance.shape[1] + len(headers.psf)
    psf_bytes = _whole_blocks(4 * psf.terms.shape[1])
    sizes: NDArray[np.int64] = fixed + psf_bytes + 3 * _whole_blocks(4 * side**2)
    return sizes


def _whole_blocks(size: Any) -> Any:
    return size + -size % BLOCK
