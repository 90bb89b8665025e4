"""Trees of tasks: names, configurations, metadata, schemas, and what is stored once per root."""

import json
import logging
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import luigi
import numpy as np
import pytest

from astra.errors import DataError, FormatError, TaskError
from astra.tasks import stored
from astra.tasks.base import AstraTask
from astra.tasks.nodes import Subtask
from tests.tasks.test_engine import build, rows


@dataclass
class InnerConfig:
    n_max: int = 3


class Inner(Subtask):
    config_class = InnerConfig

    def get_schema_catalogs(self):
        return {"inner": np.zeros(0, dtype=[("flux", "f8")])}

    def run(self):
        self.metadata.add("nIter", self.config.n_max)


class OtherInner(Inner):
    pass


@dataclass
class MiddleConfig:
    sub2: object = Inner.make_field("The inner part.")


class Middle(Subtask):
    config_class = MiddleConfig

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.make_subtask("sub2")


@dataclass
class TopConfig:
    sub: object = Middle.make_field("The middle part.")
    threshold: float = 5.0
    bands: list = field(default_factory=lambda: ["g", "r"])


class Top(Subtask):
    config_class = TopConfig
    default_name = "top"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.make_subtask("sub")

    def get_schema_catalogs(self):
        return {"outer": np.zeros(0, dtype=[("x", "f4"), ("image", "i2", (2, 3))])}


class Tree(AstraTask):
    """A Luigi task with subtasks."""

    config_class = TopConfig
    number = luigi.IntParameter(batch_method=tuple, description="The number.")
    label = luigi.Parameter(default="plain", description="A string.")
    refuse = luigi.IntParameter(default=-1, significant=False, description="Number to refuse.")

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                task.make_subtask("sub")
                with task.timer("fit"):
                    task.sub.sub2.run()
                    task.metadata.add("quality.chi2", 1.5)
                    task.add_figures("run", {"square": task.number**2})
                    if task.number == task.refuse:
                        raise DataError("refused")

    def get_schema_catalogs(self):
        return {"tree": np.zeros(0, dtype=[("ra", "f8")])}


def test_names_lead_from_the_top():
    top = Top()
    assert (top.get_name(), top.sub.get_name(), top.sub.sub2.get_name()) == ("top", "sub", "sub2")
    assert top.sub.sub2.get_full_name() == "top.sub.sub2"
    assert Top(name="mine").sub.get_full_name() == "mine.sub"


def test_a_task_without_name_is_an_error():
    with pytest.raises(RuntimeError, match="needs a name"):
        Middle()
    with pytest.raises(RuntimeError, match="needs a name"):
        Inner(parent_task=Top())


def test_the_dict_of_tasks_is_shared_and_given_as_a_copy():
    top = Top()
    tasks = top.sub.sub2.get_task_dict()
    assert list(tasks) == ["top", "top.sub", "top.sub.sub2"]
    assert tasks["top"] is top
    tasks.clear()
    assert len(top.get_task_dict()) == 3


def test_an_absent_field_is_named():
    with pytest.raises(KeyError, match="top's config does not have field 'nothing'"):
        Top().make_subtask("nothing")
    with pytest.raises(KeyError, match="top's config does not have field 'threshold'"):
        Top().make_subtask("threshold")


def test_each_object_has_its_own_configuration_of_a_subtask():
    first, second = TopConfig(), TopConfig()
    first.sub.sub2.n_max = 9
    assert Top(config=first).sub.sub2.config.n_max == 9
    assert Top(config=second).sub.sub2.config.n_max == 3


def test_a_field_can_be_retargeted():
    config = TopConfig()
    config.sub.sub2.retarget(OtherInner)
    assert type(Top(config=config).sub.sub2) is OtherInner
    assert TopConfig.sub.doc == "The middle part."


def test_fields_work_in_plain_classes_too():
    class Config:
        inner = Inner.make_field("Inner.")

    class Plain(Subtask):
        config_class = Config
        default_name = "plain"

    task = Plain()
    task.make_subtask("inner")
    assert task.inner.config == InnerConfig()


