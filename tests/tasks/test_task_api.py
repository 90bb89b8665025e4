"""The names of the task API of 2021, one by one: what each means, and the defects that it had.

The calls on state are in `test_state_api` too, identity and batches in `test_engine`.
"""

import math
import os
import signal
import subprocess
import sys
import time
import warnings

import luigi
import pytest
from luigi import Event
from luigi.parameter import ParameterVisibility

import astra
from astra.errors import DataError
from astra.tasks.base import AstraTask, BaseTask
from astra.tasks.runner import version_numbers
from tests.conftest import PROJECT
from tests.tasks.test_engine import build, rows, states
from tests.tasks.toy_tasks import Absent, Broken, Careless, Double, Toy, Waits

HERE = "tests.tasks.test_task_api"
HIDDEN = ParameterVisibility.HIDDEN


class Many(AstraTask):
    """A task with parameters of every kind."""

    p = luigi.FloatParameter(default=1.5)
    q = luigi.Parameter(batch_method=tuple, default="5")
    n = luigi.IntParameter(batch_method=tuple, default=0)
    workers_wanted = luigi.IntParameter(default=1, significant=False)
    token = luigi.Parameter(default="secret", visibility=ParameterVisibility.PRIVATE)
    place = luigi.Parameter(default="here", visibility=ParameterVisibility.HIDDEN)


class Sealed(AstraTask):
    """A task with a secret for each member."""

    n = luigi.IntParameter(batch_method=tuple)
    token = luigi.Parameter(default="", batch_method=tuple, visibility=ParameterVisibility.PRIVATE)


class Shares(AstraTask):
    """A task that shares some of them."""

    q = luigi.Parameter(default="")
    p = luigi.FloatParameter(default=0.0)
    workers_wanted = luigi.IntParameter(default=1, significant=False)


class Empty(AstraTask):
    """A task that needs no value."""

    q = luigi.OptionalParameter(batch_method=tuple)
    n = luigi.OptionalIntParameter(batch_method=tuple)


# -- names of the package ---------------------------------------------------------------------------------


def test_base_task_is_another_name_and_not_another_class():
    assert BaseTask is AstraTask is astra.tasks.BaseTask
    assert "BaseTask" not in luigi.task_register.Register.task_names()


class PlainUpstream(luigi.Task):
    """A task that is none of astra's."""

    number = astra.IntParameter(batch_method=tuple)

    def complete(self):
        return True


@astra.requires(Toy)
class TimesFactor(AstraTask):
    """A task with the parameters of Toy."""

    factor = astra.IntParameter(default=2)

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                pass


@astra.inherits(PlainUpstream)
class Heir(AstraTask):
    """A task with the parameters of a plain one."""


def test_requires_hands_on_the_parameters_and_makes_the_requirement(astra_root):
    task = TimesFactor(number=(1, 2), name="x", label="other")
    assert task.requires() == Toy(number=(1, 2), name="x", label="other")
    assert astra.build([task], local_scheduler=True, log_level="WARNING")
    assert states(astra_root, "TimesFactor") == {"1": "done", "2": "done"}
    assert states(astra_root) == {"1": "done", "2": "done"}


def test_inherits_hands_on_batch_parameters_of_plain_tasks_too():
    task = Heir(number=(1, 2))
    assert Heir.from_str_params(task.to_str_params()).number == (1, 2)
    assert task.member_ids() == [Heir(number=1).task_id, Heir(number=2).task_id]
    assert task.clone_parent().number == (1, 2)


def test_importing_writes_nothing_and_changes_no_folder(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "ASTRA_ROOT": str(tmp_path / "root")}
    environment |= {"HOME": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path), "SAS_BASE_DIR": "/nowhere"}
    code = "import os; before = dict(os.environ); import astra; print(os.environ['SAS_BASE_DIR'])"
    result = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    assert result.stdout == b"/nowhere\n"
    assert list(tmp_path.iterdir()) == []


