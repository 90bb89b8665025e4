from dataclasses import replace

import numpy as np
import pytest

from astra.errors import AlgorithmError, BadSubtractionError, KernelFitError
from astra.images.alard_lupton import AlardLupton
from astra.images.difference_config import DifferenceConfig
from astra.images.difference_quality import QualityGates, check_difference, footprint_ratios
from astra.images.exposure import MASK_NO_DATA
from astra.images.matching_config import MatchingConfig
from tests.images.difference_field import add_stars, make_exposure, make_stars

SHAPE = (400, 470)
GATES = QualityGates()
GOOD = DifferenceConfig(mode="convolve_template", matching=MatchingConfig(stamps_per_cell=12))
# One Gaussian much narrower than what the widths differ by cannot match them.
BAD = DifferenceConfig(
    mode="convolve_template",
    matching=MatchingConfig(
        stamps_per_cell=12, kernel_sigmas_pixel=(0.3,), kernel_degrees=(0,), fit_central_pixel=False
    ),
)


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(5)
    x, y, flux = make_stars(rng, SHAPE, 200, low=4000.0)
    science = make_exposure(rng, SHAPE, (x, y, flux), 4.6, noise=5.0)
    return science, make_exposure(rng, SHAPE, (x, y, flux), 3.2, noise=5.0)


@pytest.fixture(scope="module")
def good(pair):
    return AlardLupton().subtract(*pair, GOOD)


@pytest.fixture(scope="module")
def bad(pair):
    return AlardLupton().subtract(*pair, BAD)


@pytest.mark.parametrize("decorrelate", [False, True])
def test_a_good_match_leaves_less_than_two_percent_of_the_stars(pair, decorrelate):
    found = AlardLupton().subtract(*pair, replace(GOOD, decorrelate=decorrelate))
    measured = check_difference(pair[0], found.difference, found.metrics, GATES)
    assert measured["differenceFootprintRatioMean"] < 0.02
    assert measured["differenceFootprintRatioStdev"] < 0.1
    assert abs(measured["differenceFootprintSkyRatioMean"]) < 0.005
    assert measured["differenceFootprintStars"] > 50


def test_a_bad_match_leaves_more_than_twelve_percent_and_is_refused(pair, bad):
    measured = footprint_ratios(pair[0], bad.difference, 20.0)
    assert measured["differenceFootprintRatioMean"] > 0.12
    strict = QualityGates(max_footprint_ratio_mean=0.12)
    with pytest.raises(BadSubtractionError, match=r"at most 0.12 is required \(visit 1, ") as caught:
        check_difference(pair[0], bad.difference, bad.metrics, strict)
    assert caught.value.context["differenceFootprintRatioMean"] > 0.12
    assert isinstance(caught.value, AlgorithmError)


def test_an_unmatched_difference_is_refused_by_the_default_gates(pair):
    science, template = pair
    plain = science.replace(
        image=science.image - template.image, variance=science.variance + template.variance
    )
    with pytest.raises(BadSubtractionError, match="of the flux of the stars"):
        check_difference(science, plain, {}, GATES)


def test_identical_images_leave_nothing(pair):
    science = pair[0]
    nothing = science.replace(image=np.zeros_like(science.image))
    measured = check_difference(science, nothing, {}, GATES)
    assert measured["differenceFootprintRatioMean"] == 0
    assert measured["differenceFootprintRatioStdev"] == 0


def test_stars_that_have_changed_count_in_the_scatter_alone(pair, good):
    rng = np.random.default_rng(7)
    x, y, _ = make_stars(rng, SHAPE, 8, margin=40.0)
    image, left = pair[0].image.astype(float), good.difference.image.astype(float)
    for plane in (image, left):
        add_stars(plane, x, y, np.full(8, 20000.0), 4.6)
    science = pair[0].replace(image=image.astype(np.float32))
    difference = good.difference.replace(image=left.astype(np.float32))
    before = footprint_ratios(pair[0], good.difference, 20.0)
    after = footprint_ratios(science, difference, 20.0)
    assert after["differenceFootprintRatioMean"] < before["differenceFootprintRatioMean"] + 0.01
    assert after["differenceFootprintRatioStdev"] > before["differenceFootprintRatioStdev"] + 0.1


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"spatialConditionNum": 2e15}, "condition number of 2e\\+15, but at most 1e\\+15"),
        ({"spatialKernelSum": 1.0, "spatialKernelSumStdev": 0.2}, "scatters by 0.2 of itself"),
        ({"spatialKernelSum": 1.7}, "off 1 by 0.7, but at most 0.5"),
        ({"nPsfSources": 2.0, "nPsfCandidates": 10.0}, "0.2 of the stamps fits .* at least 0.3"),
    ],
)
def test_a_kernel_beyond_a_gate_is_refused_with_the_numbers(pair, good, metrics, words):
    with pytest.raises(KernelFitError, match=words) as caught:
        check_difference(pair[0], good.difference, good.metrics | metrics, GATES)
    assert caught.value.context["differenceFootprintStars"] > 50


def test_gates_can_be_opened(pair, bad):
    infinite = float("inf")
    gates = QualityGates(infinite, infinite, infinite, infinite, infinite, 0.0)
    assert (
        check_difference(pair[0], bad.difference, bad.metrics, gates)["differenceFootprintRatioMean"] > 0.12
    )


def test_without_stars_nothing_is_judged():
    rng = np.random.default_rng(3)
    empty = make_exposure(rng, (120, 150), ([], [], []), 4.0)
    measured = check_difference(empty, empty, {}, GATES)
    assert measured["differenceFootprintStars"] == 0
    assert np.isnan(measured["differenceFootprintRatioMean"])
    masked = empty.replace(mask=np.full_like(empty.mask, MASK_NO_DATA))
    assert check_difference(masked, masked, {}, GATES)["differenceFootprintStars"] == 0
    small = make_exposure(rng, (5, 7), ([], [], []), 4.0)
    assert check_difference(small, small, {}, GATES)["differenceFootprintStars"] == 0


def test_flux_ratios_of_single_stamps_scatter_little_for_a_good_match(good):
    assert good.metrics["spatialKernelSumStdev"] < 0.02
    assert good.metrics["spatialKernelSum"] == pytest.approx(1.0, abs=0.01)
    assert 1 < good.metrics["spatialConditionNum"] < 1e15


def test_negative_gates_are_no_gates():
    with pytest.raises(ValueError, match="min_stamps_kept must not be negative"):
        QualityGates(min_stamps_kept=-1.0)
