"""Running a task class over data ids: results, processes, deadlines, exit codes, the order of overrides."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import luigi
import numpy as np
import pytest

import astra
from astra.errors import ConfigError, DataError, MissingDataError
from astra.tasks.base import AstraTask
from astra.tasks.nodes import Subtask
from astra.tasks.run_config import make_run_config, read_options
from astra.tasks.stores import Store, StoreParameter
from astra.tasks.task_command import build_parser, configured_command, parse_data_ids
from astra.tasks.task_runner import StoreInitializedTaskRunner, TaskRunner
from tests.conftest import PROJECT
from tests.tasks.test_engine import rows
from tests.tasks.toy_tasks import Double, Dying, Toy


@dataclass
class SquareConfig:
    power: int = 2
    name: str = "square"
    scale: float = 1.0

    def validate(self):
        if self.power < 0:
            raise ConfigError("power must not be negative")


class Square(AstraTask):
    """Return a power of a number; refuse negative ones."""

    config_class = SquareConfig
    number = luigi.IntParameter(batch_method=tuple, description="The number.")
    label = luigi.Parameter(default="plain", description="A string.")

    def run(self):
        with self.timer("work"):
            self.metadata.add("number", self.number)
            if self.number < 0:
                raise DataError(f"number {self.number} is negative")
            return self.number**self.config.power

    def get_schema_catalogs(self):
        return {"square": np.zeros(0, dtype=[("value", "i8")])}


class Where(AstraTask):
    """Tell which process this is."""

    number = luigi.IntParameter(description="The number.")

    def run(self):
        time.sleep(0.05)
        return os.getpid()


class Alone(Where):
    """Like Where, in one process."""

    can_multiprocess = False


class Sleepy(AstraTask):
    """Sleep, die, or refuse to end."""

    number = luigi.IntParameter(description="What to do.")

    def run(self):
        if self.number == 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.number < 2:
            time.sleep(60)
        return self.number


class Plain(Subtask):
    """A task that is none of Luigi's."""

    default_name = "plain"

    def run(self, data_id, factor=1):
        self.metadata.add("visit", data_id["visit"])
        if data_id["visit"] == "3":
            raise DataError("visit 3 is bad")
        return int(data_id["visit"]) * factor


class Asking(AstraTask):
    """Ask for another task while it runs."""

    number = luigi.IntParameter(description="The number.")

    def run(self):
        target = yield Toy(number=self.number)
        return target.path


class Stored(AstraTask):
    """Take a shared store."""

    runner_class = StoreInitializedTaskRunner
    number = luigi.IntParameter(description="The number.")
    store = StoreParameter(description="The store.")

    def run(self):
        return self.store


def ids(*numbers):
    return [{"number": number} for number in numbers]


def states(root, family):
    query = "SELECT json_extract(parameters, '$.number'), status_code FROM task WHERE family = "
    return dict(rows(root, f"{query}'{family}'"))


def test_a_call_gives_the_exit_status_alone(astra_root):
    assert [vars(result) for result in astra.run(Square, ids(1, -1))] == [
        {"exitStatus": 0},
        {"exitStatus": 1},
    ]
    assert states(astra_root, "Square") == {"1": 1, "-1": 30}


@pytest.mark.parametrize("processes", [1, 3])
def test_results_come_in_order_also_of_failures(astra_root, processes):
    results = astra.run(Square, ids(3, -1, 2), processes=processes, do_return_results=True)
    assert [result.exitStatus for result in results] == [0, 1, 0]
    assert [result.dataRef for result in results] == ids(3, -1, 2)
    assert [result.result for result in results] == [9, None, 4]
    assert [result.metadata["Square.number"] for result in results] == [3, -1, 2]
    assert "Square.workEndCpuTime" in results[1].metadata
    assert states(astra_root, "Square") == {"3": 1, "-1": 30, "2": 1}
    assert rows(astra_root, "SELECT count(*), max(exit_status) FROM run WHERE ended IS NOT NULL") == [(1, 1)]
    query = "SELECT count(*) FROM task_metadata WHERE key = 'Square:run.workEndUtc'"
    assert rows(astra_root, query) == [(3,)]


def test_metadata_are_written_of_failures_too(astra_root):
    astra.run(Square, ids(-1))
    path = astra_root / "provenance" / "Square_metadata" / f"{Square(number=-1).task_id}.json"
    assert json.loads(path.read_text())["Square.number"] == -1


