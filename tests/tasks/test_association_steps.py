"""Association of visits on a real database: what the tables hold, and that a rerun changes nothing."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sqlalchemy as sa

from astra.alerts.packets import make_alert
from astra.database import apdb
from astra.database.engine import open_engine
from astra.database.models import metadata
from astra.database.models.apdb import apdb_marker, dia_forced_source, dia_object, dia_source
from astra.errors import ConflictingDefinitionError, FormatError, MissingDataError, TooManyObjectsError
from astra.images.dia_source_columns import DIA_SOURCE_DTYPE, NOT_MEASURED
from astra.sky.identifiers import unpack_source_id
from astra.sky.regions import convex_hull
from astra.tasks.association_plan import AssociationOptions, DetectorVisit
from astra.tasks.association_steps import associate_visit

ARCSEC = 1 / 3600
REGION = convex_hull([10.0, 10.1, 10.1, 10.0], [0.0, 0.0, 0.1, 0.1])
TABLES = (dia_object, dia_source, dia_forced_source, apdb_marker)
WALL_CLOCK = {"timeProcessedMjdTai", "apdb_replica_chunk"}
CATALOG = np.dtype(
    [
        *[("ra", "f8"), ("dec", "f8"), ("raErr", "f4"), ("decErr", "f4"), ("x", "f4"), ("y", "f4")],
        *[("psfFlux", "f8"), ("psfFluxErr", "f8"), ("scienceFlux", "f4"), ("scienceFluxErr", "f4")],
        *[("snr", "f4"), ("sky_source", "?"), ("isNegative", "?"), ("pixelFlags_saturatedCenter", "?")],
    ]
)


def catalog(*offsets_arcsec, flux=100.0):
    """Detections at offsets [arcsec] from the middle of the region."""
    rows = np.zeros(len(offsets_arcsec), CATALOG)
    for row, (east, north) in zip(rows, offsets_arcsec, strict=True):
        row["ra"], row["dec"] = 10.05 + east * ARCSEC, 0.05 + north * ARCSEC
    rows["raErr"] = rows["decErr"] = 0.1 * ARCSEC
    rows["psfFlux"] = flux + np.arange(len(rows)) / 3
    rows["psfFluxErr"], rows["scienceFlux"], rows["scienceFluxErr"], rows["snr"] = 7.0, 500.0, 9.0, np.nan
    return rows


def forced_photometry(ra, dec):
    result = np.zeros(len(ra), [("psfFlux", "f4"), ("psfFluxErr", "f4"), ("scienceFlux", "f4")])
    result["psfFlux"] = 1000 * (ra - 10)
    result["psfFluxErr"], result["scienceFlux"] = 3.0, np.nan
    return result


FIRST = catalog((0, 0), (60, 0), (0, 90))
SECOND = catalog((0.3, 0), (120, 0), flux=200.0)
THIRD = catalog((0.1, 0.1), (60.2, 0), (-100, 0), flux=300.0)
VISITS = {1: ("r", 60000.0, FIRST), 2: ("g", 60000.003, SECOND), 3: ("r", 60005.0, THIRD)}


@pytest.fixture
def connection():
    engine = open_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        yield connection
    engine.dispose()


def run(connection, visit, *, now=61000.0, sources=None, detector=2, **changes):
    band, midpoint, found = VISITS[visit]
    arguments = {
        "instrument": "camera",
        "visit": visit,
        "detector": detector,
        "band": band,
        "midpoint_mjd_tai": midpoint,
        "region": REGION,
        "dia_sources": found if sources is None else sources,
        "forced_photometry": forced_photometry,
        "time_processed_mjd_tai": now,
        "task_id": f"Associate_{visit}",
        "packed_visit_detector": (visit << 20) + detector,
        "release": 1,
    }
    return associate_visit(connection, **(arguments | changes))


def again(catalogs=None):
    """What a later member is associated with again; catalogues by detector, else those of the visits."""

    def redo(member):
        band, midpoint, found = VISITS[member.visit]
        sources = catalogs[member.detector] if catalogs else found
        packed = (member.visit << 20) + member.detector
        return DetectorVisit(
            *("camera", member.visit, member.detector, band, midpoint, REGION, sources, forced_photometry),
            *(61000.0, member.task_id, packed, 1),
        )

    return redo


def with_reliability(sources, *reliability):
    """Detections with scores."""
    rows = np.zeros(len(sources), dtype=[*CATALOG.descr, ("reliability", "f4"), ("reliabilityVersion", "U7")])
    for name in CATALOG.names:
        rows[name] = sources[name]
    rows["reliability"], rows["reliabilityVersion"] = reliability, "abc1234"
    return rows


def dump(connection, *tables):
    """Rows of tables without wall-clock columns, sorted; versions of an object stay in order."""
    found = {}
    for table in tables or TABLES:
        rows = connection.execute(sa.select(table).order_by(*table.primary_key.columns)).mappings()
        found[table.name] = [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in rows]
    return found


def rounded(tables):
    """Tables with narrow columns in single precision: SQLite keeps them in double."""
    narrow = {c.name for table in TABLES for c in table.columns if isinstance(c.type, sa.REAL)}
    return {
        name: [
            {k: np.float32(v) if k in narrow and v is not None else v for k, v in row.items()} for row in rows
        ]
        for name, rows in tables.items()
    }


def current_objects(connection):
    is_current = dia_object.c.validityEndMjdTai.is_(None)
    rows = connection.execute(sa.select(dia_object).where(is_current).order_by("diaObjectId")).mappings()
    return [dict(row) for row in rows]


def test_first_visit_makes_an_object_of_each_detection(connection):
    result = run(connection, 1)
    assert (result.n_new, result.n_updated, result.n_rejected) == (3, 0, 0)
    sources = dump(connection)["DiaSource"]
    assert [row["diaObjectId"] for row in sources] == [row["diaSourceId"] for row in sources]
    packed = [unpack_source_id(row["diaSourceId"]) for row in sources]
    assert packed == [(1, (1 << 20) + 2, number) for number in (1, 2, 3)]
    assert all(row["diaSourceId"] > 2**31 for row in sources)
    assert sources[0]["snr"] is None
    assert sources[0]["apFlux"] is None
    assert sources[0]["ssObjectId"] is None
    assert sources[0]["isNegative"] is False
    assert sources[0]["psfNdata"] == 0


def test_second_visit_updates_the_object_and_closes_its_old_version(connection):
    run(connection, 1, now=61000.0)
    result = run(connection, 2, now=61001.0)
    assert (result.n_new, result.n_updated) == (1, 1)
    known = int(result.dia_sources["diaObjectId"][0])
    versions = connection.execute(
        sa.select(dia_object).where(dia_object.c.diaObjectId == known).order_by("validityStartMjdTai")
    ).mappings()
    old, new = (dict(row) for row in versions)
    assert (old["validityStartMjdTai"], old["validityEndMjdTai"], old["nDiaSources"]) == (
        60000.0,
        60000.003,
        1,
    )
    assert (new["validityStartMjdTai"], new["validityEndMjdTai"], new["nDiaSources"]) == (60000.003, None, 2)
    assert (new["r_psfFluxNdata"], new["g_psfFluxNdata"], new["i_psfFluxNdata"]) == (1, 1, 0)
    assert (new["g_psfFluxMean"], new["r_psfFluxMean"], new["i_psfFluxMean"]) == (200.0, 100.0, None)
    assert new["g_scienceFluxMean"] == 500.0
    assert (new["firstDiaSourceMjdTai"], new["lastDiaSourceMjdTai"]) == (60000.0, 60000.003)
    assert new["ra"] == pytest.approx(10.05 + 0.15 * ARCSEC, abs=1e-9)
    assert new["raErr"] * 3600 == pytest.approx(0.1 / np.sqrt(2), rel=1e-5)


def test_detectors_of_a_visit_do_not_measure_each_others_new_objects(connection):
    run(connection, 1, detector=2)
    assert len(run(connection, 1, detector=3, sources=catalog((500, 0))).forced) == 1


def test_forced_photometry_is_done_at_every_object_known_by_then(connection):
    run(connection, 1)
    result = run(connection, 2, now=61001.0)
    assert len(result.forced) == 4
    rows = dump(connection)["DiaForcedSource"]
    assert {(row["visit"], row["band"]) for row in rows} == {(1, "r"), (2, "g")}
    assert all(row["scienceFlux"] is None for row in rows)
    new = current_objects(connection)[0]
    assert new["r_fpFluxMean"] == pytest.approx(50.0, rel=1e-5)
    assert new["g_fpFluxMean"] == pytest.approx(50 + 0.15 * ARCSEC * 1000, rel=1e-5)


def test_positions_where_nothing_can_be_measured_have_no_forced_row(connection):
    def blind(ra, dec):
        return np.full(len(ra), np.nan, [("psfFlux", "f4"), ("psfFluxErr", "f4")])

    assert len(run(connection, 1, forced_photometry=blind).forced) == 0


def test_the_marker_counts_what_was_written(connection):
    run(connection, 1)
    run(connection, 2, now=61001.0)
    marker = apdb.load_marker(connection, "camera", 2, 2)
    counts = marker.n_dia_sources, marker.n_new_objects, marker.n_updated_objects, marker.n_forced_sources
    assert counts == (2, 1, 1, 4)
    assert (marker.task_id, marker.band, marker.timeProcessedMjdTai) == ("Associate_2", "g", 61001.0)
    assert apdb.load_marker(connection, "camera", 2, 3) is None


@pytest.mark.parametrize("again", [[1], [2], [2, 2]])
def test_a_visit_associated_again_at_once_leaves_the_same_tables(connection, again):
    now = 61000.0
    for visit in range(1, again[0] + 1):
        run(connection, visit, now=now)
    before = dump(connection)
    for visit in again:
        now += 1
        run(connection, visit, now=now)
        assert dump(connection) == before


def test_all_visits_associated_again_in_order_leave_the_same_tables(connection):
    for visit in VISITS:
        run(connection, visit, now=61000.0 + visit)
    before = dump(connection)
    for visit in VISITS:
        run(connection, visit, now=61100.0 + visit)
    assert dump(connection) == before


def test_an_early_visit_associated_again_leaves_the_same_objects(connection):
    for visit in VISITS:
        run(connection, visit, now=61000.0 + visit)
    before, rows = current_objects(connection), dump(connection, dia_source, dia_forced_source)
    run(connection, 1, now=61100.0)
    assert dump(connection, dia_source, dia_forced_source) == rows
    for old, new in zip(before, current_objects(connection), strict=True):
        same = {name for name in old if name not in WALL_CLOCK and "fpFlux" not in name}
        assert {name: new[name] for name in same} == {name: old[name] for name in same}


@pytest.mark.parametrize("order", list(itertools.permutations(VISITS))[1:])
def test_visits_in_any_order_leave_the_tables_of_those_in_order(connection, order):
    for visit in VISITS:
        run(connection, visit, now=61000.0 + visit)
    expected = dump(connection)
    for visit in reversed(VISITS):
        apdb.remove_visit(connection, "camera", visit, 2)
    for visit in order:  # within one replica chunk: nobody has copied what a late visit makes again
        run(connection, visit, now=61000.0, redo=again())
    assert dump(connection) == expected


def test_a_late_visit_names_those_that_were_associated_again(connection):
    run(connection, 3)
    run(connection, 2, redo=again())
    result = run(connection, 1, redo=again())
    assert [member.visit for member in result.redone] == [2, 3]
    assert run(connection, 3, redo=again()).redone == ()


def test_a_late_visit_that_cannot_be_put_in_order_is_refused_in_one_sentence(connection):
    run(connection, 2)
    before = dump(connection)
    with pytest.raises(ConflictingDefinitionError, match=r"visit 1 .* after visit 2 .*259\.2 s later"):
        run(connection, 1)
    assert dump(connection) == before


def test_a_late_visit_of_another_place_changes_nothing_else(connection):
    run(connection, 2)
    far = convex_hull([20.0, 20.1, 20.1, 20.0], [0.0, 0.0, 0.1, 0.1])
    sources = catalog((0, 0))
    sources["ra"] += 10.0
    assert run(connection, 1, region=far, sources=sources).redone == ()


def test_an_early_visit_that_finds_the_same_is_handed_over_as_it_is(connection):
    for visit in VISITS:
        run(connection, visit, now=61000.0 + visit)
    before = dump(connection, dia_object, dia_source, dia_forced_source)
    result = run(connection, 1, now=61100.0, task_id="Associate_other")
    assert dump(connection, dia_object, dia_source, dia_forced_source) == before
    assert (result.n_new, len(result.forced), result.redone) == (3, 3, ())
    assert apdb.load_marker(connection, "camera", 1, 2).task_id == "Associate_other"


def test_an_early_visit_that_finds_other_things_changes_the_later_ones(connection):
    for visit in VISITS:
        run(connection, visit)
    run(connection, 1, sources=catalog((0, 0)), redo=again())
    found = dump(connection)
    for visit in reversed(VISITS):
        apdb.remove_visit(connection, "camera", visit, 2)
    run(connection, 1, sources=catalog((0, 0)))
    run(connection, 2)
    run(connection, 3)
    assert found == dump(connection)


def test_removing_a_visit_undoes_it(connection):
    states = []
    for visit in VISITS:
        states.append(dump(connection))
        run(connection, visit, now=61000.0 + visit)
    for visit in reversed(VISITS):
        apdb.remove_visit(connection, "camera", visit, 2)
        assert dump(connection) == states[visit - 1]
    apdb.remove_visit(connection, "camera", 1, 2)
    assert not any(dump(connection).values())


def test_removing_a_middle_visit_leaves_what_the_others_found(connection):
    for visit in VISITS:
        run(connection, visit, now=61000.0 + visit)
    apdb.remove_visit(connection, "camera", 1, 2)
    for row in current_objects(connection):
        found = connection.execute(
            sa.select(sa.func.count()).where(dia_source.c.diaObjectId == row["diaObjectId"])
        ).scalar_one()
        assert row["nDiaSources"] == found > 0
    ids = {row["diaObjectId"] for row in current_objects(connection)}
    assert {row["diaObjectId"] for row in dump(connection)["DiaForcedSource"]} <= ids
    chains = connection.execute(
        sa.select(dia_object.c.diaObjectId, dia_object.c.validityStartMjdTai, dia_object.c.validityEndMjdTai)
        .where(dia_object.c.diaObjectId.in_(ids))
        .order_by(dia_object.c.diaObjectId, dia_object.c.validityStartMjdTai)
    ).all()
    for one, following in itertools.pairwise(chains):
        assert one[2] == (following[1] if one[0] == following[0] else None)


def test_a_clock_that_goes_back_does_not_break_the_versions(connection):
    for visit, now in ((1, 61000.0), (2, 60999.0), (3, 60998.0)):
        run(connection, visit, now=now)
    times = [(row["validityStartMjdTai"], row["lastDiaSourceMjdTai"]) for row in current_objects(connection)]
    assert all(start == last for start, last in times)


def test_two_detectors_of_a_visit_share_the_objects_between_them(connection):
    run(connection, 1, detector=2)
    result = run(connection, 1, detector=3, sources=catalog((0.2, 0)))
    assert (result.n_new, result.n_updated) == (0, 1)
    assert len(current_objects(connection)) == 3


def test_sky_sources_are_not_stored_and_saturated_ones_found_no_object(connection):
    rows = catalog((0, 0), (30, 0), (60, 0))
    rows["sky_source"][0] = rows["pixelFlags_saturatedCenter"][1] = True
    result = run(connection, 1, sources=rows)
    assert result.n_rejected == 2
    assert [unpack_source_id(int(i))[2] for i in result.dia_sources["diaSourceId"]] == [3]


def test_no_detections_make_a_marker_and_forced_rows_alone(connection):
    run(connection, 1)
    result = run(connection, 2, sources=catalog(), now=61001.0)
    assert (result.n_new, len(result.dia_sources), len(result.forced)) == (0, 0, 3)
    assert apdb.load_marker(connection, "camera", 2, 2).n_dia_sources == 0
    assert len(run(connection, 3, sources=catalog(), now=61002.0).forced) == 3


def test_nothing_at_all_is_a_result(connection):
    result = run(connection, 1, sources=catalog())
    assert (result.n_new, result.n_updated, len(result.forced)) == (0, 0, 0)
    assert apdb.load_alert_rows(connection, "camera", 1, 2)[1] == []


def test_another_camera_with_the_same_numbers_is_refused(connection):
    run(connection, 1)
    with pytest.raises(ConflictingDefinitionError, match="a database for each"):
        run(connection, 1, instrument="other")


def test_a_catalogue_without_fluxes_is_refused_by_name(connection):
    from numpy.lib.recfunctions import drop_fields

    with pytest.raises(FormatError, match="psfFlux, psfFluxErr"):
        run(connection, 1, sources=drop_fields(FIRST, ["psfFlux", "psfFluxErr"]))


def test_rows_of_a_visit_make_valid_alerts_with_their_history(connection):
    for visit in VISITS:
        run(connection, visit, now=61000.0 + visit)
    marker, rows = apdb.load_alert_rows(connection, "camera", 3, 2)
    assert marker.visit == 3
    alerts = [make_alert(row.dia_source, row.prv_sources, row.prv_forced, row.dia_object) for row in rows]
    seen, repeated, new = alerts
    assert [row["visit"] for row in seen["prvDiaSources"]] == [1, 2]
    assert [row["visit"] for row in seen["prvDiaForcedSources"]] == [1, 2]
    assert seen["diaObject"]["nDiaSources"] == 3
    assert [row["visit"] for row in repeated["prvDiaSources"]] == [1]
    assert [row["visit"] for row in repeated["prvDiaForcedSources"]] == [1, 2]
    assert new["prvDiaSources"] is None
    assert new["diaObject"]["diaObjectId"] == new["diaSourceId"]


def test_history_is_that_of_twelve_months(connection):
    run(connection, 1, midpoint_mjd_tai=59000.0)
    run(connection, 2, now=61001.0)
    _, rows = apdb.load_alert_rows(connection, "camera", 2, 2)
    assert rows[0].prv_sources == []
    assert rows[0].dia_object["nDiaSources"] == 2


def test_alerts_of_a_visit_that_is_not_associated_are_refused(connection):
    with pytest.raises(MissingDataError, match="no apdb_marker"):
        apdb.load_alert_rows(connection, "camera", 9, 9)


def test_both_databases_hold_the_same_rows(connection, postgresql_url):
    engine = open_engine(postgresql_url)
    with engine.begin() as other:
        for visit in VISITS:
            run(connection, visit, now=61000.0 + visit)
            run(other, visit, now=61000.0 + visit)
        run(connection, 2, now=61010.0)
        run(other, 2, now=61010.0)
        ours, theirs = dump(connection), dump(other)
    engine.dispose()
    assert rounded(ours) == rounded(theirs)


@pytest.mark.parametrize("pair", [((1, 2), (1, 2)), ((1, 2), (1, 3)), ((2, 2), (2, 3))])
def test_two_at_a_time_leave_the_tables_of_one_after_the_other(any_database_url, connection, pair):
    catalogs = {2: FIRST, 3: catalog((500, 0), (530, 0))}
    engine = open_engine(any_database_url)

    def work(member):
        visit, detector = member
        with engine.begin() as own:
            run(own, visit, detector=detector, sources=catalogs[detector], redo=again(catalogs))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, pair))
    for visit, detector in pair:
        run(connection, visit, detector=detector, sources=catalogs[detector])
    with engine.connect() as other:
        found, expected = rounded(dump(other)), rounded(dump(connection))
    engine.dispose()
    assert found == expected


def test_every_measured_column_reaches_the_alert(connection):
    rows = np.zeros(2, DIA_SOURCE_DTYPE)
    numbers = [name for name in rows.dtype.names if rows.dtype[name].kind in "fi"]
    for number, name in enumerate(numbers, start=1):
        rows[name] = number / 8 if rows.dtype[name].kind == "f" else number
    for name in CATALOG.names:
        if name in rows.dtype.names:
            rows[name] = catalog((0, 0), (60, 0))[name]
    rows["midpointMjdTai"], rows["band"], rows["snr"] = 60000.0, "r", 9.0
    rows["pixelFlags_streak"][1] = rows["isDipole"][1] = True
    rows["trailLength"], rows["dipoleLength"][1] = [0.5, np.nan], np.nan
    run(connection, 1, sources=rows)
    stored = dump(connection, dia_source)["DiaSource"]
    assert [row["pixelFlags_streak"] for row in stored] == [False, True]
    records = [make_alert(dict(row) | {"timeProcessedMjdTai": 61000.0})["diaSource"] for row in stored]
    for name in set(records[0]) - set(NOT_MEASURED):
        assert records[0][name] == rows[name][0], name
    assert records[1]["trailLength"] is None
    assert records[1]["dipoleLength"] is None
    assert records[1]["isDipole"] is True


def test_reliability_and_its_version_reach_tables_and_packets(connection):
    run(connection, 1, sources=with_reliability(FIRST, 0.25, 0.75, np.nan))
    rows = dump(connection)["DiaSource"]
    assert [row["reliability"] for row in rows] == [0.25, 0.75, None]
    assert {row["reliabilityVersion"] for row in rows} == {"abc1234"}
    packet = make_alert({**rows[1], "timeProcessedMjdTai": 61000.0})["diaSource"]
    assert (packet["reliability"], packet["reliabilityVersion"]) == (0.75, "abc1234")


def test_unreliable_detections_are_neither_associated_nor_stored(connection):
    scored = with_reliability(FIRST, 0.25, 0.5, np.nan)
    result = run(connection, 1, sources=scored, min_reliability=0.5)
    assert (len(result.dia_sources), result.n_unreliable, result.n_rejected, result.n_new) == (1, 2, 0, 1)
    [row] = dump(connection)["DiaSource"]
    assert unpack_source_id(row["diaSourceId"])[2] == 2  # the number in the catalogue, not among the kept
    again = run(connection, 1, sources=scored)
    assert (len(again.dia_sources), again.n_unreliable) == (3, 0)


def test_a_cut_needs_scores(connection):
    with pytest.raises(FormatError, match=r"a least reliability of 0\.5 is asked for"):
        run(connection, 1, min_reliability=0.5)


def test_only_objects_with_enough_detections_are_measured(connection):
    options = AssociationOptions(min_forced_detections=2)
    assert len(run(connection, 1, options=options).forced) == 0
    result = run(connection, 2, options=options, now=61001.0)
    assert result.forced["diaObjectId"].tolist() == [int(result.dia_sources["diaObjectId"][0])]
    assert len(run(connection, 3, options=options, now=61002.0).forced) == 2


def test_more_new_objects_than_allowed_are_an_error_that_writes_nothing(connection):
    with pytest.raises(TooManyObjectsError, match="would found 3 objects, but max_new_dia_objects is 2"):
        run(connection, 1, options=AssociationOptions(max_new_dia_objects=2))
    assert not any(dump(connection).values())
    assert run(connection, 1, options=AssociationOptions(max_new_dia_objects=3)).n_new == 3


def test_what_is_left_out_is_counted_by_reason(connection):
    rows = catalog((0, 0), (30, 0), (60, 0), (90, 0))
    rows["sky_source"][0] = rows["pixelFlags_saturatedCenter"][1] = True
    rows["scienceFlux"][2] = -100.0
    result = run(connection, 1, sources=rows)
    assert result.reasons == {"sky_source": 1, "science_snr": 1, "new_pixelFlags_saturatedCenter": 1}
    assert result.n_rejected == 3


def test_detections_of_known_bodies_belong_to_no_object(connection):
    bodies = np.zeros(2, [("ssObjectId", "i8"), ("ra", "f8"), ("dec", "f8")])
    bodies["ssObjectId"], bodies["ra"] = [7, 2**60 + 1], [10.05 + 60.2 * ARCSEC, 10.05 - 300 * ARCSEC]
    bodies["dec"] = 0.05
    run(connection, 1)
    before = current_objects(connection)
    result = run(connection, 2, sources=catalog((60, 0), (0.2, 0)), bodies=bodies, now=61001.0)
    assert (result.n_solar_system, result.n_new, result.n_updated) == (1, 0, 1)
    of_body, of_object = dump(connection, dia_source)["DiaSource"][3:]
    assert (of_body["ssObjectId"], of_body["diaObjectId"]) == (7, None)
    assert (of_object["ssObjectId"], of_object["diaObjectId"]) == (None, before[0]["diaObjectId"])
    assert current_objects(connection)[1]["nDiaSources"] == 1
    _, rows = apdb.load_alert_rows(connection, "camera", 2, 2)
    alert = make_alert(rows[0].dia_source, rows[0].prv_sources, rows[0].prv_forced, rows[0].dia_object)
    assert (alert["diaObject"], alert["prvDiaSources"], alert["diaSource"]["ssObjectId"]) == (None, None, 7)
