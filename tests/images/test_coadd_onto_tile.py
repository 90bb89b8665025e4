from dataclasses import replace

import numpy as np
import pytest

from astra.errors import DataError, NoOverlapError
from astra.images.coadd import CoaddConfig, CoaddInput, coadd_onto_tile
from astra.images.coadd_sums import is_high_variance
from astra.images.exposure import (
    MASK_CLIPPED,
    MASK_CR,
    MASK_DETECTED,
    MASK_HIGH_VARIANCE,
    MASK_INEXACT_PSF,
    MASK_NO_DATA,
    MASK_REJECTED,
    MASK_SAT,
)
from astra.images.forced import forced_photometry
from tests.images.difference_field import make_exposure, make_wcs

TILE = make_wcs(150.0, 120.0)
SHAPE = (240, 310)
GRID = np.array([(x, y) for y in range(30, 240, 45) for x in range(30, 310, 50)], dtype=float).T


@pytest.fixture
def rng():
    return np.random.default_rng(31)


def observe(  # noqa: PLR0917
    rng, wcs, shape=(260, 330), fwhm=3.5, noise=10.0, flux=40000.0, visit=1
):
    """An exposure of a grid of stars on the tile."""
    x, y = wcs.all_world2pix(*TILE.all_pix2world(*GRID, 0), 0)
    stars = (x, y, np.full(len(x), flux))
    exposure = make_exposure(rng, shape, stars if flux else ([], [], []), fwhm, noise, wcs)
    return exposure.replace(info=replace(exposure.info, visit=visit))


def dithered(rng, n, fwhms=None, **options):
    """Exposures that cover the whole tile, shifted and turned."""
    fwhms = fwhms or [3.5] * n
    return [
        observe(rng, make_wcs(160.0 + rng.uniform(-3, 3), 130.0 + rng.uniform(-3, 3), rng.uniform(-1, 1)),
                fwhm=fwhm, visit=k, **options)
        for k, fwhm in enumerate(fwhms)
    ]  # fmt: skip


def inputs(exposures):
    return [CoaddInput(f"visit {e.info.visit}", lambda e=e: e) for e in exposures]


def coadd(exposures, config=None):
    return coadd_onto_tile(inputs(exposures), TILE, SHAPE, config)


def pulls(exposure):
    forced = forced_photometry(exposure, *GRID)
    return (forced["psfFlux"] - 40000.0) / forced["psfFluxErr"]


def test_fluxes_are_those_of_the_inputs_and_their_errors_are_true(rng):
    result = coadd(dithered(rng, 5))
    found = pulls(result.exposure)
    assert np.isfinite(found).all()
    assert np.median(found) == pytest.approx(0.0, abs=0.6)
    assert found.std() == pytest.approx(1.0, abs=0.4)
    assert (result.coverage[20:-20, 20:-20] == 5).mean() > 0.999
    assert result.exposure.info.exposure_time_s == 150.0
    assert result.exposure.unit == "nJy"


def test_variance_and_noise_power_are_true(rng):
    result = coadd(dithered(rng, 4, noise=3.0, flux=0.0))
    exposure = result.exposure
    inner = np.s_[8:232, 8:296]
    pull = exposure.image[inner] / np.sqrt(exposure.variance[inner])
    assert np.median(exposure.variance) == pytest.approx(9.0 / 4, rel=0.02)
    assert pull.var() == pytest.approx(exposure.noise_power.mean(), rel=0.03)
    assert exposure.noise_power[0, 0] == pytest.approx(1.0)
    measured = np.abs(np.fft.fft2(pull[:192, :256].reshape(3, 64, 4, 64), axes=(1, 3))) ** 2 / 64**2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    for low, high in ((0.02, 0.2), (0.2, 0.35), (0.35, 0.5)):
        ring = (radius > low) & (radius <= high)
        assert measured.mean(axis=(0, 2))[ring].mean() == pytest.approx(
            exposure.noise_power[ring].mean(), rel=0.1
        )


def test_cores_of_stars_of_different_seeing_are_kept(rng):
    exposures = dithered(rng, 5, [2.9, 3.3, 3.8, 4.4, 5.2])
    result = coadd(exposures)
    cores = np.zeros(SHAPE, dtype=bool)
    for x, y in GRID.astype(int).T:
        cores[y - 6 : y + 7, x - 6 : x + 7] = True
    assert ((result.exposure.mask[cores] & MASK_CLIPPED) > 0).mean() < 1e-3
    assert result.inputs["nClipped"].sum() < 20
    assert np.median(pulls(result.exposure)) == pytest.approx(0.0, abs=0.8)


