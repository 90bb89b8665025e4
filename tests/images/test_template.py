from dataclasses import replace

import numpy as np
import pytest

from astra.errors import DataError, NoOverlapError
from astra.images.coadd import CoaddInput, coadd_onto_tile
from astra.images.exposure import MASK_CR, MASK_NO_DATA, MASK_SAT
from astra.images.forced import forced_photometry
from astra.images.psf import Psf, gaussian_psf
from astra.images.template import make_template
from tests.images.difference_field import INFO, make_exposure, make_wcs

WCS = make_wcs(160.0, 110.0, angle_deg=17.0)
SHAPE = (220, 320)
VISIT = replace(INFO, visit=42, detector=3)
# Two tiles of a common tangent plane that overlap by 120 pixels, in the middle of the detector.
TILES = ((make_wcs(250.0, 200.0), (400, 310)), (make_wcs(60.0, 200.0), (400, 330)))


@pytest.fixture
def rng():
    return np.random.default_rng(6)


def tile_of(rng, place, stars, fwhm=3.6):
    """A tile of stars at detector positions x, y."""
    wcs, shape = place
    x, y = wcs.all_world2pix(*WCS.all_pix2world(*stars, 0), 0)
    return make_exposure(rng, shape, (x, y, np.full(len(x), 1e5)), fwhm, 1e-3, wcs, photons=False)


def seam_stars():
    """Stars across the seam and away from it."""
    return np.array([(x, y) for y in range(40, 200, 45) for x in range(30, 300, 26)], dtype=float).T


def test_stars_on_a_seam_keep_flux_and_psf(rng):
    x, y = seam_stars()
    template = make_template([tile_of(rng, place, (x, y)) for place in TILES], WCS, SHAPE, VISIT)
    assert (template.mask & MASK_NO_DATA == 0).all()
    errors = []
    for star in zip(x.astype(int), y.astype(int), strict=True):
        stamp = template.image[star[1] - 12 : star[1] + 13, star[0] - 12 : star[0] + 13]
        assert stamp.sum() == pytest.approx(1e5, rel=1e-3)
        errors.append(np.abs(stamp / 1e5 - template.psf.stamp(*star)[3:28, 3:28]).max() / stamp.max() * 1e5)
    errors, seam = np.array(errors), np.abs(x - 160) < 60
    assert errors.max() < 7e-3  # what a cubic spline does to a star of 3.6 pixels between two pixels
    assert errors[seam].max() < 1.1 * errors[~seam].max()
    forced = forced_photometry(template, x, y)
    np.testing.assert_allclose(forced["psfFlux"], 1e5, rtol=1e-3)
    assert template.info == VISIT
    assert template.unit == "nJy"


def test_tiles_of_different_seeing_blend_into_one_another(rng):
    x, y = seam_stars()
    tiles = [tile_of(rng, place, (x, y), fwhm) for place, fwhm in zip(TILES, (3.2, 4.8), strict=True)]
    template = make_template(tiles, WCS, SHAPE, VISIT)
    widths = [template.psf.fwhm_pixel(*place) for place in ((20, 110), (160, 110), (300, 110))]
    assert widths[0] == pytest.approx(3.2, rel=3e-3)
    assert 3.3 < widths[1] < 4.7
    assert widths[2] == pytest.approx(4.8, rel=3e-3)
    # On the ramp the PSF changes within a star: there it is good to some percent.
    np.testing.assert_allclose(forced_photometry(template, x, y)["psfFlux"], 1e5, rtol=0.03)
    step = np.abs(np.diff(template.image, axis=1)).max()
    assert step < np.abs(np.diff(tiles[0].image, axis=1)).max()


def test_the_noise_of_what_tiles_share_does_not_average_out(rng):
    """Both tiles of the same exposures: the variance of the template is that of either."""
    noise = make_exposure(rng, (500, 600), ([], [], []), 3.5, 4.0, make_wcs(280.0, 250.0))
    tiles = [
        coadd_onto_tile([CoaddInput("noise", lambda: noise)], wcs, shape).exposure for wcs, shape in TILES
    ]
    template = make_template(tiles, WCS, SHAPE, VISIT)
    np.testing.assert_allclose(np.median(template.variance), 16.0, rtol=0.01)
    seam = np.s_[:, 140:180]
    pull = template.image / np.sqrt(template.variance)
    assert pull[seam].var() == pytest.approx(pull[:, :100].var(), rel=0.1)
    assert pull.var() == pytest.approx(template.noise_power.mean(), rel=0.05)
    blocks = pull.reshape(22, 10, 32, 10).mean(axis=(1, 3))
    assert blocks.var() * 100 == pytest.approx(1.0, abs=0.2)


