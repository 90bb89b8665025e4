"""``astra alerts validate|export|replay``: check alerts, put them into other forms, send them again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra import config
from astra.cli.terminal import escape, print_json, print_lines
from astra.errors import AlertError, ConfigError, DataError

if TYPE_CHECKING:
    from astra.alerts.reading import Packet
    from astra.alerts.sinks import AlertSink, Message, Sender
    from astra.alerts.validation import Problem

VALIDATE_DESCRIPTION = """Check alerts strictly: every field of their schema and no other, each of its type
and range; ids that agree, positions on the sky, a history before the detection, stamps that are images. Exit
with 1 if anything is wrong."""
EXPORT_DESCRIPTION = """Write whole alerts as lines of JSON (.jsonl, or the standard output), where integers
of 64 bits are text and stamps Base64; or their detections (diaSource, candidate) as a table (.parquet, .ecsv,
.fits)."""
REPLAY_DESCRIPTION = """Send the alerts of files to a sink once more, as they are, past the outbox. Exit with
1 if one does not arrive."""


def add_commands(commands: Any) -> None:
    """Add ``validate``, ``export`` and ``replay``."""
    validate = commands.add_parser("validate", help="check alerts", description=VALIDATE_DESCRIPTION)
    _add_files(validate)
    validate.add_argument(
        "--limit",
        type=int,
        default=10,
        metavar="N",
        help="problems of an alert to list [default: %(default)s]",
    )
    validate.add_argument("--json", action="store_true", help="print JSON")
    validate.set_defaults(function=validate_files)
    export = commands.add_parser(
        "export", help="write alerts as JSON, Parquet, ECSV or FITS", description=EXPORT_DESCRIPTION
    )
    _add_files(export)
    export.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="file to write; its end says how [default: JSON to stdout]",
    )
    export.set_defaults(function=export_files)
    replay = commands.add_parser("replay", help="send alerts again", description=REPLAY_DESCRIPTION)
    _add_files(replay)
    replay.add_argument("--sink", required=True, metavar="NAME", help="files, kafka, ztf, ztf-kafka ...")
    replay.add_argument(
        "--rate", type=float, default=100.0, metavar="N", help="alerts per second [default: %(default)g]"
    )
    replay.add_argument(
        "--folder", type=Path, default=Path("replayed"), help="folder of files [default: %(default)s]"
    )
    replay.set_defaults(function=replay_files)


def _add_files(parser: argparse.ArgumentParser) -> None:
    from astra.cli.alerts import add_files

    add_files(parser)


def _read_files(paths: list[Path]) -> Iterator[Packet]:
    from astra.cli.alerts import read_files

    return read_files(paths)


def validate_files(options: argparse.Namespace) -> int:
    """Print what is wrong with alerts; return 1 if anything is."""
    from astra.alerts.reading import read_packets
    from astra.alerts.validation import Problem, find_problems

    found: list[tuple[Path, int, int | None, list[Problem]]] = []
    for path in options.files:
        try:
            found += ((path, one.number, one.source_id, find_problems(one)) for one in read_packets(path))
        except (AlertError, DataError) as exc:
            found.append((path, 0, None, [Problem("", str(exc))]))
    wrong = sum(any(not one.is_remark for one in problems) for *_, problems in found)
    if options.json:
        print_json([_as_json(*alert) for alert in found])
    else:
        print_lines(line for alert in found for line in _problem_lines(*alert, limit=options.limit))
        n_alerts = sum(number > 0 for _, number, _, _ in found)
        print(f"{n_alerts} alerts in {len(options.files)} files; {wrong or 'nothing'} wrong")
    return int(wrong > 0)


def _as_json(path: Path, number: int, source_id: int | None, problems: list[Problem]) -> dict[str, Any]:
    return {
        "file": str(path),
        "number": number or None,
        "id": None if source_id is None else str(source_id),
        "problems": [
            {"field": one.field or None, "what": one.what, "remark": one.is_remark} for one in problems
        ],
    }


def _problem_lines(
    path: Path, number: int, source_id: int | None, problems: list[Problem], *, limit: int
) -> Iterator[str]:
    if number == 0:
        yield f"{escape(path)}: {escape(problems[0].what)}"
        return
    where = f"{escape(path)}: alert {source_id} ({number})"
    errors = [one for one in problems if not one.is_remark]
    for one in errors[:limit]:
        yield escape(f"{where}: {one.field or 'the alert'} {one.what}")
    if len(errors) > limit:
        yield f"{where}: ... and {len(errors) - limit} more; see --limit"
    remarks = [one.field for one in problems if one.is_remark]
    if remarks:
        shown = ", ".join(remarks[:3]) + (" ..." if len(remarks) > 3 else "")
        yield escape(f"{where}: {len(remarks)} fields are NaN and should be null: {shown}")


def export_files(options: argparse.Namespace) -> int:
    """Write alerts in another form."""
    from astra.alerts.export import json_lines, write_detections
    from astra.products.atomic import atomic_path

    packets = _read_files(options.files)
    path: Path | None = options.output
    if path is None or str(path) == "-":
        print_lines(json_lines(packets))
        return 0
    if path.suffix == ".jsonl":
        with atomic_path(path) as temporary, temporary.open("w", encoding="ascii") as stream:
            n_alerts = sum(stream.write(line + "\n") > 0 for line in json_lines(packets))
    else:
        n_alerts = write_detections(path, packets)
    print(f"{n_alerts} alerts written to {escape(path)}", file=sys.stderr)
    return 0


def replay_files(options: argparse.Namespace) -> int:
    """Send alerts to a sink once more; return 1 if one does not arrive."""
    from astra.alerts.sinks import SinkSettings
    from astra.plugins import ALERT_SINKS

    if not options.rate > 0:
        raise ConfigError(f"--rate must be positive, found {options.rate:g} alerts per second")
    sink = ALERT_SINKS.get(options.sink)
    settings = SinkSettings(options.folder, config.section_options(sink.section))
    n_sent, errors = 0, []
    with sink.open(settings) as sender:
        for error in _replay(sender, sink, options):
            n_sent += error is None
            errors += [] if error is None else [error]
    print_lines(escape(error) for error in errors)
    print(f"{n_sent} alerts sent to {escape(options.sink)}, {len(errors)} not", file=sys.stderr)
    return int(bool(errors))


def _replay(sender: Sender, sink: AlertSink, options: argparse.Namespace) -> Iterator[str | None]:
    """Send alerts no faster than asked; yield for each why it has not arrived, or None."""
    begun, n_sent = time.monotonic(), 0
    for batch in _batches(sink, options):
        time.sleep(max(0.0, begun + n_sent / options.rate - time.monotonic()))
        messages = [one for one in batch if not isinstance(one, str)]
        yield from (one for one in batch if isinstance(one, str))
        yield from (delivery.error for delivery in sender.send(messages))
        n_sent += len(messages)


def _batches(sink: AlertSink, options: argparse.Namespace) -> Iterator[list[Message | str]]:
    """Yield what is sent within a tenth of a second, of different keys; for what cannot be sent, why."""
    most = max(1, int(options.rate / 10.0))
    batch: list[Message | str] = []
    keys: set[int] = set()
    for packet in _read_files(options.files):
        try:
            found: Message | str = sink.forward(packet)
        except AlertError as exc:
            found = str(exc)
        key = None if isinstance(found, str) else found.key
        if len(batch) == most or key in keys:
            yield batch
            batch, keys = [], set()
        batch.append(found)
        keys |= {key} if key is not None else set()
    if batch:
        yield batch
