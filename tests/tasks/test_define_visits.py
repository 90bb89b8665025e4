"""The task that defines visits: batches, rules, second runs, updates, and members that fail."""

import json
import logging
import pickle
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest
from luigi.retcodes import run_with_retcodes

from astra import plugins
from astra.database.engine import reading
from astra.database.exposures import exposure_records, raw_regions
from astra.errors import ConfigError
from astra.instruments.registry import get_instrument
from astra.products.exposures import read_exposure_wcs
from astra.sky.grouping import Grouper, Grouping, in_order
from astra.sky.regions import contains, decode_polygon, dilate
from astra.sky.visit_regions import image_border
from astra.sky.visits import VisitDefinition
from astra.tasks.exposures import IngestRaws
from astra.tasks.refine import RefineVisitRegions
from astra.tasks.visits import PADDING_PIXEL, DefineVisits, visit_rules
from tests.sky.mosaic import snap, snaps
from tests.tasks.mosaic_camera import cameras, write_raw  # noqa: F401  # a fixture
from tests.tasks.night import attempts, build, rows, states

pytestmark = pytest.mark.usefixtures("cameras")
E347, E348, E349 = IDS = (2022040500347, 2022040500348, 2022040500349)
FIRST = 92022040500348
COUNTS = (
    "n_visits",
    "n_skipped",
    "n_new",
    "n_fully_updated",
    "n_partially_updated",
    "n_filtered",
    "n_ignored",
)
TABLES = ("visit", "visit_definition", "visit_system_membership", "visit_detector_region", "visit_system")


@pytest.fixture
def raws(tmp_path):
    """Folder of the raws of three exposures."""
    for record in snaps():
        write_raw(tmp_path / "raws" / f"{record.exposure}.fits", record)
    return tmp_path / "raws"


@pytest.fixture
def ingested(astra_root, raws):
    """A root into which the exposures have been ingested."""
    assert build(IngestRaws(instrument="mosaic", path=str(raws)))
    return astra_root


def define(exposure=IDS, **parameters):
    return build(DefineVisits(**{"instrument": "mosaic", "exposure": exposure, **parameters}))


def visits(root):
    """Exposures of each visit, by (system, id)."""
    found = {}
    query = (
        "SELECT visit_system, visit, exposure FROM visit_definition ORDER BY visit_system, visit, exposure"
    )
    for system, visit, exposure in rows(root, query):
        found.setdefault((system, visit), []).append(exposure)
    return found


def tables(root):
    return {table: sorted(map(repr, rows(root, f"SELECT * FROM {table}"))) for table in TABLES}  # noqa: S608


def counts(root, **parameters):
    """Figures of a task, without zeros."""
    task = DefineVisits(**{"instrument": "mosaic", "exposure": IDS, **parameters})
    query = f"""SELECT key, value FROM task_metadata JOIN task ON task.pk = task_pk
                WHERE task_id = '{task.task_id}' AND key LIKE 'DefineVisits:define.%'"""  # noqa: S608
    found = {key.rpartition(".")[2]: int(value) for key, value in rows(root, query)}
    assert set(found) == set(COUNTS)
    return {name: value for name, value in found.items() if value}


def last_message(root):
    query = "SELECT message FROM task_attempt WHERE message IS NOT NULL ORDER BY pk DESC LIMIT 1"
    return rows(root, query)[0][0]


EXPECTED = {
    "one-to-one": {(0, exposure): [exposure] for exposure in IDS},
    "by-group-metadata": {(1, 20220406025807347): [E347], (1, 20220406025807348): [E348, E349]},
    "one-to-one-and-by-counter": {
        (0, E347): [E347],
        (0, E349): [E349],
        (0, FIRST): [E348],
        (2, E347): [E347],
        (2, E348): [E348, E349],
    },
}


def test_a_batch_makes_the_visits_of_every_rule_in_one_root(ingested):
    # The counter finds visit 349 of system 0 there already: one to one, it is the same.
    expected = (
        {"n_visits": 3, "n_new": 3},
        {"n_visits": 2, "n_new": 2},
        {"n_visits": 4, "n_new": 3, "n_skipped": 1},
    )
    for grouping, counted in zip(EXPECTED, expected, strict=True):
        assert define(grouping=grouping)
        assert counts(ingested, grouping=grouping) == counted
    assert visits(ingested) == {key: value for rule in EXPECTED.values() for key, value in rule.items()}
    systems = rows(ingested, "SELECT instrument, visit_system, name FROM visit_system ORDER BY visit_system")
    assert [system[2] for system in systems] == ["one-to-one", "by-group-metadata", "by-seq-start-end"]
    assert {system[0] for system in systems} == {"mosaic"}


