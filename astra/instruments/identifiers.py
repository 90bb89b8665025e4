"""Identifiers of exposures, and how a visit and a detector are packed into the bits for them."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

from astra.sky.identifiers import (
    RUBIN_DETECTORS,
    RUBIN_FIRST_NIGHT,
    RUBIN_NIGHTS,
    RUBIN_SEQUENCE_NUMBERS,
    VISIT_DETECTOR_BITS,
    pack_rubin,
)

PACKED_LIMIT = 2**VISIT_DETECTOR_BITS
_FIRST_NIGHT = dt.date(2000, 1, 1)
_LAST_NIGHT = dt.date(2044, 11, 8)  # the 16384th from the first
_FIRST_SNAP_PREFIX = "9"


@dataclass(frozen=True)
class Identifiers:
    """Identifiers of one camera.

    An exposure is ``YYYYMMDD`` followed by its number in the night, or a number that the camera counts.
    A visit has the identifier of an exposure; with a 9 before it, it is the first of several that were
    made one visit (`by-seq-start-end`), of its own.

    Visit and detector are packed as Rubin does it where its parts are there: fewer than 32768 exposures a
    night and 256 detectors. What is Rubin's reinterpretation as one-to-one is the 9 here, and a night of
    2000 to 2009, which Rubin does not have, takes the number of the one 16384 days later: all nights from
    2000 to 2044 are told apart.

    Parameters
    ----------
    last_detector : int
        Largest identifier of a detector.
    max_seq_num : int or None
        Largest number of an exposure in a night; None if the camera counts without regard to nights.
    ccd_exposure_id_bits : int
        Bits for visit and detector in the identifiers of sources; the number of the source has what is
        left of 57.
    """

    last_detector: int
    max_seq_num: int | None = 32767
    ccd_exposure_id_bits: int = VISIT_DETECTOR_BITS

    @property
    def sequences_per_day(self) -> int:
        """Power of ten that a night's date is multiplied with."""
        return int(10 ** len(str(self.max_seq_num or 0)))

    @property
    def is_rubin(self) -> bool:
        """Whether visit and detector are packed as Rubin does it."""
        return (
            self.max_seq_num is not None
            and self.max_seq_num < RUBIN_SEQUENCE_NUMBERS
            and self.last_detector < RUBIN_DETECTORS
            and self.ccd_exposure_id_bits >= VISIT_DETECTOR_BITS
        )

    @property
    def is_lasting(self) -> bool:
        """Whether decades of nights can be packed: those from 2000 to 2044 at the least."""
        if self.max_seq_num is None:
            return self.last_detector < self._limit >> 20
        last = (_LAST_NIGHT - _FIRST_NIGHT).days
        return self.is_rubin or self._pack(last, self.max_seq_num, True, self.last_detector) < self._limit

    @property
    def _limit(self) -> int:
        return int(2**self.ccd_exposure_id_bits)

    def exposure(self, day_obs: int, seq_num: int) -> int:
        """Make the identifier of an exposure; ValueError if its number in the night is too large."""
        if self.max_seq_num is None or not 0 <= seq_num <= self.max_seq_num:
            raise ValueError(f"an integer from 0 to {self.max_seq_num}")
        return day_obs * self.sequences_per_day + seq_num

    def pack(self, visit: int, detector: int) -> int:
        """Pack visit and detector into a non-negative integer, without collisions.

        Returns
        -------
        packed : int
            Below ``2 ** ccd_exposure_id_bits``.

        Raises
        ------
        ValueError
            If the visit is not one that `exposure` makes, or too late to be packed.
        """
        if self.max_seq_num is None:
            packed = visit * (self.last_detector + 1) + detector
        else:
            digits = str(visit)
            is_first = len(digits) == 8 + len(str(self.max_seq_num)) + 1 and digits[0] == _FIRST_SNAP_PREFIX
            night, seq_num = self._unpack(int(digits[1:]) if is_first else visit)
            if self.is_rubin:
                return _pack_rubin(night, seq_num, detector, is_first)
            packed = self._pack((night - _FIRST_NIGHT).days, seq_num, is_first, detector)
        if visit < 0 or not 0 <= packed < self._limit:
            message = f"visit {visit} and detector {detector} do not fit {self.ccd_exposure_id_bits} bits"
            raise ValueError(message)
        return packed

    def _unpack(self, exposure: int) -> tuple[dt.date, int]:
        day_obs, seq_num = divmod(exposure, self.sequences_per_day)
        try:
            night = dt.date(day_obs // 10000, day_obs // 100 % 100, day_obs % 100)
        except ValueError as exc:
            raise ValueError(f"visit {exposure} does not begin with a night") from exc
        if night < _FIRST_NIGHT or seq_num > (self.max_seq_num or 0):
            raise ValueError(f"visit {exposure} is before 2000, or its number above {self.max_seq_num}")
        return night, seq_num

    def _pack(self, days: int, seq_num: int, is_first: bool, detector: int) -> int:
        shot = days * ((self.max_seq_num or 0) + 1) + seq_num
        return (shot * 2 + is_first) * (self.last_detector + 1) + detector


def _pack_rubin(night: dt.date, seq_num: int, detector: int, is_first: bool) -> int:
    """Pack as Rubin does it, with the nights before its first in place of those after the last here."""
    if night > _LAST_NIGHT:
        message = f"night {night} is after {_LAST_NIGHT}, the last that the identifiers of sources can name"
        raise ValueError(message)
    if night < RUBIN_FIRST_NIGHT:
        night += dt.timedelta(days=RUBIN_NIGHTS)
    day_obs = night.year * 10000 + night.month * 100 + night.day
    return pack_rubin(day_obs, seq_num, detector, is_one_to_one=is_first)


def night_of(mjd_utc: float, rollover_utc_h: float) -> int:
    """Night, as YYYYMMDD, in which a moment lies.

    Parameters
    ----------
    mjd_utc : float
        The moment [d, MJD UTC].
    rollover_utc_h : float
        When a night begins [h UTC]; its date is that of its beginning.
    """
    day = dt.date(1858, 11, 17) + dt.timedelta(days=math.floor(mjd_utc - rollover_utc_h / 24.0))
    return day.year * 10000 + day.month * 100 + day.day


def local_noon_utc_h(longitude_deg: float) -> float:
    """Mean noon at a longitude east of Greenwich [h UTC]."""
    return (12.0 - longitude_deg / 15.0) % 24.0
