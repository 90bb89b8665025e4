import pytest

from astra.scheduler.bulk import BulkScheduler


def scheduler_with(n_tasks, workers=("w",), **details):
    scheduler = BulkScheduler(retry_delay=100.0, worker_disconnect_delay=50.0, retry_count=2)
    for worker in workers:
        reports = [{"task_id": f"t{number}", "family": "F", **details} for number in range(n_tasks)]
        scheduler.add_tasks(worker, reports, {"F": {"module": "m", "retry_policy_dict": {"retry_count": 2}}})
    return scheduler


def ids(work):
    return [reply["task_id"] for reply in work]


def test_reports_have_what_is_common_to_their_family():
    scheduler = scheduler_with(3)
    task = scheduler._state.get_task("t2")
    assert (task.module, task.family, task.retry_policy.retry_count) == ("m", "F", 2)


def test_many_tasks_are_given_at_once_and_each_once():
    scheduler = scheduler_with(10)
    assert ids(scheduler.exchange_work("w", n_wanted=4)) == ["t0", "t1", "t2", "t3"]
    held = ["t0", "t1", "t2", "t3"]
    assert ids(scheduler.exchange_work("w", current_tasks=held, n_wanted=100)) == [
        f"t{n}" for n in range(4, 10)
    ]


def test_work_of_a_lost_answer_is_given_again():
    scheduler = scheduler_with(5)
    first = ids(scheduler.exchange_work("w", n_wanted=3))
    assert sorted(ids(scheduler.exchange_work("w", n_wanted=3))) == first


def test_a_message_that_came_twice_counts_once():
    scheduler = scheduler_with(2)
    scheduler.exchange_work("w")
    for _ in range(3):
        scheduler.exchange_work("w", [{"task_id": "t0", "status": "FAILED", "family": "F"}], sequence=5)
    assert scheduler._state.get_task("t0").num_failures() == 1


def test_a_message_that_came_twice_is_answered_alike():
    """Copies of a message were on their way while the network was cut: any one answer may be read."""
    scheduler = scheduler_with(6)
    first = scheduler.exchange_work("w", n_wanted=3, sequence=5)
    again = scheduler.exchange_work("w", n_wanted=3, sequence=5)
    assert [(reply["task_id"], reply["run"]) for reply in again] == [("t0", 1), ("t1", 1), ("t2", 1)]
    assert ids(first) == ids(again)
    done = [{"task_id": "t0", "status": "DONE", "family": "F", "run": 1}]
    assert ids(scheduler.exchange_work("w", done, current_tasks=["t1", "t2"], n_wanted=1, sequence=6)) == [
        "t3"
    ]
    assert ids(scheduler.exchange_work("w", n_wanted=3, sequence=5)) == [None]  # and that copy came late
    runs = {name: scheduler._state.get_task(name).run for name in ("t1", "t2", "t3", "t4")}
    assert runs == {"t1": 1, "t2": 1, "t3": 1, "t4": None}


def test_reports_that_come_after_later_ones_are_not_taken():
    scheduler = scheduler_with(1)
    scheduler.add_tasks("w", [{"task_id": "t0", "status": "DONE", "family": "F"}], sequence=6)
    scheduler.add_tasks("w", [{"task_id": "t0", "family": "F"}], sequence=5)
    assert scheduler._state.get_task("t0").status == "DONE"


def test_what_is_given_back_late_is_not_taken_from_a_later_run():
    scheduler = scheduler_with(2)
    scheduler.exchange_work("w", n_wanted=2)
    scheduler.return_work("w", ["t1"], [1])
    assert ids(scheduler.exchange_work("w", current_tasks=["t0"])) == ["t1"]
    scheduler.return_work("w", ["t1"], [1])
    assert scheduler._state.get_task("t1").status == "RUNNING"


def test_what_uses_a_resource_or_may_be_merged_is_given_alone():
    scheduler = BulkScheduler(resources={"db": 5})
    scheduler.add_task_batcher("w", "B", ["x"], 3)
    reports = [{"task_id": f"r{number}", "resources": {"db": 1}, "priority": 3} for number in range(2)]
    reports += [{"task_id": f"p{number}", "priority": 2} for number in range(2)]
    batchable = {"family": "B", "batchable": True}
    reports += [{"task_id": f"b{number}", "params": {"x": str(number)}, **batchable} for number in range(4)]
    scheduler.add_tasks("w", reports)
    held, work = [], []
    for _ in range(4):
        reply = scheduler.exchange_work("w", current_tasks=held, n_wanted=10)
        work.append(reply[0].get("batch_task_ids") or ids(reply))
        held += ids(reply)
        if "batch_id" in reply[0]:
            scheduler.add_task(worker="w", task_id="b", status="RUNNING", batch_id=reply[0]["batch_id"])
            held.append("b")
    assert work == [["r0"], ["r1", "p0", "p1"], ["b0", "b1", "b2"], ["b3"]]


