"""Defects of a detector that its calibrations show: hot, dead and insensitive pixels, and bad columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from astra.errors import DataError
from astra.images.calibration import Calibration
from astra.images.exposure import MASK_BAD

KINDS = {
    "hot": 1,
    "dead": 2,
    "low_response": 4,
    "high_response": 8,
    "unstable_bias": 16,
    "no_data": 32,
    "column": 64,
}
BOX_DTYPE = np.dtype([("x", "i4"), ("y", "i4"), ("width", "i4"), ("height", "i4"), ("kinds", "i4")])


@dataclass(frozen=True)
class DefectConfig:
    """What counts as a defect.

    Parameters
    ----------
    hot_electron_per_s : float
        Dark current above that of the pixels around, from which a pixel is hot [e-/s].
    dead_response, low_response, high_response : float
        Response relative to the pixels around, below which a pixel is dead or of low response, and above
        which it responds too much.
    bias_electron : float
        Bias off that of the pixels around, from which it is unstable [e-].
    min_sigma : float
        All of these must be off by so many sigma of the calibration itself as well.
    cell_pixel : int
        Side of the squares whose median is what is around [pixel].
    column_share : float
        Columns of an amplifier of which more than this is bad, are bad whole.
    """

    hot_electron_per_s: float = 1.0
    dead_response: float = 0.1
    low_response: float = 0.7
    high_response: float = 1.3
    bias_electron: float = 100.0
    min_sigma: float = 5.0
    cell_pixel: int = 32
    column_share: float = 0.5


@dataclass(frozen=True)
class Defects:
    """Bad pixels of a detector.

    Parameters
    ----------
    kinds : uint8 ndarray, shape (ny, nx)
        Sum of the `KINDS` of each pixel; zero where it is good.
    boxes : structured ndarray, shape (n,)
        Rectangles that cover the bad pixels, each of one sum of kinds: ``x``, ``y`` of the first pixel,
        ``width``, ``height`` [pixel], ``kinds``.
    """

    kinds: NDArray[np.uint8]
    boxes: NDArray[np.void]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """True where bad, shape (ny, nx)."""
        bad: NDArray[np.bool_] = self.kinds != 0
        return bad


def build_defects(
    calibrations: Sequence[Calibration],
    config: DefectConfig | None = None,
    *,
    sections: Sequence[tuple[slice, slice]] = (),
) -> Defects:
    """Find the defects that combined calibrations show.

    Parameters
    ----------
    calibrations : sequence of Calibration
        Any number of biases, darks and flats of one detector.
    config : DefectConfig, optional
        What counts as a defect.
    sections : sequence of (slice, slice), optional
        Amplifiers in the image, whose columns are judged each for themselves; by default those that the
        calibrations name, and if none does, the whole image.

    Returns
    -------
    defects : Defects

    Raises
    ------
    DataError
        If there is no calibration, or they differ in shape.
    """
    options = config or DefectConfig()
    shapes = {calibration.image.shape for calibration in calibrations}
    if len(shapes) != 1:
        message = f"defects need calibrations of one shape, found {len(calibrations)} of {sorted(shapes)}"
        raise DataError(message, n_calibrations=len(calibrations))
    ny, nx = shapes.pop()
    kinds = np.zeros((ny, nx), dtype=np.uint8)
    for calibration in calibrations:
        kinds |= _judge(calibration, options)
    named = next((found.sections for found in calibrations if found.sections), {})
    for section in sections or tuple(named.values()) or ((slice(0, ny), slice(0, nx)),):
        part = kinds[section]
        part[:, np.mean(part != 0, axis=0) > options.column_share] |= np.uint8(KINDS["column"])
    return Defects(kinds, boxes_of(kinds))


def boxes_of(kinds: NDArray[np.uint8]) -> NDArray[np.void]:
    """Cover pixels by rectangles: runs along columns, joined where neighbouring columns have the same.

    Parameters
    ----------
    kinds : uint8 ndarray, shape (ny, nx)
        Zero where there is nothing to cover.

    Returns
    -------
    boxes : structured ndarray, shape (n,)
        `BOX_DTYPE`; each pixel that is not zero is in one of them.
    """
    boxes: list[list[int]] = []
    open_boxes: dict[tuple[int, int, int], list[int]] = {}
    for x in np.flatnonzero(kinds.any(axis=0)):
        growing = {}
        for y, height, kind in _runs(kinds[:, x]):
            box = open_boxes.get((y, height, kind))
            if box is None or box[0] + box[2] != x:
                box = [int(x), y, 0, height, kind]
                boxes.append(box)
            box[2] += 1
            growing[y, height, kind] = box
        open_boxes = growing
    return np.array([tuple(box) for box in boxes], dtype=BOX_DTYPE)


def paint_boxes(boxes: NDArray[np.void], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the kinds of each pixel, as `boxes_of` took them.

    Raises
    ------
    DataError
        If a box reaches out of the image.
    """
    kinds = np.zeros(shape, dtype=np.uint8)
    for x, y, width, height, kind in boxes.tolist():
        if min(x, y) < 0 or x + width > shape[1] or y + height > shape[0]:
            message = f"defect box x {x}, y {y} of {width} x {height} pixels is not in an image of {shape}"
            raise DataError(message, x=x, y=y)
        kinds[y : y + height, x : x + width] |= np.uint8(kind)
    return kinds


