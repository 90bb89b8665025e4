import numpy as np
import pytest

from astra.images.aperture_correction import ApertureCorrection
from astra.images.exposure import MASK_BAD, MASK_DETECTED
from astra.images.measurement import MeasurementConfig, source_dtype
from astra.images.psf import Psf, gaussian_psf
from astra.images.psf_statistics import (
    DISTANCE_PIXEL,
    farthest_from_stars,
    good_positions,
    psf_at_centre,
    psf_ranges,
    psf_star_figures,
    residual_correlations,
)

SHAPE = 500, 900


def make_sources(n=200, seed=0, **changes):
    """Round PSF stars of width 2 pixels, as the model has them, but for changes of columns."""
    rng = np.random.default_rng(seed)
    sources = np.zeros(n, dtype=source_dtype(MeasurementConfig()))
    sources["x"], sources["y"] = rng.uniform(0, SHAPE[1], n), rng.uniform(0, SHAPE[0], n)
    sources["snr"], sources["calib_psf_used"] = 300.0, True
    for name in ("ixx", "iyy", "ixxPSF", "iyyPSF"):
        sources[name] = 4.0
    for name, values in changes.items():
        sources[name] = values
    return sources


def widening_psf():
    """A Gaussian that is 3 pixels wide on the left and 4 pixels on the right [FWHM]."""
    left, right = gaussian_psf(3.0).coefficients[0], gaussian_psf(4.0).coefficients[0]
    slopes = [(right + left) / 2, (right - left) / 2, 0 * left]
    return Psf(np.stack(slopes), order=1, x_centre=449.5, y_centre=249.5, scale=450.0)


def test_residual_shapes_are_those_of_the_stars():
    rng = np.random.default_rng(1)
    e1 = 0.02 + 0.01 * rng.normal(size=5000)
    sources = make_sources(5000, ixx=4.41 * (1 + e1), iyy=4.41 * (1 - e1), ixy=4.41 * -0.03)
    figures = psf_star_figures(sources)
    assert figures["nPsfStar"] == 5000
    assert figures["psfStarDeltaE1Median"] == pytest.approx(0.02, abs=0.001)
    assert figures["psfStarDeltaE1Scatter"] == pytest.approx(0.01, rel=0.05)
    assert figures["psfStarDeltaE2Median"] == pytest.approx(-0.03, abs=1e-5)
    assert figures["psfStarDeltaSizeMedian"] == pytest.approx(0.1, abs=1e-5)
    assert figures["starEMedian"] == pytest.approx(np.median(np.hypot(e1, 0.03)), rel=1e-3)
    assert figures["starUnNormalizedEMedian"] == pytest.approx(8.82 * figures["starEMedian"], rel=1e-3)


def test_the_scatter_of_sizes_is_scaled_by_the_size():
    size = 2.1 * (1 + 0.01 * np.random.default_rng(2).normal(size=5000))
    figures = psf_star_figures(make_sources(5000, ixx=size**2, iyy=size**2))
    assert figures["psfStarDeltaSizeScatter"] == pytest.approx(0.021, rel=0.05)
    assert figures["psfStarScaledDeltaSizeScatter"] == pytest.approx(0.01, rel=0.05)


def test_only_clean_stars_of_the_psf_count():
    sources = make_sources(40)
    sources["ixx"][:20] = 400.0
    for k, (name, value) in enumerate(
        [("calib_psf_used", False), ("flag_shape", True), ("flag_psfFlux", True), ("snr", 30.0), ("snr", 5e3)]
    ):
        sources[name][4 * k : 4 * k + 4] = value
    figures = psf_star_figures(sources)
    assert figures["nPsfStar"] == 36
    assert figures["psfStarDeltaE1Median"] == 0.0
    sources["calib_psf_used"] = False
    assert psf_star_figures(sources) == {"nPsfStar": 0.0}


def test_higher_moments_are_combined_where_they_were_measured():
    names = [f"m{key}" for key in ("30", "21", "12", "03", "40", "31", "22", "13", "04")]
    sources = make_sources(10)
    for k, name in enumerate(names):
        sources[name] = k + 1.0
    figures = psf_star_figures(sources)
    assert figures["starComa1Median"] == 4.0
    assert figures["starComa2Median"] == 6.0
    assert figures["starTrefoil1Median"] == -8.0
    assert figures["starTrefoil2Median"] == 2.0
    assert figures["starKurtosisMedian"] == 28.0
    assert figures["starE41Median"] == -4.0
    assert figures["starE42Median"] == 28.0
    sources["m30"][3] = np.nan
    assert psf_star_figures(sources)["starComa1Median"] == 4.0
    sources["m30"] = np.nan
    assert "starComa1Median" not in psf_star_figures(sources)


