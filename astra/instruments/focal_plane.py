"""Where the detectors of a camera look: from pixels over the focal plane to the sky.

Conventions, those of the Rubin data products:

- The focal plane has axes x and y [mm] with the optical axis at (0, 0). The rows of a detector run at its
  ``rotation_deg`` from the x axis, counter-clockwise; its middle is at (``x_mm``, ``y_mm``).
- The sky angle is the position angle of the y axis: from north through east. At 0 the y axis points north; at
  90, east. The x axis then points west, or east in a camera with ``flip_x`` (its images are mirrored).
- Sky and focal plane are related by a gnomonic projection (TAN) about the boresight, without distortion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from astra.instruments.base import Detector

ARCSEC_PER_DEG = 3600.0


@dataclass(frozen=True)
class FocalPlane:
    """Scale and parity of a camera.

    Parameters
    ----------
    pixel_size_mm : float
        Side of a pixel [mm].
    pixel_scale_arcsec : float
        The same on the sky [arcsec].
    flip_x : bool
        True if x points east where y points north.
    vignetted_from_mm : float
        Pixels from this distance from the optical axis on do not see the whole mirror [mm].
    """

    pixel_size_mm: float
    pixel_scale_arcsec: float
    flip_x: bool = False
    vignetted_from_mm: float = math.inf

    def vignetted(self, detector: Detector) -> NDArray[np.bool_] | None:
        """Tell which pixels of a detector are vignetted, shape (n_rows, n_columns); None if none is."""
        x = np.arange(detector.n_columns, dtype=np.float64)[None, :]
        y = np.arange(detector.n_rows, dtype=np.float64)[:, None]
        corners = np.hypot(*self.position_mm(x[:, [0, -1]], y[[0, -1]], detector))
        if corners.max() < self.vignetted_from_mm:  # no pixel is farther out than the farthest corner
            return None
        found: NDArray[np.bool_] = np.hypot(*self.position_mm(x, y, detector)) >= self.vignetted_from_mm
        return found

    def wcs(self, ra: float, dec: float, sky_angle_deg: float, detector: Detector) -> WCS:
        """Sky of a detector for a boresight.

        Parameters
        ----------
        ra, dec : float
            Boresight [deg, ICRS].
        sky_angle_deg : float
            Position angle of the y axis of the focal plane, from north through east [deg].
        detector : Detector
            Which detector.

        Returns
        -------
        wcs : astropy.wcs.WCS
            Gnomonic, for 0-based pixels of the assembled image with ``origin=0``.
        """
        from astropy.wcs import WCS

        rotation = _rotation(detector.rotation_deg)
        angle = math.radians(sky_angle_deg)
        # Columns: where the x and the y axis of the focal plane point, in (east, north).
        to_sky = np.array([[-math.cos(angle), math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        if self.flip_x:
            to_sky[:, 0] *= -1.0
        boresight = -rotation.T @ np.array([detector.x_mm, detector.y_mm]) / self.pixel_size_mm
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.crval = [ra, dec]
        wcs.wcs.crpix = boresight + (np.array([detector.n_columns, detector.n_rows]) + 1.0) / 2.0
        wcs.wcs.cd = to_sky @ rotation * (self.pixel_scale_arcsec / ARCSEC_PER_DEG)
        wcs.array_shape = (detector.n_rows, detector.n_columns)
        return wcs

    def position_mm(
        self, x: NDArray[np.float64] | float, y: NDArray[np.float64] | float, detector: Detector
    ) -> tuple[Any, Any]:
        """Place of a pixel position (0-based) of a detector on the focal plane [mm]."""
        rotation = _rotation(detector.rotation_deg) * self.pixel_size_mm
        dx, dy = x - (detector.n_columns - 1) / 2, y - (detector.n_rows - 1) / 2
        return (
            detector.x_mm + rotation[0, 0] * dx + rotation[0, 1] * dy,
            detector.y_mm + rotation[1, 0] * dx + rotation[1, 1] * dy,
        )


def _rotation(angle_deg: float) -> NDArray[np.float64]:
    """Matrix that turns counter-clockwise; exact for quarter turns."""
    quarters, rest = divmod(angle_deg, 90.0)
    cos, sin = math.cos(math.radians(rest)), math.sin(math.radians(rest))
    turned = np.array([[cos, -sin], [sin, cos]])
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    rotation: NDArray[np.float64] = np.linalg.matrix_power(quarter, int(quarters) % 4) @ turned
    return rotation


def image_corners(wcs: WCS, n_rows: int, n_columns: int) -> NDArray[np.float64]:
    """Sky of the outer corners of an image, in order round it, shape (4, 2) [deg]."""
    x = np.array([-0.5, n_columns - 0.5, n_columns - 0.5, -0.5])
    y = np.array([-0.5, -0.5, n_rows - 0.5, n_rows - 0.5])
    return np.column_stack(wcs.all_pix2world(x, y, 0))