# -- astra_version_*, strict_output_checking --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "significant"),
    [
        ("astra_version_major", luigi.IntParameter, True),
        ("astra_version_minor", luigi.IntParameter, True),
        ("astra_version_micro", luigi.IntParameter, False),
        ("astra_version_dev", luigi.BoolParameter, False),
        ("strict_output_checking", luigi.BoolParameter, False),
    ],
)
def test_the_parameters_of_every_task_are_hidden_and_no_batch(name, kind, significant):
    parameter = dict(AstraTask.get_params())[name]
    assert type(parameter) is kind
    assert (parameter.significant, parameter.visibility) == (significant, HIDDEN)
    assert name not in Many.batch_param_names()


def test_their_defaults_are_the_version_of_the_package_and_not_strict():
    task = Careless(number=1)
    version = f"{task.astra_version_major}.{task.astra_version_minor}.{task.astra_version_micro}"
    assert astra.__version__.startswith(version) or astra.__version__ == "0+unknown"
    assert task.astra_version_dev is ("dev" in astra.__version__)
    assert task.strict_output_checking is False


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("0.1.0", (0, 1, 0)),
        ("1.20.3", (1, 20, 3)),
        ("0.2.1.dev3", (0, 2, 1)),
        ("0.2.1rc4", (0, 2, 1)),
        ("0.2rc1", (0, 2, 0)),
        ("3.dev1", (3, 0, 0)),
        ("0+unknown", (0, 0, 0)),
        ("0.2.1+g12.3", (0, 2, 1)),
    ],
)
def test_the_numbers_of_a_version_are_those_before_any_letter(version, numbers):
    assert version_numbers(version) == numbers


def test_another_major_or_minor_version_is_another_task_and_another_micro_is_not():
    ids = {Toy(number=1, **{f"astra_version_{part}": 99}).task_id for part in ("major", "minor", "micro")}
    assert len(ids) == 3
    assert Toy(number=1, astra_version_micro=99, astra_version_dev=True).task_id == Toy(number=1).task_id


# -- get_hashed_params, to_str_params, from_str_params ----------------------------------------------------


def test_hashed_params_are_the_significant_ones_and_never_private():
    assert set(Many().get_hashed_params()) == {
        "astra_version_major",
        "astra_version_minor",
        "output_root",
        "p",
        "q",
        "n",
        "place",
    }
    assert Many(n=[1, 2]).get_hashed_params(only_public=True) == {"p": 1.5, "q": ("5", "5"), "n": (1, 2)}
    everything = Many().get_hashed_params(only_significant=False)
    assert everything["workers_wanted"] == 1
    assert "token" not in everything


def test_what_is_private_makes_no_identity_as_no_scheduler_hands_it_on():
    task = Many(n=(1, 2), token="other")  # noqa: S106
    again = Many.from_str_params(task.to_str_params())
    assert (again.task_id, again.token) == (task.task_id, "secret")
    assert task.member_ids() == [Many(n=1).task_id, Many(n=2).task_id]


def test_what_is_private_to_each_member_is_neither_identity_nor_stored(astra_root):
    task = Sealed(n=tuple(range(400)), token=tuple(f"t{i}" for i in range(400)))
    assert task.member_ids() == Sealed(n=task.n).member_ids()
    texts = task.to_str_params()
    assert (texts["n"][:7], "token" in texts) == ("@batch:", False)
    assert rows(astra_root, "SELECT count(*) FROM batch_parameters") == [(1,)]
    assert Sealed.from_str_params(texts).task_id == task.task_id


def test_str_params_are_all_that_a_scheduler_needs_to_make_the_task_again():
    texts = Many(q=("15000", "a"), n=7, workers_wanted=4, place="there").to_str_params()
    assert all(isinstance(text, str) for text in texts.values())
    assert (texts["q"], texts["n"], texts["p"]) == ('["15000","a"]', '["7","7"]', "1.5")
    assert (texts["workers_wanted"], texts["place"]) == ("4", "there")
    assert "token" not in texts


def test_str_params_can_leave_out_what_is_not_significant_or_not_public():
    assert set(Many().to_str_params(only_significant=True, only_public=True)) == {"p", "q", "n"}
    assert "place" in Many().to_str_params(only_significant=True)
    assert "workers_wanted" in Many().to_str_params(only_public=True)


@pytest.mark.parametrize("text", ["15000", "1e5", "true", "[1]", ""])
def test_a_string_stays_one_through_json(text):
    for task in (Many(q=text), Many(q=(text, text))):
        assert Many.from_str_params(task.to_str_params()).q == task.q


