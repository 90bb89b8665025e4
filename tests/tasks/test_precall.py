"""A ``luigi`` run whose configuration, versions or schemas differ from those of its root stops at once."""

import json

import luigi
import numpy as np
import pytest
from luigi.retcodes import run_with_retcodes

from astra.errors import FormatError, TaskError
from astra.tasks import stored
from astra.tasks.runner import current_invocation
from tests.tasks.night import build, rows
from tests.tasks.tabled import Filled, Tabled
from tests.tasks.toy_tasks import Toy

TOY = "tests.tasks.toy_tasks"
HERE = "tests.tasks.tabled"


@pytest.fixture
def luigi_run(astra_root, monkeypatch, caplog):
    """The luigi command in this process; returns its exit code and what it says of task errors."""
    monkeypatch.chdir(astra_root)

    def run(*words):
        caplog.clear()
        with pytest.raises(SystemExit) as ended:
            run_with_retcodes(["--module", HERE, *words, "--local-scheduler"])
        said = [record.getMessage() for record in caplog.records if "TaskError" in record.getMessage()]
        return ended.value.code or 0, " ".join(said)

    return run


def provenance(root):
    return root / stored.FOLDER


def n_tasks(root):
    return rows(root, "SELECT count(*) FROM task")[0][0]


def test_a_changed_parameter_is_refused_until_it_is_clobbered(astra_root, luigi_run):
    assert luigi_run("Tabled", "--camera", "a", "--number", "1") == (0, "")
    before = n_tasks(astra_root)
    code, said = luigi_run("Tabled", "--camera", "b", "--number", "2", "--threshold", "6")
    assert code == 40
    assert "threshold is '6.0', stored is '5.0'" in said
    assert "--clobber-config" in said
    assert "Traceback" not in said
    assert n_tasks(astra_root) == before
    words = ("Tabled", "--camera", "b", "--number", "2", "--threshold", "6", "--clobber-config")
    assert luigi_run(*words) == (0, "")
    names = {path.name for path in provenance(astra_root).iterdir()}
    assert {"Tabled_config.json", "Tabled_config.json~1"} <= names
    assert json.loads((provenance(astra_root) / "Tabled_config.json").read_text()) == {"threshold": "6.0"}
    assert luigi_run("Tabled", "--camera", "b", "--number", "3")[0] == 40


def test_another_data_id_is_no_other_configuration(luigi_run):
    assert luigi_run("Tabled", "--camera", "a", "--number", "1")[0] == 0
    assert luigi_run("Tabled", "--camera", "b", "--number", "[2, 3]")[0] == 0


def test_what_is_required_is_compared_too_and_each_difference_is_named(astra_root, luigi_run):
    assert luigi_run("Above")[0] == 0
    stored_versions = provenance(astra_root) / "packages.json"
    versions = json.loads(stored_versions.read_text())
    stored_versions.write_text(json.dumps({**versions, "numpy": "0.1", "scipy": "0.2"}))
    code, said = luigi_run("Above", "--threshold", "7")
    assert code == 40
    for difference in ("numpy is", "stored is 0.1", "stored is 0.2", "configuration of Above"):
        assert difference in said
    assert "of Tabled" not in said  # its threshold follows from that of Above
    for flag in ("--clobber-config", "--clobber-versions", "--no-versions"):
        assert flag in said


def test_what_luigi_cfg_sets_for_a_required_family_is_compared(astra_root, luigi_run):
    assert luigi_run("Above")[0] == 0
    luigi.configuration.get_config().set("Tabled", "threshold", "9")
    try:
        code, said = luigi_run("Above", "--threshold", "5")
    finally:
        luigi.configuration.get_config().remove_option("Tabled", "threshold")
    assert code == 40
    assert "the configuration of Tabled" in said
    assert "threshold is '9.0', stored is '5.0'" in said


def test_a_refused_run_leaves_the_invocation_as_it_was(astra_root):
    before = current_invocation()
    assert build(Tabled(camera="a", number=1))
    (provenance(astra_root) / "packages.json").write_text("{ damaged")
    with pytest.raises(FormatError, match="cannot be read as JSON"):
        build(Tabled(camera="a", number=2))
    assert current_invocation() is before
    assert rows(astra_root, "SELECT exit_status FROM run WHERE ended IS NULL") == []


def test_no_password_is_stored(astra_root, luigi_run):
    assert luigi_run("Linked", "--url", "https://me:s3cret@host/x")[0] == 0
    [(configuration,)] = rows(astra_root, "SELECT configuration FROM run")
    assert "s3cret" not in configuration
    assert "s3cret" not in (provenance(astra_root) / "Linked_config.json").read_text()


def test_a_value_that_json_lacks_is_equal_to_itself(astra_root):
    assert build(Filled(number=1))
    assert build(Filled(number=2))


