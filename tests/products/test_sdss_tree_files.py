import json
import subprocess
import sys
from pathlib import Path

import pytest

from astra.errors import ConfigError
from astra.products.sdss_path_tables import templates
from astra.products.sdss_paths import SdssPath
from astra.products.sdss_tree_files import _installed_folder, read_tree, tree_folder, tree_releases

# Made by sdss_access 3.0.11 with sdss-tree 4.1.4, whose functions these are: release, product, keys, path.
FROZEN_FILE = Path(__file__).parent / "sdss_access_paths.jsonl"
FROZEN = [json.loads(line) for line in FROZEN_FILE.read_text().splitlines()]
FIRST = """
[DEFAULT]
FILESYSTEM = @FILESYSTEM@
name = dr98
[general]
SAS_ROOT = %(FILESYSTEM)s/%(name)s
[BOSS]
BOSS_ROOT = %(SAS_ROOT)s/boss
[APOGEE]
SAS_ROOT = %(FILESYSTEM)s/%(name)s
APOGEE_DATA = %(SAS_ROOT)s/apogee/data
CALIBRATION = $APOGEE_DATA/{apred}/cal
PLATELIST_DIR = $PRODUCT_ROOT/platelist
[PATHS]
apR = $APOGEE_DATA/{mjd}/apR-{chip}-{num:0>8}.apz
apCal = $CALIBRATION/apCal-{num:0>8}.fits.gz
plate = $PLATELIST_DIR/@platedir|/plate-{plateid:0>6}.par
apVisit = $APOGEE_DATA/never/{mjd}
strange = $APOGEE_DATA/@nobody|/{mjd}
"""
SECOND = """
[DEFAULT]
name = dr99
base = dr98
[PATHS]
apR = $APOGEE_DATA/{mjd}/new/apR-{chip}-{num:0>8}.apz
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dr98.cfg").write_text(FIRST)
    (tmp_path / "dr99.cfg").write_text(SECOND)
    return tmp_path


def test_release_has_what_its_base_has_and_overrides_it(folder):
    keys = {"mjd": 59146, "chip": "a", "num": 123}
    old, new = (SdssPath(name, "/sas", tree_dir=folder) for name in ("dr98", "DR99"))
    assert old.full("apR", **keys) == "/sas/dr98/apogee/data/59146/apR-a-00000123.apz"
    assert new.full("apR", **keys) == "/sas/dr99/apogee/data/59146/new/apR-a-00000123.apz"
    assert new.extract("apR", new.url("apR", **keys)) == keys | {"num": "123"}
    assert new.url("apCal", apred="r1", num=5).endswith("/dr99/apogee/data/r1/cal/apCal-00000005.fits.gz")
    assert new.lookup_keys("apCal") == ["apred", "num"]
    assert tree_releases(folder) == ["dr98", "dr99"]


def test_product_outside_the_sas_needs_a_folder_of_the_environment(folder, monkeypatch):
    with pytest.raises(ConfigError, match=r"plate begins with \$PRODUCT_ROOT, which is not below the SAS"):
        SdssPath("dr99", "/sas", tree_dir=folder).full("plate", plateid=266)
    monkeypatch.setenv("PLATELIST_DIR", "/products/platelist")
    paths = SdssPath("dr99", "/sas", tree_dir=folder, use_environment=True)
    assert paths.full("plate", plateid=266) == "/products/platelist/0002XX/000266/plate-000266.par"
    with pytest.raises(ConfigError, match="is not below the SAS: it has neither location nor address"):
        paths.url("plate", plateid=266)


def test_folders_of_the_environment_count_only_if_asked_for(monkeypatch):
    monkeypatch.setenv("APOGEE_REDUX", "/scratch/redux")
    keys = {"telescope": "apo25m", "apred": "1.3"}
    assert SdssPath("dr19", "/sas").full("allStar", **keys).startswith("/sas/dr19/spectro/apogee/redux")
    found = SdssPath("dr19", "/sas", use_environment=True).full("allStar", **keys)
    assert found == "/scratch/redux/1.3/summary/allStar-1.3-apo25m.fits"


def test_function_that_nobody_knows_is_named(folder):
    with pytest.raises(
        ConfigError, match="path of strange needs the function nobody, which astra does not know"
    ):
        SdssPath("dr99", "/sas", tree_dir=folder).full("strange", mjd=1)


def test_unreadable_files_and_circles_are_refused(tmp_path):
    (tmp_path / "dr98.cfg").write_text("[DEFAULT]\nbase = dr99\n")
    (tmp_path / "dr99.cfg").write_text("[DEFAULT]\nbase = dr98\n")
    with pytest.raises(ConfigError, match="is a base of itself"):
        read_tree(tmp_path, "dr99")
    (tmp_path / "dr97.cfg").write_text("no section\n")
    with pytest.raises(ConfigError, match="cannot be read as a file of sdss-tree"):
        read_tree(tmp_path, "dr97")
    (tmp_path / "dr96.cfg").write_text("[DEFAULT]\nbase = dr95\n")
    with pytest.raises(ConfigError, match=r"dr95\.cfg cannot be read"):
        read_tree(tmp_path, "dr96")


def test_folder_of_the_environment_comes_before_the_package(folder, tmp_path, monkeypatch):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "data").symlink_to(folder)
    monkeypatch.setenv("TREE_DIR", str(tmp_path / "tree"))
    assert tree_folder() == tmp_path / "tree" / "data"
    assert SdssPath("dr99").has_name("apR")
    monkeypatch.setenv("TREE_DIR", str(tmp_path / "gone"))
    assert tree_folder() == _installed_folder()


@pytest.mark.parametrize(
    ("release", "name", "keys", "path"), [row for row in FROZEN if row[1] in templates(row[0])]
)
def test_own_paths_are_those_of_the_survey(release, name, keys, path):
    if name == "apStar" and release == "sdsswork":
        keys = keys | {"apstar": "stars"}  # a key of this tree in 2021
    paths = SdssPath(release, "/sas", tree_dir="/nowhere")
    assert paths.location(name, **keys) == path
    found = paths.extract(name, path)
    assert {key: str(value) for key, value in found.items()}.items() <= {
        key: str(value) for key, value in keys.items()
    }.items()


def test_all_other_paths_are_those_of_the_survey_if_its_files_are_here(monkeypatch):
    monkeypatch.delenv("TREE_DIR", raising=False)
    if tree_folder() is None:
        pytest.skip("sdss-tree is not installed")
    others = [row for row in FROZEN if row[1] not in templates(row[0])]
    wrong = [
        (release, name, keys, path)
        for release, name, keys, path in others
        if SdssPath(release, "/sas").full(name, **keys) != f"/sas/{path}"
    ]
    assert wrong == []
    assert len(others) > 300
    assert "tree" not in sys.modules


def test_nothing_of_the_package_is_imported():
    code = (
        "import os, sys; before = dict(os.environ)\n"
        "from astra.products.sdss_paths import SdssPath\n"
        "SdssPath('dr17', '/sas').lookup_names()\n"
        "print('tree' in sys.modules, before == dict(os.environ))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]
