import pytest

from astra.errors import ConfigError
from astra.instruments.tables import Table, describe_number, is_number


def test_values_come_as_they_are():
    table = Table({"a": "x", "b": 2, "c": 2.5, "d": True, "e": {"f": 1}, "g": [{"h": 1}]}, "cam.toml", "top")
    assert table.text("a") == "x"
    assert table.integer("b") == 2
    assert table.number("c", above=0.0) == 2.5
    assert table.flag("d", False) is True
    assert table.table("e").integer("f") == 1
    assert [inner.integer("h") for inner in table.tables("g")] == [1]
    assert (table.text("z", None), table.number("y", 1.5), table.flag("w", True)) == (None, 1.5, True)
    table.finish()


@pytest.mark.parametrize(
    ("take", "found"),
    [
        (lambda t: t.text("number"), "[files] number must be text that is not empty, found 3"),
        (lambda t: t.text("blank"), "[files] blank must be text that is not empty, found ' '"),
        (lambda t: t.number("text"), "[files] text must be a number, found 'x'"),
        (
            lambda t: t.number("number", above=3.0, unit="mm"),
            "[files] number must be a number above 3 [mm], found 3",
        ),
        (lambda t: t.number("number", low=4, high=9), "[files] number must be a number from 4 to 9, found 3"),
        (lambda t: t.number("huge"), "[files] huge must be a number, found 1000"),
        (lambda t: t.number("nan"), "[files] nan must be a number, found nan"),
        (lambda t: t.number("flag"), "[files] flag must be a number, found True"),
        (lambda t: t.integer("half"), "[files] half must be an integer from 0 up, found 0.5"),
        (lambda t: t.integer("flag", high=3), "[files] flag must be an integer from 0 to 3, found True"),
        (lambda t: t.flag("number", False), "[files] number must be true or false, found 3"),
        (lambda t: t.choice("text", ("a", "b")), "[files] text must be one of 'a', 'b', found 'x'"),
        (lambda t: t.items("mixed", str, "a list of text"), "[files] mixed must be a list of text, found"),
        (lambda t: t.table("text"), "[files] text must be a table, found 'x'"),
        (lambda t: t.tables("mixed"), "[files] mixed must be an array of tables, written [[mixed]], found"),
        (lambda t: t.tables("none", required=True), "[files] none must be an array with a table at least"),
        (lambda t: t.text("name"), "[files] name must be text that is not empty, found nothing"),
        (lambda t: t.text("numbr"), "found nothing (is 'number' meant to be it?)"),
    ],
)
def test_what_is_wrong_is_said_with_file_table_and_key(take, found):
    values = {"number": 3, "text": "x", "blank": " ", "flag": True, "half": 0.5, "huge": 10**400}
    table = Table({**values, "nan": float("nan"), "mixed": ["a", 1], "none": []}, "cam.toml", "files")
    with pytest.raises(ConfigError) as caught:
        take(table)
    assert str(caught.value).startswith("cam.toml: [files] ")
    assert found in str(caught.value)
    assert caught.value.context["file"] == "cam.toml"
    assert caught.value.context["table"] == "files"


def test_a_key_that_nobody_takes_is_refused_with_the_nearest_name():
    table = Table({"patern": ["*"], "x": 1}, "cam.toml", "files")
    table.take("pattern", None)
    with pytest.raises(ConfigError, match=r"cam.toml: \[files\] patern is not a key .*; 'pattern' is"):
        table.finish()
    table = Table({"x": 1}, "cam.toml")
    table.take("name", None)
    with pytest.raises(ConfigError, match=r"cam.toml: x is not a key of this table; known are name"):
        table.finish()


def test_numbers_are_finite_and_not_flags():
    assert [is_number(value) for value in (1, 1.5, -(2**80))] == [True, True, True]
    assert not any(is_number(value) for value in (True, float("inf"), float("nan"), "1", None, 10**301))


def test_bounds_are_described():
    assert describe_number(0.0, float("inf"), "mm", is_open=True) == "a number above 0 [mm]"
    assert describe_number(float("-inf"), 3.0, "") == "a number up to 3"
