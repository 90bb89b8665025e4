"""Which amplifiers and pixels of a raw frame cannot be used, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import DataError
from astra.images.amplifier import Amplifier
from astra.images.assembly import has_overscan, in_readout_order
from astra.images.calibration import Calibrations
from astra.images.exposure import MASK_BAD, MASK_EDGE, MASK_NO_DATA, MASK_SAT
from astra.images.isr_config import IsrConfig
from astra.images.isr_pass import Planes
from astra.images.overscan import Overscan
from astra.images.saturation import grow_bit, widen_trails


def find_dead(
    values: NDArray[Any], amplifiers: Sequence[Amplifier], overscans: Sequence[Overscan], config: IsrConfig
) -> dict[str, str]:
    """Find the amplifiers that give no usable signal.

    Parameters
    ----------
    values : ndarray, shape (raw_ny, raw_nx)
        Raw values [adu].
    amplifiers : sequence of Amplifier
        All those of the frame.
    overscans : sequence of Overscan
        One for each.
    config : IsrConfig
        What is expected of a live one.

    Returns
    -------
    dead : dict of str to str
        Why, by name.

    Raises
    ------
    DataError
        If none is left: the frame is unprocessable.
    """
    if not config.dead_amplifiers:
        return {}
    dead = {}
    for amplifier, overscan in zip(amplifiers, overscans, strict=True):
        reason = _why_dead(values, amplifier, overscan, config)
        if reason:
            dead[amplifier.name] = reason
    if len(dead) == len(amplifiers):
        reasons = "; ".join(f"amplifier {name} {reason}" for name, reason in dead.items())
        raise DataError(f"unprocessable: all amplifiers are dead: {reasons}", n_dead=len(dead))
    return dead


def _why_dead(values: NDArray[Any], amplifier: Amplifier, overscan: Overscan, config: IsrConfig) -> str:
    """Say why an amplifier counts as dead; empty if it does not."""
    if amplifier.is_dead:
        return "is known to be dead"
    if not (config.overscan and has_overscan(amplifier)):
        return ""
    level, noise_electron = float(np.median(overscan.level)), overscan.noise_adu * amplifier.gain
    if not config.overscan_min_adu <= level <= config.overscan_max_adu or level >= amplifier.saturation:
        highest = min(config.overscan_max_adu, amplifier.saturation)
        return f"has an overscan of {level:.1f} adu, expected {config.overscan_min_adu:g} to {highest:g}"
    limit = config.max_noise_electron
    if amplifier.read_noise > 0:
        limit = min(limit, config.max_noise_ratio * amplifier.read_noise)
    if noise_electron > limit:
        return f"has a noise of {noise_electron:.1f} e-, expected at most {limit:.1f}"
    if overscan.noise_adu == 0.0 and _is_constant(values[amplifier.data]):
        return "has one value in all pixels"
    return ""


def _is_constant(section: NDArray[Any]) -> bool:
    return bool((section == section.flat[0]).all())


def mark_pixels(
    planes: Planes,
    amplifiers: Sequence[Amplifier],
    overscans: Sequence[Overscan],
    calibrations: Calibrations,
    config: IsrConfig,
) -> None:
    """Grow what is saturated; mark bad rows, bad pixels of calibrations, defects and the edge; in place."""
    mask = planes.mask
    grow_bit(mask, MASK_SAT, config.saturation_grow_pixel, planes.saturated_rows)
    if config.trails:
        widen_trails(mask, MASK_SAT)
    for amplifier, overscan in zip(amplifiers, overscans, strict=True):
        if overscan.bad_rows.any():
            in_readout_order(mask, amplifier)[overscan.bad_rows] |= MASK_BAD
    for image in calibrations.images:
        mask.reshape(-1)[image.bad_pixels] |= MASK_BAD
    if calibrations.defects is not None:
        mask[calibrations.defects] |= MASK_BAD
    if config.edge_pixel > 0:
        inner = np.zeros(mask.shape, dtype=np.bool_)
        inner[config.edge_pixel : -config.edge_pixel, config.edge_pixel : -config.edge_pixel] = True
        mask[~inner] |= MASK_EDGE


def blank_amplifiers(planes: Planes, amplifiers: Sequence[Amplifier]) -> None:
    """Set amplifiers to zero, ``BAD`` and ``NO_DATA``, in place."""
    for amplifier in amplifiers:
        planes.image[amplifier.assembled] = 0.0
        planes.mask[amplifier.assembled] |= MASK_BAD | MASK_NO_DATA
