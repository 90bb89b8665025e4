"""Identifiers of exposures, and how a visit and a detector are packed into 38 bits."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

PACKED_LIMIT = 2**38
_FIRST_DAY = dt.date(2000, 1, 1)
_DAYS_UNTIL_2100 = (dt.date(2100, 1, 1) - _FIRST_DAY).days
_FIRST_SNAP_PREFIX = "9"


@dataclass(frozen=True)
class Identifiers:
    """Identifiers of one camera.

    An exposure is ``YYYYMMDD`` followed by its number in the night, or a number that the camera counts.
    A visit has the identifier of an exposure; with a 9 before it, it is the first of several that were
    made one visit (`by-seq-start-end`), of its own.

    Parameters
    ----------
    last_detector : int
        Largest identifier of a detector.
    max_seq_num : int or None
        Largest number of an exposure in a night; None if the camera counts without regard to nights.
    """

    last_detector: int
    max_seq_num: int | None = 99999

    @property
    def sequences_per_day(self) -> int:
        """Power of ten that a night's date is multiplied with."""
        return int(10 ** len(str(self.max_seq_num or 0)))

    @property
    def reach_2100(self) -> bool:
        """Whether the nights from 2000 to 2099 can be packed."""
        if self.max_seq_num is None:
            return self.last_detector < PACKED_LIMIT >> 20
        return self._pack(_DAYS_UNTIL_2100, self.max_seq_num, True, self.last_detector) < PACKED_LIMIT

    def exposure(self, day_obs: int, seq_num: int) -> int:
        """Make the identifier of an exposure; ValueError if its number in the night is too large."""
        if self.max_seq_num is None or not 0 <= seq_num <= self.max_seq_num:
            raise ValueError(f"an integer from 0 to {self.max_seq_num}")
        return day_obs * self.sequences_per_day + seq_num

    def pack(self, visit: int, detector: int) -> int:
        """Pack visit and detector into a non-negative integer below 2**38, without collisions.

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
            days, seq_num = self._unpack(int(digits[1:]) if is_first else visit)
            packed = self._pack(days, seq_num, is_first, detector)
        if visit < 0 or not 0 <= packed < PACKED_LIMIT:
            message = f"visit {visit} and detector {detector} do not fit 38 bits"
            raise ValueError(message)
        return packed

    def _unpack(self, exposure: int) -> tuple[int, int]:
        day_obs, seq_num = divmod(exposure, self.sequences_per_day)
        try:
            days = (dt.date(day_obs // 10000, day_obs // 100 % 100, day_obs % 100) - _FIRST_DAY).days
        except ValueError as exc:
            raise ValueError(f"visit {exposure} does not begin with a night") from exc
        if days < 0 or seq_num > (self.max_seq_num or 0):
            raise ValueError(f"visit {exposure} is before 2000, or its number above {self.max_seq_num}")
        return days, seq_num

    def _pack(self, days: int, seq_num: int, is_first: bool, detector: int) -> int:
        shot = days * ((self.max_seq_num or 0) + 1) + seq_num
        return (shot * 2 + is_first) * (self.last_detector + 1) + detector


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
