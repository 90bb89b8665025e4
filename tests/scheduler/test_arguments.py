"""Calls with anything of a wrong kind are refused as a whole, and do nobody else any harm."""

import http.client
import json

import pytest

from astra.errors import FormatError
from astra.scheduler.arguments import MAX_DEPTH, read_arguments
from astra.scheduler.durable import DurableScheduler

DEEP = "[" * 930 + "]" * 930
TASK = {"worker": "w", "task_id": "a"}
WRONG = {  # by call: arguments as JSON
    "add_task": [
        "",
        "[1]",
        "NaN",
        "[" * 100_000,
        "{}",
        '{"task_id": "a"}',
        '{"worker": "w", "task_id": 5}',
        '{"worker": "w", "task_id": "\\ud800"}',
        *(
            json.dumps({**TASK, name: value})
            for name, value in {
                "status": "GONE",
                "deps": "b",
                "new_deps": [1],
                "params": [],
                "priority": "high",
                "resources": {"gpu": "1"},
                "retry_policy_dict": {"retry_count": "1"},
                "batchable": "yes",
                "family": 1,
            }.items()
        ),
        json.dumps({**TASK, "status": ["DONE"]}),
        json.dumps({**TASK, "priority": float("nan")}),
        '{"worker": "w", "task_id": "a", "expl": DEEP}'.replace("DEEP", DEEP),
    ],
    "add_tasks": [
        '{"worker": "w"}',
        '{"worker": "w", "reports": {}}',
        '{"worker": "w", "reports": [{"task_id": "a"}, 5]}',
        '{"worker": "w", "reports": [{"task_id": "a"}, {"family": "F"}]}',
        '{"worker": "w", "reports": [{"task_id": "a"}], "families": [{}]}',
        '{"worker": "w", "reports": [{"task_id": "a"}], "families": {"F": 5}}',
        '{"worker": "w", "reports": [{"task_id": "a"}], "families": {"F": {"params": 5}}}',
        '{"worker": "w", "reports": [{"task_id": "a"}], "sequence": "1"}',
    ],
    "get_work": ["{}", '{"worker": ["w"]}', '{"worker": "w", "current_tasks": [[]]}'],
    "exchange_work": ['{"worker": "w", "n_wanted": null}', '{"worker": "w", "more": 1}'],
    "add_worker": [
        '{"worker": "w", "info": [["workers", "x"]]}',
        '{"worker": "w", "info": 5}',
        '{"worker": "w", "info": [["name", "\\ud800"]]}',
        '{"worker": "w", "info": [["name", DEEP]]}'.replace("DEEP", DEEP),
    ],
    "ping": ["{}"],
    "task_list": ['{"status": [], "upstream_status": ""}', '{"status": "DONE", "max_shown_tasks": "9"}'],
    "done_among": ['{"task_ids": null}'],
    "add_task_batcher": [
        '{"worker": "w", "task_family": "F", "batched_args": null}',
        '{"worker": "w", "task_family": "F", "batched_args": "x"}',
    ],
    "return_work": ['{"worker": "w", "task_ids": ["a"], "runs": ["1"]}'],
    "update_resources": ['{"gpu": "x"}', '{"gpu": null}'],
    "set_task_status_message": ['{"task_id": "a", "status_message": DEEP}'.replace("DEEP", DEEP)],
}
CALLS = [(method, text) for method, texts in WRONG.items() for text in texts]
RIGHT = {
    "add_task": {
        **TASK,
        "priority": float("inf"),
        "resources": {"gpu": 0.5},
        "params": {"x": "1"},
        "batch_id": None,
        "retry_policy_dict": {"retry_count": 1, "disable_window": None},
    },
    "add_task_batcher": {
        "worker": "w",
        "task_family": "F",
        "batched_args": ["x"],
        "max_batch_size": float("inf"),
    },
    "add_worker": {"worker": "w", "info": [["workers", 2], ["host", "h"], ["planned_in", ["m"]]]},
    "update_resources": {"gpu": 2},
    "task_list": {"status": "", "upstream_status": ""},
}


@pytest.mark.parametrize(("method", "text"), CALLS, ids=[f"{number}" for number in range(len(CALLS))])
def test_what_is_of_a_wrong_kind_is_refused(method, text):
    with pytest.raises(FormatError, match=method):
        read_arguments(method, getattr(DurableScheduler(), method), text)


@pytest.mark.parametrize("method", RIGHT)
def test_what_is_right_is_taken(method):
    text = json.dumps(RIGHT[method])
    assert read_arguments(method, getattr(DurableScheduler(), method), text) == RIGHT[method]


def test_messages_may_have_some_depth():
    text = json.dumps({"task_id": "a", "status_message": json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)})
    assert read_arguments("set_task_status_message", DurableScheduler().set_task_status_message, text)


def test_a_scheduler_that_was_called_wrongly_serves_others_as_before(central):
    connection = http.client.HTTPConnection("127.0.0.1", central.port, timeout=30)
    for method, text in [*CALLS, ("update_metrics_task_started", '{"task": "a"}')]:
        connection.request("POST", f"/api/{method}", text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        reason = response.read().decode()
        assert response.status == (404 if method.startswith("update_metrics") else 400), (
            method,
            text,
            reason,
        )
    connection.request("GET", "/metrics")
    figures = connection.getresponse().read().decode()
    connection.close()
    assert f'refused_requests_total{{code="400"}} {len(CALLS)}' in figures
    assert 'tasks{status="PENDING"} 0' in figures
    assert central.call("exchange_work", worker="v", reports=[{"task_id": "b"}])[0]["task_id"] == "b"
    central.kill()
    central.start()
    assert list(central.call("task_list", status="RUNNING")) == ["b"]
