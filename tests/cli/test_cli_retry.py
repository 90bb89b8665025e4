"""``astra retry``: one command for what can be one batch; what it prints, it can run."""

import json
import shlex
import sys

import pytest
from luigi.cmdline_parser import CmdlineParser

from astra.cli import main
from astra.database.engine import reading, transaction
from astra.database.models.state import Status
from astra.database.selection import Selection
from astra.database.state import link_batch
from astra.database.stored import StoredTask, get_stored_task, unfinished_tasks
from astra.tasks.commands import LONGEST_ARGUMENT, make_commands
from tests.cli.rows import end, record, start_run
from tests.tasks.night import build
from tests.tasks.toy_tasks import Double, Toy


def stored(**parameters):
    texts = Toy(**parameters).to_str_params()
    texts = {name: texts[name] for name in ("label", "number", "name", "refuse")}
    return StoredTask(
        f"Toy_{texts}", "Toy", Toy.__module__, texts, 30, None, "luigi --module x --local-scheduler"
    )


def task_of(command):
    with CmdlineParser.global_instance(command.words[2:]) as parser:
        return parser.get_task_obj()


def test_members_that_differ_in_batch_parameters_make_one_command():
    tasks = [stored(number=1, name="a"), stored(number=2, label="other"), stored(number=3, name='["x"]')]
    commands = make_commands(tasks)
    assert [task_of(command) for command in commands] == [
        Toy(number=(1, 3), name=("a", '["x"]')),
        Toy(number=2, label="other"),
    ]


def test_an_argument_stays_short_enough_for_the_kernel():
    commands = make_commands([stored(number=number, name="n" * 500) for number in range(300)])
    assert len(commands) > 1
    assert max(len(word) for command in commands for word in command.words) < LONGEST_ARGUMENT
    members = [number for command in commands for number in task_of(command).number]
    assert members == list(range(300))


def test_a_class_that_is_gone_makes_single_commands():
    tasks = [StoredTask(str(n), "Gone", "gone", {"x": str(n)}, 30, None, None) for n in (1, 2)]
    assert [command.words for command in make_commands(tasks)] == [
        ["--module", "gone", "Gone", "--x", str(n), "--local-scheduler"] for n in (1, 2)
    ]


def test_failed_members_stand_for_their_batch(any_database_url):
    good, bad = record("Any", {"x": "1"}), record("Any", {"x": "2"})
    batch, broken = record("Any", {"x": '["1","2"]'}, 2), record("Broken", {"x": '["1"]'}, 1)
    blocked = record("After", {"x": "2"})
    with transaction(any_database_url) as connection:
        run = start_run(connection, command="luigi --module any Any")
        end(connection, run, good, Status.DONE)
        end(connection, run, bad, Status.PROCESS_DIED)
        end(connection, run, batch, Status.FAILED)
        end(connection, run, broken, Status.BROKEN)
        end(connection, run, blocked, Status.DEPENDENCY_MISSING)
        link_batch(connection, batch.task_id, [good.task_id, bad.task_id])
        link_batch(connection, broken.task_id, [good.task_id])

    def found(*arguments):
        with reading(any_database_url) as connection:
            return [task.task_id for task in unfinished_tasks(connection, *arguments)]

    assert found(Selection()) == [bad.task_id, broken.task_id]
    assert found(Selection(), ("failed", "blocked")) == [bad.task_id, broken.task_id, blocked.task_id]
    assert found(Selection(family="Any")) == [bad.task_id]
    with reading(any_database_url) as connection:
        assert get_stored_task(connection, bad.task_id).run_command == "luigi --module any Any"


def test_the_command_of_all_failed_is_printed(astra_root, capsys):
    build(Double(number=(1, 2, 3), refuse=2))
    assert main(["retry", "--failed"]) == 0
    toy = capsys.readouterr().out.removesuffix("\n")
    words = shlex.split(toy)
    assert words[:4] == ["luigi", "--module", Toy.__module__, "Toy"]
    with CmdlineParser.global_instance(words[3:]) as parser:
        assert parser.get_task_obj() == Toy(number=2, refuse=2)
    assert main(["retry", "--failed", "--blocked", "--json"]) == 0
    commands = [item["command"] for item in json.loads(capsys.readouterr().out)]
    assert commands[0] == toy
    assert " Double --number 2 " in commands[1]
    assert len(commands) == 2


def test_nothing_to_retry_is_no_error(astra_root, capsys):
    build(Toy(number=1))
    assert main(["retry", "--failed"]) == 0
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "nothing has failed" in streams.err
    assert main(["retry", Toy(number=1).task_id]) == 0
    assert "is done; astra forget" in capsys.readouterr().err


def test_what_is_printed_can_be_run(astra_root, capfd, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    obstacles = [astra_root / f"toy-plain-{number}-n.txt" / "full" for number in (2, 3)]
    for obstacle in obstacles:
        obstacle.mkdir(parents=True)
    build(Toy(number=(1, 2, 3)))
    assert main(["retry", "--failed", "--run"]) == 1
    for obstacle in obstacles:
        obstacle.rmdir()
        obstacle.parent.rmdir()
    assert main(["retry", "--failed", "--run"]) == 0
    assert '--number \'["2","3"]\'' in capfd.readouterr().err
    assert all(task.complete() for task in Toy(number=(1, 2, 3)).get_batch_tasks())


@pytest.mark.parametrize("arguments", [["retry"], ["retry", "X", "--failed"]])
def test_either_a_task_or_all_failed_must_be_named(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_negative_numbers_are_no_options():
    (command,) = make_commands([stored(number=-1), stored(number=-2)])
    assert task_of(command).number == (-1, -2)
