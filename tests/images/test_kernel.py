from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from astra.errors import KernelFitError, TooFewSourcesError
from astra.images.exposure import MASK_SAT
from astra.images.kernel import fit_kernel
from astra.images.kernel_basis import make_kernel_basis
from astra.images.kernel_solve import SpatialModel, condition_number, flux_scatter, solve
from astra.images.kernel_stamps import StampEquations
from astra.images.masks import grow_square
from astra.images.matching_config import MatchingConfig
from astra.images.psf import gaussian_psf, sigma_from_fwhm
from astra.images.spatial import SpatialKernel, convolve_spatial, frame_geometry
from tests.images.difference_field import make_exposure, make_stars

SHAPE = (400, 470)
CONFIG = MatchingConfig(stamps_per_cell=12)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def pair(rng, reference_fwhm, target_fwhm, ratio=1.0, *, noise=5.0, n=150, low=3000.0):
    x, y, flux = make_stars(rng, SHAPE, n, low=low)
    reference = make_exposure(rng, SHAPE, (x, y, flux), reference_fwhm, noise=noise)
    target = make_exposure(rng, SHAPE, (x, y, ratio * flux), target_fwhm, noise=noise)
    return reference, target


def second_moment(stamp):
    half = stamp.shape[0] // 2
    offset = np.arange(-half, half + 1)
    window = (np.abs(offset) <= 9).astype(float)
    weights = stamp * window[:, None] * window[None, :]
    return np.sum(weights * offset[None, :] ** 2) / weights.sum()


def test_kernel_adds_what_the_widths_differ_by(rng):
    reference, target = pair(rng, 3.0, 4.2)
    matching = fit_kernel(reference, target, CONFIG)
    expected = sigma_from_fwhm(4.2) ** 2 - sigma_from_fwhm(3.0) ** 2
    assert second_moment(matching.kernel.at(235, 200)) == pytest.approx(expected, rel=0.05)
    assert matching.flux_ratio == pytest.approx(1.0, abs=0.003)


@pytest.mark.parametrize("ratio", [0.7, 1.3])
def test_flux_ratio_is_that_of_the_images(rng, ratio):
    reference, target = pair(rng, 3.0, 4.0, ratio)
    assert fit_kernel(reference, target, CONFIG).flux_ratio == pytest.approx(ratio, rel=0.004)


def test_noise_of_the_reference_does_not_bias_the_flux_ratio(rng):
    ratios = [fit_kernel(*pair(rng, 3.0, 3.6, noise=30.0), CONFIG).flux_ratio for _ in range(4)]
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.012)


def test_noise_is_taken_out_of_the_equations():
    # One function: 100 of signal and 25 of noise in the matrix, a true flux of 1.
    one = np.ones((4, 1, 1))
    matrix = np.pad(31.25 * one, ((0, 0), (0, 1), (0, 1))) + np.diag([0.0, 1.0])
    equations = StampEquations(
        np.arange(4.0), np.arange(4.0), matrix, np.tile([25.0, 0.0], (4, 1)),
        np.full(4, 30.0), np.full(4, 9), np.full(4, 6.25), np.diag([1.0, 0.0]),
    )  # fmt: skip
    assert solve(equations, SpatialModel((9, 9), 1, 0, 0), 0.9)[0] == pytest.approx(1.0, abs=1e-6)


def test_condition_number_and_flux_scatter_are_those_of_simple_equations():
    # One function and a sky that do not mix: flux ratios 0.9, 1.0, 1.0 and 1.2 about a solution of 1.
    ratios = np.array([0.9, 1.0, 1.0, 1.2])
    matrix = np.tile(np.diag([1e4, 4.0]), (4, 1, 1))
    vector = np.stack([1e4 * ratios, np.full(4, 8.0)], axis=-1)
    equations = StampEquations(
        np.arange(4.0), np.arange(4.0), matrix, vector,
        np.full(4, 200.0), np.full(4, 9), np.zeros(4), np.zeros((2, 2)),
    )  # fmt: skip
    model = SpatialModel((9, 9), 1, 0, 0)
    assert condition_number(equations, model) == pytest.approx(1.0)
    scatter = np.sqrt((1.4826 * 0.05) ** 2 - 1e-4)
    assert flux_scatter(equations, model, np.array([1.0, 2.0])) == pytest.approx(scatter, rel=1e-3)
    mixed = np.tile(np.array([[1e4, 100.0], [100.0, 4.0]]), (4, 1, 1))
    cosine = 100.0 / np.sqrt(4e4)
    mixed_equations = replace(equations, matrix=mixed)
    assert condition_number(mixed_equations, model) == pytest.approx((1 + cosine) / (1 - cosine))


@pytest.mark.parametrize("fwhm", [2.5, 3.5])
def test_an_image_subtracts_itself_to_nothing(rng, fwhm):
    reference, _ = pair(rng, fwhm, fwhm)
    matching = fit_kernel(reference, reference, CONFIG)
    left = reference.image - convolve_spatial(reference.image, matching.kernel)
    inner = np.s_[20:-20, 20:-20]
    assert np.abs(left[inner]).max() < 1e-5 * reference.image.max()
    assert left[inner].std() < 1e-3 * 5.0
    assert matching.flux_ratio == pytest.approx(1.0, abs=1e-5)


