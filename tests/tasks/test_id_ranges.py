"""Data ids as ranges: what a word means, which members it makes, and what is refused."""

import re

import luigi
import pytest
from astropy.table import Table
from hypothesis import example, given
from hypothesis import strategies as st

from astra.errors import FormatError
from astra.tasks.base import AstraTask
from astra.tasks.id_ranges import MAX_IDS, read_ids
from astra.tasks.io.sdss4 import SpecFile
from astra.tasks.io.sdss5 import ApStarFile, ApVisitFile
from astra.tasks.parameters import IdParameter, IdsParameter
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.task_command import parse_data_ids
from astra.tasks.visits import DefineVisits
from tests.tasks.test_engine import rows

HERE = "tests.tasks.test_id_ranges"


class Grid(AstraTask):
    """A task on two ids, with two more batch parameters."""

    visit = IdParameter(description="Visit id.")
    detector = IdParameter(description="Detector id.")
    name = luigi.Parameter(batch_method=tuple, default="n", description="A string.")
    note = luigi.Parameter(batch_method=tuple, default="", description="Another.")

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                pass


def grid(**texts):
    return Grid.from_str_params(texts)


def pairs(task):
    return list(zip(task.visit, task.detector, strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", (7,)),
        ("12^15", (12, 15)),
        ("1..4", (1, 2, 3, 4)),
        ("1..3^70", (1, 2, 3, 70)),
        ("1..9:2", (1, 3, 5, 7, 9)),
        ("1..8:3^2", (1, 4, 7, 2)),
        ("9^1", (9, 1)),
        ("3^1..4^3", (3, 1, 2, 4)),
        ("-2..1", (-2, -1, 0, 1)),
        (" 1 .. 3 ^ 5 ", (1, 2, 3, 5)),
    ],
)
def test_a_word_names_ids_in_the_order_in_which_they_stand(text, expected):
    assert tuple(read_ids(text)) == expected


@pytest.mark.parametrize("text", ["5", "5^5", "5..5", "5^5..6:3", "5..5^5"])
def test_what_names_one_id_is_a_single_value(text):
    assert Grid.visit.parse(text) == 5
    assert not grid(visit=text, detector="1").is_batch_mode


def test_ranges_make_all_combinations_the_first_parameter_slowest():
    assert pairs(grid(visit="1^2", detector="0..2")) == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    task = ProcessCcd.from_str_params({"instrument": "sdss", "visit": "1^2", "detector": "3..4"})
    assert pairs(task) == [(1, 3), (1, 4), (2, 3), (2, 4)]


def test_lists_pair_up_as_before():
    assert pairs(grid(visit="[1, 2]", detector="[3, 4]")) == [(1, 3), (2, 4)]
    with pytest.raises(luigi.parameter.ParameterException, match="visit has 2, detector has 3"):
        grid(visit="[1, 2]", detector="[3, 4, 5]")


def test_a_range_is_combined_with_the_rows_of_lists():
    task = grid(visit="[1, 2]", detector="5..7", name='["a", "b"]', note="all")
    members = [tuple(kwargs.values()) for kwargs in task.get_batch_task_kwds(True)]
    own = [(member[-4:]) for member in members]
    assert own == [(v, d, n, "all") for v, n in ((1, "a"), (2, "b")) for d in (5, 6, 7)]


def test_a_range_before_lists_changes_slower_than_they_do():
    task = grid(visit="1..2", detector="[5, 6]", name='["a", "b"]')
    assert list(zip(task.visit, task.detector, task.name, strict=True)) == [
        (1, 5, "a"),
        (1, 6, "b"),
        (2, 5, "a"),
        (2, 6, "b"),
    ]


def test_a_single_value_serves_all_of_a_range():
    assert pairs(grid(visit="1..3", detector="8")) == [(1, 8), (2, 8), (3, 8)]


def test_a_task_holds_plain_tuples_and_has_the_identity_of_one_made_of_lists():
    task = grid(visit="1^2", detector="0..1", name="x")
    same = Grid(visit=(1, 1, 2, 2), detector=(0, 1, 0, 1), name="x")
    assert {type(value) for name, value in task.param_kwargs.items() if name in Grid.batch_param_names()} == {
        tuple
    }
    assert task.task_id == same.task_id
    assert task.to_str_params() == same.to_str_params()
    assert task.to_str_params()["visit"] == '["1","1","2","2"]'