def test_two_runs_give_the_same(astra_root):
    for _ in range(2):
        [result] = astra.run(Square, ids(3), do_return_results=True)
        assert (result.exitStatus, result.result, result.metadata["Square.number"]) == (0, 9, 3)
    assert rows(astra_root, "SELECT count(*) FROM task_attempt") == [(2,)]


def test_each_task_has_a_process_of_its_own(astra_root):
    found = astra.run(Where, ids(1, 2, 3, 4), processes=2, do_return_results=True)
    pids = [result.result for result in found]
    assert len(set(pids)) == 4
    assert os.getpid() not in pids
    assert {pid for (pid,) in rows(astra_root, "SELECT pid FROM task_attempt")} == set(pids)


def test_processes_share_any_database(any_database_url, tmp_path, monkeypatch):
    from sqlalchemy import text

    from astra.database.engine import reading

    monkeypatch.setenv("ASTRA_ROOT", str(tmp_path))
    monkeypatch.setenv("ASTRA_DATABASE_URL", any_database_url)
    found = astra.run(Square, ids(*range(-4, 20)), processes=4)
    assert sum(result.exitStatus for result in found) == 4
    with reading(any_database_url) as connection:
        query = text("SELECT status_code, count(*) FROM task GROUP BY status_code")
        assert {tuple(row) for row in connection.execute(query)} == {(1, 20), (30, 4)}
        assert connection.execute(text("SELECT count(*) FROM run")).scalar_one() == 1


def test_a_batch_is_one_data_id_whose_members_fail_alone(astra_root):
    results = astra.run(Toy, [{"number": (1, 2, 3)}], config={"refuse": 2})
    assert [result.exitStatus for result in results] == [1]
    query = "SELECT json_extract(parameters, '$.number'), status_code FROM task WHERE batch_size IS NULL"
    assert dict(rows(astra_root, query)) == {"1": 1, "2": 30, "3": 1}


def test_one_process_is_this_one(astra_root):
    [result] = astra.run(Where, ids(1), do_return_results=True)
    assert result.result == os.getpid()


def test_a_task_that_cannot_share_gets_one_process_with_a_warning(astra_root, caplog):
    found = astra.run(Alone, ids(1, 2), processes=4, do_return_results=True)
    assert {result.result for result in found} == {os.getpid()}
    assert "Alone cannot run in several processes" in caplog.text


def test_a_task_past_its_deadline_is_ended_then_killed_and_recorded(astra_root):
    began = time.monotonic()
    found = astra.run(Sleepy, ids(0, 1, 5), processes=3, timeout=1.0, do_return_results=True)
    assert time.monotonic() - began < 10
    assert [(result.exitStatus, result.result) for result in found] == [(1, None), (1, None), (0, 5)]
    assert states(astra_root, "Sleepy") == {"0": 70, "1": 70, "5": 1}
    query = "SELECT DISTINCT status_code, error_class, message FROM task_attempt WHERE status_code != 1"
    [(_, error, message)] = rows(astra_root, query)
    assert (error, message) == ("TimeoutError", "it ran for more than 1 s and was ended")
    query = """SELECT json_extract(parameters, '$.number'), exit_signal
               FROM task_attempt JOIN task ON task.pk = task_pk"""
    assert dict(rows(astra_root, query)) == {"0": signal.SIGTERM, "1": signal.SIGKILL, "5": None}


def test_a_deadline_holds_with_one_process_too(astra_root):
    [result] = astra.run(Sleepy, ids(0), timeout=0.3)
    assert result.exitStatus == 1
    assert states(astra_root, "Sleepy") == {"0": 70}


def test_a_killed_process_is_recorded_and_the_others_go_on(astra_root):
    found = astra.run(Sleepy, ids(2, 3), processes=2)
    assert [result.exitStatus for result in found] == [1, 0]
    assert states(astra_root, "Sleepy") == {"2": 40, "3": 1}
    query = "SELECT status_code, exit_signal FROM task_attempt"
    assert set(rows(astra_root, query)) == {(40, signal.SIGKILL), (1, None)}


def test_a_batch_in_a_killed_process_leaves_no_member_running(astra_root):
    [result] = astra.run(Dying, [{"number": (1, 2, 3)}], processes=2)
    assert result.exitStatus == 1
    query = """SELECT coalesce(batch_size, json_extract(parameters, '$.number')), t.status_code, exit_signal
               FROM task AS t JOIN task_attempt ON t.pk = task_pk ORDER BY batch_size, t.pk"""
    killed = (40, signal.SIGKILL)
    assert rows(astra_root, query) == [("1", 1, None), ("2", *killed), (3, *killed)]