def test_the_lists_of_luigis_batcher_make_a_batch():
    task = Many.from_str_params({"q": ["15000", "true"], "n": ["1", "2"]})
    assert (task.q, task.n) == (("15000", "true"), (1, 2))
    assert task == Many(q=("15000", "true"), n=(1, 2))


# -- get_common_param_names, get_common_param_kwargs ------------------------------------------------------


def test_common_params_are_all_that_both_have():
    names = Many().get_common_param_names(Shares)
    assert {"p", "q", "workers_wanted", "astra_version_micro", "strict_output_checking"} <= names
    assert names.isdisjoint({"n", "token", "place"})


def test_common_params_can_be_the_significant_ones_alone():
    assert Many().get_common_param_names(Shares, include_significant=False) == {
        "p",
        "q",
        "astra_version_major",
        "astra_version_minor",
        "output_root",
    }


def test_common_kwargs_are_this_tasks_values():
    task = Many(p=2.5, q="x", workers_wanted=3, strict_output_checking=True)
    made = Shares(**task.get_common_param_kwargs(Shares))
    assert (made.p, made.q, made.workers_wanted, made.strict_output_checking) == (2.5, "x", 3, True)
    assert "workers_wanted" not in task.get_common_param_kwargs(Shares, include_significant=False)


# -- is_batch_mode, get_batch_size, get_batch_task_kwds, get_batch_tasks, max_batch_size, batchable --------


def test_a_batch_is_what_holds_tuples_and_a_list_is_one():
    assert Many(n=(1, 2)).is_batch_mode
    assert Many(n=[1, 2]) == Many(n=(1, 2))
    assert Many(n=(1,)).is_batch_mode
    assert not Many(n=1).is_batch_mode
    assert not Careless(number=1).is_batch_mode
    assert not Shares().is_batch_mode


def test_no_value_at_all_is_no_batch():
    task = Empty()
    assert (task.q, task.is_batch_mode, task.get_batch_size()) == (None, False, 1)
    assert list(task.get_batch_task_kwds(False)) == [{"q": None, "n": None}]
    assert Empty(n=(1, 2)).q == (None, None)


def test_the_size_of_a_batch_is_its_number_of_members():
    assert [task.get_batch_size() for task in (Many(), Many(n=(1,)), Many(n=(1, 2, 3)))] == [1, 1, 3]


def test_batch_keywords_are_those_of_each_member_in_order():
    task = Many(q=("a", "b"), n=3, p=2.0)
    assert list(task.get_batch_task_kwds(include_non_batch_keywords=False)) == [
        {"q": "a", "n": 3},
        {"q": "b", "n": 3},
    ]
    assert [Many(**kwargs) for kwargs in task.get_batch_task_kwds()] == [
        Many(q="a", n=3, p=2.0),
        Many(q="b", n=3, p=2.0),
    ]
    assert list(Many(q="a").get_batch_task_kwds(False)) == [{"q": "a", "n": 0}]


def test_batch_tasks_are_single_tasks_of_the_class_or_the_task_itself():
    members = list(Many(n=(4, 5), workers_wanted=2, token="t").get_batch_tasks())  # noqa: S106
    assert members == [Many(n=4), Many(n=5)]
    assert {(type(task), task.is_batch_mode) for task in members} == {(Many, False)}
    assert {(task.workers_wanted, task.token) for task in members} == {(2, "t")}
    single = Many()
    assert [task is single for task in single.get_batch_tasks()] == [True]


def test_a_class_may_bound_its_batches_and_luigis_scheduler_leaves_them_alone():
    assert AstraTask.max_batch_size == math.inf
    assert not Many().batchable
    assert not Many(n=(1, 2)).batchable


# -- get_input --------------------------------------------------------------------------------------------


class Choosy(AstraTask):
    """A task one of whose inputs cannot say what it makes."""

    number = luigi.IntParameter(batch_method=tuple)

    def requires(self):
        return {"good": Toy(number=self.number), "bad": Mute()}


class Mute(AstraTask):
    """A task without a tellable output."""

    def output(self):
        raise DataError("nobody knows")


