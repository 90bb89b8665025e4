import numpy as np
import pytest
from star_field import gaussian_image

from astra.images.moments import Pixels, windowed_centroids
from astra.images.psf import Psf, gaussian_psf
from astra.images.psf_centre import centre_on_core, centroid_offsets
from astra.images.stamps import psf_stamps

SHAPE = 300, 440
SIZE = 41
SIGMA = 2.0


def lopsided(dx=0.0, dy=0.0, slope=0.0):
    """A PSF with a halo to the right, ``slope`` [pixel per unit] further there; moved by dx, dy."""

    def with_halo(shift):
        middle = SIZE // 2
        core = gaussian_image((SIZE, SIZE), middle + dx, middle + dy, 0.85, SIGMA)
        return core + gaussian_image((SIZE, SIZE), middle + dx + shift, middle + dy, 0.15, 3.5)

    constant, varied = with_halo(0.4), with_halo(0.4 + slope) - with_halo(0.4)
    terms = [constant, varied, np.zeros_like(varied)] if slope else [constant]
    scale = max(SHAPE) / 2
    return Psf(np.array(terms), 1 if slope else 0, (SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2, scale)


def test_a_symmetric_psf_has_no_offset():
    offsets = centroid_offsets(gaussian_psf(4.0), np.array([10.0, 300.0]), np.array([5.0, 90.0]), SHAPE, 1.7)
    assert np.abs(offsets).max() < 1e-6


def test_offsets_are_those_of_simulated_stars_and_follow_the_variation():
    psf = lopsided(slope=0.3)
    x, y = np.array([60.3, 220.8, 380.4]), np.array([40.7, 150.2, 260.9])
    offsets = centroid_offsets(psf, x, y, SHAPE, SIGMA)
    assert (np.diff(offsets[:, 0]) > 0.005).all()
    for k, stamp in enumerate(psf_stamps(psf, x, y)):
        image = np.zeros(SHAPE)
        row, column = round(y[k]), round(x[k])
        half = SIZE // 2
        image[row - half : row + half + 1, column - half : column + half + 1] = 1e5 * stamp
        pixels = Pixels(image, np.ones(SHAPE), np.zeros(SHAPE, dtype=np.int32))
        start = np.array([[column, row]], dtype=np.float64)
        found = windowed_centroids(pixels, np.ones(1, dtype=np.int64), start, SIGMA, 5.0)[0]
        assert found[:2] - offsets[k] == pytest.approx([x[k], y[k]], abs=0.002)


def test_the_core_comes_to_the_middle_and_the_light_stays():
    moved = centre_on_core(lopsided(dx=0.21, dy=-0.13), SHAPE, SIGMA)
    expected = lopsided().stamp(0.0, 0.0)
    assert np.abs(moved.stamp(0.0, 0.0) - expected).max() < 0.01 * expected.max()
    assert moved.coefficients.sum() == pytest.approx(1.0, abs=1e-3)
    # Half the width sees little of the halo: the centre is within a hundredth of a pixel of the core's.
    peak = centre_on_core(lopsided(), SHAPE, SIGMA).stamp(0.0, 0.0)
    assert np.abs(peak - expected).max() < 0.012 * expected.max()
