"""Defining visits in a database: Rubin's worked example by all rules, and what becomes of known visits."""

import dataclasses
import itertools
import shutil
import threading
from typing import ClassVar

import pytest
from sqlalchemy import delete, event, select, update

from astra.database.define import VisitCounts, define_visits
from astra.database.engine import dispose_engines, get_engine, reading, transaction
from astra.database.survey import exposure_table, get_visit, raws_of_visit, region_table, visit_table
from astra.database.visits import DefineOptions
from astra.errors import ConfigError, ConflictingDefinitionError, DataError, MissingDataError
from astra.sky.grouping import Grouping, OneToOne
from astra.sky.regions import decode_polygon
from astra.sky.visit_regions import RegionConfig, same_region
from astra.sky.visits import TIME_TOLERANCE_DAY
from tests.database.survey_rows import (
    GROUPINGS,
    detectors,
    everything,
    make_rules,
    memberships,
    visits,
    write_exposures,
)
from tests.sky.mosaic import Drifting, snap, snaps

E347, E348, E349 = 2022040500347, 2022040500348, 2022040500349
NAME = "MO_O_20220405_000{}".format
ONE_TO_ONE = {(0, exposure): ([exposure], NAME(exposure % 1000), 30.0) for exposure in (E347, E348, E349)}
BY_GROUP = {
    (1, 20220406025807347): ([E347], "2022-04-06T02:58:07.347", 30.0),
    (1, 20220406025807348): ([E348, E349], "2022-04-06T02:58:07.348", 60.0),
}
BY_COUNTER = {
    (0, E347): ([E347], NAME(347), 30.0),
    (2, E347): ([E347], NAME(347), 30.0),
    (0, 92022040500348): ([E348], NAME("348_first"), 30.0),
    (0, E349): ([E349], NAME(349), 30.0),
    (2, E348): ([E348, E349], NAME(348), 60.0),
}
WORKED = dict(zip(GROUPINGS, (ONE_TO_ONE, BY_GROUP, BY_COUNTER), strict=True))
N_VISITS = dict(zip(GROUPINGS, (3, 2, 4), strict=True))
UPDATE = DefineOptions(update_records=True)
INCREMENTAL = DefineOptions(incremental=True)


