"""A batch that has failed in part on another host: what is done of it counts, as if it had run here."""

import sys

import pytest
from luigi.task_register import Register

from astra import config
from astra.errors import ConfigError
from astra.scheduler.bulk import BulkScheduler
from astra.tasks.runner import AstraWorker
from astra.tasks.serving import ServedWork, ServingWorker
from tests.tasks.test_engine import states
from tests.tasks.test_serving import OWN, listed, serve
from tests.tasks.toy_tasks import Double, Sum, Toy


def planner_of(scheduler, task):
    """A worker that plans a task, and runs nothing."""
    planner = AstraWorker(scheduler=scheduler, worker_processes=0, wait_interval=0.01, wait_jitter=0.0)
    with planner:
        assert planner.add(task)
    Register.clear_instance_cache()  # another process has tasks of its own
    return planner


def test_its_members_count_for_what_takes_a_part(astra_root):
    scheduler = BulkScheduler()
    planner = planner_of(scheduler, Double(number=(1, 2, 3), refuse=2))
    serve(scheduler)
    assert states(astra_root, "Toy") == {"1": "done", "2": "failed", "3": "done"}
    assert states(astra_root, "Double") == {"1": "done", "2": "dependency missing", "3": "done"}
    assert listed(scheduler, "DONE") == {Toy(number=(1, 2, 3), refuse=2).task_id}
    with planner:
        planner.run()
    assert planner._exit_status() == 30  # as on one host
    assert planner_says_done(planner) == {Toy(number=(1, 2, 3), refuse=2).task_id}


def planner_says_done(planner):
    return {task.task_id for task, status, _ in planner._add_task_history if status == "DONE"}


def test_a_worker_that_comes_later_knows_of_it_too(astra_root):
    scheduler = BulkScheduler()
    planner_of(scheduler, Double(number=(1, 2, 3), refuse=2))
    first = ServingWorker(
        ServedWork(scheduler, OWN, str), tell=str, count=1, wait_interval=0.01, wait_jitter=0.0
    )
    end = first._add_task
    first._add_task = lambda *args, **kwargs: (end(*args, **kwargs), first._start_phasing_out())
    first.serve()
    assert first.served.n_done == 1
    assert states(astra_root, "Double") == {}
    serve(scheduler)
    assert states(astra_root, "Double") == {"1": "done", "2": "dependency missing", "3": "done"}


def test_what_needs_the_whole_does_not_run_on_a_part(astra_root):
    scheduler = BulkScheduler()
    planner_of(scheduler, Sum(numbers=(1, 2, 3), refuse=2))
    serve(scheduler)
    assert listed(scheduler, "FAILED") == {Toy(number=(1, 2, 3), refuse=2).task_id}
    assert states(astra_root, "Toy")["3"] == "done"


def test_what_may_not_be_loaded_is_not_looked_at(astra_root):
    scheduler = BulkScheduler()
    scheduler.add_task(worker="w", task_id="batch", family="Toy", module="tests.tasks.toy_tasks", params={})
    scheduler.add_task(
        worker="w", task_id="evil", family="Evil", module="antigravity", deps=["batch"], params={}
    )
    scheduler.add_task(
        worker="w", task_id="good", family="Double", module="tests.tasks.toy_tasks", deps=["batch"], params={}
    )
    found = ServedWork(scheduler, OWN, str).needed_by("batch")
    assert [needs["family"] for needs in found] == ["Double"]
    assert "antigravity" not in sys.modules


# -- one database -------------------------------------------------------------------------------------------


@pytest.fixture
def other_root(tmp_path_factory, monkeypatch):
    def move():
        monkeypatch.setenv("ASTRA_ROOT", str(tmp_path_factory.mktemp("other")))

    return move


def known_planner(scheduler, task):
    planner = planner_of(scheduler, task)
    planner.invocation.run_pk(config.database_url())
    planner._add_worker()
    return planner


def test_a_worker_with_the_database_of_who_plans_serves(astra_root):
    scheduler = BulkScheduler()
    known_planner(scheduler, Toy(number=1))
    assert serve(scheduler)[0].served.n_done == 1


def test_a_worker_with_another_database_refuses_with_a_sentence(astra_root, other_root):
    scheduler = BulkScheduler()
    known_planner(scheduler, Toy(number=1))
    other_root()
    with pytest.raises(ConfigError, match=r"this worker writes to sqlite:.* planned in another database: "):
        serve(scheduler)
    assert listed(scheduler, "FAILED") == set()


def test_nor_does_one_run_its_own_plan_of_the_same_tasks(astra_root, other_root):
    scheduler = BulkScheduler()
    known_planner(scheduler, Toy(number=1))
    other_root()
    second = AstraWorker(scheduler=scheduler, worker_processes=1)
    with second:
        second.add(Toy(number=1))
        with pytest.raises(ConfigError, match="planned in another database"):
            second.run()
    assert not list(config.root().glob("toy*"))
