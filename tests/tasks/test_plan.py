"""What the plan of a run writes before anything runs."""

import pytest

from astra.tasks.base import AstraTask
from astra.tasks.plan import write_plan
from tests.tasks.test_engine import build, rows
from tests.tasks.toy_tasks import Absent, Double, Toy

LINEAGE = """SELECT a.task_id, b.task_id FROM task_dependency AS d
             JOIN task AS a ON a.pk = d.task_pk JOIN task AS b ON b.pk = d.required_task_pk"""


class Some(AstraTask):
    """A single task that needs a part of a batch, one task of its own and a file."""

    accepts_partial_batches = True

    def requires(self):
        return [Toy(number=(1, 2)), Toy(number=3), Absent(name="absent.fits")]

    def run(self):
        pass


def plan(*tasks):
    """Plan tasks as a worker that has scheduled them does."""
    for task in tasks:
        task.deps()
    write_plan(tasks)


@pytest.mark.parametrize("number", [1, (1, 2)])
def test_what_a_task_or_a_batch_requires_is_written(astra_root, number):
    plan(Double(number=number), Toy(number=number))
    assert rows(astra_root, LINEAGE) == [(Double(number=number).task_id, Toy(number=number).task_id)]
    assert rows(astra_root, "SELECT DISTINCT status_code FROM task") == [(0,)]


def test_what_is_done_already_is_among_the_requirements(astra_root):
    assert build(Toy(number=1))
    plan(Double(number=1))
    assert rows(astra_root, LINEAGE) == [(Double(number=1).task_id, Toy(number=1).task_id)]


def test_files_and_batches_that_need_not_be_whole_are_not(astra_root):
    plan(Some(), *Some().requires()[:2])
    assert rows(astra_root, LINEAGE) == [(Some().task_id, Toy(number=3).task_id)]


def test_requirements_are_not_asked_for_once_more(astra_root, monkeypatch):
    task = Double(number=tuple(range(5)))
    task.deps()
    monkeypatch.setattr(Double, "requires", lambda _: pytest.fail("a batch of many makes many tasks there"))
    write_plan([task])
    assert rows(astra_root, "SELECT count(*) FROM task") == [(6,)]
