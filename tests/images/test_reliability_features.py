"""Features of detections: what they say of sources and artefacts, and what they do not depend on."""

import numpy as np
import pytest

from astra.errors import FormatError
from astra.images.exposure import MASK_CR, MASK_DETECTED, MASK_INTRP, MASK_SAT, MASK_SAT_TEMPLATE
from astra.images.reliability_features import (
    MANTISSA_BITS,
    REACH_FWHM,
    column_features,
    cut_source_stamps,
    reliability_features,
    rounded,
)
from astra.images.reliability_kernels import (
    N_LOBES,
    N_RINGS,
    N_SHAPE,
    N_SURROUNDINGS,
    RING_EDGES,
    explain_in_order,
    extreme_pulls,
    fit_template_and_point,
    line_snr,
    lobe_numbers,
    ring_residuals,
    shape_numbers,
    smooth_snr,
    steepness,
    surroundings,
)
from tests.images.reliability_field import SHAPE, empty_place, make_scene, nearest, subtract, with_stars


@pytest.fixture(scope="module")
def scene():
    """A pair with a new star at an empty place, its result, and the place."""
    science, template, stars = make_scene()
    x, y = empty_place(stars)
    x, y = x + 0.3, y - 0.2
    science = with_stars(science, [x], [y], 4000.0, 3.8)
    return science, template, subtract(science, template), (x, y)


def features_of(science, result):
    return reliability_features(result.dia_sources, result.difference, science, result.matched_template)


