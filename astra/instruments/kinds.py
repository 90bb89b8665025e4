"""What the value of a header card, or a constant of a camera's file, can mean, and how it is read as that.

`Kind.read` takes what stands there and returns a plain value in the unit of the kind, or raises ValueError
with what was expected instead.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from astra.instruments.tables import describe_number, is_number

FIRST_MJD, LAST_MJD = 33282.0, 117000.0  # 1950 to 2179
TIME_FORMATS = ("iso", "mjd", "jd", "unix")
TIME_SCALES = ("utc", "tai", "tt")
ANGLE_UNITS = {"deg": 1.0, "hour": 15.0, "rad": math.degrees(1.0), "arcsec": 1.0 / 3600.0}
DURATION_UNITS = {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0, "d": 86400.0}
_YES, _NO = ("t", "true", "yes", "on", "1", "open"), ("f", "false", "no", "off", "0", "closed")
_SEXAGESIMAL = re.compile(r"([+-]?)(\d{1,3})[:\s]+(\d{1,2})(?:[:\s]+(\d{1,2}(?:\.\d*)?))?")


@dataclass(frozen=True)
class Reader:
    """How a camera writes a value: what its file says beside the keyword.

    Parameters
    ----------
    unit : str
        Unit in the header; empty for that of the kind.
    factor, add : float
        The value is ``factor * number + add``, in the unit of the header.
    time_format, time_scale : str
        Of a moment.
    """

    unit: str = ""
    factor: float = 1.0
    add: float = 0.0
    time_format: str = "iso"
    time_scale: str = "utc"


@dataclass(frozen=True, kw_only=True)
class Kind(ABC):
    """Base of the kinds.

    Parameters
    ----------
    unit : str
        Unit of the values.
    """

    unit: str = ""

    @abstractmethod
    def describe(self) -> str:
        """Say what is expected."""

    @abstractmethod
    def read(self, raw: object, reader: Reader) -> Any:
        """Read a value; ValueError, with what is expected, if it cannot be read as this."""


@dataclass(frozen=True, kw_only=True)
class Text(Kind):
    """Text of a limited length."""

    longest: int = 128

    def describe(self) -> str:
        """Say what is expected."""
        return f"printable text of at most {self.longest} characters"

    def read(self, raw: object, reader: Reader) -> Any:
        """Read text, or a number as text."""
        del reader
        is_plain = isinstance(raw, str | int | float) and not isinstance(raw, bool)
        text = str(raw).strip()
        if not is_plain or not text.isprintable() or len(text) > self.longest:
            raise ValueError(self.describe())
        return text


@dataclass(frozen=True, kw_only=True)
class Number(Kind):
    """A number within bounds; with ``is_open`` the lower one is left out."""

    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False
    units: Mapping[str, float] = field(default_factory=dict)

    def describe(self) -> str:
        """Say what is expected."""
        return describe_number(self.low, self.high, self.unit, is_open=self.is_open)

    def read(self, raw: object, reader: Reader) -> Any:
        """Read a number, or text that is one."""
        return self._check(self._scale(_number(raw), reader))

    def _scale(self, number: float | None, reader: Reader) -> float | None:
        if number is None:
            return None
        return (reader.factor * number + reader.add) * self.units.get(reader.unit or self.unit, 1.0)

    def _check(self, value: float | None) -> float:
        if value is None or not self.low <= value <= self.high or (self.is_open and value == self.low):
            raise ValueError(self.describe())
        return value


@dataclass(frozen=True, kw_only=True)
class Integer(Kind):
    """An integer within bounds."""

    low: int = 0
    high: int = 2**53

    def describe(self) -> str:
        """Say what is expected."""
        return f"an integer from {self.low} to {self.high}"

    def read(self, raw: object, reader: Reader) -> Any:
        """Read an integer, a float without fraction, or text that is one."""
        del reader
        number = int(raw) if isinstance(raw, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", raw) else raw
        if not is_number(number) or number != int(number) or not self.low <= number <= self.high:  # type: ignore[call-overload,operator]
            raise ValueError(self.describe())
        return int(number)  # type: ignore[call-overload]


@dataclass(frozen=True, kw_only=True)
class Angle(Number):
    """An angle [deg], of a number or sexagesimal text; the unit tells whether text counts hours."""

    unit: str = "deg"
    wraps: bool = False

    def describe(self) -> str:
        """Say what is expected."""
        return f"{super().describe()} or sexagesimal text"

    def read(self, raw: object, reader: Reader) -> Any:
        """Read an angle."""
        number = _sexagesimal(raw) if isinstance(raw, str) else None
        value = self._check(self._scale(_number(raw) if number is None else number, reader))
        return value % 360.0 if self.wraps else value


@dataclass(frozen=True, kw_only=True)
class ZenithAngle(Angle):
    """An angle from the zenith [deg], also of an airmass."""

    def read(self, raw: object, reader: Reader) -> Any:
        """Read an angle, or an airmass as sec(z)."""
        if reader.unit != "airmass":
            return super().read(raw, reader)
        airmass = _number(raw)
        if airmass is None or not 1.0 <= airmass < 100.0:
            raise ValueError("an airmass from 1 to 100")
        return math.degrees(math.acos(1.0 / airmass))


@dataclass(frozen=True, kw_only=True)
class Moment(Kind):
    """A moment [d, MJD TAI]."""

    unit: str = "d, MJD TAI"

    def describe(self) -> str:
        """Say what is expected."""
        return "a date with time of day, of 1950 to 2179"

    def read(self, raw: object, reader: Reader) -> Any:
        """Read a moment of the format and the scale of the reader."""
        mjd = self._to_tai(raw, reader)
        if not FIRST_MJD <= mjd <= LAST_MJD:
            raise ValueError(f"{self.describe()}, in the format {reader.time_format}")
        return mjd

    def _to_tai(self, raw: object, reader: Reader) -> float:
        from astropy.time import Time

        expected = f"{self.describe()}, in the format {reader.time_format}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ERFA's, of a year without known leap seconds
            try:
                if reader.time_format == "iso":
                    time = Time(_iso_text(raw), format="isot", scale=reader.time_scale)
                else:
                    time = Time(_time_number(raw), format=reader.time_format, scale=reader.time_scale)
                return float(time.tai.mjd)
            except (ValueError, OverflowError) as exc:
                raise ValueError(expected) from exc


@dataclass(frozen=True, kw_only=True)
class Night(Kind):
    """A night as the integer YYYYMMDD."""

    def describe(self) -> str:
        """Say what is expected."""
        return "a night as YYYYMMDD or YYYY-MM-DD"

    def read(self, raw: object, reader: Reader) -> Any:
        """Read an integer, or text that begins with an ISO date."""
        del reader
        text = raw.strip() if isinstance(raw, str) else f"{raw:08d}" if _is_integer(raw) else ""
        match = re.fullmatch(r"(\d{4})-?(\d{2})-?(\d{2})(?:[T ].*)?", text)
        try:
            date = dt.date(*map(int, match.groups())) if match else None
        except ValueError:
            date = None
        if date is None or not 1950 <= date.year <= 2178:
            raise ValueError(self.describe())
        return date.year * 10000 + date.month * 100 + date.day


@dataclass(frozen=True, kw_only=True)
class Flag(Kind):
    """Yes or no."""

    def describe(self) -> str:
        """Say what is expected."""
        return "true or false"

    def read(self, raw: object, reader: Reader) -> Any:
        """Read a logical value, or a word such as yes, on or open."""
        del reader
        word = str(raw).strip().lower()
        if word not in _YES and word not in _NO:
            raise ValueError(self.describe())
        return word in _YES


@dataclass(frozen=True, kw_only=True)
class Word(Kind):
    """One of some words, whatever their case."""

    words: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say what is expected."""
        return f"one of {', '.join(self.words)}"

    def read(self, raw: object, reader: Reader) -> Any:
        """Read one of the words."""
        del reader
        word = str(raw).strip().lower()
        if word not in self.words:
            raise ValueError(self.describe())
        return word


def _is_integer(raw: object) -> bool:
    return isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw <= 99999999


def _number(raw: object) -> float | None:
    """Return a finite number, also of text; None if it is none."""
    if isinstance(raw, str):
        try:
            raw = float(raw)
        except ValueError:
            return None
    return float(raw) if is_number(raw) else None  # type: ignore[arg-type]


def _sexagesimal(text: str) -> float | None:
    """Read ``-01:15:50.8`` or ``-01 15 50.8``, in units of its first field; None if it is not so written."""
    match = _SEXAGESIMAL.fullmatch(text.strip())
    if match is None:
        return None
    minutes, seconds = float(match[3]), float(match[4] or 0.0)
    if minutes >= 60.0 or seconds >= 60.0:
        return None
    size = float(match[2]) + minutes / 60.0 + seconds / 3600.0
    return -size if match[1] == "-" else size


def _iso_text(raw: object) -> str:
    text = raw.strip().removesuffix("Z").replace(" ", "T") if isinstance(raw, str) else ""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d*)?)?", text):
        raise ValueError(text)
    return text


def _time_number(raw: object) -> float:
    number = _number(raw)
    if number is None or abs(number) > 1e12:
        raise ValueError(str(raw))
    return number
