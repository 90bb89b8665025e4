"""The names of the task API of 2021, one by one: what each means, and the defects that it had."""

import luigi

import astra
from astra.tasks.base import AstraTask, BaseTask
from tests.tasks.test_engine import states
from tests.tasks.toy_tasks import Careless, Toy

# -- names of the package ---------------------------------------------------------------------------------


def test_base_task_is_another_name_and_not_another_class():
    assert BaseTask is AstraTask is astra.tasks.BaseTask
    assert "BaseTask" not in luigi.task_register.Register.task_names()


class PlainUpstream(luigi.Task):
    """A task that is none of astra's."""

    number = astra.IntParameter(batch_method=tuple)

    def complete(self):
        return True


@astra.requires(Toy)
class TimesFactor(AstraTask):
    """A task with the parameters of Toy."""

    factor = astra.IntParameter(default=2)

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                pass


@astra.inherits(PlainUpstream)
class Heir(AstraTask):
    """A task with the parameters of a plain one."""


def test_requires_hands_on_the_parameters_and_makes_the_requirement(astra_root):
    task = TimesFactor(number=(1, 2), name="x", label="other")
    assert task.requires() == Toy(number=(1, 2), name="x", label="other")
    assert astra.build([task], local_scheduler=True, log_level="WARNING")
    assert states(astra_root, "TimesFactor") == {"1": "done", "2": "done"}
    assert states(astra_root) == {"1": "done", "2": "done"}


def test_inherits_hands_on_batch_parameters_of_plain_tasks_too():
    task = Heir(number=(1, 2))
    assert Heir.from_str_params(task.to_str_params()).number == (1, 2)
    assert task.member_ids() == [Heir(number=1).task_id, Heir(number=2).task_id]
    assert task.clone_parent().number == (1, 2)


# -- output_base_dir --------------------------------------------------------------------------------------


def test_output_base_dir_is_the_folder_of_family_and_version(astra_root, monkeypatch):
    monkeypatch.delenv("SAS_BASE_DIR", raising=False)
    task = Toy(number=1, astra_version_major=2, astra_version_minor=5)
    assert task.output_base_dir == astra_root / "products" / "2.5" / "Toy"
    assert Careless(number=1).output_base_dir.name == "toy_space.Careless"
    assert Toy(number=(1, 2)).output_base_dir == Toy(number=3).output_base_dir
    assert not task.output_base_dir.exists()


def test_output_base_dir_follows_the_identity(tmp_path):
    now, later = Toy(number=1), Toy(number=1, astra_version_micro=77)
    assert (now.task_id, now.output_base_dir) == (later.task_id, later.output_base_dir)
    own = Toy(number=1, output_root=str(tmp_path / "own"))
    assert own.output_base_dir.is_relative_to(tmp_path / "own" / "products")
