import dataclasses

import numpy as np
import pytest
from star_field import PIXEL_ARCSEC, make_wcs

from astra.errors import TooFewSourcesError
from astra.images.astrometry import AstrometryConfig, find_shift, fit_astrometry, match_mutual
from astra.products.reference_catalog import DTYPE

SHAPE = 700, 1100
CONFIG = AstrometryConfig()


def make_catalogues(wcs, *, seed=0, n=150, n_false=60, error_pixel=0.05, bend=0.0):
    """Sources with centroid errors, false ones among them, and a reference with stars off the image."""
    rng = np.random.default_rng(seed)
    sources = np.zeros(
        n + n_false, dtype=[(name, "f8") for name in ("x", "y", "xErr", "yErr", "psfInstFlux")]
    )
    sources["x"], sources["y"] = (
        rng.uniform(0, SHAPE[1], len(sources)),
        rng.uniform(0, SHAPE[0], len(sources)),
    )
    sources["xErr"] = sources["yErr"] = error_pixel
    sources["psfInstFlux"] = rng.uniform(100, 1000, len(sources))
    reference = np.zeros(n + 80, dtype=DTYPE)
    x, y = sources["x"][:n], sources["y"][:n]
    u, v = (x - 550) / 550, (y - 350) / 550
    ra, dec = wcs.all_pix2world(x + bend * u * v, y + bend * u**2, 0)
    far = wcs.all_pix2world(rng.uniform(1300, 9000, 80), rng.uniform(-4000, 4000, 80), 0)
    reference["ra"], reference["dec"] = np.append(ra, far[0]) % 360, np.append(dec, far[1])
    reference["flux"] = rng.uniform(100, 1000, len(reference))
    for axis in "xy":
        sources[axis] += rng.normal(0, error_pixel, len(sources))
    return sources, reference


def shifted(wcs, dx, dy, rotation_deg=0.0):
    moved = wcs.deepcopy()
    moved.wcs.crpix = moved.wcs.crpix + np.array([dx, dy])
    cos, sin = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg))
    moved.wcs.cd = moved.wcs.cd @ np.array([[cos, -sin], [sin, cos]])
    moved.wcs.set()
    return moved


def worst_error_arcsec(fitted, wcs, bend=0.0):
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(0, SHAPE[1], 12), np.linspace(0, SHAPE[0], 9)))
    u, v = (x - 550) / 550, (y - 350) / 550
    back = wcs.all_world2pix(*fitted.all_pix2world(x, y, 0), 0)
    return PIXEL_ARCSEC * np.hypot(back[0] - x - bend * u * v, back[1] - y - bend * u**2).max()


@pytest.mark.parametrize(("ra", "dec"), [(10.0, -25.0), (0.0, 0.0), (200.0, 89.0)])
@pytest.mark.parametrize(("dx", "dy", "rotation"), [(0.0, 0.0, 0.0), (20.0, -14.0, 0.0), (5.0, 3.0, 0.1)])
def test_shift_and_rotation_of_the_first_wcs_are_undone(ra, dec, dx, dy, rotation):
    truth = make_wcs(SHAPE, ra, dec)
    sources, reference = make_catalogues(truth)
    fitted = fit_astrometry(sources, reference, shifted(truth, dx, dy, rotation), SHAPE, CONFIG)
    assert worst_error_arcsec(fitted.wcs, truth) < 0.03
    assert fitted.scatter_ra_arcsec == pytest.approx(0.05 * PIXEL_ARCSEC, rel=0.3)
    assert fitted.scatter_dec_arcsec == pytest.approx(0.05 * PIXEL_ARCSEC, rel=0.3)
    assert fitted.used.sum() > 130


def test_distortion_is_found_and_its_absence_too():
    truth = make_wcs(SHAPE)
    straight = fit_astrometry(*make_catalogues(truth), truth, SHAPE, CONFIG)
    bent = fit_astrometry(*make_catalogues(truth, bend=1.5), truth, SHAPE, CONFIG)
    assert straight.order == 0
    assert bent.order == 2
    assert worst_error_arcsec(bent.wcs, truth, bend=1.5) < 0.03


def test_matches_are_the_true_pairs():
    truth = make_wcs(SHAPE)
    sources, reference = make_catalogues(truth)
    fitted = fit_astrometry(sources, reference, truth, SHAPE, CONFIG)
    assert (fitted.source_index == fitted.reference_index).mean() > 0.98


def test_wrong_matches_are_clipped():
    truth = make_wcs(SHAPE)
    sources, reference = make_catalogues(truth)
    reference["dec"][:10] += 0.8 / 3600
    fitted = fit_astrometry(sources, reference, truth, SHAPE, CONFIG)
    assert not fitted.used[np.isin(fitted.reference_index, np.arange(10))].any()
    assert worst_error_arcsec(fitted.wcs, truth) < 0.03


@pytest.mark.parametrize("n_reference", [0, 4])
def test_too_few_matches_are_an_error_with_numbers(n_reference):
    truth = make_wcs(SHAPE)
    sources, reference = make_catalogues(truth)
    with pytest.raises(TooFewSourcesError, match=f"{n_reference} sources match") as caught:
        fit_astrometry(sources, reference[:n_reference], truth, SHAPE, CONFIG)
    assert caught.value.context == {"n_sources": n_reference, "n_required": 6}


def test_no_sources_are_too_few():
    truth = make_wcs(SHAPE)
    sources, reference = make_catalogues(truth)
    with pytest.raises(TooFewSourcesError):
        fit_astrometry(sources[:0], reference, truth, SHAPE, dataclasses.replace(CONFIG, min_matches=1))


def test_shift_is_found_among_false_pairs():
    rng = np.random.default_rng(4)
    first = rng.uniform(0, 500, (60, 2))
    second = np.concatenate([first[:30] + np.array([7.0, -11.0]), rng.uniform(0, 500, (60, 2))])
    assert find_shift(first, second, 30.0, 1.0) == pytest.approx([7.0, -11.0], abs=0.1)
    assert find_shift(first, second[:0], 30.0, 1.0) == pytest.approx([0.0, 0.0])


def test_a_match_is_the_nearest_of_both():
    first, second = np.array([[0.0, 0.0], [0.4, 0.0]]), np.array([[0.3, 0.0], [50.0, 0.0]])
    index = match_mutual(first, second, 1.0)
    assert [part.tolist() for part in index] == [[1], [0]]
    assert [len(part) for part in match_mutual(first, second[:0], 1.0)] == [0, 0]