def test_bits_of_any_tile_are_kept_and_missing_pixels_come_from_the_other(rng):
    tiles = [tile_of(rng, place, ([160.0], [110.0])) for place in TILES]
    masks, images = [t.mask.copy() for t in tiles], [t.image.copy() for t in tiles]
    places = [
        tuple(np.rint(wcs.all_world2pix(*WCS.all_pix2world(150, 90, 0), 0)).astype(int)) for wcs, _ in TILES
    ]
    masks[0][places[0][1], places[0][0]] |= MASK_SAT
    masks[1][places[1][1] + 20, places[1][0]] |= MASK_CR
    images[1][places[1][1] - 30, places[1][0]] = np.nan
    tiles = [t.replace(mask=m, image=i) for t, m, i in zip(tiles, masks, images, strict=True)]
    template = make_template(tiles, WCS, SHAPE, VISIT)
    assert (template.mask & MASK_SAT).any()
    assert (template.mask & MASK_CR).any()
    assert np.isfinite(template.image).all()
    assert (template.mask & MASK_NO_DATA == 0).all()


def test_where_no_tile_is_there_is_no_data(rng):
    template = make_template([tile_of(rng, TILES[0], seam_stars())], WCS, SHAPE, VISIT)
    empty = (template.mask & MASK_NO_DATA) > 0
    assert 0.2 < empty.mean() < 0.7
    assert np.isnan(template.image[empty]).all()
    assert np.isnan(template.variance[empty]).all()
    assert np.isfinite(template.image[~empty]).all()
    assert template.metadata["NTILE"] == 1


def test_tiles_elsewhere_are_ignored_and_alone_refused(rng):
    near, far = tile_of(rng, TILES[0], seam_stars()), tile_of(rng, TILES[1], seam_stars())
    far = far.replace(wcs=make_wcs(ra=50.0))
    alone = make_template([near], WCS, SHAPE, VISIT)
    np.testing.assert_array_equal(make_template([far, near], WCS, SHAPE, VISIT).image, alone.image)
    with pytest.raises(NoOverlapError, match=r"none of 1 template tiles .* visit 42, detector 3") as caught:
        make_template([far], WCS, SHAPE, VISIT)
    assert caught.value.context == {"n_tiles": 1, "visit": 42, "detector": 3}
    with pytest.raises(NoOverlapError, match="none of 0"):
        make_template([], WCS, SHAPE, VISIT)


def test_a_tile_far_larger_than_the_detector_is_as_good_as_one_about_it(rng):
    tile = tile_of(rng, TILES[0], seam_stars())
    part = SHAPE[0] // 2, SHAPE[1] // 4
    whole = make_template([tile], WCS, SHAPE, VISIT)
    swapped = tile.replace(image=tile.image.astype(">f4"), variance=tile.variance.astype(">f4"))
    small = make_template([swapped], WCS, part, VISIT)
    np.testing.assert_allclose(small.image, whole.image[: part[0], : part[1]], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(small.variance, whole.variance[: part[0], : part[1]], rtol=1e-6)


def test_tiles_must_be_of_the_band_and_calibrated(rng):
    tile = tile_of(rng, TILES[0], seam_stars())
    with pytest.raises(DataError, match="must be in its band g, found tiles in r"):
        make_template([tile], WCS, SHAPE, replace(VISIT, band="g"))
    with pytest.raises(DataError, match="must be in its band r, found tiles in g"):
        make_template([tile, tile.replace(info=replace(INFO, band="g"))], WCS, SHAPE, VISIT)
    with pytest.raises(DataError, match="found no PSF"):
        make_template([tile.replace(psf=None)], WCS, SHAPE, VISIT)
    with pytest.raises(DataError, match="found unit adu"):
        make_template([tile.replace(unit="adu")], WCS, SHAPE, VISIT)


def test_a_psf_that_varies_is_followed_across_tiles(rng):
    tiles = []
    for wcs, shape in TILES:
        narrow, broad = gaussian_psf(3.0, 31).coefficients[0], gaussian_psf(4.0, 31).coefficients[0]
        # From narrow to broad along right ascension, in both tiles alike.
        middle = float(wcs.wcs.crpix[0]) - 1
        psf = Psf(
            np.array([0.5 * (narrow + broad), 0.5 * (broad - narrow), 0 * narrow]), 1, middle, 0.0, 200.0
        )
        tiles.append(tile_of(rng, (wcs, shape), ([160.0], [110.0])).replace(psf=psf))
    template = make_template(tiles, WCS, SHAPE, VISIT)
    for x, y in ((40.0, 60.0), (160.0, 110.0), (280.0, 160.0)):
        place = tiles[0].wcs.all_world2pix(*WCS.all_pix2world(x, y, 0), 0)
        expected = tiles[0].psf.fwhm_pixel(*(float(a) for a in place))
        assert template.psf.fwhm_pixel(x, y) == pytest.approx(expected, rel=3e-3)