def test_outliers_are_clipped_with_their_neighbours(rng):
    exposures = dithered(rng, 4)
    clean = coadd(exposures)
    image = exposures[2].image.copy()
    x, y = (round(float(a)) for a in exposures[2].wcs.all_world2pix(*TILE.all_pix2world(55, 52, 0), 0))
    image[y : y + 2, x : x + 9] += 3000.0
    hit = coadd([*exposures[:2], exposures[2].replace(image=image), exposures[3]])
    clipped = (hit.exposure.mask & MASK_CLIPPED) > 0
    assert 18 <= clipped[45:65, 48:75].sum() <= 130
    assert ((hit.exposure.mask[clipped] & MASK_INEXACT_PSF) > 0).all()
    assert (hit.coverage[clipped] == 3).mean() > 0.95
    difference = np.abs(hit.exposure.image - clean.exposure.image)
    assert np.nanmax(difference) < 40.0
    assert hit.inputs["nClipped"][2] > 18


def test_an_outlier_on_a_star_of_the_same_seeing_is_clipped(rng):
    exposures = dithered(rng, 5)
    image = exposures[1].image.copy()
    x, y = (round(float(a)) for a in exposures[1].wcs.all_world2pix(*TILE.all_pix2world(80, 30, 0), 0))
    image[y, x] += 9000.0
    hit = coadd([exposures[0], exposures[1].replace(image=image), *exposures[2:]])
    assert (hit.exposure.mask[29:32, 79:82] & MASK_CLIPPED).any()


def test_bits_of_all_used_and_saturation_of_any_are_kept(rng):
    exposures = [observe(rng, TILE, SHAPE, visit=k) for k in range(3)]
    masks = [e.mask.copy() for e in exposures]
    for mask in masks:
        mask[10, 10] |= MASK_DETECTED
    masks[0][20, 20] |= MASK_DETECTED
    masks[1][30, 30] |= MASK_SAT
    masks[2][40, 40] |= MASK_CR | MASK_SAT
    result = coadd([e.replace(mask=m) for e, m in zip(exposures, masks, strict=True)])
    mask = result.exposure.mask & ~(MASK_CLIPPED | MASK_INEXACT_PSF)
    assert mask[10, 10] == MASK_DETECTED
    assert mask[20, 20] == 0
    assert mask[30, 30] == MASK_SAT
    assert mask[40, 40] == MASK_REJECTED
    assert result.coverage[40, 40] == 2
    assert result.inputs["nRejected"].tolist() == [0, 0, 1]


def test_where_no_input_is_there_is_no_data(rng):
    result = coadd([observe(rng, make_wcs(100.0, 130.0), (260, 200))])
    empty = result.coverage == 0
    assert 0.2 < empty.mean() < 0.9
    assert (result.exposure.mask[empty] == MASK_NO_DATA).all()
    assert np.isnan(result.exposure.image[empty]).all()
    assert np.isnan(result.exposure.variance[empty]).all()
    assert ((result.exposure.mask[~empty] & MASK_NO_DATA) == 0).all()


def test_weights_are_those_of_the_sky_and_if_asked_of_the_seeing(rng):
    exposures = [observe(rng, TILE, SHAPE, 3.0, 10.0), observe(rng, TILE, SHAPE, 6.0, 20.0)]
    plain = coadd(exposures)
    np.testing.assert_allclose(plain.inputs["weight"], [0.8, 0.2], rtol=0.02)
    np.testing.assert_allclose(plain.inputs["skyVariance"], [100.0, 400.0], rtol=0.02)
    np.testing.assert_allclose(plain.inputs["fwhm_pixel"], [3.0, 6.0], rtol=1e-3)
    seeing = coadd(exposures, CoaddConfig(seeing_power=2.0))
    np.testing.assert_allclose(seeing.inputs["weight"], [16 / 17, 1 / 17], rtol=0.02)
    expected = (100 * 16**2 + 400) / 17**2
    assert np.median(seeing.exposure.variance) == pytest.approx(expected, rel=0.02)


