"""The brighter-fatter effect: charge that has been collected pushes what follows into the neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import uniform_filter

FILL_PIXEL = 5  # side of the first square whose good pixels stand in for a bad one


@dataclass(frozen=True)
class BrighterFatter:
    """What moves the charge back.

    Parameters
    ----------
    change : float32 ndarray, shape (ny, nx)
        To be added to the image [e-].
    n_iterations : int
        Iterations made.
    last_change_electron : float
        Sum of the absolute changes of the last of them [e-].
    """

    change: NDArray[np.float32]
    n_iterations: int
    last_change_electron: float


def correct_brighter_fatter(
    electrons: NDArray[np.float32],
    kernel: NDArray[np.float64],
    *,
    bad: NDArray[np.bool_] | None = None,
    max_iterations: int = 10,
    threshold_electron: float = 1000.0,
) -> BrighterFatter:
    """Find where the charge would have been without charge before it.

    The light is ``I + div(I grad(K * I)) / 2``, that is ``I + (grad I . grad(K * I) + I lap(K * I)) / 2``,
    with the charge I and the kernel K, iterated since the right side is of the light
    itself (Coulton et al. 2018).

    Parameters
    ----------
    electrons : float32 ndarray, shape (ny, nx)
        Collected charge [e-], not flat-fielded.
    kernel : float64 ndarray, shape (k, k)
        Of odd size, its middle the pixel itself [1/e-].
    bad : bool ndarray, shape (ny, nx), optional
        Pixels whose charge is unknown; their neighbours stand in for them.
    max_iterations : int
        At most so many.
    threshold_electron : float
        Iterations end when the sum of the absolute changes is less than this [e-].

    Returns
    -------
    found : BrighterFatter

    Raises
    ------
    ValueError
        If the kernel is not square and of odd size, or larger than the image.
    """
    size = kernel.shape[0]
    if kernel.shape != (size, size) or size % 2 == 0 or size > min(electrons.shape):
        message = (
            f"a kernel must be square, of odd size and no larger than {electrons.shape}, found {kernel.shape}"
        )
        raise ValueError(message)
    charge = fill_from_neighbours(electrons, bad).astype(np.float64)
    convolve = _Convolution(kernel, charge.shape)
    light, change, last, iteration = charge, np.zeros_like(charge), np.inf, 0
    while iteration < max_iterations and last >= threshold_electron:
        change = _divergence(light, convolve(light))
        last = float(np.abs(charge + change - light).sum())
        light = charge + change
        iteration += 1
    return BrighterFatter(change.astype(np.float32), iteration, last)


def fill_from_neighbours(image: NDArray[np.float32], bad: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Give bad pixels the mean of the good ones in a square round them, as large as it takes.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        Values.
    bad : bool ndarray, shape (ny, nx), optional
        Which have none of their own; by default none.

    Returns
    -------
    filled : float32 ndarray, shape (ny, nx)
        Zero everywhere if no pixel is good.
    """
    if bad is None or not bad.any():
        return image
    filled = np.where(bad, np.float32(0.0), image)
    if bad.all():
        return filled
    known, weight, size = filled.astype(np.float64), (~bad).astype(np.float64), FILL_PIXEL
    left = bad.copy()
    while left.any():
        total, share = (uniform_filter(plane, size, mode="constant") for plane in (known, weight))
        found = left & (share > 0.5 / size**2)
        filled[found] = (total[found] / share[found]).astype(np.float32)
        left &= ~found
        size = 2 * size + 1
    return filled


class _Convolution:
    """Convolution of images of one shape with a kernel; the border is continued outward."""

    def __init__(self, kernel: NDArray[np.float64], shape: tuple[int, ...]) -> None:
        self.pad = kernel.shape[0] // 2
        self.shape = shape
        self.size = tuple(next_fast_len(n + 4 * self.pad, real=True) for n in shape)
        self.transform = rfft2(kernel, self.size)

    def __call__(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        padded = np.pad(image, self.pad, mode="edge")
        full = irfft2(rfft2(padded, self.size) * self.transform, self.size)
        ny, nx = self.shape
        found: NDArray[np.float64] = full[2 * self.pad : 2 * self.pad + ny, 2 * self.pad : 2 * self.pad + nx]
        return found


def _divergence(light: NDArray[np.float64], potential: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the divergence of light times the gradient of a potential; flows through the border are none.

    In differences over the edges of the pixels, so that what leaves one arrives in the next.
    """
    change = np.zeros_like(light)
    down = 0.25 * (light[1:] + light[:-1]) * np.diff(potential, axis=0)
    change[:-1] += down
    change[1:] -= down
    right = 0.25 * (light[:, 1:] + light[:, :-1]) * np.diff(potential, axis=1)
    change[:, :-1] += right
    change[:, 1:] -= right
    return change
