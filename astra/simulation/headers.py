"""Headers of the raw files of the simulated camera."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from astropy.io import fits

from astra.images.exposure import SECONDS_PER_DAY
from astra.instruments import simcam
from astra.instruments.simcam import SimulatedCamera
from astra.simulation.raw import GAINS, READ_NOISES, SATURATION_ADU, Shot

_MJD_J2000 = 51544.5
_SIDEREAL_DEG_PER_DAY = 360.98564736629
_GMST_J2000_DEG = 280.46061837


@dataclass(frozen=True)
class CalibrationShot:
    """One bias, dark or flat.

    Parameters
    ----------
    day_obs, seq_num : int
        Night as YYYYMMDD, and number in it.
    observation_type : str
        ``bias``, ``dark`` or ``flat``.
    begin_mjd_tai : float
        Start [d, MJD TAI].
    exposure_time_s, dark_time_s : float
        Length, and time in which dark current is collected [s].
    band : str
        Band of a flat; empty for the others.
    level_electrons : float
        Light of a flat on a perfect pixel of the optical axis [e-].
    camera : SimulatedCamera, optional
        Which camera takes it.
    """

    day_obs: int
    seq_num: int
    observation_type: str
    begin_mjd_tai: float
    exposure_time_s: float
    dark_time_s: float
    band: str = ""
    level_electrons: float = 0.0
    camera: SimulatedCamera = simcam.SMALL

    @property
    def visit(self) -> int:
        """Identifier of the shot."""
        return simcam.make_visit(self.day_obs, self.seq_num)


def make_header(shot: Shot | CalibrationShot, detector: int) -> fits.Header:
    """Make the header of a raw file of one detector of one shot."""
    own = _sky_cards(shot) if isinstance(shot, Shot) else _calibration_cards(shot)
    end = shot.begin_mjd_tai + shot.exposure_time_s / SECONDS_PER_DAY
    cards: list[tuple[str, Any, str]] = [
        ("INSTRUME", shot.camera.name, "camera"),
        ("OBSID", shot.camera.make_obs_id(shot.day_obs, shot.seq_num), "name of the shot"),
        ("DAYOBS", shot.day_obs, "night, YYYYMMDD"),
        ("SEQNUM", shot.seq_num, "number in the night"),
        ("DETECTOR", detector, "CCD"),
        ("TIMESYS", "TAI", "time scale"),
        ("MJD-BEG", shot.begin_mjd_tai, "[d] start of the exposure"),
        ("MJD-END", end, "[d] end of the exposure"),
        ("EXPTIME", shot.exposure_time_s, "[s] open-shutter time"),
        *own,
        ("SATURATE", SATURATION_ADU, "[adu] raw value of saturation"),
    ]
    for index in range(simcam.N_AMPLIFIERS):
        cards.append((f"GAIN{index + 1}", GAINS[detector][index], "[e-/adu]"))
        cards.append((f"RDNOISE{index + 1}", READ_NOISES[detector][index], "[e-]"))
    return fits.Header(cards)


def _sky_cards(shot: Shot) -> list[tuple[str, Any, str]]:
    azimuth, zenith_angle = horizontal(shot.ra, shot.dec, shot.begin_mjd_tai)
    return [
        ("FILTER", f"sim-{shot.band}", "physical filter"),
        ("OBSTYPE", "science", "science, bias, dark or flat"),
        ("OBJECT", "simulated field", "target"),
        ("PROGRAM", "demo", "science programme"),
        (
            "GROUP",
            shot.group_name or shot.camera.make_obs_id(shot.day_obs, shot.seq_num),
            "shots of one group",
        ),
        ("REASON", "science", "why it was taken"),
        ("SEQSTART", shot.seq_num if shot.seq_start is None else shot.seq_start, "first shot of the visit"),
        ("SEQEND", shot.seq_num if shot.seq_end is None else shot.seq_end, "last shot of the visit"),
        ("DARKTIME", shot.exposure_time_s, "[s] time of dark current"),
        ("RA", shot.ra, "[deg] pointing, ICRS"),
        ("DEC", shot.dec, "[deg] pointing, ICRS"),
        ("ROTANG", shot.rotation_deg, "[deg] position angle of y, N to E"),
        ("AZ", azimuth, "[deg] azimuth at the start, N to E"),
        ("ZD", zenith_angle, "[deg] zenith angle at the start"),
    ]


def _calibration_cards(shot: CalibrationShot) -> list[tuple[str, Any, str]]:
    cards: list[tuple[str, Any, str]] = [
        ("OBSTYPE", shot.observation_type, "science, bias, dark or flat"),
        ("OBJECT", shot.observation_type, "target"),
        ("PROGRAM", "calibration", "science programme"),
        ("GROUP", shot.camera.make_obs_id(shot.day_obs, shot.seq_num), "shots of one group"),
        ("REASON", "calibration", "why it was taken"),
        ("DARKTIME", shot.dark_time_s, "[s] time of dark current"),
    ]
    return [("FILTER", f"sim-{shot.band}", "physical filter"), *cards] if shot.band else cards


def horizontal(ra: float, dec: float, mjd: float) -> tuple[float, float]:
    """Azimuth (from north through east) and zenith angle of a direction at the simulated site [deg].

    By mean sidereal time, without precession and refraction: good to half a degree.

    Parameters
    ----------
    ra, dec : float
        Direction [deg, ICRS].
    mjd : float
        Moment [d].
    """
    site = simcam.camera().plan.site
    if site is None:
        raise ValueError("the simulated camera has no site")
    sidereal = _GMST_J2000_DEG + _SIDEREAL_DEG_PER_DAY * (mjd - _MJD_J2000) + site.longitude_deg
    hour_angle, latitude, declination = (math.radians(a) for a in (sidereal - ra, site.latitude_deg, dec))
    south = math.cos(hour_angle) * math.cos(declination) * math.sin(latitude)
    south -= math.sin(declination) * math.cos(latitude)
    west = math.sin(hour_angle) * math.cos(declination)
    up = math.sin(declination) * math.sin(latitude)
    up += math.cos(declination) * math.cos(latitude) * math.cos(hour_angle)
    zenith_angle = math.degrees(math.acos(min(max(up, -1.0), 1.0)))
    return math.degrees(math.atan2(-west, -south)) % 360.0, zenith_angle
