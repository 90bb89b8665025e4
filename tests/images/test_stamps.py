import numpy as np
import pytest
from scipy import ndimage
from star_field import gaussian_image

from astra.images.psf import Psf, gaussian_psf
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
    for shift in np.linspace(-0.5, 0.5, 11):
        assert sum(quintic_spline(k + shift) for k in range(-3, 4)) == pytest.approx(1.0)


def plain_shift(stamp, dx, dy):
    """The numpy twin: scipy's quintic splines, mirrored beyond the borders."""
    return ndimage.shift(stamp, (dy, dx), order=5, mode="mirror")


@pytest.mark.parametrize(("dx", "dy"), [(0.2, -0.45), (-1.7, 2.2)])
def test_compiled_shifts_equal_their_twin(dx, dy):
    stamps = np.random.default_rng(2).normal(size=(2, 21, 21))
    shifted = shift_stamps(stamps, np.full(2, dx), np.full(2, dy))
    assert shifted[1] == pytest.approx(plain_shift(stamps[1], dx, dy), abs=1e-9)


def varying_psf():
    """A PSF that widens along x and leans along y, on 21 pixels."""
    wide, lean = (gaussian_image((21, 21), 10, 10, 1.0, *s) for s in ((2.0,), (1.7, 1.3)))
    middle = gaussian_image((21, 21), 10, 10, 1.0, 1.5)
    return Psf(np.stack([middle, wide - middle, 0.7 * (lean - middle)]), 1, 50.0, 40.0, 60.0)


def test_drawn_stars_equal_shifted_stamps():
    psf = varying_psf()
    x, y = np.array([12.3, 80.0, 99.5]), np.array([7.8, 40.2, 3.5])
    for k, drawn in enumerate(psf_stamps(psf, x, y)):
        expected = plain_shift(psf.stamp(x[k], y[k]), x[k] - np.rint(x[k]), y[k] - np.rint(y[k]))
        assert drawn == pytest.approx(expected, abs=1e-9)


def test_oversampled_stars_do_not_alias():
    # FWHM 1.6 pixels: the splines through whole pixels miss by 2 % of the peak.
    sigma, size, middle = 0.7, 21, 10
    fine = gaussian_image((41, 41), 20, 20, 4.0, 2 * sigma)
    psf = Psf(fine[None], oversampling=2)
    assert psf.size == size
    expected = gaussian_image((size, size), middle + 0.45, middle - 0.3, 1.0, sigma)
    errors = [
        np.abs(psf_stamps(p, np.array([7.45]), np.array([5.7]))[0] - expected).max()
        for p in (psf, gaussian_psf(2.3548 * sigma, size))
    ]
    assert errors[0] < 1e-3 * expected.max()
    assert errors[1] > 5e-3 * expected.max()


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
