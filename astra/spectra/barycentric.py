"""The barycentric correction of velocities, for any number of observations at once and without any download.

The place of the Earth comes from astropy's built-in ephemeris. The rotation of the Earth needs UT1, of
which the tables that come with astropy are enough: 1 s of it would change the correction by less than 0.04
m/s.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Site:
    """An observatory: east longitude and latitude [deg], height [m]."""

    longitude: float
    latitude: float
    height: float


SITES = {
    "apo25m": Site(-105.820417, 32.780361, 2788.0),
    "apo1m": Site(-105.820417, 32.780361, 2788.0),
    "lco25m": Site(-70.692000, -29.014667, 2282.0),
}
"""By the name of the telescope in APOGEE files."""


def site_of(telescope: str) -> Site | None:
    """Return the place of a telescope, by its name in the files of any release; None if it is not known."""
    name = telescope.strip().lower()
    if name in SITES:
        return SITES[name]
    if name.startswith("sdss 2.5"):
        return SITES["apo25m"]
    return SITES["lco25m"] if "du pont" in name else None


def barycentric_correction(
    ra: NDArray[np.float64], dec: NDArray[np.float64], jd_mid: NDArray[np.float64], site: Site
) -> NDArray[np.float64]:
    """Return what composes with velocities relative to an observatory to barycentric ones.

    Parameters
    ----------
    ra, dec : float64 ndarray, shape (n,)
        Of the targets [deg, ICRS].
    jd_mid : float64 ndarray, shape (n,)
        Middle of the observations [d, JD UTC].
    site : Site
        Where.

    Returns
    -------
    bc : float64 ndarray, shape (n,)
        [km/s]; NaN where a number is not finite.
    """
    from astropy import units
    from astropy.coordinates import EarthLocation, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers
    from astropy.utils.exceptions import AstropyWarning
    from erfa import ErfaWarning

    ra, dec, jd_mid = (np.atleast_1d(np.asarray(values, np.float64)) for values in (ra, dec, jd_mid))
    result = np.full(np.broadcast(ra, dec, jd_mid).shape, np.nan)
    usable = np.isfinite(ra) & (np.abs(dec) <= 90.0) & (jd_mid > 2_400_000) & (jd_mid < 2_500_000)
    if not usable.any():
        return result
    place = EarthLocation.from_geodetic(site.longitude, site.latitude, site.height)
    with (
        iers.conf.set_temp("auto_download", False),
        iers.conf.set_temp("auto_max_age", None),
        iers.conf.set_temp("iers_degraded_accuracy", "ignore"),
        warnings.catch_warnings(),
    ):
        for category in (AstropyWarning, ErfaWarning):  # dates after the last table
            warnings.simplefilter("ignore", category)
        time = Time(jd_mid[usable], format="jd", scale="utc", location=place)
        target = SkyCoord(ra[usable], dec[usable], unit="deg")
        result[usable] = target.radial_velocity_correction("barycentric", time).to_value(units.km / units.s)
    return result
