"""Random rows of any record: every kind of value, its extremes and null, drawn by hypothesis."""

import datetime as dt
from random import Random

from hypothesis import strategies as st

from astra.alerts.columns import record_fields
from astra.alerts.packet_checks import MAX_FLOAT32

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
HOSTILE = (
    "",
    "\0",
    "a\0b\0",
    "\x1b[31m",
    "'; DROP TABLE DiaSource; --",
    "☃" * 200,
    "é",
    "\U0001f52d",
    "\ufeff",
    "NaN",
)


def integers(bits):
    limit = 1 << (bits - 1)
    return st.one_of(
        st.integers(-limit, limit - 1), st.sampled_from([-limit, limit - 1, 0, -1, 63, 64, -64, -65])
    )


VALUES = {
    "int": integers(32),
    "long": integers(64),
    "float": st.one_of(
        st.floats(-MAX_FLOAT32, MAX_FLOAT32), st.sampled_from([MAX_FLOAT32, -0.0, 1e-45, 1e-60, 0.1])
    ),
    "double": st.one_of(st.floats(allow_nan=False), st.sampled_from([5e-324, -0.0])),
    "boolean": st.booleans(),
    "string": st.one_of(st.text(), st.sampled_from(HOSTILE)),
    "timestamp-micros": st.one_of(
        st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC)),
        st.just(EPOCH - dt.timedelta(microseconds=1)),
    ),
}
POOLS = st.fixed_dictionaries(
    {kind: st.lists(values, min_size=1, max_size=8) for kind, values in VALUES.items()}
)

# Not st.randoms: it would draw each of the thousands of choices.
RANDOMS = st.integers(0, 2**32).map(Random)


def make_row(pools, random, record, version):
    """Fill the fields of a record from pools of values, some with null, and one in ten floats with NaN."""
    row = {}
    for field in record_fields(record, version):
        value = random.choice(pools[field.kind])
        if field.nullable and random.random() < 0.3:
            value = float("nan") if field.kind in {"float", "double"} and random.random() < 0.5 else None
        row[field.name] = value
    return row


def make_rows(pools, random, record, count, version):
    return [make_row(pools, random, record, version) for _ in range(count)]
