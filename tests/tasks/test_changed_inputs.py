"""A task runs again if a file that it depends on, at any distance, has changed, and only then."""

import dataclasses
import logging
import os

import luigi
import pytest

from astra.database import inputs
from astra.database.engine import reading
from astra.database.inputs import files_behind
from astra.errors import DataError
from astra.products.checksums import stamp, with_checksum
from astra.tasks.base import AstraTask
from astra.tasks.batch import per_member
from astra.tasks.inputs import input_rows
from astra.tasks.parameters import PathParameter
from astra.tasks.recorded_run import recorded
from astra.tasks.runner import begin_invocation
from tests.tasks.toy_tasks import CopyLine


class ShoutLine(AstraTask):
    """Write what `CopyLine` wrote in capitals."""

    path = PathParameter(batch_method=tuple, description="The file.")

    @per_member
    def requires(self):
        return [CopyLine(path=self.path)]

    def input_files(self):
        return ()

    def output(self):
        if self.is_batch_mode:
            return [task.output() for task in self.get_batch_tasks()]
        return luigi.LocalTarget(str(self.root / f"shout-{os.path.basename(self.path)}"))

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                [copied] = task.requires()
                with copied.output().open() as source, task.output().open("w") as target:
                    target.write(source.read().upper())


class AskLine(AstraTask):
    """AskLine for a `CopyLine` while it runs, and count what it wrote."""

    path = luigi.Parameter(description="The file.")

    def output(self):
        return luigi.LocalTarget(str(self.root / "length"))

    def run(self):
        copied = yield CopyLine(path=self.path)
        with copied.open() as source, self.output().open("w") as target:
            target.write(str(len(source.read())))


class AskAll(AstraTask):
    """AskLine for a `CopyLine` of one file for all members while they run."""

    number = luigi.IntParameter(batch_method=tuple, description="The number.")
    path = luigi.Parameter(description="The file.")

    def run(self):
        yield CopyLine(path=self.path)


class Wrapped(luigi.WrapperTask):
    """A plain wrapper between two tasks of astra."""

    path = luigi.Parameter(description="The file.")

    def requires(self):
        return [CopyLine(path=self.path)]


class BehindWrapper(AstraTask):
    """A task that requires a wrapper."""

    path = luigi.Parameter(description="The file.")

    def requires(self):
        return [Wrapped(path=self.path)]

    def run(self):
        pass


class Fit(AstraTask):
    """A task that is told where to write."""

    source = PathParameter(description="The file.")
    result = PathParameter(description="Where to write.")

    def output(self):
        return luigi.LocalTarget(self.result)

    def run(self):
        with open(self.source) as source, self.output().open("w") as target:
            target.write(source.read())


class Stubborn(AstraTask):
    """A task that says by itself when it is complete."""

    source = PathParameter(description="The file.")

    def output(self):
        return luigi.LocalTarget(str(self.root / "stubborn"))

    def complete(self):
        return self.output().exists()

    def run(self):
        with self.output().open("w") as target:
            target.write("once")


class BehindStubborn(AstraTask):
    """A task that requires such a one."""

    source = PathParameter(description="The file.")

    def requires(self):
        return [Stubborn(source=self.source)]

    def input_files(self):
        return ()

    def run(self):
        pass


class Puzzle(AstraTask):
    """A task that cannot say what it reads."""

    number = luigi.IntParameter(description="The number.")

    def input_files(self):
        raise KeyError("which file?")

    def run(self):
        pass


class Choosy(CopyLine):
    """CopyLine, but refuse what is marked."""

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                with open(task.path) as source:
                    text = source.read()
                if "corrupt" in text:
                    raise ValueError("corrupt")
                with task.output().open("w") as target:
                    target.write(text)


class TakesSome(AstraTask):
    """A single task that can do with a part of a batch."""

    accepts_partial_batches = True
    paths = luigi.ListParameter(description="The files.")

    def requires(self):
        return [Choosy(path=tuple(self.paths))]

    def run(self):
        pass


@pytest.fixture
def files(astra_root):
    paths = [astra_root / f"in-{number}" for number in range(3)]
    for path in paths:
        path.write_text(f"one {path.name}\nmore\n")
    return tuple(map(str, paths))


def build(*tasks):
    return luigi.build(list(tasks), local_scheduler=True, log_level="WARNING")