def test_one_input_is_found_without_the_others():
    assert Choosy(number=1).get_input("good").path == Toy(number=1).output().path
    assert [target.path for target in Choosy(number=(1, 2)).get_input("good")] == [
        Toy(number=1).output().path,
        Toy(number=2).output().path,
    ]
    with pytest.raises(DataError, match="nobody knows"):
        Choosy(number=1).input()


# -- output_base_dir --------------------------------------------------------------------------------------


def test_output_base_dir_is_the_folder_of_family_and_version(astra_root, monkeypatch):
    monkeypatch.delenv("SAS_BASE_DIR", raising=False)
    task = Toy(number=1, astra_version_major=2, astra_version_minor=5)
    assert task.output_base_dir == astra_root / "products" / "2.5" / "Toy"
    assert Careless(number=1).output_base_dir.name == "toy_space.Careless"
    assert Toy(number=(1, 2)).output_base_dir == Toy(number=3).output_base_dir
    assert not task.output_base_dir.exists()


def test_output_base_dir_follows_the_identity(tmp_path):
    now, later = Toy(number=1), Toy(number=1, astra_version_micro=77)
    assert (now.task_id, now.output_base_dir) == (later.task_id, later.output_base_dir)
    own = Toy(number=1, output_root=str(tmp_path / "own"))
    assert own.output_base_dir.is_relative_to(tmp_path / "own" / "products")


# -- repr, warnings ---------------------------------------------------------------------------------------


def test_repr_tells_family_hash_and_public_parameters():
    digits = Many().task_id.rpartition("_")[2]
    assert repr(Many()) == f"Many({digits}: p=1.5, q='5', n=0)"
    assert str(Many()) == repr(Many())
    batch = Many(q=tuple(map(str, range(400))))
    assert repr(batch) == f"Many({batch.task_id.rpartition('_')[2]}: batch_size=400)"


def test_a_family_may_hold_underscores():
    family = type("With_some_underscores", (Many,), {})
    task = family(n=(1, 2))
    assert task.task_id.startswith("With_some_underscores_")
    assert repr(task).startswith("With_some_underscores(")
    assert family.from_str_params(task.to_str_params()) == task


@pytest.mark.parametrize(
    "values", [{"q": tuple(range(1000, 2000))}, {"token": tuple(range(1000, 2000))}, {"q": (1234, 1235)}]
)
def test_no_warning_prints_a_tuple_of_values(values):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Many(**values)
    assert not any("1234" in str(warning.message) for warning in caught)


def test_a_value_of_the_wrong_type_still_warns():
    with pytest.warns(UserWarning, match='"place" with value "7" is not of type string'):
        Many(place=7)
    with pytest.warns(UserWarning, match='"q" with value "7" is not of type string'):
        Many(q=7)


# -- update_state, delete_state ---------------------------------------------------------------------------


def test_a_status_set_by_hand_brings_its_times_along(astra_root):
    task = Toy(number=1)
    task.create_state()
    assert task.update_state({"status_code": 1}) == 1
    assert task.complete()
    task.update_state({"status_code": 30})
    assert not task.complete()
    assert rows(astra_root, "SELECT completed FROM task") == [(None,)]
    row, _ = Toy(number=2).get_or_create_state({"status_code": 1})
    assert row.completed is not None
    assert Toy(number=2).complete()


def test_a_change_by_hand_is_a_change(astra_root):
    task = Toy(number=1)
    created, _ = task.get_or_create_state()
    task.update_state({"duration": 4.0})
    assert task.query_state().one().modified > created.modified


def test_a_status_that_there_is_not_is_refused_with_those_that_there_are(astra_root):
    Toy(number=1).create_state()
    with pytest.raises(ValueError, match=r"must be one of 0 created, 1 done, 2 running, 30 .*, not 99"):
        Toy(number=1).update_state({"status_code": 99})


def test_a_task_with_links_attempts_and_products_can_be_deleted(any_database_url, astra_root, monkeypatch):
    from sqlalchemy import create_engine, text

    monkeypatch.setenv("ASTRA_DATABASE_URL", any_database_url)
    assert build(Double(number=(1, 2)))
    assert Toy(number=(1, 2)).delete_state(cascade=True) == 3
    assert Double(number=1).delete_state() == 1
    engine = create_engine(any_database_url)
    with engine.connect() as connection:
        left = [tuple(row) for row in connection.execute(text("SELECT family, batch_size FROM task"))]
    engine.dispose()
    assert sorted(left, key=str) == [("Double", 2), ("Double", None)]
    assert not Toy(number=1).complete()


