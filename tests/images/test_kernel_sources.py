import numpy as np
import pytest
from scipy import ndimage

from astra.images.exposure import MASK_BAD, MASK_NO_DATA, MASK_SAT
from astra.images.kernel_sources import CELL_PIXEL, find_stamp_centres
from tests.images.difference_field import make_exposure, make_stars

SHAPE = (300, 410)
OPTIONS = {"min_peak_snr": 15.0, "saturation_radius": 15, "border": 31, "max_per_cell": 1000}


@pytest.fixture
def field():
    rng = np.random.default_rng(6)
    return make_exposure(rng, SHAPE, make_stars(rng, SHAPE, 120, low=500.0), 3.5, noise=5.0)


def test_sources_are_the_significant_local_maxima(field):
    x, y = find_stamp_centres(field, field, **OPTIONS)
    image, snr = field.image, field.image / np.sqrt(field.variance)
    neighbours = ndimage.generic_filter(snr, lambda v: np.sum(v > 15 / 4), 3, mode="constant")
    peaks = (image == ndimage.maximum_filter(image, 11)) & (snr > 15) & (neighbours >= 5)
    peaks[:31] = peaks[-31:] = peaks[:, :31] = peaks[:, -31:] = False
    assert set(zip(y, x, strict=True)) == set(map(tuple, np.argwhere(peaks)))
    assert len(x) > 30
    assert (np.diff(snr[y, x]) <= 0).all()


def test_only_the_brightest_of_a_cell_are_taken(field):
    every = find_stamp_centres(field, field, **OPTIONS)
    few = find_stamp_centres(field, field, **OPTIONS | {"max_per_cell": 2})
    cells = [(few[1][k] // CELL_PIXEL, few[0][k] // CELL_PIXEL) for k in range(len(few[0]))]
    assert max(cells.count(cell) for cell in cells) == 2
    for cell in set(cells):
        inside = (every[1] // CELL_PIXEL == cell[0]) & (every[0] // CELL_PIXEL == cell[1])
        brightest = every[0][inside][:2]
        assert {few[0][k] for k in range(len(cells)) if cells[k] == cell} == set(brightest)


@pytest.mark.parametrize("in_reference", [True, False])
def test_masked_and_nearly_saturated_sources_are_left_out(field, in_reference):
    x, y = find_stamp_centres(field, field, **OPTIONS)
    mask = field.mask.copy()
    mask[y[0], x[0]] |= MASK_BAD
    mask[y[1] + 15, x[1] - 15] |= MASK_SAT
    masked = field.replace(mask=mask)
    pair = (masked, field) if in_reference else (field, masked)
    left = set(zip(*find_stamp_centres(*pair, **OPTIONS), strict=True))
    assert (x[0], y[0]) not in left
    assert (x[1], y[1]) not in left
    assert len(left) < len(x)


def test_cosmic_rays_are_no_sources(field):
    image = field.image.copy()
    image[150, 200:203] = 1e6
    sharp = field.replace(image=image, variance=np.full_like(field.variance, 25.0))
    x, y = find_stamp_centres(field, sharp, **OPTIONS)
    assert not ((np.abs(x - 201) < 3) & (y == 150)).any()


def test_nothing_usable_is_an_empty_result(field):
    masked = field.replace(mask=np.full_like(field.mask, MASK_NO_DATA))
    nothing = field.replace(image=np.full_like(field.image, np.nan))
    for exposure in (masked, nothing, field.replace(variance=np.zeros_like(field.variance))):
        x, y = find_stamp_centres(exposure, exposure, **OPTIONS)
        assert len(x) == len(y) == 0
