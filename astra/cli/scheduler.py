"""``astra scheduler``: the central scheduler, with the options of ``luigid``."""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra import config
from astra.cli.background import run_in_background
from astra.errors import ConfigError

if TYPE_CHECKING:
    from astra.scheduler.durable import DurableScheduler

DEFAULT_PORT = 8082
DEFAULT_LEASE_S = 20.0
MAX_PORT = 65535
LOG = "luigi-server.log"
NO_SOCKET = frozenset((errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES))
DESCRIPTION = (
    "Run the central scheduler and Luigi's pages until interrupted. Its state is in a journal, from which it "
    "starts again. Elsewhere than on the loopback interface callers need a token, ASTRA_SCHEDULER_TOKEN."
)


def add_commands(commands: Any) -> None:
    """Add ``scheduler``."""
    parser = commands.add_parser("scheduler", help="run the central scheduler", description=DESCRIPTION)
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on [default: 127.0.0.1]")
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help=f"port [default: {DEFAULT_PORT}]")
    parser.add_argument("--unix-socket", metavar="FILE", help="listen on this socket instead")
    parser.add_argument(
        "--state-path", metavar="FILE", help="journal [default: scheduler.journal below the root]"
    )
    parser.add_argument(
        "--sync",
        choices=("never", "interval", "always"),
        default="interval",
        help="when the journal is forced to the disk: a crash of the machine, not of this process, may lose "
        "the rest [default: interval, each second]",
    )
    parser.add_argument(
        "--lease",
        type=_lease,
        default=DEFAULT_LEASE_S,
        metavar="S",
        help="silence of a worker, after which others get what it was given [s] [default: 20]",
    )
    parser.add_argument("--token-file", metavar="FILE", help="file with the token, before the environment's")
    parser.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME", help="further name of this server"
    )
    parser.add_argument("--pidfile", metavar="FILE", help="write the process id to this file")
    parser.add_argument("--logdir", metavar="FOLDER", help=f"log to {LOG} there, not to the terminal")
    parser.add_argument(
        "--background",
        action="store_true",
        help="return once it listens, and go on without a terminal; logs below the root without --logdir",
    )
    parser.set_defaults(function=run_scheduler)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= MAX_PORT:
        message = f"must be from 0, for any that is free, to {MAX_PORT}, found {port}"
        raise argparse.ArgumentTypeError(message)
    return port


def _lease(text: str) -> float:
    lease_s = float(text)
    if not 0 < lease_s < float("inf"):
        message = f"must be a time in seconds, found {text}"
        raise argparse.ArgumentTypeError(message)
    return lease_s


def run_scheduler(options: argparse.Namespace) -> int:
    """Run the scheduler until the process is asked to end, or in the background."""
    if options.background:
        options.logdir = options.logdir or str(config.root())
        return run_in_background(lambda ready: _serve(options, ready))
    return _serve(options, None)


def _serve(options: argparse.Namespace, tell_ready: Callable[[], None] | None) -> int:
    from astra.scheduler.access import make_access, read_token
    from astra.scheduler.journal import Journal
    from astra.scheduler.server import serve

    _set_up_log(options.logdir)
    token = read_token(options.token_file)
    access = make_access("localhost" if options.unix_socket else options.address, token, options.allowed_host)
    scheduler = make_scheduler(options.lease)
    path = Path(options.state_path) if options.state_path else config.root() / "scheduler.journal"
    scheduler.open_journal(Journal(path.absolute(), options.sync))
    if options.pidfile:
        Path(options.pidfile).write_text(f"{os.getpid()}\n")
    served = serve(
        scheduler,
        access,
        address=options.address,
        port=options.port,
        unix_socket=options.unix_socket,
        ready=lambda names: _say_ready(names, options.logdir, tell_ready),
    )
    try:
        asyncio.run(served)
    except OSError as exc:
        if exc.errno not in NO_SOCKET and not isinstance(exc, socket.gaierror):
            raise
        where = options.unix_socket or f"address {options.address}, port {options.port}"
        message = f"the scheduler cannot listen on {where}: {exc.strerror or exc}"
        raise ConfigError(message, address=options.address, port=options.port) from exc
    return 0


def make_scheduler(lease_s: float) -> DurableScheduler:
    """Make the scheduler, with leases and limits of its pages; without its journal.

    Parameters
    ----------
    lease_s : float
        Silence of a worker, after which others get what it was given [s].
    """
    import luigi.configuration

    from astra.scheduler.durable import DurableScheduler
    from astra.scheduler.leases import FORGOTTEN_S

    configured = luigi.configuration.get_config().has_option("scheduler", "worker_disconnect_delay")
    scheduler = DurableScheduler(**({} if configured else {"worker_disconnect_delay": FORGOTTEN_S}))
    scheduler.limit_pages()
    scheduler.grant_leases(lease_s)
    return scheduler


def _set_up_log(folder: str | None) -> None:
    path = Path(folder) / LOG if folder else None
    form = "%(asctime)s %(name)s[%(process)s] %(levelname)s: %(message)s"
    logging.basicConfig(level=logging.INFO, filename=path, format=form)
    logging.getLogger("luigi.scheduler").setLevel(logging.INFO)
    logging.getLogger("tornado.access").setLevel(logging.WARNING)


def _say_ready(names: list[Any], logdir: str | None, tell_ready: Callable[[], None] | None) -> None:
    """Say where the scheduler listens: in its log, and before it leaves the terminal."""
    places = [f"http://{name[0]}:{name[1]}/" if isinstance(name, tuple) else str(name) for name in names]
    for where in places:
        logging.getLogger("luigi.server").info("scheduler on %s", where)
    if tell_ready is not None:
        log = Path(logdir or "", LOG).absolute()
        print(f"scheduler on {', '.join(places)} as process {os.getpid()}; its log: {log}")
        tell_ready()
