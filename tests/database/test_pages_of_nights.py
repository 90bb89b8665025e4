"""What pages of nights, visits and alerts ask the database: the same on SQLite and on PostgreSQL."""

import datetime as dt

import pytest
from sqlalchemy import insert, update

from astra.database.engine import reading, transaction
from astra.database.models.apdb import dia_source
from astra.database.pages.best_alerts import best_alerts
from astra.database.pages.light_curves import body_curves, light_curve, light_curves
from astra.database.pages.nights import (
    failures_of_night,
    families_of_night,
    get_night,
    instruments_of_night,
    list_nights,
)
from astra.database.pages.places import detections_of_visit, regions_of_visit
from astra.database.pages.searches import searches_of_night
from astra.database.pages.spectra import sdss_mjd, spectra_analysed_with, spectra_of_night
from astra.database.pages.visits import detectors_of_visits, get_visit, products_of_visits, visits_of_night
from astra.database.spectra import signal_to_noise_table
from astra.database.state import product_table, task_keys
from astra.database.survey import visit_table
from tests.cli import rows
from tests.web.pages_night import (
    CAMERA,
    DETECTOR,
    FAILED,
    MJD,
    NIGHT,
    OBJECT,
    SOURCE,
    VISIT,
    fill_night,
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def night(request, tmp_path_factory):
    """URL and root of a night that no test changes: on SQLite, then on PostgreSQL."""
    root, url = tmp_path_factory.mktemp("night"), None
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_cluster").create_database()
    return fill_night(root, url=url), root


@pytest.fixture
def connection(night):
    with reading(night[0]) as connection:
        yield connection


def add_visits(url, nights):
    """Write visits of other nights: (instrument, day_obs, visit)."""
    with transaction(url) as connection:
        for instrument, day_obs, visit in nights:
            row = {"instrument": instrument, "visit_system": 0, "visit": visit, "name": "v",
                   "day_obs": day_obs, "seq_num": 1, "band": "g", "exposure_time_s": 30.0,
                   "observation_reason": "", "region": b"", "region_source": ""}  # fmt: skip
            connection.execute(insert(visit_table), [row])


def test_a_night_is_told_with_what_it_gave(connection):
    night = get_night(connection, CAMERA, NIGHT)
    assert (night.n_visits, night.bands, night.n_dia_sources) == (1, ("r",), 3)
    assert night.begin_mjd_tai == pytest.approx(MJD - 1e-4)
    assert get_night(connection, CAMERA, NIGHT + 1) is None
    assert instruments_of_night(connection, NIGHT) == [CAMERA]


def test_nights_come_page_by_page(any_database_url, tmp_path):
    fill_night(tmp_path, url=any_database_url)
    with transaction(any_database_url) as connection:
        connection.exec_driver_sql("INSERT INTO visit_system VALUES ('other', 0, 'one-to-one')")
    add_visits(any_database_url, [("other", NIGHT, 1), ("cam", NIGHT - 1, 2), ("other", NIGHT - 2, 3)])
    with reading(any_database_url) as connection:
        whole = [(n.day_obs, n.instrument) for n in list_nights(connection)]
        pages, before = [], None
        while found := list_nights(connection, before=before, limit=1):
            before = found[-1].day_obs, found[-1].instrument
            pages.append(before)
        assert [n.day_obs for n in list_nights(connection, instrument="other")] == [NIGHT, NIGHT - 2]
    assert whole == [(NIGHT, "cam"), (NIGHT, "other"), (NIGHT - 1, "cam"), (NIGHT - 2, "other")]
    assert pages == whole


def test_tasks_of_a_night_are_counted_against_what_is_expected(connection):
    counts = {one.family: one for one in families_of_night(connection, CAMERA, NIGHT, 2)}
    assert (counts["ProcessCcd"].done, counts["ProcessCcd"].failed, counts["ProcessCcd"].expected) == (
        1,
        1,
        2,
    )
    assert (counts["DiffIm"].done, counts["DiffIm"].expected) == (1, 2)
    assert families_of_night(connection, "other", NIGHT, 2) == []
    [(task_id, message)] = failures_of_night(connection, CAMERA, NIGHT)
    assert task_id.startswith("ProcessCcd_")
    assert message == "simulated field"


def test_a_visit_is_found_by_its_id(connection):
    assert get_visit(connection, CAMERA, VISIT).midpoint_mjd_tai == pytest.approx(MJD)
    assert get_visit(connection, CAMERA, 13) is None
    assert [v.visit for v in visits_of_night(connection, CAMERA, NIGHT)] == [VISIT]
    assert visits_of_night(connection, CAMERA, NIGHT, after=VISIT) == []


def test_detectors_have_products_figures_tasks_and_association(connection, night):
    root = str(night[1])
    found = detectors_of_visits(connection, root, CAMERA, [VISIT])
    assert list(found) == [(VISIT, DETECTOR), (VISIT, FAILED)]
    good, failed = found.values()
    assert set(good.products) == {"calexp", "matchedTemplate", "diffexp"}
    assert good.figures["ProcessCcd:summary.zeroPoint"] == 30.5
    assert good.association.n_dia_sources == 3
    assert [task.family for task in good.tasks] == ["ProcessCcd", "PackageAlerts", "DiffIm"]
    assert (good.state, failed.state) == ("done", "failed")
    assert failed.tasks[0].message == "AlgorithmError: simulated field"
    assert failed.association is None
    key = "DiffIm:subtract.pixelScatter"
    chosen = detectors_of_visits(connection, root, CAMERA, [VISIT], figures=[key])
    assert chosen[VISIT, DETECTOR].figures == {key: 1.02}
    assert detectors_of_visits(connection, root, CAMERA, []) == {}


def test_products_are_those_of_the_visits_and_the_newest(any_database_url, tmp_path):
    fill_night(tmp_path, url=any_database_url)
    with transaction(any_database_url) as connection:
        run = rows.start_run(connection)
        task = rows.end(connection, run, rows.record("ProcessCcd", {"visit": "120", "detector": "3"}), 1)
        pk = task_keys(connection, [task])[task]
        later = rows.NOW + dt.timedelta(hours=1)
        for visit in (VISIT, 120, 1, 2):
            path = f"{tmp_path}/products/{CAMERA}/{visit}/3/other/calexp.fits"
            row = {"path": path, "kind": "calexp", "size": 1, "checksum": "", "created": later, "task_pk": pk}
            connection.execute(insert(product_table), [row])
    with reading(any_database_url) as connection:
        found = products_of_visits(connection, str(tmp_path), CAMERA, [VISIT])
        assert list(found) == [(VISIT, 3)]
        assert found[VISIT, 3]["calexp"].path.endswith("other/calexp.fits")
        assert found[VISIT, 3]["calexp"].created == later
        assert found[VISIT, 3]["diffexp"].path.endswith("task_diffexp/diffexp.fits")
        several = products_of_visits(connection, str(tmp_path), CAMERA, [120, 2, VISIT])
        assert sorted(several) == [(2, 3), (VISIT, 3), (120, 3)]
        assert products_of_visits(connection, str(tmp_path), "ca", [VISIT]) == {}


def test_the_best_detection_of_each_object_is_found_page_by_page(connection):
    found = best_alerts(connection, CAMERA, [VISIT])
    assert [alert.dia_source_id for alert in found] == [SOURCE, 8]
    assert [alert.n_detections for alert in found] == [2, 1]
    first = best_alerts(connection, CAMERA, [VISIT], limit=1)
    assert best_alerts(connection, CAMERA, [VISIT], after=first[-1].rank) == found[1:]
    assert best_alerts(connection, CAMERA, [VISIT], after=found[-1].rank) == []
    assert best_alerts(connection, "other", [VISIT]) == []
    assert best_alerts(connection, CAMERA, []) == []


def test_a_light_curve_has_detections_and_forced_fluxes_in_the_order_of_time(connection):
    points = light_curve(connection, OBJECT)
    assert [(p.is_forced, p.source_id) for p in points] == [(True, 1), (False, SOURCE), (False, 9)]
    assert (points[0].band, points[0].flux, points[0].mjd_tai) == ("g", 50.0, MJD - 3.0)
    assert points[1].as_dict()["reliability"] == pytest.approx(0.98)
    assert light_curve(connection, 52) == []  # withdrawn
    assert set(light_curves(connection, [OBJECT, 51, 52])) == {OBJECT, 51}


def test_a_body_of_the_solar_system_has_its_detections(any_database_url, tmp_path):
    fill_night(tmp_path, url=any_database_url)
    with transaction(any_database_url) as connection:
        is_first = dia_source.c.diaSourceId == 8
        connection.execute(update(dia_source).where(is_first).values(diaObjectId=None, ssObjectId=77))
    with reading(any_database_url) as connection:
        assert [point.source_id for point in body_curves(connection, [77, 78])[77]] == [8]
        body = next(a for a in best_alerts(connection, CAMERA, [VISIT]) if a.ss_object_id)
        assert (body.dia_source_id, body.dia_object_id, body.ss_object_id) == (8, None, 77)


def test_places_of_a_visit_are_told(connection):
    regions = regions_of_visit(connection, CAMERA, VISIT)
    assert set(regions) == {DETECTOR, FAILED}
    assert regions[DETECTOR].shape == (4, 2)
    assert sorted(regions[DETECTOR][:, 0].round(6)) == [149.49, 149.49, 149.51, 149.51]
    assert [one.dia_source_id for one in detections_of_visit(connection, CAMERA, VISIT)] == [9, SOURCE, 8]
    assert [one.dia_source_id for one in detections_of_visit(connection, CAMERA, VISIT, limit=1)] == [9]


def test_searches_have_their_bins(connection):
    [search] = searches_of_night(connection, CAMERA, NIGHT, [VISIT])
    assert search.depth["mag50"] == 23.4
    assert [one["n_found"] for one in search.bins["mag"]] == [20, 10]
    assert search.bins["snr"][0]["high"] is None
    assert searches_of_night(connection, CAMERA, NIGHT + 1, []) == []


def test_spectra_are_of_the_night_by_the_mjd_in_their_names(any_database_url):
    assert sdss_mjd(20111009) == 55844
    with transaction(any_database_url) as connection:
        run = rows.start_run(connection)
        for mjd in (55844, 55845):
            task = rows.end(connection, run, rows.record("SignalToNoise", {"path": str(mjd)}), 1)
            row = {"task_pk": task_keys(connection, [task])[task], "row_index": 0, "product": "apVisit",
                   "path": f"/sas/apVisit-r13-5095-{mjd}-128.fits", "kind": "visit", "flags": 0,
                   "snr": 42.0}  # fmt: skip
            connection.execute(insert(signal_to_noise_table), [row])
    with reading(any_database_url) as connection:
        [spectrum] = spectra_of_night(connection, 20111009)
        assert spectrum.path.endswith("-55844-128.fits")
        assert (spectrum.values["snr"], spectrum.values["z"]) == (42.0, None)
        assert spectra_of_night(connection, 20111011) == []
        together = spectra_analysed_with(connection, task_keys(connection, [task]).values())
        assert [one.path[-14:-9] for one in together] == ["55844", "55845"]
        assert spectra_analysed_with(connection, []) == []
