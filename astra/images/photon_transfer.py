"""Photon transfer: gain, read noise and turnoff of amplifiers from pairs of flats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import AlgorithmError, DataError
from astra.images.calibration import AmplifierResponse, Calibrations
from astra.images.exposure import MASK_BAD, MASK_NO_DATA, MASK_SAT
from astra.images.isr import CorrectedFrame, remove_signature
from astra.images.isr_config import IsrConfig
from astra.images.raw_image import FrameSource, RawImage
from astra.images.robust import SIGMA_PER_MAD

FloatArray = NDArray[np.float64]

CLIP_SIGMA = 3.0
N_BINS = 20
MAX_ORDER = 2
TURNOFF_SHARE = 0.9  # of the variance that the fit predicts: a point below is beyond the turnoff
_FIT_ITERATIONS = 5
_WELL_KNOWN = 0.01  # relative error of a slope below which it can be told from what else is fitted
_CLIPPED_STD = 0.98658  # standard deviation of a unit Gaussian cut at +-3
_COVARIANCE_SIGMA = 5.0  # a cut that leaves covariances as they are
_MIN_PIXELS = 100  # of a point, whose error is then 14 per cent


@dataclass(frozen=True)
class PhotonTransfer:
    """Variance against signal of one amplifier, and what follows.

    Parameters
    ----------
    response : AmplifierResponse
        Gain, read noise and turnoff.
    signal_adu, variance_adu2 : float64 ndarray, shape (n,)
        Points: median signal [adu] and variance of one flat [adu**2], read noise included.
    n_pixels : int64 ndarray, shape (n,)
        Pixels behind each point.
    used : bool ndarray, shape (n,)
        Points that the fit keeps.
    brighter_fatter : float
        Coefficient a of ``variance = signal / gain + a signal**2 + noise**2``: negative where charge spreads;
        zero where the points cannot tell.
    covariance : dict
        By lag (dy, dx): covariance of neighbours over the variance of a pixel, of the brightest pair.
    """

    response: AmplifierResponse
    signal_adu: FloatArray
    variance_adu2: FloatArray
    n_pixels: NDArray[np.int64]
    used: NDArray[np.bool_]
    brighter_fatter: float
    covariance: dict[tuple[int, int], float]


def measure_photon_transfer(
    pairs: Sequence[tuple[FrameSource, FrameSource]],
    *,
    config: IsrConfig | None = None,
    calibrations: Calibrations | None = None,
    n_bins: int = N_BINS,
    max_lag: int = 1,
    is_curved: bool = False,
) -> dict[str, PhotonTransfer]:
    """Measure the response of each amplifier from pairs of flats, each of equal illumination.

    The variance of the difference of the flats of a pair, in bins of their mean, is that of the photons and
    of the read noise; structure that both flats share drops out. One pair tells as many levels as its
    illumination has; several pairs of different exposures reach further.

    Parameters
    ----------
    pairs : sequence of pairs of RawImage, or of functions that read one
        Of one detector.
    config : IsrConfig, optional
        How overscans are measured; gains and flats are not used.
    calibrations : Calibrations, optional
        Bias and defects to use.
    n_bins : int
        Number of bins of a pair, with equally many pixels.
    max_lag : int
        Largest distance of pixels whose covariance is measured [pixel].
    is_curved : bool
        See `fit_photon_transfer`.

    Returns
    -------
    found : dict of str to PhotonTransfer
        By amplifier; those that are dead in any flat are left out.

    Raises
    ------
    DataError
        If there is no pair, or the flats are not of the same amplifiers.
    AlgorithmError
        If an amplifier has no signal above the read noise.
    """
    if not pairs:
        raise DataError("photon transfer needs a pair of flats, found none")
    known = calibrations or Calibrations()
    known = Calibrations(bias=known.bias, defects=known.defects)
    levels: dict[str, list[_PairLevel]] = {}
    for first, second in pairs:
        frames = [_in_own_adu(flat, config or IsrConfig(), known) for flat in (first, second)]
        for name, level in _measure_pair(frames[0], frames[1], n_bins, max_lag).items():
            levels.setdefault(name, []).append(level)
    return {
        name: _fit_levels(name, some, is_curved) for name, some in levels.items() if len(some) == len(pairs)
    }


@dataclass(frozen=True)
class _PairLevel:
    """What a pair of flats tells of one amplifier."""

    signal: FloatArray
    variance: FloatArray
    n_pixels: NDArray[np.int64]
    noise_adu: float
    covariance: dict[tuple[int, int], float]


def _measure_pair(
    first: CorrectedFrame, second: CorrectedFrame, n_bins: int, max_lag: int
) -> dict[str, _PairLevel]:
    """Measure each live amplifier of a pair."""
    names = [amplifier.name for amplifier in first.amplifiers]
    if names != [amplifier.name for amplifier in second.amplifiers]:
        raise DataError("the flats of a pair must be of one detector, found other amplifiers")
    found = {}
    for index, name in enumerate(names):
        if name in first.dead or name in second.dead:
            continue
        good = _good(first, second, index)
        a, b = (_section(frame, index).astype(np.float64) for frame in (first, second))
        noise = float(np.mean([frame.overscans[index].noise_adu for frame in (first, second)]))
        found[name] = _PairLevel(
            *_binned(a[good], b[good], n_bins),
            noise if np.isfinite(noise) else _nominal_noise(first, index),
            _covariances(a, b, good, max_lag),
        )
    return found


def _fit_levels(name: str, levels: Sequence[_PairLevel], is_curved: bool) -> PhotonTransfer:
    """Fit one amplifier to all pairs; covariances are those of the brightest of them."""
    found = fit_photon_transfer(
        np.concatenate([level.signal for level in levels]),
        np.concatenate([level.variance for level in levels]),
        np.concatenate([level.n_pixels for level in levels]),
        noise_adu=float(np.mean([level.noise_adu for level in levels])),
        is_curved=is_curved,
        name=name,
    )
    brightest = max(levels, key=lambda level: float(np.median(level.signal)) if level.signal.size else 0.0)
    return replace(found, covariance=brightest.covariance)


def fit_photon_transfer(
    signal_adu: FloatArray,
    variance_adu2: FloatArray,
    n_pixels: NDArray[np.int64],
    *,
    noise_adu: float,
    is_curved: bool = False,
    name: str = "",
) -> PhotonTransfer:
    """Fit gain and brighter-fatter coefficient to variances, with the read noise of the overscan.

    The points are weighted by the error of a variance, itself times ``sqrt(2 / n)``. Where the variance
    falls below what the fit predicts, the amplifier is full: that is the turnoff, and points beyond are
    not used.

    Parameters
    ----------
    signal_adu, variance_adu2 : float64 ndarray, shape (n,)
        Points [adu], [adu**2].
    n_pixels : int64 ndarray, shape (n,)
        Pixels behind each.
    noise_adu : float
        Read noise [adu].
    is_curved : bool
        Fit a quadratic term too, and keep it if it is found at 3 sigma. It takes flats of many levels: a
        lamp that changes its colour, or a few levels alone, bend the curve as well.
    name : str
        Of the amplifier, for errors.

    Returns
    -------
    found : PhotonTransfer
        Without covariances.

    Raises
    ------
    AlgorithmError
        If there is no signal above the read noise, or the variance does not grow with it.
    """
    photons = variance_adu2 - noise_adu**2
    usable = (signal_adu > noise_adu**2) & (signal_adu > 0) & (n_pixels >= _MIN_PIXELS)
    if not usable.any():
        message = f"amplifier {name}: the flats have no signal above the read noise of {noise_adu:.2f} adu"
        raise AlgorithmError(message, amplifier=name, noise_adu=noise_adu)
    # The faint half sets out: what is full is bright.
    faint = usable & (signal_adu <= np.median(signal_adu[usable]))
    predicted = signal_adu * float(np.median(photons[faint] / signal_adu[faint]))
    slope = error = curve = 0.0
    used, turnoff = usable, float("nan")
    for _ in range(_FIT_ITERATIONS):
        turnoff = _find_turnoff(signal_adu, photons, predicted, usable)
        used = usable & ~(signal_adu >= turnoff)
        if not used.any():
            break
        sigma = variance_adu2[used] * np.sqrt(2.0 / n_pixels[used])
        slope, error, curve = _fit_curve(signal_adu[used], photons[used], sigma, is_curved)
        predicted = slope * signal_adu + curve * signal_adu**2
    if not slope > 0:
        message = f"amplifier {name}: the variance of the flats does not grow with their signal"
        raise AlgorithmError(message, amplifier=name, slope=slope)
    gain = 1.0 / slope
    response = AmplifierResponse(gain, error * gain**2, noise_adu * gain, turnoff)
    return PhotonTransfer(response, signal_adu, variance_adu2, n_pixels, used, curve, {})


def measure_gain(
    first: NDArray[Any], second: NDArray[Any], *, noise_adu: float, n_bins: int = N_BINS
) -> float:
    """Measure a gain by photon transfer from two flats of equal illumination.

    Parameters
    ----------
    first, second : ndarray, shape (ny, nx)
        Signals without overscan [adu], of one amplifier.
    noise_adu : float
        Read noise [adu].
    n_bins : int
        Number of bins with equally many pixels.

    Returns
    -------
    gain : float
        [e-/adu]

    Raises
    ------
    ValueError
        If the flats differ in shape.
    AlgorithmError
        If they have no signal above the read noise.
    """
    if first.shape != second.shape:
        raise ValueError(f"two flats must have one shape, found {first.shape} and {second.shape}")
    a, b = (np.asarray(flat, dtype=np.float64).ravel() for flat in (first, second))
    return fit_photon_transfer(*_binned(a, b, n_bins), noise_adu=noise_adu).response.gain


def _in_own_adu(source: FrameSource, config: IsrConfig, calibrations: Calibrations) -> CorrectedFrame:
    """Remove overscan and bias, with each amplifier in its own adu."""
    raw = source if isinstance(source, RawImage) else source()
    return remove_signature(
        raw.pixels, raw.amplifiers, config=config, calibrations=calibrations, bad_pixels=raw.defects
    )


def _nominal_noise(frame: CorrectedFrame, index: int) -> float:
    amplifier = frame.amplifiers[index]
    return amplifier.read_noise / amplifier.gain


def _section(frame: CorrectedFrame, index: int) -> NDArray[np.float32]:
    return frame.image[frame.amplifiers[index].assembled]


def _good(first: CorrectedFrame, second: CorrectedFrame, index: int) -> NDArray[np.bool_]:
    place = first.amplifiers[index].assembled
    bits = first.mask[place] | second.mask[place]
    good: NDArray[np.bool_] = (bits & (MASK_BAD | MASK_SAT | MASK_NO_DATA)) == 0
    return good


def _binned(a: FloatArray, b: FloatArray, n_bins: int) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    if a.size == 0:
        return np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64)
    mean = 0.5 * (a + b)
    bins = [chosen for chosen in np.array_split(np.argsort(mean, kind="stable"), n_bins) if chosen.size]
    signal = np.array([np.median(mean[chosen]) for chosen in bins])
    variance = np.array([_difference_variance(a[chosen], b[chosen]) for chosen in bins])
    return signal, variance, np.array([chosen.size for chosen in bins], dtype=np.int64)


def _difference_variance(a: FloatArray, b: FloatArray) -> float:
    """Variance of one flat, from the difference to the other scaled to it; clipped."""
    level = float(np.median(b))
    difference = a - b * (float(np.median(a)) / level if level > 0 else 1.0)
    difference -= np.median(difference)
    sigma = SIGMA_PER_MAD * np.median(np.abs(difference))
    kept = difference[np.abs(difference) <= CLIP_SIGMA * sigma]
    return float(np.var(kept)) / _CLIPPED_STD**2 / 2.0


def _fit_curve(
    signal: FloatArray, photons: FloatArray, sigma: FloatArray, is_curved: bool
) -> tuple[float, float, float]:
    """Slope with its error, and the coefficient of the square of the signal where it is significant.

    Noise that the overscan does not have is left to a constant, if the signals are so far apart that it
    can be told from the slope.
    """
    constant = np.ones_like(signal)
    if is_curved and len(signal) > MAX_ORDER:
        (slope, curve), errors = _solve(np.stack([signal, signal**2]), photons, sigma)
        if abs(curve) > 3.0 * errors[1]:
            return float(slope), float(errors[0]), float(curve)
    if len(signal) > MAX_ORDER:
        (_, slope), errors = _solve(np.stack([constant, signal]), photons, sigma)
        if errors[1] < _WELL_KNOWN * slope:
            return float(slope), float(errors[1]), 0.0
    (slope,), (error,) = _solve(signal[None], photons, sigma)
    return float(slope), float(error), 0.0


def _solve(design: FloatArray, values: FloatArray, sigma: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted least squares: coefficients and their errors."""
    scale = np.abs(design).max(axis=1)
    scaled = design / scale[:, None] / sigma
    covariance = np.linalg.pinv(scaled @ scaled.T)
    return covariance @ (scaled @ (values / sigma)) / scale, np.sqrt(np.diag(covariance)) / scale


