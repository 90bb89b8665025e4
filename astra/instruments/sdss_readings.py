"""How the header of an SDSS frame was read, key by key, and which of its companions are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astra.instruments.base import RawFrame
from astra.instruments.quantities import Reading

_TIMING = ("TAI", "C_OBS", "EXPTIME")
_FIELD = ("RUN", "FILTER", "FRAME")
# Quantity -> keywords that it is made of, and its unit.
_KEYS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "detector": (("CAMCOL",), ""),
    "exposure": (_FIELD, ""),
    "obs_id": (_FIELD, ""),
    "seq_num": (("FRAME", "FILTER"), ""),
    "band": (("FILTER",), ""),
    "physical_filter": (("FILTER",), ""),
    "exposure_time_s": (("EXPTIME",), "s"),
    "begin_mjd_tai": (_TIMING, "d"),
    "end_mjd_tai": (_TIMING, "d"),
    "day_obs": (_TIMING, ""),
    "observation_type": (("FLAVOR",), ""),
    "target_name": (("OBJECT",), ""),
    "soft bias": (("SOFTBIAS",), "adu"),
    "middle of the image": (
        ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2"),
        "deg",
    ),
}
_OPTIONAL = {"FLAVOR", "OBJECT"}
_SHOWN_KEYS = 3


def header_readings(header: Mapping[str, Any], frame: RawFrame | None, problem: str = "") -> list[Reading]:
    """Tell how each quantity of a frame was read.

    Parameters
    ----------
    header : mapping
        That of the frame.
    frame : RawFrame, optional
        What it was read as; None if it could not be.
    problem : str, optional
        Why not; told where no key is missing.
    """
    found = [_reading(name, keys, unit, header, frame) for name, (keys, unit) in _KEYS.items()]
    if problem and not any(reading.problem for reading in found):
        found.append(Reading("frame", "header", hdu="0", problem=problem))
    return found


def companion_readings(companions: Mapping[str, Path]) -> list[Reading]:
    """Tell which of the files that belong to a frame are there, by kind."""
    return [
        Reading(kind, "file", value=path.name)
        if path.is_file()
        else Reading(kind, "file", problem=f"the file {path} is not there; the frame cannot be calibrated")
        for kind, path in companions.items()
    ]


def _reading(
    name: str, keys: tuple[str, ...], unit: str, header: Mapping[str, Any], frame: RawFrame | None
) -> Reading:
    """Tell how one quantity was read."""
    missing = [key for key in keys if key not in header and key not in _OPTIONAL]
    shown = [key for key in keys if key in header][:_SHOWN_KEYS]
    more = " ..." if len(keys) > _SHOWN_KEYS else ""
    raw = (
        header[keys[0]]
        if len(keys) == 1 and shown
        else " ".join(str(header[k]).strip() for k in shown) + more
    )
    verb = "is" if len(missing) == 1 else "are"
    return Reading(
        name,
        " ".join(keys[:_SHOWN_KEYS]) + more,
        hdu="0" if shown else "",
        raw=raw if shown else None,
        value=None if frame is None or missing else _value(name, header, frame),
        unit=unit,
        problem=f"header key {', '.join(missing)} {verb} missing" if missing else "",
    )


def _value(name: str, header: Mapping[str, Any], frame: RawFrame) -> Any:
    """Return what a quantity was read as."""
    if name == "soft bias":
        return float(header["SOFTBIAS"])
    if name == "middle of the image":
        if frame.corners is None:
            return None
        ra, dec = frame.corners.mean(axis=0)
        return f"{ra:.5f} {dec:+.5f}"
    return getattr(frame, name)
