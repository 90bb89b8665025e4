"""From raw frames to alerts as tasks: batches, failing members, second runs, reruns."""

import logging
import shutil
from pathlib import Path

import pytest

from astra.alerts.files import read_alerts
from astra.products.catalogs import read_catalog
from astra.tasks.alerts import PackageAlerts
from astra.tasks.ap_pipe import ApPipe
from astra.tasks.association import Associate
from astra.tasks.batch import merge_tasks
from astra.tasks.diffim import DiffIm
from astra.tasks.exposures import IngestRaws
from astra.tasks.get_template import GetTemplate
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.visits import DefineVisits
from tests.tasks.night import attempts, build, rows, sqlite_rows, states

FAMILIES = ("ProcessCcd", "BuildTemplate", "GetTemplate", "DiffIm", "Associate", "PackageAlerts", "ApPipe")


def of(task, family, visit, detector):
    """The single task of a family that a member of a batch requires."""
    member = next(m for m in task.get_batch_tasks() if (m.visit, m.detector) == (visit, detector))
    return member.require(family)


def tiles_of(task, **changes):
    """The templates of all tiles that the members of a batch lie on, as one batch."""
    members = task.require(GetTemplate).get_batch_tasks()
    [template] = merge_tasks(tile for member in members for tile in member.further_requires())
    return type(template)(**{**template.param_kwargs, **changes})


def test_every_member_of_every_step_is_done(processed, night):
    for family in ("GetTemplate", "DiffIm", "Associate", "PackageAlerts", "ApPipe"):
        assert states(processed, family) == dict.fromkeys(night.pairs, "done")
    assert set(states(processed, "ProcessCcd").values()) == {"done"}
    assert len(states(processed, "ProcessCcd")) == 10
    tiles = states(processed, "BuildTemplate")
    assert set(tiles.values()) == {"done"}
    assert len(tiles) >= 2


def test_bright_transients_are_found(processed, night):
    truth = read_catalog(night.files.truth_path)
    found = missed = 0
    for visit, detector in night.pairs:
        sources = read_catalog(of(night.pipeline(), DiffIm, visit, detector).path("diaSrc"))
        wanted = truth[(truth["visit"] == visit) & (truth["detector"] == detector)]
        typical_error = sources["psfFluxErr"].mean()
        inside = (abs(wanted["x"] - 299.5) < 275) & (abs(wanted["y"] - 255.5) < 231)  # where templates reach
        for row in wanted[inside & (abs(wanted["flux"]) > 10 * typical_error)]:
            near = abs(sources["x"] - row["x"]) + abs(sources["y"] - row["y"]) < 3
            found, missed = found + near.any(), missed + (not near.any())
    assert found >= 10
    assert missed == 0


def test_every_stored_detection_has_an_alert(processed, night):
    for visit, detector in night.pairs:
        alerts = read_alerts(processed / "alerts" / f"{visit}_{detector}.avro")
        query = f"SELECT diaSourceId FROM DiaSource WHERE visit = {visit} AND detector = {detector}"  # noqa: S608
        assert sorted(alert["diaSourceId"] for alert in alerts) == sorted(
            row[0] for row in rows(processed, query)
        )
        assert all(
            alert["cutoutScience"] and alert["cutoutTemplate"] and alert["cutoutDifference"]
            for alert in alerts
        )


def test_the_second_visit_knows_the_objects_of_the_first(processed, night):
    [(updated,)] = rows(
        processed,
        f"SELECT sum(n_updated_objects) FROM apdb_marker WHERE visit = {night.files.science_visits[1]}",  # noqa: S608
    )
    assert updated >= 5
    alerts = read_alerts(processed / "alerts" / f"{night.files.science_visits[1]}_0.avro")
    assert any(alert["prvDiaSources"] for alert in alerts)


def test_a_plain_second_run_does_nothing(processed, night):
    before = attempts(processed), sqlite_rows(processed)
    assert build(night.pipeline())
    assert (attempts(processed), sqlite_rows(processed)) == before


def test_a_new_raw_in_the_folder_is_ingested(astra_root, night, tmp_path_factory):
    folder = tmp_path_factory.mktemp("raws")
    first, second = night.files.raw_paths[:2]
    (folder / first.name).write_bytes(first.read_bytes())
    assert build(IngestRaws(instrument="simcam", path=str(folder)))
    assert rows(astra_root, "SELECT count(*) FROM raw") == [(1,)]
    (folder / second.name).write_bytes(second.read_bytes())
    assert build(IngestRaws(instrument="simcam", path=str(folder)))
    assert rows(astra_root, "SELECT count(*) FROM raw") == [(2,)]


