"""Property: what a batch holds survives text, reference and back, and members are single tasks."""

import datetime as dt
import enum
from pathlib import Path

import luigi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra.tasks import references
from astra.tasks.base import AstraTask
from astra.tasks.parameters import IdsParameter

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "",
        "15000",
        "1e5",
        "true",
        "null",
        "None",
        "[1,2]",
        '["a"]',
        " [",
        "@batch:1",
        "@value:x",
        "%s%%",
        "é,b",
    ]
)
MOMENT = st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2200, 1, 1))


class Band(enum.Enum):
    G = "g"
    R = "r"


class AnyTypes(AstraTask):
    """A batch of every type of parameter that can make one."""

    text = luigi.Parameter(batch_method=tuple)
    integer = luigi.IntParameter(batch_method=tuple)
    real = luigi.FloatParameter(batch_method=tuple)
    truth = luigi.BoolParameter(batch_method=tuple)
    date = luigi.DateParameter(batch_method=tuple)
    month = luigi.MonthParameter(batch_method=tuple)
    year = luigi.YearParameter(batch_method=tuple)
    hour = luigi.DateHourParameter(batch_method=tuple)
    minute = luigi.DateMinuteParameter(batch_method=tuple)
    second = luigi.DateSecondParameter(batch_method=tuple)
    lapse = luigi.TimeDeltaParameter(batch_method=tuple)
    band = luigi.EnumParameter(enum=Band, batch_method=tuple)
    choice = luigi.ChoiceParameter(choices=["a", "b", ""], batch_method=tuple)
    count = luigi.NumericalParameter(var_type=int, min_value=0, max_value=9, batch_method=tuple)
    mapping = luigi.DictParameter(batch_method=tuple)
    folder = luigi.PathParameter(batch_method=tuple)
    ids = IdsParameter(batch_method=tuple)
    maybe_text = luigi.OptionalParameter(batch_method=tuple)
    maybe_integer = luigi.OptionalIntParameter(batch_method=tuple)
    maybe_real = luigi.OptionalFloatParameter(batch_method=tuple)
    common = luigi.Parameter()
    label = luigi.Parameter(significant=False, batch_method=tuple)


MEMBER = st.fixed_dictionaries(
    {
        "text": TEXT,
        "integer": st.integers(),
        "real": st.floats(allow_nan=False),
        "truth": st.booleans(),
        "date": st.dates(dt.date(1950, 1, 1)),
        "month": st.dates(dt.date(1950, 1, 1)),
        "year": st.dates(dt.date(1950, 1, 1)),
        "hour": MOMENT,
        "minute": MOMENT,
        "second": MOMENT,
        "lapse": st.timedeltas(dt.timedelta(0), dt.timedelta(days=9999)).map(
            lambda lapse: dt.timedelta(days=lapse.days, seconds=lapse.seconds)
        ),
        "band": st.sampled_from(Band),
        "choice": st.sampled_from(["a", "b", ""]),
        "count": st.integers(0, 8),
        "mapping": st.dictionaries(TEXT, st.integers() | TEXT | st.lists(st.integers()), max_size=2),
        "folder": st.sampled_from([Path("a"), Path("b c/é"), Path("/")]),
        "ids": st.sampled_from(["", "1^2..4", "7"]),
        "maybe_text": st.none() | TEXT,
        "maybe_integer": st.none() | st.integers(),
        "maybe_real": st.none() | st.floats(allow_nan=False),
        "label": TEXT,
    }
)
QUICK = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def batch_of(members, common):
    columns = {name: tuple(member[name] for member in members) for name in members[0]}
    return AnyTypes(common=common, **columns)


@QUICK
@given(members=st.lists(MEMBER, min_size=1, max_size=4), common=TEXT)
def test_text_and_back_is_equal(members, common):
    batch = batch_of(members, common)
    again = AnyTypes.from_str_params(batch.to_str_params())
    assert again.param_kwargs == batch.param_kwargs
    assert again.task_id == batch.task_id
    assert again.member_ids() == batch.member_ids()


@QUICK
@given(members=st.lists(MEMBER, min_size=1, max_size=4), common=TEXT)
def test_members_are_the_single_tasks(members, common):
    batch = batch_of(members, common)
    singles = [AnyTypes(common=common, **member) for member in members]
    assert batch.member_ids() == [single.task_id for single in singles]
    made = list(batch.get_batch_tasks())
    assert made == singles
    assert [task.param_kwargs for task in made] == [single.param_kwargs for single in singles]
    assert [task.integer for task in made] == [single.integer for single in singles]


@QUICK
@given(member=MEMBER, common=TEXT)
def test_a_single_task_survives_text(member, common):
    single = AnyTypes(common=common, **member)
    again = AnyTypes.from_str_params(single.to_str_params())
    assert again.param_kwargs == single.param_kwargs
    assert again.task_id == single.task_id


@QUICK
@given(members=st.lists(MEMBER, min_size=2, max_size=4), common=TEXT)
def test_reference_and_back_is_equal(astra_root, monkeypatch, members, common):
    batch = batch_of(members, common)
    in_full = batch.to_str_params()
    with monkeypatch.context() as patch:
        patch.setattr(references, "LARGE_BATCH", 1)
        luigi.task_register.Register.clear_instance_cache()
        texts = batch_of(members, common).to_str_params()
    assert all(texts[name].startswith("@batch:") for name in members[0])
    assert texts["common"] == in_full["common"]
    luigi.task_register.Register.clear_instance_cache()
    again = AnyTypes.from_str_params(texts)
    assert again.param_kwargs == batch.param_kwargs
    assert again.task_id == batch.task_id
