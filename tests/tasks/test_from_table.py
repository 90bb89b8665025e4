"""Batches from tables, in Python and at the command line."""

import datetime as dt

import luigi
import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from astra.errors import FormatError, MissingDataError
from astra.tasks.base import AstraTask
from tests.tasks.test_engine import TOY, rows, states
from tests.tasks.toy_tasks import Careless, Toy


class Observation(AstraTask):
    """A task with parameters of many types."""

    visit = luigi.IntParameter(batch_method=tuple)
    obj = luigi.Parameter(batch_method=tuple)
    seeing = luigi.FloatParameter(batch_method=tuple)
    night = luigi.DateParameter(batch_method=tuple)
    good = luigi.BoolParameter(batch_method=tuple)
    note = luigi.OptionalParameter(batch_method=tuple)
    camera = luigi.Parameter(default="simcam")


VALUES = {
    "visit": (2**53 + 1, 15000),
    "obj": ("007", "1e5"),
    "seeing": (0.1, 1e-300),
    "night": (dt.date(2026, 1, 2), dt.date(2026, 1, 3)),
    "good": (True, False),
    "note": ("[a]", None),
}


def table():
    columns = {name: list(VALUES[name]) for name in ("visit", "obj", "seeing", "good")}
    columns["night"] = [str(night) for night in VALUES["night"]]
    columns["note"] = MaskedColumn(["[a]", ""], mask=[False, True])
    return Table(columns)


def write(path):
    if path.suffix == ".csv":
        table().filled("").write(path, format="ascii.csv")
    elif path.suffix == ".parquet":
        pa = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
        from pyarrow import parquet

        parquet.write_table(pa.table({name: pa.array(values) for name, values in VALUES.items()}), path)
    else:
        table().write(path, format="fits" if ".fits" in path.name else "ascii.ecsv")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.ecsv", "t.fits", "t.fits.gz", "t.parquet"])
def test_every_format_gives_the_same_batch(tmp_path, name):
    task = Observation.from_table(write(tmp_path / name), camera="other")
    expected = Observation(camera="other", **VALUES)
    assert task.param_kwargs == expected.param_kwargs
    assert task.task_id == expected.task_id


def test_a_small_float_keeps_its_value(tmp_path):
    Table({"number": np.array([7], "i2")}).write(tmp_path / "t.fits")
    assert Toy.from_table(tmp_path / "t.fits").number == (7,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\na\n", "Toy needs column number, found name"),
        ("number,colour\n1,red\n", "column colour is not a batch parameter of Toy.*remove it"),
        ("number,label\n1,x\n", "column label is not a batch parameter.*give it as --label"),
        ("number\n1\n2.5\n", "row 2 of column number must be a value of IntParameter, found '2.5'"),
        ("number,name\n1,a\n,b\n", "row 2 of column number must be a value of IntParameter, found ''"),
        ("number,name\n1,a\n2\n", "row 2 must have 2 values, found 1"),
        ("number,number\n1,2\n", "two columns have one name"),
        ("number\n", "needs at least one row"),
        ("", "Toy needs column number"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        Toy.from_table(path)


def test_a_masked_value_is_named(tmp_path):
    path = tmp_path / "t.ecsv"
    Table({"number": MaskedColumn([1, 2], mask=[False, True])}).write(path, format="ascii.ecsv")
    with pytest.raises(FormatError, match="row 2 of column number must be a value of IntParameter, found no"):
        Toy.from_table(path)


def test_a_column_of_arrays_is_named(tmp_path):
    Table({"number": np.ones((2, 3), int)}).write(tmp_path / "t.fits")
    with pytest.raises(FormatError, match="column number must hold one value a row"):
        Toy.from_table(tmp_path / "t.fits")


def test_a_parameter_is_given_once(tmp_path):
    (tmp_path / "t.csv").write_text("number,name\n1,a\n")
    with pytest.raises(FormatError, match="name is a column, and given on its own too"):
        Toy.from_table(tmp_path / "t.csv", name="b")


def test_a_table_must_be_there_and_of_a_known_kind(tmp_path):
    with pytest.raises(MissingDataError, match="is not there"):
        Toy.from_table(tmp_path / "none.csv")
    with pytest.raises(FormatError, match=r"must be one of \.csv"):
        Toy.from_table(tmp_path / "t.xlsx")
    (tmp_path / "t.fits").write_text("no FITS")
    with pytest.raises(FormatError, match="cannot be read as a table"):
        Toy.from_table(tmp_path / "t.fits")


def test_a_task_without_batch_parameters_takes_no_table(tmp_path):
    (tmp_path / "t.csv").write_text("number\n1\n")
    with pytest.raises(FormatError, match="it has no batch parameters"):
        Careless.from_table(tmp_path / "t.csv")


def test_the_command_line_takes_a_table_for_the_root_alone(astra_root, run_luigi):
    (astra_root / "t.csv").write_text("number\n1\n2\n3\n")
    result = run_luigi("Double", "--from-table", astra_root / "t.csv", "--refuse", "2", module=TOY)
    assert result.returncode == 30, result.stderr
    assert states(astra_root, "Double") == {"1": "done", "2": "dependency missing", "3": "done"}
    assert states(astra_root) == {"1": "done", "2": "failed", "3": "done"}


def test_a_bad_table_is_one_line_and_a_failure(astra_root, run_luigi):
    (astra_root / "t.csv").write_text("number\n1\nx\n")
    result = run_luigi("Toy", "--from-table", astra_root / "t.csv", module=TOY)
    assert result.returncode == 40
    assert "row 2 of column number" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_table_larger_than_the_class_allows_runs_in_chunks(astra_root, run_luigi):
    (astra_root / "t.csv").write_text("number\n" + "".join(f"{i}\n" for i in range(50)))
    module = "tests.tasks.test_chunks"
    result = run_luigi("SmallBatches", "--from-table", astra_root / "t.csv", module=module)
    assert result.returncode == 0, result.stderr
    [(largest,)] = rows(astra_root, "SELECT max(batch_size) FROM task")
    assert largest <= 20
    assert len(states(astra_root, "SmallBatches")) == 50


def test_plain_luigi_has_luigis_options_only(astra_root, run_luigi):
    (astra_root / "luigi.cfg").write_text("[astra]\nplain_luigi = true\n")
    (astra_root / "t.csv").write_text("number\n1\n")
    result = run_luigi("Toy", "--from-table", astra_root / "t.csv", module=TOY)
    assert result.returncode != 0
    assert "unrecognized arguments" in result.stderr
    assert run_luigi("Toy", "--number", "1", module=TOY).returncode == 0


def test_help_shows_the_option(run_luigi):
    assert "--from-table" in run_luigi("Toy", "--help", module=TOY).stdout


@pytest.mark.parametrize("suffix", [".csv", ".ecsv"])
def test_texts_keep_their_letters(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    Table({"number": [1, 2], "name": ["é ü", "a,b"]}).write(path, format="ascii" + suffix)
    assert Toy.from_table(path).name == ("é ü", "a,b")