def test_one_path_to_ingest_fails_alone(astra_root, night):
    paths = (str(night.files.raw_paths[0]), str(astra_root / "absent.fits"), str(night.files.raw_paths[1]))
    assert not build(IngestRaws(instrument="simcam", path=paths))
    assert rows(astra_root, "SELECT count(*) FROM raw") == [(2,)]
    [(message,)] = rows(astra_root, "SELECT message FROM task_attempt WHERE error_class = 'MissingDataError'")
    assert "absent.fits does not exist" in message


def test_one_visit_to_define_fails_alone(astra_root, night):
    good = night.files.science_visits
    assert not build(DefineVisits(instrument="simcam", raw=night.raw, exposure=(good[0], 12, good[1])))
    assert states(astra_root, "DefineVisits") == {(good[0],): "done", (12,): "failed", (good[1],): "done"}


@pytest.mark.parametrize(
    ("step", "upstream", "kind"),
    [(DiffIm, ProcessCcd, "calexp"), (Associate, DiffIm, "diaSrc"), (PackageAlerts, DiffIm, "diffexp")],
)
def test_one_member_of_a_step_fails_alone(processed, night, step, upstream, kind):
    visit, detector = night.pairs[1]
    pipeline = night.pipeline()
    of(pipeline, upstream, visit, detector).path(kind).unlink()
    assert not build(pipeline.require(step, rerun=True))
    expected = {**dict.fromkeys(night.pairs, "done"), (visit, detector): "failed"}
    assert states(processed, step.__name__) == expected


def test_one_tile_of_a_template_fails_alone(processed, night):
    template = tiles_of(night.pipeline(), rerun=True)
    first = next(iter(template.get_batch_tasks()))
    folder = first.path("template").parent
    shutil.rmtree(folder)
    folder.write_text("no folder")
    assert not build(template)
    found = states(processed, "BuildTemplate")
    assert found == {**dict.fromkeys(found, "done"), (first.tile,): "failed"}
    assert len(found) >= 2


