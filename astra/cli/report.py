"""``astra report``: the report of a night, a folder of pages that opens without a server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from astra import config
from astra.cli.moments import night
from astra.cli.place import existing_database
from astra.cli.terminal import print_json

DESCRIPTION = """Write the report of a night: lights with thresholds, tasks, mosaics of the focal plane, the
quality of visits and detectors, the best alerts with stamps and light curves, efficiency, spectra. The folder
opens as files, without a server and without scripts, and can be mailed. It appears whole, in place of an
older report; anything else that is there is left alone."""


def add_commands(commands: Any) -> None:
    """Add ``report``."""
    parser = commands.add_parser("report", help="write the report of a night", description=DESCRIPTION)
    parser.add_argument("night", type=night, metavar="NIGHT", help="night, as 20261120 or 2026-11-20")
    parser.add_argument("--instrument", metavar="NAME", help="camera [default: the only one of that night]")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where to [default: report below the root]"
    )
    parser.add_argument(
        "--alerts", type=int, default=24, metavar="N", help="alerts shown [default: %(default)s]"
    )
    parser.add_argument(
        "--visits", type=int, default=100, metavar="N", help="visits with a page [default: %(default)s]"
    )
    parser.add_argument(
        "--detectors",
        type=int,
        default=1000,
        metavar="N",
        help="detectors with a page [default: %(default)s]",
    )
    parser.add_argument(
        "--max-mb", type=float, default=100.0, metavar="MB",
        help="size after which no picture is added [MB, default: %(default)s]",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(function=make_report)


def make_report(options: argparse.Namespace) -> int:
    """Write the report, and say where it is."""
    from astra.web.report import ReportSettings, only_instrument, write_report

    url = existing_database()
    settings = ReportSettings(
        max_alerts=max(options.alerts, 0),
        max_visits=max(options.visits, 0),
        max_detectors=max(options.detectors, 0),
        max_mb=options.max_mb,
        thresholds=config.thresholds_file(),
    )
    instrument = options.instrument or only_instrument(url, options.night)
    report = write_report(
        url,
        config.root(),
        instrument=instrument,
        night=options.night,
        folder=options.output,
        settings=settings,
    )
    if options.json:
        print_json(
            {
                "index": str(report.index),
                "pages": report.n_pages,
                "bytes": report.size,
                "left_out": list(report.left_out),
            }
        )
        return 0
    print(f"{report.n_pages} pages, {report.size / 1e6:.1f} MB: {report.index.as_uri()}")
    for line in report.left_out:
        print(line)
    return 0