def test_common_residuals_are_correlated_and_random_ones_are_not():
    rng = np.random.default_rng(3)
    common = residual_correlations(make_sources(ixx=4.08, iyy=3.92, ixy=-0.04), 3.0)
    assert common["psfTE1e1"] == pytest.approx(4e-4, rel=1e-4)
    assert common["psfTE2e2"] == pytest.approx(1e-4, rel=1e-4)
    assert common["psfTE3ex"] == pytest.approx(-2e-4, rel=1e-4)
    e1 = 0.02 * rng.normal(size=800)
    single = residual_correlations(make_sources(800, ixx=4 * (1 + e1), iyy=4 * (1 - e1)), 3.0)
    assert abs(single["psfTE3e1"]) < 2e-5
    assert {name for name in single if name.startswith("psfTE4")} == {"psfTE4e1", "psfTE4e2", "psfTE4ex"}


def test_patches_of_residuals_are_correlated_within_and_not_beyond():
    sources = make_sources(1000)
    e1 = 0.02 * np.sign(np.sin(sources["x"] / 900 * 2 * np.pi))
    sources["ixx"], sources["iyy"] = 4 * (1 + e1), 4 * (1 - e1)
    figures = residual_correlations(sources, 1.6)  # 24 arcmin wide
    assert figures["psfTE1e1"] == pytest.approx(4e-4, rel=0.15)
    assert figures["psfTE2e1"] < 0.0


def test_pairs_at_no_such_separation_have_no_correlation():
    assert residual_correlations(make_sources(1), 0.2) == {}
    assert set(residual_correlations(make_sources(5), 0.2)) == {
        f"psfTE{k}{part}" for k in (1, 3) for part in ("e1", "e2", "ex")
    }


def test_the_model_is_described_in_the_middle():
    figures = psf_at_centre(gaussian_psf(4.0), SHAPE)
    assert figures["psfSigma"] == pytest.approx(4.0 / 2.3548, rel=0.01)
    assert figures["psfArea"] == pytest.approx(4 * np.pi * (4.0 / 2.3548) ** 2, rel=0.01)


def test_ranges_are_those_over_the_image():
    correction = ApertureCorrection(np.array([1.0, 0.05, 0.0]), SHAPE, 0.0, 50)
    mask = np.full(SHAPE, MASK_DETECTED, dtype=np.uint32)
    figures = psf_ranges(widening_psf(), mask, correction, 1.5)
    x, _ = good_positions(mask, 96)
    fraction = np.ptp(x) / 899
    assert figures["psfTraceRadiusDelta"] == pytest.approx(fraction / 2.3548, rel=0.1)
    narrow, wide = (1 - np.exp(-0.5 * (4.5 / (fwhm / 2.3548)) ** 2) for fwhm in (3.0, 4.0))
    assert figures["psfApFluxDelta"] == pytest.approx(narrow - wide, rel=0.15)
    assert figures["psfApCorrSigmaScaledDelta"] == pytest.approx(0.05 * np.ptp(x) / 450 / 1.5)


def test_masked_parts_do_not_count():
    mask = np.zeros(SHAPE, dtype=np.uint32)
    whole = psf_ranges(widening_psf(), mask, None, 1.5)
    mask[:, 450:] = MASK_BAD
    half = psf_ranges(widening_psf(), mask, None, 1.5)
    assert half["psfTraceRadiusDelta"] < 0.7 * whole["psfTraceRadiusDelta"]
    assert "psfApCorrSigmaScaledDelta" not in half
    mask[:] = MASK_BAD
    assert psf_ranges(widening_psf(), mask, None, 1.5) == {}


@pytest.mark.parametrize("shape", [(330, 460), (1000, 77), (64, 64)])
def test_the_farthest_pixel_is_found(shape):
    rng = np.random.default_rng(4)
    mask = np.zeros(shape, dtype=np.uint32)
    mask[: shape[0] // 3] = MASK_BAD
    stars = rng.uniform(0, [shape[1], shape[0]], (20, 2))
    x, y = good_positions(mask, DISTANCE_PIXEL)
    slowly = np.hypot(x[:, None] - stars[:, 0], y[:, None] - stars[:, 1]).min(axis=1).max()
    assert farthest_from_stars(mask, stars) == pytest.approx(slowly)
    assert np.isnan(farthest_from_stars(mask, stars[:0]))
    mask[:] = MASK_BAD
    assert np.isnan(farthest_from_stars(mask, stars))
