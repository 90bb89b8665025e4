"""The readout channels of a detector: where their pixels lie in a raw frame, and what they do to a signal."""

from __future__ import annotations

from dataclasses import dataclass

Section = tuple[slice, slice]

READOUT_CORNERS = {"LL": (1, 1), "LR": (1, -1), "UL": (-1, 1), "UR": (-1, -1)}


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
        Rows and columns of its serial overscan, with the same rows as ``data``.
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
        Coefficients c_k of the correction ``s + sum_k c_k s**(k + 2)`` to the signal s [adu].
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

    def __post_init__(self) -> None:
        if self.readout_corner not in READOUT_CORNERS:
            message = (
                f"amplifier {self.name}: readout_corner must be one of LL LR UL UR, "
                f"found {self.readout_corner!r}"
            )
            raise ValueError(message)
        if not (self.gain > 0 and self.read_noise >= 0):
            message = (
                f"amplifier {self.name}: gain must be positive and read noise not negative, found "
                f"{self.gain} e-/adu and {self.read_noise} e-"
            )
            raise ValueError(message)
