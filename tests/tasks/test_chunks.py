"""Large batches in chunks: deterministic, and one more member changes one chunk."""

import json

import luigi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astra.tasks.base import AstraTask
from astra.tasks.chunks import DEFAULT_CHUNK_SIZE, InChunks, chunk_size, split
from tests.tasks.test_engine import build, rows
from tests.tasks.toy_tasks import Toy

NUMBERS = st.sets(st.integers(0, 10**6), min_size=1, max_size=200)


class SmallBatches(AstraTask):
    """A task that takes few members at a time."""

    max_batch_size = 20
    number = luigi.IntParameter(batch_method=tuple)
    name = luigi.Parameter(batch_method=tuple, default="n")

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                task.add_figures("run", {"number": task.number})


@settings(max_examples=50, deadline=None)
@given(numbers=NUMBERS, more=st.integers(10**6 + 1, 10**7))
def test_one_more_member_changes_one_chunk(numbers, more):
    before = split(SmallBatches(number=tuple(numbers), name="n"))
    after = split(SmallBatches(number=(*numbers, more), name="n"))
    if len(numbers) <= 20:
        return  # the batch itself
    gone = {task.task_id for task in before} - {task.task_id for task in after}
    new = {task.task_id for task in after} - {task.task_id for task in before}
    assert len(gone) == 1
    assert len(new) in {1, 2} or len(numbers) == 20


@settings(max_examples=50, deadline=None)
@given(numbers=NUMBERS)
def test_chunks_hold_every_member_once_whatever_the_order(numbers):
    forward = split(SmallBatches(number=tuple(sorted(numbers)), name="n"), size=7)
    backward = split(SmallBatches(number=tuple(sorted(numbers, reverse=True)), name="n"), size=7)
    if len(numbers) > 7:
        assert forward == backward
    assert sorted(number for task in forward for number in task.number) == sorted(numbers)
    assert all(task.get_batch_size() <= 7 for task in forward)


def test_equal_members_count_once():
    assert sum(task.get_batch_size() for task in split(SmallBatches(number=(1, 2, 2) * 20))) == 2


def test_members_keep_their_values_together():
    numbers = range(100)
    chunks = split(SmallBatches(number=tuple(numbers), name=tuple(map(str, numbers))))
    assert all(
        str(number) == name for task in chunks for number, name in zip(task.number, task.name, strict=True)
    )


def test_the_size_is_that_of_the_class_or_a_default():
    assert chunk_size(SmallBatches) == 20
    assert chunk_size(Toy) == DEFAULT_CHUNK_SIZE
    bad = type("NoBatches", (AstraTask,), {"max_batch_size": 0})
    with pytest.raises(ValueError, match=r"NoBatches\.max_batch_size is 0"):
        chunk_size(bad)


def test_a_wrapper_runs_all_chunks_and_then_is_complete(astra_root):
    wrapper = InChunks.of(SmallBatches(number=tuple(range(500))))
    assert not wrapper.complete()
    assert build(wrapper)
    assert wrapper.complete()
    query = "SELECT count(*), max(batch_size) FROM task WHERE batch_size IS "
    assert rows(astra_root, query + "NULL") == [(500, None)]
    [(count, largest)] = rows(astra_root, query + "NOT NULL")
    assert count == len(wrapper.requires())
    assert largest <= 20


def test_only_the_chunk_of_a_new_member_runs_again(astra_root):
    assert build(InChunks.of(SmallBatches(number=tuple(range(500)))))
    assert build(InChunks.of(SmallBatches(number=tuple(range(501)))))
    query = "SELECT count(*) FROM task_attempt JOIN task ON task.pk = task_pk WHERE batch_size IS NULL"
    assert rows(astra_root, query) == [(501,)]


def test_a_wrapper_is_short_for_the_scheduler_and_comes_back(astra_root):
    wrapper = InChunks.of(SmallBatches(number=tuple(range(1000))))
    texts = wrapper.to_str_params()
    assert len(json.dumps(texts)) < 2000
    assert "chunks=" in repr(wrapper)
    luigi.task_register.Register.clear_instance_cache()
    again = InChunks.from_str_params(texts)
    assert again.requires() == wrapper.requires()
