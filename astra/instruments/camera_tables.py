"""A camera as its TOML file describes it: read once, checked whole, and kept as plain values.

`astra instrument template` prints a file with every key explained.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astra.errors import ConfigError, MissingDataError
from astra.images.fiducial import Fiducial
from astra.instruments.detector_tables import DetectorPlan, parse_detectors
from astra.instruments.focal_plane import FocalPlane
from astra.instruments.headers import is_hdu
from astra.instruments.identifiers import Identifiers
from astra.instruments.kinds import (
    ANGLE_UNITS,
    DURATION_UNITS,
    Angle,
    Flag,
    Integer,
    Kind,
    Moment,
    Night,
    Number,
    Text,
    Word,
    ZenithAngle,
)
from astra.instruments.quantities import Quantity, parse_quantity
from astra.instruments.tables import Table

TOP_KEYS = (
    "name",
    "description",
    "pixel_scale_arcsec",
    "reference_gain",
    "defects_file",
    "files",
    "site",
    "exposure",
    "filters",
    "fiducials",
    "wcs",
    "identifiers",
    "focal_plane",
    "amplifiers",
    "detectors",
)
LAYOUTS = ("detector", "extensions", "amplifiers")
WCS_SOURCES = ("header", "boresight")
WCS_PIXELS = ("assembled", "stored")
OBSERVATION_TYPES = ("science", "bias", "dark", "flat", "arc", "other")
_BAND = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,7}")
_DURATION: dict[str, Any] = {"low": 0.0, "high": 86400.0, "unit": "s", "units": DURATION_UNITS}

# Quantities of an exposure, as `astra.instruments.base.RawFrame` has them.
KINDS: dict[str, Kind] = {
    "obs_id": Text(),
    "exposure_id": Integer(),
    "day_obs": Night(),
    "seq_num": Integer(),
    "observation_type": Word(words=OBSERVATION_TYPES),
    "physical_filter": Text(longest=64),
    "begin": Moment(),
    "end": Moment(),
    "exposure_time_s": Number(**_DURATION),
    "dark_time_s": Number(**_DURATION),
    "target_name": Text(),
    "science_program": Text(),
    "group_name": Text(),
    "observation_reason": Text(),
    "seq_start": Integer(),
    "seq_end": Integer(),
    "tracking_ra": Angle(low=0.0, high=360.0, units=ANGLE_UNITS, wraps=True),
    "tracking_dec": Angle(low=-90.0, high=90.0, units=ANGLE_UNITS),
    "sky_angle_deg": Angle(low=-360.0, high=720.0, units=ANGLE_UNITS, wraps=True),
    "azimuth_deg": Angle(low=-360.0, high=720.0, units=ANGLE_UNITS, wraps=True),
    "zenith_angle_deg": ZenithAngle(low=0.0, high=180.0, units=ANGLE_UNITS),
    "can_see_sky": Flag(),
}
REQUIRED = ("physical_filter", "begin", "exposure_time_s")


@dataclass(frozen=True)
class Site:
    """Where the telescope stands.

    Parameters
    ----------
    longitude_deg, latitude_deg : float
        East of Greenwich, and geodetic [deg].
    height_m : float
        Above the ellipsoid [m].
    """

    longitude_deg: float
    latitude_deg: float
    height_m: float = 0.0


@dataclass(frozen=True)
class FilePlan:
    """Which files are raws of the camera, and where the detectors stand in one.

    Parameters
    ----------
    patterns : tuple of str
        Patterns of their names, as in a shell.
    layout : {"detector", "extensions", "amplifiers"}
        One detector, an extension for each detector, or one for each amplifier.
    hdu : int or str
        HDU of the image, in the layout ``detector``.
    require : mapping
        Cards that every raw of the camera has, and no other file.
    detector : Quantity, optional
        Which detector an HDU holds.
    """

    patterns: tuple[str, ...]
    layout: str
    hdu: int | str
    require: Mapping[str, Any]
    detector: Quantity | None


@dataclass(frozen=True)
class CameraPlan:
    """All that a camera's file says."""

    name: str
    source: str
    description: str
    pixel_scale_arcsec: float
    reference_gain: float
    files: FilePlan
    site: Site | None
    quantities: Mapping[str, Quantity]
    filters: Mapping[str, str]
    fiducials: Mapping[str, Fiducial]
    wcs_sources: tuple[str, ...]
    wcs_pixels: str
    focal_plane: FocalPlane | None
    identifiers: Identifiers
    rollover_utc_h: float | None
    detectors: tuple[DetectorPlan, ...]


