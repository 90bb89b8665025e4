import dataclasses

import numpy as np
import pytest
from astropy.wcs import WCS
from star_field import PIXEL_ARCSEC, make_wcs

from astra.errors import NotConvergedError, TooFewSourcesError
from astra.images.astrometry import AstrometryConfig, fit_astrometry
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


def shifted(wcs, dx, dy, rotation_deg=0.0, scale=1.0):
    moved = wcs.deepcopy()
    moved.wcs.crpix = moved.wcs.crpix + np.array([dx, dy])
    cos, sin = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg))
    moved.wcs.cd = scale * moved.wcs.cd @ np.array([[cos, -sin], [sin, cos]])
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


@pytest.mark.parametrize("seed", range(4))
def test_a_rough_wcs_is_corrected(seed):
    rng = np.random.default_rng(seed)
    truth = make_wcs(SHAPE)
    angle = rng.uniform(0, 2 * np.pi)
    shift = 29.0 / PIXEL_ARCSEC * np.array([np.cos(angle), np.sin(angle)])
    rough = shifted(truth, *shift, rotation_deg=rng.choice([-1.0, 1.0]), scale=rng.choice([0.99, 1.01]))
    fitted = fit_astrometry(*make_catalogues(truth, seed=seed, n_false=300), rough, SHAPE, CONFIG)
    assert worst_error_arcsec(fitted.wcs, truth) < 0.03
    assert fitted.order == 1
    assert np.hypot(*fitted.offset_arcsec) == pytest.approx(29.0, abs=0.5)
    assert fitted.chance < 1e-20


@pytest.mark.parametrize("seed", range(4))
def test_few_stars_suffice(seed):
    truth = make_wcs(SHAPE)
    sources, reference = make_catalogues(truth, seed=seed, n=8, n_false=20)
    fitted = fit_astrometry(sources, reference, shifted(truth, 30.0, -40.0, 0.5), SHAPE, CONFIG)
    assert worst_error_arcsec(fitted.wcs, truth) < 0.2


def test_brighter_false_sources_than_the_first_search_takes_do_no_harm():
    truth = make_wcs(SHAPE)
    sources, reference = make_catalogues(truth, n=150, n_false=400)
    sources["psfInstFlux"][150:] += 1000.0
    fitted = fit_astrometry(sources, reference, shifted(truth, 30.0, -40.0, 0.5), SHAPE, CONFIG)
    assert worst_error_arcsec(fitted.wcs, truth) < 0.03


@pytest.mark.parametrize("n_sources", [20, 200, 1000])
def test_unrelated_catalogues_are_never_matched(n_sources):
    truth = make_wcs(SHAPE)
    sources, _ = make_catalogues(truth, seed=1, n=n_sources, n_false=0)
    _, reference = make_catalogues(truth, seed=2, n=n_sources)
    with pytest.raises((NotConvergedError, TooFewSourcesError)):
        fit_astrometry(sources, reference, truth, SHAPE, CONFIG)


def test_a_shift_beyond_the_limits_is_an_error_that_names_them():
    truth = make_wcs(SHAPE)
    catalogues = make_catalogues(truth, n=1500, n_false=500)
    with pytest.raises(NotConvergedError, match=r"by more than 30 arcsec, 1 deg or 1 % in scale\?") as caught:
        fit_astrometry(*catalogues, shifted(truth, 100.0, 0.0), SHAPE, CONFIG)
    assert caught.value.context["n_sources"] < 3 * caught.value.context["n_chance"] + 10


@pytest.mark.parametrize("rotation", [2.0, 6.0])
def test_a_rotation_beyond_the_limits_is_an_error_or_undone(rotation):
    truth = make_wcs(SHAPE)
    catalogues = make_catalogues(truth, n=1500, n_false=500)
    try:
        fitted = fit_astrometry(*catalogues, shifted(truth, 0.0, 0.0, rotation), SHAPE, CONFIG).wcs
    except (NotConvergedError, TooFewSourcesError):
        fitted = truth
    assert worst_error_arcsec(fitted, truth) < 0.03


def test_sources_without_a_position_or_its_error_are_left_out():
    truth = make_wcs(SHAPE)
    sources, reference = make_catalogues(truth)
    sources["x"][:5], sources["yErr"][5:10], sources["psfInstFlux"][10:15] = np.nan, np.nan, np.nan
    fitted = fit_astrometry(sources, reference, truth, SHAPE, CONFIG)
    assert fitted.source_index.min() == 10
    assert (fitted.source_index == fitted.reference_index).mean() > 0.98
    assert worst_error_arcsec(fitted.wcs, truth) < 0.03


