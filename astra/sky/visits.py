"""Exposures as the survey keeps them, and what a visit says that is made of some.

How exposures are grouped into visits is in `astra.sky.grouping`, where visits lie on the sky in
`astra.sky.visit_regions`. The names of fields are those of the columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

TIME_TOLERANCE_DAY = 1e-9  # 86 us: a MJD in double precision is good to 1 us
VARIOUS = "various"
_TIMES = frozenset({"begin_mjd_tai", "end_mjd_tai"})

T = TypeVar("T")


@dataclass(frozen=True)
class ExposureRecord:
    """One shot of the telescope, as its row says.

    Parameters
    ----------
    instrument : str
        Camera name.
    exposure : int
        Identifier, unique within the instrument.
    obs_id : str
        The observatory's name of it.
    day_obs : int
        Night, as YYYYMMDD.
    seq_num, seq_start, seq_end : int
        Number in the night, and the first and last number of the shots that belong together.
    group_name : str
        Name of what it belongs to; empty if the header has none.
    band, physical_filter : str
        Band and glass.
    begin_mjd_tai, end_mjd_tai : float or None
        [d, MJD TAI]; None if they are not known.
    exposure_time_s : float
        [s]
    target_name, science_program, observation_reason : str
        As the header has them.
    tracking_ra, tracking_dec : float or None
        Where the telescope pointed [deg, ICRS].
    sky_angle : float or None
        Angle from the focal plane's y axis to north, through east [deg].
    azimuth, zenith_angle : float or None
        [deg]
    can_see_sky : bool
        False for a dome flat, a bias or a dark.
    """

    instrument: str
    exposure: int
    obs_id: str
    day_obs: int
    seq_num: int
    seq_start: int
    seq_end: int
    group_name: str = ""
    band: str = ""
    physical_filter: str = ""
    begin_mjd_tai: float | None = None
    end_mjd_tai: float | None = None
    exposure_time_s: float = 0.0
    target_name: str = ""
    science_program: str = ""
    observation_reason: str = ""
    tracking_ra: float | None = None
    tracking_dec: float | None = None
    sky_angle: float | None = None
    azimuth: float | None = None
    zenith_angle: float | None = None
    can_see_sky: bool = True

    @property
    def has_tracking(self) -> bool:
        """Whether it is known where the telescope pointed, and how the camera stood."""
        return None not in (self.tracking_ra, self.tracking_dec, self.sky_angle)


@dataclass(frozen=True)
class VisitDefinition:
    """A visit: exposures that are processed as one.

    Parameters
    ----------
    instrument : str
        Camera name.
    visit : int
        Identifier, unique within each system of the instrument.
    name : str
        Its name.
    systems : tuple of int
        The systems of visits that it belongs to.
    exposures : tuple of ExposureRecord
        What makes it, in order of time.
    """

    instrument: str
    visit: int
    name: str
    systems: tuple[int, ...]
    exposures: tuple[ExposureRecord, ...]

    @property
    def exposure_ids(self) -> tuple[int, ...]:
        """Identifiers of its exposures."""
        return tuple(exposure.exposure for exposure in self.exposures)


def visit_columns(exposures: Sequence[ExposureRecord]) -> dict[str, Any]:
    """Return what a visit says, but for its identity and its region.

    Parameters
    ----------
    exposures : sequence of ExposureRecord
        What makes the visit, at least one.

    Returns
    -------
    columns : dict
        First night and number; earliest begin and latest end [d, MJD TAI], sum of the exposure times [s],
        mean zenith angle and circular mean azimuth [deg], each None if any exposure lacks it; what the
        exposures agree on, else None, and ``various`` for the reason.
    """

    def of(name: str) -> list[Any]:
        return [getattr(exposure, name) for exposure in exposures]

    begin, end = of("begin_mjd_tai"), of("end_mjd_tai")
    has_times = None not in begin and None not in end
    return {
        "day_obs": min(of("day_obs")),
        "seq_num": min(of("seq_num")),
        "band": _common(of("band")),
        "physical_filter": _common(of("physical_filter")),
        "begin_mjd_tai": min(begin) if has_times else None,
        "end_mjd_tai": max(end) if has_times else None,
        "exposure_time_s": math.fsum(of("exposure_time_s")),
        "target_name": _common(of("target_name")),
        "science_program": _common(of("science_program")),
        "observation_reason": _common(of("observation_reason"), VARIOUS),
        "azimuth": _circular_mean(of("azimuth")),
        "zenith_angle": _mean(of("zenith_angle")),
    }


def different_columns(wanted: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Return the names of what differs: times by more than `TIME_TOLERANCE_DAY`, all else at all."""
    return [
        name
        for name, value in wanted.items()
        if not (_same_time if name in _TIMES else _equal)(value, known[name])
    ]


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other)


def _same_time(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TIME_TOLERANCE_DAY


def _common(values: Iterable[T], otherwise: T | None = None) -> T | None:
    """Return the one value that all are equal to."""
    first, *others = values
    return first if all(other == first for other in others) else otherwise


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return math.fsum(numbers) / len(numbers) if len(numbers) == len(values) else None


def _circular_mean(values: Sequence[float | None]) -> float | None:
    """Mean direction [deg]; a single one is returned as it is."""
    angles = [value for value in values if value is not None]
    if len(angles) != len(values):
        return None
    if len(angles) == 1:
        return angles[0]
    east, north = (math.fsum(part(math.radians(angle)) for angle in angles) for part in (math.sin, math.cos))
    mean = math.degrees(math.atan2(east, north)) % 360.0
    return 0.0 if mean == 360.0 else mean
