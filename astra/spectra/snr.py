"""Signal-to-noise ratio per pixel of spectra, ours and the reduction's own.

Ours is the median of flux / error over the good pixels. The APOGEE reduction takes all pixels, and of two
middle values the upper one, as IDL's MEDIAN does: that reproduces its headers to their last digit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def signal_to_noise(
    flux: NDArray[np.float64], ivar: NDArray[np.float64], bad: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return the median signal-to-noise ratio of the good pixels of each spectrum.

    Parameters
    ----------
    flux, ivar : float64 ndarray, shape (n_rows, n_pixels)
        Flux, and its inverse variance in the inverse square of that unit; 0 or less means no measurement.
    bad : bool ndarray, shape (n_rows, n_pixels), optional
        Pixels to leave out.

    Returns
    -------
    snr : float64 ndarray, shape (n_rows,)
        Per pixel; NaN where no pixel is good.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    good = good_pixels(flux, ivar, bad)
    ratio = flux * np.sqrt(np.where(good, ivar, 0.0))
    return np.array(
        [np.median(row[use]) if use.any() else np.nan for row, use in zip(ratio, good, strict=True)]
    )


def chip_signal_to_noise(
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    bad: NDArray[np.bool_] | None,
    chip: NDArray[np.integer],
    n_chips: int = 3,
) -> NDArray[np.float64]:
    """Return the median signal-to-noise ratio of the good pixels of each spectrum in each chip.

    Parameters
    ----------
    flux, ivar, bad : ndarray, shape (n_rows, n_pixels)
        As for `signal_to_noise`.
    chip : integer ndarray, shape (n_pixels,)
        Index of the chip of each pixel, from 0.
    n_chips : int, optional
        Number of chips.

    Returns
    -------
    snr : float64 ndarray, shape (n_rows, n_chips)
        Per pixel; NaN where no pixel is good.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    good = good_pixels(flux, ivar, bad)
    columns = [signal_to_noise(flux, ivar, ~(good & (chip == number))) for number in range(n_chips)]
    return np.stack(columns, axis=1)


def reduction_signal_to_noise(
    flux: NDArray[np.float64], ivar: NDArray[np.float64], included: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return the signal-to-noise ratio as the APOGEE reduction defines it.

    Parameters
    ----------
    flux, ivar : float64 ndarray, shape (n_rows, n_pixels)
        As for `signal_to_noise`.
    included : bool ndarray, shape (n_rows, n_pixels) or (n_pixels,), optional
        Pixels that count, good or bad: those of the green chip for a visit, all that are not NaN for the
        spectrum of a star.

    Returns
    -------
    snr : float64 ndarray, shape (n_rows,)
        Per pixel; NaN where no pixel is included.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    good_pixels(flux, ivar, None)
    use = np.broadcast_to(True if included is None else included, flux.shape)
    ratio = flux * np.sqrt(np.clip(ivar, 0.0, None))
    return np.array([_upper_median(row[chosen]) for row, chosen in zip(ratio, use, strict=True)])


def good_pixels(
    flux: NDArray[np.float64], ivar: NDArray[np.float64], bad: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """Return which pixels have a measurement and are not bad.

    Parameters
    ----------
    flux, ivar, bad : ndarray, shape (n_rows, n_pixels)
        As for `signal_to_noise`.

    Returns
    -------
    good : bool ndarray, shape (n_rows, n_pixels)
        True where the pixel counts.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    shapes = [array.shape for array in (flux, ivar, bad) if array is not None]
    if flux.ndim != 2 or any(shape != flux.shape for shape in shapes):
        message = f"flux, ivar and bad must have one shape (n_rows, n_pixels), not {shapes}"
        raise ValueError(message)
    good: NDArray[np.bool_] = (ivar > 0) & np.isfinite(flux)
    return good if bad is None else good & ~bad


def _upper_median(values: NDArray[np.float64]) -> float:
    """Return the median, of an even number the upper of the two in the middle."""
    return float(np.partition(values, values.size // 2)[values.size // 2]) if values.size else np.nan
