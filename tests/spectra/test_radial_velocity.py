import csv

import numpy as np
import pytest

from astra.products.spectra import read_ap_star, read_ap_visit
from astra.spectra.deposit import Deposit
from astra.spectra.flags import SpectrumFlag
from astra.spectra.grid import APSTAR_GRID, BOSS_GRID
from astra.spectra.masks import APOGEE_BAD_FOR_VELOCITY
from astra.spectra.peaks import (
    WINDOW,
    add_window,
    gain_at,
    interpolate_row,
    lagrange_taps,
    refine_peaks,
    shifted_templates,
)
from astra.spectra.radial_velocity import (
    VelocityConfig,
    correlate,
    fill_gain,
    measure_velocities,
    prepare_spectra,
)
from astra.spectra.template_fit import normalise_row
from astra.spectra.templates import TemplateSet, make_templates
from tests.spectra.synthetic_stars import Star, observe

GRID = APSTAR_GRID
STAR = Star()


@pytest.fixture(scope="module")
def templates():
    widths = (7.0, 9.0, 14.0)
    flux = np.stack([STAR(GRID.wavelength, sigma_kms=width) for width in widths])
    return make_templates(GRID, GRID.wavelength, flux, names=("sharp", "broad", "fast"))


def prepared(velocities, snr, seed=1, **kwargs):
    rng = np.random.default_rng(seed)
    parts = []
    for velocity in velocities:
        wavelength, flux, ivar, flags = observe(STAR, velocity, snr, rng, **kwargs)
        parts.append(prepare_spectra(GRID, wavelength, flux[None], ivar[None], (flags != 0)[None]))
    return Deposit.stack(parts)


@pytest.mark.parametrize(("snr", "precision_kms"), [(12.0, 0.2), (60.0, 0.04), (100.0, 0.02)])
def test_pulls_are_normal_with_sky_residuals_and_cosmic_rays(templates, snr, precision_kms):
    truth = np.random.default_rng(8).uniform(-150.0, 150.0, 220)
    found = measure_velocities(prepared(truth, snr, sky=True, cosmics=True), templates)
    assert (found.flags == 0).all()
    assert np.median(found.v_rel_err) < precision_kms
    pulls = (found.v_rel - truth) / found.v_rel_err
    assert np.abs(pulls).max() < 5.0
    assert np.mean(pulls) == pytest.approx(0.0, abs=0.2)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.1)
    assert (found.template == 0).mean() > 0.5


def test_nothing_locks_at_zero_when_the_sky_outshines_the_star(templates):
    truth = np.array([-190.0, -60.0, -12.0, 12.0, 60.0, 190.0])
    rng = np.random.default_rng(5)
    parts = []
    for velocity in truth:
        wavelength, flux, ivar, flags = observe(STAR, velocity, 8.0, rng, sky=True, cosmics=True)
        for line in np.random.default_rng(3).uniform(15150.0, 16950.0, 80)[::3]:
            flux += 4000.0 * np.exp(-0.5 * ((wavelength - line) / 0.2) ** 2)
        parts.append(prepare_spectra(GRID, wavelength, flux[None], ivar[None], (flags != 0)[None]))
    found = measure_velocities(Deposit.stack(parts), templates)
    assert np.abs(found.v_rel - truth).max() < 2.0


def test_systematic_errors_are_far_below_those_of_the_survey(templates):
    truth = np.linspace(-100.0, 103.0, 24)
    found = measure_velocities(prepared(truth, 2000.0), templates)
    assert np.std(found.v_rel - truth) < 0.0025
    assert abs(np.mean(found.v_rel - truth)) < 0.001


def test_undithered_visits_are_measured_as_well(templates):
    truth = np.linspace(-80.0, 80.0, 12)
    found = measure_velocities(prepared(truth, 60.0, n_pixels=2048), templates)
    assert np.abs((found.v_rel - truth) / found.v_rel_err).max() < 4.0


