"""``astra alerts``: look at alerts in files, check them, put them into other forms, send them again."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra.cli import alert_files, alert_timing
from astra.cli.terminal import print_json, print_lines, table_lines
from astra.errors import ConfigError

if TYPE_CHECKING:
    from astra.alerts.reading import Packet
    from astra.alerts.views import AlertView

COLUMNS = (
    "no",
    "id",
    "object",
    "ra",
    "dec",
    "MJD TAI",
    "band",
    "flux nJy",
    "S/N",
    "rel",
    "history",
    "forced",
)
DESCRIPTION = """List the alerts of files, ours, Rubin's or ZTF's. One alone, by --id or --number or because
there is no other, is drawn too: science, template and difference with north up and east left, and the light
curve, as alert_ID.png in the current folder."""


def add_commands(commands: Any) -> None:
    """Add ``alerts``."""
    parser = commands.add_parser("alerts", help="look at alerts, check, export and send them again")
    inner = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = inner.add_parser("show", help="list alerts, draw one", description=DESCRIPTION)
    add_files(show)
    chosen = show.add_mutually_exclusive_group()
    chosen.add_argument("--id", type=int, metavar="ID", help="the alert with this diaSourceId or candid")
    chosen.add_argument("--number", type=int, metavar="N", help="the Nth alert, from 1")
    show.add_argument("--no-picture", action="store_true", help="draw nothing")
    show.add_argument("--json", action="store_true", help="print JSON; ids are text, which holds all digits")
    show.set_defaults(function=show_alerts)
    alert_files.add_commands(inner)
    alert_timing.add_commands(inner)


def add_files(parser: argparse.ArgumentParser) -> None:
    """Add the files of alerts."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="Avro container, or packet in the wire format (with a schema of ours, or of lsst-alert-packet)",
    )


def read_files(paths: list[Path]) -> Iterator[Packet]:
    """Yield the alerts of files."""
    from astra.alerts.reading import read_packets

    for path in paths:
        yield from read_packets(path)


def show_alerts(options: argparse.Namespace) -> int:
    """Print a table of alerts, and draw the one that is chosen."""
    from astra.alerts.views import view_packet

    views: list[tuple[int, AlertView]] = []
    packet: Packet | None = None
    for n, found in enumerate(read_files(options.files), 1):
        if options.id not in {None, found.source_id} or options.number not in {None, n}:
            continue
        packet = found if not views else None  # a file holds gigabytes: only what is drawn is kept
        views.append((n, view_packet(found)))
    if not views and (options.id, options.number) != (None, None):
        wanted = f"with id {options.id}" if options.id is not None else f"number {options.number}"
        raise ConfigError(f"there is no alert {wanted} in {', '.join(map(str, options.files))}")
    if options.json:
        print_json([_as_json(view) for _, view in views])
    else:
        print_lines(table_lines(COLUMNS, [_row(n, view) for n, view in views]))
    if packet is not None and not options.no_picture:
        path = _draw(packet, views[0][1])
        if not options.json:
            print(f"\ndrawn: {path}")
    return 0


def _draw(packet: Packet, view: AlertView) -> Path:
    """Write the picture of an alert into the current folder."""
    from astra.alerts.views import packet_stamps
    from astra.products.alert_picture import write_alert_picture

    path = Path(f"alert_{view.source_id if view.source_id is not None else packet.number}.png")
    write_alert_picture(path, view, packet_stamps(packet))
    return path


def _row(n: int, view: AlertView) -> list[object]:
    return [
        n,
        view.source_id,
        view.object_name,
        f"{view.ra:.6f}",
        f"{view.dec:+.6f}",
        f"{view.mjd_tai:.5f}",
        view.band,
        f"{view.flux:.1f}",
        f"{view.snr:.1f}",
        f"{view.reliability:.2f}",
        len(view.detections) - 1 if len(view.detections) else 0,
        len(view.forced),
    ]


def _as_json(view: AlertView) -> dict[str, Any]:
    """Return a view as JSON has it: ids are text, and what is missing is null."""

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and value != value else value  # noqa: PLR0124  # NaN

    numbers = ("ra", "dec", "mjd_tai", "flux", "flux_err", "mag_ab", "snr", "reliability")
    return {
        "survey": view.survey,
        "schema": view.schema,
        "id": None if view.source_id is None else str(view.source_id),
        "object": view.object_name or None,
        "band": view.band or None,
        **{name: plain(float(getattr(view, name))) for name in numbers},
        **{
            name: [
                {key: plain(point[key].item()) for key in point.dtype.names} for point in getattr(view, name)
            ]
            for name in ("detections", "forced", "limits")
        },
    }