# -- trigger_event_* from within run ----------------------------------------------------------------------


class ByHand(AstraTask):
    """A task that keeps its own books, as tasks of 2021 did."""

    number = luigi.IntParameter(batch_method=tuple)

    def output(self):
        return luigi.LocalTarget(str(self.root / f"by-hand-{self.number}"))

    def run(self):
        for task in self.get_batch_tasks():
            if task.complete():
                continue
            task.trigger_event_start()
            if task.number < 0:
                task.trigger_event_failed()
                continue
            with task.output().open("w") as stream:
                stream.write("done")
            task.trigger_event_processing_time(100.0 + task.number, cascade=True)


def durations(root):
    query = (
        "SELECT json_extract(parameters, '$.number'), round(duration, 2) FROM task WHERE family = 'ByHand'"
    )
    return dict(rows(root, query + " AND batch_size IS NULL"))


def test_a_member_that_its_batch_marks_as_failed_stays_so(astra_root):
    assert not build(ByHand(number=(1, -2, 3)))
    assert states(astra_root, "ByHand") == {"1": "done", "-2": "failed", "3": "done"}
    assert rows(astra_root, "SELECT status_code FROM task WHERE batch_size = 3") == [(30,)]
    query = "SELECT message FROM task_attempt JOIN task ON task.pk = task_pk WHERE batch_size = 3"
    [(message,)] = rows(astra_root, query)
    assert "1 of 3 members" in message


def test_a_single_task_that_marks_itself_as_failed_has_failed(astra_root, run_luigi):
    result = run_luigi("ByHand", "--number=-2", module=HERE)
    assert result.returncode == 30
    assert "was marked as failed while it ran" in result.stderr
    assert states(astra_root, "ByHand") == {"-2": "failed"}


def test_the_processing_time_that_a_task_tells_is_kept(astra_root):
    assert build(ByHand(number=(1, 2)), ByHand(number=3))
    assert durations(astra_root) == {"1": 101.0, "2": 102.0, "3": 103.0}
    assert rows(astra_root, "SELECT count(*) FROM data_product") == [(3,)]


# -- events -----------------------------------------------------------------------------------------------

EVENTS = {name: value for name, value in vars(Event).items() if name.isupper()}


class Hooked(AstraTask):
    """A task that says how far it is, and refuses a number."""

    number = luigi.IntParameter(batch_method=tuple)
    seen: list = []  # noqa: RUF012  # of all its instances

    def requires(self):
        return Careless(number=1)

    def on_success(self):
        self.seen.append(("on_success", status_of(self)))

    def on_failure(self, exception):
        self.seen.append(("on_failure", status_of(self), type(exception).__name__))
        return str(exception)

    def run(self):
        self.trigger_event(Event.PROGRESS, self, 0.5)
        if not self.is_batch_mode and self.number < 0:
            raise DataError("negative")


def status_of(task):
    row = task.query_state().one_or_none()
    return None if row is None else row.status_code


@pytest.fixture
def heard():
    """Hear every event of any task; the value is a list of event, family, status code and details."""
    found, handlers = [], {}
    for name, event in EVENTS.items():

        def handler(task, *details, name=name):
            found.append((name, task.task_family, status_of(task), *map(type, details)))

        handlers[event] = AstraTask.event_handler(event)(handler)
    Hooked.seen.clear()
    yield found
    for event, handler in handlers.items():
        AstraTask.remove_event_handler(event, handler)


def of(found, family):
    return [(name, status, *details) for name, task, status, *details in found if task == family]


def test_the_events_of_a_task_come_in_order_after_its_state(astra_root, heard):
    assert build(Hooked(number=1))
    assert of(heard, "Hooked") == [
        ("DEPENDENCY_DISCOVERED", None, Careless),
        ("START", 0),
        ("PROGRESS", 2, float),
        ("PROCESSING_TIME", 1, float),
        ("SUCCESS", 1),
    ]
    assert Hooked.seen == [("on_success", 1)]


def test_a_failure_is_heard_with_its_error(astra_root, heard):
    assert not build(Hooked(number=-1))
    assert of(heard, "Hooked")[-1] == ("FAILURE", 30, DataError)
    assert Hooked.seen == [("on_failure", 30, "DataError")]


