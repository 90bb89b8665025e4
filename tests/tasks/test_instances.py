"""Luigi keeps no task that the run of another one has made on its way, and all that it knew before."""

import gc

import luigi
import pytest
from luigi.task_register import Register

from astra.tasks.base import AstraTask
from astra.tasks.instances import forgotten_instances

NUMBERS = tuple(range(7))
done = []


class NeededByMember(AstraTask):
    """What each member of `NeedsByMember` requires."""

    number = luigi.IntParameter(batch_method=tuple, description="Which one.")

    def run(self):
        pass


class NeedsByMember(AstraTask):
    """A batch that requires one batch, while each of its members requires a single task."""

    number = luigi.IntParameter(batch_method=tuple, description="Which one.")
    refused = luigi.IntParameter(default=-1, significant=False, description="Number of what fails.")

    def requires(self):
        return NeededByMember(number=self.number)

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                assert task.requires().complete()
                assert task.number != self.refused
                done.append(task.number)


class AsksForOne(AstraTask):
    """A task that asks for another one while it runs."""

    def run(self):
        yield NeededByMember(number=NUMBERS)


@pytest.fixture
def empty_cache(astra_root):
    """No task that an earlier test has made."""
    Register.clear_instance_cache()
    done.clear()


def build(task):
    return luigi.build([task], local_scheduler=True, log_level="ERROR")


def singles_kept():
    """Return the numbers of the single tasks that Luigi keeps; the first one is looked at in planning."""
    gc.collect()
    kept = [task.number for task in gc.get_objects() if type(task) is NeededByMember]
    return {number for number in kept if not isinstance(number, tuple)} - {NUMBERS[0]}


def test_what_members_require_is_not_kept_after_their_batch(empty_cache):
    assert build(NeedsByMember(number=NUMBERS))
    assert done == list(NUMBERS)
    assert not singles_kept()


def test_a_task_that_was_there_before_the_run_stays_the_same_object(empty_cache):
    known = NeededByMember(number=3)
    assert build(NeedsByMember(number=NUMBERS))
    assert NeededByMember(number=3) is known
    assert singles_kept() == {3}


def test_what_a_run_has_asked_for_is_done_all_the_same(empty_cache):
    assert build(AsksForOne())
    assert NeededByMember(number=NUMBERS).complete()


def test_a_batch_of_which_a_member_failed_is_run_again_for_it_alone(empty_cache):
    assert not build(NeedsByMember(number=NUMBERS, refused=2))
    assert build(NeedsByMember(number=NUMBERS))
    assert done == [0, 1, 3, 4, 5, 6, 2]


def test_nothing_is_forgotten_where_all_was_or_nothing_is_kept(empty_cache):
    with forgotten_instances():
        Register.clear_instance_cache()
        inside = NeededByMember(number=1)
    assert NeededByMember(number=1) is inside
    Register.disable_instance_cache()
    try:
        with forgotten_instances():
            inside = NeededByMember(number=1)
        assert NeededByMember(number=1) is not inside
    finally:
        Register.clear_instance_cache()


def test_an_error_leaves_all_as_it_is(empty_cache):
    made = []
    with pytest.raises(KeyError), forgotten_instances():
        raise KeyError(made.append(NeededByMember(number=1)))
    assert NeededByMember(number=1) is made[0]
