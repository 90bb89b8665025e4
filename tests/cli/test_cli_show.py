"""``astra show``: everything about one task, and the command that runs it again."""

import json
import shlex
import subprocess
import sys
from importlib.metadata import version

import luigi
import pytest
from luigi.cmdline_parser import CmdlineParser

from astra.cli import main
from astra.database.engine import reading, transaction
from astra.database.lineage import find_task_ids, get_task_id, report_task
from astra.database.models.state import Status
from astra.database.state import link_batch, link_dependencies
from astra.errors import MissingDataError
from astra.tasks.commands import find_task_class, make_command
from tests.cli.rows import end, record, start_run
from tests.tasks.night import build
from tests.tasks.toy_tasks import CopyLine, Double, Toy


@pytest.fixture
def chain(any_database_url):
    """A batch of two, the second failed twice, and a task that needed the first."""
    first, second = record("Any", {"x": "1"}), record("Any", {"x": "2"})
    batch, after = record("Any", {"x": '["1","2"]'}, 2), record("After", {"x": "1"})
    product = {"path": "/data/one.fits", "kind": "calexp", "size": 12, "checksum": "c" * 64}
    with transaction(any_database_url) as connection:
        run = start_run(connection)
        end(connection, run, first, Status.DONE, products=[product], figures={"Any:run.sn": 5.5})
        end(connection, run, second, Status.FAILED, error_class="DataError", message="no")
        trace = "Traceback:\n  line\nDataError: still no"
        end(connection, run, second, Status.TIMED_OUT, message="still no", traceback=trace)
        end(connection, run, batch, Status.FAILED)
        end(connection, run, after, Status.CREATED)
        link_batch(connection, batch.task_id, [first.task_id, second.task_id])
        link_dependencies(connection, [(after.task_id, first.task_id)])
    return {"first": first, "second": second, "batch": batch, "after": after}


def test_a_report_has_batch_attempts_and_lineage(any_database_url, chain):
    with reading(any_database_url) as connection:
        reports = {name: report_task(connection, task.task_id) for name, task in chain.items()}
    assert [batch["task_id"] for batch in reports["first"].batches] == [chain["batch"].task_id]
    assert reports["batch"].members == {"done": 1, "failed": 1}
    assert [attempt["status_code"] for attempt in reports["second"].attempts] == [30, 70]
    assert reports["second"].attempts[-1]["duration"] == 1.5
    assert reports["second"].task["state"] == "failed"
    assert [task["task_id"] for task in reports["first"].dependents] == [chain["after"].task_id]
    (needed,) = reports["after"].inputs
    assert needed["products"][0]["path"] == reports["first"].outputs[0]["path"] == "/data/one.fits"
    assert reports["first"].figures == {"Any:run.sn": 5.5}


def test_a_unique_beginning_is_enough(any_database_url, chain):
    with reading(any_database_url) as connection:
        assert get_task_id(connection, "Aft") == chain["after"].task_id
        assert len(find_task_ids(connection, "Any", 10)) == 3
        assert find_task_ids(connection, "any", 10) == find_task_ids(connection, "A_y", 10) == []
        with pytest.raises(MissingDataError, match=r"more than one.*Any_.*Any_"):
            get_task_id(connection, "Any_")
        with pytest.raises(MissingDataError, match="no task has an id"):
            get_task_id(connection, "Nothing")


def test_show_tells_of_error_output_and_command(astra_root, capsys):
    build(Double(number=(1, 2), refuse=2))
    failed = Toy(number=2, refuse=2).task_id
    assert main(["show", failed]) == 0
    out = capsys.readouterr().out
    for text in (
        "failed (30: failed)",
        "DataError: number 2 is refused",
        "Traceback (most recent",
        "1 of 2 in",
    ):
        assert text in out
    assert main(["show", Toy(number=1).task_id]) == 0
    out = capsys.readouterr().out
    for text in (
        "done (1: done)",
        f"{astra_root}/toy-plain-1-n.txt",
        "1 bytes",
        "Toy:run.square",
        "needed by",
    ):
        assert text in out
    assert main(["show", Double(number=2).task_id]) == 0
    assert "blocked (60: dependency missing)" in capsys.readouterr().out


