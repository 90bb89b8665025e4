import numpy as np
import pytest
from star_field import gaussian_image

from astra.images.fluxes import aperture_sums, circle_fractions, fit_psf_fluxes
from astra.images.moments import Pixels
from astra.images.psf import gaussian_psf
from astra.images.stamps import psf_stamps

SHAPE = 70, 110
PSF = gaussian_psf(2.3548 * 1.4, 31)
CENTRE = np.array([[50.3, 34.8]])
LABEL = np.array([1])


def make_pixels(image, variance=1.0, owner=None):
    return Pixels(
        np.asarray(image, dtype=np.float64),
        np.full(SHAPE, variance),
        np.zeros(SHAPE, dtype=np.int32) if owner is None else owner,
    )


def plain_fractions(centre, radius, half):
    """The numpy twin: the middles of 200 x 200 parts of each pixel that are in the circle."""
    place = (np.arange(200 * (2 * half + 1)) + 0.5) / 200 - half - 0.5
    inside = (place[None, :] - centre[0]) ** 2 + (place[:, None] - centre[1]) ** 2 < radius**2
    return inside.reshape(2 * half + 1, 200, 2 * half + 1, 200).mean(axis=(1, 3))


@pytest.mark.parametrize("radius", [0.3, 1.0, 3.0, 4.5])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.31, -0.44), (-0.5, 0.5)])
def test_compiled_fractions_equal_their_numpy_twin(centre, radius):
    fractions = np.zeros((13, 13))
    circle_fractions(centre, radius, 6, fractions)
    assert fractions == pytest.approx(plain_fractions(centre, radius, 6), abs=2e-3)
    assert fractions.sum() == pytest.approx(np.pi * radius**2, rel=1e-12)


def test_aperture_on_a_flat_image_holds_its_area():
    radii = np.array([3.0, 6.0, 12.0])
    flux, error, usable = aperture_sums(make_pixels(np.ones(SHAPE)), LABEL, CENTRE, radii)
    assert flux[0] == pytest.approx(np.pi * radii**2)
    assert error[0] == pytest.approx(np.sqrt(np.pi) * radii, rel=0.07)
    assert usable[0] == pytest.approx(1.0)


def test_aperture_holds_the_analytic_part_of_a_star():
    image = gaussian_image(SHAPE, *CENTRE[0], 1000.0, 1.4)
    flux, _, _ = aperture_sums(make_pixels(image), LABEL, CENTRE, np.array([4.5, 6.0]))
    assert flux[0] == pytest.approx(1000 * (1 - np.exp(-0.5 * (np.array([4.5, 6.0]) / 1.4) ** 2)), rel=5e-3)


def test_aperture_does_not_see_a_neighbour():
    star, neighbour = gaussian_image(SHAPE, *CENTRE[0], 1e3, 1.4), gaussian_image(SHAPE, 57, 35, 1e3, 1.4)
    owner = np.where(neighbour > 1.0, 2, 0).astype(np.int32)
    flux, _, _ = aperture_sums(make_pixels(star + neighbour, owner=owner), LABEL, CENTRE, np.array([6.0]))
    assert flux[0, 0] == pytest.approx(1000.0, rel=0.05)


def test_aperture_beyond_the_border_says_so():
    _, _, usable = aperture_sums(make_pixels(np.ones(SHAPE)), LABEL, np.array([[0.0, 0.0]]), np.array([6.0]))
    # Three quarters of the circle are off the image; one of them has its opposite on it.
    assert usable[0, 0] == pytest.approx(0.5, abs=0.15)


def test_psf_flux_of_noiseless_stars_is_exact():
    positions = np.array([[20.0, 20.0], [50.31, 34.77], [80.5, 50.5]])
    image = sum(gaussian_image(SHAPE, *position, 500.0, 1.4) for position in positions)
    fluxes = fit_psf_fluxes(make_pixels(image), np.zeros(3, dtype=np.int64), positions, PSF)
    assert fluxes.flux == pytest.approx(500.0, rel=5e-4)
    assert not fluxes.failed.any()


def test_psf_flux_pulls_are_standard_normal_and_the_error_is_optimal():
    rng = np.random.default_rng(2)
    positions = np.stack(np.meshgrid(np.arange(12, 100, 22), np.arange(12, 60, 22)), -1).reshape(-1, 2) + 0.3
    pulls, chi2 = [], []
    for _ in range(20):
        image = sum(gaussian_image(SHAPE, *position, 300.0, 1.4) for position in positions)
        image = image + 2.0 * rng.normal(size=SHAPE)
        labels = np.zeros(len(positions), dtype=np.int64)
        fluxes = fit_psf_fluxes(make_pixels(image, 4.0), labels, positions, PSF)
        pulls.append((fluxes.flux - 300.0) / fluxes.flux_err)
        chi2.append(fluxes.chi2 / fluxes.n_data)
        assert fluxes.flux_err == pytest.approx(2.0 * np.sqrt(4 * np.pi) * 1.4, rel=0.02)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.12)
    assert abs(np.mean(pulls)) < 0.2
    assert np.mean(chi2) == pytest.approx(1.0, abs=0.03)


def test_psf_flux_does_without_a_masked_pixel_and_fails_without_most():
    image = gaussian_image(SHAPE, 50, 35, 500.0, 1.4)
    owner = np.zeros(SHAPE, dtype=np.int32)
    owner[35, 51] = -1
    image[35, 51] = np.nan
    one = fit_psf_fluxes(make_pixels(image, owner=owner), LABEL, np.array([[50.0, 35.0]]), PSF)
    assert one.flux == pytest.approx(500.0, rel=1e-3)
    owner[:, 48:] = -1
    none = fit_psf_fluxes(make_pixels(image, owner=owner), LABEL, np.array([[50.0, 35.0]]), PSF)
    assert none.failed.all()
    assert np.isnan(none.flux).all()


def plain_psf_flux(pixels, position, psf):
    """The numpy twin of the flux and its error at a position that nothing disturbs."""
    stamp = psf_stamps(psf, *position[:, None], 19)[0]
    x, y = np.rint(position).astype(int)
    window = np.s_[y - 9 : y + 10, x - 9 : x + 10]
    norm = np.sum(stamp**2)
    flux = np.sum(stamp * pixels.image[window]) / norm
    chi2 = np.sum((pixels.image[window] - flux * stamp) ** 2 / pixels.variance[window])
    return flux, np.sqrt(np.sum(stamp**2 * pixels.variance[window])) / norm, chi2


def test_compiled_psf_fluxes_equal_their_numpy_twin():
    rng = np.random.default_rng(3)
    pixels = Pixels(rng.normal(5, 2, SHAPE), rng.uniform(1, 2, SHAPE), np.zeros(SHAPE, dtype=np.int32))
    position = np.array([50.31, 34.77])
    found = fit_psf_fluxes(pixels, LABEL, position[None], PSF)
    expected = plain_psf_flux(pixels, position, PSF)
    assert (found.flux[0], found.flux_err[0], found.chi2[0]) == pytest.approx(expected, rel=1e-9)
    assert found.n_data[0] == 19**2


def test_no_positions_have_no_fluxes():
    fluxes = fit_psf_fluxes(make_pixels(np.zeros(SHAPE)), np.zeros(0, np.int64), np.zeros((0, 2)), PSF)
    assert len(fluxes.flux) == 0
