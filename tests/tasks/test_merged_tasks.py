"""Single tasks that Luigi's scheduler merges into batches."""

import luigi

from astra.tasks.base import AstraTask
from tests.tasks.merged import Merged
from tests.tasks.test_engine import build, rows, states


class After(AstraTask):
    """A single task behind one of the merged."""

    number = luigi.IntParameter()
    refuse = luigi.IntParameter(default=-1, significant=False)

    def requires(self):
        return Merged(number=self.number, refuse=self.refuse)

    def run(self):
        self.add_figures("run", {"number": self.number})


def test_waiting_tasks_are_merged_up_to_the_size_of_the_class(astra_root):
    assert build(*[Merged(number=n) for n in range(10)])
    assert set(states(astra_root, "Merged").values()) == {"done"}
    sizes = rows(astra_root, "SELECT batch_size FROM task WHERE batch_size IS NOT NULL")
    assert sorted(size for (size,) in sizes) in ([2, 4, 4], [4, 4])
    assert len(list(astra_root.glob("merged-*.txt"))) == 10


def test_a_merged_task_fails_alone_and_its_siblings_are_done(astra_root):
    assert not build(*[Merged(number=n, refuse=2) for n in range(4)])
    assert states(astra_root, "Merged") == {"0": "done", "1": "done", "2": "failed", "3": "done"}
    assert len(list(astra_root.glob("merged-*.txt"))) == 3


def test_what_waits_for_the_good_ones_goes_on(astra_root):
    assert not build(*[After(number=n, refuse=2) for n in range(4)])
    assert states(astra_root, "After") == {"0": "done", "1": "done", "2": "dependency missing", "3": "done"}


def test_it_goes_on_through_a_central_scheduler_too(astra_root, run_luigi, luigid):
    arguments = ["--scheduler-port", str(luigid), "--workers", "2"]
    result = run_luigi("AllAfter", *arguments, module="tests.tasks.test_merged_tasks", local=False)
    assert result.returncode == 30, result.stderr
    assert states(astra_root, "After") == {"0": "done", "1": "done", "2": "dependency missing", "3": "done"}


class AllAfter(luigi.WrapperTask):
    """All of them."""

    def requires(self):
        return [After(number=n, refuse=2) for n in range(4)]


def test_the_next_run_repeats_the_failed_one_alone(astra_root):
    assert not build(*[Merged(number=n, refuse=2) for n in range(4)])
    assert build(*[Merged(number=n) for n in range(4)])
    query = "SELECT count(*) FROM task_attempt JOIN task ON task.pk = task_pk WHERE batch_size IS NULL"
    assert rows(astra_root, query) == [(5,)]


def test_classes_that_do_not_ask_for_it_are_not_merged():
    assert not After(number=1).batchable
    assert Merged(number=1).batchable
    assert not Merged(number=(1, 2)).batchable
