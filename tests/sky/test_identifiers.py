from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astra.sky.identifiers import pack_rubin, pack_source_ids, unpack_rubin, unpack_source_id


@given(st.integers(0, 63), st.integers(0, 2**38 - 1), st.integers(0, 2**19 - 1))
def test_packed_parts_come_back(release, packed, counter):
    ids = pack_source_ids(packed, [counter], release=release)
    assert ids.dtype == np.int64
    assert ids[0] >= 0
    assert unpack_source_id(int(ids[0])) == (release, packed, counter)


@given(st.dates(date(2010, 1, 1), date(2054, 11, 9)))
def test_rubin_parts_come_back(night):
    day = int(night.strftime("%Y%m%d"))
    packed = pack_rubin(day, 32767, 188, is_one_to_one=True)
    assert packed < 2**38
    assert unpack_rubin(packed) == (day, 32767, 188, True)


def test_ids_exceed_32_bits():
    assert pack_source_ids(pack_rubin(20260225, 123, 94), [1], release=1)[0] > 2**57


@pytest.mark.parametrize(
    ("packed", "counters", "release"),
    [(2**38, [0], 0), (-1, [0], 0), (0, [2**19], 0), (0, [-1], 0), (0, [0], 64)],
)
def test_overflow_is_refused(packed, counters, release):
    with pytest.raises(ValueError, match="to be packed"):
        pack_source_ids(packed, counters, release=release)


@pytest.mark.parametrize(
    "parts", [(20091231, 1, 1), (20541110, 1, 1), (20260101, 32768, 1), (20260101, 1, 256), (20261301, 1, 1)]
)
def test_rubin_overflow_is_refused(parts):
    with pytest.raises(ValueError, match=r"packed|month"):
        pack_rubin(*parts)


def test_no_sources_have_no_ids():
    assert pack_source_ids(5, []).shape == (0,)


@pytest.mark.parametrize("source_id", [-1, 2**63])
def test_an_id_outside_63_bits_is_refused(source_id):
    with pytest.raises(ValueError, match="source id"):
        unpack_source_id(source_id)


@pytest.mark.parametrize("bits", [1, 32, 38, 45, 56])
def test_the_packed_number_may_have_another_number_of_bits(bits):
    packed, counters = (1 << bits) - 1, [0, 1, (1 << (57 - bits)) - 1]
    ids = pack_source_ids(packed, counters, release=63, ccd_exposure_id_bits=bits)
    assert ids.max() == 2**63 - 1
    for found, counter in zip(ids.tolist(), counters, strict=True):
        assert unpack_source_id(found, ccd_exposure_id_bits=bits) == (63, packed, counter)
    with pytest.raises(ValueError, match=f"packed visit and detector must be in 0..{packed} "):
        pack_source_ids(packed + 1, [0], ccd_exposure_id_bits=bits)


def test_as_many_bits_as_leave_none_for_the_counter_are_refused():
    with pytest.raises(ValueError, match=r"ccd_exposure_id_bits must be in 0\.\.56"):
        pack_source_ids(1, [0], ccd_exposure_id_bits=57)
