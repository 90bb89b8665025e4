"""The imaging tasks under the runner: same products, timed steps, schemas as they are written."""

import json

import numpy as np

import astra
from astra.products.catalogs import read_catalog
from astra.tasks.diffim import DiffIm
from astra.tasks.process_ccd import ProcessCcd
from tests.tasks.night import rows


def test_detectors_come_out_of_processes_as_out_of_luigi(night, processed):
    parameters = night.parameters()
    config = {name: parameters[name] for name in ("instrument", "raw", "reference_catalog")}
    data_ids = [{"visit": visit, "detector": detector} for visit, detector in night.pairs[:2]]
    task = ProcessCcd(**config, **data_ids[0])
    before = read_catalog(task.path("src"))
    stamp = task.path("src").stat().st_mtime_ns
    results = astra.run(ProcessCcd, data_ids, config=config, processes=2, do_return_results=True)
    assert [result.exitStatus for result in results] == [0, 0]
    assert task.path("src").stat().st_mtime_ns > stamp
    after = read_catalog(task.path("src"))
    for name in before.dtype.names:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    used = results[0].metadata
    assert used["ProcessCcd.calibrateEndCpuTime"] > used["ProcessCcd.calibrateStartCpuTime"]
    path = processed / "provenance" / "src_schema.json"
    assert [column["name"] for column in json.loads(path.read_text())] == list(after.dtype.names)


def test_schemas_are_those_of_the_products(night, processed):
    parameters = night.parameters()
    visit, detector = night.pairs[0]
    for family, kind in ((ProcessCcd, "src"), (DiffIm, "diaSrc")):
        common = {name: parameters[name] for name, _ in family.get_params() if name in parameters}
        task = family(**{**common, "visit": visit, "detector": detector})
        table = task.get_schema_catalogs()[kind]
        written = read_catalog(task.path(kind))
        assert table.dtype.names == written.dtype.names
        for name in written.dtype.names:
            assert table.dtype[name].newbyteorder("=") == written.dtype[name].newbyteorder("="), name


def test_each_step_is_timed_in_the_database(processed):
    keys = {key for (key,) in rows(processed, "SELECT DISTINCT key FROM task_metadata")}
    for family, step in (
        ("ProcessCcd", "calibrate"),
        ("BuildTemplate", "coadd"),
        ("GetTemplate", "resample"),
        ("DiffIm", "subtract"),
        ("Associate", "associate"),
        ("PackageAlerts", "package"),
    ):
        assert {f"{family}:run.{step}{edge}CpuTime" for edge in ("Start", "End")} <= keys
