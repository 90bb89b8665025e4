"""Arguments of calls, looked at before the scheduler sees them.

What it takes in is there for all: an amount that is a text, or a name that cannot be written, would let the
calls of every worker fail from then on. So a call with anything of a wrong kind is refused as a whole.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from luigi.task_status import (
    BATCH_RUNNING,
    DISABLED,
    DONE,
    FAILED,
    PENDING,
    RUNNING,
    SUSPENDED,
    UNKNOWN,
)

from astra.errors import FormatError

STATUSES = frozenset((BATCH_RUNNING, DISABLED, DONE, FAILED, PENDING, RUNNING, SUSPENDED, UNKNOWN))
MAX_DEPTH = 20  # of lists and objects in each other
MAX_SHOWN = 80  # characters of a value in a message
NEEDED = {
    "add_task": ("worker", "task_id"),
    "get_work": ("worker",),
    "ping": ("worker",),
}  # whose signature does not say it

Check = Callable[[Any], bool]


def read_arguments(method: str, call: Callable[..., Any], text: str | bytes) -> dict[str, Any]:
    """Read the arguments of a call.

    Parameters
    ----------
    method : str
        Its name.
    call : callable
        What is to be called with them.
    text : str or bytes
        An object, as JSON.

    Raises
    ------
    FormatError
        If it is no such object, or the call takes no such arguments.
    """
    try:
        found = json.loads(text, parse_constant=_constant)
    except (ValueError, RecursionError) as exc:
        message = f"the arguments of {method} are no JSON: {exc}"
        raise FormatError(message, method=method) from exc
    if not isinstance(found, dict):
        message = f"the arguments of {method} must be an object with names, but are {_shown(found)}"
        raise FormatError(message, method=method)
    _check_names(method, call, found)
    if method == "add_task":
        _check_report(method, found)
    elif method == "update_resources":
        _check(method, "resources", found)
    else:
        for name, value in found.items():
            _check(method, name, value)
    return found


def _constant(name: str) -> float:
    if name == "NaN":
        message = "NaN is no number"
        raise ValueError(message)
    return float(name)


def _check_names(method: str, call: Callable[..., Any], found: Mapping[str, Any]) -> None:
    try:
        _signature(getattr(call, "__func__", call)).bind(None, **found)
    except TypeError as exc:
        message = f"{method} takes other arguments: {exc}"
        raise FormatError(message, method=method) from exc
    for name in NEEDED.get(method, ()):
        if name not in found:
            message = f"{method} needs the argument {name}"
            raise FormatError(message, method=method)


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _check_report(method: str, report: Any) -> None:
    """Check arguments of ``add_task``, all of them or those that a message for many tasks holds."""
    if type(report) is not dict:
        message = f"a report of {method} must be an object with names, but is {_shown(report)}"
        raise FormatError(message, method=method)
    status = report.get("status", PENDING)
    if type(status) is not str or status not in STATUSES:
        message = f"status of {method} must be one of {', '.join(sorted(STATUSES))}, but is {_shown(status)}"
        raise FormatError(message, method=method)
    for name, value in report.items():
        _check(method, name, value)


def _check(method: str, name: str, value: Any) -> None:
    if name == "reports":
        _check_many(method, value, needed="task_id")
    elif name == "families":
        _check_many(method, [] if value is None else _values_of(value))
    elif value is not None or name in NEVER_NONE:
        check, expected = CHECKS.get(name, _SHALLOW)
        if not check(value):
            message = f"{name} of {method} must be {expected}, but is {_shown(value)}"
            raise FormatError(message, method=method, argument=name)


def _check_many(method: str, reports: Any, needed: str | None = None) -> None:
    if type(reports) is not list:
        message = f"reports and families of {method} must hold objects"
        raise FormatError(message, method=method)
    for report in reports:
        _check_report(method, report)
        if needed is not None and needed not in report:
            message = f"a report of {method} needs the argument {needed}"
            raise FormatError(message, method=method)


def _values_of(value: Any) -> Any:
    return list(value.values()) if type(value) is dict else None


def _shown(value: Any) -> str:
    text = ascii(value) if _is_shallow(value) else "deeper"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


# -- kinds of values ----------------------------------------------------------------------------------------


def _is_text(value: Any) -> bool:
    """Say whether a value is a text that can be written: half a pair of surrogates cannot."""
    return type(value) is str and (value.isascii() or _is_written(value))


def _is_written(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int)


def _are_texts(value: Any) -> bool:
    return type(value) is list and all(map(_is_text, value))


def _are_amounts(value: Any) -> bool:
    return type(value) is dict and all(map(_is_text, value)) and all(map(_is_number, value.values()))


def _are_limits(value: Any) -> bool:
    return type(value) is dict and all(limit is None or _is_number(limit) for limit in value.values())


def _is_object(value: Any) -> bool:
    return type(value) is dict and all(map(_is_text, value)) and _is_shallow(value)


def _are_runs(value: Any) -> bool:
    return type(value) is list and all(run is None or isinstance(run, int) for run in value)


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _is_of_worker(value: Any) -> bool:
    """Say whether a value is what a worker tells of itself: names with values, in pairs or as an object."""
    try:
        found = dict(value)
    except (TypeError, ValueError):
        return False
    texts = [item for item in found.values() if type(item) is str]
    marks, n_processes = found.get("planned_in", []), found.get("workers", 1)
    return _is_object(found) and _are_texts(texts) and _are_texts(marks) and _is_whole(n_processes)


def _is_shallow(value: Any, depth: int = MAX_DEPTH) -> bool:
    kind = type(value)
    if kind is not dict and kind is not list:
        return True
    inner = value.values() if kind is dict else value
    return depth > 0 and all(_is_shallow(item, depth - 1) for item in inner)


def _checks(check: Check, expected: str, *names: str) -> dict[str, tuple[Check, str]]:
    return dict.fromkeys(names, (check, expected))


_SHALLOW = (_is_shallow, f"at most {MAX_DEPTH} lists or objects in each other")
CHECKS: dict[str, tuple[Check, str]] = {  # by name of an argument
    **_checks(_is_text, "a text", "worker", "task_id", "task_name", "task", "resource", "task_str", "search"),
    **_checks(_is_text, "a text", "family", "task_family", "module", "host", "batch_id", "tracking_url"),
    **_checks(_is_text, "a text", "status", "upstream_status"),
    **_checks(_are_texts, "a list of texts", "deps", "new_deps", "task_ids", "current_tasks"),
    **_checks(_are_texts, "a list of texts", "owners", "batched_args"),
    **_checks(_are_amounts, "an object of numbers", "resources", "decrease_resources"),
    **_checks(_is_object, "an object with names", "params", "param_visibilities"),
    **_checks(_are_limits, "an object of numbers", "retry_policy_dict"),
    **_checks(_is_whole, "a whole number", "sequence", "n_wanted", "run", "max_shown_tasks"),
    **_checks(_are_runs, "a list of whole numbers", "runs"),
    **_checks(_is_number, "a number", "priority", "max_batch_size"),
    **_checks(_is_flag, "true or false", "batchable", "accepts_messages", "assistant", "runnable"),
    **_checks(_is_of_worker, "names with values, of which workers is a whole number", "info"),
}
NEVER_NONE = frozenset(
    (
        *("worker", "task_id", "task_ids", "resource", "priority", "max_batch_size", "sequence"),
        *("n_wanted", "info", "task_family", "batched_args"),
    )
)
