import numpy as np
import pytest
from star_field import gaussian_image

from astra.images.psf import gaussian_psf
from astra.images.stamps import cut_stamps, psf_stamps, quintic_spline, shift_stamp, shift_stamps


@pytest.mark.parametrize(("sigma", "tolerance"), [(1.02, 4e-3), (1.4, 6e-4), (2.0, 6e-5)])
@pytest.mark.parametrize(("dx", "dy"), [(0.5, 0.0), (-0.31, 0.47), (1.3, -2.6)])
def test_shift_moves_a_star_to_where_an_exact_one_would_be(sigma, tolerance, dx, dy):
    star = gaussian_image((31, 31), 15, 15, 1.0, sigma)
    expected = gaussian_image((31, 31), 15 + dx, 15 + dy, 1.0, sigma)
    assert np.abs(shift_stamp(star, dx, dy) - expected).max() < tolerance * star.max()


def test_shift_conserves_flux():
    star = gaussian_image((41, 41), 20, 20, 3.0, 1.5)
    assert shift_stamp(star, 0.37, -0.42).sum() == pytest.approx(3.0, rel=1e-6)


def test_shift_by_whole_pixels_is_a_roll():
    star = gaussian_image((31, 31), 15, 15, 1.0, 1.5)
    assert shift_stamp(star, 2.0, -3.0) == pytest.approx(np.roll(star, (-3, 2), axis=(0, 1)), abs=1e-9)


def test_each_stamp_has_its_own_shift():
    stars = np.stack([gaussian_image((31, 31), 15, 15, flux, 1.5) for flux in (1.0, 2.0)])
    dx, dy = np.array([0.2, -0.4]), np.array([1.1, 0.0])
    shifted = shift_stamps(stars, dx, dy)
    for k in range(2):
        assert shifted[k] == pytest.approx(shift_stamp(stars[k], dx[k], dy[k]))


def test_no_stamps_shift_to_no_stamps():
    assert shift_stamps(np.zeros((0, 21, 21)), np.zeros(0), np.zeros(0)).shape == (0, 21, 21)


def test_a_shift_beyond_the_stamp_is_refused():
    with pytest.raises(ValueError, match=r"shifts must be below 7\.5 pixel"):
        shift_stamp(np.zeros((21, 21)), 9.0, 0.0)


def test_spline_values_sum_to_one_for_every_shift():
    offsets = np.arange(-3, 4)[:, None] + np.linspace(-0.5, 0.5, 11)
    assert quintic_spline(offsets).sum(axis=0) == pytest.approx(1.0)


def test_stamps_beyond_the_image_are_nan_there():
    image = np.arange(35, dtype=np.float32).reshape(5, 7)
    corner, middle = cut_stamps(image, np.array([0, 3]), np.array([0, 2]), 3)
    assert np.isnan(corner[0]).all()
    assert np.isnan(corner[:, 0]).all()
    assert corner[1, 1] == 0
    assert middle == pytest.approx(image[1:4, 2:5])


def test_psf_falls_on_the_pixels_as_an_exact_star_does():
    psf = gaussian_psf(2.3548 * 1.4, 25)
    stamp = psf_stamps(psf, np.array([100.3]), np.array([50.4]))[0]
    expected = gaussian_image((25, 25), 12.3, 12.4, 1.0, 1.4)
    assert np.abs(stamp - expected).max() < 1e-3 * expected.max()


def test_smaller_psf_stamps_are_parts_of_the_whole():
    psf = gaussian_psf(3.0, 25)
    x, y = np.array([10.2, 30.0]), np.array([5.9, 7.5])
    assert psf_stamps(psf, x, y, 11) == pytest.approx(psf_stamps(psf, x, y)[:, 7:18, 7:18])