def test_the_default_deadline_is_thirty_days():
    assert TaskRunner.TIMEOUT == 2592000
    for timeout, expected in ((None, 2592000), (0, 2592000), (-1, 2592000), (5, 5)):
        command = configured_command(Square, None, timeout=timeout)
        assert TaskRunner(Square, command).timeout == expected


def test_a_result_that_cannot_be_sent_is_left_out(astra_root):
    class Unsendable(TaskRunner):
        def run_task(self, task, args):
            super().run_task(task, args)
            return lambda: None

    found = astra.run(Square, ids(1), processes=2, do_return_results=True, runner_class=Unsendable)
    assert (found[0].exitStatus, found[0].result) == (0, None)
    assert states(astra_root, "Square") == {"1": 1}


@pytest.mark.parametrize("processes", [1, 2])
def test_errors_pass_if_asked_to(astra_root, processes):
    with pytest.raises(DataError, match="number -1 is negative"):
        astra.run(Square, ids(-1), processes=processes, do_raise=True)


def test_make_task_needs_one_argument(astra_root):
    command = configured_command(Square, {"label": "x"}, id=ids(4))
    runner = TaskRunner(Square, command)
    with pytest.raises(RuntimeError, match="needs the parsed command"):
        runner.make_task()
    [target] = runner.get_target_list(command)
    assert (
        runner.make_task(parsed_cmd=command) == runner.make_task(args=target) == Square(number=4, label="x")
    )


def test_a_data_id_that_makes_no_task_fails_alone(astra_root):
    found = astra.run(Square, [{"number": 1}, {"nothing": 2}], do_return_results=True)
    assert [result.exitStatus for result in found] == [0, 1]
    assert found[1].metadata is None


def test_nothing_runs_if_precall_is_false(astra_root):
    class Refusing(TaskRunner):
        def precall(self, parsed_cmd):
            return False

    assert astra.run(Square, ids(1), runner_class=Refusing) == []
    assert not (astra_root / "astra.db").exists()


def test_no_data_ids_give_no_results_and_a_warning(astra_root, caplog):
    assert astra.run(Square, []) == []
    assert "there is no data to process" in caplog.text


def test_precall_stops_another_configuration(astra_root, caplog):
    assert len(astra.run(Square, ids(1))) == 1
    assert astra.run(Square, ids(2), config={"label": "other", "power": 3}) == []
    for text in ("label is 'other', stored is 'plain'", "power is 3, stored is 2", "--clobber-config"):
        assert text in caplog.text
    assert states(astra_root, "Square") == {"1": 1}
    with pytest.raises(ConfigError, match="--clobber-config"):
        astra.run(Square, ids(2), config={"power": 3}, do_raise=True)
    [result] = astra.run(Square, ids(2), config={"power": 3}, clobber_config=True, do_return_results=True)
    assert result.result == 8
    names = {path.name for path in (astra_root / "provenance").iterdir()}
    assert {"Square_config.json~1", "square_schema.json", "packages.json"} <= names


def test_versions_are_left_alone_if_told_so(astra_root):
    astra.run(Square, ids(1), no_versions=True, no_backup_config=True)
    assert not (astra_root / "provenance" / "packages.json").exists()


def test_a_missing_requirement_blocks_the_task(astra_root):
    with pytest.raises(MissingDataError, match="run it first"):
        astra.run(Double, ids(1), do_raise=True)
    assert states(astra_root, "Double") == {"1": 60}
    assert [result.exitStatus for result in (*astra.run(Toy, ids(1)), *astra.run(Double, ids(1)))] == [0, 0]
    assert states(astra_root, "Double") == {"1": 1}


def test_requirements_asked_for_while_running_must_be_there(astra_root):
    [result] = astra.run(Asking, ids(1))
    assert result.exitStatus == 1
    assert states(astra_root, "Asking") == {"1": 30}
    astra.run(Toy, ids(1))
    [result] = astra.run(Asking, ids(1), do_return_results=True)
    assert result.result.endswith("toy-plain-1-n.txt")