def test_each_visit_is_counted_with_one_member(ingested):
    assert define(grouping="by-group-metadata")
    per_member = [counts(ingested, exposure=exposure, grouping="by-group-metadata") for exposure in IDS]
    assert per_member == [{"n_visits": 1, "n_new": 1}, {"n_visits": 1, "n_new": 1}, {}]


@pytest.mark.parametrize("grouping", EXPECTED)
def test_a_second_run_writes_no_visit(ingested, grouping):
    assert define(grouping=grouping)
    before = tables(ingested)
    assert define(grouping=grouping, rerun=True)
    assert tables(ingested) == before
    assert counts(ingested, grouping=grouping)["n_skipped"] == counts(ingested, grouping=grouping)["n_visits"]


@pytest.mark.parametrize("order", [IDS, IDS[::-1]])
@pytest.mark.parametrize("grouping", EXPECTED)
def test_exposures_may_come_in_one_by_one(ingested, grouping, order):
    for exposure in order:
        assert define(exposure, grouping=grouping, incremental=True)
    assert visits(ingested) == EXPECTED[grouping]
    expected = {key: 30.0 * len(exposures) for key, exposures in EXPECTED[grouping].items()}
    found = rows(ingested, "SELECT visit_system, visit, exposure_time_s FROM visit")
    assert {row[:2]: row[2] for row in found} == expected


def test_a_counter_without_its_first_is_warned_of(ingested, caplog):
    with caplog.at_level(logging.WARNING, logger="luigi-interface"):
        assert define(E349, grouping="one-to-one-and-by-counter")
    assert "with which the visit of exposures 348 to 349 of mosaic begins, is not there" in caplog.text
    assert visits(ingested) == {(0, E349): [E349]}


def test_a_member_that_contradicts_its_visit_fails_alone(ingested, raws):
    assert define()
    write_raw(raws / f"{E348}.fits", snaps()[1], target_name="M 31")
    assert build(IngestRaws(instrument="mosaic", path=str(raws)))
    assert not define()
    assert states(ingested, "DefineVisits") == {(E347,): "done", (E348,): "failed", (E349,): "done"}
    [message] = rows(
        ingested, "SELECT message FROM task_attempt WHERE error_class = 'ConflictingDefinitionError'"
    )
    assert f"visit {E348} of mosaic in system 0 is defined already with target_name 'field'" in message[0]
    assert define(skip_conflicting=True)
    assert rows(ingested, "SELECT DISTINCT target_name FROM visit") == [("field",)]
    assert define(update_records=True)
    assert rows(ingested, f"SELECT target_name FROM visit WHERE visit = {E348}") == [("M 31",)]  # noqa: S608
    assert counts(ingested) == {"n_visits": 3, "n_skipped": 2, "n_fully_updated": 1}


def test_all_members_of_a_visit_that_conflicts_fail(ingested, raws):
    assert define(grouping="by-group-metadata")
    write_raw(raws / f"{E348}.fits", snaps()[1], target_name="M 31")
    assert build(IngestRaws(instrument="mosaic", path=str(raws)))
    assert not define(grouping="by-group-metadata", rerun=True)
    assert states(ingested, "DefineVisits") == {(E347,): "done", (E348,): "failed", (E349,): "failed"}


def test_an_update_runs_although_all_is_done(ingested):
    assert define()
    before = attempts(ingested)
    assert define()
    assert attempts(ingested) == before
    assert define(update_records=True)
    assert attempts(ingested)["DefineVisits"] == before["DefineVisits"] + 3


def test_prefilter_leaves_out_what_is_there(ingested):
    assert define()
    assert define(rerun=True, prefilter=True)
    assert counts(ingested) == {"n_filtered": 3}