def with_blends(sources, seed):
    """A third of the sources half a pixel off, in one copy of them classed as extended."""
    blended = np.arange(len(sources)) % 3 == 0
    moved = sources.copy()
    for axis in "xy":
        moved[axis] += np.random.default_rng(seed).normal(0, 0.5, len(sources)) * blended
    classed = np.zeros(len(sources), dtype=[*sources.dtype.descr, ("extendedness", "f4")])
    for name in sources.dtype.names:
        classed[name] = moved[name]
    classed["extendedness"] = blended
    return moved, classed


@pytest.mark.parametrize("seed", range(3))
def test_blends_that_look_extended_have_an_error_of_their_own(seed):
    truth = make_wcs(SHAPE)
    sources, reference = make_catalogues(truth, n=400, seed=seed)
    unaware, aware = (
        fit_astrometry(catalogue, reference, truth, SHAPE, CONFIG) for catalogue in with_blends(sources, seed)
    )
    assert aware.floor_arcsec < unaware.floor_arcsec
    assert aware.used.sum() > 1.2 * unaware.used.sum()
    assert worst_error_arcsec(aware.wcs, truth) < 0.03


def test_perfect_positions_are_matched():
    truth = make_wcs(SHAPE)
    sources, reference = make_catalogues(truth, error_pixel=0.0)
    fitted = fit_astrometry(sources, reference, shifted(truth, 30.0, 7.0), SHAPE, CONFIG)
    assert worst_error_arcsec(fitted.wcs, truth) < 1e-4


def test_without_rotation_and_scale_only_the_shift_is_searched():
    truth = make_wcs(SHAPE)
    config = dataclasses.replace(CONFIG, max_rotation_deg=0.0, max_scale_error=0.0)
    fitted = fit_astrometry(*make_catalogues(truth), shifted(truth, 50.0, -40.0), SHAPE, config)
    assert worst_error_arcsec(fitted.wcs, truth) < 0.03


def test_the_search_radius_is_configurable():
    truth = make_wcs(SHAPE)
    catalogues, rough = make_catalogues(truth), shifted(truth, 140.0, 0.0)
    with pytest.raises((NotConvergedError, TooFewSourcesError)):
        fit_astrometry(*catalogues, rough, SHAPE, CONFIG)
    fitted = fit_astrometry(*catalogues, rough, SHAPE, dataclasses.replace(CONFIG, search_arcsec=60.0))
    assert worst_error_arcsec(fitted.wcs, truth) < 0.03


def test_the_error_floor_is_that_of_the_reference():
    truth = make_wcs(SHAPE)
    sources, reference = make_catalogues(truth, n=1000)
    reference["dec"] += np.random.default_rng(3).normal(0, 0.1 / 3600, len(reference))
    reference["ra"] += np.random.default_rng(4).normal(0, 0.1 / 3600, len(reference)) / np.cos(np.radians(25))
    assert fit_astrometry(sources, reference, truth, SHAPE, CONFIG).floor_arcsec == pytest.approx(
        0.1, rel=0.1
    )


def test_the_wcs_fitted_is_standard_and_inverts():
    truth = make_wcs(SHAPE)
    fitted = fit_astrometry(*make_catalogues(truth, bend=1.5), truth, SHAPE, CONFIG).wcs
    header = fitted.to_header(relax=True)
    assert header["CTYPE1"] == "RA---TAN-SIP"
    assert {"A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"} <= set(header)
    again = WCS(header)
    x, y = np.array([3.0, 800.0]), np.array([600.0, 20.0])
    assert again.all_world2pix(*again.all_pix2world(x, y, 0), 0) == pytest.approx(np.array([x, y]), abs=1e-4)


def test_the_distortion_of_the_first_wcs_is_kept():
    truth = make_wcs(SHAPE)
    sources, reference = make_catalogues(truth, bend=6.0)
    bent = fit_astrometry(sources, reference, truth, SHAPE, CONFIG).wcs
    few = np.arange(0, 150, 12)
    again = fit_astrometry(sources[few], reference, shifted(bent, 12.0, -9.0), SHAPE, CONFIG)
    assert again.order <= 1
    assert again.wcs.sip.a_order == 3
    assert worst_error_arcsec(again.wcs, truth, bend=6.0) < 0.1
