import numpy as np
import pytest
from star_field import gaussian_image, make_exposure

from astra.images.background import (
    _Axis,
    add_mesh,
    double_samples,
    fit_background,
    is_unusable,
    subtract_background,
    sum_cells,
)
from astra.images.exposure import MASK_BAD, MASK_SAT

SHAPE = 200, 330


def sloping_sky(rng):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    sky = 100 + 0.03 * x - 0.02 * y
    return sky, sky + rng.normal(size=SHAPE)


def test_a_slope_is_recovered_within_its_noise():
    sky, image = sloping_sky(np.random.default_rng(0))
    background = fit_background(make_exposure(image), mesh_pixel=50)
    assert np.abs(background.model - sky).max() < 1.0
    assert abs(np.mean(background.model - sky)) < 0.05


def test_noise_of_a_flat_sky_is_that_of_its_pixels():
    image = 50 + 3.0 * np.random.default_rng(0).normal(size=SHAPE)
    background = fit_background(make_exposure(image), mesh_pixel=50)
    assert background.noise == pytest.approx(3.0, rel=0.03)
    assert background.level == pytest.approx(50.0, abs=0.1)


def test_integer_counts_leave_no_step():
    for level in (100.0, 100.25, 100.5, 100.75):
        image = np.rint(level + 5.0 * np.random.default_rng(8).normal(size=SHAPE))
        background = fit_background(make_exposure(image), mesh_pixel=50)
        assert np.mean(background.model) == pytest.approx(np.mean(image), abs=0.1)


def test_masked_sources_leave_no_trace():
    sky, image = sloping_sky(np.random.default_rng(0))
    star = gaussian_image(SHAPE, 100, 80, 1e6, 8.0)
    with_star = fit_background(make_exposure(image + star), mesh_pixel=50, masked=star > 0.05)
    assert np.abs(with_star.model - sky).max() < 1.5


def test_bad_and_saturated_pixels_do_not_count():
    sky, image = sloping_sky(np.random.default_rng(0))
    mask = np.zeros(SHAPE, dtype=np.uint32)
    image[20:60, 30:90], mask[20:60, 30:90] = np.nan, MASK_BAD
    image[100:140, 200:260], mask[100:140, 200:260] = 6e4, MASK_SAT
    background = fit_background(make_exposure(image, mask=mask), mesh_pixel=50)
    assert np.abs(background.model - sky).max() < 1.5


def test_an_image_without_usable_pixels_has_no_sky():
    background = fit_background(make_exposure(np.full(SHAPE, np.nan)))
    assert not background.model.any()
    assert background.model.shape == SHAPE


def test_a_mesh_larger_than_the_image_is_one_cell():
    background = fit_background(make_exposure(np.full((20, 30), 5.0)), mesh_pixel=64)
    assert background.model == pytest.approx(5.0)


def test_subtraction_leaves_the_input_and_the_variance_alone():
    exposure = make_exposure(np.full(SHAPE, 7.0))
    subtracted = subtract_background(exposure, fit_background(exposure))
    assert subtracted.image == pytest.approx(0.0)
    assert exposure.image == pytest.approx(7.0)
    assert subtracted.variance is exposure.variance


def test_pixels_without_variance_are_unusable():
    variance = np.ones((3, 4))
    variance[1, 2], variance[2, 3] = 0.0, np.nan
    assert np.flatnonzero(is_unusable(make_exposure(np.ones((3, 4)), variance))).tolist() == [6, 11]


def test_compiled_sums_and_meshes_equal_their_numpy_twin():
    rng = np.random.default_rng(7)
    image, model = rng.normal(size=(2, 50, 80)).astype(np.float32)
    excluded = rng.random((50, 80)) < 0.1
    rows, columns = _Axis.make(50, 16), _Axis.make(80, 16)
    mesh = rng.normal(size=(3, 5))
    by_columns = [np.interp(np.arange(80), cell_middles(80, 5), row) for row in mesh]
    plain = np.array(
        [np.interp(np.arange(50), cell_middles(50, 3), line) for line in np.transpose(by_columns)]
    ).T
    rest = image - model - plain
    kept = (np.abs(rest) < 1.5) & ~excluded
    sums = sum_cells((image, model, excluded), mesh, rows, columns, 1.5)
    for found, values in zip(sums, (kept, rest * kept, rest**2 * kept), strict=True):
        expected = np.zeros((3, 5))
        np.add.at(expected, np.ix_(rows.cell, columns.cell), values)
        assert found == pytest.approx(expected, rel=1e-5)
    added = model.copy()
    add_mesh(added, mesh, rows, columns)
    assert added == pytest.approx(model + plain, abs=1e-5)


def cell_middles(n, n_cells):
    """Middles of equal cells whose edges are cut to whole pixels."""
    edges = np.linspace(0, n, n_cells + 1).astype(int)
    return (edges[:-1] + edges[1:] - 1) / 2


def test_a_part_of_the_pixels_of_large_cells_gives_the_sky_of_all():
    rng = np.random.default_rng(9)
    y, x = np.mgrid[:384, :521]
    sky = 100 + 0.03 * x - 0.02 * y + 1e-4 * (x - 200.0) ** 2
    image = sky + 4.0 * rng.normal(size=sky.shape)
    image[::2, ::2] += 400.0 * (rng.random(image[::2, ::2].shape) < 0.01)
    background = fit_background(make_exposure(image), mesh_pixel=64)
    middle = (background.model - sky)[40:-40, 40:-40]
    assert np.abs(middle).max() < 1.0
    assert abs(middle.mean()) < 0.05
    assert background.noise == pytest.approx(4.0, rel=0.03)


def test_where_every_second_pixel_is_unusable_the_others_tell():
    image = np.full((150, 200), 7.0)
    image[::2, ::2] = np.nan
    assert fit_background(make_exposure(image), mesh_pixel=64).model == pytest.approx(7.0, abs=1e-3)


@pytest.mark.parametrize("shape", [(9, 14), (8, 13)])
def test_samples_are_joined_by_lines(shape):
    y, x = np.indices(shape).astype(np.float32)
    plane = 2 * x - 3 * y + 1
    found = double_samples(np.ascontiguousarray(plane[::2, ::2]), np.empty(shape, np.float32))
    inner = np.s_[: shape[0] - 1, : shape[1] - 1]
    assert found[inner] == pytest.approx(plane[inner])
