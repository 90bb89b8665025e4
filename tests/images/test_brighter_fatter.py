import dataclasses

import numpy as np
import pytest
from scipy.ndimage import convolve

from astra.images.brighter_fatter import correct_brighter_fatter, fill_from_neighbours
from astra.images.calibration import Calibrations
from astra.images.exposure import MASK_EDGE
from astra.images.isr import correct_raw
from astra.images.isr_config import IsrConfig
from astra.images.overscan import OverscanConfig
from tests.images.calibration_frames import REFERENCE_GAIN, Truth

SHAPE = (61, 75)


def make_kernel(strength=2e-6, size=9):
    y, x = np.mgrid[:size, :size] - size // 2
    return -strength * np.exp(-np.hypot(x, y) / 1.5)


def star(flux=4e5, sky=300.0, sigma=2.0, shape=SHAPE):
    y, x = np.mgrid[: shape[0], : shape[1]]
    r2 = (y - shape[0] // 2) ** 2 + (x - shape[1] // 2) ** 2
    return sky + flux / (2 * np.pi * sigma**2) * np.exp(-0.5 * r2 / sigma**2)


def plain_divergence(light, kernel):
    """Half the divergence of light times the gradient of the potential, with gradients and Laplacians."""
    potential = convolve(light, kernel, mode="nearest")
    gradients = [np.gradient(plane) for plane in (light, potential)]
    laplacian = sum(np.gradient(np.gradient(potential, axis=axis), axis=axis) for axis in (0, 1))
    return 0.5 * (sum(a * b for a, b in zip(*gradients, strict=True)) + light * laplacian)


def collect(light, kernel):
    """Charge that is collected of light: the inverse of the correction."""
    charge = light.copy()
    for _ in range(60):
        found = correct_brighter_fatter(
            charge.astype(np.float32), kernel, threshold_electron=1e-3, max_iterations=30
        )
        charge += light - (charge + found.change)
    return charge


def second_moment(image, sky=300.0):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weight = image - sky
    r2 = (y - image.shape[0] // 2) ** 2 + (x - image.shape[1] // 2) ** 2
    near = r2 < 15**2
    return np.sum(weight * r2 * near) / np.sum(weight * near)


def test_the_change_is_half_the_divergence_of_light_times_the_gradient_of_the_potential():
    light = star(sigma=5.0)  # wide, so that gradients over one pixel and two agree
    kernel = make_kernel()
    found = correct_brighter_fatter(light.astype(np.float32), kernel, max_iterations=1)
    expected = plain_divergence(light, kernel)
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(found.change[inner] - expected[inner]).max() < 0.05 * np.abs(expected[inner]).max()


def test_charge_is_moved_and_not_made():
    light = star()
    found = correct_brighter_fatter(light.astype(np.float32), make_kernel())
    assert np.abs(found.change).sum() > 1000.0
    assert abs(found.change.sum(dtype=np.float64)) < 1e-3 * np.abs(found.change).sum()


def test_a_uniform_image_stays_as_it_is():
    found = correct_brighter_fatter(np.full(SHAPE, 5e4, np.float32), make_kernel())
    assert np.abs(found.change).max() < 0.01
    assert found.n_iterations == 1


def test_a_bright_star_gets_the_width_of_a_faint_one():
    kernel = make_kernel()
    light = star()
    charge = collect(light, kernel)
    assert second_moment(charge) > 1.005 * second_moment(light)
    found = correct_brighter_fatter(charge.astype(np.float32), kernel, threshold_electron=1.0)
    assert second_moment(charge + found.change) == pytest.approx(second_moment(light), rel=1e-3)


def test_iterations_end_at_the_threshold_or_the_limit():
    image = star().astype(np.float32)
    loose = correct_brighter_fatter(image, make_kernel(), threshold_electron=1e9)
    tight = correct_brighter_fatter(image, make_kernel(), threshold_electron=0.0, max_iterations=4)
    assert loose.n_iterations == 1
    assert tight.n_iterations == 4
    assert tight.last_change_electron < loose.last_change_electron


def test_bad_pixels_take_the_mean_of_the_good_ones_round_them():
    rng = np.random.default_rng(1)
    image = rng.normal(100.0, 1.0, SHAPE).astype(np.float32)
    bad = np.zeros(SHAPE, bool)
    bad[10, 10] = bad[20:40, 30:50] = True
    filled = fill_from_neighbours(np.where(bad, np.float32(np.nan), image), bad)
    np.testing.assert_array_equal(filled[~bad], image[~bad])
    np.testing.assert_allclose(filled[bad], 100.0, atol=3.0)
    assert not fill_from_neighbours(image, np.ones(SHAPE, bool)).any()


def test_signature_removal_adds_the_change_alone_and_marks_the_edge():
    truth = Truth(2)
    flat = Calibrations(**{kind: truth.calibration(kind) for kind in ("bias", "dark", "flat")})
    raw = truth.read_out(np.random.default_rng(1), star(flux=2e5, shape=(60, 80)), time_s=20.0)
    config = IsrConfig(overscan_fit=OverscanConfig("clipped_mean"))
    kernel = make_kernel()
    plain = correct_raw(raw, flat, config)
    moved = correct_raw(raw, dataclasses.replace(flat, brighter_fatter=kernel), config)
    change = (moved.image - plain.image) * truth.flat * REFERENCE_GAIN
    expected = correct_brighter_fatter((plain.image * truth.flat * REFERENCE_GAIN).astype(np.float32), kernel)
    np.testing.assert_allclose(change, expected.change, atol=0.5)
    extra = (moved.variance - plain.variance) * truth.flat**2 * REFERENCE_GAIN**2
    bright = plain.image > 100.0
    np.testing.assert_allclose(extra[bright], expected.change[bright], atol=2.0)
    inner = np.zeros((60, 80), bool)
    inner[4:-4, 4:-4] = True
    np.testing.assert_array_equal(moved.mask & MASK_EDGE == 0, inner)
    assert (moved.metadata["ISRBF"], plain.metadata["ISRBF"]) == (True, False)
    assert moved.metadata["BFITER"] == expected.n_iterations


@pytest.mark.parametrize("kernel", [np.zeros((4, 4)), np.zeros((3, 5)), np.zeros((101, 101))])
def test_an_impossible_kernel_is_refused(kernel):
    with pytest.raises(ValueError, match="square, of odd size and no larger"):
        correct_brighter_fatter(np.zeros(SHAPE, np.float32), kernel)
