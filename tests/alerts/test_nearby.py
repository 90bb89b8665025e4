import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from astra.alerts.columns import encode_rows
from astra.alerts.nearby import NearbyConfig, nearby_catalog, nearest_sources, upper_limits


def make_table(rng, ra, dec, count, width=0.05):
    table = np.zeros(count, [("id", "i8"), ("ra", "f8"), ("dec", "f8"), ("flux", "f8"), ("fluxErr", "f8")])
    table["id"] = np.arange(count) + 2**60
    table["ra"] = (ra + rng.uniform(-width, width, count) / np.cos(np.deg2rad(dec))) % 360
    table["dec"] = dec + rng.uniform(-width, width, count)
    table["flux"], table["fluxErr"] = rng.uniform(1e3, 1e5, count), 30.0
    return table


@pytest.mark.parametrize(("ra", "dec"), [(150.0, 2.0), (0.001, -60.0), (10.0, 89.9)])
def test_the_nearest_are_those_of_astropy(ra, dec):
    rng = np.random.default_rng(2)
    table, is_star = make_table(rng, ra, dec, 400), rng.random(400) < 0.5
    catalog = nearby_catalog("src", table, is_star, "r")
    places = make_table(rng, ra, dec, 25)
    lists = nearest_sources(places["ra"], places["dec"], [catalog], NearbyConfig(60.0, 4))
    here = SkyCoord(places["ra"] * u.deg, places["dec"] * u.deg)
    for name, kind in (("nearestStars", is_star), ("nearestGalaxies", ~is_star)):
        sky = SkyCoord(table["ra"][kind] * u.deg, table["dec"][kind] * u.deg)
        found = lists[name]
        assert len(found.start) == 26
        for i in range(25):
            separation = here[i].separation(sky).arcsec
            nearest = np.argsort(separation)[:4]
            nearest = nearest[separation[nearest] <= 60.0]
            rows = found.columns[found.rows[found.start[i] : found.start[i + 1]]]
            assert rows["id"].tolist() == table["id"][kind][nearest].tolist()
            np.testing.assert_allclose(rows["separation"], separation[nearest], rtol=1e-5)
            angle = here[i].position_angle(sky[nearest]).deg
            np.testing.assert_allclose((rows["positionAngle"] - angle + 180) % 360, 180, atol=1e-3)
    assert encode_rows("nearbySource", lists["nearestStars"].columns, "astra-1.0").n_rows > 0


def test_sources_of_several_catalogues_are_listed_by_distance():
    rng = np.random.default_rng(3)
    table = make_table(rng, 10.0, 0.0, 50, width=0.002)
    every = np.ones(50, bool)
    catalogs = [nearby_catalog(name, table, every, "r") for name in ("src", "reference")]
    found = nearest_sources(np.array([10.0]), np.array([0.0]), catalogs, NearbyConfig(30.0, 2))[
        "nearestStars"
    ]
    rows = found.columns[found.rows]
    assert sorted(rows["catalog"].tolist()) == ["reference", "reference", "src", "src"]
    assert (np.diff(rows["separation"]) >= 0).all()


def test_nothing_near_and_no_catalogue_give_empty_lists():
    table = make_table(np.random.default_rng(4), 10.0, 0.0, 5)
    far = [nearby_catalog("src", table, np.ones(5, bool), "r")]
    for catalogs in ([], far, [far[0][:0]]):
        lists = nearest_sources(np.array([200.0, 10.0]), np.array([-5.0, 5.0]), catalogs)
        for one in lists.values():
            assert one.start.tolist() == [0, 0, 0]
    assert nearest_sources(np.zeros(0), np.zeros(0), far)["nearestStars"].start.tolist() == [0]


def test_a_source_without_flux_has_null_and_one_without_position_is_left_out():
    table = make_table(np.random.default_rng(5), 10.0, 0.0, 3, width=1e-3)
    table["flux"][0], table["fluxErr"][0], table["ra"][1] = np.nan, 1e60, np.nan
    catalog = nearby_catalog("src", table, np.ones(3, bool), "r")
    assert catalog["id"].tolist() == [2**60, 2**60 + 2]
    assert np.isnan(catalog["flux"][0])
    assert np.isnan(catalog["fluxErr"][0])


@pytest.mark.parametrize("values", [(0.0, 3), (np.inf, 3), (np.nan, 3), (30.0, 0)])
def test_an_impossible_radius_or_number_is_refused(values):
    with pytest.raises(ValueError, match="positive radius"):
        NearbyConfig(*values)


FORCED = {
    "visit": np.array([1, 2, 3, 4, 5]),
    "detector": np.array([7, 7, 7, 7, 7]),
    "band": np.array(["r", "g", "r", "r", "r"]),
    "midpointMjdTai": 60000.0 + np.arange(5),
    "psfFluxErr": np.ma.array([10.0, 20.0, np.nan, 40.0, 50.0], mask=[0, 0, 0, 0, 1]),
}


def test_limits_are_five_times_the_noise_of_visits_that_did_not_detect():
    lists, detected = [np.array([0, 1, 2, 3, 4]), np.array([1])], [{(2, 7)}, set()]
    limits = upper_limits(FORCED, lists, detected, ["forced", "neighbour"])
    assert limits.start.tolist() == [0, 2, 3]
    assert limits.columns["visit"].tolist() == [1, 4, 2]
    assert limits.columns["limitFlux"].tolist() == [50.0, 200.0, 100.0]
    assert limits.columns["method"].tolist() == ["forced", "forced", "neighbour"]
    assert limits.columns["band"].tolist() == ["r", "r", "g"]
    assert encode_rows("upperLimit", limits.columns, "astra-1.0").n_rows == 3


def test_without_history_there_are_no_limits():
    limits = upper_limits(FORCED, [np.zeros(0, np.int64)] * 2, [set(), set()], ["forced"] * 2)
    assert limits.start.tolist() == [0, 0, 0]
    assert encode_rows("upperLimit", limits.columns, "astra-1.0").n_rows == 0
