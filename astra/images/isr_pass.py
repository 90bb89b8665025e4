"""What the pass over the pixels needs of amplifiers and calibrations: levels, scales and places as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import DataError
from astra.images.amplifier import Amplifier
from astra.images.assembly import bands_of, oriented, place_of
from astra.images.calibration import Calibration, Calibrations, Crosstalk
from astra.images.crosstalk import mark_crosstalk, subtract_crosstalk
from astra.images.exposure import MASK_UNMASKEDNAN
from astra.images.isr_config import IsrConfig
from astra.images.isr_kernel import correct_pixels
from astra.images.linearity import correct_linearity, polynomial_coefficients

_NO_SECTION = (slice(0, 0), slice(0, 0))


@dataclass(frozen=True)
class Settings:
    """What holds for all amplifiers of a frame.

    Parameters
    ----------
    config : IsrConfig
        Options.
    calibrations : Calibrations
        Those to apply.
    reference_gain : float, optional
        Gain of the result [e-/adu]; None if each amplifier keeps its own.
    dark_time_s : float
        Time in which dark current was collected [s].
    """

    config: IsrConfig
    calibrations: Calibrations
    reference_gain: float | None
    dark_time_s: float

    def gain_of_result(self, amplifier: Amplifier) -> float:
        """Gain of the corrected image in the place of an amplifier [e-/adu]."""
        return self.reference_gain or amplifier.gain


@dataclass(frozen=True)
class Planes:
    """Image, variance and mask while they are filled, shape (ny, nx).

    Parameters
    ----------
    image, variance : float32 ndarray, shape (ny, nx)
        [adu], [adu**2]
    mask : uint32 ndarray, shape (ny, nx)
        Zero at first.
    saturated_rows : bool ndarray, shape (ny,)
        Rows with a saturated pixel.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint32]
    saturated_rows: NDArray[np.bool_]

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> Planes:
        """Make planes of a shape."""
        return cls(
            np.empty(shape, np.float32),
            np.empty(shape, np.float32),
            np.zeros(shape, np.uint32),
            np.zeros(shape[0], np.bool_),
        )


@dataclass(frozen=True)
class Levels:
    """What is subtracted from an amplifier.

    Parameters
    ----------
    rows : ndarray, shape (n_rows,)
        In the order of the raw rows [adu].
    columns : ndarray, shape (n_columns,)
        In the order of the raw columns [adu].
    """

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]


