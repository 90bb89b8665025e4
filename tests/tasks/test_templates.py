"""Templates on the tiles of the sky: rules, refusals, lineage, and those that are made elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from astra.database.engine import reading
from astra.database.templates import inputs_of_template, templates_of_detector
from astra.errors import AlgorithmError, NoOverlapError
from astra.images.exposure import MASK_NO_DATA
from astra.products.catalogs import read_catalog
from astra.products.exposures import read_exposure
from astra.products.template_files import read_coverage, read_template_inputs
from astra.tasks.diffim import DiffIm
from astra.tasks.dry_run import plan
from astra.tasks.get_template import GetTemplate
from astra.tasks.ingest_template import IngestTemplate
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.template import BuildTemplate
from tests.tasks.night import attempts, build, rows, states

DATES = {"template_visits": "", "template_begin": "2026-10-18", "template_end": "2026-10-21"}


@pytest.fixture
def single(night):
    """Make a task of a family on the first detector of the first science visit."""

    def make(family=GetTemplate, **changes):
        visit, detector = night.pairs[0]
        parameters = {**night.parameters(), "visit": visit, "detector": detector, **changes}
        names = set(family.get_param_names(include_significant=True))
        return family(**{name: value for name, value in parameters.items() if name in names})

    return make


def flux_ratio(one, other):
    """Median ratio of two images where both are bright, smoothed so that their seeing hardly matters."""
    good = [((e.mask & MASK_NO_DATA) == 0) & np.isfinite(e.image) for e in (one, other)]
    good = ndimage.binary_erosion(good[0] & good[1], iterations=20)
    smooth = [ndimage.gaussian_filter(np.nan_to_num(e.image), 5.0) for e in (one, other)]
    bright = good & (smooth[1] > np.sqrt(np.nanmedian(other.variance)))
    assert bright.sum() > 500
    return np.median(smooth[0][bright] / smooth[1][bright])


def last_error(root, task):
    """Class and message of the last failure of a task."""
    query = f"""SELECT error_class, message FROM task_attempt JOIN task ON task.pk = task_pk
                WHERE task_id = '{task.task_id}' ORDER BY task_attempt.pk DESC LIMIT 1"""  # noqa: S608
    return rows(root, query)[0]


def test_the_template_of_a_detector_covers_it_from_several_tiles(processed, single, night):
    task = single()
    template = read_exposure(task.path("template"))
    calexp = read_exposure(task.require(ProcessCcd).path("calexp"))
    assert template.shape == calexp.shape
    assert template.info == calexp.info
    assert ((template.mask & MASK_NO_DATA) == 0).mean() > 0.9
    assert flux_ratio(template, calexp) == pytest.approx(1.0, abs=0.05)
    tiles = task.further_requires()
    assert len(tiles) >= 2
    used = set()
    for tile in tiles:
        coverage = read_coverage(tile.path("coverage"))
        inputs = read_template_inputs(tile.path("inputs"))
        used |= {one.visit for one in inputs if one.used}
        assert coverage.shape == read_exposure(tile.path("template")).shape
        assert 0 < coverage.max() <= sum(one.used for one in inputs)
        assert sum(one.weight for one in inputs if one.used) == pytest.approx(1.0)
        assert all(one.reason for one in inputs if not one.used)
    assert used == set(night.files.template_visits)


def test_the_database_knows_templates_inputs_and_lineage(processed, single):
    task = single()
    tiles = {tile.tile: tile for tile in task.further_requires()}
    with reading(task.database_url) as connection:
        found = templates_of_detector(connection, "simcam", task.visit, task.detector)
        inputs = {row.tile: inputs_of_template(connection, row.path) for row in found}
    assert {row.tile: row.task_id for row in found if row.tile in tiles} == {
        number: tile.task_id for number, tile in tiles.items()
    }
    for row in found:
        assert (row.band, row.collection, row.source) == ("r", "", "")
        assert row.n_inputs == sum(one.used for one in inputs[row.tile])
        assert 0.0 < row.coverage < 1.0
        assert 1.0 < row.fwhm_arcsec < 2.0
    query = f"""SELECT parent.task_id FROM task_dependency JOIN task child ON child.pk = task_pk
                JOIN task parent ON parent.pk = required_task_pk WHERE parent.family = 'BuildTemplate'
                AND parent.batch_size IS NULL AND child.task_id = '{task.task_id}'"""  # noqa: S608
    assert {task_id for (task_id,) in rows(processed, query)} == {tile.task_id for tile in tiles.values()}


def test_visits_of_some_dates_make_the_template_of_the_same_visits_named(processed, night, single):
    before = attempts(processed)
    dated = single(**DATES)
    assert build(dated)
    assert attempts(processed)["ProcessCcd"] == before["ProcessCcd"]
    template, named = (read_exposure(task.path("template")) for task in (dated, single()))
    np.testing.assert_array_equal(template.image, named.image)
    [(reason,)] = [planned.reasons.values() for planned in plan(single(template_max_inputs=1))][-1:]
    assert str(reason) == "missing"


def test_dates_alone_are_enough_to_begin_with_raws(astra_root, night, single):
    task = single(**DATES)
    assert build(task)
    assert len(states(astra_root, "DefineVisits")) == 4
    used = rows(astra_root, "SELECT DISTINCT visit FROM template_input WHERE used ORDER BY visit")
    assert [visit for (visit,) in used] == list(night.files.template_visits)


def test_limits_of_number_and_seeing_leave_out_the_others(processed, single):
    widths = {
        one.visit: one.fwhm_arcsec
        for one in read_template_inputs(single().further_requires()[0].path("inputs"))
        if one.detector == 0
    }
    sharpest = min(widths, key=widths.get)
    task = single(template_max_inputs=1)
    assert build(task)
    inputs = [one for tile in task.further_requires() for one in read_template_inputs(tile.path("inputs"))]
    assert {one.visit for one in inputs if one.used and one.detector == 0} == {sharpest}
    assert any(one.reason == "not among the sharpest 1 visits" for one in inputs)
    task = single(template_max_fwhm_arcsec=0.5)
    assert not build(task)
    [tile] = task.further_requires()[:1]
    error, message = last_error(processed, tile)
    assert error == "NoOverlapError"
    assert "none is left for the template of tile" in message
    assert f"blurred: FWHM {widths[min(widths)]:.2f} above 0.5 arcsec" in message
    assert states(processed, "GetTemplate")[task.visit, task.detector] != "failed"


def test_a_visit_in_its_own_template_is_refused_unless_that_is_allowed(processed, night, single):
    [visit, _] = night.files.science_visits
    visits = f"{night.files.template_visits[0]}^{visit}"
    named = single(template_visits=visits)
    assert not build(named)
    error, message = last_error(processed, named)
    assert error == "ConfigError"
    assert f"visit {visit} is among those that make its own template" in message
    dated = single(**{**DATES, "template_end": "2026-11-21"})
    assert not build(dated)
    assert last_error(processed, dated)[0] == "ConfigError"
    assert build(single(template_visits=visits, allow_own_visit=True))


def test_too_little_cover_is_told_with_the_numbers(processed, single):
    task = single(min_cover=1.0)
    assert not build(task)
    error, message = last_error(processed, task)
    assert error == "NoOverlapError"
    assert "% of its pixels, but 100.0 % are required" in message
    assert attempts(processed)["GetTemplate"] == 5


def test_no_visit_that_fits_is_told_with_what_became_of_each(processed, night, single):
    task = single(template_visits="", template_begin="2020-01-01", template_end="2020-02-01")
    assert not build(task)
    error, message = last_error(processed, task)
    assert error == "NoOverlapError"
    assert "of 5 visits none is left for the template of visit" in message
    assert "5 lie outside the dates" in message


def test_one_member_without_a_template_leaves_the_others_alone(processed, night):
    visits = tuple(
        "^".join(map(str, night.files.template_visits)) if pair != night.pairs[1] else str(pair[0])
        for pair in night.pairs
    )
    batch = GetTemplate(**{**night.parameters(), "template_visits": visits, "rerun": True})
    assert not build(batch)
    expected = {**dict.fromkeys(night.pairs, "done"), night.pairs[1]: "failed"}
    own = states(processed, "GetTemplate")
    failed = [task for task in batch.get_batch_tasks() if task.visit == int(task.template_visits[:13])]
    assert [last_error(processed, task)[0] for task in failed] == ["ConfigError"]
    assert {pair: state for pair, state in own.items() if pair != night.pairs[1]} == {
        pair: state for pair, state in expected.items() if pair != night.pairs[1]
    }


@pytest.mark.parametrize(
    ("error", "state"), [(NoOverlapError, "done"), (AlgorithmError, "failed")], ids=["empty", "broken"]
)
def test_a_detector_does_without_a_tile_on_which_nothing_lies(processed, single, monkeypatch, error, state):
    lost = max(tile.tile for tile in single().further_requires())
    chosen = BuildTemplate.choose_inputs

    def choose(self):
        if self.tile == lost:
            raise error("nothing is here")
        return chosen(self)

    monkeypatch.setattr(BuildTemplate, "choose_inputs", choose)
    task = single(template_max_inputs=2)
    assert build(task) == (state == "done")
    query = f"SELECT state FROM task_state WHERE task_id = '{task.task_id}'"  # noqa: S608
    assert rows(processed, query) == [(state,)]
    if state == "failed":
        found, message = last_error(processed, task)
        assert found == "MissingDataError"
        assert f"the template of tile {lost} of simcam in r is not there: AlgorithmError: nothing" in message
    else:
        whole, part = (read_exposure(made.path("template")) for made in (single(), task))
        empty = [((one.mask & MASK_NO_DATA) > 0).mean() for one in (whole, part)]
        assert empty[1] > 2.0 * empty[0]


def write_foreign(path, exposure, zero_point_mag=27.0):
    """Write an exposure as another program would: counts, weight, a zero point in the header."""
    scale = 10.0 ** (0.4 * (31.4 - zero_point_mag))
    header = exposure.wcs.to_header(relax=True)
    header["MAGZERO"], header["FILTER"] = zero_point_mag, "r.MP9601"
    image = fits.PrimaryHDU((exposure.image / scale).astype(np.float32), header)
    weight = fits.ImageHDU((scale**2 / exposure.variance).astype(np.float32), name="WEIGHT")
    fits.HDUList([image, weight]).writeto(path)
    return path


@pytest.fixture
def foreign(processed, night, single, tmp_path_factory):
    """The calibrated exposure of a template visit, as a file of another program."""
    calexp = single(ProcessCcd, visit=night.files.template_visits[0]).path("calexp")
    return write_foreign(tmp_path_factory.mktemp("foreign") / "deep.fits", read_exposure(calexp))


def test_a_template_of_another_program_is_ingested_and_subtracted(processed, night, single, foreign):
    ingest = IngestTemplate(
        instrument="simcam", path=str(foreign), band="r", name="deep", zero_point_key="MAGZERO"
    )
    assert build(ingest)
    tiles = json.loads(Path(ingest.output()["manifest"].path).read_text())
    assert len(tiles) >= 2
    difference = single(DiffIm, template_visits="", template_name="deep")
    assert build(difference)
    template = read_exposure(difference.require(GetTemplate).path("template"))
    built = read_exposure(single().path("template"))
    assert flux_ratio(template, built) == pytest.approx(1.0, abs=0.03)
    found, expected = (read_catalog(task.path("diaSrc")) for task in (difference, single(DiffIm)))
    strong = expected[abs(expected["snr"]) > 15]
    near = [np.hypot(found["x"] - one["x"], found["y"] - one["y"]).min() < 2 for one in strong]
    assert len(strong) >= 2
    assert all(near)
    query = """SELECT count(*) FROM task_input JOIN task ON task.pk = task_pk JOIN file_version f
               ON f.pk = file_pk WHERE task.family = 'GetTemplate' AND f.path LIKE '%templates%'
               AND task.task_id = '{}'"""
    assert rows(processed, query.format(difference.require(GetTemplate).task_id))[0][0] >= 2
    # Ingested anew, with half the flux: that is what counts from now on.
    again = IngestTemplate(
        **{**ingest.param_kwargs, "zero_point_key": "", "zero_point_mag": 27.0 + 2.5 * np.log10(2.0)}
    )
    assert build(again)
    task = single(template_visits="", template_name="deep", rerun=True)
    assert build(task)
    halved = read_exposure(task.path("template"))
    assert flux_ratio(halved, template) == pytest.approx(0.5, abs=0.01)


def test_a_collection_that_is_not_there_or_lies_elsewhere_is_named(processed, night, single, foreign):
    with fits.open(foreign, mode="update") as hdus:
        hdus[0].header["CRVAL2"] -= 3.0
    common = {"instrument": "simcam", "path": str(foreign), "band": "r", "name": "south"}
    assert build(IngestTemplate(**common, zero_point_key="MAGZERO", psf_fwhm_arcsec=1.4))
    expected = {
        "north": ("MissingDataError", "is ingested as 'north' for simcam; known are south (r)"),
        "south": ("NoOverlapError", "ingested as 'south' covers the image"),
    }
    for name, (error, words) in expected.items():
        task = single(template_visits="", template_name=name)
        assert not build(task)
        found, message = last_error(processed, task)
        assert found == error
        assert words in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"zero_point_key": ""}, "has no zero point"),
        ({"band": "g"}, "must be in band g, its header says FILTER 'r.MP9601'"),
        ({"instrument": "simcm"}, "simcm"),
        ({"name": ""}, "needs a name"),
        ({"zero_point_mag": 27.0}, "give one of zero_point_mag and zero_point_key, which say the same"),
    ],
)
def test_a_template_that_lies_is_refused_by_name(processed, foreign, changes, expected):
    common = {"instrument": "simcam", "path": str(foreign), "band": "r", "name": "deep"}
    task = IngestTemplate(**{**common, "zero_point_key": "MAGZERO", **changes})
    assert not build(task)
    assert expected in last_error(processed, task)[1]
    assert rows(processed, "SELECT count(*) FROM template WHERE collection != ''") == [(0,)]
