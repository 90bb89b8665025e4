"""The in-memory exposure: image, variance, mask and what calibrates them.

Values only: reading and writing live in `astra.products`, cameras in `astra.instruments`.
Pixel coordinates are 0-based, the centre of the first pixel is (0, 0); arrays are indexed ``[y, x]``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import DataError

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from astra.images.psf import Psf

SECONDS_PER_DAY = 86400.0
NJY_AB_ZERO_POINT_MAG = 31.4  # AB magnitude of 1 nJy, rounded as in the Rubin data products


class MaskPlane(IntFlag):
    """Bits of the mask plane; the names are those of the LSST stack, and the first eleven its places too.

    SPIKE, NOT_DEBLENDED and SENSOR_EDGE are read, kept and told of detections, but nothing here sets them:
    spikes are SUSPECT with the footprint of their star, every blend is split, and coadds reject what is EDGE.
    """

    BAD = 1 << 0
    SAT = 1 << 1
    INTRP = 1 << 2
    CR = 1 << 3
    EDGE = 1 << 4
    DETECTED = 1 << 5
    DETECTED_NEGATIVE = 1 << 6
    SUSPECT = 1 << 7
    NO_DATA = 1 << 8
    VIGNETTED = 1 << 9
    STREAK = 1 << 10
    SAT_TEMPLATE = 1 << 11
    CROSSTALK = 1 << 12
    UNMASKEDNAN = 1 << 13
    SPIKE = 1 << 14
    NOT_DEBLENDED = 1 << 15
    SENSOR_EDGE = 1 << 16
    HIGH_VARIANCE = 1 << 17
    INJECTED = 1 << 18
    INJECTED_TEMPLATE = 1 << 19
    INJECTED_CORE = 1 << 20
    INJECTED_CORE_TEMPLATE = 1 << 21
    CLIPPED = 1 << 22
    REJECTED = 1 << 23
    INEXACT_PSF = 1 << 24


# uint32 scalars: an IntFlag would turn every mask expression into int64.
MASK_BAD = np.uint32(MaskPlane.BAD)
MASK_SAT = np.uint32(MaskPlane.SAT)
MASK_INTRP = np.uint32(MaskPlane.INTRP)
MASK_CR = np.uint32(MaskPlane.CR)
MASK_EDGE = np.uint32(MaskPlane.EDGE)
MASK_DETECTED = np.uint32(MaskPlane.DETECTED)
MASK_DETECTED_NEGATIVE = np.uint32(MaskPlane.DETECTED_NEGATIVE)
MASK_SUSPECT = np.uint32(MaskPlane.SUSPECT)
MASK_NO_DATA = np.uint32(MaskPlane.NO_DATA)
MASK_VIGNETTED = np.uint32(MaskPlane.VIGNETTED)
MASK_STREAK = np.uint32(MaskPlane.STREAK)
MASK_SAT_TEMPLATE = np.uint32(MaskPlane.SAT_TEMPLATE)
MASK_CROSSTALK = np.uint32(MaskPlane.CROSSTALK)
MASK_UNMASKEDNAN = np.uint32(MaskPlane.UNMASKEDNAN)
MASK_SPIKE = np.uint32(MaskPlane.SPIKE)
MASK_NOT_DEBLENDED = np.uint32(MaskPlane.NOT_DEBLENDED)
MASK_SENSOR_EDGE = np.uint32(MaskPlane.SENSOR_EDGE)
MASK_HIGH_VARIANCE = np.uint32(MaskPlane.HIGH_VARIANCE)
MASK_INJECTED = np.uint32(MaskPlane.INJECTED)
MASK_INJECTED_TEMPLATE = np.uint32(MaskPlane.INJECTED_TEMPLATE)
MASK_INJECTED_CORE = np.uint32(MaskPlane.INJECTED_CORE)
MASK_INJECTED_CORE_TEMPLATE = np.uint32(MaskPlane.INJECTED_CORE_TEMPLATE)
MASK_CLIPPED = np.uint32(MaskPlane.CLIPPED)
MASK_REJECTED = np.uint32(MaskPlane.REJECTED)
MASK_INEXACT_PSF = np.uint32(MaskPlane.INEXACT_PSF)


def mask_bits(names: Sequence[str]) -> np.uint32:
    """Bits of mask planes by name; ValueError if there is no such plane."""
    bits = np.uint32(0)
    for name in names:
        if name not in MaskPlane.__members__:
            message = f"{name!r} is no mask plane; there are {', '.join(MaskPlane.__members__)}"
            raise ValueError(message)
        bits |= np.uint32(MaskPlane[name])
    return bits


@dataclass(frozen=True)
class VisitInfo:
    """Which exposure this is, and when it was taken.

    Parameters
    ----------
    instrument : str
        Camera name, as in `astra.instruments`.
    visit, detector : int
        Identifiers of the shot and of the CCD.
    band : str
        One of ``ugrizy``.
    physical_filter : str
        The glass.
    midpoint_mjd_tai : float
        Middle of the exposure at the central row [d, MJD TAI].
    exposure_time_s : float
        Open-shutter time [s].
    row_time_s : float
        Time between the exposures of neighbouring rows [s]: 0 for a shuttered camera, not for a drift scan.
    zenith_distance_deg : float, optional
        Of the pointing [deg]; None if it is not known.
    """

    instrument: str
    visit: int
    detector: int
    band: str
    physical_filter: str
    midpoint_mjd_tai: float
    exposure_time_s: float
    row_time_s: float = 0.0
    zenith_distance_deg: float | None = None


@dataclass(frozen=True)
class PhotoCalib:
    """Flux scale of an image.

    Parameters
    ----------
    njy_per_count : float
        Flux of one image count [nJy / image unit]; 1 for an image that is in nJy already.
    njy_per_count_err : float
        1-sigma uncertainty of the scale [nJy / image unit].
    """

    njy_per_count: float = 1.0
    njy_per_count_err: float = 0.0


@dataclass(frozen=True)
class Exposure:
    """An image with variance, mask, calibration and history.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        Counts [adu], or [nJy] once calibrated (``unit`` says which).
    variance : float32 ndarray, shape (ny, nx)
        Variance of ``image`` [unit**2].
    mask : uint32 ndarray, shape (ny, nx)
        Bits of `MaskPlane`.
    info : VisitInfo
        Which exposure this is.
    unit : {"adu", "nJy"}
        Unit of ``image``.
    gain : float
        Electrons per adu [e-/adu] of the raw image.
    wcs : astropy.wcs.WCS, optional
        Pixel (0-based, ``origin=0``) to ICRS [deg].
    psf : Psf, optional
        Point-spread function as a function of position.
    photo_calib : PhotoCalib, optional
        Flux scale; None before calibration.
    metadata : dict
        What was done to it: FITS-like keys (at most 8 capitals) to str, int, float or bool.
    noise_power : float64 ndarray, shape (64, 64), optional
        Power spectrum of the noise relative to white noise of ``variance``, in the order of
        ``numpy.fft.fft2`` and 1 at zero frequency: what interpolation has made of it. None: white.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint32]
    info: VisitInfo
    unit: str = "adu"
    gain: float = 1.0
    wcs: WCS | None = None
    psf: Psf | None = None
    photo_calib: PhotoCalib | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    noise_power: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not (self.image.shape == self.variance.shape == self.mask.shape) or self.image.ndim != 2:
            message = (
                f"image, variance and mask must be 2-d and of one shape, found {self.image.shape}, "
                f"{self.variance.shape} and {self.mask.shape}"
            )
            raise ValueError(message)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns (ny, nx) [pixel]."""
        return self.image.shape[0], self.image.shape[1]

    def copy(self) -> Exposure:
        """Return a copy whose planes may be changed."""
        return self.replace(image=self.image.copy(), variance=self.variance.copy(), mask=self.mask.copy())

    def replace(self, **changes: Any) -> Exposure:
        """Return a copy with some fields changed; arrays that are not named are shared."""
        return dataclasses.replace(self, **changes)

    def midpoint_mjd_tai_at(self, y: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
        """Middle of the exposure at row ``y`` [d, MJD TAI]; the same for all rows of a shuttered camera."""
        central = (self.image.shape[0] - 1) / 2
        midpoint: float | NDArray[np.float64] = (
            self.info.midpoint_mjd_tai + (y - central) * self.info.row_time_s / SECONDS_PER_DAY
        )
        return midpoint


def require_one_band(exposures: Sequence[Exposure]) -> None:
    """Refuse to combine exposures of different bands.

    Raises
    ------
    DataError
        If there is more than one band; the message names the visits.
    """
    if len({exposure.info.band for exposure in exposures}) > 1:
        found = ", ".join(f"visit {e.info.visit} in {e.info.band}" for e in exposures)
        message = f"only images of one band can be combined, found {found}; name visits of one band"
        raise DataError(message, bands=[exposure.info.band for exposure in exposures])


def magnitude_ab(flux_njy: NDArray[np.float64] | float) -> Any:
    """AB magnitude of a flux [nJy], for display; NaN where the flux is not positive."""
    flux = np.asarray(flux_njy, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitude = NJY_AB_ZERO_POINT_MAG - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))
    return magnitude[()]