def readable(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return raw values as the compiled pass takes them: uint16 as they are, all else as float32."""
    native = np.dtype(np.uint16) if pixels.dtype == np.uint16 else np.dtype(np.float32)
    return np.ascontiguousarray(pixels, dtype=native)


def correct_amplifiers(
    values: NDArray[Any],
    amplifiers: Sequence[Amplifier],
    levels: Sequence[Levels],
    planes: Planes,
    settings: Settings,
) -> None:
    """Fill planes from raw values.

    In one pass, but where amplifiers must be known whole before bias, dark and flat are applied: for
    crosstalk, and for linearity that is no polynomial.

    Parameters
    ----------
    values : ndarray, shape (raw_ny, raw_nx)
        Raw values [adu], see `readable`.
    amplifiers : sequence of Amplifier
        All those of the frame.
    levels : sequence of Levels
        One for each.
    planes : Planes
        To fill.
    settings : Settings
        Options and calibrations.
    """
    special = [
        amp for amp in amplifiers if settings.config.linearity and polynomial_coefficients(amp) is None
    ]
    crosstalk = settings.calibrations.crosstalk
    if not special and crosstalk is None:
        _run(values, amplifiers, levels, planes, settings)
        return
    uncalibrated = replace(settings, calibrations=Calibrations())
    _run(values, amplifiers, levels, planes, uncalibrated)
    for amplifier in special:
        scale = np.float32(amplifier.gain / settings.gain_of_result(amplifier))
        section = planes.image[amplifier.assembled]
        section[:] = correct_linearity(section / scale, amplifier) * scale
    if crosstalk is not None:
        _uncouple(planes, amplifiers, crosstalk, settings)
    _run_again(amplifiers, planes, settings)


def _uncouple(
    planes: Planes, amplifiers: Sequence[Amplifier], crosstalk: Crosstalk, settings: Settings
) -> None:
    """Subtract crosstalk and mark what bright sources have left."""
    config = settings.config
    if settings.reference_gain is None:
        raise ValueError("crosstalk is between electrons: it needs a reference gain of the image")
    mark_crosstalk(planes.image, planes.mask, amplifiers, crosstalk, config.crosstalk_mask_adu)
    subtract_crosstalk(
        planes.image,
        amplifiers,
        crosstalk,
        reference_gain=settings.reference_gain,
        background=config.crosstalk_background,
    )


def _run_again(amplifiers: Sequence[Amplifier], planes: Planes, settings: Settings) -> None:
    """Apply bias, dark and flat to an image that is assembled already."""
    config = replace(settings.config, saturation=False, suspect=False, linearity=False)
    again = replace(planes, mask=np.zeros_like(planes.mask))
    assembled = [
        replace(amp, data=amp.assembled, overscan=_NO_SECTION, readout_corner="LL") for amp in amplifiers
    ]
    shapes = [planes.image[amplifier.assembled].shape for amplifier in amplifiers]
    levels = [Levels(np.zeros(n_rows), np.zeros(n_columns)) for n_rows, n_columns in shapes]
    values = np.where(planes.mask & MASK_UNMASKEDNAN, np.float32(np.nan), planes.image)  # what they were
    _run(values, assembled, levels, again, replace(settings, config=config), is_scaled=True)
    planes.mask[:] |= again.mask


def _run(
    values: NDArray[Any],
    amplifiers: Sequence[Amplifier],
    levels: Sequence[Levels],
    planes: Planes,
    settings: Settings,
    *,
    is_scaled: bool = False,
) -> None:
    """Go through the pixels, band by band; values that are scaled already keep their unit."""
    bias, dark, flat = _calibration_planes(settings.calibrations, planes.image.shape[1])
    factors = flat_factors(amplifiers, settings)
    for band in bands_of(amplifiers):
        chosen = [amplifiers[index] for index in band]
        numbers = np.array(
            [_numbers(amplifier, factors[amplifier.name], settings) for amplifier in chosen], np.float32
        )
        if is_scaled:
            numbers[:, 0] = 1.0
        columns = [oriented(levels[i].columns[None], amplifiers[i].readout_corner)[0] for i in band]
        planes.saturated_rows[:] |= correct_pixels(
            values,
            np.array([levels[index].rows for index in band], dtype=np.float32),
            _stack(columns).astype(np.float32),
            np.array([place_of(amplifier, values.shape) for amplifier in chosen], dtype=np.int64),
            numbers,
            _stack([_coefficients(amplifier, settings.config) for amplifier in chosen]),
            bias,
            dark,
            flat,
            planes.image,
            planes.variance,
            planes.mask,
        )


def _numbers(amplifier: Amplifier, flat_factor: float, settings: Settings) -> list[float]:
    """Numbers of an amplifier as `astra.images.isr_kernel.correct_pixels` takes them."""
    config, calibrations = settings.config, settings.calibrations
    reference = settings.gain_of_result(amplifier)
    bias, dark = (
        1.0 if image is None else gain_change(image, amplifier) * image.gain / reference
        for image in (calibrations.bias, calibrations.dark)
    )
    return [
        amplifier.gain / reference,
        1.0 / reference,
        (amplifier.read_noise / reference) ** 2,
        amplifier.saturation if config.saturation else np.inf,
        amplifier.suspect if config.suspect else np.inf,
        bias,
        dark * settings.dark_time_s,
        flat_factor,
    ]


def gain_change(image: Calibration, amplifier: Amplifier) -> float:
    """Return the gain of an amplifier over that with which a calibration was made.

    A gain may have been measured anew since: what was read in adu is the same.

    Parameters
    ----------
    image : Calibration
        Which.
    amplifier : Amplifier
        As it is now.

    Raises
    ------
    DataError
        If the calibration knows amplifiers, but not this one.
    """
    if not image.gains:
        return 1.0
    if amplifier.name not in image.gains:
        known = ", ".join(image.gains)
        message = f"the {image.kind} was made with amplifiers {known}, the frame has {amplifier.name}"
        raise DataError(message, kind=image.kind, amplifier=amplifier.name)
    return amplifier.gain / image.gains[amplifier.name]


def flat_factors(amplifiers: Sequence[Amplifier], settings: Settings) -> dict[str, float]:
    """Return the factor of the flat in each amplifier, by name.

    Parameters
    ----------
    amplifiers : sequence of Amplifier
        All those of the frame.
    settings : Settings
        With the flat and how it is scaled. Where gains have been measured anew, its mean stays what it is.
    """
    flat, config = settings.calibrations.flat, settings.config
    if flat is None:
        return {amplifier.name: 1.0 for amplifier in amplifiers}
    scale = config.flat_user_scale if config.flat_scale == "user" else flat.level[config.flat_scale]
    changes = np.array([gain_change(flat, amplifier) for amplifier in amplifiers])
    if np.ptp(changes) > 0.0:
        sums = [float(np.nansum(flat.image[amp.assembled], dtype=np.float64)) for amp in amplifiers]
        changes = changes * np.sum(sums) / np.sum(changes * sums)
    else:
        changes = np.ones(len(amplifiers))
    return {amp.name: float(change) / scale for amp, change in zip(amplifiers, changes, strict=True)}


def _coefficients(amplifier: Amplifier, config: IsrConfig) -> NDArray[np.float64]:
    found = polynomial_coefficients(amplifier) if config.linearity else None
    return np.zeros(0) if found is None else found


def _stack(lines: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Stack lines of different lengths, with zeros behind the shorter ones."""
    stacked = np.zeros((len(lines), max(len(line) for line in lines)))
    for row, line in zip(stacked, lines, strict=True):
        row[: len(line)] = line
    return stacked


def _calibration_planes(calibrations: Calibrations, n_columns: int) -> list[NDArray[np.float32]]:
    """Bias, dark and flat as planes, or one row that changes nothing."""
    nothing, unity = np.zeros((1, n_columns), np.float32), np.ones((1, n_columns), np.float32)
    images = (calibrations.bias, calibrations.dark, calibrations.flat)
    return [
        default if image is None else np.ascontiguousarray(image.image, dtype=np.float32)
        for image, default in zip(images, (nothing, nothing, unity), strict=True)
    ]
