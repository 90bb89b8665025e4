"""Links from the scheduler's page to the page of each task that runs: ``[astra] web_url`` says where.

Luigi's own scheduler takes a report with such a link for one that says all of the task, and forgets what the
task was said to need; so it is told to astra's scheduler alone.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from astra import config
from astra.errors import ConfigError


def page_of_task(task_id: str) -> str | None:
    """Return the address of the page of a task; None where ``[astra] web_url`` is not set.

    Raises
    ------
    ConfigError
        If that is no address of the web.
    """
    address = str(config.option("web_url")).rstrip("/")
    if not address:
        return None
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        message = f"[astra] web_url must be an address as http://127.0.0.1:8080, found {address!r}"
        raise ConfigError(message, web_url=address)
    return f"{address}/task/{quote(task_id, safe='')}"


def report_page(scheduler: Any, worker_id: str, task_id: str) -> None:
    """Tell astra's scheduler, over the web, where the page of a task is that this worker runs."""
    if not getattr(scheduler, "is_bulk", False):
        return
    address = page_of_task(task_id)
    if address is not None:
        scheduler.add_task(task_id=task_id, worker=worker_id, status="RUNNING", tracking_url=address)
