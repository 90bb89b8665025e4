"""Where the amplifiers of a raw frame lie in the trimmed image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from astra.images.amplifier import READOUT_CORNERS, Amplifier, Section


def assembled_shape(amplifiers: Sequence[Amplifier], raw_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape of the image that amplifiers tile.

    Parameters
    ----------
    amplifiers : sequence of Amplifier
        All those of a detector.
    raw_shape : tuple of int
        Shape of the raw frame.

    Raises
    ------
    ValueError
        If the sections do not fit the raw frame, or do not tile an image.
    """
    if len(raw_shape) != 2 or not amplifiers:
        raise ValueError(f"a raw frame is 2-d and has an amplifier, found {raw_shape} and {len(amplifiers)}")
    ny, nx = (max(int(amp.assembled[axis].stop) for amp in amplifiers) for axis in (0, 1))
    area = 0
    for amplifier in amplifiers:
        shape = section_shape(amplifier.assembled, (ny, nx))
        _check_sections(amplifier, raw_shape, shape)
        area += shape[0] * shape[1]
    overlapping = any(_overlap(a.assembled, b.assembled) for a, b in itertools.combinations(amplifiers, 2))
    if overlapping or area != ny * nx:
        raise ValueError(f"the assembled sections do not tile an image of shape {(ny, nx)}")
    return ny, nx


def _overlap(one: Section, other: Section) -> bool:
    """Say whether two sections share pixels."""
    return all(
        max(int(a.start or 0), int(b.start or 0)) < min(int(a.stop), int(b.stop))
        for a, b in zip(one, other, strict=True)
    )


def has_overscan(amplifier: Amplifier) -> bool:
    """Say whether the camera reads a serial overscan of an amplifier."""
    rows, columns = amplifier.overscan
    return bool(rows.start != rows.stop and columns.start != columns.stop)


def bands_of(amplifiers: Sequence[Amplifier]) -> list[list[int]]:
    """Return the indices of the amplifiers that share rows of the image, band by band."""
    bands: dict[tuple[int, int], list[int]] = {}
    for index, amplifier in enumerate(amplifiers):
        rows = amplifier.assembled[0]
        bands.setdefault((int(rows.start or 0), int(rows.stop)), []).append(index)
    return list(bands.values())


def place_of(amplifier: Amplifier, raw_shape: tuple[int, ...]) -> list[int]:
    """Return where the pixels of an amplifier are, as `astra.images.isr_kernel.correct_pixels` takes it."""
    raw_y, raw_x = (part.indices(size)[0] for part, size in zip(amplifier.data, raw_shape, strict=True))
    n_rows, n_columns = section_shape(amplifier.data, raw_shape)
    first = [int(part.start or 0) for part in amplifier.assembled]
    return [raw_y, raw_x, *first, n_rows, n_columns, *READOUT_CORNERS[amplifier.readout_corner]]


def in_readout_order(plane: NDArray[Any], amplifier: Amplifier) -> NDArray[Any]:
    """Return a view of an amplifier's place in the image, in the order of its raw data."""
    return oriented(plane[amplifier.assembled], amplifier.readout_corner)


def oriented(section: NDArray[Any], corner: str) -> NDArray[Any]:
    """Return a view of a section with a corner of it turned to the first pixel."""
    step_y, step_x = READOUT_CORNERS[corner]
    return section[::step_y, ::step_x]


def section_shape(section: Section, raw_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape of a section as it exists in a frame."""
    rows, columns = (len(range(*part.indices(size))) for part, size in zip(section, raw_shape, strict=True))
    return rows, columns


def _check_sections(
    amplifier: Amplifier, raw_shape: tuple[int, ...], assembled_shape: tuple[int, ...]
) -> None:
    if section_shape(amplifier.data, raw_shape) != assembled_shape:
        message = (
            f"amplifier {amplifier.name}: data section {amplifier.data} of a raw frame of shape {raw_shape} "
            f"does not have the shape {assembled_shape} of its place in the image"
        )
        raise ValueError(message)
    if has_overscan(amplifier):
        _check_overscan(amplifier, raw_shape, assembled_shape[0])


def _check_overscan(amplifier: Amplifier, raw_shape: tuple[int, ...], n_rows: int) -> None:
    wanted = amplifier.overscan[1].stop
    complete = wanted is None or wanted <= raw_shape[1]
    if section_shape(amplifier.overscan, raw_shape)[0] != n_rows or not complete:
        message = (
            f"amplifier {amplifier.name}: overscan section {amplifier.overscan} of a raw frame of shape "
            f"{raw_shape} does not have the {n_rows} rows of the data, or lies outside of the frame; "
            f"was the overscan trimmed?"
        )
        raise ValueError(message)
