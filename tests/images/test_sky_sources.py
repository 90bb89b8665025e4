import numpy as np
import pytest
from star_field import make_exposure

from astra.images.exposure import MASK_BAD, MASK_SAT
from astra.images.measurement import make_pixels
from astra.images.psf import gaussian_psf
from astra.images.sky_sources import measure_sky_sources, place_sky_sources

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


def test_a_crowded_image_has_none(sky):
    full = np.ones(SHAPE, dtype=np.int32)
    assert measure_sky_sources(sky, PSF, full) == {"n_sky_sources": 0.0}
