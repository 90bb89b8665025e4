"""Real stacks of coloured noise: against the difference of them that was published with SFFT."""

import numpy as np
import pytest

from tests.images.decam_pair import noise_figures, our_psf, published_psf, read_pair, subtract


@pytest.fixture(scope="module")
def pair(shared_data):
    folder = shared_data / "decam_sfft"
    if not folder.is_dir():
        pytest.skip("the DECam stacks are not beside the project (../shared/data/decam_sfft)")
    return read_pair(folder)


@pytest.fixture(scope="module")
def published(pair):
    return noise_figures(pair, pair.published, published_psf(pair))


def test_both_differences_have_the_flux_scale_of_the_stack_left_alone(pair):
    white, flux_ratio = subtract(pair)
    assert pair.published_filter.sum() == pytest.approx(1.0, abs=1e-6)
    assert flux_ratio == pytest.approx(pair.published_kernel_sum, rel=0.02)
    assert white.psf.stamp(128, 128).sum() == pytest.approx(1.0)


def test_whitened_noise_has_less_correlation_and_point_sources_no_more_noise(pair, published):
    white, _ = subtract(pair)
    ours = noise_figures(pair, white.image, our_psf(white))
    assert max(abs(ours["lag-1 x"]), abs(ours["lag-1 y"])) < 0.02
    assert min(published["lag-1 x"], published["lag-1 y"]) > 0.1
    assert ours["point source"] < 1.01 * published["point source"]
    pulls = white.image[pair.free] / np.sqrt(white.variance[pair.free])
    flat = ours["pixel"] / np.sqrt(np.median(white.variance[pair.free]))
    assert flat**2 == pytest.approx(1.0, abs=0.03)
    assert pulls.std() == pytest.approx(1.0, abs=0.03)


def test_part_of_the_whitening_beats_the_published_in_noise_and_correlation_at_once(pair, published):
    # White noise of unit flux scale must have more variance a pixel than coloured noise of the same power at
    # long wavelengths: at the published difference's scatter, ours is the less correlated.
    partial, _ = subtract(pair, strength=0.7)
    ours = noise_figures(pair, partial.image, our_psf(partial))
    for name in ("pixel", "pixel robust", "lag-1 x", "lag-1 y"):
        assert ours[name] < published[name]
    assert ours["point source"] < 1.02 * published["point source"]
