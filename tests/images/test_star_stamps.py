import numpy as np
import pytest
from star_field import gaussian_image

from astra.images.moments import Pixels
from astra.images.star_stamps import StarStamps

SHAPE, SIZE, SIGMA = 80, 31, 1.6


def cut_stars(places, sky=3.0, flux=5000.0, owner=None):
    """Stars of equal flux on a sky, and their stamps."""
    image = np.full((SHAPE, SHAPE + 30), sky)
    for x, y in places:
        image += gaussian_image(image.shape, x, y, flux, SIGMA)
    stars = np.zeros(len(places), dtype=[("id", "i8"), ("x", "f8"), ("y", "f8")])
    stars["id"], (stars["x"], stars["y"]) = 1 + np.arange(len(places)), np.transpose(places)
    owner = np.zeros(image.shape, np.int32) if owner is None else owner
    return StarStamps.cut(Pixels(image, image / 2 + 4.0, owner), stars, SIZE)


def models(stamps):
    middle = SIZE // 2
    places = zip(middle + stamps.dx, middle + stamps.dy, strict=True)
    return np.stack([gaussian_image((SIZE, SIZE), x, y, 1.0, SIGMA) for x, y in places])


def test_flux_and_sky_are_those_put_in():
    stamps = cut_stars([(30.3, 40.4), (70.0, 39.6)])
    fitted = stamps.fit_amplitudes(models(stamps), stamps.usable)
    assert fitted.sky == pytest.approx(3.0, abs=1e-6)
    assert fitted.flux == pytest.approx(5000.0, rel=1e-6)
    assert np.abs(stamps.residuals(models(stamps), fitted)[stamps.usable]).max() < 1e-9


def test_noise_is_that_of_sky_and_photons():
    stamps = cut_stars([(30.3, 40.4)])
    noise = stamps.noise(stamps.fit_amplitudes(models(stamps), stamps.usable))
    assert noise.sky_variance == pytest.approx(3.0 / 2 + 4)
    assert noise.per_count == pytest.approx(0.5, rel=1e-3)


def test_pixels_of_others_and_beyond_the_border_are_not_usable():
    owner = np.zeros((SHAPE, SHAPE + 30), np.int32)
    owner[40, 40], owner[41, 40], owner[42, 40] = 1, 9, -1
    stamps = cut_stars([(38.0, 4.0), (36.0, 40.0)], owner=owner)
    assert not stamps.usable[0, : SIZE // 2 - 4].any()
    owner[40, 40] = 2
    stamps = cut_stars([(38.0, 4.0), (36.0, 40.0)], owner=owner)
    assert stamps.usable[1].sum() == SIZE**2 - 2
    assert stamps.values[1][~stamps.usable[1]].tolist() == [0.0, 0.0]


def test_a_faint_neighbour_is_not_plausible():
    stamps = cut_stars([(40.0, 40.0), (48.0, 40.0)])
    model = models(stamps)
    fitted = stamps.fit_amplitudes(model, stamps.usable)
    plausible = stamps.is_plausible(stamps.residuals(model, fitted), model, fitted.flux)
    middle = SIZE // 2
    assert not plausible[0, middle, middle + 8]
    assert plausible[0, middle - 8, middle]
    assert plausible[0, middle, middle]


def test_a_fine_grid_takes_the_nearest_pixels():
    stamps = cut_stars([(40.25, 40.0)])
    plane = np.arange(SIZE**2, dtype=float).reshape(1, SIZE, SIZE)
    values, weight = stamps.nearest(plane, 2)
    # Node 30 is the star's centre, a quarter of a pixel right of the middle of its pixel: half weight.
    assert values.shape == weight.shape == (1, 61, 61)
    assert (values[0, 30, 30], weight[0, 30, 30]) == (plane[0, 15, 15], 0.5)
    assert (values[0, 30, 31], weight[0, 30, 31]) == (plane[0, 15, 16], 0.5)
    assert weight[0, 31, 30] == 0.0


def test_residuals_move_to_the_centre_of_the_star():
    stamps = cut_stars([(40.25, 39.6)])
    centred = stamps.to_nodes(models(stamps), 1)
    assert centred[0] == pytest.approx(gaussian_image((SIZE, SIZE), 15, 15, 1.0, SIGMA), abs=1e-4)