def test_a_range_longer_than_travels_in_full_goes_by_reference(astra_root):
    task = grid(visit="1..40", detector="0..39")
    texts = task.to_str_params()
    assert texts["visit"].startswith("@batch:")
    assert Grid.from_str_params(texts).param_kwargs == task.param_kwargs


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("M31", "'M31' is neither an identifier nor a range as in 3..7 or 1..9:2"),
        ("1^", "'' is neither"),
        ("1,2", "'1,2' is neither"),
        ("5..1", "the range '5..1' is empty: it must not end before it begins"),
        ("1..9:0", "the stride of '1..9:0' must be at least 1"),
        ("9..1:-2", "'9..1:-2' is neither"),
        ("1..", "'1..' is neither"),
        ("1...3", "'1...3' is neither"),
        ("1.5", "'1.5' is neither"),
        ("1..10000000000", f"ranges may make {MAX_IDS} members at most, not 10000000000"),
        ("1..9999999^20000000..20000009", f"{MAX_IDS} members at most, not {MAX_IDS + 9}"),
        (f"1..{10**40}", f"{MAX_IDS} members at most"),
        ("[1, 2..3]", "is neither"),
        ('["2..3"]', "invalid literal"),
    ],
)
def test_a_bad_word_is_one_sentence_with_the_name_of_the_parameter(text, reason):
    expected = f"^visit must be one value, ranges as in 1..62^70 or a JSON list of values, found .*{reason}"
    with pytest.raises(ValueError, match=expected.replace("^70", r"\^70")) as caught:
        grid(visit=text, detector="1")
    assert "\n" not in str(caught.value)


def test_too_many_combinations_are_refused_before_they_are_made():
    with pytest.raises(luigi.parameter.ParameterException) as caught:
        grid(visit="1..100000", detector="1..100000")
    assert str(caught.value) == (
        f"Grid: ranges may make {MAX_IDS} members at most, not 10000000000 (visit, detector)"
    )


def test_a_set_of_ids_has_the_same_grammar():
    ids = IdsParameter()
    assert ids.parse("30^12^20..24:2^12") == "12^20^22^24^30"
    assert ids.parse("") == ""
    with pytest.raises(ValueError, match=r"'12\.' is neither"):
        ids.parse("12.^3")


def test_the_data_ids_of_a_run_have_the_same_grammar():
    found = parse_data_ids(["visit=1..5:2^9", "detector=4"], Grid)
    assert [data_id["visit"] for data_id in found] == [1, 3, 5, 9]
    with pytest.raises(ValueError, match="members at most, not 10000000000"):
        parse_data_ids(["visit=1..10000000000"], Grid)


@pytest.mark.parametrize(
    ("task", "names"),
    [
        (ProcessCcd, {"visit", "detector"}),
        (DefineVisits, {"exposure"}),
        (ApVisitFile, {"fiber", "mjd"}),
        (ApStarFile, {"healpix"}),
        (SpecFile, {"fiberid", "plateid", "mjd"}),
    ],
)
def test_the_ids_of_the_shipped_tasks_are_of_this_kind(task, names):
    assert {name for name, item in task.get_params() if isinstance(item, IdParameter)} == names
    assert names <= set(task.batch_param_names())


def test_no_shipped_task_has_an_integer_batch_parameter_of_another_kind():
    shipped, waiting = [], [luigi.Task]
    while waiting:
        shipped.append(waiting.pop())
        waiting += shipped[-1].__subclasses__()
    other = [
        (cls.__name__, name)
        for cls in shipped
        if cls.__module__.startswith("astra.")
        for name, item in cls.get_params()
        if isinstance(item, luigi.IntParameter) and item._is_batchable() and not isinstance(item, IdParameter)
    ]
    assert other == []


def test_an_id_may_be_declared_for_single_tasks_alone():
    assert not IdParameter(batch_method=None)._is_batchable()
    assert IdParameter(default=3)._default == 3


def test_columns_of_a_table_are_plain_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("visit,detector\n1,2\n3..4,5\n")
    with pytest.raises(
        FormatError, match=r"row 2 of column visit must be a value of IdParameter, found '3\.\."
    ):
        Grid.from_table(path)