def test_what_is_done_is_present(astra_root, heard):
    assert build(Hooked(number=1))
    heard.clear()
    assert build(Hooked(number=1))
    assert heard == [("DEPENDENCY_PRESENT", "Hooked", 1)]


def test_a_task_that_cannot_be_scheduled_is_broken(astra_root, heard):
    assert not build(Broken(where="requires"))
    assert heard == [("BROKEN_TASK", "Broken", 50, DataError)]


def test_a_file_that_is_not_there_is_a_missing_dependency(astra_root, heard):
    build(Waits(name="no-such-file"))
    assert of(heard, "Absent") == [("DEPENDENCY_MISSING", 60)]
    assert not Absent(name="no-such-file").complete()


def test_a_batch_is_heard_as_one_task(astra_root, heard):
    assert not build(Toy(number=(1, 2), refuse=2))
    assert [(name, *rest) for name, _, *rest in heard] == [
        ("START", 0),
        ("FAILURE", 30, astra.errors.BatchError),
    ]


def test_a_handler_hears_the_tasks_of_its_class_alone(astra_root):
    seen = []
    handler = Toy.event_handler(Event.SUCCESS)(seen.append)
    try:
        assert build(Double(number=1))
    finally:
        Toy.remove_event_handler(Event.SUCCESS, handler)
    assert seen == [Toy(number=1)]


def test_a_handler_that_fails_changes_no_state(astra_root, caplog):
    @Toy.event_handler(Event.SUCCESS)
    @Toy.event_handler(Event.START)
    def raising(task):
        raise RuntimeError("a handler of the user")

    try:
        assert build(Toy(number=1))
    finally:
        for event in (Event.START, Event.SUCCESS):
            Toy.remove_event_handler(event, raising)
    assert states(astra_root) == {"1": "done"}


class Doomed(AstraTask):
    """A task whose process dies, or is ended for its deadline."""

    how = luigi.Parameter()

    def run(self):
        if self.how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


@Doomed.event_handler(Event.PROCESS_FAILURE)
def _hear_death(task, message):
    (task.root / "heard").write_text(f"death {status_of(task)} {message}")


@Doomed.event_handler(Event.TIMEOUT)
def _hear_timeout(task, message):
    (task.root / "heard").write_text(f"timeout {status_of(task)} {message}")


@pytest.mark.parametrize(
    ("how", "event", "code"), [("die", "death", 40), ("sleep", "timeout", 70)], ids=["killed", "deadline"]
)
def test_the_end_of_a_process_is_heard_by_its_parent(astra_root, run_luigi, how, event, code):
    arguments = ["--how", how, "--workers", "2", "--worker-timeout", "2"]
    result = run_luigi("Doomed", *arguments, module=HERE)
    assert result.returncode == 30
    assert (astra_root / "heard").read_text().startswith(f"{event} {code} ")
    assert rows(astra_root, "SELECT status_code FROM task") == [(code,)]


# -- the state round run ----------------------------------------------------------------------------------


class Witness(AstraTask):
    """A batch that looks at the rows of its members before it runs them, and may fail as a whole."""

    number = luigi.IntParameter(batch_method=tuple)
    fail = luigi.BoolParameter(significant=False)
    seen: list = []  # noqa: RUF012  # of all its instances

    def run(self):
        self.seen[:] = [status_of(task) for task in (self, *self.get_batch_tasks())]
        for task in self.pending_tasks():
            with task.recording():
                pass
            if self.fail:
                raise DataError("the batch itself")


def test_all_rows_are_there_before_run_and_end_with_it(astra_root):
    assert build(Witness(number=(1, 2, 3)))
    assert Witness.seen == [2, 0, 0, 0]
    assert rows(astra_root, "SELECT DISTINCT status_code FROM task") == [(1,)]


def test_a_batch_that_fails_marks_itself_and_the_members_that_had_not_ended(astra_root):
    assert not build(Witness(number=(1, 2, 3), fail=True))
    assert states(astra_root, "Witness") == {"1": "done", "2": "failed", "3": "failed"}
    assert rows(astra_root, "SELECT status_code FROM task WHERE batch_size = 3") == [(30,)]