def test_a_task_without_luigi_runs_on_the_data_id(astra_root):
    class Tripling(TaskRunner):
        @staticmethod
        def get_target_list(parsed_cmd, **kwargs):
            return TaskRunner.get_target_list(parsed_cmd, factor=3, **kwargs)

    data_ids = [{"visit": "2"}, {"visit": "3"}]
    found = astra.run(Plain, data_ids, runner_class=Tripling, do_return_results=True)
    assert [(result.exitStatus, result.result) for result in found] == [(0, 6), (1, None)]
    assert (astra_root / "provenance" / "plain_metadata" / "visit=3.json").exists()


def test_a_shared_store_reaches_every_constructor(astra_root):
    found = astra.run(Stored, ids(1, 2), do_return_results=True)
    assert {result.result for result in found} == {Store(astra_root, f"sqlite:///{astra_root / 'astra.db'}")}
    mine = Store(astra_root / "mine", "sqlite:///other.db")
    [result] = astra.run(Stored, ids(1), store=mine, do_return_results=True)
    assert result.result is mine
    assert Stored(number=1, store=mine).task_id == Stored(number=1).task_id
    with pytest.raises(RuntimeError):
        StoreInitializedTaskRunner(Stored, configured_command(Stored, None)).make_task()


def test_a_store_opens_its_database(astra_root):
    from sqlalchemy import text

    with Store(astra_root, f"sqlite:///{astra_root / 'astra.db'}").transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM task")).scalar_one() == 0


def test_unknown_options_are_named():
    with pytest.raises(TypeError, match="no option 'clobber'"):
        astra.run(Square, [], clobber=True)
    with pytest.raises(ConfigError, match="no config field: nothing"):
        astra.run(Square, [], config={"nothing": 1})


# -- command line ---------------------------------------------------------------------------------------


def test_parse_and_run_returns_all_four(astra_root):
    found = Square.parse_and_run(["--id", "number=1..3"], do_return_results=True)
    assert set(vars(found)) == {"argumentParser", "parsedCmd", "taskRunner", "resultList"}
    assert [result.result for result in found.resultList] == [1, 4, 9]
    assert found.parsedCmd.id == ids(1, 2, 3)
    assert isinstance(found.taskRunner, TaskRunner)
    assert found.argumentParser.prog == "Square"


def test_the_exit_status_counts_failed_ids(astra_root):
    with pytest.raises(SystemExit) as caught:
        Square.parse_and_run(["--id", "number=-3..1"])
    assert caught.value.code == 3


