"""One detector of one shot as it was read out, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.images.amplifier import Amplifier
from astra.images.exposure import VisitInfo


@dataclass(frozen=True)
class RawImage:
    """A raw image with all that is needed to remove the signature of the instrument.

    Parameters
    ----------
    pixels : ndarray, shape (raw_ny, raw_nx)
        Raw values [adu] with prescan and overscan, as the file has them.
    amplifiers : tuple of Amplifier
        Their assembled sections tile the image.
    info : VisitInfo
        Which exposure this is; ``visit`` is the exposure's identifier.
    reference_gain : float
        Gain of the corrected image [e-/adu], the same for all amplifiers.
    defects : bool ndarray, shape (ny, nx), optional
        True for pixels known to be bad, in the assembled image.
    wcs : astropy.wcs.WCS, optional
        Initial solution, as wrong as the telescope's pointing, for 0-based pixels of the assembled image.
    dark_time_s : float, optional
        Time in which dark current was collected [s]; None if it is the exposure time.
    observation_type : str
        ``science``, ``bias``, ``dark`` or ``flat``.
    vignetted : bool ndarray, shape (ny, nx), optional
        True for pixels that do not see the whole mirror, in the assembled image.
    metadata : dict
        Further cards for the header of what is made of it.
    """

    pixels: NDArray[Any]
    amplifiers: tuple[Amplifier, ...]
    info: VisitInfo
    reference_gain: float = 1.0
    defects: NDArray[np.bool_] | None = None
    wcs: WCS | None = None
    dark_time_s: float | None = None
    observation_type: str = "science"
    vignetted: NDArray[np.bool_] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


FrameSource = RawImage | Callable[[], RawImage]  # one in memory, or a function that reads one
