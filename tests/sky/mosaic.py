"""A camera of three detectors that are turned against each other, and exposures for it."""

import dataclasses

import numpy as np
from astropy.wcs import WCS

from astra.instruments.base import Detector
from astra.sky.visits import ExposureRecord

PIXEL_MM = 0.015
SCALE_DEG = 0.4 / 3600


class Mosaic:
    """Geometry alone."""

    name = "mosaic"
    pixel_scale_arcsec = 0.4
    detectors = (
        Detector(0, "A", n_rows=400, n_columns=300, x_mm=-4.0, y_mm=0.5),
        Detector(1, "B", n_rows=400, n_columns=300, x_mm=3.0, y_mm=0.0, rotation_deg=90.0),
        Detector(7, "C", n_rows=200, n_columns=500, x_mm=0.0, y_mm=7.0, rotation_deg=37.0),
    )

    def boresight_wcs(self, ra, dec, sky_angle_deg, detector):
        """Gnomonic, east to the left."""
        chip = next(chip for chip in self.detectors if chip.detector == detector)
        to_plane = rotation(chip.rotation_deg)
        middle = np.array([chip.n_columns - 1, chip.n_rows - 1]) / 2
        # pixel of the middle of the focal plane: x_mm + PIXEL_MM * R (p - middle) = 0
        crpix = middle - to_plane.T @ np.array([chip.x_mm, chip.y_mm]) / PIXEL_MM
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [ra, dec]
        wcs.wcs.crpix = crpix + 1
        wcs.wcs.cd = SCALE_DEG * np.diag([-1.0, 1.0]) @ rotation(sky_angle_deg) @ to_plane
        return wcs

    def group_id(self, group_name):
        """As most cameras do."""
        from astra.sky.grouping import group_id_of_digits

        return group_id_of_digits(group_name)


class Drifting:
    """A camera without geometry."""

    name = "mosaic"
    pixel_scale_arcsec = 0.4
    detectors = Mosaic.detectors
    group_id = Mosaic.group_id

    def boresight_wcs(self, ra, dec, sky_angle_deg, detector):
        """There is none."""


def rotation(angle_deg):
    """Matrix that turns counter-clockwise."""
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[cos, -sin], [sin, cos]])


def snap(number, first=None, last=None, **changes):
    """Exposure 20220405 00347 and the like, as three of Rubin's were taken."""
    record = ExposureRecord(
        instrument="mosaic",
        exposure=2022040500000 + number,
        obs_id=f"MO_O_20220405_{number:06d}",
        day_obs=20220405,
        seq_num=number,
        seq_start=number if first is None else first,
        seq_end=number if last is None else last,
        group_name=f"2022-04-06T02:58:07.{number if first is None else first:03d}",
        band="r",
        physical_filter="r_03",
        begin_mjd_tai=59675.12 + number * 4e-4,
        end_mjd_tai=59675.12 + number * 4e-4 + 30 / 86400,
        exposure_time_s=30.0,
        target_name="field",
        science_program="survey",
        observation_reason="science",
        tracking_ra=12.5,
        tracking_dec=-30.0,
        sky_angle=17.0,
        azimuth=350.0,
        zenith_angle=20.0,
    )
    return dataclasses.replace(record, **changes)


def snaps():
    """Exposure 347 alone, and the two snaps 348 and 349."""
    return [snap(347), snap(348, 348, 349), snap(349, 348, 349)]
