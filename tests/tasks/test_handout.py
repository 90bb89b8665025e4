"""What is asked once of tasks that were handed out together, and what goes with them to other processes."""

import luigi
import pytest

from astra.tasks.completeness import known_completeness
from astra.tasks.handout import Handout
from tests.tasks.test_engine import build
from tests.tasks.toy_tasks import Toy


class WrappedToys(luigi.WrapperTask):
    """Some toys, without a state of its own."""

    def requires(self):
        return [Toy(number=number) for number in (1, 2)]


def test_a_task_without_state_takes_along_what_is_done_of_its_needs(astra_root):
    assert build(Toy(number=1))
    here, there, wrapper = Handout(), Handout(), WrappedToys()
    here.begin([wrapper])
    there.receive(wrapper.task_id, here.send(wrapper))
    assert [there.is_done(toy.task_id) for toy in wrapper.requires()] == [True, False]
    assert not there.is_to_do(wrapper)
    assert there.hand_over() is None


def test_nothing_goes_along_where_nothing_is_done(astra_root):
    handout, wrapper = Handout(), WrappedToys()
    handout.begin([wrapper])
    assert handout.send(wrapper) is None


def test_what_was_planned_is_not_asked_for_again(astra_root, monkeypatch):
    assert build(Toy(number=1))
    wrapper = WrappedToys()
    needs = {wrapper.task_id: wrapper.requires()}
    monkeypatch.setattr(WrappedToys, "requires", lambda _: pytest.fail("it was asked when it was planned"))
    handout = Handout()
    handout.begin([wrapper], needs=needs)
    assert handout.send(wrapper).done == [Toy(number=1).task_id]


def test_batches_are_known_as_complete_but_for_those_that_are_done_in_part(astra_root):
    whole, part, none = Toy(number=(1, 2)), Toy(number=(2, 3)), Toy(number=(4, 5))
    assert build(whole)
    known = known_completeness([whole, part, none, Toy(number=1)])
    assert known == {whole.task_id: True, none.task_id: False, Toy(number=1).task_id: True}
    assert [task.complete() for task in (whole, part, none)] == [True, False, False]
