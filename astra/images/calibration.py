"""What is known of a detector from calibration frames: images, defects, gains, and how amplifiers couple."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled
from astra.errors import DataError
from astra.images.amplifier import Section
from astra.images.exposure import MASK_BAD

IMAGE_KINDS = ("bias", "dark", "flat", "fringe")


@dataclass(frozen=True)
class Calibration:
    """A combined calibration image of one detector.

    Parameters
    ----------
    kind : str
        ``bias`` [adu], ``dark`` [adu/s], ``flat`` (relative, mean 1) or ``fringe`` (of any amplitude).
    instrument : str
        Camera name.
    detector : int
        Which detector.
    image, variance : float32 ndarray, shape (ny, nx)
        Trimmed and assembled, at the reference gain; variance of the combination.
    mask : uint32 ndarray, shape (ny, nx)
        ``BAD`` where it cannot be used.
    gain : float
        Reference gain of its adu [e-/adu].
    gains : mapping
        Gain of each amplifier with which it was made [e-/adu], by name.
    sections : mapping
        Rows and columns of each amplifier in the image, by name; empty where that is not known.
    physical_filter : str
        The glass; empty where it does not matter.
    statistics : mapping
        Level, noise and the like, by name with unit.
    metadata : mapping
        Cards for its header.
    """

    kind: str
    instrument: str
    detector: int
    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint32]
    gain: float = 1.0
    gains: Mapping[str, float] = field(default_factory=dict)
    sections: Mapping[str, Section] = field(default_factory=dict)
    physical_filter: str = ""
    statistics: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = {self.image.shape, self.variance.shape, self.mask.shape}
        if len(shapes) != 1 or self.image.ndim != 2:
            raise ValueError(
                f"image, variance and mask of a {self.kind} must have one 2-d shape, found {shapes}"
            )

    @cached_property
    def bad_pixels(self) -> NDArray[np.int64]:
        """Places of its bad pixels in the flattened image, shape (n,)."""
        places: NDArray[np.int64] = places_with_bit(self.mask, MASK_BAD)
        return places

    @cached_property
    def level(self) -> dict[str, float]:
        """Mean and median of its good pixels [unit of the image]."""
        good = self.image[(self.mask & MASK_BAD) == 0]
        if good.size == 0:
            raise DataError(
                f"the {self.kind} of detector {self.detector} has no usable pixel", kind=self.kind
            )
        return {"mean": float(good.mean(dtype=np.float64)), "median": float(np.median(good))}


@compiled
def places_with_bit(mask, bit):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Find where in the flattened mask a bit is set; rows without it, which are most, are passed quickly."""
    ny, nx = mask.shape
    rows, n_rows = np.empty(ny, dtype=np.int64), 0
    for y in range(ny):
        found = np.uint32(0)
        for x in range(nx):
            found |= mask[y, x]
        if found & bit != 0:
            rows[n_rows] = y
            n_rows += 1
    places, n = np.empty(nx * n_rows, dtype=np.int64), 0
    for k in range(n_rows):
        row = rows[k]
        for x in range(nx):
            if mask[row, x] & bit != 0:
                places[n] = row * nx + x
                n += 1
    return places[:n].copy()


@dataclass(frozen=True)
class Crosstalk:
    """How much of the signal of each amplifier shows in the others.

    Parameters
    ----------
    names : tuple of str
        Amplifiers, in the order of the matrix.
    coefficients : float64 ndarray, shape (n, n)
        Fraction of the source's signal, in electrons, that the target shows: ``[target, source]``.
    quadratic : float64 ndarray, shape (n, n), optional
        The same for the square of the signal [1/e-].
    """

    names: tuple[str, ...]
    coefficients: NDArray[np.float64]
    quadratic: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        n = len(self.names)
        for matrix in (self.coefficients, self.quadratic):
            if matrix is not None and matrix.shape != (n, n):
                message = f"crosstalk of {n} amplifiers must be a {n} x {n} matrix, found {matrix.shape}"
                raise ValueError(message)


@dataclass(frozen=True)
class AmplifierResponse:
    """What photon transfer tells of one amplifier.

    Parameters
    ----------
    gain, gain_err : float
        [e-/adu]
    read_noise : float
        [e-]
    turnoff_adu : float
        Signal at which the variance stops to grow [adu]; NaN if the flats do not reach it.
    """

    gain: float
    gain_err: float
    read_noise: float
    turnoff_adu: float = float("nan")


@dataclass(frozen=True)
class Calibrations:
    """All that is known of a detector at one time; what is None is not applied.

    Parameters
    ----------
    bias, dark, flat, fringe : Calibration, optional
        Combined images.
    defects : bool ndarray, shape (ny, nx), optional
        True where bad.
    crosstalk : Crosstalk, optional
        Coupling of the amplifiers.
    brighter_fatter : float64 ndarray, shape (k, k), optional
        Kernel of Coulton et al. (2018) [1/e-], of odd size.
    responses : mapping, optional
        Measured response of each amplifier, by name.
    sources : mapping
        By kind: name and checksum of the file, for the header of what is corrected.
    """

    bias: Calibration | None = None
    dark: Calibration | None = None
    flat: Calibration | None = None
    fringe: Calibration | None = None
    defects: NDArray[np.bool_] | None = None
    crosstalk: Crosstalk | None = None
    brighter_fatter: NDArray[np.float64] | None = None
    responses: Mapping[str, AmplifierResponse] | None = None
    sources: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def images(self) -> list[Calibration]:
        """The combined images that there are."""
        return [image for image in (self.bias, self.dark, self.flat, self.fringe) if image is not None]

    def require_shape(self, shape: tuple[int, int]) -> None:
        """Refuse calibrations of another detector's size.

        Raises
        ------
        DataError
            If an image of them has another shape.
        """
        found = {image.kind: image.image.shape for image in self.images}
        if self.defects is not None:
            found["defects"] = self.defects.shape
        for kind, size in found.items():
            if size != shape:
                message = f"the {kind} has shape {size}, the corrected image {shape} [pixel]"
                raise DataError(message, kind=kind, found=str(size), expected=str(shape))