def test_detectors_to_calibrate_fail_alone_and_what_follows_goes_on(astra_root, night, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    for path in night.files.raw_paths:
        (folder / path.name).write_bytes(path.read_bytes())
    assert build(IngestRaws(instrument="simcam", path=str(folder)))
    lost, of_template = night.pairs[2], (night.files.template_visits[1], 0)
    for visit, detector in (lost, of_template):
        query = f"SELECT path FROM raw WHERE exposure = {visit} AND detector = {detector}"  # noqa: S608
        [(raw,)] = rows(astra_root, query)
        Path(raw).write_bytes(Path(raw).read_bytes()[:20000])
    assert not build(night.pipeline(raw=""))
    calibrated = states(astra_root, "ProcessCcd")
    assert {pair for pair, state in calibrated.items() if state == "failed"} == {lost, of_template}
    for family in ("GetTemplate", "DiffIm", "Associate", "PackageAlerts", "ApPipe"):
        expected = {**dict.fromkeys(night.pairs, "done"), lost: "dependency missing"}
        assert states(astra_root, family) == expected
    # A template does without what could not be calibrated, and says so.
    query = "SELECT DISTINCT visit, detector, reason FROM template_input WHERE reason LIKE 'not calibrated%'"
    [(visit, detector, reason)] = rows(astra_root, query)
    assert (visit, detector) == of_template
    assert "FormatError" in reason
    used = set(rows(astra_root, "SELECT DISTINCT visit, detector FROM template_input WHERE used"))
    assert used == {(v, d) for v in night.files.template_visits for d in (0, 1)} - {of_template}


@pytest.mark.parametrize(
    ("reuse", "ran"),
    [
        ("nothing", set(FAMILIES)),
        ("ccdProcessor", {"GetTemplate", "DiffIm", "Associate", "PackageAlerts", "ApPipe"}),
        ("differencer", {"Associate", "PackageAlerts", "ApPipe"}),
        ("diaPipe", {"ApPipe"}),
        ("all", {"ApPipe"}),
    ],
)
def test_rerun_runs_every_step_that_is_not_reused(processed, night, reuse, ran, caplog):
    before = attempts(processed), sqlite_rows(processed)
    [pair] = night.pairs[:1]
    with caplog.at_level(logging.WARNING, logger="luigi-interface"):
        assert build(night.pipeline([pair], rerun=True, reuse=reuse))
    after = attempts(processed)
    assert {family for family in FAMILIES if after[family] > before[0][family]} == ran
    assert ("results may mix" in caplog.text) == (reuse in {"diaPipe", "all"})
    if reuse in {"diaPipe", "all"}:
        assert sqlite_rows(processed) == before[1]


def test_a_rerun_of_everything_gives_the_same_tables(processed, night):
    before = sqlite_rows(processed)
    assert build(night.pipeline(rerun=True))
    assert sqlite_rows(processed) == before


def test_other_parameters_do_not_silently_replace_an_association(processed, night):
    [pair] = night.pairs[:1]
    before = sqlite_rows(processed)
    other = Associate(**{**night.parameters([pair]), "radius_arcsec": 2.0})
    assert not build(other)
    assert sqlite_rows(processed) == before
    [(message,)] = rows(
        processed, "SELECT message FROM task_attempt WHERE error_class LIKE 'Conflicting%' LIMIT 1"
    )
    assert "give --rerun to replace" in message


def test_steps_can_be_called_alone(astra_root, night):
    single = ApPipe(
        **{
            name: value[0] if isinstance(value, tuple) else value
            for name, value in night.parameters([night.pairs[0]]).items()
        }
    )
    single.run_process_ccd()
    assert set(attempts(astra_root)) == {"IngestRaws", "DefineVisits", "ProcessCcd"}
    single.run_diff_im()
    assert "Associate" not in attempts(astra_root)
    single.run_association()
    assert attempts(astra_root)["Associate"] == 1
    assert "PackageAlerts" not in attempts(astra_root)


def test_the_result_names_the_steps_that_ran(processed, night):
    assert build(night.pipeline(night.pairs[:1], rerun=True, reuse="ccdProcessor"))
    query = """SELECT key, value FROM task_metadata JOIN task ON task.pk = task_pk WHERE family = 'ApPipe'
               AND json_extract(parameters, '$.visit') = '{}'
               AND json_extract(parameters, '$.detector') = '{}'"""
    found = dict(rows(processed, query.format(*night.pairs[0])))
    assert found["ApPipe:result.ccdProcessor"] == "null"
    assert "DiffIm_" in found["ApPipe:result.differencer"]
    assert "Associate_" in found["ApPipe:result.diaPipe"]
    assert "astra.db" in found["ApPipe:result.apdb"]


def test_a_copy_of_a_raw_is_the_same_exposure(astra_root, night, tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies")
    first = night.files.raw_paths[0]
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / first.name).write_bytes(first.read_bytes())
    assert build(IngestRaws(instrument="simcam", path=str(folder)))
    assert rows(astra_root, "SELECT count(*) FROM raw") == [(1,)]
    before = attempts(astra_root)
    assert build(IngestRaws(instrument="simcam", path=str(folder)))
    assert attempts(astra_root) == before


def test_a_detector_that_comes_late_reaches_its_visit(astra_root, night):
    visit = night.files.science_visits[0]
    raws = [path for path in night.files.raw_paths if str(visit) in path.name.replace("_", "")]
    raws = raws or sorted(night.files.raw_paths)[-4:-2]
    for number, path in enumerate(raws, start=1):
        assert build(IngestRaws(instrument="simcam", path=str(path)))
        [(exposure,)] = rows(astra_root, "SELECT DISTINCT exposure FROM raw")
        assert build(DefineVisits(instrument="simcam", exposure=exposure))
        assert rows(astra_root, "SELECT count(*) FROM raw") == [(number,)]
        # One raw is enough for the regions of all detectors of the camera.
        assert rows(astra_root, "SELECT count(*) FROM visit_detector_region") == [(4,)]
    assert number == 2


def test_a_replaced_association_is_no_longer_done(processed, night):
    [pair] = night.pairs[:1]
    mine = Associate(**night.parameters([pair]))
    other = Associate(**{**night.parameters([pair]), "radius_arcsec": 2.0})
    assert build(Associate(**{**other.param_kwargs, "rerun": True}))
    assert other.complete()
    assert not mine.complete()
    assert not PackageAlerts(**night.parameters([pair])).complete()