def shown_task(capsys, *arguments):
    assert main(["show", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["task"]["task_id"]


def test_a_file_stands_for_the_task_that_wrote_it(astra_root, capsys, monkeypatch):
    build(Double(number=(1, 2)))
    monkeypatch.chdir(astra_root)
    first, second = Double(number=1).task_id, Double(number=2).task_id
    (astra_root / "below").mkdir()
    for name in (f"{astra_root}/double-1.txt", "double-1.txt", "./double-1.txt", "below/../double-1.txt"):
        assert shown_task(capsys, name) == first
    (astra_root / "double-2.txt").unlink()
    assert shown_task(capsys, "double-2.txt") == second
    monkeypatch.chdir("/")
    assert shown_task(capsys, "double-2.txt") == second  # below the root


def test_a_root_may_be_a_link(astra_root, tmp_path_factory, monkeypatch, capsys):
    link = tmp_path_factory.mktemp("links") / "root"
    link.symlink_to(astra_root)
    monkeypatch.setenv("ASTRA_ROOT", str(link))
    build(Toy(number=1))
    for folder in (link, astra_root):
        assert shown_task(capsys, f"{folder}/toy-plain-1-n.txt") == Toy(number=1).task_id


def test_an_id_comes_before_a_file_of_that_name(astra_root, monkeypatch, capsys):
    class Named(Toy):
        def output(self):
            return luigi.LocalTarget(str(self.root / "Toy"))

    build(Toy(number=1), Named(number=1))
    monkeypatch.chdir(astra_root)
    assert shown_task(capsys, "Toy") == Toy(number=1).task_id
    assert shown_task(capsys, "./Toy") == Named(number=1).task_id


def test_a_file_without_a_task_is_told_of_in_one_sentence(astra_root, capsys):
    build(Toy(number=1))
    assert main(["show", "absent.txt"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("astra: no task has an id that begins with 'absent.txt', and no task of this ")
    assert main(["show", f"{astra_root}/absent.txt"]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"astra: no task of this database has written {astra_root}/absent.txt;")
    assert main(["forget", Toy(number=1).task_id, "--yes"]) == 0
    capsys.readouterr()
    assert main(["show", f"{astra_root}/toy-plain-1-n.txt"]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"astra: the task that wrote {astra_root}/toy-plain-1-n.txt has been forgotten")
    assert len(message.splitlines()) == 1


def test_the_run_is_that_of_the_last_attempt_with_its_packages(any_database_url):
    member, new = record("Any", {"x": "1"}), record("Any", {"x": "2"})
    with transaction(any_database_url) as connection:
        tried, planned = start_run(connection, "one"), start_run(connection, "two")
        end(connection, tried, member, Status.FAILED)
        for task in (member, new):
            end(connection, planned, task, Status.CREATED)
    with reading(any_database_url) as connection:
        assert report_task(connection, member.task_id).run["command"] == "one"
        assert report_task(connection, new.task_id).run["command"] == "two"


def test_versions_of_packages_stand_in_one_line(astra_root, capsys):
    build(Toy(number=(1, 2)))
    assert main(["show", Toy(number=1).task_id]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    [run] = [line for line in lines if line[:1] == ["run"] and line[2:3] == ["on"]]
    [packages] = [line for line in lines if line[:1] == ["packages"]]
    assert run[1] == "1"
    assert packages[1:3] == ["luigi", f"{version('luigi')},"]
    assert packages[-2:] == ["fastavro", version("fastavro")]


def test_candidates_are_listed_on_standard_error(astra_root, capsys):
    build(Toy(number=(1, 2)))
    assert main(["show", "Toy_"]) == 1
    streams = capsys.readouterr()
    assert streams.out == ""
    assert Toy(number=1).task_id in streams.err


def test_files_are_verified(astra_root, capsys):
    build(Toy(number=1))
    task = Toy(number=1)
    assert main(["show", task.task_id, "--verify"]) == 0
    assert "as recorded" in capsys.readouterr().out
    path = astra_root / "toy-plain-1-n.txt"
    path.write_text("2")
    assert main(["show", task.task_id]) == 0
    assert "there" in capsys.readouterr().out
    assert main(["show", task.task_id, "--verify", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["outputs"][0]["file"] == "changed"
    path.write_text("123")
    assert main(["show", task.task_id, "--verify"]) == 1
    assert "of another size" in capsys.readouterr().out
    path.unlink()
    assert main(["show", task.task_id, "--verify"]) == 1
    assert "missing" in capsys.readouterr().out


def test_hostile_text_does_not_reach_the_terminal(astra_root, capsys):
    build(Toy(number=1))
    evil = record("Toy", {"name": "\x1b[2J'x'\n"}, module="no\x1bmodule")
    with transaction(f"sqlite:///{astra_root}/astra.db") as connection:
        run = start_run(connection, command="luigi \x1b[31m")
        end(connection, run, evil, 30, message="\x9b1m", traceback="a\x1b[1mb\nc", context={"k\x07": "\x1b"})
    assert main(["show", evil.task_id]) == 0
    assert capsys.readouterr().out.replace("\n", "").isprintable()


class Awkward(luigi.Task):
    """Parameters that a shell or a parser could take for something else."""

    text = luigi.Parameter()
    dashed = luigi.Parameter()
    flag = luigi.BoolParameter()
    off = luigi.BoolParameter()
    explicit = luigi.BoolParameter(default=True, parsing=luigi.BoolParameter.EXPLICIT_PARSING)
    optional = luigi.OptionalParameter()
    day = luigi.DateParameter()


def test_the_command_gives_the_same_task_back():
    import datetime as dt

    task = Awkward(
        text='it\'s $HOME "x" ü',
        dashed="-5",
        flag=True,
        off=False,
        explicit=False,
        optional=None,
        day=dt.date(2025, 11, 20),
    )
    command = make_command(__name__, "Awkward", task.to_str_params(), run_command=None)
    words = shlex.split(command.text)
    assert words[:4] == ["luigi", "--module", __name__, "Awkward"]
    with CmdlineParser.global_instance(words[1:]) as parser:
        assert parser.get_task_obj() == task
    assert command.not_said == []


class Unsayable(luigi.Task):
    """Values that Luigi's command line takes for none."""

    text = luigi.Parameter(default="something")
    switch = luigi.BoolParameter(default=True)
    required = luigi.Parameter()
    empty = luigi.Parameter(default="")


def test_what_a_command_line_cannot_say_is_named():
    task = Unsayable(text="", switch=False, required="", empty="")
    command = make_command(__name__, "Unsayable", task.to_str_params(), run_command=None)
    assert command.not_said == ["text", "switch", "required"]
    assert "text cannot be said" in command.remarks()[0]


def test_the_scheduler_is_chosen_as_in_the_run_before():
    def words(run_command):
        return make_command("astra", "Toy", {}, run_command=run_command).words

    assert "--local-scheduler" in words("luigi --module astra Toy --local-scheduler")
    assert "--local-scheduler" not in words("luigi --module astra Toy")
    assert "--local-scheduler" in words("notebook.py")


def test_a_class_that_is_gone_is_none():
    assert find_task_class("astra", "NeverDefined") is None
    assert find_task_class("no_such_module_here", "Toy") is None
    assert find_task_class(".relative", "Toy") is None


def test_the_shown_command_runs(astra_root, tmp_path_factory, monkeypatch, capsys):
    monkeypatch.setenv(
        "ASTRA_DATABASE_URL", ""
    )  # the command sets it for good, which is undone after the test
    build(Toy(number=(1, 2), refuse=2))
    failed = Toy(number=2, refuse=2).task_id
    assert main(["--root", str(astra_root), "show", failed, "--json"]) == 0
    command = json.loads(capsys.readouterr().out)["command"]
    assert f"ASTRA_ROOT={astra_root}" in command
    command = command.replace("--refuse 2", "--refuse 9").replace(
        " luigi ", f" {sys.executable} -m luigi ", 1
    )
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    environment = {"PYTHONPATH": ":".join(sys.path), "HOME": str(elsewhere)}
    subprocess.run(["bash", "-c", command], check=True, cwd=elsewhere, env=environment, capture_output=True)
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["families"][0]["done"] == 2


def test_the_files_that_a_task_read_are_shown_as_they_were(astra_root, capsys):
    assert build(Double(number=4))
    path = astra_root / "toy-plain-4-n.txt"
    path.write_text("changed")
    assert main(["show", Double(number=4).task_id]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = lines[lines.index("files read") + 1]
    assert str(path) in shown
    assert shown.endswith("of another size")


def test_a_file_that_nobody_here_wrote_tells_who_read_it(astra_root, capsys):
    (astra_root / "in-1").write_text("one\n")
    task = CopyLine(path=str(astra_root / "in-1"))
    assert build(task)
    assert main(["show", str(astra_root / "in-1")]) != 0
    assert f"but {task.task_id} read it" in capsys.readouterr().err