def test_256_failed_ids_exit_with_250(astra_root):
    code = "from tests.tasks.test_task_runner import Square; Square.parse_and_run()"
    command = [sys.executable, "-c", code, "--id", "number=-256..-1"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    result = subprocess.run(command, env=environment, cwd=astra_root, capture_output=True, check=False)
    assert result.returncode == 250
    assert rows(astra_root, "SELECT count(*) FROM task WHERE status_code = 30") == [(256,)]
    assert rows(astra_root, "SELECT exit_status FROM run") == [(250,)]


def test_no_exit_returns_in_spite_of_failures(astra_root, caplog):
    found = Square.parse_and_run(["--id", "number=-1^1", "--no-exit"])
    assert [result.exitStatus for result in found.resultList] == [1, 0]
    assert "1 data ids failed" in caplog.text


def test_a_failed_precall_exits_with_failure(astra_root, caplog):
    Square.parse_and_run(["--id", "number=1"])
    changed = ["--id", "number=1", "-c", "label=other"]
    with pytest.raises(SystemExit) as caught:
        Square.parse_and_run(changed)
    assert caught.value.code == 1
    found = Square.parse_and_run([*changed, "--no-exit"])
    assert found.resultList == []
    assert "nothing was run" in caplog.text
    assert len(Square.parse_and_run([*changed, "--clobber-config"]).resultList) == 1


def test_results_without_status_count_as_success_with_a_warning(astra_root, monkeypatch, caplog):
    class Silent(TaskRunner):
        def __call__(self, args):
            return object()

    monkeypatch.setattr(Square, "runner_class", Silent)
    assert len(Square.parse_and_run(["--id", "number=1"]).resultList) == 1
    assert "no exitStatus" in caplog.text


def test_data_ids_are_all_combinations():
    assert parse_data_ids(["number=1^3..5^9", "label=a^b"], Square)[:3] == [
        {"number": 1, "label": "a"},
        {"number": 1, "label": "b"},
        {"number": 3, "label": "a"},
    ]
    assert [item["number"] for item in parse_data_ids(["number=0..10:5"], Square)] == [0, 5, 10]
    assert parse_data_ids(["label=00123"], Square) == [{"label": "00123"}]


def test_repeated_id_options_append():
    parser = build_parser(Square)
    assert parser.parse_args(["--id", "number=1", "--id", "number=2"]).id == ids(1, 2)
    assert parser.parse_args([]).id == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["number=1", "number=2"], "number is given twice"),
        (["number"], "is not KEY=VALUE"),
        (["number=x"], "number=x"),
        (["number=5..1"], "is empty"),
        (["number=1..3:0"], "stride"),
    ],
)
def test_bad_data_ids_are_usage_errors(words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        build_parser(Square).parse_args(["--id", *words])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_unknown_keys_warn_and_stay_text(caplog):
    assert parse_data_ids(["visit=1..2"], Plain) == [{"visit": "1"}, {"visit": "2"}]
    assert "Plain has no parameter visit" in caplog.text


def test_arguments_come_from_files_too(tmp_path):
    path = tmp_path / "ids"
    path.write_text("--id number=1^2  # the first two\n\n-j 3\n")
    parsed = build_parser(Square).parse_args([f"@{path}"])
    assert (parsed.id, parsed.processes) == (ids(1, 2), 3)


class Layered(Square):
    """A task that overrides its own configuration."""

    instrument = luigi.Parameter(default="", description="Camera.")
    seen = ()

    @classmethod
    def apply_overrides(cls, config):
        cls.seen = (config.label, config.power, config.name)
        config.label = "hook"
        config.power = 4
        config.name = "hook"


def test_overrides_apply_in_order(astra_root, tmp_path):
    folder = astra_root / "config"
    (folder / "simcam").mkdir(parents=True)
    (folder / "Layered.toml").write_text('label = "site"\npower = 3\nname = "site"\nscale = 2\n')
    (folder / "simcam" / "Layered.toml").write_text('label = "camera"\n')
    (tmp_path / "mine.json").write_text('{"label": "file", "name": "file"}')
    arguments = ["--id", "number=2", "instrument=simcam", "-c", "power=5", "label=first"]
    arguments += ["-C", str(tmp_path / "mine.json"), "-c", "name=last"]
    found = Layered.parse_and_run(arguments, do_return_results=True)
    assert Layered.seen == ("camera", 3, "site")
    config = found.parsedCmd.config
    assert (config.label, config.power, config.name, config.scale) == ("file", 5, "last", 2.0)
    assert found.resultList[0].result == 32
    with pytest.raises(ConfigError, match="frozen"):
        config.label = "late"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-c", "nothing=1"], "no config field: nothing"),
        (["-c", "sub.nothing=1"], "no config field: sub.nothing"),
        (["-c", "power=1.5"], "cannot set config.power='1.5': it holds int, not float"),
        (["-c", "power=x"], "cannot set config.power='x'"),
        (["-c", "power=-1"], "power must not be negative"),
        (["-c", "power"], "needs NAME=VALUE"),
        (["-C", "/nowhere.toml"], "cannot read the configuration file"),
        (["-L", "loud"], "the log level 'loud'"),
    ],
)
def test_a_bad_configuration_is_a_usage_error(astra_root, words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        Square.parse_and_run(["--id", "number=1", *words])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_luigis_configuration_is_the_default():
    luigi.configuration.get_config().set("Square", "label", "from-file")
    try:
        assert make_run_config(Square).label == "from-file"
    finally:
        luigi.configuration.get_config().remove_option("Square", "label")
    assert make_run_config(Square).label == "plain"


def test_tables_of_a_file_are_dotted_names(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("a = 1\n[b.c]\nd = true\n")
    assert read_options(path) == {"a": 1, "b.c.d": True}


def test_log_levels_are_set_by_component(astra_root):
    Square.parse_and_run(["--id", "number=1", "-L", "info", "astra.mine=debug"])
    assert logging.getLogger("astra.mine").level == logging.DEBUG
    logging.getLogger("astra").setLevel(logging.NOTSET)
    logging.getLogger("astra.mine").setLevel(logging.NOTSET)


@pytest.mark.parametrize(("allowed", "expected"), [("", "1 1"), ("yes", "None None")])
def test_libraries_get_one_thread_unless_allowed(allowed, expected):
    names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
    code = f"import os, astra; print(*map(os.environ.get, {names}))"
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment |= {"PYTHONPATH": str(PROJECT), "ASTRA_ALLOW_IMPLICIT_THREADS": allowed}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == expected
