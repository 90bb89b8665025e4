"""Identifiers of sources: what they pack, and how to take them apart.

``sourceId = ((release << 38) + packed) << 19 + counter``: 6 bits of release, 38 bits that name the visit and
detector, 19 bits of counter, 63 bits in all. The camera says how its visits and detectors are packed;
`pack_rubin` does it for cameras that number shots by night.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

RELEASE_BITS = 6
VISIT_DETECTOR_BITS = 38
COUNTER_BITS = 19

RUBIN_DETECTORS = 256
RUBIN_SEQUENCE_NUMBERS = 32768
RUBIN_NIGHTS = 16384
RUBIN_FIRST_NIGHT = date(2010, 1, 1)


class IdParts(NamedTuple):
    """What the identifiers of the sources of one visit and detector have in common; see `pack_source_ids`."""

    packed_visit_detector: int
    release: int = 0
    ccd_exposure_id_bits: int = VISIT_DETECTOR_BITS

    def ids(self, counters: ArrayLike) -> NDArray[np.int64]:
        """Make the identifiers of some sources by their numbers, shape (n,)."""
        return pack_source_ids(
            self.packed_visit_detector,
            counters,
            release=self.release,
            ccd_exposure_id_bits=self.ccd_exposure_id_bits,
        )


def _check(name: str, value: int, limit: int) -> None:
    """Refuse a number that would run into its neighbour's bits."""
    if not 0 <= value < limit:
        message = f"{name} must be in 0..{limit - 1} to be packed, found {value}"
        raise ValueError(message)


def pack_source_ids(
    packed_visit_detector: int,
    counters: ArrayLike,
    *,
    release: int = 0,
    ccd_exposure_id_bits: int = VISIT_DETECTOR_BITS,
) -> NDArray[np.int64]:
    """Make the identifiers of the sources of one visit and detector.

    Parameters
    ----------
    packed_visit_detector : int
        Below 2**38; see `astra.instruments.base.Instrument.pack_visit_detector`.
    counters : array_like of int, shape (n,)
        Number of each source, below 2**19.
    release : int, optional
        Processing release, below 64; 0 for development.
    ccd_exposure_id_bits : int, optional
        Bits of the packed visit and detector; the counter has what is left of 57.

    Returns
    -------
    ids : int64 ndarray, shape (n,)

    Raises
    ------
    ValueError
        If a part does not fit its bits.
    """
    counter_bits = _counter_bits(ccd_exposure_id_bits)
    _check("release", release, 1 << RELEASE_BITS)
    _check("packed visit and detector", packed_visit_detector, 1 << ccd_exposure_id_bits)
    numbers = np.asarray(counters, dtype=np.int64)
    if numbers.size:
        _check("source counter", int(numbers.min()), 1 << counter_bits)
        _check("source counter", int(numbers.max()), 1 << counter_bits)
    base = ((release << ccd_exposure_id_bits) + packed_visit_detector) << counter_bits
    return np.int64(base) + numbers


def unpack_source_id(
    source_id: int, *, ccd_exposure_id_bits: int = VISIT_DETECTOR_BITS
) -> tuple[int, int, int]:
    """Take an identifier apart into release, packed visit and detector, and counter.

    Parameters
    ----------
    source_id : int
        Of `pack_source_ids`.
    ccd_exposure_id_bits : int, optional
        Bits of the packed visit and detector that it was made with.

    Raises
    ------
    ValueError
        If the number is negative or has more than 63 bits.
    """
    counter_bits = _counter_bits(ccd_exposure_id_bits)
    _check("source id", source_id, 1 << (RELEASE_BITS + VISIT_DETECTOR_BITS + COUNTER_BITS))
    counter = source_id & ((1 << counter_bits) - 1)
    packed = (source_id >> counter_bits) & ((1 << ccd_exposure_id_bits) - 1)
    return source_id >> (counter_bits + ccd_exposure_id_bits), packed, counter


def _counter_bits(ccd_exposure_id_bits: int) -> int:
    """Bits that are left for the counter."""
    _check("ccd_exposure_id_bits", ccd_exposure_id_bits, VISIT_DETECTOR_BITS + COUNTER_BITS)
    return VISIT_DETECTOR_BITS + COUNTER_BITS - ccd_exposure_id_bits


def pack_rubin(day_obs: int, seq_num: int, detector: int, *, is_one_to_one: bool = False) -> int:
    """Pack night, number in the night and detector as Rubin does.

    Parameters
    ----------
    day_obs : int
        Night, as YYYYMMDD, from 2010-01-01 on.
    seq_num : int
        Number of the shot in the night, below 32768.
    detector : int
        Below 256.
    is_one_to_one : bool, optional
        Whether the visit is a single snap of a multi-snap visit, read as a visit of its own.

    Returns
    -------
    packed : int
        Below 2**38.

    Raises
    ------
    ValueError
        If a part does not fit its bits, or the night is no date.
    """
    night = (date(day_obs // 10000, day_obs // 100 % 100, day_obs % 100) - RUBIN_FIRST_NIGHT).days
    _check("night since 2010-01-01", night, RUBIN_NIGHTS)
    _check("seq_num", seq_num, RUBIN_SEQUENCE_NUMBERS)
    _check("detector", detector, RUBIN_DETECTORS)
    return detector + RUBIN_DETECTORS * (
        seq_num + RUBIN_SEQUENCE_NUMBERS * (night + RUBIN_NIGHTS * int(is_one_to_one))
    )


def unpack_rubin(packed: int) -> tuple[int, int, int, bool]:
    """Take a packed number apart into day_obs (YYYYMMDD), seq_num, detector and is_one_to_one."""
    _check("packed visit and detector", packed, 1 << VISIT_DETECTOR_BITS)
    rest, detector = divmod(packed, RUBIN_DETECTORS)
    rest, seq_num = divmod(rest, RUBIN_SEQUENCE_NUMBERS)
    is_one_to_one, night = divmod(rest, RUBIN_NIGHTS)
    day = RUBIN_FIRST_NIGHT + timedelta(days=night)
    return day.year * 10000 + day.month * 100 + day.day, seq_num, detector, bool(is_one_to_one)
