import numpy as np
import pytest

from astra.simulation.sky import SkySettings, make_reference_catalog, make_sky


def make(seed=1, **changes):
    return make_sky(np.random.default_rng(seed), SkySettings(**changes))


def test_equal_seeds_give_equal_skies_and_others_do_not():
    first, second, other = make(7), make(7), make(8)
    for name in ("stars", "galaxies", "transients"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
        assert getattr(first, name).tobytes() != getattr(other, name).tobytes()


def test_sources_lie_in_the_field():
    sky = make(dec=60.0)
    assert np.abs(sky.stars["dec"] - 60.0).max() <= 125.0 / 3600
    width = np.abs((sky.stars["ra"] - 150.1) * np.cos(np.radians(sky.stars["dec"]))).max()
    assert 260.0 / 3600 < width <= 270.0 / 3600


def test_a_field_across_ra_zero_wraps():
    ra = make(ra=0.0).stars["ra"]
    assert ((ra >= 0) & (ra < 360)).all()
    assert (ra > 359).any()
    assert (ra < 1).any()


def test_numbers_of_stars_rise_with_the_slope_asked_for():
    stars = make(n_stars=20000, slope_dex=0.3, brightest_mag=16.0, faintest_mag=24.0).stars
    mag = 31.4 - 2.5 * np.log10(stars["r_flux"])
    assert mag.min() >= 16.0
    assert mag.max() <= 24.0
    counts, _ = np.histogram(mag, bins=[20, 21, 22, 23, 24])
    np.testing.assert_allclose(np.diff(np.log10(counts)), 0.3, atol=0.06)


def test_transients_are_apart_and_half_of_them_lie_on_galaxies():
    sky = make(n_transients=30)
    t = sky.transients
    dx = (t["ra"][:, None] - t["ra"]) * np.cos(np.radians(t["dec"])) * 3600
    separation = np.hypot(dx, (t["dec"][:, None] - t["dec"]) * 3600)
    assert separation[~np.eye(30, dtype=bool)].min() > 6.0
    assert t["on_host"].sum() == 15
    assert t["fading"].sum() == 5
    hosts = sky.galaxies
    for transient in t[t["on_host"]]:
        distance = np.hypot(hosts["ra"] - transient["ra"], hosts["dec"] - transient["dec"]) * 3600
        assert (distance < 5 * hosts["scale"]).any()


def test_too_many_transients_for_the_field_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        make(n_transients=100, width_arcsec=20.0, height_arcsec=20.0)


def test_bands_have_their_own_fluxes():
    stars = make(bands=("g", "r", "i")).stars
    assert np.median(stars["g_flux"]) < np.median(stars["r_flux"]) < np.median(stars["i_flux"])


def test_the_reference_catalogue_has_errors_of_the_size_it_states():
    sky = make(n_stars=20000)
    catalog = make_reference_catalog(np.random.default_rng(3), sky, ("r",), faintest_mag=22.0)
    stars = sky.stars[31.4 - 2.5 * np.log10(sky.stars["r_flux"]) < 22.0]
    assert len(catalog) == len(stars)
    pull = (catalog["r_flux"] - stars["r_flux"]) / catalog["r_fluxErr"]
    assert np.std(pull) == pytest.approx(1.0, abs=0.05)
    offset_mas = (catalog["dec"] - stars["dec"]) * 3.6e6
    assert np.std(offset_mas) == pytest.approx(10.0, rel=0.05)


def test_an_empty_sky_is_a_sky():
    sky = make(n_stars=0, n_galaxies=0, n_transients=0)
    assert [len(part) for part in (sky.stars, sky.galaxies, sky.transients)] == [0, 0, 0]
    assert len(make_reference_catalog(np.random.default_rng(1), sky, ("r",))) == 0
