"""Examples: which detections are sources, which artefacts, and how artefacts are made."""

import numpy as np
import pytest

from astra.images.exposure import MASK_SAT
from astra.images.injection import INJECTION_DTYPE
from astra.images.injection_plan import InjectionConfig
from astra.images.reliability_artefacts import ArtefactConfig, add_artefacts, log_uniform
from astra.images.reliability_sampling import (
    ARTEFACT,
    REAL,
    UNKNOWN,
    Examples,
    SamplingConfig,
    balance_examples,
    join_examples,
    label_detections,
    looks_real,
    on_grid_of,
    plan_variables,
    sample_pair,
)
from tests.images.difference_field import make_pair
from tests.images.reliability_field import SHAPE, calibrated, make_scene, star_table

NO_ARTEFACTS = ArtefactConfig(0, 0, 0, 0, 0, 0, 0)
KINDS = ("n_moved", "n_blurred", "n_scaled", "n_tracks", "n_columns", "n_halos", "n_bumps")
INJECTIONS = InjectionConfig(n_isolated=120, n_hosted=90, n_trails=10, n_negative=60, spacing_pixel=25.0)


@pytest.fixture(scope="module")
def scene():
    science, template, stars = make_scene(n_stars=70)
    return science, template, star_table(stars)


def sampled(scene, seed=5, **changes):
    config = SamplingConfig(**{"injections": INJECTIONS, "n_variables": 40.0, **changes})
    return sample_pair(*scene, np.random.default_rng(seed), config)


@pytest.fixture(scope="module")
def found(scene):
    return sampled(scene)


def test_injected_sources_are_real_and_artefacts_are_not(found):
    sources, labels = found.result.dia_sources, found.labels
    assert set(labels) <= {REAL, ARTEFACT, UNKNOWN}
    assert (labels == REAL).sum() > 25
    assert (labels == ARTEFACT).sum() > 15
    places = np.stack([found.injections["x"], found.injections["y"]], axis=1)
    for row in sources[labels == REAL]:
        distance = np.hypot(*(places - (row["x"], row["y"])).T)
        near = found.injections[np.argmin(distance)]
        assert distance.min() < 2.0 + 0.5 * near["trailLength"]
        assert near["isNegative"] == row["isNegative"]


def test_without_artefacts_most_that_is_left_is_real(scene):
    labels = sampled(scene, artefacts=NO_ARTEFACTS).labels
    counts = [(labels == label).sum() for label in (REAL, ARTEFACT)]
    assert counts[0] > 5 * counts[1]


def test_each_injected_source_is_one_real_detection_at_most(found):
    assert (found.labels == REAL).sum() <= len(found.injections)


def test_equal_seeds_make_equal_examples(scene, found):
    first, again, other = (pair.examples(0) for pair in (found, sampled(scene, 5), sampled(scene, 6)))
    assert first.features.tobytes() == again.features.tobytes()
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.features.tobytes() != other.features.tobytes()


def test_examples_leave_out_what_is_not_known(found):
    examples = found.examples(4)
    assert len(examples) == (found.labels != UNKNOWN).sum()
    assert set(examples.labels) == {REAL, ARTEFACT}
    assert (examples.groups == 4).all()


def detections(**columns):
    names = ("x", "y", "snr", "scienceFlux", "templateFlux", "scienceFluxErr", "templateFluxErr", "psfChi2")
    rows = np.zeros(
        len(columns["x"]), dtype=[(n, "f8") for n in names] + [("isNegative", "?"), ("psfNdata", "i4")]
    )
    for name, values in columns.items():
        rows[name] = values
    return rows


def injected(x, y, *, negative=False, length=0.0):
    rows = np.zeros(1, dtype=INJECTION_DTYPE)
    rows["x"], rows["y"], rows["isNegative"], rows["trailLength"] = x, y, negative, length
    return rows


CLEAN = np.zeros((60, 80), bool)


def test_only_the_best_detection_of_the_right_sign_is_the_source():
    rows = detections(
        x=[30.5, 31.0, 30.0, 36.0, 60.0],
        y=[20.0, 20.0, 20.2, 20.0, 50.0],
        snr=[9.0, 8.0, 12.0, 7.0, 6.0],
        isNegative=[False, False, True, False, False],
    )
    labels = label_detections(rows, injected(30.0, 20.0), CLEAN)
    assert labels.tolist() == [REAL, UNKNOWN, UNKNOWN, UNKNOWN, ARTEFACT]


def test_trail_reaches_as_far_as_it_is_long():
    rows = detections(x=[35.0], y=[20.0], snr=[9.0])
    assert label_detections(rows, injected(30.0, 20.0), CLEAN).tolist() == [UNKNOWN]
    assert label_detections(rows, injected(30.0, 20.0, length=8.0), CLEAN).tolist() == [REAL]


def test_source_on_an_artefact_is_not_known():
    rows, spoiled = detections(x=[30.0], y=[20.0], snr=[9.0]), CLEAN.copy()
    spoiled[20, 30] = True
    assert label_detections(rows, injected(30.0, 20.0), spoiled).tolist() == [UNKNOWN]


