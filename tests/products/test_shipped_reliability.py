"""The shipped model on artefacts and sources, one by one: images of another kind than it was trained on."""

import numpy as np
import pytest

from astra.images.exposure import MASK_SAT
from astra.images.reliability import score_dia_sources
from astra.products.reliability_model import shipped_reliability_model
from tests.images.reliability_field import SHAPE, empty_place, make_scene, nearest, subtract, with_stars

SCIENCE_FWHM, TEMPLATE_FWHM = 3.8, 3.2
REAL_FROM, ARTEFACT_BELOW = 0.5, 0.2


@pytest.fixture(scope="module")
def field():
    """A pair of images of stars, and an empty place on them."""
    science, template, stars = make_scene(seed=11)
    x, y = empty_place(stars)
    return science, template, x + 0.2, y - 0.3


def scores_near(science, template, x, y, within=6.0):
    """Reliability of the detections near a place."""
    result = subtract(science, template)
    arguments = result.dia_sources, result.difference, science, result.matched_template
    scored = score_dia_sources(*arguments, shipped_reliability_model())
    found = scored[nearest(scored, x, y, within)]
    assert len(found) > 0
    return found["reliability"]


def changed(exposure, change):
    """The exposure with something added to its image."""
    return exposure.replace(image=(exposure.image + change).astype(np.float32))


@pytest.mark.parametrize("flux", [1200.0, 4000.0, 20000.0])
def test_new_star_is_real(field, flux):
    science, template, x, y = field
    assert scores_near(with_stars(science, [x], [y], flux, SCIENCE_FWHM), template, x, y).max() > REAL_FROM


def test_star_that_has_gone_is_real(field):
    science, template, x, y = field
    assert scores_near(science, with_stars(template, [x], [y], 4000.0, TEMPLATE_FWHM), x, y).max() > REAL_FROM


@pytest.mark.parametrize("shift", [0.4, 1.0])
def test_dipole_is_no_source(field, shift):
    science, template, x, y = field
    moved = with_stars(science, [x + 0.9 * shift], [y + 0.4 * shift], 20000.0, SCIENCE_FWHM)
    there = with_stars(template, [x], [y], 20000.0, TEMPLATE_FWHM)
    assert scores_near(moved, there, x, y).max() < ARTEFACT_BELOW


@pytest.mark.parametrize("length", [1, 2, 5])
def test_cosmic_ray_is_no_source(field, length):
    science, template, x, y = field
    hit = np.zeros(SHAPE)
    for k in range(length):
        hit[round(y) + k, round(x) + k // 2] = 500.0
    assert scores_near(changed(science, hit), template, x, y).max() < ARTEFACT_BELOW


def test_bad_column_is_no_source(field):
    science, template, x, y = field
    line = np.zeros(SHAPE)
    line[round(y) - 30 : round(y) + 30, round(x)] = 60.0
    assert scores_near(changed(science, line), template, x, y, within=30.0).max() < ARTEFACT_BELOW


def test_halo_of_a_saturated_star_is_no_source(field):
    science, template, x, y = field
    rows, columns = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    images = []
    for exposure, scale, shift in ((science, 1.15, 0.4), (template, 1.0, 0.0)):
        radius = np.hypot(columns - x - shift, rows - y)
        halo = scale * 3000.0 * (np.maximum(radius, 6.0) / 6.0) ** -3.0
        saturated = np.where(radius < 6.0, MASK_SAT, np.uint32(0)).astype(np.uint32)
        image = changed(exposure, halo)
        images.append(
            image.replace(mask=image.mask | saturated, variance=(image.variance + halo).astype(np.float32))
        )
    assert scores_near(*images, x, y, within=20.0).max() < ARTEFACT_BELOW
