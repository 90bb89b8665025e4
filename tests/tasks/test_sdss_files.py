from pathlib import Path

import luigi
import numpy as np
import pytest
from astropy.io import fits

from astra.errors import ConfigError
from astra.products.sdss_paths import SdssPath
from astra.products.spectra import read_ap_star
from astra.tasks.batch import is_batchable
from astra.tasks.io import sdss4, sdss5
from astra.tasks.io.by_path import file_task
from astra.tasks.io.keys import NameKey, NumberKey
from astra.tasks.io.local import LocalTargetTask
from tests.products.synthetic_spectra import write_ap_star

VISIT = {"fiber": 7, "plate": "15000", "field": "13030", "mjd": 59146, "apred": "1.3", "telescope": "apo25m"}
STAR = {"obj": "2M00000000+0000000", "healpix": 12345, "apred": "daily", "telescope": "apo25m"}
SPEC = {"catalogid": 4544940698, "mjd": 59205, "plate": "15143", "run2d": "v6_2_1"}
VISIT_IV = {**VISIT, "apred": "r12", "telescope": "lco25m", "field": "000+14", "release": "dr16"}
STAR_IV = {"obj": "2M00000000+0000000", "field": "000+14", "apred": "r12", "telescope": "apo25m"}
SPEC_IV = {"fiberid": 1, "plateid": 266, "mjd": 51602, "run2d": "26", "release": "dr17"}

ALL = [
    (sdss5.ApVisitFile, VISIT),
    (sdss5.ApStarFile, STAR),
    (sdss5.SpecFile, SPEC),
    (sdss4.ApVisitFile, VISIT_IV),
    (sdss4.ApStarFile, STAR_IV),
    (sdss4.SpecFile, SPEC_IV),
]


@pytest.fixture
def sas(tmp_path, monkeypatch):
    monkeypatch.setenv("SAS_BASE_DIR", str(tmp_path / "sas"))
    return tmp_path / "sas"


@pytest.mark.parametrize(
    ("task_class", "batchable", "defaults"),
    [
        (sdss5.ApVisitFile, {"fiber", "plate", "field", "mjd", "apred", "telescope"}, {"apred": ""}),
        (
            sdss5.ApStarFile,
            {"obj", "healpix", "apstar", "apred", "telescope"},
            {"apstar": "stars", "apred": ""},
        ),
        (sdss5.SpecFile, {"catalogid", "mjd", "plate", "run2d"}, {"run2d": ""}),
    ],
)
def test_parameters_are_those_of_the_task_api(task_class, batchable, defaults):
    parameters = dict(task_class.get_params())
    own = {name: parameter for name, parameter in parameters.items() if is_batchable(parameter)}
    assert set(own) == batchable
    assert all(parameter.significant for parameter in own.values())
    found = {name: parameter._default for name, parameter in own.items()}
    assert {name: value for name, value in found.items() if isinstance(value, str)} == defaults
    common = {
        "release": ("sdss5", True),
        "public": (False, False),
        "use_remote": (False, False),
        "remote_access_method": ("http", False),
        "mirror": (False, False),
        "verbose": (True, False),
    }
    for name, (default, significant) in common.items():
        assert (parameters[name]._default, parameters[name].significant) == (default, significant)


def test_classes_descend_as_in_the_task_api():
    assert issubclass(sdss5.ApVisitFile, sdss5.SDSS5DataModelTask)
    assert issubclass(sdss5.SDSS5DataModelTask, sdss5.SDSSDataModelTask)
    parameters = dict(sdss5.SDSSDataModelTask.get_params())
    assert parameters["public"]._default is True
    names = [task_class.sdss_data_model_name for task_class, _ in ALL]
    assert names == ["apVisit", "apStar", "spec"] * 2


@pytest.mark.parametrize("name", ["ApVisitFile", "ApStarFile", "SpecFile"])
def test_both_surveys_are_found_by_name(name):
    registry = luigi.task_register.Register
    assert registry.get_task_cls(name) is getattr(sdss5, name)
    assert registry.get_task_cls(f"sdss4.{name}") is getattr(sdss4, name)


@pytest.mark.parametrize(("task_class", "keys"), ALL)
def test_paths_are_those_of_the_resolver_and_lead_back_to_the_task(sas, task_class, keys):
    task = task_class(**keys)
    release = keys.get("release") or task.release
    paths = SdssPath(release, sas)
    assert task.tree.sas_base_dir == str(sas)
    assert task.output().path == task.local_path == paths.full(task.sdss_data_model_name, **keys)
    assert task.remote_path == task.output().url == paths.url(task.sdss_data_model_name, **keys)
    rest = {name: value for name, value in keys.items() if name != "release"}
    assert task_class.get_local_path(release, **rest) == task.local_path
    location = paths.location(task.sdss_data_model_name, **keys)
    for path in (location, task.local_path):
        again = file_task(task.sdss_data_model_name, path)
        assert type(again) is task_class
        assert again.local_path == task.local_path


