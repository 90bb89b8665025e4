"""Cameras of a few pixels, as TOML and as files, for the tests."""

import copy
import tomllib

import numpy as np
from astropy.io import fits

from astra.instruments.camera_tables import parse_camera
from astra.instruments.toml_camera import TomlCamera

# Two amplifiers of 6 rows and 5 columns, read from the lower left and the upper right; a 10 x 6 image.
TWO_AMPLIFIERS = """
name = "testcam"
description = "two amplifiers"
pixel_scale_arcsec = 0.5
reference_gain = 2.0

[site]
longitude_deg = -70.8
latitude_deg = -30.2
height_m = 2200

[files]
patterns = ["t*.fits", "t*.fits.*"]
layout = "detector"
require = { INSTRUME = "TestCam" }

[exposure]
seq_num = "SEQ"
begin = "DATE-OBS"
exposure_time_s = "EXPTIME"
physical_filter = "FILTER"
target_name = "OBJECT"
observation_type = { key = "IMAGETYP", map = { "light*" = "science", "zero" = "bias", "flat" = "flat" } }
tracking_ra = { key = "RA", unit = "hour" }
tracking_dec = "DEC"
sky_angle_deg = { value = 30.0 }

[filters]
"SDSS r*" = "r"
"SDSS g*" = "g"

[focal_plane]
pixel_size_mm = 0.015

[[amplifiers]]
name = "A"
data = "[3:7,1:6]"
overscan = "[8:10,1:6]"
prescan = "[1:2,1:6]"
assembled = "[1:5,1:6]"
gain = "GAIN1"
read_noise = 4.0
saturation = 60000

[[amplifiers]]
name = "B"
data = "[13:17,1:6]"
overscan = "[18:20,1:6]"
assembled = "[10:6,6:1]"
gain = { key = "GAIN2" }
read_noise = "RON2"
saturation = 50000

[[detectors]]
detector = 3
name = "T3"
x_mm = 1.5
y_mm = -0.6
rotation_deg = 90
defects = ["[2:2,1:6]"]
"""

HEADER = {
    "INSTRUME": "TestCam",
    "SEQ": 12,
    "DATE-OBS": "2026-11-21T02:00:00",
    "EXPTIME": 30.0,
    "FILTER": "SDSS r (1)",
    "OBJECT": "field 7",
    "IMAGETYP": "light frame",
    "RA": "10:00:24.0",
    "DEC": "-29:30:00",
    "GAIN1": 1.5,
    "GAIN2": 2.5,
    "RON2": 6.0,
}


def content(**changes):
    """The two-amplifier camera as `tomllib` reads it, with tables or values at the top replaced."""
    return {**tomllib.loads(TWO_AMPLIFIERS), **changes}


def changed(path, value):
    """The same with one value, at keys and numbers joined by dots, set; or removed, for None."""
    found = tomllib.loads(TWO_AMPLIFIERS)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    inner = found
    for part in parents:
        inner = inner[part] if isinstance(inner, list) else inner.setdefault(part, {})
    if value is None:
        del inner[last]
    else:
        inner[last] = copy.deepcopy(value)
    return found


def camera(given=None, folder=None):
    """The camera of a content."""
    return TomlCamera(parse_camera(given or content(), "testcam.toml", folder))


def raw_pixels():
    """Raw frame in which every pixel tells its place: 1000 + 100 row + column, shape (6, 20)."""
    rows, columns = np.indices((6, 20))
    return (1000 + 100 * rows + columns).astype(np.uint16)


def write_raw(path, header=None, pixels=None, **cards):
    """Write a raw of the two-amplifier camera, with cards changed or, for None, removed."""
    own = {key.replace("_OBS", "-OBS"): value for key, value in cards.items()}
    given = {**HEADER, **(header or {}), **own}
    hdu = fits.PrimaryHDU(raw_pixels() if pixels is None else pixels)
    hdu.header.update({key: value for key, value in given.items() if value is not None})
    hdu.writeto(path, overwrite=True)
    return path