def _judge(calibration: Calibration, options: DefectConfig) -> NDArray[np.uint8]:
    """Kinds of the defects that one calibration shows."""
    unknown = (calibration.mask & MASK_BAD) != 0
    around = _surroundings(calibration.image, unknown, options.cell_pixel)
    with np.errstate(invalid="ignore", divide="ignore"):
        sure = np.abs(calibration.image - around) > options.min_sigma * np.sqrt(calibration.variance)
        limits = _limits(calibration, around, options)
        kinds = np.where(unknown, np.uint8(KINDS["no_data"]), np.uint8(0))
        for name, found in limits.items():
            kinds[found & sure & ~unknown] |= np.uint8(KINDS[name])
    return kinds


def _limits(
    calibration: Calibration, around: NDArray[np.float32], options: DefectConfig
) -> dict[str, NDArray[np.bool_]]:
    """Pixels beyond the limits of a kind of calibration, by kind of defect."""
    image, excess = calibration.image, (calibration.image - around) * calibration.gain
    if calibration.kind == "dark":
        return {"hot": excess > options.hot_electron_per_s}
    if calibration.kind == "bias":
        return {"unstable_bias": np.abs(excess) > options.bias_electron}
    response = image / around
    dead = response < options.dead_response
    return {
        "dead": dead,
        "low_response": (response < options.low_response) & ~dead,
        "high_response": response > options.high_response,
    }


def _surroundings(image: NDArray[np.float32], unknown: NDArray[np.bool_], cell: int) -> NDArray[np.float32]:
    """Medians of cells, interpolated between their middles, shape (ny, nx)."""
    ny, nx = image.shape
    n_y, n_x = max(round(ny / cell), 1), max(round(nx / cell), 1)
    y_edges, x_edges = (np.linspace(0, size, n + 1).astype(int) for size, n in ((ny, n_y), (nx, n_x)))
    values = np.where(unknown, np.nan, image)
    known = values[~unknown]
    coarse = np.full((n_y, n_x), np.median(known) if known.size else 0.0)
    for j in range(n_y):
        for i in range(n_x):
            part = values[y_edges[j] : y_edges[j + 1], x_edges[i] : x_edges[i + 1]]
            part = part[np.isfinite(part)]
            if part.size:
                coarse[j, i] = np.median(part)
    smooth: NDArray[np.float32] = zoom(
        coarse, (ny / n_y, nx / n_x), order=1, mode="nearest", grid_mode=True
    ).astype(np.float32)
    return smooth


def _runs(line: NDArray[np.uint8]) -> list[tuple[int, int, int]]:
    """First place, length and value of the runs of equal values that are not zero."""
    edges = np.flatnonzero(np.diff(line)) + 1
    starts = np.concatenate([[0], edges])
    stops = np.concatenate([edges, [len(line)]])
    return [(int(a), int(b - a), int(line[a])) for a, b in zip(starts, stops, strict=True) if line[a]]
