"""The sky round pixel positions, to first order: errors, lengths and directions of what is measured there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.wcs import WCS

FloatArray = NDArray[np.float64]

ARCSEC_PER_DEG = 3600.0
STEP_PIXEL = 0.5


@dataclass(frozen=True)
class LocalSky:
    """Positions on the sky, and how they change with the pixel.

    Parameters
    ----------
    ra, dec : float64 ndarray, shape (n,)
        ICRS [deg].
    jacobian : float64 ndarray, shape (n, 2, 2)
        Change to the east (of ra times cos(dec)) and to the north, by x and by y [deg/pixel].
    """

    ra: FloatArray
    dec: FloatArray
    jacobian: FloatArray

    @property
    def scale_arcsec(self) -> FloatArray:
        """Side of a pixel, the root of its area [arcsec], shape (n,)."""
        j = self.jacobian
        area = j[:, 0, 0] * j[:, 1, 1] - j[:, 0, 1] * j[:, 1, 0]
        scale: FloatArray = ARCSEC_PER_DEG * np.sqrt(np.abs(area))
        return scale

    def covariance(self, of_pixels: FloatArray) -> FloatArray:
        """Covariance to the east and north [deg**2] of one of x and y [pixel**2], shape (n, 2, 2)."""
        covariance: FloatArray = self.jacobian @ of_pixels @ np.swapaxes(self.jacobian, 1, 2)
        return covariance

    def vector(self, dx: FloatArray, dy: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Length [arcsec], and bearing from north through east [deg, 0 to 360), of vectors [pixel]."""
        to_sky = np.einsum("nij,nj->ni", self.jacobian, np.stack([dx, dy], axis=-1))
        length = ARCSEC_PER_DEG * np.hypot(to_sky[:, 0], to_sky[:, 1])
        bearing = np.degrees(np.arctan2(to_sky[:, 0], to_sky[:, 1])) % 360.0
        return length, np.where(bearing >= 360.0, 0.0, bearing)


def make_local_sky(wcs: WCS | None, x: FloatArray, y: FloatArray) -> LocalSky:
    """Sky round positions [pixel]; NaN without a WCS, or for positions that are not finite."""
    n = len(x)
    if wcs is None or n == 0:
        return LocalSky(np.full(n, np.nan), np.full(n, np.nan), np.full((n, 2, 2), np.nan))
    dx, dy = STEP_PIXEL * np.array([0, 1, -1, 0, 0]), STEP_PIXEL * np.array([0, 0, 0, 1, -1])
    ra, dec = wcs.all_pix2world((x + dx[:, None]).ravel(), (y + dy[:, None]).ravel(), 0)
    ra, dec = ra.reshape(5, n), dec.reshape(5, n)
    columns = []
    for high, low in ((1, 2), (3, 4)):
        east = ((ra[high] - ra[low] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec[0]))
        columns.append(np.stack([east, dec[high] - dec[low]], axis=1) / (2 * STEP_PIXEL))
    return LocalSky(ra[0], dec[0], np.stack(columns, axis=2))