def define(url, grouping, exposures, options=None, **kwargs):
    return define_visits(url, "mosaic", exposures, make_rules(grouping), options, **kwargs)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A SQLite file with the tables."""
    path = tmp_path_factory.mktemp("template") / "survey.db"
    get_engine(f"sqlite:///{path}")
    dispose_engines()
    return path


@pytest.fixture
def empty_url(tmp_path, template):
    """A SQLite database without exposures."""
    path = shutil.copy(template, tmp_path / "survey.db")
    return f"sqlite:///{path}"


@pytest.fixture
def url(empty_url):
    """A SQLite database with the three exposures."""
    write_exposures(empty_url, snaps())
    return empty_url


@pytest.fixture
def any_url(any_database_url):
    """Either database with the three exposures."""
    write_exposures(any_database_url, snaps())
    return any_database_url


@pytest.fixture
def written(monkeypatch):
    """Statements that write, of all engines from now on."""
    statements = []

    def listen(_connection, _cursor, statement, *_others):
        if statement.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
            statements.append(statement)

    listening = []

    def on(url):
        engine = get_engine(url)
        event.listen(engine, "before_cursor_execute", listen)
        listening.append(engine)
        return statements

    yield on
    for engine in listening:
        event.remove(engine, "before_cursor_execute", listen)


# -- the worked example ------------------------------------------------------------------------------------


def at_once(url, grouping, exposures):
    define(url, grouping, exposures)


def one_by_one(url, grouping, exposures):
    for exposure in exposures:
        define(url, grouping, [exposure], INCREMENTAL)


def reversed_one_by_one(url, grouping, exposures):
    one_by_one(url, grouping, exposures[::-1])


def cumulative(url, grouping, exposures):
    for number in range(1, 4):
        define(url, grouping, exposures[:number], INCREMENTAL)


ARRIVALS = (at_once, one_by_one, reversed_one_by_one, cumulative)


@pytest.mark.parametrize("arrive", ARRIVALS)
@pytest.mark.parametrize("kind", ["ids", "records"])
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_the_worked_example_comes_out_however_the_exposures_arrive(url, grouping, kind, arrive):
    exposures = snaps() if kind == "records" else [E347, E348, E349]
    arrive(url, grouping, exposures)
    assert visits(url) == WORKED[grouping]
    assert detectors(url) == {key: {0, 1, 7} for key in WORKED[grouping]}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_what_is_ingested_one_by_one_ends_as_all_at_once(empty_url, template, tmp_path, grouping, order):
    pointed = [dataclasses.replace(record, tracking_ra=12.5 + 0.01 * n) for n, record in enumerate(snaps())]
    other = f"sqlite:///{shutil.copy(template, tmp_path / 'other.db')}"
    write_exposures(other, pointed)
    define(other, grouping, [E347, E348, E349])
    for index in order:
        write_exposures(empty_url, [pointed[index]])
        define(empty_url, grouping, [pointed[index].exposure], INCREMENTAL)
    assert everything(empty_url) == everything(other)


@pytest.mark.parametrize("arrive", ARRIVALS)
def test_all_rules_live_in_one_database(any_url, arrive):
    for grouping in GROUPINGS:
        arrive(any_url, grouping, [E347, E348, E349])
    assert visits(any_url) == {**ONE_TO_ONE, **BY_GROUP, **BY_COUNTER}
    assert memberships(any_url) == {
        E347: {0, 2},
        E348: {0, 2},
        E349: {0},
        92022040500348: {0},
        20220406025807347: {1},
        20220406025807348: {1},
    }


def test_the_counter_alone_gives_the_memberships_of_the_example(url):
    define(url, "one-to-one-and-by-counter", [E347, E348, E349])
    assert memberships(url) == {E347: {0, 2}, 92022040500348: {0}, E349: {0}, E348: {2}}


def test_a_counter_whose_first_comes_last_is_warned_of(url):
    warnings = []
    with transaction(url) as connection:
        connection.execute(delete(exposure_table).where(exposure_table.c.exposure == E348))
    define(url, "one-to-one-and-by-counter", [E349], INCREMENTAL, warn=warnings.append)
    assert len(warnings) == 1
    assert visits(url) == {(0, E349): BY_COUNTER[0, E349]}
    write_exposures(url, [snap(348, 348, 349)])
    define(url, "one-to-one-and-by-counter", [E348], INCREMENTAL, warn=warnings.append)
    define(url, "one-to-one-and-by-counter", [E347], INCREMENTAL, warn=warnings.append)
    assert len(warnings) == 1
    assert visits(url) == BY_COUNTER


def test_a_visit_of_several_says_what_its_exposures_say(any_url):
    write_exposures(any_url, [snap(349, 348, 349, azimuth=10.0, target_name="other")], detectors=())
    define(any_url, "by-group-metadata", [E348, E349])
    with reading(any_url) as connection:
        row = get_visit(connection, "mosaic", 20220406025807348, 1)
    assert (row.begin_mjd_tai, row.end_mjd_tai) == (snap(348).begin_mjd_tai, snap(349).end_mjd_tai)
    assert (row.target_name, row.science_program, row.physical_filter) == (None, "survey", "r_03")
    assert (row.day_obs, row.seq_num, row.observation_reason) == (20220405, 348, "science")
    assert min(row.azimuth, 360.0 - row.azimuth) < 1e-9
    assert row.zenith_angle == 20.0
    assert row.region_source == "single-raw-wcs"


def test_the_raws_of_a_visit_are_those_of_all_its_exposures(url):
    for grouping in GROUPINGS:
        define(url, grouping, [E347, E348, E349])
    with reading(url) as connection:
        for system, visit, expected in (
            (0, E348, [E348]),
            (2, E348, [E348, E349]),
            (0, 92022040500348, [E348]),
        ):
            found = raws_of_visit(connection, "mosaic", visit, 7, system)
            assert [(raw.exposure, raw.detector) for raw in found] == [(e, 7) for e in expected]
        assert raws_of_visit(connection, "mosaic", E348, 5, 2) == []


def test_the_regions_of_the_detectors_make_that_of_the_visit(url):
    define(url, "one-to-one", [E347])
    with reading(url) as connection:
        whole = decode_polygon(get_visit(connection, "mosaic", E347).region)
        for row in connection.execute(select(region_table)):
            assert all(whole.contains(vertex) for vertex in decode_polygon(row.region).getVertices())


# -- again -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [DefineOptions(), UPDATE, INCREMENTAL, DefineOptions(check_detector_regions=True)]
)
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_to_define_again_writes_nothing(url, written, grouping, options):
    define(url, grouping, [E347, E348, E349])
    before, statements = everything(url), written(url)
    counts = define(url, grouping, [E349, E347, E347, E348], options)
    assert statements == []
    assert everything(url) == before
    n_visits = N_VISITS[grouping]
    assert counts == VisitCounts(n_visits=n_visits, n_skipped=n_visits)


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_exposures_that_are_named_twice_count_once(url, grouping):
    counts = define(url, grouping, [E347, E348, *snaps(), E349, E347])
    assert counts == VisitCounts(n_visits=N_VISITS[grouping], n_new=N_VISITS[grouping])


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_prefilter_leaves_out_what_is_there(url, written, grouping):
    define(url, grouping, [E347, E348, E349])
    statements = written(url)
    counts = define(url, grouping, [E347, E348, E349], DefineOptions(prefilter=True))
    assert counts == VisitCounts(n_filtered=3)
    assert statements == []


def test_prefilter_does_not_see_the_visits_of_another_rule(url):
    define(url, "one-to-one-and-by-counter", [E347, E348, E349])
    counts = define(url, "one-to-one", [E347, E348, E349], DefineOptions(prefilter=True))
    assert counts == VisitCounts(n_visits=1, n_new=1, n_filtered=2)
    counts = define(url, "by-group-metadata", [E347, E348, E349], DefineOptions(prefilter=True))
    assert counts == VisitCounts(n_visits=2, n_new=2)


@pytest.mark.parametrize("name", ["update_records", "incremental"])
def test_what_is_filtered_cannot_be_updated(name):
    with pytest.raises(ConfigError, match=f"prefilter leaves out what {name} would update"):
        DefineOptions(prefilter=True, **{name: True})


def test_missing_regions_of_detectors_are_put_back_if_asked(any_url):
    define(any_url, "one-to-one", [E347, E348, E349])
    before = everything(any_url)
    with transaction(any_url) as connection:
        connection.execute(
            delete(region_table).where(region_table.c.detector == 7, region_table.c.visit != E347)
        )
    assert define(any_url, "one-to-one", [E347, E348, E349]) == VisitCounts(n_visits=3, n_skipped=3)
    assert detectors(any_url)[0, E348] == {0, 1}
    options = DefineOptions(check_detector_regions=True)
    counts = define(any_url, "one-to-one", [E347, E348, E349], options)
    assert counts == VisitCounts(n_visits=3, n_skipped=1, n_partially_updated=2)
    assert detectors(any_url) == {key: {0, 1, 7} for key in ONE_TO_ONE}
    assert everything(any_url)["visit_detector_region"] == before["visit_detector_region"]


def test_a_detector_that_comes_late_enlarges_its_visit(empty_url):
    url = empty_url
    rules = make_rules(camera=Drifting())
    write_exposures(url, [snap(1)], detectors=[0])
    assert define_visits(url, "mosaic", [snap(1).exposure], rules).n_new == 1
    with reading(url) as connection:
        before = decode_polygon(get_visit(connection, "mosaic", snap(1).exposure).region)
    write_exposures(url, [snap(1)], detectors=[1, 7])
    options = DefineOptions(check_detector_regions=True)
    assert define_visits(url, "mosaic", [snap(1).exposure], rules, options).n_partially_updated == 1
    assert detectors(url) == {(0, snap(1).exposure): {0, 1, 7}}
    with reading(url) as connection:
        after = decode_polygon(get_visit(connection, "mosaic", snap(1).exposure).region)
        regions = [decode_polygon(row.region) for row in connection.execute(select(region_table))]
    assert all(after.contains(vertex) for region in [before, *regions] for vertex in region.getVertices())


# -- otherwise ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_a_changed_target_is_a_conflict_or_skipped_or_updated(any_url, grouping):
    define(any_url, grouping, [E347, E348, E349])
    before, n_visits = everything(any_url), N_VISITS[grouping]
    write_exposures(any_url, renamed(), detectors=())
    with pytest.raises(ConflictingDefinitionError, match="target_name 'field', now found 'M 31'") as caught:
        define(any_url, grouping, [E347, E348, E349])
    assert caught.value.context["column"] == "target_name"
    assert (caught.value.context["visit_system"], caught.value.context["visit"]) in WORKED[grouping]
    assert everything(any_url) == before
    counts = define(any_url, grouping, [E347, E348, E349], DefineOptions(skip_conflicting=True))
    assert counts == VisitCounts(n_visits=n_visits, n_skipped=n_visits)
    assert everything(any_url) == before
    counts = define(any_url, grouping, [E347, E348, E349], UPDATE)
    assert counts == VisitCounts(n_visits=n_visits, n_fully_updated=n_visits)
    with reading(any_url) as connection:
        assert set(connection.execute(select(visit_table.c.target_name)).scalars()) == {"M 31"}
    assert visits(any_url) == WORKED[grouping]


def renamed():
    return [snap(347, target_name="M 31"), *(snap(n, 348, 349, target_name="M 31") for n in (348, 349))]


def test_a_conflict_leaves_the_visits_before_it(url):
    define(url, "one-to-one", [E348])
    write_exposures(url, renamed()[1:2], detectors=())
    with pytest.raises(ConflictingDefinitionError, match=f"visit {E348} of mosaic in system 0"):
        define(url, "one-to-one", [E347, E348, E349])
    assert set(visits(url)) == {(0, E347), (0, E348)}


def test_an_update_with_a_part_of_the_exposures_takes_none_away(url):
    define(url, "by-group-metadata", [E348, E349])
    with pytest.raises(ConflictingDefinitionError, match="seq_num 348, now found 349"):
        define(url, "by-group-metadata", [E349])
    before = everything(url)
    assert define(url, "by-group-metadata", [E349], UPDATE).n_skipped == 1
    assert everything(url) == before


def test_an_update_with_fewer_detectors_takes_none_away(empty_url):
    url = empty_url
    rules = make_rules(camera=Drifting())
    write_exposures(url, [snap(1)])
    define_visits(url, "mosaic", [snap(1).exposure], rules)
    with transaction(url) as connection:
        connection.exec_driver_sql("DELETE FROM raw WHERE detector > 0")
    write_exposures(url, [snap(1, target_name="other")], detectors=())
    assert define_visits(url, "mosaic", [snap(1).exposure], rules, UPDATE).n_fully_updated == 1
    assert detectors(url) == {(0, snap(1).exposure): {0, 1, 7}}


def test_other_exposures_are_a_conflict_even_if_all_else_is_equal(url):
    alike = [snap(n, 348, 349, exposure_time_s=0.0, group_name="g 7") for n in (348, 349)]
    alike[1] = snap(349, 348, 349, exposure_time_s=0.0, group_name="g 7", seq_num=348)
    times = {"begin_mjd_tai": alike[0].begin_mjd_tai, "end_mjd_tai": alike[0].end_mjd_tai}
    alike[1] = snap(349, 348, 349, exposure_time_s=0.0, group_name="g 7", seq_num=348, **times)
    write_exposures(url, alike, detectors=())
    define(url, "by-group-metadata", [E348])
    with pytest.raises(ConflictingDefinitionError, match=f"without exposure {E349}"):
        define(url, "by-group-metadata", [E348, E349])
    assert define(url, "by-group-metadata", [E348, E349], UPDATE).n_fully_updated == 1
    with pytest.raises(ConflictingDefinitionError, match=f"with exposure {E349}"):
        define(url, "by-group-metadata", [E348])


def test_times_may_differ_by_less_than_they_are_good_to(url):
    define(url, "one-to-one", [E347])
    begin = snap(347).begin_mjd_tai
    write_exposures(url, [snap(347, begin_mjd_tai=begin + 0.5 * TIME_TOLERANCE_DAY)], detectors=())
    assert define(url, "one-to-one", [E347]).n_skipped == 1
    write_exposures(url, [snap(347, begin_mjd_tai=begin + 3.0 * TIME_TOLERANCE_DAY)], detectors=())
    with pytest.raises(ConflictingDefinitionError, match="begin_mjd_tai"):
        define(url, "one-to-one", [E347])


def test_another_pointing_or_margin_is_a_conflict_until_it_is_updated(any_url):
    define(any_url, "one-to-one", [E347])
    write_exposures(any_url, [snap(347, tracking_dec=-30.01)], detectors=())
    with pytest.raises(ConflictingDefinitionError, match="another region of detector 0, 1, 7"):
        define(any_url, "one-to-one", [E347])
    assert define(any_url, "one-to-one", [E347], UPDATE).n_fully_updated == 1
    assert define(any_url, "one-to-one", [E347]).n_skipped == 1
    wide = make_rules(config=RegionConfig(padding_pixel=300))
    with pytest.raises(ConflictingDefinitionError, match="another region"):
        define_visits(any_url, "mosaic", [E347], wide)


def test_calibrated_regions_stay_when_records_are_updated(url):
    define(url, "one-to-one", [E347])
    with transaction(url) as connection:
        connection.execute(update(visit_table).values(region_source="calibrated"))
    before = everything(url)
    write_exposures(url, [snap(347, tracking_dec=-30.01)], detectors=())
    assert define(url, "one-to-one", [E347]).n_skipped == 1
    assert define(url, "one-to-one", [E347], UPDATE).n_skipped == 1
    assert everything(url) == before
    write_exposures(url, [snap(347, tracking_dec=-30.01, target_name="M 31")], detectors=())
    assert define(url, "one-to-one", [E347], UPDATE).n_fully_updated == 1
    assert everything(url)["visit_detector_region"] == before["visit_detector_region"]


def test_regions_of_which_nobody_knows_whence_are_left_until_they_are_updated(url):
    define(url, "one-to-one", [E347])
    with transaction(url) as connection:
        connection.execute(update(visit_table).values(region_source=""))
    write_exposures(url, [snap(347, tracking_dec=-30.01)], detectors=())
    assert define(url, "one-to-one", [E347]).n_skipped == 1
    assert define(url, "one-to-one", [E347], UPDATE).n_fully_updated == 1
    with reading(url) as connection:
        assert get_visit(connection, "mosaic", E347).region_source == "single-raw-wcs"


def test_a_merged_visit_grows_with_its_exposures(url):
    moved = [snap(348, 348, 349), snap(349, 348, 349, tracking_dec=-30.01)]
    write_exposures(url, moved, detectors=())
    rules = make_rules("by-group-metadata", config=RegionConfig(merge_exposures=True))

    def regions():
        with reading(url) as connection:
            return {
                row.detector: decode_polygon(row.region) for row in connection.execute(select(region_table))
            }

    define_visits(url, "mosaic", [E348], rules, DefineOptions(update_records=True))
    first = regions()
    define_visits(url, "mosaic", [E349], rules, DefineOptions(incremental=True))
    both = regions()
    assert not same_region(first[0], both[0])
    assert all(both[d].contains(vertex) for d in first for vertex in first[d].getVertices())
    # What an update computes holds the exposures that were there before, whichever are named.
    assert define_visits(url, "mosaic", [E349], rules, UPDATE).n_skipped == 1


# -- what makes no visit -----------------------------------------------------------------------------------


def test_an_exposure_that_is_not_there_is_named(url):
    for exposure in (5, snap(5)):
        with pytest.raises(MissingDataError, match="of instrument mosaic is not ingested; run IngestRaws"):
            define(url, "one-to-one", [E347, exposure])
    assert visits(url) == {}


def test_exposures_of_another_instrument_are_refused(url):
    with pytest.raises(ConfigError, match="must be of one instrument, mosaic, found other"):
        define(url, "one-to-one", [E347, snap(348, instrument="other")])
    assert visits(url) == {}


@pytest.mark.parametrize("change", [{"tracking_ra": None}, {"sky_angle": None}, {"can_see_sky": False}])
def test_exposures_that_are_nowhere_on_the_sky_are_left_out_or_refused(url, change):
    write_exposures(url, [snap(348, 348, 349, **change)], detectors=())
    with pytest.raises(DataError, match=f"exposure {E348} of instrument mosaic (does not|cannot)"):
        define(url, "one-to-one", [E347, E348, E349], DefineOptions(ignore_non_science=False))
    assert visits(url) == {}
    counts = define(url, "one-to-one", [E347, E348, E349])
    assert counts == VisitCounts(n_visits=2, n_new=2, n_ignored=1)
    assert set(visits(url)) == {(0, E347), (0, E349)}


def test_a_camera_without_geometry_needs_no_pointing(url):
    write_exposures(url, [snap(347, tracking_ra=None)], detectors=())
    rules = make_rules(camera=Drifting())
    assert define_visits(url, "mosaic", [E347], rules).n_new == 1


def test_one_raw_of_an_exposure_is_enough(empty_url):
    url = empty_url
    write_exposures(url, snaps(), detectors=[1])
    define(url, "one-to-one", [E347, E348, E349])
    assert detectors(url) == {key: {0, 1, 7} for key in ONE_TO_ONE}


def test_collections_choose_the_raws(empty_url):
    url = empty_url
    write_exposures(url, [snap(1)], detectors=[0])
    write_exposures(url, [snap(1), snap(2)], detectors=[1], collection="night/2")
    rules = make_rules(camera=Drifting())
    one, two = snap(1).exposure, snap(2).exposure
    with pytest.raises(
        MissingDataError, match=f"exposure {two} of instrument mosaic has no raw in collection raw/all"
    ):
        define_visits(url, "mosaic", [one, two], rules, DefineOptions(collections=("raw/all",)))
    define_visits(url, "mosaic", [one], rules, DefineOptions(collections=("raw/all",)))
    assert detectors(url) == {(0, one): {0}}
    options = DefineOptions(collections=("raw/all", "night/2"), check_detector_regions=True)
    assert define_visits(url, "mosaic", [one, two], rules, options).n_new == 1
    assert detectors(url) == {(0, one): {0, 1}, (0, two): {1}}


# -- at once -----------------------------------------------------------------------------------------------


def test_two_at_once_make_the_visits_of_one(any_url):
    """Each exposure is defined by a thread of its own, again and again, all of them at once."""
    orders = list(itertools.permutations([E347, E348, E349]))[:4]
    barrier, errors = threading.Barrier(len(orders)), []

    def work(order):
        barrier.wait()
        try:
            for exposure in order:
                define(any_url, "by-group-metadata", [exposure], INCREMENTAL)
                define(any_url, "one-to-one-and-by-counter", [exposure], INCREMENTAL)
        except Exception as exc:  # noqa: BLE001  # told by the test
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert errors == []
    assert visits(any_url) == {**BY_GROUP, **BY_COUNTER}


def test_a_system_has_one_name_and_a_name_one_system(url):
    define(url, "one-to-one", [E347])

    class Other(OneToOne):
        systems: ClassVar = {0: "by-hand"}

    class Second(OneToOne):
        systems: ClassVar = {5: "one-to-one"}

        def group(self, exposures, **_):
            visits = super().group(exposures).visits
            return Grouping(tuple(dataclasses.replace(visit, systems=(5,)) for visit in visits))

    rules = make_rules()
    for grouper, found in ((Other(), "0 is one-to-one"), (Second(), "0 is one-to-one")):
        with pytest.raises(
            ConfigError, match=f"visit system . of mosaic cannot be .*: in this database {found}"
        ):
            define_visits(url, "mosaic", [E348], dataclasses.replace(rules, grouper=grouper))
    assert set(visits(url)) == {(0, E347)}