def test_file_outside_the_tree_is_known_by_its_path(sas, tmp_path):
    for path in (tmp_path / "v.fits", sas / "v.fits", sas / "dr17/apogee/v.fits"):
        task = file_task("apVisit", str(path))
        assert isinstance(task, LocalTargetTask)
        assert not task.complete()
        assert str(path) in task.why_incomplete()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert task.complete()
    assert isinstance(file_task("specLite", "dr20/spectro/boss/x.fits"), LocalTargetTask)


def test_batch_has_the_files_of_its_members(sas):
    batch = sdss5.ApVisitFile(**VISIT | {"fiber": (7, 8), "mjd": (59146, 59147)})
    assert [target.path for target in batch.output()] == [task.local_path for task in batch.get_batch_tasks()]
    with pytest.raises(ValueError, match="a path for each member"):
        _ = batch.local_path


def test_missing_file_is_one_sentence_with_path_and_address(sas, caplog):
    task = sdss5.ApVisitFile(**VISIT)
    assert not task.complete()
    sentence = f"{task.local_path} does not exist; the survey has it at {task.remote_path}"
    assert task.why_incomplete() == sentence
    assert [record.message for record in caplog.records] == [sentence]
    batch = sdss5.ApVisitFile(**VISIT | {"fiber": (7, 8)})
    assert batch.why_incomplete() == f"2 of 2 files do not exist; the first: {sentence}"


def test_file_is_done_when_it_is_there_compressed_or_not(sas):
    task = sdss5.ApVisitFile(**VISIT)
    location = sas / SdssPath("sdss5", sas).location("apVisit", **VISIT)
    location.parent.mkdir(parents=True)
    location.with_name(location.name + ".gz").touch()
    assert task.complete()
    assert task.local_path.endswith(".fits.gz")


def test_wrong_release_is_refused_by_name(sas):
    with pytest.raises(ConfigError, match="'dr99' is not known"):
        _ = sdss5.ApVisitFile(**VISIT, release="dr99").local_path


def test_command_line_answers_a_missing_file_with_its_sentence(sas, run_luigi, astra_root):
    arguments = [item for name, value in VISIT.items() for item in (f"--{name}", value)]
    result = run_luigi("ApVisitFile", *arguments)
    assert result.returncode == 20
    task = sdss5.ApVisitFile(**VISIT)
    assert f"{task.local_path} does not exist; the survey has it at {task.remote_path}" in result.stderr


def test_missing_file_has_status_60(sas, astra_root):
    batch = sdss5.ApVisitFile(**VISIT | {"fiber": (7, 8)})
    touch(next(batch.get_batch_tasks()).local_path)
    build(batch)
    states = [task.query_state().one_or_none() for task in batch.get_batch_tasks()]
    assert states[0] is None
    assert states[1].status_code == 60


def build(*tasks):
    return luigi.build(list(tasks), local_scheduler=True, log_level="WARNING", no_lock=True)


def touch(path, content=b"content"):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)


def test_keys_are_the_same_as_number_and_as_text(sas):
    texts = sdss5.ApVisitFile(**{name: str(value) for name, value in VISIT.items()})
    numbers = sdss5.ApVisitFile(**VISIT | {"plate": 15000, "field": 13030, "mjd": np.int32(59146)})
    assert texts.task_id == numbers.task_id == sdss5.ApVisitFile(**VISIT).task_id
    assert (texts.fiber, numbers.plate, numbers.mjd) == (7, "15000", 59146)
    batch = sdss5.ApVisitFile(**VISIT | {"plate": (15000, "15001"), "fiber": ("7", 8)})
    assert (batch.plate, batch.fiber) == (("15000", "15001"), (7, 8))
    with pytest.raises(ConfigError, match="key fiber must be a non-negative integer, not 'seven'"):
        _ = sdss5.ApVisitFile(**VISIT | {"fiber": "seven"}).local_path
    with pytest.raises(ConfigError, match="key field must be a single name in a path"):
        _ = sdss5.ApVisitFile(**VISIT | {"field": "../../.."}).local_path