def test_what_is_filtered_cannot_be_updated(ingested):
    task = DefineVisits(instrument="mosaic", exposure=IDS, prefilter=True, incremental=True)
    with pytest.raises(ConfigError, match="prefilter leaves out what incremental would update"):
        task.requires()
    assert not build(task)
    assert visits(ingested) == {}


def test_names_that_are_none_are_answered_with_those_there_are(ingested):
    assert not define(grouping="by-hand")
    assert not define(region_algorithm="by-eye")
    assert (
        "visit region algorithm 'by-eye' is unknown; known are raw-corners, single-raw-wcs"
        in last_message(ingested)
    )
    with pytest.raises(ConfigError, match="grouping 'by-hand' is unknown"):
        visit_rules("mosaic", "by-hand")


def test_exposures_without_a_sky_are_left_out_or_an_error(astra_root, tmp_path):
    folder = tmp_path / "raws"
    write_raw(folder / "dome.fits", snap(1), can_see_sky=False)
    write_raw(folder / "lost.fits", snap(2), tracking_ra=None)
    assert build(IngestRaws(instrument="mosaic", path=str(folder)))
    exposures = (snap(1).exposure, snap(2).exposure)
    assert define(exposures)
    assert visits(astra_root) == {}
    assert counts(astra_root, exposure=exposures) == {"n_ignored": 2}
    assert define(exposures)  # done, and not looked at again
    assert not define(exposures, ignore_non_science=False)
    messages = "\n".join(row[0] or "" for row in rows(astra_root, "SELECT message FROM task_attempt"))
    assert "cannot see the sky, so that it makes no visit" in messages
    assert "does not say where the telescope pointed, so that it makes no visit" in messages


def test_geometry_gives_regions_to_detectors_without_raws(astra_root, tmp_path):
    write_raw(tmp_path / "raws" / "a.fits", snap(1), [1])
    assert define(snap(1).exposure, raw=str(tmp_path / "raws"))
    assert rows(astra_root, "SELECT detector FROM visit_detector_region ORDER BY detector") == [
        (0,),
        (1,),
        (7,),
    ]
    assert rows(astra_root, "SELECT region_source FROM visit") == [("single-raw-wcs",)]


def test_detectors_that_come_late_reach_all_visits_of_a_camera_without_geometry(astra_root, tmp_path):
    folder, records = tmp_path / "raws", [snap(n, 348, 349, instrument="drifting") for n in (348, 349)]
    exposures = tuple(record.exposure for record in records)
    task = DefineVisits(instrument="drifting", exposure=exposures, grouping="one-to-one-and-by-counter")
    for detector in (1, 7):
        for record in records:
            write_raw(folder / f"{record.exposure}_{detector}.fits", record, [detector])
        assert build(IngestRaws(instrument="drifting", path=str(folder)))
        assert not task.complete()
        assert build(task)
        assert task.complete()
        found = rows(
            astra_root, "SELECT visit_system, visit, count(*) FROM visit_detector_region GROUP BY 1, 2"
        )
        n_detectors = 1 if detector == 1 else 2
        assert sorted(found) == [
            (0, exposures[1], n_detectors),
            (0, FIRST, n_detectors),
            (2, exposures[0], n_detectors),
        ]
    assert rows(astra_root, "SELECT DISTINCT region_source FROM visit") == [("raw-corners",)]


def test_collections_choose_the_raws(ingested, raws):
    assert not define(E347, collections="night/1")
    assert "has no raw in collection night/1" in last_message(ingested)
    assert build(IngestRaws(instrument="mosaic", path=str(raws / f"{E347}.fits"), collection="night/1"))
    assert define(E347, collections="night/1, night/2")


def test_raws_go_into_the_collection_that_is_asked_for(astra_root, raws):
    assert define(raw=str(raws), collections="night/1")
    assert rows(astra_root, "SELECT DISTINCT collection FROM raw_collection") == [("night/1",)]


def test_images_without_corners_are_left_out_where_there_is_no_geometry(astra_root, tmp_path):
    record = snap(1, instrument="drifting", tracking_ra=None)
    write_raw(tmp_path / "raws" / "a.fits", record)
    parameters = {"instrument": "drifting", "raw": str(tmp_path / "raws")}
    assert define(record.exposure, **parameters)
    assert visits(astra_root) == {}
    assert counts(astra_root, exposure=record.exposure, instrument="drifting") == {"n_ignored": 1}
    assert not define(record.exposure, **parameters, ignore_non_science=False)


