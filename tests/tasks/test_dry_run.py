"""``--dry-run`` lists what would run and why, and does nothing."""

import luigi
import pytest

from astra.tasks.dry_run import plan, write_plan_lines
from astra.tasks.runner import begin_invocation
from tests.tasks.night import build, rows
from tests.tasks.toy_tasks import Double, Sum, Toy


class Versioned(Toy):
    """A task of several versions of astra."""


class Puzzled(luigi.Task):
    """A task that cannot tell whether it is complete."""

    def complete(self):
        raise OSError("the disk is gone")


class Lost(luigi.ExternalTask):
    """A file that others should have made."""

    def output(self):
        return luigi.LocalTarget("/nowhere/at/all")


def reasons(task):
    """What would run, in order: the task with its reasons in words."""
    return [(planned.task, [str(reason) for reason in planned.reasons.values()]) for planned in plan(task)]


def test_all_is_missing_at_first_and_requirements_come_first(astra_root):
    double = Double(number=(1, 2))
    toy = Toy(number=(1, 2))
    assert reasons(double) == [(toy, ["missing"] * 2), (double, ["missing"] * 2)]
    assert rows(astra_root, "SELECT count(*) FROM task") == [(0,)]


def test_failed_and_blocked_members_tell_their_error(astra_root):
    double = Double(number=(1, 2, 3), refuse=2)
    assert not build(double)
    found = reasons(double)
    assert found[0] == (Toy(number=(1, 2, 3), refuse=2), ["failed before: DataError: number 2 is refused"])
    assert found[1][0] == double
    assert found[1][1][0].startswith("blocked before: not started: Toy(")


def test_what_is_complete_is_not_listed(astra_root, capsys):
    assert build(Double(number=(1, 2)))
    assert reasons(Double(number=(1, 2))) == []
    write_plan_lines(Double(number=(1, 2)), 20)
    assert capsys.readouterr().out == f"nothing to do: {Double(number=(1, 2))!r} is complete\n"


def test_a_changed_input_is_named(astra_root):
    double = Double(number=(1, 2))
    assert build(double)
    (astra_root / "toy-plain-2-n.txt").write_text("77")
    path = astra_root / "toy-plain-2-n.txt"
    assert reasons(double) == [(double, [f"input newer: input {path} has changed"])]


def test_another_version_is_named(astra_root):
    task = Versioned(number=(1, 2))
    before = Versioned(number=(1, 2), astra_version_major=0, astra_version_minor=task.astra_version_minor + 1)
    assert build(before)
    from astra.database.engine import transaction
    from astra.database.state import task_table

    with transaction(task.database_url) as connection:
        version = f"0.{task.astra_version_minor + 1}.3"
        connection.execute(task_table.update().values(version=version))
    [(_, found)] = reasons(task)
    assert [text.split(",")[0] for text in found] == [f"version changed: was done by {version}"] * 2


def test_what_was_asked_for_and_lost_outputs_are_told(astra_root):
    assert build(Toy(number=1), Toy(number=2))
    begin_invocation()
    assert reasons(Toy(number=1, rerun=True)) == [(Toy(number=1), ["asked to run again"])]
    (astra_root / "toy-plain-2-n.txt").unlink()
    assert reasons(Toy(number=2, strict_output_checking=True)) == [(Toy(number=2), ["output missing"])]


def test_tasks_that_are_not_astras_are_listed_too(astra_root):
    class Root(luigi.WrapperTask):
        def requires(self):
            return [Toy(number=1), Lost(), Puzzled()]

    found = {type(task).__name__: words for task, words in reasons(Root())}
    assert found["Toy"] == ["missing"]
    assert found["Lost"] == ["missing"]
    assert found["Puzzled"] == ["broken: OSError: the disk is gone"]


def test_members_are_listed_up_to_a_limit_and_counted(astra_root, capsys):
    write_plan_lines(Sum(numbers=list(range(30))), 3)
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith("30 of 30 members: 30 missing")
    assert out[1] == "    number=0, name='n'  missing"
    assert out[4] == "    ... and 27 more; see --dry-run-members"
    assert out[-1] == "2 tasks would run; 31 if each member of a batch counts"


def test_a_hostile_path_cannot_steer_the_terminal(astra_root, capsys):
    assert build(Double(number=(1, 2)))
    from astra.tasks.dry_run import Reason

    assert str(Reason("input newer", "a\x1b[2Jb")) == "input newer: a\\x1b[2Jb"


@pytest.mark.parametrize("local", [True, False])
def test_the_luigi_command_lists_and_exits_with_0(run_luigi, astra_root, local):
    module = "tests.tasks.toy_tasks"
    done = run_luigi("Double", "--number", "[1, 2]", "--dry-run", module=module, local=local)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Toy(")
    assert lines[-1] == "2 tasks would run; 4 if each member of a batch counts"
    assert rows(astra_root, "SELECT count(*) FROM run") == [(0,)]
    assert not list(astra_root.glob("*.txt"))


def test_luigi_deps_tree_still_works(astra_root):
    import subprocess
    import sys
    from pathlib import Path

    command = [sys.executable, "-c", "from luigi.tools.deps_tree import main; main()", "--module"]
    command += ["tests.tasks.toy_tasks", "Double", "--number", "[1, 2]"]
    project = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project, check=False)
    assert done.returncode == 0, done.stderr
    assert "[Double-" in done.stdout
    assert "[Toy-" in done.stdout
    assert done.stdout.count("PENDING") == 2
