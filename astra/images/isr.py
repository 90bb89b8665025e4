"""Instrument signature removal: from a raw frame to signal, variance and mask.

Pure functions on one raw frame; where the sections of a frame lie is known in `astra.instruments`. The steps
go through the pixels together (`astra.images.isr_kernel`), but for those that couple pixels: crosstalk,
brighter-fatter and fringes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import DataError, FormatError
from astra.images.amplifier import Amplifier
from astra.images.assembly import assembled_shape, has_overscan
from astra.images.calibration import Calibrations
from astra.images.exposure import MASK_BAD, MASK_VIGNETTED, Exposure
from astra.images.isr_config import IsrConfig
from astra.images.isr_header import header_cards
from astra.images.isr_masks import blank_amplifiers, find_dead, mark_pixels
from astra.images.isr_pass import Levels, Planes, Settings, correct_amplifiers, readable
from astra.images.isr_sky import move_charge_back, subtract_fringes
from astra.images.overscan import Overscan, measure_overscan, measure_parallel_overscan
from astra.images.raw_image import RawImage


@dataclass(frozen=True)
class CorrectedFrame:
    """A raw frame without the signature of the instrument.

    Parameters
    ----------
    image, variance : float32 ndarray, shape (ny, nx)
        Signal [adu] and its variance [adu**2].
    mask : uint32 ndarray, shape (ny, nx)
        Bits of `MaskPlane`.
    overscans : tuple of Overscan
        One for each amplifier; of noise NaN where there is none.
    amplifiers : tuple of Amplifier
        As they were used, with measured gains where there are any.
    dead : mapping
        Why amplifiers were masked whole, by name.
    applied : Calibrations
        Those that were applied.
    figures : mapping
        What they found, by name with unit.
    knows_defects : bool
        Whether defects were marked that the camera itself knows.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint32]
    overscans: tuple[Overscan, ...]
    amplifiers: tuple[Amplifier, ...] = ()
    dead: Mapping[str, str] = field(default_factory=dict)
    applied: Calibrations = field(default_factory=Calibrations)
    figures: Mapping[str, float] = field(default_factory=dict)
    knows_defects: bool = False


def remove_signature(
    raw: NDArray[Any],
    amplifiers: Sequence[Amplifier],
    *,
    config: IsrConfig | None = None,
    calibrations: Calibrations | None = None,
    reference_gain: float | None = None,
    bad_pixels: NDArray[np.bool_] | None = None,
    dark_time_s: float = 0.0,
    physical_filter: str = "",
) -> CorrectedFrame:
    """Turn a raw frame into signal, variance and mask.

    Overscan subtracted, saturation marked on the raw values, linearity corrected, sections trimmed and put
    where they belong, crosstalk, bias and dark subtracted, charge moved back, divided by the flat, fringes
    subtracted. The variance is that of the photons and dark electrons that were collected, where a negative
    signal counts as none, and of the read noise. Pixels that are not finite become 0, ``BAD`` and
    ``UNMASKEDNAN``; dead amplifiers become 0, ``BAD`` and ``NO_DATA``.

    Parameters
    ----------
    raw : ndarray, shape (raw_ny, raw_nx)
        Raw values [adu].
    amplifiers : sequence of Amplifier
        Their assembled sections must tile the image.
    config : IsrConfig, optional
        Steps and options.
    calibrations : Calibrations, optional
        What is known of the detector; what is not there is not applied.
    reference_gain : float, optional
        Gain of the result [e-/adu]: each amplifier is scaled by its own gain over this one, so that equal
        light gives equal counts. By default each keeps its own.
    bad_pixels : bool ndarray, shape (ny, nx), optional
        True for pixels known to be bad, in the assembled image.
    dark_time_s : float, optional
        Time in which dark current was collected [s].
    physical_filter : str, optional
        The glass, for the fringes.

    Returns
    -------
    frame : CorrectedFrame

    Raises
    ------
    ValueError
        If the sections do not fit the raw frame or do not tile the image.
    DataError
        If all amplifiers are dead, or a calibration does not fit the detector.
    """
    config = config or IsrConfig()
    known = _applied(calibrations or Calibrations(), config, physical_filter)
    amplifiers = tuple(_with_response(amplifier, known) for amplifier in amplifiers)
    values = readable(raw)
    shape = assembled_shape(amplifiers, values.shape)
    known.require_shape(shape)
    overscans = tuple(_measure(values, amplifier, config) for amplifier in amplifiers)
    dead = find_dead(values, amplifiers, overscans, config)
    levels = [
        _levels(values, amplifier, overscan, config)
        for amplifier, overscan in zip(amplifiers, overscans, strict=True)
    ]
    planes, settings = Planes.empty(shape), Settings(config, known, reference_gain, dark_time_s)
    live = [_unsaturated(amplifier) if amplifier.name in dead else amplifier for amplifier in amplifiers]
    correct_amplifiers(values, live, levels, planes, settings)
    mark_pixels(planes, amplifiers, overscans, known, config)
    knows_defects = bad_pixels is not None and config.defects
    if knows_defects:
        planes.mask[bad_pixels] |= MASK_BAD
    if not config.variance:
        planes.variance.fill(np.nan)
    blank_amplifiers(planes, [amplifier for amplifier in amplifiers if amplifier.name in dead])
    figures = move_charge_back(planes, amplifiers, settings) | subtract_fringes(planes, settings)
    return CorrectedFrame(
        image=planes.image,
        variance=planes.variance,
        mask=planes.mask,
        overscans=overscans,
        amplifiers=amplifiers,
        dead=dead,
        applied=known,
        figures=figures,
        knows_defects=knows_defects,
    )


