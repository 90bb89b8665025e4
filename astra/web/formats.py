"""How numbers and moments are written on pages; what is missing is a dash."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
# Each light has a shape of its own, so that nobody has to tell colours apart.
LIGHT_SHAPES = {"ok": "\N{BLACK CIRCLE}", "warn": "\N{BLACK UP-POINTING TRIANGLE}",
                "bad": "\N{BLACK SQUARE}", "unknown": "\N{WHITE CIRCLE}"}  # fmt: skip

# 1970-01-01, which Python counts from; MJD of it.
_EPOCH_MJD = 40587.0
_TAI_MINUS_UTC_S = 37.0


def number(value: Any, digits: int = 2) -> str:
    """Write a number with so many digits after the point; a whole one without."""
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return MISSING if value is None else str(value)
    if not math.isfinite(value):
        return MISSING
    text = f"{value:,d}" if isinstance(value, int) else f"{value:,.{digits}f}"
    return text.replace(",", "\N{THIN SPACE}").replace("-", MINUS)


def significant(value: Any, digits: int = 3) -> str:
    """Write a number with so many digits in all, without an exponent where it is not far from one."""
    if value is None or isinstance(value, (bool, str)):
        return MISSING if value is None else str(value)
    if not math.isfinite(value):
        return MISSING
    if isinstance(value, int) or value == 0 or 1e-3 <= abs(value) < 10**digits:
        return number(value, max(digits - 1 - math.floor(math.log10(abs(value))), 0) if value else 0)
    if 10**digits <= abs(value) < 1e7:
        return number(value, 0)
    return f"{value:.{digits - 1}e}".replace("-", MINUS)


def percent(value: Any, digits: int = 0) -> str:
    """Write a fraction in per cent."""
    return MISSING if value is None or not math.isfinite(value) else f"{100.0 * value:.{digits}f} %"


def night_text(day_obs: Any) -> str:
    """Write a day of observation, 20261120, as 2026-11-20."""
    text = str(day_obs)
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else text


def moment(value: dt.datetime | None, seconds: bool = True) -> str:
    """Write a moment in UTC."""
    if value is None:
        return MISSING
    return value.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def mjd_time(mjd_tai: float | None) -> str:
    """Write the time of day of an MJD TAI in UTC, as 03:12:45, for reading; good since 2017."""
    if mjd_tai is None or not math.isfinite(mjd_tai):
        return MISSING
    moment_utc = dt.datetime(1970, 1, 1) + dt.timedelta(days=mjd_tai - _EPOCH_MJD, seconds=-_TAI_MINUS_UTC_S)
    return moment_utc.strftime("%H:%M:%S")


def seconds_text(value: float | None) -> str:
    """Write a duration [s] in the unit in which it is read."""
    if value is None or not math.isfinite(value):
        return MISSING
    for limit, divisor, unit, digits in ((120, 1, "s", 1), (7200, 60, "min", 1), (172800, 3600, "h", 1)):
        if abs(value) < limit:
            return f"{value / divisor:.{digits}f} {unit}"
    return f"{value / 86400:.1f} d"


def bytes_text(value: int | None) -> str:
    """Write a size [byte] in the unit in which it is read."""
    if value is None:
        return MISSING
    size = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def mjd(value: float | None) -> str:
    """Write an MJD to the second."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.5f}"


FILTERS: dict[str, Callable[..., str]] = {
    "mjd": mjd,
    "number": number,
    "significant": significant,
    "percent": percent,
    "night": night_text,
    "moment": moment,
    "mjd_time": mjd_time,
    "seconds": seconds_text,
    "bytes": bytes_text,
}
