from dataclasses import replace

import numpy as np
import pytest

from astra.errors import DataError, NoOverlapError
from astra.images.coadd import coadd_exposures
from astra.images.exposure import MASK_BAD, MASK_CR, MASK_INEXACT_PSF, MASK_NO_DATA, MASK_REJECTED
from astra.images.forced import forced_photometry
from astra.images.injection import electrons_per_njy
from tests.images.difference_field import make_exposure, make_stars, make_wcs

SHAPE = (180, 230)


@pytest.fixture
def rng():
    return np.random.default_rng(21)


def exposures(rng, n, shifts=None):
    x, y, flux = make_stars(rng, SHAPE, 20, low=5000.0)
    shifts = shifts or [(3.3 * k, -2.7 * k) for k in range(n)]
    return [
        make_exposure(rng, SHAPE, (x + dx, y + dy, flux), 3.5, wcs=make_wcs(100 + dx, 90 + dy))
        for dx, dy in shifts
    ], (x, y, flux)


def test_one_exposure_is_returned_as_it_is(rng):
    (only,), _ = exposures(rng, 1)
    assert coadd_exposures([only]) is only


def test_mean_has_the_flux_and_less_noise(rng):
    images, (x, y, flux) = exposures(rng, 4)
    template = coadd_exposures(images)
    inner = (x > 20) & (x < 200) & (y > 20) & (y < 160)
    forced = forced_photometry(template, x[inner], y[inner])
    pull = (forced["psfFlux"] - flux[inner]) / forced["psfFluxErr"]
    assert np.abs(np.median(pull)) < 1.0
    assert np.median(template.variance) == pytest.approx(100.0 / 4, rel=0.05)
    assert template.shape == SHAPE


def test_a_cosmic_ray_in_one_of_three_is_clipped(rng):
    images, _ = exposures(rng, 3)
    image = images[1].image.copy()
    image[90:92, 100:102] += 20000.0
    hit = coadd_exposures([images[0], images[1].replace(image=image), images[2]])
    clean = coadd_exposures(images)
    assert np.nanmax(np.abs(hit.image - clean.image)) < 100.0


def test_masked_pixels_are_taken_from_the_others(rng):
    images, _ = exposures(rng, 2, [(0.0, 0.0), (0.0, 0.0)])
    image, mask = images[0].image.copy(), images[0].mask.copy()
    image[50, 60], mask[50, 60] = 1e6, MASK_CR
    template = coadd_exposures([images[0].replace(image=image, mask=mask), images[1]])
    assert abs(template.image[50, 60] - images[1].image[50, 60]) < 1.0
    assert template.mask[50, 60] == MASK_REJECTED | MASK_INEXACT_PSF
    assert template.mask[51, 60] == 0


def test_pixels_bad_everywhere_keep_their_bits(rng):
    images, _ = exposures(rng, 2, [(0.0, 0.0), (0.0, 0.0)])
    bad = [e.replace(mask=np.where(np.indices(SHAPE)[0] == 7, MASK_BAD, e.mask)) for e in images]
    template = coadd_exposures(bad)
    assert (template.mask[7] & MASK_BAD).all()


def test_pixels_that_no_other_reaches_come_from_the_first(rng):
    images, _ = exposures(rng, 2, [(0.0, 0.0), (100.0, 0.0)])
    template = coadd_exposures(images)
    np.testing.assert_allclose(template.image[:, 140:], images[0].image[:, 140:], rtol=1e-5)
    assert (template.mask & MASK_NO_DATA == 0).all()


def test_no_exposure_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        coadd_exposures([])


def test_exposures_without_psf_are_refused(rng):
    images, _ = exposures(rng, 2)
    with pytest.raises(DataError, match="with WCS and PSF, found no PSF"):
        coadd_exposures([images[0], images[1].replace(psf=None)])


def test_exposures_elsewhere_are_refused(rng):
    images, _ = exposures(rng, 2)
    with pytest.raises(NoOverlapError):
        coadd_exposures([images[0], images[1].replace(wcs=make_wcs(ra=30.0))])


def test_exposures_of_two_bands_are_refused(rng):
    (first, second), _ = exposures(rng, 2)
    other = second.replace(info=replace(second.info, band="g"))
    with pytest.raises(DataError, match="only images of one band"):
        coadd_exposures([first, other])


def test_light_has_the_photon_noise_of_all_inputs(rng):
    images, _ = exposures(rng, 4, [(0.0, 0.0)] * 4)
    images = [image.replace(gain=2.0, metadata={"NJYADU": 0.5}) for image in images]
    assert electrons_per_njy(images[0]) == pytest.approx(4.0)
    assert electrons_per_njy(coadd_exposures(images)) == pytest.approx(4 * 4.0, rel=0.02)
