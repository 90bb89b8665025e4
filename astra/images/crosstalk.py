"""Crosstalk: what amplifiers that are read at one time show of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from astra.errors import DataError
from astra.images.amplifier import Amplifier
from astra.images.assembly import oriented
from astra.images.calibration import Crosstalk
from astra.images.exposure import MASK_CROSSTALK


def subtract_crosstalk(
    image: NDArray[np.float32],
    amplifiers: Sequence[Amplifier],
    crosstalk: Crosstalk,
    *,
    reference_gain: float = 1.0,
    background: str = "none",
) -> None:
    """Subtract from each amplifier what it shows of the others, in place.

    Pixels are paired by the order in which they are read, so that a source is turned to the target's corner
    first. All sources are taken from the image as it was: terms of second order in the coefficients,
    crosstalk of crosstalk, are left.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        Signal without overscan [adu of the reference gain].
    amplifiers : sequence of Amplifier
        All those of the detector, with sections of one shape.
    crosstalk : Crosstalk
        Coefficients of those that are coupled.
    reference_gain : float
        [e-/adu], for the quadratic term.
    background : {"none", "amplifier", "detector"}
        What is subtracted from the sources first: nothing, their own median, or that of the image.

    Raises
    ------
    DataError
        If an amplifier of the matrix is not there, or the sections differ in shape.
    """
    known = {amplifier.name: amplifier for amplifier in amplifiers}
    _check(known, crosstalk)
    level = float(np.median(image)) if background == "detector" else 0.0
    sources = {}
    for name in crosstalk.names:
        section = oriented(image[known[name].assembled], known[name].first_read_corner).copy()
        sources[name] = section - np.float32(np.median(section) if background == "amplifier" else level)
    quadratic = crosstalk.quadratic
    for row, target in enumerate(crosstalk.names):
        place = oriented(image[known[target].assembled], known[target].first_read_corner)
        for column, source in enumerate(crosstalk.names):
            linear = np.float32(crosstalk.coefficients[row, column])
            square = 0.0 if quadratic is None else float(quadratic[row, column]) * reference_gain
            if row != column and (linear != 0.0 or square != 0.0):
                place -= (linear + np.float32(square) * sources[source]) * sources[source]


def mark_crosstalk(
    image: NDArray[np.float32],
    mask: NDArray[np.uint32],
    amplifiers: Sequence[Amplifier],
    crosstalk: Crosstalk,
    level_adu: float,
) -> None:
    """Mark the targets of bright sources ``CROSSTALK``, in place.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        Signal of the sources [adu].
    mask : uint32 ndarray, shape (ny, nx)
        To be marked.
    amplifiers : sequence of Amplifier
        All those of the detector.
    crosstalk : Crosstalk
        Who shows whom.
    level_adu : float
        Sources from here on are bright [adu].
    """
    known = {amplifier.name: amplifier for amplifier in amplifiers}
    _check(known, crosstalk)
    coupled = crosstalk.coefficients != 0.0
    if crosstalk.quadratic is not None:
        coupled |= crosstalk.quadratic != 0.0
    for column, source in enumerate(crosstalk.names):
        bright = oriented(image[known[source].assembled], known[source].first_read_corner) >= level_adu
        if not bright.any():
            continue
        for row, target in enumerate(crosstalk.names):
            if row != column and coupled[row, column]:
                oriented(mask[known[target].assembled], known[target].first_read_corner)[bright] |= (
                    MASK_CROSSTALK
                )


def _check(known: dict[str, Amplifier], crosstalk: Crosstalk) -> None:
    missing = [name for name in crosstalk.names if name not in known]
    if missing:
        message = f"the crosstalk matrix names amplifier {missing[0]}, the detector has {', '.join(known)}"
        raise DataError(message, missing=", ".join(missing))
    shapes = {
        tuple(int(part.stop) - int(part.start or 0) for part in known[name].assembled)
        for name in crosstalk.names
    }
    if len(shapes) > 1:
        message = f"amplifiers that are coupled must have one shape, found {sorted(shapes)} [pixel]"
        raise DataError(message, n_shapes=len(shapes))
