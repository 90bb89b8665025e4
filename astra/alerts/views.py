"""What is told of an alert at a glance, whichever survey it comes from.

Fluxes are in [nJy] and times in [d, MJD TAI, middle of the exposure], as Rubin has them; ZTF's magnitudes and
Julian dates (UTC, beginning of the exposure) are converted. What is missing or no number is NaN: an alert may
come from anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.alerts.reading import Packet
from astra.alerts.stamps import NAMES, Stamp, read_stamp

AB_ZERO_POINT = 31.4  # of 1 nJy
ZTF_BANDS = {1: "g", 2: "r", 3: "i", 4: "z", 5: "y", 6: "u"}  # those from 4 on are ours
ZTF_NO_FLUX = -9e4  # ZTF writes -99999 for a forced flux that it has not
LIMIT_SIGMA = 5.0
MJD_OF_JD_ZERO = -2400000.5
SECONDS_PER_DAY = 86400.0

POINT_DTYPE = np.dtype([("mjd_tai", "f8"), ("band", "U8"), ("flux", "f8"), ("flux_err", "f8")])


@dataclass(frozen=True)
class AlertView:
    """An alert at a glance.

    Parameters
    ----------
    survey, schema : str
        Kind of alert, and name of its schema.
    source_id : int or None
        ``diaSourceId`` or ``candid``.
    object_name : str
        Id of the object; empty if there is none.
    ra, dec : float
        Position [deg].
    mjd_tai : float
        Middle of the exposure [d, MJD TAI].
    band : str
        Filter band.
    flux, flux_err : float
        Of the difference [nJy].
    snr, reliability : float
        Signal to noise, and the probability that it is real.
    detections, forced, limits : structured ndarray, dtype POINT_DTYPE
        Light curve: detections with this one last, forced measurements, and upper limits where nothing was
        detected (``flux`` is the limit of 5 sigma) [nJy].
    """

    survey: str
    schema: str
    source_id: int | None
    object_name: str
    ra: float
    dec: float
    mjd_tai: float
    band: str
    flux: float
    flux_err: float
    snr: float
    reliability: float
    detections: NDArray[Any]
    forced: NDArray[Any]
    limits: NDArray[Any]

    @property
    def mag_ab(self) -> float:
        """AB magnitude of the size of the difference; NaN for none."""
        return AB_ZERO_POINT - 2.5 * math.log10(abs(self.flux)) if self.flux else math.nan


def view_packet(packet: Packet) -> AlertView:
    """Take out of an alert what is told of it."""
    return _view_ztf(packet) if packet.survey == "ztf" else _view_lsst(packet)


def packet_stamps(packet: Packet) -> dict[str, Stamp | None]:
    """Read the stamps of an alert: science, template, and their difference, science minus template.

    Raises
    ------
    FormatError
        If one cannot be read.
    """
    source = _row(packet.record.get("candidate" if packet.survey == "ztf" else "diaSource"))
    ra, dec = number(source, "ra"), number(source, "dec")
    stamps = {name: read_stamp(packet.record.get(field), ra=ra, dec=dec) for name, field in NAMES.items()}
    difference = stamps["difference"]
    if packet.survey == "ztf" and difference is not None and not _is_positive(source):
        # ZTF's stamp of what has become fainter is template minus science
        flipped = Stamp(-difference.image, difference.unit, difference.x, difference.y, difference.matrix)
        stamps["difference"] = flipped
    return stamps


def number(row: Mapping[str, Any], name: str) -> float:
    """Return a number of a record; NaN if there is none."""
    value = row.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def _row(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _points(rows: Iterable[tuple[float, Any, float, float]]) -> NDArray[Any]:
    """Points with a time and a flux, in the order of time."""
    points = np.array([(t, str(band or ""), flux, err) for t, band, flux, err in rows], dtype=POINT_DTYPE)
    usable = np.isfinite(points["mjd_tai"]) & np.isfinite(points["flux"])
    return np.sort(points[usable], order="mjd_tai", kind="stable")


def _view_lsst(packet: Packet) -> AlertView:
    record = packet.record
    source = _row(record.get("diaSource"))

    def points(rows: Iterable[Mapping[str, Any]]) -> NDArray[Any]:
        return _points(
            (
                number(row, "midpointMjdTai"),
                row.get("band"),
                number(row, "psfFlux"),
                number(row, "psfFluxErr"),
            )
            for row in rows
        )

    limits = [
        (number(row, "midpointMjdTai"), row.get("band"), LIMIT_SIGMA * number(row, "diaNoise"), math.nan)
        for row in _rows(record.get("prvDiaNondetectionLimits"))
    ]
    limits += [
        (number(row, "midpointMjdTai"), row.get("band"), LIMIT_SIGMA * _noise(row), math.nan)
        for row in _rows(record.get("upperLimits"))
    ]
    object_id = source.get("diaObjectId") or source.get("ssObjectId")
    return AlertView(
        survey=packet.survey,
        schema=packet.schema_name,
        source_id=packet.source_id,
        object_name=str(object_id or ""),
        ra=number(source, "ra"),
        dec=number(source, "dec"),
        mjd_tai=number(source, "midpointMjdTai"),
        band=str(source.get("band") or ""),
        flux=number(source, "psfFlux"),
        flux_err=number(source, "psfFluxErr"),
        snr=number(source, "snr"),
        reliability=number(source, "reliability"),
        detections=points([*_rows(record.get("prvDiaSources")), source]),
        forced=points(_rows(record.get("prvDiaForcedSources"))),
        limits=_points(limits),
    )


def _noise(row: Mapping[str, Any]) -> float:
    """Noise that an upper limit of our own schema stands for [nJy]."""
    snr = number(row, "limitSnr")
    return number(row, "limitFlux") / snr if snr > 0 else math.nan


def _view_ztf(packet: Packet) -> AlertView:
    record, candidate = packet.record, _row(packet.record.get("candidate"))
    history = _rows(record.get("prv_candidates"))
    forced = [row for row in history if "forcediffimflux" in row]  # where schema 3.5 has them
    exposure_s = number(candidate, "exptime")
    half_day = (30.0 if math.isnan(exposure_s) else exposure_s) / 2.0 / SECONDS_PER_DAY

    def points(rows: Iterable[Mapping[str, Any]], measure: Any) -> NDArray[Any]:
        found = [(row, *measure(row)) for row in rows]
        times = _tai([number(row, "jd") for row, *_ in found]) + half_day
        return _points(
            (time, _ztf_band(row), flux, err) for time, (row, flux, err) in zip(times, found, strict=True)
        )

    flux, flux_err = _ztf_flux(candidate)
    drb, rb = number(candidate, "drb"), number(candidate, "rb")
    return AlertView(
        survey="ztf",
        schema=packet.schema_name,
        source_id=packet.source_id,
        object_name=str(record.get("objectId") or ""),
        ra=number(candidate, "ra"),
        dec=number(candidate, "dec"),
        mjd_tai=float(_tai([number(candidate, "jd")])[0] + half_day),
        band=_ztf_band(candidate),
        flux=flux,
        flux_err=flux_err,
        snr=abs(flux) / flux_err if flux_err > 0 else math.nan,
        reliability=rb if math.isnan(drb) else drb,
        detections=points([*history, candidate], _ztf_flux),
        forced=points([*_rows(record.get("fp_hists")), *forced], _ztf_forced_flux),
        limits=points(
            [row for row in history if row.get("candid") is None and row not in forced], _ztf_limit
        ),
    )


def _tai(jd_utc: list[float]) -> NDArray[np.float64]:
    """Convert Julian dates, UTC, to [d, MJD TAI]; NaN stays NaN."""
    from astropy.time import Time

    days = np.array(jd_utc, dtype=np.float64)
    usable = np.abs(days + MJD_OF_JD_ZERO) < 1e6
    result = np.full(len(days), np.nan)
    if usable.any():
        result[usable] = Time(days[usable], format="jd", scale="utc").tai.mjd
    return result


def _ztf_band(row: Mapping[str, Any]) -> str:
    fid = row.get("fid")
    return ZTF_BANDS.get(fid, "") if isinstance(fid, int) else ""


def _is_positive(row: Mapping[str, Any]) -> bool:
    return str(row.get("isdiffpos")).lower() in {"t", "1", "true", "y"}


def _ztf_flux(row: Mapping[str, Any]) -> tuple[float, float]:
    """Flux of a magnitude with the sign of the difference [nJy]."""
    mag, err = number(row, "magpsf"), number(row, "sigmapsf")
    if not abs(mag) < 100:
        return math.nan, math.nan
    flux = 10.0 ** ((AB_ZERO_POINT - mag) / 2.5)
    return flux if _is_positive(row) else -flux, flux * err * math.log(10.0) / 2.5


def _ztf_forced_flux(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return the flux of counts and a zero point [nJy]."""
    flux, zero_point = number(row, "forcediffimflux"), number(row, "magzpsci")
    if not (flux > ZTF_NO_FLUX and abs(zero_point) < 100):
        return math.nan, math.nan
    scale = 10.0 ** ((AB_ZERO_POINT - zero_point) / 2.5)
    return scale * flux, scale * number(row, "forcediffimfluxunc")


def _ztf_limit(row: Mapping[str, Any]) -> tuple[float, float]:
    limit = number(row, "diffmaglim")
    return (10.0 ** ((AB_ZERO_POINT - limit) / 2.5) if abs(limit) < 100 else math.nan), math.nan
