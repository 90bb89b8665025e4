import numpy as np
import pytest
import sqlalchemy as sa

from astra.database.arrays import fetch, insert, table_dtype, to_table
from astra.errors import FormatError

TABLE = sa.Table(
    "thing",
    sa.MetaData(),
    sa.Column("thing", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("diaObjectId", sa.BigInteger),
    sa.Column("flux", sa.REAL),
    sa.Column("time", sa.Double),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("detector", sa.SmallInteger),
    sa.Column("flag", sa.Boolean),
    sa.Column("band", sa.CHAR(1)),
)


@pytest.fixture
def connection():
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        TABLE.create(connection)
        yield connection
    engine.dispose()


def rows():
    array = np.zeros(2, table_dtype(TABLE))
    array["thing"], array["diaObjectId"] = [2**62, 5], [0, 2**40]
    array["flux"], array["time"] = [np.nan, 0.1], [60000.123456789, np.nan]
    array["flag"], array["band"], array["count"] = [True, False], ["r", ""], 3
    return array


def test_an_array_comes_back_from_the_table(connection):
    insert(connection, TABLE, rows())
    found = np.sort(fetch(connection, TABLE, TABLE.columns.keys()), order="count")[::-1]
    assert found.dtype == table_dtype(TABLE)
    assert np.sort(found, order="thing").tobytes() == np.sort(rows(), order="thing").tobytes()


def test_nan_the_identifier_zero_and_empty_text_are_null(connection):
    insert(connection, TABLE, rows())
    values = [dict(row) for row in connection.execute(sa.select(TABLE).order_by("thing")).mappings()]
    assert (values[1]["flux"], values[1]["diaObjectId"], values[0]["band"]) == (None, None, None)
    assert (values[0]["flag"], values[1]["flag"]) == (False, True)


def test_columns_that_are_not_given_are_null_and_strange_ones_are_left_out(connection):
    array = np.zeros(1, [("thing", "i4"), ("count", "f8"), ("other", "f8")])
    insert(connection, TABLE, array)
    found = dict(connection.execute(sa.select(TABLE)).mappings().one())
    assert found == {"thing": 0, "count": 0} | dict.fromkeys(
        ["diaObjectId", "flux", "time", "detector", "flag", "band"]
    )


def test_a_missing_column_that_may_not_be_null_is_named(connection):
    with pytest.raises(FormatError, match="rows of thing need the columns count"):
        insert(connection, TABLE, np.zeros(1, [("thing", "i8")]))


def test_values_are_rounded_to_the_type_of_the_column():
    array = np.zeros(1, [("flux", "f8")])
    array["flux"] = 0.1
    assert to_table(TABLE, array)["flux"].tolist() == [float(np.float32(0.1))]


def test_constants_replace_and_add_columns():
    cast = to_table(TABLE, rows(), band="g", detector=np.array([1, 2]))
    assert cast["band"].tolist() == ["g", "g"]
    assert cast["detector"].tolist() == [1, 2]


def test_an_empty_array_inserts_nothing(connection):
    insert(connection, TABLE, rows()[:0])
    assert fetch(connection, TABLE, ["thing"]).shape == (0,)


def test_conditions_select_the_rows(connection):
    insert(connection, TABLE, rows())
    assert fetch(connection, TABLE, ["thing"], TABLE.c.thing > 10)["thing"].tolist() == [2**62]


def test_a_type_without_counterpart_is_refused():
    table = sa.Table("t", sa.MetaData(), sa.Column("b", sa.LargeBinary))
    with pytest.raises(TypeError, match="numpy counterpart"):
        table_dtype(table)
