from pathlib import Path

import luigi
import pytest

from astra.errors import ConfigError, MissingDataError
from astra.products.sdss_paths import SdssPath
from astra.tasks.batch import is_batchable
from astra.tasks.io import sdss4, sdss5
from astra.tasks.io.by_path import file_task
from astra.tasks.io.local import LocalTargetTask

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
        (sdss5.ApVisitFile, {"fiber", "plate", "field", "mjd", "apred", "telescope"}, {}),
        (sdss5.ApStarFile, {"obj", "healpix", "apstar", "apred", "telescope"}, {"apstar": "stars"}),
        (sdss5.SpecFile, {"catalogid", "mjd", "plate", "run2d"}, {}),
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


@pytest.fixture
def served(sas, tmp_path, monkeypatch):
    """A server that has the file of fibre 7 alone; the value is the list of what it was asked for."""
    asked = []

    def fetch(url, path):
        asked.append(url)
        if not url.endswith("-007.fits"):
            raise MissingDataError(f"{url} does not exist (HTTP 404)", url=url)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"content")

    monkeypatch.setattr("astra.products.download.download", fetch)
    return asked


def build(*tasks):
    return luigi.build(list(tasks), local_scheduler=True, log_level="WARNING", no_lock=True)


def test_file_is_fetched_where_it_may_be_and_again_when_it_is_gone(served, astra_root):
    build(sdss5.ApVisitFile(**VISIT))
    assert served == []
    task = sdss5.ApVisitFile(**VISIT, use_remote=True)
    assert build(task)
    assert served == [task.remote_path]
    assert Path(task.local_path).read_bytes() == b"content"
    assert build(task)
    assert len(served) == 1
    Path(task.local_path).unlink()
    assert not task.complete()
    assert build(task)
    assert len(served) == 2
    assert sdss5.ApVisitFile(**VISIT).complete()


def test_file_that_the_server_lacks_fails_alone(served, astra_root):
    batch = sdss5.ApVisitFile(**VISIT | {"fiber": (7, 8)}, use_remote=True)
    assert not build(batch)
    assert [target.exists() for target in batch.output()] == [True, False]
    assert not build(batch)
    assert [url[-8:-5] for url in served] == ["007", "008", "008"]


def test_unknown_way_of_fetching_is_refused(served, astra_root):
    assert not build(sdss5.ApVisitFile(**VISIT, use_remote=True, remote_access_method="rsync"))
    assert served == []