def test_velocities_do_not_depend_on_the_unit_nor_on_the_other_spectra(templates):
    rng = np.random.default_rng(2)
    wavelength, flux, ivar, flags = observe(STAR, 33.0, 50.0, rng)
    bad = (flags != 0)[None]
    plain = prepare_spectra(GRID, wavelength, flux[None], ivar[None], bad)
    scaled = prepare_spectra(GRID, wavelength, 1e-17 * flux[None], 1e34 * ivar[None], bad)
    alone = measure_velocities(plain, templates)
    both = measure_velocities(Deposit.stack([scaled, *[plain] * 20]), templates)
    assert both.v_rel == pytest.approx(alone.v_rel[0], abs=1e-6)
    assert both.v_rel_err == pytest.approx(alone.v_rel_err[0], rel=1e-6)


def test_correlation_peaks_at_the_shift_and_measures_chi_squared(templates):
    pre = prepared([41.42], 40.0)
    found = correlate(pre, templates)
    row = found.gain[0, 0]
    assert found.velocity[row.argmax()] == pytest.approx(41.42, abs=2.1)
    measured = measure_velocities(pre, templates, VelocityConfig(n_clips=0))
    assert row.max() == pytest.approx(measured.peak_snr[0] ** 2, rel=0.02)


def test_nothing_to_measure_is_flagged_and_not_an_error(templates):
    wavelength, flux, ivar, _ = observe(STAR, 0.0, 50.0, np.random.default_rng(1))
    none = prepare_spectra(GRID, wavelength, flux[None], 0.0 * ivar[None])
    noise = prepare_spectra(
        GRID,
        wavelength,
        np.random.default_rng(1).normal(50, 5, (1, flux.size)),
        np.full((1, flux.size), 0.04),
    )
    found = measure_velocities(Deposit.stack([none, noise]), templates)
    assert found.flags[0] & SpectrumFlag.NO_DATA
    assert np.isnan(found.v_rel[0])
    assert found.template[0] == -1
    assert found.flags[1] & SpectrumFlag.WEAK_PEAK
    assert len(measure_velocities(none.rows(slice(0, 0)), templates)) == 0


def test_velocities_beyond_the_range_are_flagged(templates):
    narrow = TemplateSet(GRID, templates.residual, templates.names, 20)
    found = measure_velocities(prepared([150.0], 50.0), narrow)
    assert found.flags[0] & (SpectrumFlag.EDGE_OF_RANGE | SpectrumFlag.WEAK_PEAK | SpectrumFlag.AMBIGUOUS)


def test_grids_and_templates_must_fit(templates):
    other = TemplateSet(BOSS_GRID, np.ones((1, BOSS_GRID.n_pixels)), ("flat",), 5)
    pre = prepared([0.0], 10.0)
    with pytest.raises(ValueError, match="one grid"):
        correlate(pre, other)
    with pytest.raises(ValueError, match="must be finite"):
        TemplateSet(GRID, np.full((1, GRID.n_pixels), np.nan), ("void",), 5)
    with pytest.raises(ValueError, match="no template has a continuum"):
        make_templates(GRID, np.linspace(4000.0, 5000.0, 50), np.ones((1, 50)))


def test_templates_on_other_wavelengths_are_interpolated(templates):
    fine = np.linspace(15000.0, 17100.0, 30000)
    other = make_templates(GRID, fine, STAR(fine)[None])
    inside = templates.residual[0] != 0
    assert np.abs(other.residual[0] - templates.residual[0])[inside].max() < 0.02


def test_real_visits_have_the_velocities_of_the_survey_s_stars(shared_data):
    folder = shared_data / "apogee"
    with (folder / "VISITMAP.tsv").open() as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["in_apStar"] == "True"]
    differences = []
    for path in sorted(folder.glob("apStar-*.fits")):
        star = read_ap_star(path)
        name = path.stem.split("-", 2)[2]
        ivar = np.where(star.bad, 0.0, star.ivar)
        own = make_templates(GRID, star.wavelength, star.flux[:1], ivar[:1])
        for row in (row for row in rows if name in row["local_file"]):
            visit = read_ap_visit(folder / row["local_file"])
            bad = visit.bad | ((visit.pixel_flags & int(APOGEE_BAD_FOR_VELOCITY)) != 0)
            pre = prepare_spectra(GRID, visit.wavelength, visit.flux, visit.ivar, bad)
            theirs = star.v_rel[star.sources.index(row["sdss_name"])]
            differences.append(measure_velocities(pre, own).v_rel[0] - theirs)
    assert len(differences) == 14
    assert np.abs(differences).max() < 0.5


