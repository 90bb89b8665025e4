"""However files of injected sources get into the place of real ones, nothing of them becomes an alert."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from astra.errors import DataError
from astra.images.injection import INJECTED_PLANES
from astra.products.catalogs import read_catalog
from astra.products.exposures import read_exposure, write_exposure
from astra.tasks.alerts import PackageAlerts
from astra.tasks.association import Associate
from astra.tasks.diffim import DiffIm
from astra.tasks.get_template import GetTemplate
from astra.tasks.ingest_template import IngestTemplate
from astra.tasks.injection import DiffImInjected, InjectSources
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.template import BuildTemplate
from tests.tasks.night import APDB_TABLES, build, copy_root, rows

INJECTIONS = "n_isolated=12,n_hosted=0,n_trails=0,n_negative=0,spacing_pixel=25,snr_min=20"
ONLY_NEGATIVE = "n_isolated=0,n_hosted=0,n_trails=0,n_negative=12,spacing_pixel=25,snr_min=20"


def of_one(night, family, **changes):
    """A task on the first detector of the first visit."""
    visit, detector = night.pairs[0]
    common = {**night.parameters(night.pairs[:1]), "visit": visit, "detector": detector, **changes}
    return family(**{name: value for name, value in common.items() if name in family.get_param_names(True)})


@pytest.fixture(scope="module")
def injected_root(processed_root, night, tmp_path_factory):
    """A processed root with differences that have injected sources, of science and of template."""
    root = tmp_path_factory.mktemp("with_injections")
    copy_root(processed_root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASTRA_ROOT", str(root))
        assert build(
            *(of_one(night, DiffImInjected, injections=text) for text in (INJECTIONS, ONLY_NEGATIVE))
        )
    return root


@pytest.fixture
def root(injected_root, tmp_path, monkeypatch):
    """A copy of it to tamper with."""
    # Products are links: whoever changes one writes another file in its place.
    shutil.copytree(injected_root, tmp_path / "root", copy_function=_link_or_copy)
    monkeypatch.setenv("ASTRA_ROOT", str(tmp_path / "root"))
    return tmp_path / "root"


def _link_or_copy(source, target):
    return shutil.copy2(source, target) if "astra.db" in Path(source).name else os.link(source, target)


def swap(night, real, kind, injected, injections=INJECTIONS, *, forget_record=False):
    """Put a product with injected sources in the place of a real one."""
    source = of_one(night, injected, injections=injections).path(kind)
    target = of_one(night, real).path(kind)
    target.unlink()
    if not forget_record:
        shutil.copyfile(source, target)
        return
    exposure = read_exposure(source)
    metadata = {key: value for key, value in exposure.metadata.items() if key != "NINJECT"}
    write_exposure(target, exposure.replace(metadata=metadata))


def contents(root):
    """Rows of the survey, and the alerts."""
    tables = {name: rows(root, f"SELECT count(*) FROM {name}") for name in APDB_TABLES}  # noqa: S608
    return tables, {path.name: path.read_bytes() for path in (root / "alerts").iterdir()}


@pytest.mark.parametrize(
    "case",
    [
        (ProcessCcd, "calexp", InjectSources, {}),
        (ProcessCcd, "calexp", InjectSources, {"forget_record": True}),
        (DiffIm, "diffexp", DiffImInjected, {}),
        (DiffIm, "diffexp", DiffImInjected, {"injections": ONLY_NEGATIVE}),
        (DiffIm, "diffexp", DiffImInjected, {"injections": ONLY_NEGATIVE, "forget_record": True}),
        (DiffIm, "diaSrc", DiffImInjected, {}),
        (DiffIm, "diaSrc", DiffImInjected, {"injections": ONLY_NEGATIVE}),
    ],
)
def test_association_refuses_them(root, night, caplog, case):
    before = contents(root)
    *what, changes = case
    swap(night, *what, **changes)
    with caplog.at_level("ERROR"):
        assert not build(of_one(night, Associate, rerun=True))
    assert "must not get into templates, the tables of the survey or its alerts" in caplog.text
    assert contents(root) == before


@pytest.mark.parametrize(
    "case",
    [
        (ProcessCcd, "calexp", InjectSources, {"forget_record": True}),
        (DiffIm, "diffexp", DiffImInjected, {}),
        (GetTemplate, "template", InjectSources, {"injections": ONLY_NEGATIVE}),
    ],
)
def test_cutouts_do_not_show_them(root, night, caplog, case):
    before = contents(root)
    *what, changes = case
    swap(night, *what, **changes)
    with caplog.at_level("ERROR"):
        assert not build(of_one(night, PackageAlerts, rerun=True))
    assert "must not get into" in caplog.text
    assert contents(root) == before


def test_the_whole_pipeline_stops_before_the_tables(root, night, caplog):
    before = contents(root)
    swap(night, ProcessCcd, "calexp", InjectSources)
    swap(night, DiffIm, "diffexp", DiffImInjected)
    swap(night, DiffIm, "diaSrc", DiffImInjected)
    with caplog.at_level("ERROR"):
        assert not build(night.pipeline(night.pairs[:1], rerun=True, reuse="differencer"))
    assert "must not get into" in caplog.text
    assert contents(root) == before


def test_templates_are_not_made_of_them(root, night, caplog):
    source = of_one(night, InjectSources, injections=INJECTIONS).path("calexp")
    ingest = IngestTemplate(instrument="simcam", path=str(source), band="r", name="with sources")
    with caplog.at_level("ERROR"):
        assert not build(ingest)
    assert "12 injected sources, which must not get into templates" in caplog.text
    assert not list((root / "products" / "simcam" / "templates" / "ingested").glob("*"))
    build_template = of_one(night, GetTemplate).further_requires()[0]
    assert isinstance(build_template, BuildTemplate)
    [first, *_] = build_template.choose_inputs()
    Path(first.path).unlink()
    shutil.copyfile(source, first.path)
    with pytest.raises(DataError, match="injected sources, which must not get into templates"):
        build_template.coadd([first])


def test_a_template_that_only_its_mask_tells_is_told_on_the_difference(root, night):
    found = read_exposure(of_one(night, DiffImInjected, injections=ONLY_NEGATIVE).path("diffexp"))
    assert "NINJECT" not in found.metadata
    assert np.bitwise_or.reduce(found.mask, axis=None) & INJECTED_PLANES
    detected = read_catalog(of_one(night, DiffImInjected, injections=ONLY_NEGATIVE).path("diaSrc"))
    assert detected["pixelFlags_injected_template"].sum() >= 10
    assert not detected["pixelFlags_injected"].any()
