"""The real field: run 4192 (science) minus run 6377 (template), camera column 4, bands r and g."""

import numpy as np
import pytest

from astra.images.blank_sky import find_source_free
from astra.images.exposure import MASK_SAT, magnitude_ab
from astra.images.masks import grow_square
from astra.images.noise_power import lag_correlations
from astra.images.warp import make_pixel_map, warp_exposure

# Position [deg], magnitude, least S/N of the moving object of run 4192; other detections of 5 sigma and
# either sign that hotpants and a plain matched filter leave.
EXPECTED = {
    "r": (351.70379, 0.19755, 20.47, 30.0, 150),
    "g": (351.70340, 0.19742, 20.95, 23.0, 125),
}
EDGE_PIXEL = 20
SATURATION_GROW_PIXEL = 10


def others(frames, result):
    """Detections away from saturated stars of either epoch and from the edges."""
    sources, science, template = result.dia_sources, frames.science, frames.template
    ny, nx = science.shape
    pixel_map = make_pixel_map(science.wcs, template.wcs, science.shape)
    warped = warp_exposure(template, pixel_map, science.wcs)
    saturated = grow_square(((science.mask | warped.mask) & MASK_SAT) > 0, SATURATION_GROW_PIXEL)
    x, y = np.rint(sources["x"]).astype(int), np.rint(sources["y"]).astype(int)
    inside = (x >= EDGE_PIXEL) & (y >= EDGE_PIXEL) & (x < nx - EDGE_PIXEL) & (y < ny - EDGE_PIXEL)
    inside &= ~saturated[np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)]
    return sources[inside]


def test_the_moving_object_is_found_where_and_as_bright_as_it_was(real_frames, real_difference):
    ra, dec, magnitude, least_snr, _ = EXPECTED[real_frames.band]
    sources = real_difference.dia_sources
    separation = 3600 * np.hypot(sources["ra"] - ra, sources["dec"] - dec)
    found = sources[separation < 0.5]
    assert len(found) == 1
    assert not found["isNegative"][0]
    assert found["snr"][0] >= least_snr
    assert magnitude_ab(found["psfFlux"][0]) == pytest.approx(magnitude, abs=0.10)
    assert magnitude_ab(found["scienceFlux"][0]) == pytest.approx(magnitude, abs=0.10)
    assert abs(found["templateFlux"][0]) < 3 * found["templateFluxErr"][0]


def test_few_other_detections_are_left(real_frames, real_difference):
    assert len(others(real_frames, real_difference)) - 1 <= EXPECTED[real_frames.band][4] // 2


def test_snr_over_blank_sky_has_unit_scatter(real_difference):
    metrics = real_difference.metrics
    assert metrics["snrScatter"] == pytest.approx(1.0, abs=0.05)
    assert metrics["pixelScatter"] == pytest.approx(1.0, abs=0.05)
    assert metrics["blankFraction"] > 0.3


def test_noise_of_blank_sky_is_white_with_the_variance_of_the_plane(real_frames, real_difference):
    for name in ("scaleScienceVarianceFactor", "scaleTemplateVarianceFactor"):
        assert real_difference.metrics[name] == pytest.approx(1.0, abs=0.06)
    difference = real_difference.difference
    free = find_source_free(real_frames.science) & find_source_free(real_difference.matched_template)
    free &= find_source_free(difference)
    free[:EDGE_PIXEL], free[-EDGE_PIXEL:], free[:, :EDGE_PIXEL], free[:, -EDGE_PIXEL:] = (False,) * 4
    pulls = np.where(free, difference.image / np.sqrt(difference.variance), 0).astype(np.float32)
    assert np.mean(pulls[free] ** 2) == pytest.approx(1.0, abs=0.02)
    assert np.abs(lag_correlations(pulls, free)).max() < 0.02


def test_both_epochs_have_one_flux_scale(real_difference):
    assert real_difference.metrics["spatialKernelSum"] == pytest.approx(1.0, abs=0.03)


def test_row_times_follow_the_drift_scan(real_frames, real_difference):
    sources, science = real_difference.dia_sources, real_frames.science
    rows = (sources["midpointMjdTai"] - science.info.midpoint_mjd_tai) * 86400 / science.info.row_time_s
    np.testing.assert_allclose(rows, sources["y"] - (science.shape[0] - 1) / 2, atol=0.05)
