"""The rules of grouping, with the identifiers, names and systems that Rubin gives."""

import itertools

import pytest

from astra.errors import ConfigError, FormatError
from astra.sky.grouping import (
    ByGroupMetadata,
    OneToOne,
    OneToOneAndByCounter,
    group_id_of_digits,
)
from tests.sky.mosaic import snap, snaps

E347, E348, E349 = 2022040500347, 2022040500348, 2022040500349
FIRST_SNAP = 92022040500348
ORDERS = list(itertools.permutations(range(3)))


def described(grouping):
    """Visits as (id, name, systems, exposures, exposure time)."""
    return [
        (
            visit.visit,
            visit.name,
            set(visit.systems),
            list(visit.exposure_ids),
            sum(exposure.exposure_time_s for exposure in visit.exposures),
        )
        for visit in grouping.visits
    ]


@pytest.mark.parametrize("order", ORDERS)
def test_one_to_one_takes_identifier_and_name_of_the_exposure(order):
    exposures = [snaps()[index] for index in order]
    assert described(OneToOne().group(exposures)) == [
        (E347, "MO_O_20220405_000347", {0}, [E347], 30.0),
        (E348, "MO_O_20220405_000348", {0}, [E348], 30.0),
        (E349, "MO_O_20220405_000349", {0}, [E349], 30.0),
    ]


@pytest.mark.parametrize("order", ORDERS)
def test_groups_of_the_header_give_name_and_number(order):
    exposures = [snaps()[index] for index in order]
    assert described(ByGroupMetadata().group(exposures)) == [
        (20220406025807347, "2022-04-06T02:58:07.347", {1}, [E347], 30.0),
        (20220406025807348, "2022-04-06T02:58:07.348", {1}, [E348, E349], 60.0),
    ]


@pytest.mark.parametrize("order", ORDERS)
def test_the_counter_gives_visits_of_one_and_of_all(order):
    exposures = [snaps()[index] for index in order]
    grouping = OneToOneAndByCounter().group(exposures)
    assert described(grouping) == [
        (E347, "MO_O_20220405_000347", {0, 2}, [E347], 30.0),
        (E348, "MO_O_20220405_000348", {2}, [E348, E349], 60.0),
        (E349, "MO_O_20220405_000349", {0}, [E349], 30.0),
        (FIRST_SNAP, "MO_O_20220405_000348_first", {0}, [E348], 30.0),
    ]
    assert grouping.warnings == ()


def test_a_counter_without_its_first_makes_single_visits_and_a_warning():
    grouping = OneToOneAndByCounter().group([snap(349, 348, 349)])
    assert described(grouping) == [(E349, "MO_O_20220405_000349", {0}, [E349], 30.0)]
    [warning] = grouping.warnings
    assert "exposure 348 of night 20220405" in warning
    assert "is left out" in warning


def test_a_counter_that_begins_below_the_first_number_is_left_out_in_silence():
    grouping = OneToOneAndByCounter().group([snap(0, 5, 6)])
    assert [visit.systems for visit in grouping.visits] == [(0,)]
    assert grouping.warnings == ()


def test_the_first_of_several_alone_makes_both_its_visits():
    assert described(OneToOneAndByCounter().group([snap(348, 348, 349)])) == [
        (E348, "MO_O_20220405_000348", {2}, [E348], 30.0),
        (FIRST_SNAP, "MO_O_20220405_000348_first", {0}, [E348], 30.0),
    ]


def test_equal_counters_of_two_nights_make_two_visits():
    other = snap(348, 348, 349, day_obs=20220406, exposure=2022040600348, obs_id="other")
    visits = OneToOneAndByCounter().group([*snaps(), other]).visits
    assert [visit.exposure_ids for visit in visits if visit.systems == (2,)] == [
        (E348, E349),
        (2022040600348,),
    ]


@pytest.mark.parametrize("rule", [OneToOne, ByGroupMetadata, OneToOneAndByCounter])
def test_an_exposure_that_is_named_twice_counts_once(rule):
    assert rule().group([*snaps(), *snaps()]) == rule().group(snaps())
    assert rule().group([]).visits == ()


@pytest.mark.parametrize("rule", [OneToOne, ByGroupMetadata, OneToOneAndByCounter])
def test_exposures_of_two_instruments_are_refused(rule):
    with pytest.raises(ConfigError, match="found mosaic, other"):
        rule().group([snap(1), snap(2, instrument="other")])


def test_the_number_of_a_group_is_made_of_its_digits():
    assert group_id_of_digits("2022-04-06T02:58:07.181") == 20220406025807181
    for name in ("", "no digits", "9" * 20):
        with pytest.raises(FormatError, match="must have digits"):
            group_id_of_digits(name)


def test_two_groups_of_one_number_are_refused():
    with pytest.raises(FormatError, match=r"'a-12' and 'b-12' both make visit 12"):
        ByGroupMetadata().group([snap(1, group_name="a-12"), snap(2, group_name="b-12")])


def test_a_camera_may_number_groups_by_itself():
    grouping = ByGroupMetadata().group(snaps(), group_id=lambda name: int(name[-1]))
    assert [visit.visit for visit in grouping.visits] == [7, 8]


def test_an_identifier_that_is_too_long_for_63_bits_is_refused():
    exposure = snap(348, 348, 349, exposure=2**62)
    with pytest.raises(FormatError, match=r"makes the visit 9\d+, but the id of a visit has 63 bits"):
        OneToOneAndByCounter().group([exposure])


def test_a_number_of_a_group_must_be_an_identifier():
    for number in (-1, 2**63):
        with pytest.raises(FormatError, match="makes the visit"):
            ByGroupMetadata().group(snaps(), group_id=lambda _, number=number: number)


def test_an_exposure_without_a_group_is_named():
    with pytest.raises(FormatError, match="exposure 2022040500001 of instrument mosaic has no group"):
        ByGroupMetadata().group([snap(1, group_name="")])