def test_an_unknown_option_of_a_subtask_is_an_error():
    with pytest.raises(AttributeError, match="no option 'nothing'"):
        _ = TopConfig().sub.nothing


def test_loggers_follow_the_tree():
    assert Top().sub.sub2.log.name == "astra.top.sub.sub2"
    assert Top(log=logging.getLogger("mine")).sub.log.name == "mine.top.sub"


def test_full_metadata_names_the_task_of_each_item():
    top = Top()
    top.metadata.add("a", 1)
    top.sub.sub2.run()
    top.sub.sub2.run()
    assert top.get_full_metadata().as_dict() == {"top.a": 1, "top:sub:sub2.nIter": [3, 3]}
    assert top.sub.get_full_metadata() == top.get_full_metadata()
    top.empty_metadata()
    assert not len(top.get_full_metadata())


def test_timer_of_a_node_logs_beside_its_logger(caplog):
    caplog.set_level(logging.DEBUG, logger="timer")
    with Top().sub.timer("fit", log_level=logging.WARNING):
        pass
    assert {(record.name, record.levelname) for record in caplog.records} == {
        ("timer.astra.top.sub", "WARNING")
    }


def test_schemas_are_the_same_from_every_node():
    top = Top()
    assert list(top.get_all_schema_catalogs()) == ["outer", "inner"]
    for node in (top.sub, top.sub.sub2):
        assert {name: table.dtype for name, table in node.get_all_schema_catalogs().items()} == {
            name: table.dtype for name, table in top.get_all_schema_catalogs().items()
        }
    assert all(len(table) == 0 for table in top.get_all_schema_catalogs().values())


def test_trees_can_be_pickled():
    top = Top()
    top.sub.metadata.add("a", 1)
    again = pickle.loads(pickle.dumps(top))  # noqa: S301
    assert again.sub.sub2.get_task_dict()["top"] is again
    assert again.get_full_metadata() == top.get_full_metadata()


def test_a_luigi_task_is_a_node_of_its_family():
    task = Tree(number=1)
    assert task.get_full_name() == "Tree"
    assert task.log.name == "astra.Tree"
    assert task.get_task_dict() == {"Tree": task}
    assert task.get_schema_catalogs().keys() == {"tree"}


def metadata_rows(root, number):
    query = f"""SELECT key, value FROM task_metadata JOIN task ON pk = task_pk
                WHERE json_extract(parameters, '$.number') = '{number}' AND batch_size IS NULL"""  # noqa: S608
    return dict(rows(root, query))


def test_metadata_of_a_run_are_rows_of_its_state(astra_root):
    assert build(Tree(number=3))
    found = metadata_rows(astra_root, 3)
    assert found["Tree:sub:sub2.nIter"] == 3
    assert found["Tree:quality.chi2"] == 1.5
    assert found["Tree:run.square"] == 9
    assert found["Tree:run.fitEndCpuTime"] >= found["Tree:run.fitStartCpuTime"]


def test_metadata_of_a_failed_task_are_kept(astra_root):
    assert not build(Tree(number=4, refuse=4))
    assert metadata_rows(astra_root, 4)["Tree:sub:sub2.nIter"] == 3
    assert "Tree:run.fitEndUtc" in metadata_rows(astra_root, 4)


def test_metadata_of_each_member_are_its_own(astra_root):
    assert not build(Tree(number=(1, 2), refuse=2))
    for number in (1, 2):
        assert metadata_rows(astra_root, number)["Tree:run.square"] == number**2
        assert metadata_rows(astra_root, number)["Tree:sub:sub2.nIter"] == 3


def test_a_second_run_begins_without_metadata(astra_root):
    for _ in range(2):
        assert build(Tree(number=5, rerun=True))
    assert isinstance(metadata_rows(astra_root, 5)["Tree:run.fitEndUtc"], str)