def attempts(task):
    """Number of attempts that each member, or the task, has had."""
    from sqlalchemy import func, select

    from astra.database.state import attempt_table, task_table

    query = select(task_table.c.task_id, func.count()).join(
        attempt_table, attempt_table.c.task_pk == task_table.c.pk
    )
    with reading(task.database_url) as connection:
        counts = dict(connection.execute(query.group_by(task_table.c.task_id)).all())
    return [counts.get(task_id, 0) for task_id in task.member_ids()]


def failure(task_id):
    """Message of the last attempt."""
    from astra import config
    from astra.database.lineage import report_task

    with reading(config.database_url()) as connection:
        return report_task(connection, task_id).attempts[-1]["message"]


@recorded
def fail_once(self):
    """A run that fails."""
    raise ValueError("not today")


def replace(path, text):
    """Write a file anew, surely at another time."""
    before = os.stat(path).st_mtime_ns
    with open(path, "w") as stream:
        stream.write(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_only_the_member_with_a_changed_file_runs_again_and_says_why(files, caplog):
    task = CopyLine(path=files)
    assert build(task)
    replace(files[1], "two")
    begin_invocation()
    with caplog.at_level(logging.INFO, "luigi-interface"):
        assert not task.complete()
        assert not task.complete()
    told = [record.getMessage() for record in caplog.records if "done again" in record.getMessage()]
    assert told == [f"1 members of {task!r} are done again: input {files[1]} has changed"]
    assert build(task)
    assert attempts(task) == [1, 2, 1]
    assert task.complete()
    with task.output()[1].open() as stream:
        assert stream.read() == "two"


def test_a_file_that_was_only_touched_is_read_once_and_changes_nothing(files, monkeypatch):
    task = CopyLine(path=files)
    assert build(task)
    os.utime(files[0], ns=(1, 1))
    assert task.complete()
    with reading(task.database_url) as connection:
        stamps = {file.path: file.modified_ns for file in files_behind(connection, task.member_ids())}
    assert stamps[files[0]] == 1  # so that the next look needs no reading
    monkeypatch.setattr("astra.tasks.inputs.with_checksum", lambda found: pytest.fail("it was read again"))
    assert task.complete()


def test_a_change_of_the_same_length_is_found_by_its_content(files):
    task = CopyLine(path=files[0])
    assert build(task)
    replace(files[0], "ONE in-0\nmore\n")
    assert not task.complete()


def test_a_file_that_is_gone_is_no_reason_to_run_again(files):
    task = CopyLine(path=files)
    assert build(task)
    os.remove(files[2])
    assert task.complete()


def test_a_change_reaches_what_depends_on_it_at_any_distance(files):
    task = ShoutLine(path=files)
    assert build(task)
    replace(files[2], "two\n")
    assert not task.complete()
    assert build(task)
    assert attempts(task) == [1, 1, 2]
    assert attempts(CopyLine(path=files)) == [1, 1, 2]
    with open(task.output()[2].path) as stream:
        assert stream.read() == "TWO\n"


def test_a_change_that_makes_no_difference_ends_where_it_makes_none(files):
    task = ShoutLine(path=files)
    assert build(task)
    replace(files[0], "one in-0\nanother second line\n")
    assert not task.complete()
    assert build(task)
    assert attempts(CopyLine(path=files)) == [2, 1, 1]
    assert attempts(task) == [1, 1, 1]
    assert task.complete()


def test_single_tasks_follow_changes_too(files):
    task = ShoutLine(path=files[0])
    assert build(task)
    replace(files[0], "two\n")
    assert build(task)
    assert attempts(task) == attempts(CopyLine(path=files[0])) == [2]


def test_a_file_that_all_members_read_lets_all_run_again(files, astra_root):
    common = astra_root / "common"
    common.write_text("a")
    task = CopyLine(path=files, common=str(common))
    assert build(task)
    common.write_text("bb")
    assert build(task)
    assert attempts(task) == [2, 2, 2]


def test_what_a_run_asked_for_counts(files):
    task = AskLine(path=files[0])
    assert build(task)
    replace(files[0], "longer than before\n")
    assert not task.complete()
    assert build(task)
    with task.output().open() as stream:
        assert stream.read() == "19"


def test_the_check_can_be_turned_off(files, monkeypatch):
    task = CopyLine(path=files)
    assert build(task)
    replace(files[0], "two")
    luigi.configuration.get_config().set("astra", "check_inputs", "false")
    try:
        assert task.complete()
    finally:
        luigi.configuration.get_config().remove_option("astra", "check_inputs")
    assert not task.complete()


def test_a_member_whose_file_changes_while_it_is_read_fails_alone(files):
    class Meddler(CopyLine):
        """Change a file after it was read."""

        def run(self):
            for task in self.pending_tasks():
                with task.recording(), open(task.path) as source, task.output().open("w") as target:
                    target.write(source.read())
                    if task.path.endswith("1"):
                        replace(task.path, "two")

    task = Meddler(path=files)
    assert not build(task)
    states = task._states(set(task.member_ids()))
    assert [states[task_id].status_code for task_id in task.member_ids()] == [1, 30, 1]
    assert "changed while it was read" in failure(task.member_ids()[1])


def test_a_file_that_is_made_again_while_it_is_read_is_the_same(tmp_path):
    path = tmp_path / "made"
    path.write_text("content")
    noted = with_checksum(stamp(path))
    not_noted = dataclasses.replace(noted, modified_ns=noted.modified_ns - 1)
    os.utime(path, ns=(1, noted.modified_ns + 10**9))
    assert [row["checksum"] for row in input_rows([noted])] == [noted.checksum]
    with pytest.raises(DataError, match="changed while it was read"):
        input_rows([not_noted])
    path.write_text("another")
    with pytest.raises(DataError, match="changed while it was read"):
        input_rows([noted])


def test_inputs_are_replaced_by_those_of_the_last_run(files, any_database_url, monkeypatch):
    monkeypatch.setenv("ASTRA_DATABASE_URL", any_database_url)
    task = ShoutLine(path=files)
    assert build(task)
    replace(files[0], "two\n")
    assert build(task)
    with reading(task.database_url) as connection:
        behind = files_behind(connection, task.member_ids())
    versions = [file.path for file in behind]
    assert sorted(versions) == sorted(
        {*files, *(item.output().path for item in CopyLine(path=files).get_batch_tasks())}
    )


def test_to_look_behind_a_few_tasks_reads_no_table_from_end_to_end(files):
    assert build(ShoutLine(path=files))
    with reading(ShoutLine(path=files).database_url) as connection:
        statement = inputs._files_behind("sqlite").compile(connection.engine)
        values = {**statement.params, "listed": "[]"}
        given = tuple(values[name] for name in statement.positiontup)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given).all()
    steps = [row.detail for row in plan]
    assert any("SEARCH batch_interface" in step for step in steps)
    assert not any(f"SCAN {table}" in step for step in steps for table in ("batch_", "task"))


