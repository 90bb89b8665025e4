"""``astra workers``: serve a central scheduler on this host."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from astra import config
from astra.cli import slurm_workers
from astra.cli.terminal import escape
from astra.errors import ConfigError

if TYPE_CHECKING:
    from astra.tasks.serving import Served, ServedModules, ServingWorker

CLEAR_LINE = "\r\x1b[K"
DESCRIPTION = (
    "Run whatever the scheduler has to give, until asked to end or idle for --idle-exit seconds: "
    "nothing runs here and nothing is given out, as there is nothing to do or all of it waits for what "
    "runs elsewhere. Asked by SIGUSR1, it finishes what runs; asked by SIGTERM or Ctrl-C, what still "
    "runs after the time of grace is ended and waits again in the scheduler; asked twice, it ends at "
    "once. The root and the database must be those of who plans the tasks. Exit status: 0 after an end "
    "as asked or idle, whether or not tasks have failed; 1 if it cannot begin, 2 for wrong usage, 40 if "
    "there is no scheduler or it refuses, 143 if asked twice."
)


def add_commands(commands: Any) -> None:
    """Add ``workers``."""
    parser = commands.add_parser(
        "workers", help="run what a central scheduler gives out", description=DESCRIPTION
    )
    parser.add_argument(
        "--scheduler-url",
        metavar="URL",
        help="scheduler [default: ASTRA_SCHEDULER_URL, else [core] of luigi.cfg, else http://localhost:8082/]",
    )
    parser.add_argument("--token-file", metavar="FILE", help="file with its token, before the environment's")
    parser.add_argument(
        "--count", type=_count, metavar="N", help="tasks at a time [default: cores that may be used]"
    )
    parser.add_argument(
        "--idle-exit",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="end after so long without work; 0: never [default: 0]",
    )
    parser.add_argument(
        "--modules",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="modules, besides astra, whose tasks may be loaded, with what is below them",
    )
    parser.add_argument(
        "--grace",
        type=_seconds,
        metavar="SECONDS",
        help="how long tasks may go on after SIGTERM [default: stop_grace_s in [astra] of luigi.cfg, 20]",
    )
    parser.add_argument("--name", default="", help="what the scheduler's pages call it")
    slurm_workers.add_arguments(parser)
    parser.set_defaults(function=run_workers)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        message = f"must be 1 at least, found {number}"
        raise argparse.ArgumentTypeError(message)
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        message = f"must be 0 or a time in seconds, found {text}"
        raise argparse.ArgumentTypeError(message)
    return number


def run_workers(options: argparse.Namespace) -> int:
    """Serve the scheduler; return the exit status."""
    if options.token_file:
        from astra.scheduler.access import TOKEN_VARIABLE, read_token

        os.environ[TOKEN_VARIABLE] = read_token(options.token_file)
    if options.slurm:
        return slurm_workers.submit_workers(options)
    slurm_workers.refuse_resources(options)

    import luigi.rpc

    from astra.tasks.serving import ServedModules

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s: %(message)s")
    modules = ServedModules(tuple(options.modules))
    modules.load()
    lines = Lines()
    try:
        worker = _make_worker(options, modules, lines)
        signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        served = _serve(worker)
    except luigi.rpc.RPCError as exc:
        print(f"astra: {escape(exc)}", file=sys.stderr)
        return slurm_workers.EXIT_NO_SCHEDULER
    finally:
        lines.close()
    why = "as asked" if worker.is_ending else f"idle for {options.idle_exit:g} s"
    lines.tell(f"ended {why}: {served.n_done} done, {served.n_failed} failed")
    return 0


def _serve(worker: ServingWorker) -> Served:
    """Serve; where the work is none for this worker, tell the scheduler that it ends."""
    try:
        served = worker.serve()
    except ConfigError:
        worker.close()
        raise
    worker.close()
    return served


def _make_worker(options: argparse.Namespace, modules: ServedModules, lines: Lines) -> ServingWorker:
    import luigi

    from astra.scheduler.remote import RemoteScheduler
    from astra.tasks.runner import mask_passwords
    from astra.tasks.serving import ServedWork, ServingWorker

    if options.grace is not None:
        luigi.configuration.get_config().set("astra", "stop_grace_s", str(options.grace))
    count = options.count or len(os.sched_getaffinity(0))
    url = options.scheduler_url or config.scheduler_url()
    scheduler = RemoteScheduler(url)
    scheduler.greet()
    lines.tell(f"{count} at a time for {mask_passwords(url)}; modules {', '.join(modules.all_names)}")
    return ServingWorker(
        ServedWork(scheduler, modules, lines.tell),
        count=count,
        idle_exit_s=options.idle_exit,
        name=options.name,
        tell=lines.tell,
        show=lines.show,
    )


class Lines:
    """What the workers do, a line each with the time; at a terminal the last line tells what goes on now."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a handler of a signal may tell, too
        self._is_live = sys.stdout.isatty()
        self._live = ""

    def tell(self, sentence: str) -> None:
        """Print a line."""
        text = f"{time.strftime('%H:%M:%S')} {escape(sentence)}\n"
        with self._lock:
            sys.stdout.write(CLEAR_LINE + text + self._live if self._live else text)
            sys.stdout.flush()

    def show(self, sentence: str) -> None:
        """Replace the last line of a terminal; elsewhere do nothing."""
        if not self._is_live:
            return
        width = shutil.get_terminal_size().columns - 1
        with self._lock:
            self._live = escape(sentence)[:width]
            sys.stdout.write(CLEAR_LINE + self._live)
            sys.stdout.flush()

    def close(self) -> None:
        """Leave what was told."""
        with self._lock:
            if self._live:
                sys.stdout.write(CLEAR_LINE)
                self._live = ""
