"""Sources put into exposures keep their flux, their noise and their place."""

import numpy as np
import pytest

from astra.errors import DataError
from astra.images.exposure import MASK_INJECTED, MASK_INJECTED_TEMPLATE, MaskPlane
from astra.images.forced import forced_photometry
from astra.images.injection import (
    INJECTION_DTYPE,
    electrons_per_njy,
    inject_sources,
    render_sources,
)
from tests.images.difference_field import make_exposure

NONE = (np.zeros(0), np.zeros(0), np.zeros(0))


def make_blank(rng, shape=(150, 210), gain=2.0, scale=5.0, **metadata):
    exposure = make_exposure(rng, shape, NONE, 3.5)
    return exposure.replace(gain=gain, metadata={"NJYADU": scale, **metadata})


def make_injections(x, y, flux, **columns):
    injections = np.zeros(len(np.atleast_1d(x)), dtype=INJECTION_DTYPE)
    injections["injectionId"] = np.arange(len(injections))
    injections["x"], injections["y"], injections["flux"], injections["hostId"] = x, y, flux, -1
    for name, values in columns.items():
        injections[name] = values
    return injections


def test_injecting_nothing_changes_nothing():
    exposure = make_blank(np.random.default_rng(0))
    assert inject_sources(exposure, make_injections([], [], []), np.random.default_rng(1)) is exposure


def test_the_input_is_left_as_it_is():
    exposure = make_blank(np.random.default_rng(0))
    before = exposure.image.copy(), exposure.variance.copy(), exposure.mask.copy()
    inject_sources(exposure, make_injections([50.2], [60.7], [1e4]), np.random.default_rng(1))
    for old, new in zip(before, (exposure.image, exposure.variance, exposure.mask), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("correction", [1.0, 1.07])
def test_light_adds_up_to_the_flux_that_photometry_finds(correction):
    exposure = make_blank(np.random.default_rng(0), APCORR=correction)
    injections = make_injections([50.23, 120.8], [60.71, 90.4], [1e4, 3e3])
    signal, footprint = render_sources(exposure, injections)
    assert signal.sum() * correction == pytest.approx(13000, rel=2e-3)
    empty = exposure.replace(image=signal)
    found = forced_photometry(empty, injections["x"], injections["y"])["psfFlux"]
    np.testing.assert_allclose(found, injections["flux"], rtol=2e-3)
    assert 100 < footprint.sum() < 400


def test_pulls_of_injected_sources_are_standard_normal():
    rng = np.random.default_rng(4)
    y, x = np.mgrid[20:1180:24, 20:980:24].astype(float)
    x, y = x.ravel() + rng.uniform(-0.5, 0.5, x.size), y.ravel() + rng.uniform(-0.5, 0.5, x.size)
    flux = 10 ** rng.uniform(2.5, 5, x.size)
    exposure = make_blank(rng, (1200, 1000), gain=1.5, scale=8.0)
    injected = inject_sources(exposure, make_injections(x, y, flux), rng)
    found = forced_photometry(injected, x, y)
    pulls = (found["psfFlux"] - flux) / found["psfFluxErr"]
    assert abs(pulls.mean()) < 4 / np.sqrt(x.size)
    assert pulls.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * x.size))


def test_photon_noise_follows_the_gain():
    exposure = make_blank(np.random.default_rng(0), gain=2.0, scale=5.0)
    assert electrons_per_njy(exposure) == pytest.approx(0.4)
    injections = make_injections([100.0], [70.0], [1e6])
    signal, _ = render_sources(exposure, injections)
    draws = [
        inject_sources(exposure, injections, np.random.default_rng(seed)).image[70, 100]
        for seed in range(400)
    ]
    assert np.var(draws) == pytest.approx(signal[70, 100] / 0.4, rel=0.3)
    added = inject_sources(exposure, injections, np.random.default_rng(0)).variance - exposure.variance
    np.testing.assert_allclose(added[70, 100], signal[70, 100] / 0.4, rtol=1e-5)


def test_a_trail_has_the_flux_the_length_and_the_direction_that_it_was_given():
    exposure = make_blank(np.random.default_rng(0))
    trail = make_injections([100.4], [70.2], [5e4], trailLength=30.0, trailAngle=25.0)
    signal = render_sources(exposure, trail)[0].astype(float)
    assert signal.sum() == pytest.approx(5e4, rel=3e-3)
    y, x = np.mgrid[: signal.shape[0], : signal.shape[1]]
    dx, dy = x - np.average(x, weights=signal), y - np.average(y, weights=signal)
    assert np.average(x, weights=signal) == pytest.approx(100.4, abs=0.05)
    xx, yy, xy = (np.average(product, weights=signal) for product in (dx * dx, dy * dy, dx * dy))
    assert np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)) == pytest.approx(25.0, abs=0.5)
    spread = np.hypot(xx - yy, 2 * xy)  # the round PSF drops out: a line of length L has L**2 / 12
    assert np.sqrt(12 * spread) == pytest.approx(30.0, rel=0.03)


def test_masks_tell_science_from_template():
    exposure = make_blank(np.random.default_rng(0))
    injections = make_injections([50.2, -3.0, 400.0], [60.7, 20.0, 20.0], [1e4, 1e4, 1e4])
    science = inject_sources(exposure, injections, np.random.default_rng(1)).mask
    template = inject_sources(exposure, injections, np.random.default_rng(1), into_template=True).mask
    assert science[61, 50] & MASK_INJECTED
    assert science[20, 0] & MASK_INJECTED
    assert (science & np.uint32(MaskPlane.INJECTED_CORE) > 0).sum() == 9
    assert not (science & MASK_INJECTED_TEMPLATE).any()
    assert template[61, 50] & MASK_INJECTED_TEMPLATE
    assert not (template & MASK_INJECTED).any()


def test_missing_pixels_stay_missing():
    exposure = make_blank(np.random.default_rng(0))
    image = exposure.image.copy()
    image[61, 50] = np.nan
    injected = inject_sources(
        exposure.replace(image=image), make_injections([50.2], [60.7], [1e4]), np.random.default_rng(1)
    )
    assert np.isnan(injected.image[61, 50])
    assert np.isfinite(injected.image).sum() == image.size - 1


def test_an_exposure_of_unknown_scale_is_refused():
    exposure = make_blank(np.random.default_rng(0)).replace(metadata={})
    with pytest.raises(DataError, match="NJYADU"):
        inject_sources(exposure, make_injections([50.2], [60.7], [1e4]), np.random.default_rng(1))
    with pytest.raises(ValueError, match="PSF"):
        inject_sources(
            exposure.replace(psf=None), make_injections([50.2], [60.7], [1e4]), np.random.default_rng(1)
        )
