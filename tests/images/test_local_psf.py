import numpy as np
import pytest

from astra.images.coadd_psf import combine_psfs
from astra.images.local_psf import central_stamps, draw_local_psfs, make_local_psfs
from astra.images.psf import Psf, gaussian_psf, sigma_from_fwhm
from astra.images.stamps import psf_stamps

FWHM = 4.0


def varying_psf(oversampling=1):
    size = 30 * oversampling + 1
    narrow, wide = (gaussian_psf(w * oversampling, size).coefficients[0] for w in (3.5, 4.5))
    terms = np.stack([narrow, wide - narrow, 0.5 * (wide - narrow)])
    return Psf(terms, 1, 100.0, 80.0, 100.0, oversampling)


class OnlyStamps:
    """A PSF of which nothing but stamps is known."""

    def __init__(self, psf):
        self.psf = psf
        self.size = psf.size

    def stamp(self, x, y):
        return self.psf.stamp(x, y)

    def fwhm_pixel(self, x, y):
        return self.psf.fwhm_pixel(x, y)


def gaussian(offset, half, fwhm=FWHM):
    sigma = sigma_from_fwhm(fwhm)
    dx = np.arange(-half, half + 1)[None, :] - offset[0]
    dy = np.arange(-half, half + 1)[:, None] - offset[1]
    value = np.exp(-(dx**2 + dy**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    return np.stack([value, value * dx / sigma**2, value * dy / sigma**2])


def test_value_and_derivatives_are_those_of_a_gaussian():
    offsets = np.array([[0.3, -0.4], [2.3, 5.1], [-7.7, 0.0], [0.0, 0.0]])
    local = make_local_psfs(gaussian_psf(FWHM, 31), np.zeros(4), np.zeros(4))
    for drawn, offset in zip(draw_local_psfs(local, offsets, 9), offsets, strict=True):
        expected = gaussian(offset, 9)
        np.testing.assert_allclose(drawn[0], expected[0], atol=3e-4 * expected[0].max())
        np.testing.assert_allclose(drawn[1:], expected[1:], atol=2e-3 * abs(expected[1:]).max())


@pytest.mark.parametrize("oversampling", [1, 2, 3])
def test_it_draws_what_the_stamps_of_the_psf_show(oversampling):
    rng = np.random.default_rng(3)
    psf, x, y = varying_psf(oversampling), rng.uniform(10, 190, 20), rng.uniform(10, 150, 20)
    offsets = np.stack([x - np.rint(x), y - np.rint(y)], axis=1)
    drawn = draw_local_psfs(make_local_psfs(psf, x, y), offsets, psf.size // 2 - 1)
    np.testing.assert_allclose(drawn[:, 0], psf_stamps(psf, x, y, psf.size - 2), atol=1e-12)


@pytest.mark.parametrize("oversampling", [1, 2])
def test_a_psf_cut_short_is_the_same_within(oversampling):
    psf, x, y = varying_psf(oversampling), np.array([50.0, 120.0]), np.array([20.0, 90.0])
    offsets = np.array([[1.2, -0.7], [-0.1, 2.4]])
    whole = draw_local_psfs(make_local_psfs(psf, x, y), offsets, 6)
    cut = draw_local_psfs(make_local_psfs(psf, x, y, 9), offsets, 6)
    np.testing.assert_allclose(cut, whole, atol=1e-13)


def test_beyond_the_stamp_there_is_nothing():
    local = make_local_psfs(gaussian_psf(FWHM, 31), np.zeros(2), np.zeros(2), 5)
    near, far = draw_local_psfs(local, np.array([[3.2, 0.0], [40.0, 3.0]]), 10)
    assert not far.any()
    assert not near[0][:, :8].any()
    assert near[0][:, 8:19].any(axis=0).all()
    assert not near[0][:, 19:].any()


def test_a_psf_that_has_only_stamps_will_do():
    psf, x, y = varying_psf(), np.array([50.0, 120.0]), np.array([20.0, 90.0])
    offsets = np.array([[1.2, -0.7], [-0.1, 2.4]])
    drawn = [draw_local_psfs(make_local_psfs(p, x, y, 9), offsets, 8) for p in (psf, OnlyStamps(psf))]
    np.testing.assert_allclose(*drawn, atol=1e-13)
    none = make_local_psfs(OnlyStamps(psf), np.zeros(0), np.zeros(0), 9)
    assert draw_local_psfs(none, np.zeros((0, 2)), 8).shape == (0, 3, 17, 17)


def test_central_stamps_are_those_of_the_psf():
    psf, x, y = varying_psf(2), np.array([50.0, 120.0]), np.array([20.0, 90.0])
    stamps = central_stamps(make_local_psfs(psf, x, y))
    expected = [psf.stamp(a, b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(stamps, expected, atol=1e-12)


def test_the_psf_of_a_coadd_is_drawn_as_its_stamps_show_it():
    rng = np.random.default_rng(4)
    shape, inputs = (160, 200), [gaussian_psf(3.5, 31), varying_psf()]
    weights = np.stack([np.ones((5, 7)), np.tile(np.arange(7) > 3, (5, 1))]).astype(np.float32)
    psf = combine_psfs(inputs, weights, shape)
    x, y = rng.uniform(10, 190, 12), rng.uniform(10, 150, 12)
    offsets = np.stack([x - np.rint(x), y - np.rint(y)], axis=1)
    drawn = draw_local_psfs(make_local_psfs(psf, x, y), offsets, psf.size // 2 - 1)
    np.testing.assert_allclose(drawn[:, 0], psf_stamps(psf, x, y, psf.size - 2), atol=1e-12)
    slow = draw_local_psfs(make_local_psfs(OnlyStamps(psf), x, y), offsets, psf.size // 2 - 1)
    np.testing.assert_allclose(drawn, slow, atol=1e-12)
