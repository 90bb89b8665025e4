"""What is injected comes out of a difference with its flux and place, and the rest is as without it."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import kstest

from astra.images.difference import DifferenceResult, difference_images
from astra.images.exposure import MASK_INJECTED, MASK_INJECTED_TEMPLATE, Exposure
from astra.images.injection import inject_sources, render_sources
from astra.images.injection_plan import InjectionConfig, plan_injections
from astra.images.injection_search import Search, search_for
from astra.images.reliability_sampling import on_grid_of
from tests.images.difference_field import make_pair

SHAPE = (900, 1100)
BRIGHT = InjectionConfig(
    n_isolated=280, n_hosted=0, n_trails=0, n_negative=140, snr_min=10.0, spacing_pixel=28.0
)
NO_HOSTS = np.zeros(
    0, dtype=[("id", "i8"), *((n, "f8") for n in ("x", "y", "ixx", "iyy", "ixy", "extendedness", "snr"))]
)


@dataclass(frozen=True)
class Injected:
    """A pair, its difference without and with injected sources, and what was found of them."""

    science: Exposure
    template: Exposure
    before: DifferenceResult
    after: DifferenceResult
    search: Search


def inject_and_subtract(seed):
    rng = np.random.default_rng(seed)
    pair = make_pair(rng, SHAPE, n_stars=250)[:2]
    science, template = (exposure.replace(metadata={"NJYADU": 1.0}) for exposure in pair)
    template = on_grid_of(science, template)
    planned = plan_injections(science, template, NO_HOSTS, rng, BRIGHT)
    negative = planned["isNegative"]
    bright = inject_sources(science, planned[~negative], rng)
    deep = inject_sources(template, planned[negative], rng, into_template=True)
    before, after = difference_images(science, template), difference_images(bright, deep)
    return Injected(science, template, before, after, search_for(planned, after.dia_sources))


@pytest.fixture(scope="module")
def injected():
    return [inject_and_subtract(seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def found(injected):
    """Flux, error and pulls of all that was found, of both signs."""
    columns = []
    for search in (one.search for one in injected):
        truth = search.matches[search.found]
        rows = search.detections[search.matches["detection"][search.found]]
        flux = np.where(truth["isNegative"], -truth["flux"], truth["flux"])
        columns.append(
            {
                "relative": rows["psfFlux"] / flux - 1.0,
                "weight": (flux / rows["psfFluxErr"]) ** 2,
                "flux": (rows["psfFlux"] - flux) / rows["psfFluxErr"],
                "x": (rows["x"] - truth["x"]) / rows["xErr"],
                "y": (rows["y"] - truth["y"]) / rows["yErr"],
            }
        )
    return {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}


def test_all_bright_ones_are_found(injected, found):
    n_injected = sum(len(one.search.matches) for one in injected)
    assert n_injected >= 680
    assert len(found["flux"]) >= 0.995 * n_injected


@pytest.mark.parametrize("quantity", ["flux", "x", "y"])
def test_pulls_are_standard_normal_within_a_tenth(found, quantity):
    pulls = found[quantity]
    assert abs(pulls.mean()) < 0.1 + 2.0 / np.sqrt(len(pulls))
    assert 0.9 < pulls.std() < 1.1
    assert kstest((pulls - pulls.mean()) / pulls.std(), "norm").pvalue > 1e-3


def test_fluxes_above_ten_sigma_are_right_to_a_hundredth(found):
    bias = np.average(found["relative"], weights=found["weight"])
    assert np.sum(found["weight"]) ** -0.5 < 0.0015
    assert abs(bias) < 0.01
    assert abs(np.median(found["relative"])) < 0.01


def test_the_kernel_and_its_judgement_are_those_without_injections(injected):
    for one in injected:
        before, after = one.before.metrics, one.after.metrics
        assert after["spatialKernelSum"] == pytest.approx(before["spatialKernelSum"], abs=0.004)
        ratio = "differenceFootprintRatioMean"
        assert after[ratio] == pytest.approx(before[ratio], abs=0.005)
        drawn = render_sources(one.science, one.search.matches)[0]
        far = drawn < 1e-3 * np.sqrt(one.before.difference.variance)
        change = (one.after.difference.image - one.before.difference.image)[far]
        sigma = np.sqrt(one.before.difference.variance[far])
        assert np.nanstd(change / sigma) < 0.15


def test_the_difference_tells_by_its_mask_what_was_injected_where(injected):
    for one in injected:
        planned, mask = one.search.matches, one.after.difference.mask
        at = np.rint(planned["y"]).astype(int), np.rint(planned["x"]).astype(int)
        light = np.where(planned["isNegative"], MASK_INJECTED_TEMPLATE, MASK_INJECTED)
        assert ((mask[at] & light) > 0).all()
        rows = one.after.dia_sources[planned["detection"][one.search.found]]
        negative = planned["isNegative"][one.search.found]
        assert rows["pixelFlags_injected"][~negative].all()
        assert rows["pixelFlags_injected_template"][negative].all()
        assert rows["pixelFlags_injected_templateCenter"][negative].all()
        assert not (one.before.difference.mask & (MASK_INJECTED | MASK_INJECTED_TEMPLATE)).any()
        assert one.before.dia_sources["pixelFlags_injected"].sum() == 0


def test_injecting_nothing_gives_the_same_difference_byte_for_byte(injected):
    science, template, rng = injected[0].science, injected[0].template, np.random.default_rng(5)
    none = InjectionConfig(n_isolated=0, n_hosted=0, n_trails=0, n_negative=0)
    nothing = plan_injections(science, template, NO_HOSTS, rng, none)
    assert len(nothing) == 0
    again = difference_images(
        inject_sources(science, nothing, rng), inject_sources(template, nothing, rng, into_template=True)
    )
    before = injected[0].before
    for name in ("image", "variance", "mask"):
        assert getattr(again.difference, name).tobytes() == getattr(before.difference, name).tobytes()
    assert again.dia_sources.tobytes() == before.dia_sources.tobytes()