def _find_turnoff(
    signal: FloatArray, photons: FloatArray, predicted: FloatArray, usable: NDArray[np.bool_]
) -> float:
    """Signal from which on the variance stays below what is predicted; NaN if it never does."""
    order = np.argsort(signal)
    low = (photons < TURNOFF_SHARE * predicted)[order] & usable[order]
    if not low.any() or not low[-1]:
        return float("nan")
    last_good = np.flatnonzero(~low)
    first = int(last_good[-1]) + 1 if last_good.size else 0
    return float(signal[order][first])


def _covariances(
    a: FloatArray, b: FloatArray, good: NDArray[np.bool_], max_lag: int
) -> dict[tuple[int, int], float]:
    """Covariance of the differences of neighbours over their variance."""
    if not good.any():
        return {}
    level = float(np.median(b[good]))
    difference = a - b * (float(np.median(a[good])) / level if level > 0 else 1.0)
    difference -= np.median(difference[good])
    sigma = SIGMA_PER_MAD * np.median(np.abs(difference[good]))
    kept = good & (np.abs(difference) <= _COVARIANCE_SIGMA * sigma)
    variance = float(np.mean(difference[kept] ** 2))
    found = {}
    for dy in range(max_lag + 1):
        for dx in range(max_lag + 1):
            ny, nx = difference.shape[0] - dy, difference.shape[1] - dx
            both = kept[:ny, :nx] & kept[dy:, dx:]
            if (dy, dx) != (0, 0) and both.any() and variance > 0:
                product = difference[:ny, :nx] * difference[dy:, dx:]
                found[dy, dx] = float(np.mean(product[both])) / variance
    return found
