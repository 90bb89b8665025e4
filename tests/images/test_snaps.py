import dataclasses

import numpy as np
import pytest
from star_field import SHAPE, SKY, gaussian_image, make_exposure, make_wcs

from astra.errors import DataError
from astra.images.exposure import MASK_BAD, MASK_CR, MASK_SAT
from astra.images.snaps import combine_snaps

STARS = [(60.3, 40.8, 8e4), (150.0, 120.5, 2e4), (210.7, 60.2, 5e3)]
TIMES = 30.0, 15.0


def light(fwhm_factor=1.0):
    return sum(gaussian_image(SHAPE, x, y, flux, 1.5 * fwhm_factor) for x, y, flux in STARS)


def snap(seed, *, time=30.0, exposure=1, middle=60000.0, fwhm_factor=1.0, sky=SKY):
    rng = np.random.default_rng(seed)
    expected = light(fwhm_factor) * time / 30.0 + sky * time / 30.0
    image = rng.poisson(expected) + rng.normal(0, 3.0, SHAPE)
    made = make_exposure(image, np.maximum(image, 1.0) + 9.0, wcs=make_wcs())
    info = dataclasses.replace(made.info, visit=exposure, exposure_time_s=time, midpoint_mjd_tai=middle)
    return made.replace(info=info)


@pytest.fixture(scope="module")
def pair():
    return [snap(1), snap(2, time=15.0, exposure=2, middle=60000.001)]


def test_counts_and_exposure_times_add_up(pair):
    combined = combine_snaps(pair, visit=77)
    assert combined.metadata["NEXP"] == 2
    assert (combined.info.visit, combined.info.exposure_time_s) == (77, 45.0)
    assert combined.info.midpoint_mjd_tai == pytest.approx(60000.001 / 3 + 60000.0 * 2 / 3, abs=1e-9)
    expected = 1.5 * (light() + SKY)
    pull = (combined.image - expected) / np.sqrt(expected + 18.0)
    assert np.std(pull) == pytest.approx(1.0, abs=0.03)
    assert np.mean(pull) == pytest.approx(0.0, abs=0.02)


def test_a_cosmic_ray_on_one_exposure_is_gone(pair):
    rng = np.random.default_rng(3)
    hit = pair[0].image.copy()
    y, x = rng.integers(5, SHAPE[0] - 5, 60), rng.integers(5, SHAPE[1] - 5, 60)
    hit[y, x] += 1500.0
    combined = combine_snaps([pair[0].replace(image=hit), pair[1]], visit=77)
    expected = 1.5 * (light() + SKY)
    pull = (combined.image - expected)[y, x] / np.sqrt(combined.variance[y, x])
    assert np.abs(pull).max() < 5.0
    assert np.std(pull) == pytest.approx(1.0, abs=0.3)
    # Only a third of the light is left there, so the noise is three times that of 15 s.
    assert np.median(combined.variance[y, x]) == pytest.approx(9 * (SKY / 2 + 9.0), rel=0.1)
    assert (combined.mask[y, x] == 0).all()


def test_a_cosmic_ray_on_both_exposures_at_one_pixel_cannot_be_told(pair):
    both = [exposure.replace(image=exposure.image + 0.0) for exposure in pair]
    for exposure in both:
        exposure.image[100, 40] += 3000.0 * exposure.info.exposure_time_s / 30.0
    assert combine_snaps(both, visit=77).image[100, 40] > 4000.0


def test_stars_keep_their_light_when_the_seeing_changes():
    combined = combine_snaps([snap(5), snap(6, fwhm_factor=1.15)], visit=77)
    for x, y, flux in STARS:
        rows, columns = slice(int(y) - 12, int(y) + 13), slice(int(x) - 12, int(x) + 13)
        total = np.sum(combined.image[rows, columns] - 2 * SKY)
        assert total == pytest.approx(2 * flux, abs=5 * np.sqrt(2 * flux + 2 * 625 * (SKY + 9)))


def test_a_changed_sky_leaves_no_step_where_a_pixel_is_lost():
    first, second = snap(7), snap(8, sky=3 * SKY)
    mask = first.mask.copy()
    mask[170:190, 20:60] |= MASK_BAD
    combined = combine_snaps([first.replace(mask=mask), second], visit=77)
    inside, outside = combined.image[170:190, 20:60].mean(), combined.image[170:190, 80:120].mean()
    assert inside == pytest.approx(outside, abs=4 * np.sqrt(4 * (3 * SKY + 9) / 800))


def test_masks_stay_where_no_exposure_helps(pair):
    masks = [exposure.mask.copy() for exposure in pair]
    masks[0][10, 10] |= MASK_CR
    masks[1][10, 10] |= MASK_BAD
    masks[0][50, 50] |= MASK_CR
    masks[1][70, 70] |= MASK_SAT
    combined = combine_snaps([e.replace(mask=m) for e, m in zip(pair, masks, strict=True)], visit=77)
    assert combined.mask[10, 10] == MASK_CR | MASK_BAD
    assert combined.mask[50, 50] == 0
    assert combined.mask[70, 70] == MASK_SAT


def test_one_exposure_stays_as_it_is(pair):
    combined = combine_snaps(pair[:1], visit=77)
    assert combined.image is pair[0].image
    assert (combined.info.visit, combined.metadata["NEXP"]) == (77, 1)


def test_exposures_that_do_not_belong_together_are_refused_by_name(pair):
    other = pair[1].replace(gain=3.5)
    with pytest.raises(DataError, match="exposures 1 and 2 of visit 77 must have one gain, found"):
        combine_snaps([pair[0], other], visit=77)
    moved = make_wcs()
    moved.wcs.crpix = moved.wcs.crpix + 4.0
    with pytest.raises(DataError, match=r"must point alike within 1 pixel, found 5\.7 pixel apart"):
        combine_snaps([pair[0], pair[1].replace(wcs=moved)], visit=77)
    with pytest.raises(DataError, match="visit 77 has no exposure"):
        combine_snaps([], visit=77)
