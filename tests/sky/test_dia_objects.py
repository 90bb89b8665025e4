import numpy as np
import pytest

from astra.sky.dia_objects import dia_object_dtype, make_dia_objects
from astra.sky.regions import htm_pixels

SOURCE = np.dtype(
    [
        *[("diaSourceId", "i8"), ("diaObjectId", "i8"), ("midpointMjdTai", "f8"), ("band", "U1")],
        *[("ra", "f8"), ("dec", "f8"), ("raErr", "f4"), ("decErr", "f4"), ("ra_dec_Cov", "f4")],
        *[("psfFlux", "f4"), ("psfFluxErr", "f4"), ("scienceFlux", "f4"), ("scienceFluxErr", "f4")],
    ]
)


@pytest.fixture
def sources():
    rng = np.random.default_rng(11)
    rows = np.zeros(60, SOURCE)
    rows["diaSourceId"] = 2**40 + np.arange(60)
    rows["diaObjectId"] = 2**40 + rng.integers(0, 9, 60)
    rows["midpointMjdTai"] = 60000 + rng.integers(0, 5, 60)
    rows["band"] = rng.choice(list("ugrizy"), 60)
    rows["ra"], rows["dec"] = rng.normal(0, 1e-4, 60) % 360, rng.normal(-45, 1e-4, 60)
    for name in SOURCE.names[-6:]:
        rows[name] = rng.uniform(1, 2, 60)
    return rows


def test_objects_are_those_of_the_sources_in_order(sources):
    objects = make_dia_objects(sources)
    ids, count = np.unique(sources["diaObjectId"], return_counts=True)
    assert objects["diaObjectId"].tolist() == ids.tolist()
    assert objects["nDiaSources"].tolist() == count.tolist()
    for row in objects:
        times = sources["midpointMjdTai"][sources["diaObjectId"] == row["diaObjectId"]]
        assert (row["firstDiaSourceMjdTai"], row["lastDiaSourceMjdTai"]) == (times.min(), times.max())
    assert (objects["pixelId"] == htm_pixels(objects["ra"], objects["dec"])).all()


def test_objects_do_not_depend_on_the_order_of_the_sources(sources):
    shuffled = np.random.default_rng(0).permutation(sources)
    assert make_dia_objects(shuffled).tobytes() == make_dia_objects(sources).tobytes()


def test_an_object_does_not_depend_on_the_others(sources):
    whole = make_dia_objects(sources)
    one = make_dia_objects(sources[sources["diaObjectId"] == whole["diaObjectId"][4]])
    assert one.tobytes() == whole[4:5].tobytes()


def test_forced_measurements_of_other_objects_do_not_count(sources):
    forced = np.zeros(3, SOURCE)
    forced["diaObjectId"] = [0, sources["diaObjectId"][0], 2**62]
    forced["band"], forced["psfFlux"], forced["psfFluxErr"] = "r", [1.0, 2.0, 3.0], 1.0
    objects = make_dia_objects(sources, forced)
    is_own = objects["diaObjectId"] == sources["diaObjectId"][0]
    assert objects["r_fpFluxMean"][is_own].tolist() == [2.0]
    assert np.isnan(objects["r_fpFluxMean"][~is_own]).all()


def test_no_sources_make_no_objects(sources):
    objects = make_dia_objects(sources[:0], sources[:5])
    assert objects.shape == (0,)
    assert objects.dtype == dia_object_dtype()
