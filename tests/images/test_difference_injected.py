"""Point sources injected into the real science frames, half of them on galaxies: what is found of them."""

import numpy as np
import pytest
from scipy.stats import norm

from tests.images.injected_field import flux_bias, plan_injections, recover

REALISATIONS = (1, 2)
N_INJECTED = 160


@pytest.fixture(scope="module")
def recovered(real_frames, real_difference):
    rows = []
    for seed in REALISATIONS:
        rng = np.random.default_rng(seed)
        planned = plan_injections(real_frames.science, real_difference, real_frames.sources, rng, N_INJECTED)
        rows.append(recover(real_frames.science, real_frames.template, planned, rng))
    return np.concatenate(rows)


def between(rows, low, high):
    return rows[(rows["snr"] >= low) & (rows["snr"] < high)]


def test_enough_is_injected_and_half_of_it_on_galaxies(recovered):
    assert len(recovered) >= 200
    assert np.mean(recovered["hosted"]) == 0.5


@pytest.mark.parametrize(("low", "high", "least"), [(10, 50, 0.99), (7, 10, 0.95)])
def test_nearly_all_are_found(recovered, low, high, least):
    rows = between(recovered, low, high)
    assert len(rows) > 50
    assert np.mean(rows["found"]) >= least


def test_as_many_faint_ones_are_found_as_gaussian_noise_allows(recovered):
    rows = between(recovered, 5, 7)
    chance = norm.cdf(rows["snr"] - 5.0)
    spread = np.sqrt(np.sum(chance * (1 - chance)))
    assert np.sum(rows["found"]) > np.sum(chance) - 3 * spread


@pytest.mark.parametrize("hosted", [False, True])
def test_fluxes_are_not_biased(recovered, hosted):
    rows = between(recovered[recovered["hosted"] == hosted], 10, 50)
    bias, error = flux_bias(rows)
    assert error < 0.007
    assert abs(bias) < 0.01 + 2 * error
