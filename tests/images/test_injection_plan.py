"""Sources to inject lie where they should, and are as bright as asked for."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

from astra.images.exposure import MASK_DETECTED, MASK_SAT
from astra.images.forced import forced_photometry
from astra.images.injection_plan import InjectionConfig, _free_pixels, _PixelsToDraw, plan_injections
from tests.images.difference_field import make_exposure

CONFIG = InjectionConfig(n_isolated=25, n_hosted=12, n_trails=5, n_negative=7, spacing_pixel=20.0)
NONE = (np.zeros(0), np.zeros(0), np.zeros(0))


def make_scene(shape=(520, 640)):
    rng = np.random.default_rng(3)
    science = make_exposure(rng, shape, NONE, 3.5)
    sources = np.zeros(
        60,
        dtype=[("id", "i8"), *((n, "f8") for n in ("x", "y", "ixx", "iyy", "ixy", "extendedness", "snr"))],
    )
    sources["id"] = 1000 + np.arange(60)
    sources["x"], sources["y"] = rng.uniform(0, shape[1], 60), rng.uniform(0, shape[0], 60)
    sources["ixx"], sources["iyy"], sources["ixy"] = 16.0, 4.0, 3.0
    sources["extendedness"] = np.arange(60) % 4 != 0
    sources["snr"] = np.where(np.arange(60) % 10 == 1, 5.0, 50.0)
    mask = science.mask.copy()
    mask[100:200, 300:400] |= MASK_SAT
    for x, y in zip(sources["x"].astype(int), sources["y"].astype(int), strict=True):
        mask[max(y - 5, 0) : y + 6, max(x - 5, 0) : x + 6] |= MASK_DETECTED
    return science.replace(mask=mask), make_exposure(rng, shape, NONE, 3.0), sources


@pytest.fixture(scope="module")
def planned():
    science, template, sources = make_scene()
    return science, sources, plan_injections(science, template, sources, np.random.default_rng(5), CONFIG)


def test_every_kind_has_its_number(planned):
    injections = planned[2]
    hosted, trails = injections["hostId"] >= 0, injections["trailLength"] > 0
    assert (~hosted & ~trails & ~injections["isNegative"]).sum() == 25
    assert (hosted & ~injections["isNegative"]).sum() == 12
    assert injections["isNegative"].sum() == 7
    assert trails.sum() == 5
    assert len(np.unique(injections["injectionId"])) == len(injections)


@pytest.mark.parametrize("flag", ["flag_crCenter", "flag_saturated"])
def test_what_a_defect_looks_like_is_no_host(flag):
    science, template, bare = make_scene()
    sources = np.zeros(len(bare), dtype=[*bare.dtype.descr, (flag, "?")])
    for name in bare.dtype.names:
        sources[name] = bare[name]
    sources[flag] = np.arange(len(sources)) % 2 == 1
    injections = plan_injections(science, template, sources, np.random.default_rng(5), CONFIG)
    hosts = injections["hostId"][injections["hostId"] >= 0]
    assert len(hosts) > 5
    assert not np.isin(hosts, sources["id"][sources[flag]]).any()


def test_places_are_apart_and_away_from_what_cannot_be_used(planned):
    science, _, injections = planned
    places = np.stack([injections["x"], injections["y"]], axis=-1)
    assert cKDTree(places).query(places, k=2)[0][:, 1].min() >= CONFIG.spacing_pixel
    ny, nx = science.shape
    assert places.min() >= CONFIG.edge_pixel - 1
    assert places[:, 0].max() <= nx - CONFIG.edge_pixel
    assert places[:, 1].max() <= ny - CONFIG.edge_pixel
    saturated = (abs(places[:, 0] - 349.5) < 69) & (abs(places[:, 1] - 149.5) < 69)
    assert not saturated.any()


def test_hosts_are_galaxies_and_others_lie_on_blank_sky(planned):
    science, sources, injections = planned
    hosted = injections[injections["hostId"] >= 0]
    hosts = sources[hosted["hostId"] - 1000]
    assert (hosts["extendedness"] > 0.5).all()
    assert (hosts["snr"] > 10).all()
    offset = np.hypot(hosted["x"] - hosts["x"], hosted["y"] - hosts["y"])
    np.testing.assert_allclose(offset, hosted["hostOffset"])
    assert 1.0 < np.median(offset) < 6.0
    alone = injections[injections["hostId"] < 0]
    pixels = np.rint(alone["y"]).astype(int), np.rint(alone["x"]).astype(int)
    assert not (science.mask[pixels] & MASK_DETECTED).any()


def test_the_stated_snr_is_that_on_the_difference(planned):
    science, _, injections = planned
    assert injections["snr"].min() >= CONFIG.snr_min
    assert injections["snr"].max() <= CONFIG.snr_max
    assert abs(np.log(injections["snr"]).mean() - np.log(20.0)) < 0.4
    both = science.replace(variance=2 * science.variance)
    error = forced_photometry(both, injections["x"], injections["y"])["psfFluxErr"]
    np.testing.assert_allclose(injections["flux"] / injections["snr"], error, rtol=0.02)


def test_one_seed_gives_one_plan(planned):
    science, template, sources = make_scene()
    again = plan_injections(science, template, sources, np.random.default_rng(5), CONFIG)
    for name in again.dtype.names:
        np.testing.assert_array_equal(again[name], planned[2][name])
    other = plan_injections(science, template, sources, np.random.default_rng(6), CONFIG)
    assert (other["x"] != planned[2]["x"]).any()


def test_without_room_or_galaxies_there_are_fewer():
    science, template, sources = make_scene()
    injections = plan_injections(science, template, sources[:0], np.random.default_rng(5), CONFIG)
    assert (injections["hostId"] < 0).all()
    assert len(injections) == 25 + 3 + 5
    full = science.replace(mask=science.mask | MASK_SAT)
    assert len(plan_injections(full, template, sources, np.random.default_rng(5), CONFIG)) == 0


def test_an_impossible_range_is_refused():
    with pytest.raises(ValueError, match="snr_min"):
        InjectionConfig(snr_min=0.0)


@pytest.mark.parametrize("shape", [(40, 57), (1, 9), (7, 3)])
def test_drawn_pixels_are_those_of_a_list_of_all(shape):
    mask = np.random.default_rng(2).random(shape) < 0.3
    rows, columns = _PixelsToDraw(mask).draw(500, np.random.default_rng(8))
    chosen = np.random.default_rng(8).choice(np.flatnonzero(mask), size=500)
    np.testing.assert_array_equal(rows * shape[1] + columns, chosen)
    nothing = _PixelsToDraw(np.zeros(shape, dtype=bool)).draw(500, np.random.default_rng(8))
    assert [len(axis) for axis in nothing] == [0, 0]


@pytest.mark.parametrize("edge", [0, 1, 6, 100])
def test_free_pixels_are_those_away_from_unusable_ones_and_the_edge(edge):
    science, template, _ = make_scene((60, 83))
    rng = np.random.default_rng(1)
    planes = [exposure.image.copy() for exposure in (science, template)]
    for image, value in zip(planes, (np.nan, -np.inf), strict=True):
        image[rng.integers(0, 60, 3), rng.integers(0, 83, 3)] = value
    mask = template.mask.copy()
    mask[rng.integers(0, 60, 3), rng.integers(0, 83, 3)] |= MASK_SAT
    mask[30] |= MASK_DETECTED  # which may be used
    science, template = science.replace(image=planes[0]), template.replace(image=planes[1], mask=mask)
    unusable = ((science.mask | mask) & MASK_SAT > 0) | ~np.isfinite(planes[0]) | ~np.isfinite(planes[1])
    around = np.pad(unusable, 1, constant_values=True)
    grown = binary_dilation(around, np.ones((2 * edge + 1, 2 * edge + 1)))[1:-1, 1:-1]
    free, detected = _free_pixels(science, template, edge)
    np.testing.assert_array_equal(free, ~grown)
    np.testing.assert_array_equal(detected, (science.mask & MASK_DETECTED) > 0)
