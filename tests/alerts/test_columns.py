import io
import math

import fastavro
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra.alerts.columns import columns_of, encode_rows, record_fields
from astra.alerts.encoder_kernels import put_bool, put_double, put_float, put_long
from astra.alerts.packets import to_record
from astra.alerts.schemas import load_record_schema
from astra.errors import AlertError
from tests.alerts.random_rows import POOLS, RANDOMS, make_rows

RECORDS = (
    "diaSource",
    "diaForcedSource",
    "diaObject",
    "ssSource",
    "mpc_orbits",
    "upperLimit",
    "nearbySource",
)
KINDS = {"int": "i4", "long": "i8", "float": "f4", "double": "f8", "boolean": "?", "string": "U9"}


def by_fastavro(record, row, version="astra-1.0"):
    stream = io.BytesIO()
    schema = load_record_schema(record, version)
    fastavro.schemaless_writer(stream, schema, to_record(record, row, version), strict=True)
    return stream.getvalue()


def columns(record, rows, version="astra-1.0"):
    return columns_of(rows, [field.name for field in record_fields(record, version)])


def typed(record, rows):
    """Columns of the types of a database, masked where they are null."""
    found = {}
    for field in record_fields(record):
        values = [row[field.name] for row in rows]
        blank = "" if field.kind == "string" else 0
        data = np.array([blank if value is None else value for value in values], KINDS[field.kind])
        found[field.name] = np.ma.array(data, mask=[value is None for value in values])
    return found


@pytest.mark.parametrize("record", RECORDS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pools=POOLS, random=RANDOMS, count=st.integers(0, 4))
def test_rows_are_encoded_as_fastavro_does(record, pools, random, count):
    rows = make_rows(pools, random, record, count, "astra-1.0")
    encoded = encode_rows(record, columns(record, rows), "astra-1.0")
    assert encoded.n_rows == count
    assert [encoded.row(i) for i in range(count)] == [by_fastavro(record, row) for row in rows]


@pytest.mark.parametrize("record", ["diaSource", "diaForcedSource", "diaObject"])
def test_columns_of_a_database_are_encoded_as_its_rows(record, filled_record):
    rows = [filled_record(record), filled_record(record, **({"snr": None} if record == "diaSource" else {}))]
    rows[1] |= {field.name: None for field in record_fields(record) if field.nullable}
    expected = [by_fastavro(record, row, "11.1") for row in rows]
    masked = typed(record, rows)
    assert [encode_rows(record, masked).row(i) for i in (0, 1)] == expected
    structured = np.zeros(2, [(name, column.dtype) for name, column in masked.items()])
    for name, column in masked.items():
        structured[name] = column.data
    assert encode_rows(record, structured).row(0) == expected[0]


def test_nan_is_null_and_an_absent_column_too(filled_record):
    row = filled_record("diaObject", g_psfFluxMean=None, r_psfFluxMean=None)
    table = typed("diaObject", [row])
    table["g_psfFluxMean"] = np.array([np.nan], np.float32)
    del table["r_psfFluxMean"]
    assert encode_rows("diaObject", table).row(0) == by_fastavro("diaObject", row, "11.1")


def test_more_rows_than_a_chunk_are_encoded_in_order(filled_record):
    row = filled_record("diaForcedSource")
    table = typed("diaForcedSource", [row] * 2500)
    table["diaForcedSourceId"] = np.arange(2500) ** 3
    encoded = encode_rows("diaForcedSource", table)
    for number in (0, 1023, 1024, 2499):
        row["diaForcedSourceId"] = number**3
        assert encoded.row(number) == by_fastavro("diaForcedSource", row, "11.1")


def test_no_rows_and_no_columns_are_no_bytes():
    for nothing in (None, {}, np.zeros(0, [("diaSourceId", "i8")])):
        encoded = encode_rows("diaSource", nothing)
        assert (encoded.n_rows, len(encoded.data)) == (0, 0)


WRONG = [
    ("psfFlux", np.array([1, 2]), "a finite float that fits 32 bits, found a column of type int64"),
    ("psfFlux", np.array([1.0, 1e39]), r"found float '1e\+39' \(row 1, diaSourceId 12\)"),
    ("psfFlux", np.array([1.0, -np.inf]), "found float '-inf'"),
    ("ra", np.array([1.0, np.nan]), "a float, not NaN, found NoneType"),
    ("ra", np.ma.array([1.0, 2.0], mask=[False, True]), "a float, not NaN, found NoneType"),
    ("visit", np.array([1.0, 2.0]), "an int of 64 bits, found a column of type float64"),
    ("visit", np.array([1, 2**63], np.uint64), "an int of 64 bits, found int '9223372036854775808'"),
    ("visit", np.array([1, -(2**63) - 1], object), "an int of 64 bits, found int"),
    ("visit", np.array([True, False]), "an int of 64 bits, found a column of type bool"),
    ("visit", np.array([1, True], object), "an int of 64 bits, found bool"),
    ("detector", np.array([1, 2**31]), "an int of 32 bits, found int '2147483648'"),
    ("detector", np.array([1, -(2**31) - 1]), "an int of 32 bits, found int"),
    ("isDipole", np.array([0, 1]), "a bool, found a column of type int64"),
    ("isDipole", np.array([True, "x"], object), "a bool, found str 'x'"),
    ("band", np.array([b"r", b"g"]), "a str, found a column of type"),
    ("band", np.array(["r", "\ud800"], object), "must be text that UTF-8 can say"),
]