def test_a_range_is_combined_with_the_rows_of_a_table(tmp_path):
    path = tmp_path / "t.csv"
    Table({"visit": [1, 2], "name": ["a", "b"]}).write(path, format="ascii.csv")
    task = Grid.from_table(path, detector=Grid.detector.parse("7..8"))
    assert list(zip(task.visit, task.detector, task.name, strict=True)) == [
        (1, 7, "a"),
        (1, 8, "a"),
        (2, 7, "b"),
        (2, 8, "b"),
    ]


def test_the_configuration_takes_ranges():
    luigi.configuration.get_config().set("Grid", "detector", "0..1")
    try:
        assert pairs(Grid(visit=3)) == [(3, 0), (3, 1)]
    finally:
        luigi.configuration.get_config().remove_option("Grid", "detector")


def done_members(root):
    query = """SELECT json_extract(parameters, '$.visit'), json_extract(parameters, '$.detector')
               FROM task_state WHERE family = 'Grid' AND batch_size IS NULL AND state = 'done'"""
    return [(int(visit), int(detector)) for visit, detector in rows(root, query)]


def test_the_command_line_runs_every_combination(astra_root, run_luigi):
    result = run_luigi("Grid", "--visit", "1^2", "--detector", "1..9:4^62", module=HERE)
    assert result.returncode == 0, result.stderr
    assert sorted(done_members(astra_root)) == [(v, d) for v in (1, 2) for d in (1, 5, 9, 62)]
    assert rows(astra_root, "SELECT batch_size FROM task WHERE batch_size IS NOT NULL") == [(8,)]


def test_the_command_line_combines_a_range_with_a_table(astra_root, run_luigi):
    (astra_root / "t.csv").write_text("visit,name\n1,a\n2,b\n")
    arguments = ["--from-table", astra_root / "t.csv", "--detector", "7..8"]
    result = run_luigi("Grid", *arguments, module=HERE)
    assert result.returncode == 0, result.stderr
    assert sorted(done_members(astra_root)) == [(1, 7), (1, 8), (2, 7), (2, 8)]


@pytest.mark.parametrize(
    ("visit", "expected"),
    [
        ("5..1", "visit must be one value, ranges as in 1..62^70 or a JSON list of values, found '5..1'"),
        ("1..10000000000", "ranges may make 10000000 members at most, not 10000000000"),
        ("1..5000000", "ranges may make 10000000 members at most, not 15000000 (visit, detector)"),
    ],
)
def test_the_command_line_refuses_a_bad_range_in_one_sentence(astra_root, run_luigi, visit, expected):
    result = run_luigi("Grid", "--visit", visit, "--detector", "1..3", module=HERE)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    [sentence] = [line for line in result.stderr.splitlines() if "Error: " in line]
    assert expected in sentence


PART = st.one_of(
    st.integers(-(10**12), 10**12).map(lambda number: (str(number), [number])),
    st.tuples(st.integers(-(10**12), 10**12), st.integers(0, 50), st.integers(1, 9)).map(
        lambda part: (
            f"{part[0]}..{part[0] + part[1]}" + (f":{part[2]}" if part[2] > 1 else ""),
            list(range(part[0], part[0] + part[1] + 1, part[2])),
        )
    ),
)
WORD = st.lists(PART, min_size=1, max_size=4).map(
    lambda parts: (
        "^".join(text for text, _ in parts),
        tuple(dict.fromkeys(number for _, numbers in parts for number in numbers)),
    )
)


@given(visit=WORD, detector=WORD)
@example(visit=("1", (1,)), detector=("2..3", (2, 3)))
def test_words_make_the_batch_of_their_product(visit, detector):
    if len(visit[1]) * len(detector[1]) > 300:
        detector = ("4", (4,))
    task = grid(visit=visit[0], detector=detector[0])
    product = [(one, other) for one in visit[1] for other in detector[1]]
    singles = [Grid(visit=one, detector=other) for one, other in product]
    assert task.member_ids() == [single.task_id for single in singles]
    again = Grid.from_str_params(task.to_str_params())
    assert again.param_kwargs == task.param_kwargs
    assert again.task_id == task.task_id


@given(text=st.text(st.sampled_from("0123456789.^:-[], "), max_size=12))
def test_any_word_is_read_or_refused_with_the_name(text):
    try:
        value = Grid.visit.parse(text)
    except ValueError as exc:
        assert re.match("visit must be ", str(exc))  # noqa: PT017  # what is parsed is checked below
    else:
        assert isinstance(value, (int, tuple))
