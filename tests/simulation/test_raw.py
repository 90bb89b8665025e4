import dataclasses

import numpy as np
import pytest

from astra.instruments import simcam
from astra.simulation.raw import (
    BIAS_LEVELS,
    GAINS,
    READ_NOISES,
    Shot,
    paint_scene,
    read_out,
    transient_fluxes,
)
from astra.simulation.sky import Sky, SkySettings, make_sky

SHOT = Shot(
    day_obs=20261120,
    seq_num=1,
    band="r",
    begin_mjd_tai=61364.2,
    exposure_time_s=30.0,
    ra=150.1,
    dec=2.2,
    rotation_deg=0.3,
    ra_error_arcsec=0.8,
    dec_error_arcsec=-0.6,
    rotation_error_deg=0.01,
    fwhm_pixel=3.0,
    sky_electrons=600.0,
    electrons_per_njy=1.0,
    transient_scale=1.0,
)


def empty_sky():
    settings = SkySettings(n_stars=0, n_galaxies=0, n_transients=0)
    return make_sky(np.random.default_rng(1), settings)


def one_star_sky(x, y, flux):
    sky = empty_sky()
    star = np.zeros(1, dtype=sky.stars.dtype)
    star["ra"], star["dec"] = SHOT.true_wcs(0).wcs_pix2world(x, y, 0)
    star["r_flux"] = flux
    return Sky(star, sky.galaxies, sky.transients)


def test_a_star_lands_at_its_sky_position_with_its_flux():
    scene = paint_scene(one_star_sky(200.3, 150.6, 5000.0), SHOT, 0) - paint_scene(empty_sky(), SHOT, 0)
    assert scene.sum() == pytest.approx(5000.0, rel=1e-4)
    yy, xx = np.indices(scene.shape)
    assert (scene * xx).sum() / scene.sum() == pytest.approx(200.3, abs=1e-3)
    assert (scene * yy).sum() / scene.sum() == pytest.approx(150.6, abs=1e-3)


def test_throughput_scales_the_sources():
    dim = dataclasses.replace(SHOT, electrons_per_njy=0.5)
    sky = one_star_sky(200.0, 150.0, 5000.0)
    scene = paint_scene(sky, dim, 0) - paint_scene(empty_sky(), dim, 0)
    assert scene.sum() == pytest.approx(2500.0, rel=1e-4)


def test_detectors_see_neighbouring_sky():
    right_edge = SHOT.true_wcs(0).wcs_pix2world(599.0, 100.0, 0)
    x, y = SHOT.true_wcs(1).wcs_world2pix(*right_edge, 0)
    assert x == pytest.approx(-simcam.GAP_PIXEL - 1, abs=0.01)
    assert y == pytest.approx(100.0, abs=0.01)


@pytest.mark.parametrize("detector", [0, 1, 2, 3])
def test_noise_is_that_of_photons_and_readout_in_adu(detector):
    electrons = np.full((simcam.N_ROWS, simcam.N_COLUMNS), 800.0)
    raw = read_out(np.random.default_rng(5), electrons, detector).astype(np.float64)
    assert raw.shape == simcam.RAW_SHAPE
    amplifiers = simcam.make_amplifiers(GAINS[detector], READ_NOISES[detector], 60000.0)
    for index, amplifier in enumerate(amplifiers):
        gain, noise = GAINS[detector][index], READ_NOISES[detector][index]
        overscan = raw[amplifier.overscan]
        overscan = overscan - overscan.mean(axis=1, keepdims=True)
        assert overscan.mean() == pytest.approx(0.0, abs=0.1)
        expected = np.sqrt((noise / gain) ** 2 + 1 / 12) * np.sqrt(31 / 32)
        assert overscan.std() == pytest.approx(expected, rel=0.03)
        assert raw[amplifier.overscan].mean() == pytest.approx(BIAS_LEVELS[detector][index] + 2.0, abs=0.5)
        signal = raw[amplifier.data] - raw[amplifier.overscan].mean(axis=1, keepdims=True)
        good = signal[:, 200:]  # without the bad pixels of the detectors
        assert good.mean() == pytest.approx(800.0 / gain, rel=0.003)
        assert good.std() == pytest.approx(np.sqrt(800.0 + noise**2) / gain, rel=0.02)


def test_bright_pixels_saturate_without_wrapping():
    electrons = np.zeros((simcam.N_ROWS, simcam.N_COLUMNS))
    electrons[50, 70] = 1e6
    raw = read_out(np.random.default_rng(1), electrons, 0)
    assert raw.dtype == np.uint16
    assert raw[50, 4 + 70] == 65535  # after four columns of prescan
    assert (raw == 65535).sum() == 1


def test_dead_pixels_catch_no_light():
    electrons = np.full((simcam.N_ROWS, simcam.N_COLUMNS), 5000.0)
    raw = read_out(np.random.default_rng(1), electrons, 1).astype(float)
    lower, upper = simcam.make_amplifiers(GAINS[1], READ_NOISES[1], 60000.0)[1::2]
    column = np.concatenate([raw[lower.data][:, ::-1][:, 117], raw[upper.data][::-1, ::-1][:, 117]])
    assert column[100:300].max() < 1100
    assert column[:100].min() > 3000
    assert column[300:].min() > 3000


def test_transients_shine_in_science_and_fading_ones_in_the_template():
    sky = make_sky(np.random.default_rng(1), SkySettings())
    template = dataclasses.replace(SHOT, transient_scale=0.0)
    fading = sky.transients["fading"]
    science_flux, template_flux = transient_fluxes(sky, SHOT), transient_fluxes(sky, template)
    assert (template_flux[~fading] == 0).all()
    assert (science_flux[fading] == 0).all()
    np.testing.assert_array_equal(science_flux + template_flux, sky.transients["r_flux"])
