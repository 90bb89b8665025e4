"""The files of alerts: what the ordinary way makes of the same rows and images, in every schema."""

import io
from itertools import pairwise

import luigi
import numpy as np
import pytest
from astropy.io import fits

from astra.alerts.cutouts import CutoutConfig, make_cutout
from astra.alerts.files import read_alerts
from astra.alerts.packets import Cutouts, make_alert, validate_alert
from astra.database.apdb import load_alert_rows
from astra.database.engine import reading
from astra.instruments.registry import get_instrument
from astra.products.catalogs import read_catalog
from astra.products.exposures import read_exposure
from astra.tasks.alerts import PackageAlerts
from tests.tasks.night import build, rows


@pytest.fixture
def package(processed, night, tmp_path):
    """Package the alerts of the second visit's first detector again, otherwise; the task and its alerts."""

    def run(**options):
        pair = (night.files.science_visits[1], 0)
        options = {"alert_write_location": str(tmp_path / "elsewhere"), **options}
        task = PackageAlerts(**{**night.parameters([pair]), "visit": pair[0], "detector": pair[1], **options})
        assert build(task)
        return task, read_alerts(task.path("alerts"))

    return run


def images_of(task):
    required = task.requires()
    return {
        "difference": read_exposure(required["diffim"].path("diffexp")),
        "science": read_exposure(required["calexp"].path("calexp")),
        "template": read_exposure(required["template"].path("template")),
    }


def ordinary(task, config):
    """Alerts from the rows of the database one at a time."""
    with reading(task.database_url) as connection:
        _, found = load_alert_rows(connection, task.instrument, task.visit, task.detector)
    images = images_of(task)
    for row in found:
        source = row.dia_source
        place = source["x"], source["y"], source["bboxSize"]
        stamps = {name: make_cutout(image, *place, config) for name, image in images.items()}
        yield make_alert(source, row.prv_sources, row.prv_forced, row.dia_object, Cutouts(**stamps))


def single(value):
    """Floats as float32 has them, where a packet has those."""
    if isinstance(value, dict):
        return {name: single(item) for name, item in value.items()}
    if isinstance(value, list):
        return [single(item) for item in value]
    return float(np.float32(value)) if isinstance(value, float) else value


def test_the_file_is_that_of_the_ordinary_way(package, tmp_path):
    task, alerts = package()
    assert task.path("alerts").parent == tmp_path / "elsewhere"
    assert task.path("alerts").name == f"{task.visit}_{task.detector}.avro"
    rotation = get_instrument("simcam").detector(task.detector).rotation_deg
    expected = list(ordinary(task, CutoutConfig(detector_rotation_deg=rotation)))
    assert len(alerts) == len(expected) > 0
    for alert, other in zip(alerts, expected, strict=True):
        visit_of = {"target_name": alert["target_name"], "observation_reason": alert["observation_reason"]}
        assert single(alert) == single(other | visit_of)
    assert any(alert["prvDiaSources"] for alert in alerts)


def test_cutouts_have_the_size_and_psf_that_are_asked_for(package):
    task, alerts = package(cutout_size=51, use_average_psf=True)
    images = images_of(task)
    for name, image in images.items():
        ny, nx = image.shape
        for alert in alerts:
            content = alert[f"cutout{name.capitalize()}"]
            with fits.open(io.BytesIO(content)) as hdus:
                assert hdus[0].data.shape == (51, 51)
                psf = image.psf.stamp((nx - 1) / 2, (ny - 1) / 2)
                np.testing.assert_allclose(hdus["PSFIMAGE"].data, psf, rtol=1e-6)


def test_the_history_is_as_long_as_is_asked_for(package):
    _, alerts = package(history_days=0.0)
    assert all(alert["prvDiaSources"] is alert["prvDiaForcedSources"] is None for alert in alerts)


@pytest.mark.parametrize("version", ["10.0", "11.0"])
def test_older_schemas_are_written(package, version):
    _, alerts = package(alert_schema=version)
    for alert in alerts:
        validate_alert(alert, version)
        assert "reliabilityVersion" not in alert["diaSource"]


def test_our_own_schema_has_what_brokers_miss(package):
    task, alerts = package(alert_schema="astra-1.0", nearby_catalogs="src,reference", n_nearest=2)
    src = read_catalog(task.requires()["calexp"].path("src"))
    seen = dict.fromkeys(("upperLimits", "nearestStars", "nearestGalaxies"), 0)
    for alert in alerts:
        validate_alert(alert, "astra-1.0")
        for name in seen:
            seen[name] += len(alert[name] or [])
        for name in ("nearestStars", "nearestGalaxies"):
            nearby = alert[name] or []
            assert all(a["separation"] <= b["separation"] <= 30.0 for a, b in pairwise(nearby))
            assert {one["id"] for one in nearby if one["catalog"] == "src"} <= set(src["id"].tolist())
        detected = {row["visit"] for row in alert["prvDiaSources"] or []}
        for limit in alert["upperLimits"] or []:
            assert limit["visit"] not in detected | {task.visit}
            assert limit["limitFlux"] > 0
    assert seen["nearestStars"] > 0
    assert {one["catalog"] for alert in alerts for one in alert["nearestStars"] or []} == {"src", "reference"}
    lists = read_alerts(task.path("alerts"), version="11.1")
    assert [alert["diaSourceId"] for alert in lists] == [alert["diaSourceId"] for alert in alerts]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alert_schema": "9.9"}, "alert schema 9.9 is not known"),
        ({"alert_schema": "new"}, "alert_schema: a schema version is written as major.minor"),
        ({"cutout_size": 0}, "cutout_size: the side of a cutout must be 1 pixel or more"),
        ({"history_days": -1.0}, "history_days must not be negative"),
        ({"alert_schema": "astra-1.0", "nearby_catalogs": "gaia"}, "can be src and reference, found gaia"),
        ({"alert_schema": "astra-1.0", "nearby_radius_arcsec": 0.0}, "positive radius"),
    ],
)
def test_impossible_parameters_fail_with_one_sentence(processed, night, options, message):
    visit, detector = night.pairs[0]
    task = PackageAlerts(
        **{**night.parameters([night.pairs[0]]), "visit": visit, "detector": detector, **options}
    )
    assert not luigi.build([task], local_scheduler=True, log_level="CRITICAL", no_lock=True)
    [(found,)] = rows(processed, "SELECT message FROM task_attempt WHERE error_class IS NOT NULL")
    assert message in found