def read_camera_file(path: Path | str) -> CameraPlan:
    """Read and check the TOML file of a camera.

    Raises
    ------
    MissingDataError
        If it cannot be read.
    ConfigError
        If it is not TOML, or anything in it is wrong.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        message = f"camera file {path} cannot be read: {exc.strerror or exc}"
        raise MissingDataError(message, path=str(path)) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} is not TOML in UTF-8: {exc}", file=str(path)) from exc
    return parse_camera(content, str(path), path.parent)


def parse_camera(content: Mapping[str, Any], source: str, folder: Path) -> CameraPlan:
    """Check what a camera's file says.

    Parameters
    ----------
    content : mapping
        The file, as `tomllib` reads it.
    source : str
        Its name, for messages.
    folder : Path
        Where the names of further files begin.

    Raises
    ------
    ConfigError
        With the file, the table and the key, what was expected and what was found.
    """
    top = Table(content, source)
    top.only(TOP_KEYS)
    name = top.text("name")
    if not name.isidentifier() or len(name) > 64:
        raise top.error("name", "a word of at most 64 letters, digits and underscores")
    pixel_scale = top.number("pixel_scale_arcsec", above=0.0, unit="arcsec")
    files = _parse_files(top.table("files", required=True))
    detectors = parse_detectors(top, folder, files.layout)
    _check_detector_places(top, files, detectors)
    site = _parse_site(top.table("site")) if "site" in top else None
    quantities = _parse_quantities(top.table("exposure", required=True))
    identifiers, rollover = _parse_identifiers(top.table("identifiers"), quantities, detectors)
    if "day_obs" not in quantities and site is None and rollover is None:
        expected = "given, or [site] longitude_deg, or [exposure] day_obs: a night begins at noon"
        raise top.table("identifiers").error("rollover_utc_h", expected)
    wcs = top.table("wcs")
    plan = CameraPlan(
        name=name,
        source=source,
        description=top.text("description", ""),
        pixel_scale_arcsec=pixel_scale,
        reference_gain=top.number("reference_gain", 1.0, above=0.0, unit="e-/adu"),
        files=files,
        site=site,
        quantities=quantities,
        filters=_parse_filters(top.table("filters")),
        fiducials=_parse_fiducials(top.table("fiducials")),
        wcs_sources=_parse_wcs_sources(wcs),
        wcs_pixels=wcs.choice("pixels", WCS_PIXELS, "stored"),
        focal_plane=_parse_focal_plane(top, pixel_scale),
        identifiers=identifiers,
        rollover_utc_h=rollover,
        detectors=detectors,
    )
    wcs.finish()
    return plan


def _parse_files(table: Table) -> FilePlan:
    patterns = table.items("patterns", str, "a list of patterns of file names, as in ['b*.fits*']")
    if not all(patterns) or not patterns:
        raise table.error("patterns", "a list of patterns of file names, as in ['b*.fits*']")
    require = table.table("require")
    for key, value in require.values.items():
        if not isinstance(value, str | int | float):
            raise require.error(key, "the text, the number or the flag that the card must have")
    hdu = table.take("hdu", 0)
    if not is_hdu(hdu):
        raise table.error("hdu", "the number or the name of an HDU")
    plan = FilePlan(
        patterns=patterns,
        layout=table.choice("layout", LAYOUTS),
        hdu=hdu,
        require=dict(require.values),
        detector=parse_quantity(table, "detector", Integer(high=2**31)),
    )
    table.finish()
    return plan


def _check_detector_places(top: Table, files: FilePlan, detectors: tuple[DetectorPlan, ...]) -> None:
    """Refuse a file in which a detector could not be found."""
    table = top.table("files")
    named = [bool(plan.hdus) for plan in detectors]
    if files.layout == "detector":
        if any(named):
            raise table.error("layout", "'extensions' or 'amplifiers' where [[detectors]] name their hdu")
        if files.detector is None and len(detectors) > 1:
            raise table.error("detector", "the keyword that tells which of the detectors a file holds")
    elif files.layout == "extensions" and files.detector is None and not all(named):
        raise table.error("detector", "given, or hdu by each of [[detectors]]")
    elif files.layout == "amplifiers" and files.detector is not None:
        raise table.error("detector", "left out where each detector names the HDUs of its amplifiers")


def _parse_site(table: Table) -> Site:
    site = Site(
        longitude_deg=table.number("longitude_deg", low=-180.0, high=360.0, unit="deg"),
        latitude_deg=table.number("latitude_deg", low=-90.0, high=90.0, unit="deg"),
        height_m=table.number("height_m", 0.0, low=-500.0, high=10000.0, unit="m"),
    )
    table.finish()
    return site


def _parse_quantities(table: Table) -> dict[str, Quantity]:
    found = {}
    for name, kind in KINDS.items():
        quantity = parse_quantity(table, name, kind, required=name in REQUIRED)
        if quantity is not None:
            found[name] = quantity
    table.finish()
    if "seq_num" not in found and "exposure_id" not in found:
        raise table.error("seq_num", "given, or exposure_id: they make the identifier of an exposure")
    return found


def _parse_identifiers(
    table: Table, quantities: Mapping[str, Quantity], detectors: tuple[DetectorPlan, ...]
) -> tuple[Identifiers, float | None]:
    is_counted = "exposure_id" in quantities
    if is_counted and "max_seq_num" in table:
        raise table.error("max_seq_num", "left out, for [exposure] exposure_id makes the identifiers")
    rollover = table.number("rollover_utc_h", None, low=0.0, high=24.0, unit="h")
    identifiers = Identifiers(
        last_detector=max(plan.value.detector for plan in detectors),
        max_seq_num=None if is_counted else table.integer("max_seq_num", 32767, low=1, high=10**9 - 1),
        ccd_exposure_id_bits=table.integer("ccd_exposure_id_bits", 38, low=20, high=56),
    )
    table.finish()
    if not identifiers.is_lasting:
        bits = identifiers.ccd_exposure_id_bits
        if is_counted:
            raise table.error("ccd_exposure_id_bits", f"larger: {bits} do not hold a million exposures")
        expected = (
            f"smaller: {bits} bits do not hold each night until 2044 with {identifiers.last_detector + 1}"
        )
        raise table.error("max_seq_num", f"{expected} detectors and {identifiers.max_seq_num} exposures")
    return identifiers, rollover


def _parse_filters(table: Table) -> dict[str, str]:
    expected = "a band, a word of at most 8 letters and digits (u g r i z y in alerts)"
    for name in table.values:
        if not _BAND.fullmatch(table.text(name, expected=expected)):
            raise table.error(name, expected)
    return dict(table.values)


def _parse_fiducials(table: Table) -> dict[str, Fiducial]:
    """Read the ordinary conditions of each band, as far as they are given."""
    fiducials = {}
    for band in table.values:
        if not _BAND.fullmatch(band):
            raise table.error(band, "a table for each band, as in [fiducials.r]")
        conditions = table.table(band)
        fiducials[band] = Fiducial(
            psf_sigma_pixel=conditions.number("psf_sigma_pixel", math.nan, above=0.0, unit="pixel"),
            sky_adu_per_s=conditions.number("sky_adu_per_s", math.nan, above=0.0, unit="adu/s"),
            zero_point_mag=conditions.number(
                "zero_point_mag", math.nan, low=0.0, high=60.0, unit="AB mag of 1 adu/s"
            ),
            mag_lim=conditions.number("mag_lim", math.nan, low=0.0, high=60.0, unit="AB mag"),
            exposure_time_s=conditions.number("exposure_time_s", math.nan, above=0.0, unit="s"),
        )
        conditions.finish()
    return fiducials


def _parse_wcs_sources(table: Table) -> tuple[str, ...]:
    expected = f"a list with some of {', '.join(map(repr, WCS_SOURCES))}"
    if "sources" not in table:
        return WCS_SOURCES
    sources = table.items("sources", str, expected)
    if not set(sources) <= set(WCS_SOURCES) or len(set(sources)) < len(sources):
        raise table.error("sources", expected)
    return sources


def _parse_focal_plane(top: Table, pixel_scale_arcsec: float) -> FocalPlane | None:
    if "focal_plane" not in top:
        return None
    table = top.table("focal_plane")
    plane = FocalPlane(
        pixel_size_mm=table.number("pixel_size_mm", above=0.0, high=1.0, unit="mm"),
        pixel_scale_arcsec=pixel_scale_arcsec,
        flip_x=table.flag("flip_x", False),
        vignetted_from_mm=table.number("vignetted_from_mm", math.inf, above=0.0, unit="mm"),
    )
    table.finish()
    return plane
