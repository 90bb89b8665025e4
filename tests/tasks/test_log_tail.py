"""The last lines that an attempt logged: whose they are, how many, and that nobody else notices."""

import logging
import os
import re
import subprocess
import sys

import luigi
import pytest

import astra
from astra.cli import main
from astra.errors import DataError
from astra.tasks.base import AstraTask
from astra.tasks.log_tail import MAX_BYTES, MAX_LINES, LogTail, capture_log
from tests.conftest import PROJECT
from tests.tasks.test_engine import build, rows

HERE = "tests.tasks.test_log_tail"
logger = logging.getLogger("astra.chatty")


class Chatty(AstraTask):
    """Log as many loggers do, but for number 2; fail with number 3, leave with number 4."""

    number = luigi.IntParameter(batch_method=tuple, description="The number.")

    def run(self):
        logger.warning("before all")
        for task in self.pending_tasks():
            with task.recording():
                if task.number != 2:
                    logger.warning("number %d", task.number)
                if task.number == 3:
                    raise DataError("number 3 is refused", number=3)
                if task.number == 4:
                    sys.exit("stop")


class Outer(AstraTask):
    """Run another task from within."""

    def run(self):
        logger.warning("outer begins")
        build(Chatty(number=1))
        logger.warning("outer ends")


class Patient(AstraTask):
    """Ask for another task while it runs."""

    def run(self):
        logger.warning("asks")
        yield Chatty(number=1)
        logger.warning("has it")


class Console(AstraTask):
    """Log where nobody has set up logging."""

    def run(self):
        logging.getLogger("mine").info("unseen")
        logging.getLogger("mine").warning("shown bare")
        logging.warning("sets up logging")
        logging.getLogger("mine").warning("shown with its level")


def logs(root, family="Chatty"):
    """Logs of the attempts at members and single tasks, without moments; that of a batch under its size."""
    query = f"""SELECT coalesce(batch_size || ' members', json_extract(parameters, '$.number')), log
                FROM task_attempt JOIN task ON task.pk = task_pk WHERE family = '{family}'"""  # noqa: S608
    return {number: log and re.sub(r"(?m)^\S+ ", "", log) for number, log in rows(root, query)}


def test_lines_belong_to_the_member_at_work_else_to_the_batch(astra_root):
    assert not build(Chatty(number=(1, 2, 3)))
    found = logs(astra_root)
    assert found["1"] == "WARNING astra.chatty: number 1"
    assert found["2"] is None
    number, error = found["3"].split("\n")
    assert number == "WARNING astra.chatty: number 3"
    assert re.fullmatch(
        r"ERROR luigi-interface: Chatty\(.*number=3\) failed: DataError: .* is refused", error
    )
    before, error = found["3 members"].split("\n")
    assert before == "WARNING astra.chatty: before all"
    assert error.startswith("ERROR luigi-interface: Chatty(")
    assert "failed: BatchError: 1 of 3 members of" in error


def test_a_line_begins_with_its_moment_in_utc(astra_root):
    assert build(Chatty(number=1))
    [(log, started, ended)] = rows(astra_root, "SELECT log, started, ended FROM task_attempt")
    for line in log.split("\n"):
        moment = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})Z WARNING ", line)[1].replace("T", " ")
        assert started[:23] <= moment <= ended[:23]


def test_the_log_of_what_raised_ends_with_the_error(astra_root):
    assert not build(Chatty(number=3))
    assert logs(astra_root)["3"].split("\n")[-1].endswith("failed: DataError: number 3 is refused")


def test_an_interrupted_member_keeps_its_log(astra_root, run_luigi):
    run_luigi("Chatty", "--number", "[1, 4, 5]", module=HERE)
    found = logs(astra_root)
    assert found["1"] == "WARNING astra.chatty: number 1"
    assert found["4"].startswith("WARNING astra.chatty: number 4\nERROR luigi-interface: ")
    assert found["4"].endswith("failed: SystemExit: stop")
    assert found["5"] is None
    assert found["3 members"].startswith("WARNING astra.chatty: before all\nERROR")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_workers_that_fork_keep_logs_without_what_luigi_says_of_scheduling(astra_root, run_luigi, workers):
    result = run_luigi("Chatty", "--number", "[1, 2]", "--workers", workers, module=HERE)
    assert result.returncode == 0, result.stderr
    assert logs(astra_root) == {
        "1": "WARNING astra.chatty: number 1",
        "2": None,
        "2 members": "WARNING astra.chatty: before all",
    }


