import dataclasses

import numpy as np
import pytest

from astra.instruments import simcam
from astra.instruments.registry import get_instrument
from astra.products.atomic import checksum
from astra.products.catalogs import read_catalog
from astra.simulation.demo_night import EARLIER_NIGHTS, FULL, LAST_NIGHT, SMALL, TEMPLATE_NIGHTS, DemoNight
from astra.simulation.raw import transient_fluxes
from astra.simulation.sky import light_curve, moved_to

FILES = ("reference", "ephemeris", "truth", "changing")
FEW = dataclasses.replace(SMALL, n_biases=1, n_darks=1, flat_times_s=(), detectors=(1,))


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    paths = {name: tmp_path_factory.mktemp("tables") / f"{name}.fits" for name in FILES}
    DemoNight(42).write_tables(paths)
    return {name: read_catalog(path) for name, path in paths.items()}


def test_the_full_night_is_of_four_detectors_of_1k_by_1k_with_four_amplifiers():
    camera = get_instrument("simcam1k")
    assert [(d.n_rows, d.n_columns) for d in camera.detectors] == [(1024, 1024)] * 4
    assert len(simcam.LARGE.sections) == 4
    night = DemoNight(42)
    assert FULL.detectors == (0, 1, 2, 3)
    assert [len(night.shots[day]) for day in (*TEMPLATE_NIGHTS, *EARLIER_NIGHTS, LAST_NIGHT)] == [1] * 5 + [2]
    kinds = [shot.observation_type for shot in night.calibration_shots]
    assert (kinds.count("bias"), kinds.count("dark"), kinds.count("flat")) == (5, 3, 4)


def test_the_large_camera_has_the_geometry_of_its_amplifiers():
    for camera, shape, raw_shape in (
        (simcam.SMALL, (simcam.N_ROWS, simcam.N_COLUMNS), simcam.RAW_SHAPE),
        (simcam.LARGE, (1024, 1024), (1040, 1096)),
    ):
        assert (camera.shape, camera.raw_shape) == (shape, raw_shape)
        covered = np.zeros(shape, int)
        for sections in camera.sections:
            covered[sections.assembled.slices] += 1
        assert (covered == 1).all()


def test_detectors_of_the_large_camera_are_a_gap_apart():
    shot = DemoNight(42).later_shots[0]
    edge = shot.true_wcs(0).wcs_pix2world(1023.0, 100.0, 0)
    x, y = shot.true_wcs(1).wcs_world2pix(*edge, 0)
    assert (float(x), float(y)) == pytest.approx((-simcam.GAP_PIXEL - 1, 100.0), abs=0.01)


def test_transients_shine_after_the_template_alone_and_fading_ones_before():
    night = DemoNight(42)
    template, last = night.template_shots[-1], night.later_shots[-1]
    fading = night.sky.transients["fading"]
    assert (transient_fluxes(night.sky, template)[~fading] == 0).all()
    assert (transient_fluxes(night.sky, template)[fading] > 0).all()
    assert (transient_fluxes(night.sky, last)[fading] == 0).all()
    assert (transient_fluxes(night.sky, last)[~fading] > 0).all()


def test_a_light_curve_has_its_peak_one_rise_after_the_start():
    rows = np.zeros(2, [("start_mjd_tai", "f8"), ("rise_d", "f8"), ("fading", "?")])
    rows["start_mjd_tai"], rows["rise_d"], rows["fading"] = 100.0, 5.0, [False, True]
    for time, expected in ((99.0, [0, 1]), (105.0, [1, 0]), (110.0, [2 / np.e, 0])):
        np.testing.assert_allclose(light_curve(rows, time), expected)


def test_the_truth_follows_the_light_curves(tables):
    truth, night = tables["truth"], DemoNight(42)
    brightest = truth["transient"][np.argmax(truth["flux"])]
    rows = truth[truth["transient"] == brightest]
    number = int(np.flatnonzero(night.sky.transients["transient"] == brightest)[0])
    expected = {shot.visit: transient_fluxes(night.sky, shot)[number] for shot in night.later_shots}
    assert len(rows) >= 4
    for row in rows:
        assert row["flux"] == pytest.approx(expected[int(row["visit"])])


def test_known_asteroids_are_where_the_ephemeris_says_and_two_are_not_in_it(tables):
    night, ephemeris = DemoNight(42), tables["ephemeris"]
    assert len(np.unique(ephemeris["ssObjectId"])) == FULL.settings.n_movers - 2
    for shot in night.shots[LAST_NIGHT]:
        there = moved_to(night.sky.movers, shot.midpoint_mjd_tai)
        rows = ephemeris[ephemeris["visit"] == shot.visit]
        found = there[np.searchsorted(there["ssObjectId"], rows["ssObjectId"])]
        assert np.abs(found["dec"] - rows["dec"]).max() * 3600.0 < 0.5
    movers = tables["changing"][tables["changing"]["ssObjectId"] > 0]
    assert set(movers["visit"]) == {shot.visit for shot in night.shots[LAST_NIGHT]}


def test_variable_stars_are_as_often_brighter_as_fainter_than_in_the_template(tables):
    change = tables["changing"]["flux"][tables["changing"]["ssObjectId"] == 0]
    assert len(change) > 100
    assert 0.3 < (change > 0).mean() < 0.7


def test_equal_seeds_give_equal_raws_and_others_do_not(tmp_path):
    first, second, other = (
        DemoNight(seed, FEW).write_raws(tmp_path / str(number), 1) for number, seed in enumerate((3, 3, 4))
    )
    assert len(first) == 2 + 3 + 1 + 2
    assert [checksum(path) for path in first] == [checksum(path) for path in second]
    assert checksum(first[-1]) != checksum(other[-1])