def correct_raw(
    raw: RawImage, calibrations: Calibrations | None = None, config: IsrConfig | None = None
) -> Exposure:
    """Remove the signature of the instrument from a raw image.

    Parameters
    ----------
    raw : RawImage
        As a camera reads it.
    calibrations : Calibrations, optional
        What is known of the detector; what is not there is not applied, and the header says so.
    config : IsrConfig, optional
        Steps and options.

    Returns
    -------
    exposure : Exposure
        In [adu] of ``raw.reference_gain``, with the WCS of the raw image; see
        `astra.images.isr_header.header_cards` for what its header says.

    Raises
    ------
    FormatError
        If the sections of the amplifiers do not fit the raw frame or do not tile the image.
    DataError
        If all amplifiers are dead, or a calibration does not fit the detector.
    """
    config, info = config or IsrConfig(), raw.info
    where = f"exposure {info.visit}, detector {info.detector} of {info.instrument}"
    try:
        frame = remove_signature(
            raw.pixels,
            raw.amplifiers,
            config=config,
            calibrations=calibrations,
            reference_gain=raw.reference_gain,
            bad_pixels=raw.defects,
            dark_time_s=info.exposure_time_s if raw.dark_time_s is None else raw.dark_time_s,
            physical_filter=info.physical_filter,
        )
    except ValueError as exc:
        raise FormatError(f"{where}: {exc}", exposure=info.visit, detector=info.detector) from exc
    except DataError as exc:
        raise type(exc)(f"{where}: {exc}", **exc.context) from exc
    is_vignetted = config.vignetting and raw.vignetted is not None
    if is_vignetted:
        frame.mask[raw.vignetted] |= MASK_VIGNETTED
    cards = {**header_cards(frame, raw.reference_gain, config), "ISRVIGN": is_vignetted}
    return Exposure(
        image=frame.image,
        variance=frame.variance,
        mask=frame.mask,
        info=info,
        gain=raw.reference_gain,
        wcs=raw.wcs,
        metadata={**raw.metadata, **cards},
    )


def _applied(calibrations: Calibrations, config: IsrConfig, physical_filter: str) -> Calibrations:
    """Return the calibrations that the configuration wants."""
    fringed = not config.fringe_filters or physical_filter in config.fringe_filters
    return Calibrations(
        bias=calibrations.bias if config.bias else None,
        dark=calibrations.dark if config.dark else None,
        flat=calibrations.flat if config.flat else None,
        fringe=calibrations.fringe if config.fringe and fringed else None,
        defects=calibrations.defects if config.defects else None,
        crosstalk=calibrations.crosstalk if config.crosstalk else None,
        brighter_fatter=calibrations.brighter_fatter if config.brighter_fatter else None,
        responses=calibrations.responses if config.photon_transfer else None,
        sources=calibrations.sources,
    )


def _with_response(amplifier: Amplifier, calibrations: Calibrations) -> Amplifier:
    """Return an amplifier with its measured gain and read noise."""
    measured = (calibrations.responses or {}).get(amplifier.name)
    if measured is None:
        return amplifier
    return replace(amplifier, gain=measured.gain, read_noise=measured.read_noise)


def _unsaturated(amplifier: Amplifier) -> Amplifier:
    """Return an amplifier without saturated pixels: those of a dead one must not grow into its neighbours."""
    return replace(amplifier, saturation=np.inf, suspect=np.inf)


def _measure(values: NDArray[Any], amplifier: Amplifier, config: IsrConfig) -> Overscan:
    """Measure an overscan; a level of zero, of unknown noise, where there is none."""
    if config.overscan and has_overscan(amplifier):
        return measure_overscan(values[amplifier.overscan], config.overscan_fit)
    n_rows = values[amplifier.data].shape[0]
    return Overscan(np.zeros(n_rows), float("nan"), np.zeros(n_rows, dtype=np.bool_))


def _levels(values: NDArray[Any], amplifier: Amplifier, overscan: Overscan, config: IsrConfig) -> Levels:
    """Return what to subtract from the rows and columns of an amplifier."""
    n_columns = values[amplifier.data].shape[1]
    columns = np.zeros(n_columns)
    if config.parallel_overscan and amplifier.parallel_overscan is not None:
        section = values[amplifier.parallel_overscan] - np.median(overscan.level)
        if section.shape[1] != n_columns:
            message = (
                f"amplifier {amplifier.name}: parallel overscan section {amplifier.parallel_overscan} does "
                f"not have the {n_columns} columns of the data"
            )
            raise ValueError(message)
        limit = min(config.parallel_limit_adu, 0.75 * amplifier.saturation)
        columns = measure_parallel_overscan(section, saturation_adu=limit)
    return Levels(overscan.level, columns)
