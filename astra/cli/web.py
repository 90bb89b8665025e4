"""``astra web``: the pages over the database, alone or together with the scheduler."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra import config
from astra.cli.place import existing_database

if TYPE_CHECKING:
    from astra.scheduler.durable import DurableScheduler

DEFAULT_PORT = 8080
SCHEDULER_PORT = 8082
DESCRIPTION = (
    "Serve pages over the database and the files, which they only read: nights, visits, detectors, tasks, "
    "alerts, objects, spectra. Elsewhere than on the loopback interface readers need a token, "
    "ASTRA_SCHEDULER_TOKEN or --token-file."
)


def add_commands(commands: Any) -> None:
    """Add ``web``."""
    parser = commands.add_parser("web", help="serve the pages", description=DESCRIPTION)
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on [default: 127.0.0.1]")
    parser.add_argument(
        "--port", type=int, help=f"port [default: {DEFAULT_PORT}, or {SCHEDULER_PORT} with --with-scheduler]"
    )
    parser.add_argument("--token-file", metavar="FILE", help="file with the token, before the environment's")
    parser.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME", help="further name of this server"
    )
    parser.add_argument(
        "--with-scheduler", action="store_true", help="serve the central scheduler in this process, too"
    )
    parser.add_argument(
        "--state-path", metavar="FILE", help="its journal [default: scheduler.journal below the root]"
    )
    parser.add_argument(
        "--sync", choices=("never", "interval", "always"), default="interval", help="as of astra scheduler"
    )
    parser.add_argument(
        "--scheduler-url", metavar="URL", default="", help="address of the scheduler's pages, for links"
    )
    parser.set_defaults(function=run_web)


def run_web(options: argparse.Namespace) -> int:
    """Serve until the process is asked to end."""
    from astra.database.read_only import ReadOnlyDatabase
    from astra.scheduler.access import read_token
    from astra.web.security import make_page_access
    from astra.web.server import serve
    from astra.web.site import Site

    _set_up_log()
    access = make_page_access(options.address, read_token(options.token_file), options.allowed_host)
    port = options.port if options.port is not None else _port(options)
    further = tuple(Path(folder) for folder in (config.option("sas_base_dir"),) if folder)
    own = f"http://{options.address}:{port}" if options.with_scheduler else ""
    site = Site(
        ReadOnlyDatabase(existing_database()),
        config.root(),
        further,
        options.scheduler_url or own,
    )
    scheduler = _scheduler(options) if options.with_scheduler else None
    asyncio.run(
        serve(site, access, address=options.address, port=port, ready=_say_where, scheduler=scheduler)
    )
    return 0


def _port(options: argparse.Namespace) -> int:
    return SCHEDULER_PORT if options.with_scheduler else DEFAULT_PORT


def _scheduler(options: argparse.Namespace) -> DurableScheduler:
    from astra.scheduler.durable import DurableScheduler
    from astra.scheduler.journal import Journal

    scheduler = DurableScheduler()
    scheduler.limit_pages()
    path = Path(options.state_path) if options.state_path else config.root() / "scheduler.journal"
    scheduler.open_journal(Journal(path.absolute(), options.sync))
    return scheduler


def _set_up_log() -> None:
    form = "%(asctime)s %(name)s[%(process)s] %(levelname)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form)
    logging.getLogger("tornado.access").setLevel(logging.ERROR)


def _say_where(names: Any) -> None:
    for name in names:
        logging.getLogger("astra.web").info("pages on http://%s:%s/", name[0], name[1])
