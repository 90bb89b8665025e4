import numpy as np
import pytest
from scipy.signal import fftconvolve
from star_field import make_exposure

from astra.images.exposure import MASK_BAD, MASK_SAT
from astra.images.masks import grow_square
from astra.images.measurement import make_pixels
from astra.images.psf import gaussian_psf
from astra.images.sky_sources import find_free_places, measure_sky_sources, place_sky_sources

SHAPE = 300, 420
PSF = gaussian_psf(3.5, 31)
NOISE = 4.0


@pytest.fixture
def sky():
    rng = np.random.default_rng(2)
    return make_exposure(rng.normal(0.0, NOISE, SHAPE), np.full(SHAPE, NOISE**2))


@pytest.fixture
def segments():
    found = np.zeros(SHAPE, dtype=np.int32)
    found[100:180, 50:300] = 7
    return found


def test_positions_keep_away_from_sources_defects_and_borders(sky, segments):
    mask = sky.mask.copy()
    mask[:, 350:360], mask[250, 100] = MASK_BAD, MASK_SAT
    marked = sky.replace(mask=mask)
    owner = make_pixels(marked, segments).owner
    positions = place_sky_sources(marked, owner, 200, 8)
    assert len(positions) == 200
    x, y = np.rint(positions).astype(int).T
    assert x.min() >= 8
    assert y.max() <= SHAPE[0] - 9
    taken = (segments > 0) | (mask != 0)
    for k in range(len(x)):
        assert not taken[y[k] - 8 : y[k] + 9, x[k] - 8 : x[k] + 9].any()
    assert (positions == place_sky_sources(marked, owner, 200, 8)).all()


def test_positions_cover_the_image(sky):
    x, y = place_sky_sources(sky, np.zeros(SHAPE, dtype=np.int32), 300, 8).T
    counts, _, _ = np.histogram2d(y, x, bins=(3, 4), range=((8, SHAPE[0] - 8), (8, SHAPE[1] - 8)))
    assert counts.min() > 15


def test_true_errors_give_unit_scatter_and_no_bias(sky, segments):
    figures = measure_sky_sources(sky, PSF, segments, n_sources=400)
    assert figures["n_sky_sources"] == 400
    assert figures["sky_psf_snr_scatter"] == pytest.approx(1.0, abs=0.12)
    assert figures["sky_aperture_snr_scatter"] == pytest.approx(1.0, abs=0.12)
    assert figures["sky_psf_snr_median"] == pytest.approx(0.0, abs=0.2)


def test_errors_half_as_large_and_sky_left_over_show(sky, segments):
    wrong = sky.replace(variance=sky.variance / 4, image=sky.image + np.float32(1.0))
    figures = measure_sky_sources(wrong, PSF, segments, n_sources=400)
    assert figures["sky_psf_snr_scatter"] == pytest.approx(2.0, abs=0.25)
    # One count in each of n pixels: sqrt(n) over the noise of a pixel.
    expected = np.sqrt(np.pi * 36.0) / (NOISE / 2)
    assert figures["sky_aperture_snr_median"] == pytest.approx(expected, rel=0.15)


def test_sources_too_faint_to_be_seen_are_noise_of_fluxes(sky, segments):
    rng = np.random.default_rng(5)
    ny, nx = SHAPE
    # One in 20 pixels, each of twice the noise of its flux, as many above as below the sky.
    n, area = 3 * ny * nx // 60, 1.0 / np.sum(PSF.stamp(0, 0) ** 2)
    flux = 2.0 * NOISE * np.sqrt(area) * rng.choice([-1.0, 1.0], n)
    crowded = np.zeros(SHAPE)
    np.add.at(crowded, (rng.integers(0, ny, n), rng.integers(0, nx, n)), flux)
    crowded = fftconvolve(crowded, PSF.stamp(0, 0), mode="same")
    figures = measure_sky_sources(sky.replace(image=sky.image + crowded), PSF, segments, n_sources=1500)
    # Each adds its flux times the correlation of the PSF with itself, whose square has the integral area / 2.
    expected = np.sqrt(n / (ny * nx) * flux[0] ** 2 * area / 2)
    assert figures["sky_psf_excess_adu"] == pytest.approx(expected, rel=0.15)


def test_fluxes_whose_errors_are_right_have_no_other_noise(sky, segments):
    noise = NOISE / np.sqrt(np.sum(PSF.stamp(0, 0) ** 2))
    assert measure_sky_sources(sky, PSF, segments)["sky_psf_excess_adu"] < 0.4 * noise
    assert "sky_psf_excess_adu" not in measure_sky_sources(sky, PSF, segments, n_sources=99)


def test_a_crowded_image_has_none(sky):
    full = np.ones(SHAPE, dtype=np.int32)
    assert measure_sky_sources(sky, PSF, full) == {"n_sky_sources": 0.0}


@pytest.mark.parametrize("radius", [0, 3])
def test_free_places_are_those_of_masks_that_are_grown(radius):
    rng = np.random.default_rng(8)
    shape, bits = (90, 130), (np.uint32(2), np.uint32(5))
    planes = [rng.choice(np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 8], np.uint32), shape) for _ in bits]
    for plane in planes:
        plane[:, 40:] &= np.uint32(8)  # of which neither is unwanted
    found = find_free_places(list(zip(planes, bits, strict=True)), 60, radius)
    taken = grow_square(((planes[0] & bits[0]) | (planes[1] & bits[1])) > 0, radius)
    taken[:1], taken[-1:], taken[:, :1], taken[:, -1:] = True, True, True, True
    x, y = np.rint(found).astype(int).T
    assert len(found) == 60
    assert not taken[y, x].any()
    assert np.min([x, y, shape[1] - 1 - x, shape[0] - 1 - y]) >= max(radius, 1)
    everything = [(np.full(shape, 2, np.uint32), np.uint32(2))]
    assert find_free_places(everything, 60, radius).shape == (0, 2)