@pytest.mark.parametrize(("name", "column", "expected"), WRONG)
def test_a_column_of_the_wrong_type_is_refused_by_name(filled_record, name, column, expected):
    table = typed("diaSource", [filled_record("diaSource", diaSourceId=number) for number in (11, 12)])
    table[name] = column
    with pytest.raises(
        AlertError, match=rf"alert schema 11.1: field diaSource.{name} must be .*{expected}|{expected}"
    ) as error:
        encode_rows("diaSource", table)
    assert error.value.context["field"] == f"diaSource.{name}"


def test_a_missing_column_is_refused_by_name(filled_record):
    table = typed("diaSource", [filled_record("diaSource")])
    del table["midpointMjdTai"]
    with pytest.raises(AlertError, match=r"field diaSource.midpointMjdTai is missing, and must be a float"):
        encode_rows("diaSource", table)


def test_a_time_without_zone_is_refused(filled_record):
    table = columns("mpc_orbits", [filled_record("mpc_orbits")])
    table["created_at"] = np.array([table["created_at"][0].replace(tzinfo=None)], object)
    with pytest.raises(AlertError, match=r"field mpc_orbits.created_at must be a datetime with a time zone"):
        encode_rows("mpc_orbits", table)


def test_times_of_numpy_are_those_of_python(filled_record):
    row = filled_record("mpc_orbits", updated_at=None)
    table = columns("mpc_orbits", [row])
    for name in ("created_at", "fitting_datetime", "updated_at"):
        naive = None if row[name] is None else row[name].replace(tzinfo=None)
        table[name] = np.array([naive], "M8[us]")
    assert encode_rows("mpc_orbits", table).row(0) == by_fastavro("mpc_orbits", row, "11.1")


def test_columns_of_different_length_are_refused(filled_record):
    table = typed("diaSource", [filled_record("diaSource")])
    table["ra"] = np.zeros(2)
    with pytest.raises(ValueError, match=r"columns of diaSource must be of one length, found \[1, 2\]"):
        encode_rows("diaSource", table)


def plain_column(kind, values, nulls, nullable):
    """The bytes of a column, value by value."""
    schema = ["null", kind] if nullable else kind
    found = []
    for value, null in zip(values.tolist(), nulls.tolist(), strict=True):
        stream = io.BytesIO()
        is_null = null or (isinstance(value, float) and math.isnan(value))
        fastavro.schemaless_writer(stream, schema, None if is_null else value)
        found.append(stream.getvalue())
    return found


@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize(
    ("kernel", "kind", "values"),
    [
        (put_long, "long", np.array([0, -1, 63, 64, -64, -65, 8191, 8192, 2**63 - 1, -(2**63)])),
        (put_bool, "boolean", np.array([True, False, True])),
        (put_float, "float", np.array([0.0, -0.0, 1.5, 3.4028234663852886e38, 1e-45], np.float32)),
        (put_float, "float", np.array([0.1, 1e-60, -7.25])),
        (put_double, "double", np.array([0.1, np.inf, 5e-324, -2.0])),
        (put_double, "double", np.array([0.1, -2.0], np.float32)),
    ],
)
def test_a_loop_over_a_column_writes_what_fastavro_writes(kernel, kind, values, nullable):
    nulls = np.arange(len(values)) % 3 == 1 if nullable else np.zeros(len(values), bool)
    if nullable and values.dtype.kind == "f":
        values = np.concatenate([values, [np.nan]]).astype(values.dtype)
        nulls = np.append(nulls, False)
    out, first = np.zeros(20 * len(values), np.uint8), 20 * np.arange(len(values))
    position = first.copy()
    assert kernel(out, position, values, nulls if nullable else nulls[:0]) == -1
    found = [out[a:b].tobytes() for a, b in zip(first, position, strict=True)]
    assert found == plain_column(kind, values, nulls, nullable)


def test_a_loop_tells_the_first_row_that_does_not_fit():
    out, nothing = np.zeros(100, np.uint8), np.zeros(0, bool)
    assert put_float(out, np.arange(3) * 20, np.array([1.0, np.nan, 2.0]), nothing) == 1
    assert put_float(out, np.arange(3) * 20, np.array([1.0, 2.0, 1e39]), nothing) == 2
    assert put_double(out, np.arange(3) * 20, np.array([np.nan, 2.0, 1.0]), nothing) == 0
