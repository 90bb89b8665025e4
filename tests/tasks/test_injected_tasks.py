"""Injected sources: a collection of their own, never alerts, and an efficiency that comes of them."""

import sqlite3

import luigi
import numpy as np
import pytest

from astra.errors import ConfigError
from astra.images.exposure import MASK_INJECTED, MASK_INJECTED_TEMPLATE
from astra.products.catalogs import read_catalog
from astra.products.exposures import read_exposure
from astra.tasks.diffim import DiffIm
from astra.tasks.efficiency import MeasureEfficiency, PoolEfficiency
from astra.tasks.injection import DiffImInjected, InjectSources, as_in_production
from tests.tasks.night import build, copy_root, rows

INJECTIONS = "n_isolated=25,n_hosted=10,n_trails=2,n_negative=8,spacing_pixel=25,snr_min=8"


def parameters(night, pairs, **changes):
    values = {**night.parameters(pairs), "injections": INJECTIONS, **changes}
    if len(pairs) == 1:
        values["visit"], values["detector"] = pairs[0]
    return values


@pytest.fixture(scope="module")
def measured_root(processed_root, night, tmp_path_factory):
    """A processed root in which the efficiency of one visit was measured and pooled."""
    root = tmp_path_factory.mktemp("injected")
    copy_root(processed_root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASTRA_ROOT", str(root))
        visit = night.files.science_visits[0]
        [(night_of_visit,)] = rows(root, f"SELECT DISTINCT day_obs FROM visit WHERE visit = {visit}")  # noqa: S608
        pooled = PoolEfficiency(
            **{
                **parameters(night, night.pairs),
                "visit": "^".join(map(str, night.files.science_visits)),
                "detector": "0..1",
                "night": night_of_visit,
            }
        )
        assert build(pooled)
    return root


@pytest.fixture
def measured(measured_root, monkeypatch):
    monkeypatch.setenv("ASTRA_ROOT", str(measured_root))
    return measured_root


def test_most_injected_sources_are_found_with_their_flux(measured, night):
    task = MeasureEfficiency(**parameters(night, night.pairs[:1]))
    table = read_catalog(task.path("efficiency"))
    bright = table[(table["quantity"] == "snr") & (table["low"] >= 10) & (table["nInjected"] > 0)]
    assert bright["nFound"].sum() >= 0.9 * bright["nInjected"].sum()
    weights = np.maximum(bright["nFound"], 1)
    assert abs(np.average(np.nan_to_num(bright["fluxBias"]), weights=weights)) < 0.03
    assert task.path("efficiencyPlot").read_bytes().startswith(b"\x89PNG")


def test_false_detections_that_are_there_anyway_are_told_apart(measured, night):
    task = MeasureEfficiency(**parameters(night, night.pairs[:1]))
    detections = read_catalog(task.path("detections"))
    anyway = read_catalog(task.require(DiffIm).path("diaSrc"))
    false = detections[detections["isFalse"]]
    assert 0 < (~false["isNew"]).sum() <= len(anyway)
    for row in false[~false["isNew"]]:
        assert np.hypot(anyway["x"] - row["x"], anyway["y"] - row["y"]).min() < 3.0
    visit, detector = night.pairs[0]
    query = f"FROM search_depth WHERE visit = {visit} AND detector = {detector}"
    [(n_false, n_new)] = rows(measured, f"SELECT n_false, n_false_new {query}")
    assert (n_false, n_new) == (len(false), false["isNew"].sum())
    table = read_catalog(task.path("efficiency"))
    assert table["nFalseNew"][table["quantity"] == "snr"].sum() == n_new


def test_injected_products_have_a_place_and_mask_bits_of_their_own(measured, night):
    task = InjectSources(**parameters(night, night.pairs[:1]))
    assert task.path("calexp").is_relative_to(measured / "injected")
    injected = read_catalog(task.path("injected"))
    science, template = read_exposure(task.path("calexp")), read_exposure(task.path("template"))
    positive = injected[~injected["isNegative"]]
    at = np.rint(positive["y"]).astype(int), np.rint(positive["x"]).astype(int)
    assert (science.mask[at] & MASK_INJECTED).all()
    negative = injected[injected["isNegative"]]
    at = np.rint(negative["y"]).astype(int), np.rint(negative["x"]).astype(int)
    assert (template.mask[at] & MASK_INJECTED_TEMPLATE).all()
    original = read_exposure(task.requires()["calexp"].path("calexp"))
    assert not (original.mask & MASK_INJECTED).any()


def test_rows_tell_detectors_visits_and_the_night(measured, night):
    found = rows(measured, "SELECT visit, detector, day_obs, n_injected, n_found FROM search_depth")
    scopes = {(visit, detector) for visit, detector, *_ in found}
    visits = night.files.science_visits
    assert scopes == {*night.pairs, *((visit, None) for visit in visits), (None, None)}
    whole = [row for row in found if row[0] is None]
    assert whole[0][2] is not None
    assert whole[0][3] == sum(row[3] for row in found if row[1] is not None)
    assert whole[0][4] == sum(row[4] for row in found if row[1] is not None)
    assert rows(measured, "SELECT count(*) FROM efficiency WHERE n_injected > 0")[0][0] > 10


@pytest.fixture
def two_bands(measured_root, night, tmp_path, monkeypatch):
    """The measured root with the first visit in another band, and a task that pools both bands."""
    copy_root(measured_root, tmp_path)
    monkeypatch.setenv("ASTRA_ROOT", str(tmp_path))
    first = night.files.science_visits[0]
    with sqlite3.connect(tmp_path / "astra.db") as connection:
        connection.execute("UPDATE visit SET band = 'g' WHERE visit = ?", (first,))
    visits = "^".join(map(str, night.files.science_visits))
    return PoolEfficiency(**{**parameters(night, night.pairs), "visit": visits, "detector": "0"})


def test_each_band_is_pooled_by_itself(two_bands, tmp_path):
    assert build(two_bands)
    assert set(two_bands.output()) == {f"{kind}_{band}" for kind in two_bands.kinds for band in "gr"}
    for kind, target in two_bands.output().items():
        assert target.exists(), kind
    query = f"FROM search_depth WHERE task_id = '{two_bands.task_id}'"
    bands = dict(rows(tmp_path, f"SELECT band, n_injected {query} AND visit IS NULL"))
    of_visits = rows(tmp_path, f"SELECT band, n_injected {query} AND visit IS NOT NULL")
    assert sorted(bands) == ["g", "r"]
    for band, number in bands.items():
        assert number == sum(n for one, n in of_visits if one == band) > 0


def test_what_cannot_be_measured_is_left_out_and_told(two_bands, night, tmp_path):
    lost = MeasureEfficiency(**parameters(night, [(night.files.science_visits[0], 0)]))
    lost.require(InjectSources).path("injected").write_bytes(b"nothing")
    assert lost.delete_state()
    assert not build(two_bands)
    of_task = f"WHERE task_id = '{two_bands.task_id}'"
    [(state, message)] = rows(tmp_path, f"SELECT state, message FROM task_state {of_task}")  # noqa: S608
    assert state == "failed"
    assert "1 of 2 detectors could not be measured" in message
    bands = rows(tmp_path, f"SELECT band FROM search_depth {of_task} AND visit IS NULL")  # noqa: S608
    assert bands == [("r",)]


def test_nothing_of_it_becomes_an_alert_or_a_row_of_the_survey(measured, processed_root):
    for table in ("DiaObject", "DiaSource", "DiaForcedSource", "apdb_marker"):
        query = f"SELECT count(*) FROM {table}"  # noqa: S608
        assert rows(measured, query) == rows(processed_root, query)
    assert not list((measured / "injected").rglob("*.avro"))


def test_injecting_again_gives_the_same(measured, night):
    again = InjectSources(**parameters(night, night.pairs[:1]), rerun=True)
    before = read_catalog(again.path("injected")), read_exposure(again.path("calexp")).image
    assert build(again)
    after = read_catalog(again.path("injected")), read_exposure(again.path("calexp")).image
    for name in before[0].dtype.names:
        np.testing.assert_array_equal(before[0][name], after[0][name])
    np.testing.assert_array_equal(before[1], after[1])


def test_the_subtraction_has_the_options_of_production(astra_root, night, monkeypatch):
    configuration = luigi.configuration.get_config()
    if not configuration.has_section("DiffIm"):
        configuration.add_section("DiffIm")
    configuration.set("DiffIm", "threshold_snr", "6.5")
    try:
        task = MeasureEfficiency(**parameters(night, night.pairs[:1]))
        assert task.require(DiffIm).threshold_snr == 6.5
        assert isinstance(as_in_production(task), DiffImInjected)
        assert as_in_production(task).threshold_snr == 6.5
    finally:
        configuration.remove_option("DiffIm", "threshold_snr")


def test_visits_or_a_night_must_be_named(astra_root, night):
    with pytest.raises(ConfigError, match="a night"):
        PoolEfficiency(**{**parameters(night, night.pairs), "visit": "", "detector": ""}).pairs()
