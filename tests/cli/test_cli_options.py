"""``astra config``: every option, its value and where it comes from."""

import json

import luigi
import pytest

from astra import config
from astra.cli import main


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A luigi.cfg of one's own; the value writes it."""
    for name in ("ASTRA_ROOT", "ASTRA_DATABASE_URL", "SAS_BASE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    parser = type(luigi.configuration.get_config())
    monkeypatch.setattr(parser, "_config_paths", ["luigi.cfg"])

    def write(text):
        (tmp_path / "luigi.cfg").write_text(text)
        fresh = parser()
        fresh.read(["luigi.cfg"])
        monkeypatch.setattr(parser, "_instance", fresh)

    write("")
    return write


def options(capsys, status=0):
    assert main(["config", "--json"]) == status
    found = json.loads(capsys.readouterr().out)
    return {option["name"]: option for option in found if option["section"] == "astra"}


def test_every_option_of_astra_is_listed(site, capsys, tmp_path):
    found = options(capsys)
    assert set(found) >= {name for name, _ in config.astra.get_params()}
    assert all(option["description"] and option["type"] for option in found.values())
    assert {option["source"] for option in found.values()} == {"default"}
    assert found["root"]["value"] == str(tmp_path)
    assert found["database_url"]["value"] == f"sqlite:///{tmp_path}/astra.db"


def test_the_file_that_sets_an_option_is_named(site, capsys, tmp_path):
    site("[astra]\nreference_catalog = stars.fits\n")
    option = options(capsys)["reference_catalog"]
    assert (option["value"], option["default"]) == ("stars.fits", "")
    assert option["source"] == str(tmp_path / "luigi.cfg")


def test_the_environment_comes_first_but_for_the_sas(site, capsys, monkeypatch):
    site("[astra]\nroot = here\nsas_base_dir = there\n")
    monkeypatch.setenv("ASTRA_ROOT", "/elsewhere")
    monkeypatch.setenv("SAS_BASE_DIR", "/sas")
    found = options(capsys)
    assert (found["root"]["value"], found["root"]["source"]) == ("/elsewhere", "environment ASTRA_ROOT")
    assert found["sas_base_dir"]["value"] == "there"
    site("")
    option = options(capsys)["sas_base_dir"]
    assert (option["value"], option["source"]) == ("/sas", "environment SAS_BASE_DIR")


def test_passwords_are_masked(site, capsys):
    site("[astra]\ndatabase_url = postgresql://user:secret@127.0.0.1/astra\n")
    assert main(["config"]) == 0
    out = capsys.readouterr().out
    assert "secret" not in out
    assert "user:***@" in out


def test_a_value_that_cannot_be_read_is_named(site, capsys):
    site("[astra]\ndatabase_url = sqlite:///:memory:\n")
    assert "must outlive" in options(capsys, status=1)["database_url"]["problem"]
    assert main(["config"]) == 1
    assert "cannot be read" in capsys.readouterr().out