class ByNight(Grouper):
    """All exposures of a night are one visit."""

    systems: ClassVar = {17: "by-night"}
    sibling_columns: ClassVar = ("day_obs",)

    def group(self, exposures, *, group_id):
        nights = {}
        for exposure in in_order(exposures):
            nights.setdefault(exposure.day_obs, []).append(exposure)
        return Grouping(
            tuple(
                VisitDefinition(some[0].instrument, night, str(night), (17,), tuple(some))
                for night, some in nights.items()
            )
        )


def test_the_rule_of_a_plug_in_makes_visits_of_its_own(ingested, monkeypatch):
    entry = EntryPoint("by-night", f"{__name__}:ByNight", "astra.groupers")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == entry.group else [])
    assert define()
    assert define(E348, grouping="by-night")
    assert visits(ingested)[17, 20220405] == [E348]
    assert define(IDS[::2], grouping="by-night", incremental=True)
    assert visits(ingested)[17, 20220405] == list(IDS)
    assert rows(ingested, "SELECT name FROM visit_system WHERE visit_system = 17") == [("by-night",)]


def test_a_task_survives_pickling():
    task = DefineVisits(instrument="mosaic", exposure=IDS, grouping="by-group-metadata", incremental=True)
    again = pickle.loads(pickle.dumps(task))  # noqa: S301  # our own
    assert again.task_id == task.task_id
    assert again.options == task.options


def test_rules_may_change_from_run_to_run_in_one_root(ingested, monkeypatch):
    monkeypatch.chdir(ingested)
    for grouping in EXPECTED:
        words = ["--module", "astra", "DefineVisits", "--instrument", "mosaic", "--exposure", json.dumps(IDS)]
        with pytest.raises(SystemExit) as ended:
            run_with_retcodes([*words, "--grouping", grouping, "--local-scheduler"])
        assert not ended.value.code
    assert visits(ingested) == {key: value for rule in EXPECTED.values() for key, value in rule.items()}


def test_regions_follow_the_calibrated_exposures(processed, night):
    [pair] = night.pairs[:1]
    parameters = {**night.parameters([pair]), "visit": pair[0], "detector": pair[1]}
    del parameters["template_visits"]
    task = RefineVisitRegions(**parameters)
    assert build(task)
    query = f"SELECT region FROM visit_detector_region WHERE visit = {pair[0]} AND detector = {pair[1]}"  # noqa: S608
    [(region,)] = rows(processed, query)
    [calibrated] = task.requires()
    wcs, shape = read_exposure_wcs(calibrated.path("calexp"))
    border = wcs.all_pix2world(*image_border(shape, PADDING_PIXEL, 5), 0)
    assert contains(decode_polygon(region), *border).all()
    assert not contains(decode_polygon(region), *wcs.all_pix2world(*image_border(shape, 252.0, 5), 0)).any()
    [(source,)] = rows(processed, f"SELECT region_source FROM visit WHERE visit = {pair[0]}")  # noqa: S608
    assert source == "calibrated"
    before = tables(processed)
    assert build(RefineVisitRegions(**parameters, rerun=True))
    assert build(DefineVisits(instrument="simcam", exposure=pair[0], rerun=True))
    assert tables(processed) == before


def test_the_geometry_of_a_camera_agrees_with_the_corners_in_its_headers(processed, night):
    visit = night.files.science_visits[0]
    with reading(f"sqlite:///{processed}/astra.db") as connection:
        exposures = list(exposure_records(connection, "simcam", [visit]).values())
        raws = raw_regions(connection, "simcam", [visit])
    found = visit_rules("simcam", "one-to-one", padding_pixel=0).find_regions(exposures, raws)
    assert found.source == "single-raw-wcs"
    assert raws[visit].keys() <= found.detectors.keys()
    for detector, region in raws[visit].items():
        margin = 0.01 * get_instrument("simcam").pixel_scale_arcsec
        assert all(dilate(region, margin).contains(v) for v in found.detectors[detector].getVertices())
        assert all(dilate(found.detectors[detector], margin).contains(v) for v in region.getVertices())
