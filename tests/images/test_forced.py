import numpy as np
import pytest

from astra.images.exposure import MASK_BAD
from astra.images.forced import forced_half_width, forced_photometry
from astra.images.stamps import cut_stamps, psf_stamps
from tests.images.difference_field import make_exposure

SHAPE = (150, 210)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def grid(rng):
    y, x = np.mgrid[25:130:20, 25:190:20].astype(float)
    return x.ravel() + rng.uniform(-0.5, 0.5, x.size), y.ravel() + rng.uniform(-0.5, 0.5, x.size)


def test_fluxes_scatter_by_their_errors(rng):
    pulls = []
    for _ in range(5):
        x, y = grid(rng)
        flux = np.exp(rng.uniform(np.log(300), np.log(20000), x.size))
        exposure = make_exposure(rng, SHAPE, (x, y, flux), 3.5)
        forced = forced_photometry(exposure, x, y)
        pulls.append((forced["psfFlux"] - flux) / forced["psfFluxErr"])
    pulls = np.concatenate(pulls)
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
    assert pulls.std() == pytest.approx(1.0, abs=0.13)


def test_the_aperture_correction_of_the_exposure_is_applied(rng):
    exposure = make_exposure(rng, SHAPE, ([100.0], [70.0], [1e4]), 3.5, noise=0.1, photons=False)
    corrected = exposure.replace(metadata={"APCORR": 1.1})
    plain, scaled = (forced_photometry(e, [100.0], [70.0]) for e in (exposure, corrected))
    assert plain["psfFlux"][0] == pytest.approx(1e4, rel=2e-3)
    assert scaled["psfFlux"][0] == pytest.approx(1.1 * plain["psfFlux"][0])


def test_positions_outside_or_unknown_are_flagged_and_nan(rng):
    exposure = make_exposure(rng, SHAPE, ([], [], []), 3.5)
    forced = forced_photometry(
        exposure, np.array([-50.0, 500.0, np.nan, 100.0]), np.array([70.0, 70.0, 70.0, 70.0])
    )
    np.testing.assert_array_equal(forced["psfFlux_flag"], [True, True, True, False])
    assert np.isnan(forced["psfFlux"][:3]).all()
    assert forced["psfFlux_flag_noGoodPixels"][:3].all()


def test_positions_at_the_edge_are_flagged_but_measured(rng):
    exposure = make_exposure(rng, SHAPE, ([2.0], [70.0], [1e4]), 3.5, noise=0.1, photons=False)
    forced = forced_photometry(exposure, [2.0], [70.0])
    assert forced["psfFlux_flag_edge"][0]
    assert not forced["psfFlux_flag"][0]
    assert forced["psfFlux"][0] == pytest.approx(1e4, rel=0.01)


def test_masked_pixels_do_not_count(rng):
    exposure = make_exposure(rng, SHAPE, ([100.0], [70.0], [1e4]), 3.5, noise=0.1, photons=False)
    image, mask = exposure.image.copy(), exposure.mask.copy()
    image[70, 102], mask[70, 102] = 1e6, MASK_BAD
    forced = forced_photometry(exposure.replace(image=image, mask=mask), [100.0], [70.0])
    assert forced["psfFlux"][0] == pytest.approx(1e4, rel=5e-3)


def test_no_positions_give_an_empty_table(rng):
    exposure = make_exposure(rng, SHAPE, ([], [], []), 3.5)
    assert len(forced_photometry(exposure, [], [])) == 0


def test_an_exposure_without_psf_is_refused(rng):
    exposure = make_exposure(rng, SHAPE, ([], [], []), 3.5).replace(psf=None)
    with pytest.raises(ValueError, match="PSF"):
        forced_photometry(exposure, [1.0], [1.0])


def test_it_measures_what_plain_sums_give(rng):
    x, y = grid(rng)
    exposure = make_exposure(rng, SHAPE, (x, y, np.full(x.size, 3000.0)), 3.5)
    mask = exposure.mask.copy()
    mask[rng.random(SHAPE) < 0.02] = MASK_BAD
    exposure = exposure.replace(mask=mask)
    x, y = np.append(x, [2.3, 206.6]), np.append(y, [70.2, 146.9])
    side = 2 * forced_half_width(exposure.psf, SHAPE) + 1
    centres = np.rint(x).astype(int), np.rint(y).astype(int)
    model = psf_stamps(exposure.psf, x, y, side)
    image, variance, bad = (cut_stamps(p, *centres, side) for p in (exposure.image, exposure.variance, mask))
    good = np.isfinite(image) & (bad == 0)
    kept = np.where(good, model, 0.0)
    norm = np.sum(kept**2, axis=(1, 2))
    flux = np.sum(kept * np.where(good, image, 0.0), axis=(1, 2)) / norm
    error = np.sqrt(np.sum(kept**2 * np.where(good, variance, 0.0), axis=(1, 2))) / norm
    missed = np.where(good, image - flux[:, None, None] * model, 0.0) ** 2
    forced = forced_photometry(exposure, x, y)
    assert not forced["psfFlux_flag"].any()
    np.testing.assert_allclose(forced["psfFlux"], flux, rtol=1e-10)
    np.testing.assert_allclose(forced["psfFluxErr"], error, rtol=1e-10)
    np.testing.assert_allclose(forced["psfChi2"], np.nansum(missed / variance, axis=(1, 2)), rtol=1e-10)
    np.testing.assert_array_equal(forced["psfNdata"], good.sum(axis=(1, 2)))