def test_configuration_is_stored_then_compared(astra_root):
    Tree(number=1).write_config()
    path = astra_root / "provenance" / "Tree_config.json"
    kept = json.loads(path.read_text())
    assert kept["label"] == "plain"
    assert kept["sub"]["config"]["sub2"]["config"] == {"n_max": 3}
    assert "number" not in kept
    Tree(number=2).write_config()
    changed = Tree(number=2, label="other")
    changed.config = TopConfig(threshold=4.0)
    changed.config.sub.sub2.n_max = 8
    with pytest.raises(TaskError) as caught:
        changed.write_config()
    for text in (
        "label is 'other', stored is 'plain'",
        "threshold is 4.0, stored is 5.0",
        "sub.config.sub2.config.n_max is 8, stored is 3",
        "--clobber-config",
    ):
        assert text in str(caught.value)
    assert json.loads(path.read_text()) == kept


def test_clobbering_keeps_numbered_backups(astra_root):
    path = astra_root / "provenance" / "Tree_config.json"
    for label in ("a", "b", "c"):
        Tree(number=1, label=label).write_config(clobber=True)
    Tree(number=1, label="d").write_config(clobber=True, do_backup=False)
    found = {item.name: json.loads(item.read_text())["label"] for item in path.parent.iterdir()}
    assert found == {"Tree_config.json": "d", "Tree_config.json~1": "a", "Tree_config.json~2": "b"}


def test_an_unreadable_store_is_named_with_the_remedy(astra_root):
    path = astra_root / "provenance" / "Tree_config.json"
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(FormatError, match=r"Tree_config.json cannot be read.*--clobber-config"):
        Tree(number=1).write_config()
    Tree(number=1).write_config(clobber=True)


def test_schemas_must_be_identical_and_are_written_all_or_none(astra_root, monkeypatch):
    top = Top()
    top.write_schemas()
    path = astra_root / "provenance" / "outer_schema.json"
    assert [column["shape"] for column in json.loads(path.read_text())] == [[], [2, 3]]
    top.write_schemas()
    (path.parent / "inner_schema.json").unlink()
    monkeypatch.setattr(
        Top, "get_schema_catalogs", lambda _: {"outer": np.zeros(0, dtype=[("x", "f8"), ("y", "f8")])}
    )
    with pytest.raises(TaskError, match=r"outer_schema.*--clobber-config"):
        top.write_schemas()
    assert not (path.parent / "inner_schema.json").exists()
    top.write_schemas(clobber=True)
    assert path.with_name("outer_schema.json~1").exists()


def test_another_version_of_a_package_is_refused_and_a_new_package_added(astra_root, monkeypatch):
    task = Tree(number=1)
    task.write_package_versions()
    path = astra_root / "provenance" / "packages.json"
    kept = json.loads(path.read_text())
    monkeypatch.setattr(stored, "package_versions", lambda: {**kept, "luigi": "0.0", "python": "9.9"})
    with pytest.raises(TaskError) as caught:
        task.write_package_versions()
    for text in ("luigi is 0.0, stored is", "python is 9.9", "--clobber-versions", "--no-versions"):
        assert text in str(caught.value)
    monkeypatch.setattr(stored, "package_versions", lambda: {"newcomer": "1.0"})
    task.write_package_versions()
    assert json.loads(path.read_text()) == {**kept, "newcomer": "1.0"}
    assert json.loads(path.with_name("packages.json~1").read_text()) == kept


def test_metadata_are_written_beside_the_products(astra_root, caplog):
    top = Top()
    top.sub.sub2.run()
    path = top.write_metadata()
    assert path == astra_root / "provenance" / "top_metadata.json"
    assert json.loads(path.read_text()) == {"top:sub:sub2.nIter": 3}
    task = Tree(number=1)
    assert task.write_metadata().name == f"{task.task_id}.json"
    Path(astra_root / "provenance" / "in_the_way").write_text("")
    assert Top(name="in_the_way/x").write_metadata() is None
    assert "could not be written" in caplog.text
