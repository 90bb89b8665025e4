"""The readout channels of a detector: where their pixels lie in a raw frame, and what they do to a signal."""

from __future__ import annotations

import math
from dataclasses import dataclass

Section = tuple[slice, slice]

READOUT_CORNERS = {"LL": (1, 1), "LR": (1, -1), "UL": (-1, 1), "UR": (-1, -1)}
LINEARITY_TYPES = ("polynomial", "squared", "lookup_table", "spline", "proportional", "none")


@dataclass(frozen=True)
class Amplifier:
    """One readout channel of a detector.

    Parameters
    ----------
    name : str
        The camera's name of it.
    data : (slice, slice)
        Rows and columns of its exposed pixels in the raw frame; what lies outside of all sections
        (prescan, postscan) is trimmed.
    overscan : (slice, slice)
        Rows and columns of its serial overscan, with the same rows as ``data``; without columns where the
        camera has none.
    assembled : (slice, slice)
        Rows and columns that its pixels take in the trimmed image.
    gain : float
        Electrons per adu [e-/adu].
    read_noise : float
        Read noise [e-].
    saturation : float
        Raw value from which a pixel counts as saturated [adu].
    readout_corner : {"LL", "LR", "UL", "UR"}
        Corner of the assembled section whose pixel comes first in the raw frame: ``LL`` keeps the order,
        ``LR`` turns the columns round, ``UL`` the rows, ``UR`` both.
    linearity : tuple of float
        What `linearity_type` needs; of a polynomial the coefficients c_k of the correction
        ``s + sum_k c_k s**(k + 2)`` to the signal s [adu].
    linearity_type : str
        One of `LINEARITY_TYPES`; see `astra.images.linearity`.
    linearity_knots : tuple of float
        Signals [adu] at which a spline is given; the offset of a lookup table [adu].
    suspect : float
        Raw value from which the response is not to be trusted [adu].
    parallel_overscan : (slice, slice), optional
        Rows and columns of its parallel overscan, with the same columns as ``data``.
    amplifier_corner : str
        Corner of the assembled section where its output is, whose pixel is read first; by default that of
        ``readout_corner``. Another one where the raw frame has the pixels in the order of the image.
    is_dead : bool
        Whether it gives no usable signal at all.
    """

    name: str
    data: Section
    overscan: Section
    assembled: Section
    gain: float
    read_noise: float
    saturation: float
    readout_corner: str = "LL"
    linearity: tuple[float, ...] = ()
    linearity_type: str = "polynomial"
    linearity_knots: tuple[float, ...] = ()
    suspect: float = math.inf
    parallel_overscan: Section | None = None
    amplifier_corner: str = ""
    is_dead: bool = False

    def __post_init__(self) -> None:
        for corner in (self.readout_corner, self.amplifier_corner or "LL"):
            if corner not in READOUT_CORNERS:
                message = (
                    f"amplifier {self.name}: readout_corner and amplifier_corner must be one of LL LR UL UR, "
                    f"found {corner!r}"
                )
                raise ValueError(message)
        if not (self.gain > 0 and self.read_noise >= 0):
            message = (
                f"amplifier {self.name}: gain must be positive and read noise not negative, found "
                f"{self.gain} e-/adu and {self.read_noise} e-"
            )
            raise ValueError(message)
        self._check_linearity()

    def _check_linearity(self) -> None:
        known = ", ".join(LINEARITY_TYPES)
        n_values, n_knots = len(self.linearity), len(self.linearity_knots)
        fits = {
            "squared": n_values == 1,
            "spline": n_values == n_knots >= 2,
            "lookup_table": n_values >= 1 and n_knots <= 1,
        }.get(self.linearity_type, self.linearity_type in LINEARITY_TYPES)
        if not fits:
            message = (
                f"amplifier {self.name}: linearity_type must be one of {known}, with one value for squared, "
                f"as many values as knots for spline, and at most one knot for lookup_table; found "
                f"{self.linearity_type!r} with {n_values} values and {n_knots} knots"
            )
            raise ValueError(message)

    @property
    def first_read_corner(self) -> str:
        """Corner of the assembled section whose pixel is read first."""
        return self.amplifier_corner or self.readout_corner
