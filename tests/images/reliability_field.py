"""A small pair of exposures for the tests of reliability: stars, sources to find, artefacts."""

import numpy as np

from astra.images.difference import difference_images
from tests.images.difference_field import add_stars, make_exposure, make_stars

SHAPE = (420, 510)


def calibrated(exposure):
    """The exposure, with what injection asks for."""
    return exposure.replace(metadata={**exposure.metadata, "NJYADU": 1.0})


def make_scene(seed=3, n_stars=110):
    """Science and template of the same stars on one grid."""
    rng = np.random.default_rng(seed)
    stars = make_stars(rng, SHAPE, n_stars)
    science = calibrated(make_exposure(rng, SHAPE, stars, 3.8))
    template = calibrated(make_exposure(rng, SHAPE, stars, 3.2, noise=7.0))
    return science, template, stars


def star_table(stars):
    """What a catalogue of the stars would say."""
    columns = ("x", "y", "ixx", "iyy", "ixy", "extendedness", "snr")
    table = np.zeros(len(stars[0]), dtype=[("id", "i8"), *((name, "f8") for name in columns)])
    table["id"], table["x"], table["y"] = np.arange(len(table)), stars[0], stars[1]
    table["ixx"], table["iyy"], table["snr"] = 6.0, 5.0, stars[2] / 60.0
    table["extendedness"] = np.arange(len(table)) % 3 == 0
    return table


def empty_place(stars, margin=40.0, apart=18.0, shape=SHAPE):
    """Place far from the stars and the edges."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    distance = np.full(shape, np.inf)
    for x, y in zip(stars[0], stars[1], strict=True):
        distance = np.minimum(distance, np.hypot(columns - x, rows - y))
    distance[: int(margin)] = distance[-int(margin) :] = 0.0
    distance[:, : int(margin)] = distance[:, -int(margin) :] = 0.0
    row, column = np.unravel_index(np.argmax(distance), shape)
    assert distance[row, column] > apart
    return float(column), float(row)


def subtract(science, template):
    """The result, and the detection next to a place."""
    return difference_images(science, template)


def nearest(dia_sources, x, y, within=4.0):
    """Rows of the detections near a place."""
    return np.flatnonzero(np.hypot(dia_sources["x"] - x, dia_sources["y"] - y) < within)


def with_stars(exposure, x, y, flux, fwhm):
    """The exposure with stars added, without noise."""
    image = exposure.image.astype(float)
    add_stars(image, x, y, flux, fwhm)
    return exposure.replace(image=image.astype(np.float32))
