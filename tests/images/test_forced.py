import numpy as np
import pytest

from astra.images.exposure import MASK_BAD
from astra.images.forced import forced_photometry
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