def test_other_versions_are_refused_passed_over_or_replaced(astra_root, luigi_run):
    assert luigi_run("Tabled", "--camera", "a", "--number", "1")[0] == 0
    path = provenance(astra_root) / "packages.json"
    old = {**json.loads(path.read_text()), "numpy": "0.1"}
    path.write_text(json.dumps(old))
    assert luigi_run("Tabled", "--camera", "a", "--number", "1")[0] == 40  # although there is nothing to do
    assert luigi_run("Tabled", "--camera", "a", "--number", "2", "--no-versions")[0] == 0
    assert json.loads(path.read_text()) == old
    assert luigi_run("Tabled", "--camera", "a", "--number", "3", "--clobber-versions")[0] == 0
    assert json.loads(path.read_text())["numpy"] == np.__version__
    assert json.loads(path.with_name("packages.json~1").read_text()) == old


def test_another_schema_is_refused(astra_root, luigi_run):
    assert luigi_run("Tabled", "--camera", "a", "--number", "1")[0] == 0
    path = provenance(astra_root) / "tabled_schema.json"
    schema = json.loads(path.read_text())
    assert [column["name"] for column in schema] == ["flux", "id"]
    path.write_text(json.dumps(schema[:1]))
    code, said = luigi_run("Tabled", "--camera", "a", "--number", "2")
    assert code != 0
    assert "schemas of Tabled" in said
    assert rows(astra_root, "SELECT count(*) FROM task WHERE status_code = 1") == [(1,)]
    assert luigi_run("Tabled", "--camera", "a", "--number", "2", "--clobber-config")[0] == 0


def test_several_values_in_one_tree_are_what_its_author_wants(luigi_run):
    assert luigi_run("Scan")[0] == 0
    assert luigi_run("Scan")[0] == 0


def test_build_compares_versions_but_not_the_parameters_of_tasks(astra_root):
    assert build(Tabled(camera="a", number=1), Tabled(camera="a", number=1, threshold=8.0))
    path = provenance(astra_root) / "packages.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "numpy": "0.1"}))
    with pytest.raises(TaskError, match=r"numpy is .*--no-versions"):
        build(Tabled(camera="a", number=2))
    assert n_tasks(astra_root) == 2


def test_a_run_from_the_command_line_adds_what_a_build_left_open(astra_root, luigi_run):
    assert build(Tabled(camera="a", number=1))
    assert luigi_run("Tabled", "--camera", "a", "--number", "2", "--threshold", "6")[0] == 0
    assert luigi_run("Tabled", "--camera", "a", "--number", "3")[0] == 40


def test_of_two_that_write_first_the_slower_is_compared(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1}')
    monkeypatch.setattr(type(path), "exists", lambda _self: False)
    with pytest.raises(TaskError, match="a is 2, stored is 1"):
        stored.store_equal({path: {"a": 2}}, what="it", flag="--f", clobber=False)
    assert path.read_text() == '{"a": 1}'


def exit_statuses(root):
    return [status for (status,) in rows(root, "SELECT exit_status FROM run ORDER BY pk")]


def test_every_invocation_has_a_row_with_its_exit_status(astra_root, run_luigi):
    codes = [
        run_luigi("Double", "--number", "[1, 2]", "--refuse", "2", module=TOY).returncode,
        run_luigi("Double", "--number", "[1, 2]", module=TOY).returncode,
        run_luigi("Double", "--number", "[1, 2]", module=TOY).returncode,
        run_luigi("Toy", "--number", "9", module=TOY).returncode,
        run_luigi("Toy", "--number", "9", "--label", "other", module=TOY).returncode,
        run_luigi("Fetch", "--number", "1", module=HERE).returncode,
    ]
    assert codes == [30, 0, 0, 0, 40, 20]
    assert exit_statuses(astra_root) == codes
    assert rows(astra_root, "SELECT count(*) FROM run WHERE ended IS NULL") == [(0,)]


def test_a_run_keeps_the_configuration_that_it_had(astra_root, run_luigi):
    (astra_root / "luigi.cfg").write_text(
        "[Tabled]\nthreshold = 4\n[astra]\nreference_catalog = cat.fits\n[email]\nsmtp_password = secret\n"
    )
    done = run_luigi("Tabled", "--camera", "a", "--number", "[1, 2]", module=HERE)
    assert done.returncode == 0, done.stderr
    [(text,)] = rows(astra_root, "SELECT configuration FROM run")
    kept = json.loads(text)
    assert kept["tasks"] == {"Tabled": {"threshold": "4.0"}}
    assert kept["astra"]["reference_catalog"] == "cat.fits"
    assert kept["root"] == str(astra_root)
    assert "secret" not in text


def test_plain_luigi_runs_luigis_own_worker(astra_root, run_luigi):
    (astra_root / "luigi.cfg").write_text("[astra]\nplain_luigi = true\n")
    done = run_luigi("Toy", "--number", "[1, 2]", module=TOY)
    assert done.returncode == 0, done.stderr
    assert not provenance(astra_root).exists()
    assert rows(astra_root, "SELECT count(*) FROM task WHERE status_code = 1") == [(3,)]


def test_toys_share_the_default_label(astra_root):
    assert build(Toy(number=1))
    assert stored.config_values(Toy(number=1)) == {"label": "plain"}
