"""The exposure record of a camera: every quantity read, and those derived that the header leaves out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from astropy.time import Time

from astra.images.exposure import SECONDS_PER_DAY
from astra.instruments.camera_tables import CameraPlan
from astra.instruments.headers import Headers
from astra.instruments.identifiers import local_noon_utc_h, night_of
from astra.instruments.quantities import Reading, matches

NEED_NO_FILTER = ("bias", "dark")
# Names of `RawFrame` for what a camera's file calls otherwise.
RECORD_NAMES = {"exposure_id": "exposure", "begin": "begin_mjd_tai", "end": "end_mjd_tai"}
MUST_BE_THERE = {
    "exposure",
    "day_obs",
    "seq_num",
    "observation_type",
    "begin_mjd_tai",
    "end_mjd_tai",
    "exposure_time_s",
}
Found = dict[str, Reading]


class ExposureReader:
    """Reads the quantities of an exposure.

    Parameters
    ----------
    plan : CameraPlan
        What the camera's file says.
    """

    def __init__(self, plan: CameraPlan) -> None:
        self._plan = plan

    def read(self, headers: Headers) -> list[Reading]:
        """Read every quantity; what is wrong stands in the readings.

        Returns
        -------
        readings : list of Reading
            By the names of `astra.instruments.base.RawFrame`. One without value or problem is in no
            header, and need not be.
        """
        found: Found = {}
        for quantity in self._plan.quantities.values():
            name = RECORD_NAMES.get(quantity.name, quantity.name)
            reading = dataclasses.replace(quantity.read(headers), name=name)
            if reading.problem and reading.raw is None and name not in MUST_BE_THERE:
                reading = dataclasses.replace(reading, problem="")
            found[name] = reading
        steps: tuple[Callable[[Found], None], ...] = (
            self._complete_type,
            self._complete_filter,
            self._complete_times,
            self._complete_night,
            self._complete_exposure,
        )
        for step in steps:
            step(found)
        return list(found.values())

    def values(self, headers: Headers) -> dict[str, Any]:
        """Return the values that could be read, by name."""
        return {reading.name: reading.value for reading in self.read(headers) if reading.value is not None}

    @staticmethod
    def _complete_type(found: Found) -> None:
        """By default an exposure is science, and one that is not does not see the sky."""
        kind = found.setdefault("observation_type", Reading("observation_type", "default", value="science"))
        sees = Reading("can_see_sky", "observation_type", value=kind.value == "science")
        if _value(found, "can_see_sky") is None:
            found["can_see_sky"] = sees

    def _complete_filter(self, found: Found) -> None:
        """Find the band of a filter; a bias or a dark need not have one."""
        reading = found["physical_filter"]
        is_needed = _value(found, "observation_type") not in NEED_NO_FILTER
        band = None
        if reading.value is not None:
            names = (text for text in self._plan.filters if matches(reading.value, text))
            band = next((self._plan.filters[name] for name in names), None)
        if band is None and is_needed:
            known = ", ".join(map(repr, self._plan.filters)) or "none are given"
            value = "nothing" if reading.raw is None else repr(reading.raw)
            where = f"header key {reading.source}" if reading.source != "constant" else reading.source
            problem = reading.problem or f"{where} must be one of the [filters] ({known}), found {value}"
            reading = dataclasses.replace(reading, problem=problem)
        elif reading.value is None:
            reading = dataclasses.replace(reading, value="", problem="")
        found["physical_filter"] = reading
        found["band"] = Reading("band", "physical_filter", value=band or "")

    @staticmethod
    def _complete_times(found: Found) -> None:
        """Find the end where it is not told, and see that it does not lie before the beginning."""
        begin, seconds = _value(found, "begin_mjd_tai"), _value(found, "exposure_time_s")
        if begin is None:
            return
        if (
            _value(found, "end_mjd_tai") is None
            and seconds is not None
            and not _problem(found, "end_mjd_tai")
        ):
            end = begin + seconds / SECONDS_PER_DAY
            found["end_mjd_tai"] = Reading(
                "end_mjd_tai", "begin + exposure_time_s", value=end, unit=found["begin_mjd_tai"].unit
            )
        reading = found.get("end_mjd_tai")
        if reading is not None and reading.value is not None and not begin <= reading.value <= begin + 1.0:
            problem = (
                f"header key {reading.source} must be from {begin} to a day after it (end), "
                f"found {reading.raw!r}, which is {reading.value} [{reading.unit}]"
            )
            found["end_mjd_tai"] = dataclasses.replace(reading, value=None, problem=problem)

    def _complete_night(self, found: Found) -> None:
        """Find the night of the beginning, where the header does not tell it."""
        begin = _value(found, "begin_mjd_tai")
        if "day_obs" in self._plan.quantities or begin is None:
            return
        rollover = self._plan.rollover_utc_h
        if rollover is None and self._plan.site is not None:
            rollover = local_noon_utc_h(self._plan.site.longitude_deg)
        night = night_of(float(Time(begin, format="mjd", scale="tai").utc.mjd), rollover or 0.0)
        source = f"begin; a night begins at {rollover or 0.0:.2f} h UTC"
        found["day_obs"] = Reading("day_obs", source, value=night)

    def _complete_exposure(self, found: Found) -> None:
        """Make the identifier of the night and the number in it, or the number of the identifier."""
        exposure, night, number = (_value(found, name) for name in ("exposure", "day_obs", "seq_num"))
        if "exposure" in found:
            if "seq_num" not in found and exposure is not None:
                found["seq_num"] = Reading("seq_num", "exposure_id", value=exposure)
        elif night is not None and number is not None:
            found["exposure"] = self._numbered(night, number, found["seq_num"])
        if _value(found, "obs_id") is None and _value(found, "exposure") is not None:
            name = f"{self._plan.name}_{found['exposure'].value}"
            found["obs_id"] = Reading("obs_id", "exposure", value=name)

    def _numbered(self, night: int, number: int, reading: Reading) -> Reading:
        try:
            value = self._plan.identifiers.exposure(night, number)
        except ValueError as exc:
            problem = f"header key {reading.source} must be {exc} (seq_num), found {reading.raw!r}"
            return Reading("exposure", reading.source, reading.hdu, reading.raw, problem=problem)
        return Reading("exposure", "day_obs and seq_num", value=value)


def _value(found: Found, name: str) -> Any:
    reading = found.get(name)
    return None if reading is None or reading.problem else reading.value


def _problem(found: Found, name: str) -> str:
    reading = found.get(name)
    return "" if reading is None else reading.problem