def test_known_sources_are_no_artefacts():
    rows = detections(x=[30.0, 50.0], y=[20.0, 20.0], snr=[9.0, 9.0])
    none = np.zeros(0, dtype=INJECTION_DTYPE)
    labels = label_detections(rows, none, CLEAN, np.array([[31.0, 20.0]]))
    assert labels.tolist() == [UNKNOWN, ARTEFACT]


def test_no_detections_have_no_labels():
    assert len(label_detections(detections(x=[], y=[]), injected(3.0, 3.0), CLEAN)) == 0


def test_lone_point_sources_of_either_sign_may_be_real():
    rows = detections(
        x=[1, 2, 3, 4],
        y=[1, 1, 1, 1],
        snr=[9, 9, 9, 5.5],
        isNegative=[False, True, False, False],
        scienceFlux=[90, 5, 90, 50],
        templateFlux=[5, 90, 80, 5],
        scienceFluxErr=[10, 10, 10, 10],
        templateFluxErr=[10, 10, 10, 10],
        psfChi2=[100, 100, 100, 100],
        psfNdata=[100, 100, 100, 100],
    )
    assert looks_real(rows).tolist() == [True, True, False, False]


def test_variables_lie_on_stars_and_change_enough(scene):
    science, template, sources = scene
    rows = plan_variables(science, template, sources, np.random.default_rng(2), 30)
    assert 5 < len(rows) <= 30
    stars = sources[np.searchsorted(sources["id"], rows["hostId"])]
    np.testing.assert_array_equal(rows["x"], stars["x"])
    assert (stars["extendedness"] < 0.5).all()
    assert (rows["snr"] >= 0.04 * stars["snr"] - 1e-9).all()
    assert (rows["flux"] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_artefact_changes_its_footprint_and_little_else(scene, kind):
    science, template, _ = scene
    config = ArtefactConfig(**{**dict.fromkeys(KINDS, 0.0), kind: 60.0})
    changed = add_artefacts(science, template, np.random.default_rng(8), config)
    footprint = changed[2]
    assert 0 < footprint.mean() < 0.6
    change = np.zeros(SHAPE)
    for before, after in zip((science, template), changed[:2], strict=True):
        change += np.abs(after.image - before.image)
        assert np.isfinite(after.image).all()
        assert (after.variance >= before.variance - 1e-6).all()
    assert change[footprint].mean() > 5 * change[~footprint].mean()


def test_artefacts_leave_their_inputs_alone(scene):
    science, template, _ = scene
    before = [exposure.copy() for exposure in (science, template)]
    add_artefacts(science, template, np.random.default_rng(8))
    for exposure, kept in zip((science, template), before, strict=True):
        np.testing.assert_array_equal(exposure.image, kept.image)
        np.testing.assert_array_equal(exposure.variance, kept.variance)
        np.testing.assert_array_equal(exposure.mask, kept.mask)


def test_only_halos_are_saturated(scene):
    science, template, _ = scene
    halos = ArtefactConfig(**{**dict.fromkeys(KINDS, 0.0), "n_halos": 30.0})
    others = ArtefactConfig(n_halos=0.0)
    for config, expected in ((halos, True), (others, False)):
        changed = add_artefacts(science, template, np.random.default_rng(8), config)
        assert all(((exposure.mask & MASK_SAT) > 0).any() == expected for exposure in changed[:2])


def test_artefacts_need_one_grid(scene):
    science, template, _ = scene
    smaller = template.replace(
        image=template.image[1:], variance=template.variance[1:], mask=template.mask[1:]
    )
    with pytest.raises(ValueError, match="artefacts need images of one shape"):
        add_artefacts(science, smaller, np.random.default_rng(0))


def test_template_comes_to_the_grid_of_the_science_image():
    science, template, _ = make_pair(np.random.default_rng(1), (120, 150), n_stars=20)
    warped = on_grid_of(calibrated(science), calibrated(template))
    assert warped.shape == science.shape
    assert warped.noise_power is not None


def test_log_uniform_numbers_are_even_in_their_logarithm():
    numbers = log_uniform(np.random.default_rng(0), 1.0, 100.0, 20000)
    assert np.mean(numbers < 10.0) == pytest.approx(0.5, abs=0.02)


def examples(labels, names=("a", "b"), group=0):
    features = np.zeros(len(labels), dtype=[(name, "f4") for name in names])
    features[names[0]] = np.arange(len(labels))
    labels = np.array(labels, np.int8)
    return Examples(features, labels, np.full(len(labels), 6.0), np.full(len(labels), group))


def test_joined_examples_have_the_features_of_all():
    joined = join_examples([examples([0, 1]), examples([1], ("b", "c"), 7)])
    assert joined.features.dtype.names == ("b",)
    assert joined.labels.tolist() == [0, 1, 1]
    assert joined.groups.tolist() == [0, 0, 7]


def test_balanced_examples_are_as_many_of_each():
    chosen = balance_examples(examples([0, 1, 1, 1, 0, 1]), np.random.default_rng(0))
    assert sorted(chosen.labels.tolist()) == [0, 0, 1, 1]
    assert (np.diff(chosen.features["a"]) > 0).all()
