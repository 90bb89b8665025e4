"""What the simulated detectors add to what falls on them: bias structure, dark current, uneven response.

The signature belongs to the device: it is the same in every night and for every seed of the sky.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from astra.images.assembly import oriented
from astra.instruments import simcam
from astra.instruments.simcam import SimulatedCamera

_SEED = 20260101
DARK_RATE = 0.06  # mean of good pixels [e-/s]
HOT_FRACTION = 0.001
VIGNETTING = 0.25  # loss of light at the corner of the focal plane
PIXEL_RESPONSE_SIGMA = 0.01
BIAS_GLOW_ADU = 6.0  # bias of the first columns that are read
N_DUST_SHADOWS = 6
_SHADOW_PIXEL = 30  # beyond it nothing of a shadow is left


@dataclass(frozen=True)
class Signature:
    """Signature of one detector, for its assembled image.

    Parameters
    ----------
    bias_adu : float64 ndarray, shape (ny, nx)
        Structure of the bias on top of its level [adu].
    dark_rate : float64 ndarray, shape (ny, nx)
        Dark current [e-/s].
    response : float64 ndarray, shape (ny, nx)
        Response to light relative to that of a perfect pixel on the optical axis.
    nonlinearity : float
        A signal s without it is measured as ``s - nonlinearity * s**2`` [1/adu].
    crosstalk : float64 ndarray, shape (4, 4), optional
        Part of the signal [adu] of the amplifier of a column that the one of a row shows too.
    """

    bias_adu: NDArray[np.float64]
    dark_rate: NDArray[np.float64]
    response: NDArray[np.float64]
    nonlinearity: float = 0.0
    crosstalk: NDArray[np.float64] | None = None


def make_signature(
    detector: int,
    *,
    nonlinearity: float = 0.0,
    crosstalk: NDArray[np.float64] | None = None,
    camera: SimulatedCamera = simcam.SMALL,
) -> Signature:
    """Make the signature of a detector.

    Parameters
    ----------
    detector : int
        Which detector.
    nonlinearity : float, optional
        As in `Signature` [1/adu].
    crosstalk : float64 ndarray, shape (4, 4), optional
        As in `Signature`.
    camera : SimulatedCamera, optional
        Of which camera.
    """
    rng = np.random.default_rng([_SEED, detector])
    return Signature(
        bias_adu=_make_bias(rng, camera),
        dark_rate=_make_dark(rng, camera.shape),
        response=_make_response(rng, detector, camera),
        nonlinearity=nonlinearity,
        crosstalk=crosstalk,
    )


def _make_bias(rng: np.random.Generator, camera: SimulatedCamera) -> NDArray[np.float64]:
    """Columns of fixed pattern, and a glow where each amplifier begins to read."""
    bias = np.zeros(camera.shape)
    for sections in camera.sections:
        place = oriented(bias[sections.assembled.slices], sections.assembled.corner)
        n_columns = place.shape[1]
        place += rng.normal(0.0, 1.5, n_columns) + BIAS_GLOW_ADU * np.exp(-np.arange(n_columns) / 25.0)
    return bias


def _make_dark(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Dark current that varies by a fifth, and hot pixels [e-/s]."""
    dark = DARK_RATE * np.clip(rng.normal(1.0, 0.2, shape), 0.2, None)
    hot = rng.random(shape) < HOT_FRACTION
    dark[hot] += rng.exponential(20.0, int(hot.sum()))
    return dark


def _make_response(rng: np.random.Generator, detector: int, camera: SimulatedCamera) -> NDArray[np.float64]:
    """Vignetting by the distance from the optical axis, pixel response and the shadows of dust."""
    rows, columns = np.indices(camera.shape, dtype=np.float64)
    plane = camera.camera.focal_plane
    if plane is None:
        raise ValueError("the simulated camera has no focal plane")
    x_mm, y_mm = plane.position_mm(columns, rows, camera.camera.detector(detector))
    response: NDArray[np.float64] = 1.0 - VIGNETTING * (x_mm**2 + y_mm**2) / camera.corner_mm2
    response *= rng.normal(1.0, PIXEL_RESPONSE_SIGMA, rows.shape)
    n_rows, n_columns = camera.shape
    for _ in range(N_DUST_SHADOWS):
        x, y = rng.uniform(0, n_columns), rng.uniform(0, n_rows)
        near = tuple(slice(max(int(at) - _SHADOW_PIXEL, 0), int(at) + _SHADOW_PIXEL) for at in (y, x))
        radius = np.hypot(columns[near] - x, rows[near] - y)
        ring = (radius < 18.0) & (radius > 6.0)
        response[near] *= 1.0 - rng.uniform(0.03, 0.08) * gaussian_filter(ring.astype(np.float64), 1.5)
    return response
