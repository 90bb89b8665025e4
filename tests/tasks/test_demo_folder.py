"""The folder of the demonstration is its own, or it is refused."""

import json

import pytest

from astra.errors import ConfigError
from astra.tasks.closing import shown_path
from astra.tasks.demo_folder import MARKER, clear_folder, prepare_folder

SETTINGS = {"seed": 42, "scale": "full"}


@pytest.fixture
def folder(tmp_path):
    prepare_folder(tmp_path / "demo", SETTINGS)
    return tmp_path / "demo"


def test_a_new_folder_is_marked_and_may_be_used_again(folder):
    content = json.loads((folder / MARKER).read_text())
    prepare_folder(folder, SETTINGS)
    assert content["seed"] == 42
    assert json.loads((folder / MARKER).read_text()) == content


def test_an_empty_folder_may_be_used(tmp_path):
    prepare_folder(tmp_path, SETTINGS)
    assert (tmp_path / MARKER).is_file()


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", ["astra.db", "notes.txt", MARKER])
def test_the_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path, name, fresh):
    (tmp_path / name).write_text('{"made_by": "me"}')
    with pytest.raises(ConfigError, match="no demonstration has made it"):
        prepare_folder(tmp_path, SETTINGS, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "demo").write_text("")
    with pytest.raises(ConfigError, match="is no folder"):
        prepare_folder(tmp_path / "demo", SETTINGS)


def test_another_seed_needs_a_fresh_start(folder):
    (folder / "astra.db").write_text("state")
    with pytest.raises(ConfigError, match=r"seed 42.*--fresh"):
        prepare_folder(folder, {**SETTINGS, "seed": 43})
    assert (folder / "astra.db").exists()
    prepare_folder(folder, {**SETTINGS, "seed": 43}, fresh=True)
    assert not (folder / "astra.db").exists()
    prepare_folder(folder, {**SETTINGS, "seed": 43})


def test_a_fresh_start_removes_only_what_a_demonstration_has_made(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.fits").write_text("data")
    for name in ("products", "alerts"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("")
    (folder / "simulation").symlink_to(outside)
    (folder / "my notes.txt").write_text("mine")
    clear_folder(folder)
    assert (outside / "precious.fits").read_text() == "data"
    assert sorted(path.name for path in folder.iterdir()) == [MARKER, "my notes.txt"]


def test_paths_are_shown_as_they_can_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "astra-demo") == "astra-demo"
    assert shown_path(tmp_path / "a b") == "'a b'"
    assert shown_path(tmp_path.parent / "other") == str(tmp_path.parent / "other")
