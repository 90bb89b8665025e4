import numpy as np
import pytest
from star_field import gaussian_image

from astra.images.higher_moments import COLUMNS, set_higher_moments
from astra.images.moments import Pixels, adaptive_moments

SHAPE = 80, 110
CENTRE = 52.3, 41.7


def star_table(image, owner=None):
    """A table of one star, its second moments measured; and what it was measured on."""
    owner = np.zeros(SHAPE, dtype=np.int32) if owner is None else owner
    pixels = Pixels(image, np.ones(SHAPE), owner)
    found = adaptive_moments(pixels, np.array([1]), np.array([CENTRE]), 2.0, 20.0)[0]
    assert found[5] == 0
    names = ["x", "y", "ixx", "ixy", "iyy", *COLUMNS]
    stars = np.zeros(1, dtype=[("id", "i8"), *((name, "f8") for name in names)])
    stars["id"] = 1
    for name in COLUMNS:
        stars[name] = np.nan
    stars["x"], stars["y"] = CENTRE
    for k, name in enumerate(("ixx", "ixy", "iyy")):
        stars[name] = found[k]
    return stars, pixels


def moments_of(image, owner=None):
    stars, pixels = star_table(image, owner)
    set_higher_moments(stars, pixels, np.ones(1, dtype=bool))
    return {name: float(stars[name][0]) for name in COLUMNS}


@pytest.mark.parametrize(("sigma_x", "sigma_y"), [(2.0, 2.0), (2.6, 1.8)])
def test_an_elliptical_gaussian_has_the_moments_of_a_round_one_of_half_the_variance(sigma_x, sigma_y):
    found = moments_of(gaussian_image(SHAPE, *CENTRE, 1e4, sigma_x, sigma_y))
    for name in ("m30", "m21", "m12", "m03", "m31", "m13"):
        assert found[name] == pytest.approx(0.0, abs=2e-3)
    assert found["m40"] == pytest.approx(0.75, rel=0.01)
    assert found["m04"] == pytest.approx(0.75, rel=0.01)
    assert found["m22"] == pytest.approx(0.25, rel=0.01)


def test_a_halo_to_one_side_is_coma_there_and_broader_wings_are_kurtosis():
    x, y = CENTRE
    core = gaussian_image(SHAPE, x, y, 1e4, 2.0)
    lopsided = moments_of(core + gaussian_image(SHAPE, x + 3.0, y, 2e3, 2.5))
    mirrored = moments_of(core + gaussian_image(SHAPE, x - 3.0, y, 2e3, 2.5))
    assert lopsided["m30"] + lopsided["m12"] > 0.02
    assert mirrored["m30"] == pytest.approx(-lopsided["m30"], rel=0.02)
    assert lopsided["m21"] + lopsided["m03"] == pytest.approx(0.0, abs=2e-3)
    winged = moments_of(core + gaussian_image(SHAPE, x, y, 5e3, 5.0))
    assert winged["m40"] + 2 * winged["m22"] + winged["m04"] > 2.1


def test_pixels_of_a_neighbour_are_replaced_by_those_opposite():
    star = gaussian_image(SHAPE, *CENTRE, 1e4, 2.0)
    owner = np.zeros(SHAPE, dtype=np.int32)
    owner[:, 57:] = 2
    spoilt = star.copy()
    spoilt[:, 57:] += 500.0
    clean, disturbed = moments_of(star), moments_of(spoilt, owner)
    for name in COLUMNS:
        assert disturbed[name] == pytest.approx(clean[name], abs=0.12)
    assert disturbed["m40"] == pytest.approx(clean["m40"], rel=0.05)


def test_others_and_none_are_left_alone():
    stars, pixels = star_table(gaussian_image(SHAPE, *CENTRE, 1e4, 2.0))
    set_higher_moments(stars, pixels, np.zeros(1, dtype=bool))
    assert np.isnan(stars["m30"]).all()
    stars["ixx"] = np.nan
    set_higher_moments(stars, pixels, np.ones(1, dtype=bool))
    assert np.isnan(stars["m30"]).all()