def test_kernels_are_those_of_plain_arrays():
    rng = np.random.default_rng(6)
    data, weight, template = rng.standard_normal(50), rng.uniform(0, 2, 50), rng.standard_normal(90)
    sums = np.zeros((3, 2 * WINDOW + 1))
    add_window(data, weight, template, 30, sums)
    for place in range(2 * WINDOW + 1):
        first = 30 - 2 * WINDOW + place
        seen = template[first : first + 50]
        assert sums[:, place] == pytest.approx([data @ seen, weight @ seen, weight @ seen**2])

    cross, both = rng.random((2, 1, 5)).astype("f4"), rng.random((2, 2, 5)).astype("f4")
    both[:, 1] += 5.0
    data_sum, weight_sum, scale = np.array([0.3, 0.1], "f4"), np.array([4.0, 3.0], "f4"), np.array([2.0, 1.0])
    rise = np.maximum(cross[:, 0] - (data_sum / weight_sum)[:, None] * both[:, 0], 0.0)
    expected = scale[:, None] * rise**2 / (both[:, 1] - both[:, 0] ** 2 / weight_sum[:, None])
    fill_gain(cross, both, data_sum, weight_sum, scale)
    assert cross[:, 0] == pytest.approx(expected, rel=1e-5)

    residual = np.zeros(50)
    normalise_row(data, weight, np.where(weight > 1, weight, 0.0), template[:50], residual)
    expected = np.where(weight > 1, (data - weight * template[:50]) / np.sqrt(np.maximum(weight, 1)), 0.0)
    assert residual == pytest.approx(expected)


def test_peaks_between_pixels_are_found():
    place = np.arange(-WINDOW, WINDOW + 1)
    sums = np.stack(
        [
            [1e4 * np.exp(-0.5 * ((place - at) / 2.2) ** 2), 0 * place, 0 * place + 100.0]
            for at in (-0.4, 0.0, 0.3)
        ]
    )
    found = refine_peaks(sums, np.tile([0.0, 50.0], (3, 1)))
    assert found.offset == pytest.approx([-0.4, 0.0, 0.3], abs=2e-3)
    assert found.gain == pytest.approx(1e6, rel=1e-3)
    assert found.amplitude == pytest.approx(100.0, rel=1e-3)
    # Gain 1e6 exp(-x^2/2.2^2) has the curvature -2e6/2.2^2.
    assert found.sigma == pytest.approx(2.2e-3, rel=0.01)
    flat = refine_peaks(np.zeros((1, 3, 2 * WINDOW + 1)), np.zeros((1, 2)))
    assert np.isnan(flat.sigma).all()
    assert gain_at.py_func(sums[1], np.array([0.0, 50.0]), 0.0)[0] == pytest.approx(1e6, rel=1e-3)


def test_templates_move_by_parts_of_pixels():
    pixel = np.arange(200.0)
    template = np.exp(-0.5 * ((pixel - 100.0) / 5.0) ** 2)
    moved = shifted_templates(template[None], np.zeros(3, np.int64), np.array([0.0, 7.25, -12.5]))
    for row, shift in zip(moved, (0.0, 7.25, -12.5), strict=True):
        assert row == pytest.approx(np.exp(-0.5 * ((pixel - 100.0 - shift) / 5.0) ** 2), abs=1e-3)
        assert row == pytest.approx(np.exp(-0.5 * ((pixel - 100.0 - shift) / 5.0) ** 2), abs=1e-6)
    result = np.empty(3)
    interpolate_row.py_func(np.arange(10.0), 2, lagrange_taps(0.25, 4), result)
    assert result == pytest.approx([3.25, 4.25, 5.25])
    assert lagrange_taps(0.5, 4) == pytest.approx([-1 / 16, 9 / 16, 9 / 16, -1 / 16])
