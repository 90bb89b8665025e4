"""Sources put into calibrated exposures: point sources and trails with the local PSF and photon noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled
from astra.errors import DataError
from astra.images.exposure import (
    MASK_INJECTED,
    MASK_INJECTED_CORE,
    MASK_INJECTED_CORE_TEMPLATE,
    MASK_INJECTED_TEMPLATE,
    Exposure,
)
from astra.images.stamps import psf_stamps

INJECTION_DTYPE = np.dtype(
    [
        ("injectionId", "i8"),
        *((name, "f8") for name in ("x", "y", "ra", "dec", "flux", "snr")),
        ("hostId", "i8"),
        *((name, "f8") for name in ("hostOffset", "trailLength", "trailAngle")),
        ("isNegative", "?"),
    ]
)

INJECTED_PLANES = MASK_INJECTED | MASK_INJECTED_TEMPLATE | MASK_INJECTED_CORE | MASK_INJECTED_CORE_TEMPLATE
INJECTED_FLAGS = tuple(
    f"pixelFlags_{name}{where}" for name in ("injected", "injected_template") for where in ("", "Center")
)
COUNT_KEY = "NINJECT"

HALF_WIDTH_PER_FWHM = 4.0
CORE_HALF_WIDTH = 1  # the core of an injected source: 3 x 3 pixels
FOOTPRINT_FRACTION = 0.01  # of its brightest pixel: what is fainter is not marked
TRAIL_STEP_PIXEL = 0.5  # between the points that make a trail
POINTS_AT_ONCE = 2000  # stamps in memory


def inject_sources(
    exposure: Exposure,
    injections: NDArray[np.void],
    rng: np.random.Generator,
    *,
    into_template: bool = False,
) -> Exposure:
    """Add sources to an exposure, with the photon noise of their light.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        Calibrated [nJy], with PSF.
    injections : structured ndarray, shape (n,), dtype `INJECTION_DTYPE`
        What is added: ``flux`` [nJy], the total of a trail, at ``x``, ``y`` [pixel]; ``trailLength`` [pixel]
        along ``trailAngle`` [deg] from the x axis to the y axis. What is off the image adds nothing.
    rng : numpy.random.Generator
        Draws the photons.
    into_template : bool, optional
        Whether the exposure is a template: its mask planes are then those of templates.

    Returns
    -------
    injected : Exposure
        Image and variance with the sources; INJECTED where they have light, INJECTED_CORE at their centres.
        The exposure itself if there is nothing to inject.

    Raises
    ------
    DataError
        If the exposure is not in nJy, or its gain is not known.
    ValueError
        If it has no PSF.
    """
    if len(injections) == 0:
        return exposure
    if exposure.psf is None:
        raise ValueError("sources cannot be injected into an exposure without a PSF")
    electrons = electrons_per_njy(exposure)
    n_injected = len(injections) + int(exposure.metadata.get(COUNT_KEY, 0))
    signal, footprint = render_sources(exposure, injections)
    lit = np.flatnonzero(signal != 0)  # of bools: four times as fast as of numbers
    expected = np.maximum(signal.ravel()[lit].astype(float), 0.0) * electrons
    noise = (rng.poisson(expected) - expected) / electrons
    image, variance = exposure.image.copy(), exposure.variance.copy()
    image.ravel()[lit] += (signal.ravel()[lit] + noise).astype(np.float32)
    variance.ravel()[lit] += (expected / electrons**2).astype(np.float32)
    return exposure.replace(
        image=image,
        variance=variance,
        mask=_mark(exposure.mask, lit[footprint.ravel()[lit]], injections, into_template=into_template),
        metadata={**exposure.metadata, COUNT_KEY: n_injected},
    )


def electrons_per_njy(exposure: Exposure) -> float:
    """Electrons of a flux of 1 nJy [e-/nJy].

    Raises
    ------
    DataError
        If the exposure is not in nJy, or does not say what one count is.
    """
    scale = float(exposure.metadata.get("NJYADU", np.nan))
    electrons = exposure.gain / scale if scale != 0.0 else np.nan
    if exposure.unit != "nJy" or not (np.isfinite(electrons) and electrons > 0):
        message = (
            f"sources are injected into a calibrated exposure with a gain [e-/adu] and NJYADU [nJy/adu]; "
            f"visit {exposure.info.visit}, detector {exposure.info.detector} is in {exposure.unit} with gain "
            f"{exposure.gain:g} and NJYADU {scale:g}"
        )
        raise DataError(message, visit=exposure.info.visit, detector=exposure.info.detector)
    return electrons


def refuse_injected(*exposures: Exposure, detections: NDArray[np.void] | None = None) -> None:
    """Refuse exposures and detections with injected sources: for all that makes templates, rows or alerts.

    Parameters
    ----------
    *exposures : Exposure
        Judged by their record and, as that may get lost, by their masks.
    detections : structured ndarray, optional
        Judged by those of their flags that tell of injected light.

    Raises
    ------
    DataError
        If there are any.
    """
    for exposure in exposures:
        n_injected = int(exposure.metadata.get(COUNT_KEY, 0))
        if n_injected or np.bitwise_or.reduce(exposure.mask, axis=None) & INJECTED_PLANES:
            place = f"visit {exposure.info.visit}, detector {exposure.info.detector}"
            _refuse(f"{place} has {n_injected or 'some'} injected sources")
    flags = [] if detections is None else [detections[name] for name in _flags_of(detections)]
    if flags and np.any(flags):
        _refuse(f"{int(np.sum(np.any(flags, axis=0)))} of {len(flags[0])} detections are on injected sources")


def _flags_of(detections: NDArray[np.void]) -> list[str]:
    return [name for name in INJECTED_FLAGS if name in (detections.dtype.names or ())]


def _refuse(what: str) -> None:
    raise DataError(f"{what}, which must not get into templates, the tables of the survey or its alerts")


def render_sources(
    exposure: Exposure, injections: NDArray[np.void]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Draw sources without noise.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        Gives frame, PSF and aperture correction (``APCORR``): the flux of a source is what the calibration
        means by it, the PSF holds a part of that.
    injections : structured ndarray, dtype `INJECTION_DTYPE`

    Returns
    -------
    signal : float32 ndarray, shape (ny, nx)
        [nJy per pixel].
    footprint : bool ndarray, shape (ny, nx)
        Where a source has at least a hundredth of its brightest pixel.
    """
    psf, (ny, nx) = exposure.psf, exposure.shape
    if psf is None:  # pragma: no cover - refused by the caller
        raise ValueError("sources cannot be drawn without a PSF")
    half = min(int(np.ceil(HALF_WIDTH_PER_FWHM * psf.fwhm_pixel(nx / 2, ny / 2))), psf.size // 2)
    points = _points(injections)
    reach = float(half)
    near = (points[:, 0] > -reach) & (points[:, 0] < nx + reach)
    near &= (points[:, 1] > -reach) & (points[:, 1] < ny + reach)
    points = points[near]
    signal, footprint = np.zeros((ny, nx), np.float32), np.zeros((ny, nx), dtype=bool)
    factor = 1.0 / float(exposure.metadata.get("APCORR", 1.0))
    for start in range(0, len(points), POINTS_AT_ONCE):
        x, y, flux = points[start : start + POINTS_AT_ONCE].T.copy()
        stamps = psf_stamps(psf, x, y, 2 * half + 1)
        _add_stamps(stamps, np.rint(x), np.rint(y), factor * flux, FOOTPRINT_FRACTION, signal, footprint)
    return signal, footprint


def _points(injections: NDArray[np.void]) -> NDArray[np.float64]:
    """Point sources x, y [pixel], flux [nJy] that make up the injections, shape (n_points, 3)."""
    length = np.nan_to_num(injections["trailLength"])
    n_points = np.where(length > 0, np.ceil(length / TRAIL_STEP_PIXEL) + 1, 1).astype(np.int64)
    row = np.repeat(np.arange(len(injections)), n_points)
    rank = np.arange(len(row)) - np.repeat(np.cumsum(n_points) - n_points, n_points)
    # Midpoints of equal pieces: the sum of the points is the integral along the trail.
    along = length[row] * ((rank + 0.5) / n_points[row] - 0.5)
    angle = np.radians(np.nan_to_num(injections["trailAngle"]))[row]
    x, y = injections["x"][row] + along * np.cos(angle), injections["y"][row] + along * np.sin(angle)
    return np.stack([x, y, injections["flux"][row] / n_points[row]], axis=-1)


@compiled
def _add_stamps(stamps, columns, rows, flux, fraction, signal, footprint):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Add stamps (n, size, size) times a flux at pixels of an image; mark where they are bright."""
    ny, nx = signal.shape
    size = stamps.shape[1]
    for k in range(len(stamps)):
        top, left = int(rows[k]) - size // 2, int(columns[k]) - size // 2
        limit = fraction * stamps[k].max()
        for j in range(max(0, -top), min(size, ny - top)):
            for i in range(max(0, -left), min(size, nx - left)):
                signal[top + j, left + i] += flux[k] * stamps[k, j, i]
                if stamps[k, j, i] >= limit:
                    footprint[top + j, left + i] = True


def _mark(
    mask: NDArray[np.uint32], bright: NDArray[np.int64], injections: NDArray[Any], *, into_template: bool
) -> NDArray[np.uint32]:
    """Set the planes of injected light, at flat indices, and of the centres of injected sources."""
    light = MASK_INJECTED_TEMPLATE if into_template else MASK_INJECTED
    core = MASK_INJECTED_CORE_TEMPLATE if into_template else MASK_INJECTED_CORE
    out = mask.astype(np.uint32)
    out.ravel()[bright] |= light
    ny, nx = mask.shape
    for x, y in zip(np.rint(injections["x"]), np.rint(injections["y"]), strict=True):
        if -CORE_HALF_WIDTH <= x < nx + CORE_HALF_WIDTH and -CORE_HALF_WIDTH <= y < ny + CORE_HALF_WIDTH:
            rows = slice(max(int(y) - CORE_HALF_WIDTH, 0), int(y) + CORE_HALF_WIDTH + 1)
            out[rows, max(int(x) - CORE_HALF_WIDTH, 0) : int(x) + CORE_HALF_WIDTH + 1] |= core
    return out