def test_known_kernel_is_recovered_where_it_varies(rng):
    x, y, flux = make_stars(rng, SHAPE, 250, low=20000.0)
    clean = make_exposure(rng, SHAPE, (x, y, flux), 3.0, noise=1e-6, photons=False)
    reference = make_exposure(rng, SHAPE, (x, y, flux), 3.0, noise=3.0, photons=False)
    stamps = np.zeros((3, 31, 31))
    stamps[0] = 0.97 * gaussian_psf(2.4, 31).coefficients[0]
    stamps[1] = 0.1 * (np.roll(stamps[0], 1, axis=1) - np.roll(stamps[0], -1, axis=1))
    stamps[2] = 0.1 * (gaussian_psf(3.0, 31).coefficients[0] - gaussian_psf(2.0, 31).coefficients[0])
    truth = SpatialKernel(stamps, 1, *frame_geometry(SHAPE))
    image = convolve_spatial(clean.image, truth) + 3.0 * rng.normal(size=SHAPE)
    target = reference.replace(image=image.astype(np.float32), psf=gaussian_psf(3.8, 31))
    matching = fit_kernel(reference, target, CONFIG)
    assert matching.flux_ratio == pytest.approx(0.97, abs=1e-3)
    found = matching.kernel
    for place in ((60, 70), (235, 200), (400, 330)):
        seen = [ndimage.gaussian_filter(kernel.at(*place), sigma_from_fwhm(3.0)) for kernel in (found, truth)]
        assert np.abs(seen[0] - seen[1]).max() < 0.003 * seen[1].max()


def test_saturated_stars_are_not_used(rng):
    reference, target = pair(rng, 3.0, 4.0)
    image, mask = target.image.copy(), target.mask.copy()
    bright = np.argwhere(image > 0.5 * image.max())
    image[bright[:, 0], bright[:, 1]] *= 0.3
    mask[bright[:, 0], bright[:, 1]] |= MASK_SAT
    matching = fit_kernel(reference, target.replace(image=image, mask=mask), CONFIG)
    assert matching.flux_ratio == pytest.approx(1.0, abs=0.01)


def test_variable_stars_are_dropped(rng):
    x, y, flux = make_stars(rng, SHAPE, 150, low=3000.0)
    changed = flux.copy()
    changed[:8] *= 4.0
    reference = make_exposure(rng, SHAPE, (x, y, flux), 3.0, noise=5.0)
    target = make_exposure(rng, SHAPE, (x, y, changed), 4.0, noise=5.0)
    matching = fit_kernel(reference, target, CONFIG)
    assert matching.n_kept < matching.n_stamps
    assert matching.flux_ratio == pytest.approx(1.0, abs=0.01)


def test_fields_without_stars_are_refused_with_the_numbers(rng):
    reference, target = pair(rng, 3.0, 4.0, n=2)
    with pytest.raises(TooFewSourcesError, match="5 are required") as caught:
        fit_kernel(reference, target, CONFIG)
    assert caught.value.context["n_required"] == 5


def test_images_of_different_units_are_refused(rng):
    reference, target = pair(rng, 3.0, 4.0, ratio=9.0)
    with pytest.raises(KernelFitError, match="flux ratio"):
        fit_kernel(reference, target, CONFIG)


def test_singular_equations_are_an_error():
    zero = np.zeros((3, 5, 5))
    bad = StampEquations(
        np.arange(3.0), np.arange(3.0), np.full_like(zero, np.nan), np.zeros((3, 5)),
        np.zeros(3), np.ones(3, np.int64), np.zeros(3), np.zeros((5, 5)),
    )  # fmt: skip
    with pytest.raises(KernelFitError, match="singular"):
        solve(bad, SpatialModel((10, 10), 4, 0, 0))


def test_basis_has_one_function_with_flux():
    images = make_kernel_basis((0.7, 1.5, 3.0), (4, 2, 2), 12).images()
    sums = images.sum(axis=(1, 2))
    assert sums[0] == pytest.approx(1.0)
    np.testing.assert_allclose(sums[1:], 0.0, atol=1e-12)


def test_the_central_pixel_can_be_one_of_the_functions():
    basis = make_kernel_basis((0.7, 1.5), (2, 1), 8, with_pixel=True)
    delta = np.zeros((17, 17))
    delta[8, 8] = 1.0
    images = basis.images().reshape(basis.n_basis, -1)
    weights = np.linalg.lstsq(images[:2].T, delta.ravel(), rcond=None)[0]
    np.testing.assert_allclose(weights @ images[:2], delta.ravel(), atol=1e-12)
    np.testing.assert_allclose(images[1:].sum(axis=1), 0.0, atol=1e-12)


def test_functions_that_are_constant_have_one_unknown():
    model = SpatialModel((9, 9), 4, 1, 0, 2)
    function, term = model.layout()
    assert list(function) == [0, 1, 2, 2, 2, 3, 3, 3, 4]
    assert list(term) == [0, 0, 0, 1, 2, 0, 1, 2, 0]


def test_separable_convolution_equals_the_direct_one(rng):
    from scipy import signal

    basis = make_kernel_basis((0.8, 2.0), (2, 1), 6)
    cutouts = rng.normal(size=(2, 21, 21))
    found = basis.convolve(cutouts)
    for k, image in enumerate(basis.images()):
        np.testing.assert_allclose(found[1, k], signal.convolve(cutouts[1], image, mode="valid"), atol=1e-10)


def test_noise_gram_is_that_of_convolved_noise():
    basis = make_kernel_basis((0.8, 2.0), (2, 1), 6)
    np.testing.assert_allclose(basis.noise_gram(np.ones((64, 64))), basis.noise_gram(), atol=1e-12)


def test_growing_an_empty_mask_leaves_it_empty():
    assert not grow_square(np.zeros((5, 6), bool), 3).any()
