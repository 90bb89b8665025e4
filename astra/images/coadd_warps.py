"""The inputs of a coadd, loaded and resampled one at a time onto the part of the frame that they cover."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import DataError
from astra.images.coadd_config import INPUT_DTYPE, REJECTED, CoaddConfig
from astra.images.coadd_psf import pad_stamp
from astra.images.exposure import MASK_DETECTED, MASK_NO_DATA, Exposure, VisitInfo, require_one_band
from astra.images.psf import Psf
from astra.images.subtraction import repair
from astra.images.warp import FOURIER_SIDE, Planes, make_pixel_map, warp_noise_power, warp_planes, warp_psf

if TYPE_CHECKING:
    from astropy.wcs import WCS

OUTLINE_POINTS = 33  # along each side of an input
MARGIN_PIXEL = 2
SAMPLE_STEP = 7  # of the pixels that the sky variance is the median of


@dataclass(frozen=True)
class CoaddInput:
    """An exposure that a coadd may load when it needs it, up to twice.

    Parameters
    ----------
    name : str
        For the list of inputs, such as the data id.
    load : callable
        Returns the calibrated exposure [nJy], background subtracted, with WCS and PSF.
    """

    name: str
    load: Callable[[], Exposure]


@dataclass(frozen=True)
class WarpedInput:
    """An input on the pixels of the frame that it covers.

    Parameters
    ----------
    planes : tuple of ndarray
        Image, variance and mask of the box.
    corner : tuple of int
        First row and column (y, x) of the box in the frame.
    centre : tuple of float
        Middle of the box (x, y) in the frame [pixel].
    psf : Psf
        In pixels of the frame.
    noise_power : float64 ndarray, shape (64, 64)
        Spectrum of the noise after the warp.
    """

    planes: Planes
    corner: tuple[int, int]
    centre: tuple[float, float]
    psf: Psf
    noise_power: NDArray[np.float64]

    @property
    def n_bytes(self) -> int:
        """Size of the planes [byte]."""
        return sum(plane.nbytes for plane in self.planes)

    def sky_variance(self) -> float:
        """Median variance of the pixels without source or defect, NaN if there are none."""
        step = np.s_[::SAMPLE_STEP, ::SAMPLE_STEP]
        variance, mask = self.planes[1][step], self.planes[2][step]
        good = np.isfinite(variance) & (variance > 0)
        for unwanted in (REJECTED | MASK_DETECTED, REJECTED, np.uint32(0)):
            chosen = good & ((mask & unwanted) == 0)
            if chosen.any():
                return float(np.median(variance[chosen]))
        return float("nan")


def require_calibrated(exposure: Exposure, name: str) -> None:
    """Refuse an exposure that cannot be an input.

    Raises
    ------
    DataError
        If it is not in nJy, or lacks a WCS or a PSF.
    """
    lacks = [word for word, part in (("WCS", exposure.wcs), ("PSF", exposure.psf)) if part is None]
    if lacks or exposure.unit != "nJy":
        found = f"no {' and no '.join(lacks)}" if lacks else f"unit {exposure.unit}"
        message = f"an input of a coadd must be in nJy, with WCS and PSF, found {found} ({name})"
        raise DataError(message, visit=exposure.info.visit, detector=exposure.info.detector)


def warp_onto(exposure: Exposure, wcs: WCS, shape: tuple[int, int]) -> WarpedInput | None:
    """Resample an exposure onto the part of a frame that it covers; None if it has no pixel there."""
    box = _find_box(exposure, wcs, shape)
    if box is None or exposure.psf is None:
        return None
    corner, box_shape = box
    pixel_map = make_pixel_map(wcs, exposure.wcs, box_shape, origin=corner)
    planes = warp_planes(repair(exposure), pixel_map)
    if ((planes[2] & MASK_NO_DATA) > 0).all():
        return None
    psf = warp_psf(exposure.psf, pixel_map)
    psf = replace(psf, x_centre=psf.x_centre + corner[1], y_centre=psf.y_centre + corner[0])
    centre = corner[1] + (box_shape[1] - 1) / 2, corner[0] + (box_shape[0] - 1) / 2
    power = warp_noise_power(pixel_map, FOURIER_SIDE, exposure.noise_power)
    return WarpedInput(planes, corner, centre, psf, power)


def _find_box(
    exposure: Exposure, wcs: WCS, shape: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """First pixel (y, x) and shape of the part of a frame that an exposure reaches."""
    ny, nx = exposure.shape
    along_x = np.linspace(-0.5, nx - 0.5, OUTLINE_POINTS)
    along_y = np.linspace(-0.5, ny - 0.5, OUTLINE_POINTS)
    x = np.concatenate([along_x, along_x, np.full(OUTLINE_POINTS, -0.5), np.full(OUTLINE_POINTS, nx - 0.5)])
    y = np.concatenate([np.full(OUTLINE_POINTS, -0.5), np.full(OUTLINE_POINTS, ny - 0.5), along_y, along_y])
    assert exposure.wcs is not None  # noqa: S101 - narrowed by the caller
    found = wcs.all_world2pix(*exposure.wcs.all_pix2world(x, y, 0), 0, quiet=True)
    limits = []
    for axis, length in zip(found, (shape[1], shape[0]), strict=True):
        if not np.isfinite(axis).any():
            return None
        first = max(int(np.floor(np.nanmin(axis))) - MARGIN_PIXEL, 0)
        last = min(int(np.ceil(np.nanmax(axis))) + MARGIN_PIXEL, length - 1)
        if first > last:
            return None
        limits.append((first, last - first + 1))
    (x0, width), (y0, height) = limits
    return (y0, x0), (height, width)


class InputStack:
    """The inputs of a coadd and what the first pass finds out about them.

    Parameters
    ----------
    inputs : sequence of CoaddInput
    wcs, shape
        Of the frame.
    config : CoaddConfig
    """

    def __init__(
        self, inputs: Sequence[CoaddInput], wcs: WCS, shape: tuple[int, int], config: CoaddConfig
    ) -> None:
        self.inputs, self.wcs, self.shape, self.config = inputs, wcs, shape, config
        self.table = np.zeros(len(inputs), dtype=INPUT_DTYPE)
        self.table["name"] = [item.name for item in inputs]
        self._headers: dict[int, Exposure] = {}
        self._warps: dict[int, WarpedInput] = {}
        self._room = int(1e6 * config.stored_mbyte)

    def first_pass(self, add: Callable[[WarpedInput], None]) -> None:
        """Load and resample each input, note what it is, and hand it on if it can be used."""
        for index in range(len(self.inputs)):
            warped = warp_onto(self._load(index), self.wcs, self.shape)
            if self._note(index, warped) and warped is not None:
                add(warped)
            del warped  # before the next is loaded
        self._set_weights()

    def _load(self, index: int) -> Exposure:
        """Load an input and note whose it is."""
        exposure = self.inputs[index].load()
        require_calibrated(exposure, self.inputs[index].name)
        row = self.table[index]
        row["visit"], row["detector"] = exposure.info.visit, exposure.info.detector
        header = exposure.replace(image=_NOTHING, variance=_NOTHING, mask=_NOTHING.astype(np.uint32))
        require_one_band([*self._headers.values(), header])
        self._headers[index] = header
        return exposure

    def _note(self, index: int, warped: WarpedInput | None) -> bool:
        """Note the sky and the width of an input; tell whether it can be used."""
        row = self.table[index]
        if warped is None:
            row["reason"] = "no pixel on the tile"
            return False
        row["skyVariance"] = warped.sky_variance()
        if not np.isfinite(row["skyVariance"]):
            row["reason"] = "no pixel with a variance"
            return False
        row["fwhm_pixel"], row["used"] = warped.psf.fwhm_pixel(*warped.centre), True
        keeps = warped.n_bytes <= self._room
        self._room -= warped.n_bytes if keeps else 0
        self._warps[index] = warped if keeps else replace(warped, planes=_NO_PLANES)
        return True

    def _set_weights(self) -> None:
        """Inverse variance of the sky, and of the width if asked; of unit sum."""
        used = self.table["used"]
        rows = self.table[used]
        weight = 1.0 / (rows["skyVariance"] * rows["fwhm_pixel"] ** self.config.seeing_power)
        self.table["weight"][used] = weight / weight.sum()

    def second_pass(self, add: Callable[[int, WarpedInput], None]) -> None:
        """Resample each used input again, unless it was kept, and hand it on."""
        for index in np.flatnonzero(self.table["used"]).tolist():
            kept = self._warps[index]
            warped = kept if kept.n_bytes else warp_onto(self.inputs[index].load(), self.wcs, self.shape)
            self._warps[index] = kept = replace(kept, planes=_NO_PLANES)
            if warped is None:  # pragma: no cover - it had pixels in the first pass
                raise DataError(f"{self.inputs[index].name} has other pixels when it is read again")
            add(index, warped)
            del warped

    def psfs(self) -> list[Psf]:
        """PSF of each used input."""
        return [warped.psf for warped in self._warps.values()]

    def psf_differences(self) -> dict[int, float]:
        """Largest difference of each PSF from the median of them, in units of the peak of that."""
        stamps = [warped.psf.stamp(*warped.centre) for warped in self._warps.values()]
        size = max(stamp.shape[0] for stamp in stamps)
        stack = np.array([pad_stamp(stamp, size) for stamp in stamps])
        median = np.median(stack, axis=0)
        largest = np.abs(stack - median).max(axis=(1, 2)) / median.max()
        return dict(zip(self._warps, largest.tolist(), strict=True))

    def _mean(self, values: Sequence[float]) -> float:
        """Mean of a quantity of the used inputs, by their weights."""
        return float(np.dot(self.table["weight"][self.table["used"]], values))

    def noise_power(self) -> NDArray[np.float64]:
        """Spectrum of the noise: the mean of those of the inputs by what each adds to the variance."""
        rows = self.table[self.table["used"]]
        share = rows["weight"] ** 2 * rows["skyVariance"] * np.maximum(rows["nPixels"], 1)
        spectra = np.array([warped.noise_power for warped in self._warps.values()])
        power: NDArray[np.float64] = np.tensordot(share / share.sum(), spectra, axes=1)
        return power

    def _used(self) -> list[Exposure]:
        return [self._headers[index] for index in self._warps]

    def info(self) -> VisitInfo:
        """Tell what the coadd is: no visit of its own, the mean time and the whole exposure time."""
        infos = [header.info for header in self._used()]
        return replace(
            infos[0],
            visit=0,
            detector=0,
            midpoint_mjd_tai=self._mean([info.midpoint_mjd_tai for info in infos]),
            exposure_time_s=float(sum(info.exposure_time_s for info in infos)),
            row_time_s=0.0,
            zenith_distance_deg=None,
        )

    def gain(self) -> float:
        """Electrons per nJy: as many as give the photon noise of the weighted mean; 1 if not known.

        The variance that the light of a source adds is the sum of weight**2 / electrons over the inputs.
        """
        electrons = np.array([h.gain / float(h.metadata.get("NJYADU", np.nan)) for h in self._used()])
        per_electron = float(np.sum(self.table["weight"][self.table["used"]] ** 2 / electrons))
        return 1.0 / per_electron if np.isfinite(per_electron) and per_electron > 0 else 1.0

    def scale_error(self) -> float:
        """Relative error of the flux scale, of independent calibrations."""
        errors = [0.0 if h.photo_calib is None else h.photo_calib.njy_per_count_err for h in self._used()]
        return float(np.sqrt(np.sum((self.table["weight"][self.table["used"]] * errors) ** 2)))

    def metadata(self) -> dict[str, Any]:
        """Count the inputs, average the aperture corrections of their PSFs, and say what one count is."""
        corrections = [float(header.metadata.get("APCORR", 1.0)) for header in self._used()]
        scaled = all("NJYADU" in header.metadata for header in self._used())
        scale = {"NJYADU": 1.0} if scaled else {}
        return {"NINPUT": len(self._warps), "APCORR": self._mean(corrections), **scale}


_NOTHING = np.zeros((0, 0), dtype=np.float32)
_NO_PLANES: Planes = (_NOTHING, _NOTHING, _NOTHING.astype(np.uint32))
