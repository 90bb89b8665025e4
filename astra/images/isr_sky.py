"""Steps that need the whole corrected image: charge moved back, and fringes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from astra.errors import TooFewSourcesError
from astra.images.amplifier import Amplifier
from astra.images.brighter_fatter import correct_brighter_fatter
from astra.images.exposure import MASK_BAD, MASK_EDGE, MASK_NO_DATA, MASK_SAT, MASK_UNMASKEDNAN
from astra.images.fringe import fit_fringes
from astra.images.isr_kernel import SMALLEST_FLAT
from astra.images.isr_pass import Planes, Settings, flat_factors, gain_change
from astra.images.masks import grow_square

_UNKNOWN = MASK_BAD | MASK_SAT | MASK_NO_DATA | MASK_UNMASKEDNAN
_SPREAD_PIXEL = 2  # unknown charge counts as unknown so far round it


def move_charge_back(planes: Planes, amplifiers: Sequence[Amplifier], settings: Settings) -> dict[str, float]:
    """Undo the brighter-fatter effect in an image that is flat-fielded already, in place.

    Parameters
    ----------
    planes : Planes
        Image and variance are changed; the border, where the kernel reaches out of the image, is marked.
    amplifiers : sequence of Amplifier
        All those of the frame.
    settings : Settings
        With the kernel; without one nothing is done.

    Returns
    -------
    figures : dict of str to float
        Iterations, and the sum of what was moved [e-].
    """
    kernel, gain = settings.calibrations.brighter_fatter, settings.reference_gain
    if kernel is None:
        return {}
    if gain is None:
        raise ValueError("the brighter-fatter kernel is of electrons: it needs a reference gain of the image")
    response, dark = _response(planes, amplifiers, settings), _dark(planes, amplifiers, settings)
    charge = planes.image * response * np.float32(gain)
    unknown = grow_square((planes.mask & _UNKNOWN) != 0, _SPREAD_PIXEL)
    found = correct_brighter_fatter(
        charge,
        kernel,
        bad=unknown,
        max_iterations=settings.config.brighter_fatter_iterations,
        threshold_electron=settings.config.brighter_fatter_threshold_electron,
    )
    change = found.change / np.float32(gain)
    _add_photons(planes, change, planes.image * response + dark, response, gain)
    planes.image[:] += change / response
    width = kernel.shape[0] // 2
    for margin in (np.s_[:width], np.s_[-width:], np.s_[:, :width], np.s_[:, -width:]):
        planes.mask[margin] |= MASK_EDGE
    return {
        "bf_iterations": float(found.n_iterations),
        "bf_moved_electron": float(np.abs(found.change).sum() / 2),
    }


def _add_photons(
    planes: Planes,
    change: NDArray[np.float32],
    collected: NDArray[np.float32],
    response: NDArray[np.float32],
    gain: float,
) -> None:
    """Let the photon noise follow the charge [adu]."""
    before, after = np.maximum(collected, 0), np.maximum(collected + change, 0)
    planes.variance[:] += (after - before) / np.float32(gain) / response**2


def _response(planes: Planes, amplifiers: Sequence[Amplifier], settings: Settings) -> NDArray[np.float32]:
    """Flat by which the image was divided, shape (ny, nx)."""
    response = np.ones_like(planes.image)
    flat = settings.calibrations.flat
    if flat is not None:
        factors = flat_factors(amplifiers, settings)
        for amplifier in amplifiers:
            factor = np.float32(factors[amplifier.name])
            response[amplifier.assembled] = flat.image[amplifier.assembled] * factor
    return np.where(response > SMALLEST_FLAT, response, np.float32(1.0))


def _dark(planes: Planes, amplifiers: Sequence[Amplifier], settings: Settings) -> NDArray[np.float32]:
    """Dark signal that was subtracted [adu], shape (ny, nx)."""
    signal = np.zeros_like(planes.image)
    dark = settings.calibrations.dark
    if dark is not None:
        for amplifier in amplifiers:
            factor = gain_change(dark, amplifier) * dark.gain / settings.gain_of_result(amplifier)
            signal[amplifier.assembled] = dark.image[amplifier.assembled] * np.float32(
                factor * settings.dark_time_s
            )
    return np.nan_to_num(signal, copy=False)


def subtract_fringes(planes: Planes, settings: Settings) -> dict[str, float]:
    """Subtract the fringe frame with the amplitude that it has in the image, in place.

    Parameters
    ----------
    planes : Planes
        The image is changed.
    settings : Settings
        With the fringe frame; without one nothing is done.

    Returns
    -------
    figures : dict of str to float
        The amplitude and its error; empty if too little of the image is usable, and nothing was subtracted.
    """
    fringe = settings.calibrations.fringe
    if fringe is None:
        return {}
    try:
        fit = fit_fringes(planes.image, fringe.image, (planes.mask & _UNKNOWN) != 0)
    except TooFewSourcesError:
        return {}
    planes.image[:] -= np.float32(fit.amplitude) * fringe.image
    return {"fringe_amplitude": fit.amplitude, "fringe_amplitude_err": fit.amplitude_err}