def test_a_worker_gets_its_share_alone():
    scheduler = scheduler_with(12, ["w", "v", "u"])
    for worker in ("w", "v", "u"):
        scheduler.ping(worker=worker)
        scheduler._state.get_worker(worker).update(None, get_work=True)
    assert len(scheduler.exchange_work("w", n_wanted=100)) == 1 + 11 // 3


def test_an_idle_worker_gets_what_another_has_not_begun():
    scheduler = scheduler_with(4, ["w", "v"])
    held = ids(scheduler.exchange_work("w", n_wanted=4))
    assert len(held) == 4
    assert ids(scheduler.exchange_work("v")) == [None]
    messages = scheduler.ping(worker="w")["rpc_messages"]
    assert [message["name"] for message in messages] == ["give_back_work"]
    scheduler.return_work("w", held[1:])
    assert ids(scheduler.exchange_work("v")) == ["t1"]
    scheduler.return_work("w", ["t1", "unknown"])  # not its own any more
    assert scheduler._state.get_task("t1").worker_running == "v"


def test_tasks_of_a_worker_that_is_gone_run_alone_next_time():
    scheduler = scheduler_with(3, ["w", "v"])
    scheduler.exchange_work("w", n_wanted=3)
    leave(scheduler, "w")
    tasks = [scheduler._state.get_task(f"t{number}") for number in range(3)]
    assert [(task.status, task.num_failures()) for task in tasks] == [("PENDING", 0)] * 3
    first = ids(scheduler.exchange_work("v", n_wanted=3))
    assert first == ["t0"]
    leave(scheduler, "v")
    assert (tasks[0].status, tasks[0].num_failures()) == ("FAILED", 1)
    assert [task.status for task in tasks[1:]] == ["PENDING"] * 2


def leave(scheduler, worker):
    scheduler._state.get_worker(worker).last_active = 0
    scheduler.prune()


@pytest.mark.parametrize("call", ["exchange_work", "get_work"])
def test_a_disabled_worker_gets_nothing(call):
    scheduler = scheduler_with(2)
    scheduler.disable_worker("w")
    reply = getattr(scheduler, call)(worker="w")
    reply = reply[0] if isinstance(reply, list) else reply
    assert (reply["task_id"], reply["worker_state"]) == (None, "disabled")


def test_where_a_run_can_be_watched_changes_nothing_else():
    scheduler = BulkScheduler(resources={"db": 1})
    policy = {"retry_count": 1}
    scheduler.add_task(
        worker="w", task_id="a", resources={"db": 1}, accepts_messages=True, retry_policy_dict=policy
    )
    scheduler.get_work(worker="w")
    scheduler.add_task(worker="w", task_id="a", status="RUNNING", tracking_url="http://here")
    task = scheduler._state.get_task("a")
    assert task.tracking_url == "http://here"
    assert (task.resources, task.accepts_messages, task.retry_policy.retry_count) == ({"db": 1}, True, 1)
    scheduler.add_task(worker="w", task_id="a", status="FAILED", retry_policy_dict=policy)
    assert task.status == "DISABLED"


def test_members_that_run_together_count_as_running():
    scheduler = BulkScheduler()
    scheduler.add_task_batcher("w", "B", ["x"], 3)
    for x in "12":
        scheduler.add_task(worker="w", task_id=f"B_{x}", family="B", params={"x": x}, batchable=True)
    assert scheduler.running_among(["B_1", "B_2"]) == []
    [work] = scheduler.exchange_work("w")
    assert work["batch_task_ids"] == ["B_1", "B_2"]
    assert scheduler.running_among(["B_1", "B_2", "B_3"]) == ["B_1", "B_2"]


def test_what_runs_alone_is_not_passed_over_for_what_comes_after_it():
    scheduler = scheduler_with(3)
    assert len(ids(scheduler.exchange_work("w", n_wanted=3))) == 3
    scheduler.add_tasks("v", [{"task_id": f"t{number}", "family": "F"} for number in range(6)])
    leave(scheduler, "w")
    scheduler.add_tasks("v", [{"task_id": "first", "family": "F", "priority": 1}])
    assert ids(scheduler.exchange_work("v", n_wanted=5)) == ["first"]
    assert ids(scheduler.exchange_work("v", current_tasks=["first"], n_wanted=5)) == ["t0"]
