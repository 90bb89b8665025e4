"""``astra alerts timing``: how long alerts took from the shutter, and which have not been sent."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from astra.cli.place import existing_database
from astra.cli.terminal import print_json, print_lines, table_lines

HEADER = ("step", "alerts", "median s", "95 % s", "max s")
STATES = {0: "pending", 1: "sent", 30: "failed", 50: "refused"}
DESCRIPTION = """Tell how long alerts took from the close of the shutter until they were associated, written
and sent to each sink: median, 95th percentile and longest; and how many each sink has got."""


def add_commands(commands: Any) -> None:
    """Add ``timing``."""
    timing = commands.add_parser(
        "timing", help="how long alerts took, and which are not sent", description=DESCRIPTION
    )
    timing.add_argument("--instrument", metavar="NAME", help="only alerts of this camera")
    timing.add_argument(
        "--visit", metavar="IDS", help="only alerts of these visits, as in 12 or 12^15^20..22"
    )
    timing.add_argument("--json", action="store_true", help="print JSON")
    timing.set_defaults(function=print_timing)


def print_timing(options: argparse.Namespace) -> int:
    """Print the times of alerts and the counts of the outbox."""
    from astra.database.alert_timing import alert_latencies
    from astra.database.engine import reading
    from astra.database.outbox import outbox_counts

    visits = _visits(options.visit) if options.visit else None
    with reading(existing_database()) as connection:
        steps = alert_latencies(connection, instrument=options.instrument, visits=visits)
        counts = outbox_counts(connection, instrument=options.instrument, visits=visits)
    sinks: dict[str, dict[str, int]] = {}
    for row in counts:
        sinks.setdefault(row["sink"], {})[STATES[row["status_code"]]] = row["alerts"]
    if options.json:
        print_json({"steps": [asdict(step) for step in steps], "outbox": sinks})
        return 0
    rows = [
        (step.step, step.n_alerts, f"{step.median_s:.1f}", f"{step.percentile95_s:.1f}", f"{step.max_s:.1f}")
        for step in steps
    ]
    print_lines(table_lines(HEADER, rows) if rows else ["no alert has been written"])
    if sinks:
        header = ("sink", *STATES.values())
        print()
        lines = [(name, *(found.get(state, 0) for state in STATES.values())) for name, found in sinks.items()]
        print_lines(table_lines(header, lines))
    return 0


def _visits(text: str) -> list[int]:
    from astra.errors import ConfigError
    from astra.tasks.id_ranges import read_ids

    try:
        return list(read_ids(text))
    except ValueError as exc:
        raise ConfigError(f"--visit: {exc}") from exc