@pytest.mark.parametrize("processes", [1, 2])
def test_runs_from_python_keep_logs(astra_root, processes):
    astra.run(Chatty, [{"number": 1}, {"number": 3}], processes=processes)
    found = logs(astra_root)
    assert found["1"] == "WARNING astra.chatty: before all\nWARNING astra.chatty: number 1"
    assert found["3"].endswith("failed: DataError: number 3 is refused")


def test_a_task_within_another_keeps_its_own_lines(astra_root):
    assert build(Outer())
    assert "outer" not in logs(astra_root)["1"]
    outer = logs(astra_root, "Outer")[None].split("\n")
    assert outer[0] == "WARNING astra.chatty: outer begins"
    assert outer[-1] == "WARNING astra.chatty: outer ends"
    assert not any("number 1" in line and "astra.chatty" in line for line in outer)


def test_what_asks_for_others_keeps_the_log_of_its_last_attempt(astra_root):
    assert build(Patient())
    assert logs(astra_root, "Patient") == {None: "WARNING astra.chatty: asks\nWARNING astra.chatty: has it"}


def test_any_logger_is_heard_at_the_level_that_it_lets_through():
    alone, filtered, quiet = (logging.getLogger(f"tail.{name}") for name in ("alone", "filtered", "quiet"))
    alone.propagate, quiet.disabled = False, True
    filtered.addFilter(lambda record: "secret" not in record.getMessage())
    handlers = list(logging.getLogger().handlers)
    with capture_log() as log:
        assert logging.getLogger().handlers == handlers
        for one in (logging.getLogger(), alone, filtered, quiet):
            one.debug("too low")
            one.error("a fault of %s", one.name)
        filtered.error("a secret")
    logging.getLogger("tail").error("too late")
    lines = [line.partition(" ")[2] for line in log.end().split("\n")]
    assert lines == [f"ERROR {name}: a fault of {name}" for name in ("root", "tail.alone", "tail.filtered")]


def test_the_console_shows_what_it_shows_without(astra_root):
    code = f"from {HERE} import Console; import astra; astra.run(Console, [{{}}])"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    result = subprocess.run(
        command, cwd=astra_root, env=environment, capture_output=True, text=True, check=True
    )
    shown = ["shown bare", "WARNING:root:sets up logging", "WARNING:mine:shown with its level"]
    assert result.stderr.splitlines() == shown
    assert logs(astra_root, "Console")[None].split("\n") == [
        "WARNING mine: shown bare",
        "WARNING root: sets up logging",
        "WARNING mine: shown with its level",
    ]


def tail_of(*messages):
    log = LogTail()
    for message, *arguments in messages:
        log.add(logging.LogRecord("any", logging.INFO, "", 0, message, tuple(arguments), None))
    return log.end()


@pytest.mark.parametrize("line", ["x" * 1000, "short", "ü" * 90, "two\nlines", "x " * 50_000])
def test_only_the_last_lines_are_kept(line):
    text = tail_of(*[(f"{line} %d", number) for number in range(300)])
    assert len(text.split("\n")) <= MAX_LINES
    assert len(text.encode()) <= MAX_BYTES
    assert text.endswith(" 299")
    assert len(text.split("\n")) == MAX_LINES or len(text.encode()) > MAX_BYTES - 1100


def test_passwords_are_masked_wherever_a_text_is_cut():
    url = "postgresql://me:hidden@host/db?password=hidden"
    assert "hidden" not in tail_of((url,))
    for length in range(MAX_BYTES - 60, MAX_BYTES):
        assert "hidden" not in tail_of((f"{url} {'x ' * (length // 2)}",))


def test_a_message_that_cannot_be_written_fails_nothing():
    text = tail_of(("%d and %d", 1), ("a header said \0 and \udcff",))
    assert "INFO any: a message that cannot be written: TypeError" in text
    assert text.endswith("a header said \\x00 and \\udcff")


def test_any_database_takes_a_log(any_database_url, tmp_path, monkeypatch):
    from sqlalchemy import text

    from astra.database.engine import reading

    monkeypatch.setenv("ASTRA_ROOT", str(tmp_path))
    monkeypatch.setenv("ASTRA_DATABASE_URL", any_database_url)
    monkeypatch.setattr(logger, "warning", lambda *_: logger.error("a header said \0 and \udcff"))
    assert build(Chatty(number=(1, 2)))
    with reading(any_database_url) as connection:
        found = list(connection.execute(text("SELECT log FROM task_attempt")).scalars())
    assert sum(log is not None and log.endswith("a header said \\x00 and \\udcff") for log in found) == 2


def test_show_ends_with_the_log(astra_root, capsys):
    assert not build(Chatty(number=3))
    assert main(["show", Chatty(number=3).task_id]) == 0
    shown = capsys.readouterr().out
    assert "WARNING astra.chatty: number 3" in shown.partition("end of its log")[2]