def test_all_members_of_a_batch_follow_what_their_run_asked_for(files):
    task = AskAll(number=(1, 2), path=files[0])
    assert build(task)
    replace(files[0], "longer than before\n")
    assert not task.complete()
    assert build(task)
    assert attempts(task) == [2, 2]


def test_a_wrapper_between_two_tasks_hides_no_change(files):
    task = BehindWrapper(path=files[0])
    assert build(task)
    replace(files[0], "longer than before\n")
    assert not task.complete()
    assert build(task)
    assert task.complete()


def test_a_parameter_that_names_the_output_is_no_input(files, astra_root):
    task = Fit(source=files[0], result=str(astra_root / "result"))
    assert build(task)
    replace(files[0], "longer than before\n")
    assert build(task)
    assert attempts(task) == [2]
    assert task.complete()


def test_behind_a_task_that_says_itself_when_it_is_complete_is_not_looked(files):
    task = BehindStubborn(source=files[0])
    assert build(task)
    replace(files[0], "longer than before\n")
    assert task.complete()
    assert build(task)


def test_what_fails_before_the_run_is_recorded_too(astra_root):
    task = Puzzle(number=1)
    assert not build(task)
    assert "which file?" in failure(task.task_id)


def test_a_change_that_makes_its_task_fail_is_tried_again_until_it_succeeds(files):
    task = ShoutLine(path=files[0])
    assert build(task)
    replace(files[0], "two\n")
    copied = CopyLine(path=files[0])
    original, type(copied).run = type(copied).run, fail_once
    try:
        assert not build(task)
    finally:
        type(copied).run = original
    assert not task.complete()  # though the database says that it was done
    assert build(task)
    with open(task.output().path) as stream:
        assert stream.read() == "TWO\n"


def test_who_did_without_a_failed_member_is_done(files):
    task = TakesSome(paths=list(files))
    assert build(task)
    replace(files[2], "corrupt\n")
    assert not task.complete()
    build(task)
    begin_invocation()
    assert task.complete()


def test_a_touch_before_its_turn_stops_no_member(files):
    class Toucher(CopyLine):
        """Touch the next file."""

        def run(self):
            for number, task in enumerate(self.pending_tasks()):
                with task.recording():
                    if number == 0:
                        os.utime(files[1], ns=(5, 5))

    assert build(Toucher(path=files))