def random_stamp(seed=0, size=23):
    rng = np.random.default_rng(seed)
    d, t = rng.normal(size=(2, size, size)) + 0.3
    w = rng.uniform(0.5, 2.0, (size, size))
    w[rng.random((size, size)) < 0.1] = 0.0
    rows, columns = np.mgrid[:size, :size]
    centre = np.array([size // 2 + 0.3, size // 2 - 0.2])
    p = np.exp(-0.5 * ((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2) / 2.5)
    return np.where(w > 0, d, 0.0), w, p / p.sum(), t, centre


def distances(centre, size=23):
    rows, columns = np.mgrid[:size, :size]
    return np.hypot(rows - centre[1], columns - centre[0])


def test_fit_is_that_of_least_squares():
    d, w, p, t, centre = random_stamp()
    total, point, template, beyond, count = fit_template_and_point(d, w, t, p, centre, 6.0)
    inner = (slice(1, -1), slice(1, -1))
    basis = np.stack([t, np.gradient(t, axis=1), np.gradient(t, axis=0), p])[:, *inner]
    chosen = ((w > 0) & (distances(centre) <= 6.0))[inner]
    design = basis[:, chosen].T * np.sqrt(w[inner][chosen])[:, None]
    data = d[inner][chosen] * np.sqrt(w[inner][chosen])

    def explained(columns):
        return np.sum(data**2) - np.linalg.lstsq(design[:, columns], data)[1][0]

    assert count == chosen.sum()
    assert total == pytest.approx(np.sum(data**2))
    assert point == pytest.approx(explained([3]))
    assert template == pytest.approx(explained([0, 1, 2]))
    assert beyond == pytest.approx(explained([0, 1, 2, 3]) - explained([0, 1, 2]), rel=1e-6)


def test_terms_that_are_alike_explain_once():
    vectors = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
    matrix, right = vectors @ vectors.T, vectors @ np.array([1.0, 1.0, 1.0])
    explain_in_order(matrix, right)
    assert right[0] ** 2 == pytest.approx(36.0 / 14.0)
    assert right[1] ** 2 < 1e-6


def test_rings_are_those_of_plain_sums():
    d, w, p, _, centre = random_stamp(1)
    out = np.empty((2, N_RINGS))
    ring_residuals(d, w, p, centre, 3.0, 5.0, out)
    pull, radius = (d - 5.0 * p) * np.sqrt(w), distances(centre) / 3.0
    for ring in range(N_RINGS):
        chosen = (w > 0) & (radius >= RING_EDGES[ring]) & (radius < RING_EDGES[ring + 1])
        n = chosen.sum()
        assert out[0, ring] == pytest.approx(pull[chosen].sum() / np.sqrt(n))
        assert out[1, ring] == pytest.approx(((pull[chosen] ** 2).sum() - n) / np.sqrt(2 * n))


def test_extremes_are_those_within_the_radius():
    d, w, p, _, centre = random_stamp(7)
    pull = ((d - 5.0 * p) * np.sqrt(w))[(w > 0) & (distances(centre) < 4.0)]
    np.testing.assert_allclose(extreme_pulls(d, w, p, centre, 4.0, 5.0), (pull.max(), pull.min()))


def test_ring_without_pixels_is_nan():
    d, w, p, _, centre = random_stamp(1)
    out = np.empty((2, N_RINGS))
    ring_residuals(d, np.zeros_like(w), p, centre, 3.0, 5.0, out)
    assert np.isnan(out).all()


def test_shapes_are_those_of_plain_sums():
    d, w, p, _, centre = random_stamp(2)
    out = np.empty(N_SHAPE)
    shape_numbers(d, w, p, centre, 3.0, out)
    rows, columns = np.mgrid[:23, :23]
    angle, radius = np.arctan2(rows - centre[1], columns - centre[0]), distances(centre)
    near = radius < 6.0
    chosen = near & (w > 0)
    core = (radius < 3.0) & (w > 0)
    modulus = np.abs(d[chosen]).sum()
    assert out[0] == pytest.approx(abs(np.sum((d * np.exp(1j * angle))[chosen])) / modulus)
    assert out[1] == pytest.approx(abs(np.sum((d * np.exp(2j * angle))[chosen])) / modulus)
    assert out[2] == pytest.approx(-d[chosen & (d < 0)].sum() / d[chosen & (d > 0)].sum())
    share = d[core].max() / np.maximum(d[core], 0).sum()
    assert out[3] == pytest.approx(share / (p[core].max() / p[core].sum()))
    assert out[4] == pytest.approx(p[chosen].sum() / p[near].sum())


def test_steepness_is_that_of_plain_differences():
    d, w, p, _, centre = random_stamp(3)
    core = (distances(centre) < 3.0) & (w > 0)
    usable = core[:-1, :-1]
    steps = {}
    for name, image in (("d", d), ("p", p)):
        right = np.where(usable & (w[:-1, 1:] > 0), np.abs(np.diff(image, axis=1))[:-1], 0.0)
        below = np.where(usable & (w[1:, :-1] > 0), np.abs(np.diff(image, axis=0))[:, :-1], 0.0)
        steps[name] = max(right.max(), below.max())
    expected = steps["d"] / steps["p"] * p[core].sum() / np.maximum(d[core], 0).sum()
    assert steepness(d, w, p, centre, 3.0) == pytest.approx(expected)


def test_smoothed_signal_to_noise_is_that_of_plain_sums():
    d, w, *_ = random_stamp(4)
    taps = np.exp(-0.5 * (np.arange(-3, 4) / 1.4) ** 2)
    snr = np.empty_like(d)
    smooth_snr(d, w, taps, snr)
    kernel = np.outer(taps, taps)
    padded = np.pad(np.where(w > 0, d, 0.0), 3)
    variance = np.pad(np.where(w > 0, 1.0 / np.where(w > 0, w, 1.0), 0.0), 3)
    for j, i in ((0, 0), (5, 9), (22, 11)):
        box = slice(j, j + 7), slice(i, i + 7)
        expected = (kernel * padded[box]).sum() / np.sqrt((kernel**2 * variance[box]).sum())
        assert snr[j, i] == pytest.approx(expected)


def test_lobes_are_extremes_of_the_signal_to_noise():
    snr, centre = np.random.default_rng(5).normal(size=(23, 23)), np.array([11.0, 11.0])
    out, radius = np.empty(N_LOBES), distances(np.array([11.0, 11.0])) / 3.0
    lobe_numbers(snr, centre, 3.0, out)
    ring = (radius >= 1.5) & (radius < 3.0)
    expected = [
        max(snr[radius < 0.75].max(), 0), -snr[radius < 2].min(), snr[ring].max(), -snr[ring].min(),
        np.sqrt(np.mean(snr[ring] ** 2)),
    ]  # fmt: skip
    np.testing.assert_allclose(out, expected)


def test_line_is_found_along_rows_and_columns_alike():
    d, w, _, _, centre = random_stamp(6)
    d = np.zeros_like(d)
    d[:, 11] = 3.0
    along = line_snr(d, w, centre, 3.0)
    rows = (w[:, 11] > 0) & (distances(centre)[:, 11] > 4.5)
    assert along == pytest.approx(3.0 * rows.sum() / np.sqrt((1.0 / w[rows, 11]).sum()))
    assert line_snr(d.T.copy(), w.T.copy(), centre[::-1].copy(), 3.0) == pytest.approx(along)


def test_surroundings_are_distances_to_the_nearest():
    image, masks = np.zeros((60, 80), np.float32), np.zeros((3, 60, 80), np.uint32)
    masks[0, 20, 30], masks[1, 25, 33], masks[2, 30, 30] = MASK_SAT_TEMPLATE, MASK_CR, MASK_INTRP
    masks[1, 27, 31] = MASK_DETECTED  # which says nothing
    image[20, 45] = 7.0
    out = np.empty(N_SURROUNDINGS)
    surroundings(tuple(masks), image, np.array([30.0, 27.0]), 25, out)
    np.testing.assert_allclose(out[:3], [7.0, np.hypot(2, 3), 3.0])
    assert np.isinf(out[3])
    np.testing.assert_allclose(out[4:], [7.0, np.hypot(15, 7)])
    surroundings(tuple(masks), image, np.array([4.0, 27.0]), 25, out)
    assert out[3] == 5.0


def test_new_star_looks_like_a_point_and_like_no_error_of_the_template(scene):
    science, _, result, (x, y) = scene
    features = features_of(science, result)
    [row] = nearest(result.dia_sources, x, y)
    assert features["pointShare"][row] > 0.8
    assert features["otherShare"][row] < 0.15
    assert features["fluxToOwn"][row] == pytest.approx(1.0, abs=0.15)
    assert abs(features["otherToFlux"][row]) < 0.1
    assert features["sharpness"][row] == pytest.approx(1.0, abs=0.3)
    assert features["negativeToPositive"][row] < 0.3
    assert features["saturatedDistance"][row] == pytest.approx(features["saturatedDistance"].max(), rel=1e-3)


def test_features_are_the_same_for_the_negative_of_a_difference(scene):
    science, _, result, (x, y) = scene
    # Both images changed places: the difference has the other sign and is otherwise the same.
    [row] = nearest(result.dia_sources, x, y)
    turned = result.dia_sources.copy()
    turned["isNegative"] = ~turned["isNegative"]
    for name in ("psfFlux", "apFlux"):
        turned[name] *= -1.0
    for part in ("Flux", "FluxErr"):
        turned[f"science{part}"] = result.dia_sources[f"template{part}"]
        turned[f"template{part}"] = result.dia_sources[f"science{part}"]
    difference = result.difference.replace(image=-result.difference.image)
    expected = features_of(science, result)[row]
    found = reliability_features(turned, difference, result.matched_template, science)[row]
    for name in expected.dtype.names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_features_are_the_same_in_other_units(scene):
    science, _, result, _ = scene
    scaled = result.dia_sources.copy()
    for name in scaled.dtype.names:
        if name.endswith(("Flux", "FluxErr")):
            scaled[name] *= 7.0

    def in_other_units(exposure):
        return exposure.replace(
            image=exposure.image * np.float32(7), variance=exposure.variance * np.float32(49)
        )

    found = reliability_features(
        scaled, *map(in_other_units, (result.difference, science, result.matched_template))
    )
    expected = features_of(science, result)
    for name in expected.dtype.names:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-3, atol=2e-3, err_msg=name)


def test_saturation_is_seen_within_reach(scene):
    science, _, result, (x, y) = scene
    [row] = nearest(result.dia_sources, x, y)
    fwhm = result.difference.psf.fwhm_pixel(SHAPE[1] / 2, SHAPE[0] / 2)
    for distance, expected in ((12, 12 / fwhm), (40, REACH_FWHM)):
        mask = result.difference.mask.copy()
        mask[round(y), round(x) + distance] |= MASK_SAT
        features = reliability_features(
            result.dia_sources, result.difference.replace(mask=mask), science, result.matched_template
        )
        assert features["saturatedDistance"][row] == pytest.approx(expected, abs=0.3)


def test_optional_columns_make_features(scene):
    _, _, result, _ = scene
    rows = result.dia_sources
    names = ("dipoleFluxDiff", "dipoleMeanFlux", "dipoleChi2", "dipoleNdata", "trailChi2", "trailNdata")
    fields = [(name, rows.dtype[name]) for name in rows.dtype.names if name not in names]
    longer = np.ones(len(rows), dtype=[*fields, *((name, "f8") for name in names)])
    for name, _ in fields:
        longer[name] = rows[name]
    added = set(column_features(longer)) - set(column_features(longer[[name for name, _ in fields]]))
    assert added == {"dipoleAsymmetry", "dipoleGain", "trailGain"}


def test_no_detections_have_no_features(scene):
    science, _, result, _ = scene
    empty = reliability_features(result.dia_sources[:0], result.difference, science, result.matched_template)
    assert len(empty) == 0
    assert empty.dtype == features_of(science, result).dtype


def test_masked_difference_gives_nan_and_no_error(scene):
    science, _, result, _ = scene
    blank = result.difference.replace(
        image=np.full_like(result.difference.image, np.nan),
        variance=np.full_like(result.difference.variance, np.nan),
        mask=np.full_like(result.difference.mask, MASK_SAT),
    )
    features = reliability_features(result.dia_sources, blank, science, result.matched_template)
    assert np.isnan(features["pointShare"]).all()
    assert (features["usableShare"] == 0).all()


def test_missing_column_is_named(scene):
    science, _, result, _ = scene
    names = [name for name in result.dia_sources.dtype.names if name != "apFlux"]
    with pytest.raises(FormatError, match="needs the columns apFlux"):
        reliability_features(result.dia_sources[names], result.difference, science, result.matched_template)


def test_shapes_must_be_one(scene):
    science, _, result, _ = scene
    smaller = science.replace(image=science.image[1:], variance=science.variance[1:], mask=science.mask[1:])
    with pytest.raises(ValueError, match="must be of one shape"):
        reliability_features(result.dia_sources, result.difference, smaller, result.matched_template)


def test_stamps_are_centred_on_the_source(scene):
    science, _, result, (x, y) = scene
    stamps = cut_source_stamps(result.dia_sources, result.difference, science, result.matched_template)
    [row] = nearest(result.dia_sources, x, y)
    top = np.unravel_index(np.argmax(stamps.psf[row]), stamps.psf[row].shape)
    np.testing.assert_allclose(top, stamps.centres[row][::-1], atol=0.6)
    assert stamps.difference[row].sum() == pytest.approx(4000, rel=0.2)


def test_rounding_keeps_a_part_in_2_to_the_bits_and_drops_the_rest():
    values = np.array([1.0, -3.3333333333, 1e-12, 0.0, np.inf, np.nan])
    found = rounded(values)
    np.testing.assert_allclose(found[:4], values[:4], rtol=2.0**-MANTISSA_BITS)
    assert np.isnan(found[4:]).all()
    np.testing.assert_array_equal(rounded(values[:4] * (1 + 1e-13)), found[:4])
