"""Requirements that follow from what the first ones made: lineage, plans, failures, second runs."""

from pathlib import Path

import luigi
import pytest

from astra.errors import DataError
from astra.tasks.base import AstraTask
from astra.tasks.batch import per_member
from astra.tasks.dry_run import plan
from tests.tasks.night import attempts, build, rows
from tests.tasks.toy_tasks import Toy


class Follow(AstraTask):
    """Read a number n, then the numbers 10 n and 10 n + 1."""

    number = luigi.IntParameter(batch_method=tuple, description="The number.")
    refuse = luigi.IntParameter(default=-1, significant=False, description="Number that Toy refuses.")

    @per_member
    def requires(self):
        return [Toy(number=self.number)]

    def further_requires(self):
        path = Toy(number=self.number).output()
        if not path.exists():
            raise DataError(f"{path.path} is not there")
        with path.open() as stream:
            number = int(stream.read())
        if number == 7:
            raise DataError("nothing follows from 7")
        return [Toy(number=10 * number + i, refuse=self.refuse) for i in (0, 1)]

    def output(self):
        if self.is_batch_mode:
            return [task.output() for task in self.get_batch_tasks()]
        return luigi.LocalTarget(str(self.root / f"{self.task_id}.txt"))

    def run(self):
        yield self.further()
        for task in self.pending_tasks():
            with task.recording():
                there = [toy.output() for toy in task.further_requires() if toy.output().exists()]
                with task.output().open("w") as stream:
                    stream.write(str(len(there)))


class FollowSome(Follow):
    """The same, with whatever there is."""

    accepts_partial_batches = True


def lineage(root, family):
    """Number that each single task of a family is of, to the numbers that it required."""
    query = f"""SELECT json_extract(child.parameters, '$.number'), json_extract(parent.parameters, '$.number')
                FROM task_dependency JOIN task child ON child.pk = task_pk
                JOIN task parent ON parent.pk = required_task_pk
                WHERE child.family = '{family}' AND child.batch_size IS NULL
                AND parent.batch_size IS NULL"""  # noqa: S608
    found = {}
    for child, parent in rows(root, query):
        found.setdefault(int(child), set()).add(int(parent))
    return found


def outcome(root, family):
    query = f"""SELECT json_extract(parameters, '$.number'), state FROM task_state
                WHERE family = '{family}' AND batch_size IS NULL"""  # noqa: S608
    return {int(number): state for number, state in rows(root, query)}


@pytest.mark.parametrize("number", [3, (3, 4)])
def test_what_follows_is_run_and_belongs_to_the_lineage(astra_root, number):
    assert build(Follow(number=number))
    numbers = number if isinstance(number, tuple) else (number,)
    assert lineage(astra_root, "Follow") == {n: {n, 10 * n, 10 * n + 1} for n in numbers}
    before = attempts(astra_root)
    assert before["Toy"] == 3 * len(numbers)
    assert build(Follow(number=number))
    assert attempts(astra_root) == before


def test_a_change_of_what_follows_lets_it_run_again(astra_root):
    assert build(Follow(number=(3, 4)))
    (astra_root / "toy-plain-40-n.txt").write_text("77")
    assert plan_of(Follow(number=(3, 4))) == [("Follow", 1)]
    assert build(Follow(number=(3, 4)))
    assert attempts(astra_root) == {"Toy": 6, "Follow": 3}


def plan_of(task):
    return [(type(planned.task).__name__, len(planned.reasons)) for planned in plan(task)]


def test_a_dry_run_lists_what_follows_as_soon_as_it_is_known(astra_root):
    assert plan_of(Follow(number=(3, 4))) == [("Toy", 2), ("Follow", 2)]
    assert build(Toy(number=(3, 4)))
    assert plan_of(Follow(number=(3, 4))) == [("Toy", 4), ("Follow", 2)]


def test_one_that_fails_blocks_its_own_member_alone(astra_root):
    assert not build(Follow(number=(3, 4, 7), refuse=41))
    assert outcome(astra_root, "Follow") == {3: "done", 4: "dependency missing", 7: "failed"}
    message = "SELECT message FROM task_attempt WHERE message LIKE '%nothing follows%' LIMIT 1"
    assert rows(astra_root, message) == [("nothing follows from 7",)]
    assert not build(Follow(number=(3, 4, 7)))
    assert outcome(astra_root, "Follow") == {3: "done", 4: "done", 7: "failed"}


@pytest.mark.parametrize("number", [4, (3, 4)])
def test_one_that_accepts_a_part_runs_without_what_failed(astra_root, number):
    assert build(FollowSome(number=number, refuse=41))
    assert Path(FollowSome(number=4, refuse=41).output().path).read_text() == "1"
    assert outcome(astra_root, "Toy")[41] == "failed"


def test_processes_of_their_own_follow_too(astra_root):
    task = Follow(number=(3, 4), refuse=41)
    assert not luigi.build([task], local_scheduler=True, log_level="WARNING", workers=2, no_lock=True)
    assert outcome(astra_root, "Follow") == {3: "done", 4: "dependency missing"}