def test_reduction_that_is_left_out_is_that_of_the_release(sas):
    keys = {name: value for name, value in VISIT.items() if name != "apred"}
    task = sdss5.ApVisitFile(**keys, release="dr19")
    assert task.apred == "1.3"
    assert task.task_id == sdss5.ApVisitFile(**keys, apred="1.3", release="dr19").task_id
    batch = sdss5.ApVisitFile(**keys | {"fiber": (7, 8), "apred": ("", "1.4")}, release="DR19")
    assert batch.apred == ("1.3", "1.4")
    assert sdss4.SpecFile(fiberid=1, plateid=266, mjd=51602, release="dr17").run2d == "v5_13_2"
    with pytest.raises(ConfigError, match="dr18 has no product 'apVisit'"):
        _ = sdss5.ApVisitFile(**keys, release="dr18").local_path


def test_kind_of_a_spectrum_is_part_of_its_identity(sas):
    tasks = {kind: sdss5.SpecFile(**SPEC, kind=kind) for kind in ("full", "lite", "spSpec")}
    assert len({task.task_id for task in tasks.values()}) == 3
    for kind, name in (("full", "specFull"), ("lite", "specLite"), ("spSpec", "spSpec")):
        assert tasks[kind].local_path == tasks[kind].tree.full(name, **SPEC)
        again = file_task(name, tasks[kind].local_path)
        assert (again.kind, again.local_path) == (kind, tasks[kind].local_path)
    plates = sdss5.SpecFile(**SPEC | {"run2d": "v6_0_4"})
    assert plates.local_path.endswith("v6_0_4/15143p/coadd/59205/spSpec-15143-59205-04544940698.fits")
    other = plates.tree.full("specFull", **SPEC | {"run2d": "v6_0_4"})
    assert isinstance(
        file_task("specFull", other), LocalTargetTask
    )  # of those reductions no task stands for it


def test_tasks_of_two_releases_live_side_by_side(sas):
    first, second = sdss5.ApVisitFile(**VISIT), sdss5.ApVisitFile(**VISIT, release="dr19")
    old = sdss4.ApVisitFile(**VISIT_IV)
    paths = [task.local_path for task in (first, second, old)]
    _ = (old.remote_path, second.remote_path, first.remote_path)
    assert [task.local_path for task in (first, second, old)] == paths
    assert [path.removeprefix(f"{sas}/").split("/")[0] for path in paths] == ["sdsswork", "dr19", "dr16"]


def test_star_is_written_and_read_again(tmp_path):
    spectrum = read_ap_star(write_ap_star(tmp_path / "star.fits", n_visits=2))
    for number, writer in enumerate((sdss5.ApStarFile.writer, sdss5.ApStarFile(**STAR).writer)):
        path = tmp_path / f"{number}.fits"
        assert writer(spectrum, path, cards={"PIPELINE": "mine"}) is True
        again = read_ap_star(path)
        np.testing.assert_allclose(again.flux, spectrum.flux, rtol=1e-6)
        assert fits.getheader(path)["PIPELINE"] == "mine"


def test_relationships_of_a_star_are_the_keys_of_its_rows(astra_root):
    star = sdss5.ApStarFile(**STAR)
    keywords = star.get_or_create_data_model_relationships()
    assert keywords == {"apogee_star_pk": (star.query_state().one().pk,)}
    assert star.get_or_create_data_model_relationships() == keywords
    batch = sdss5.ApStarFile(**STAR | {"obj": ("2M2", STAR["obj"], "2M2")})
    found = batch.get_or_create_data_model_relationships()["apogee_star_pk"]
    assert (found[1], found[0]) == (keywords["apogee_star_pk"][0], found[2])
    assert len(set(found)) == 2


class WholeMwmStarFile(sdss5.SDSS5DataModelTask):
    """What a user declares for a product that has no task here."""

    sdss_data_model_name = "mwmStar"

    sdss_id = NumberKey(description="Identifier of the star.")
    v_astra = NameKey(default="", description="Version of astra.")


def test_any_product_becomes_a_task_by_its_name_and_keys(sas):
    batch = WholeMwmStarFile(sdss_id=(103020000, "103020001"), release="dr19")
    places = [target.location for target in batch.output()]
    top = "dr19/spectro/astra/0.6.0/spectra/star/00"
    assert places == [f"{top}/0{n}/mwmStar-0.6.0-10302000{n}.fits" for n in (0, 1)]
    assert WholeMwmStarFile(sdss_id=1, v_astra="0.5", release="dr19").remote_path.endswith(
        "mwmStar-0.5-1.fits"
    )