def test_psf_is_that_of_the_inputs_that_cover_the_place(rng):
    left = observe(rng, make_wcs(150.0, 120.0), (240, 180), 3.0)
    right = observe(rng, make_wcs(20.0, 120.0), (240, 180), 5.0)
    psf = coadd([left, right]).exposure.psf
    assert psf.fwhm_pixel(60.0, 100.0) == pytest.approx(3.0, rel=2e-3)
    assert psf.fwhm_pixel(260.0, 100.0) == pytest.approx(5.0, rel=2e-3)
    assert 3.2 < psf.fwhm_pixel(155.0, 100.0) < 4.6
    found = coadd([left, right]).exposure
    assert np.median(pulls(found)[np.abs(GRID[0] - 155) > 40]) == pytest.approx(0.0, abs=1.0)


def test_what_is_not_kept_in_memory_is_read_twice_and_gives_the_same(rng):
    exposures, loads = dithered(rng, 4), []

    def make_input(index):
        def load():
            loads.append(index)
            return exposures[index].copy()

        return CoaddInput(str(index), load)

    read_twice = coadd_onto_tile(
        [make_input(k) for k in range(4)], TILE, SHAPE, CoaddConfig(stored_mbyte=0.0)
    )
    assert loads == [0, 1, 2, 3, 0, 1, 2, 3]
    loads.clear()
    kept = coadd_onto_tile([make_input(k) for k in range(4)], TILE, SHAPE)
    assert loads == [0, 1, 2, 3]
    np.testing.assert_array_equal(kept.exposure.image, read_twice.exposure.image)
    np.testing.assert_array_equal(kept.exposure.mask, read_twice.exposure.mask)


def test_inputs_elsewhere_are_listed_with_the_reason(rng):
    near, far = observe(rng, TILE, SHAPE), observe(rng, make_wcs(ra=30.0), SHAPE, visit=7)
    result = coadd([near, far])
    assert result.inputs["used"].tolist() == [True, False]
    assert result.inputs["reason"].tolist() == ["", "no pixel on the tile"]
    assert result.inputs["visit"].tolist() == [1, 7]
    assert result.exposure.metadata["NINPUT"] == 1
    with pytest.raises(NoOverlapError, match=r"none of 1 exposures .* \(visit 7\)"):
        coadd([far])


def test_an_input_without_good_pixels_is_listed_with_the_reason(rng):
    dead = observe(rng, TILE, SHAPE, visit=3)
    dead = dead.replace(image=np.full(SHAPE, np.nan, np.float32))
    result = coadd([observe(rng, TILE, SHAPE), dead])
    assert result.inputs["used"].tolist() == [True, False]
    with pytest.raises(NoOverlapError):
        coadd([dead])


def test_inputs_that_are_not_calibrated_are_refused(rng):
    with pytest.raises(DataError, match="in nJy, with WCS and PSF, found unit adu"):
        coadd([observe(rng, TILE, SHAPE).replace(unit="adu")])
    with pytest.raises(DataError, match="found no WCS and no PSF"):
        coadd([observe(rng, TILE, SHAPE).replace(wcs=None, psf=None)])
    other = observe(rng, TILE, SHAPE)
    with pytest.raises(DataError, match="only images of one band"):
        coadd([observe(rng, TILE, SHAPE), other.replace(info=replace(other.info, band="g"))])
    with pytest.raises(ValueError, match="at least one"):
        coadd([])


def test_regions_of_high_variance_are_flagged(rng):
    exposures = dithered(rng, 5)
    variance = exposures[0].variance.copy()
    exposures[0] = exposures[0].replace(variance=variance)
    for index in range(5):
        noisy = exposures[index].variance.copy()
        noisy[150:, 200:] *= 9.0
        exposures[index] = exposures[index].replace(variance=noisy)
    high = (coadd(exposures).exposure.mask & MASK_HIGH_VARIANCE) > 0
    assert high[170:, 225:].all()
    assert not high[:110].any()
    assert not high[:, :160].any()


def test_high_variance_needs_a_typical_one():
    variance = np.full((200, 300), np.nan, dtype=np.float32)
    assert not is_high_variance(variance, 4.0).any()
    variance[:16, :300] = 1.0
    variance[:16, :32] = 100.0
    assert not is_high_variance(variance, 4.0).any()
    variance[16:] = 1.0
    high = is_high_variance(variance, 4.0)
    assert high[:10, :16].all()
    assert not high[60:].any()
