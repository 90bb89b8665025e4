"""Alerts as ZTF has them (schema 4.01), so that filters and brokers of its time can read ours.

Magnitudes are AB of the size of the difference flux, with its sign in ``isdiffpos``; times are Julian dates,
UTC, of the beginning of an exposure. What is not known is null, or -999 where ZTF itself writes that. ``fid``
is 1 g, 2 r, 3 i as there, and further 4 z, 5 y, 6 u. Fluxes and stamps are in nJy with ``magzpsci`` 31.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import fastavro.schema
import numpy as np
from numpy.typing import NDArray

from astra.alerts.packets import Alert
from astra.alerts.stamps import NAMES, Stamp, read_stamp
from astra.alerts.views import AB_ZERO_POINT, LIMIT_SIGMA, SECONDS_PER_DAY, ZTF_BANDS, number
from astra.alerts.ztf_stamps import count_core, ztf_stamp
from astra.errors import AlertError
from astra.sky.healpix import healpix_pixels

VERSION = "4.01"
PUBLISHER = "astra"
PUBLIC_PROGRAMME = 1
FIDS = {band: fid for fid, band in ZTF_BANDS.items()}
NOT_THERE = -999.0
NO_NAME = "null"  # ZTF's text for no solar-system body
FIELD_ORDER = 5  # pixels of 1.8 deg
FWHM_PER_SIGMA = 2.3548200450309493
MAG_PER_RELATIVE_FLUX = 2.5 / math.log(10.0)

_NEAREST = tuple(
    f"{name}{rank}" for rank in (1, 2, 3) for name in
    ("sgmag", "srmag", "simag", "szmag", "sgscore", "distpsnr")
)  # fmt: skip
_GAIA = ("neargaia", "neargaiabright", "maggaia", "maggaiabright")
_FILES = {"science": "targ_sci", "template": "ref", "difference": "targ_scimref"}

Row = Mapping[str, Any]


@cache
def ztf_schema() -> Any:
    """Return the parsed schema of an alert."""
    return fastavro.schema.load_schema(
        str(Path(__file__).parent / "schema" / f"ztf.v{VERSION.replace('.', '_')}.alert.avsc")
    )


@cache
def _names(record: str) -> tuple[str, ...]:
    schema = ztf_schema()["__named_schemas"][f"ztf.alert.{record}"]
    return tuple(field["name"] for field in schema["fields"])


def to_ztf(alert: Alert) -> Alert:
    """Tell an alert of Rubin's kind as ZTF would.

    Earlier detections become ``prv_candidates``; so do, as limits of 5 sigma with ``candid`` null, the forced
    measurements of visits in which the object was not detected. All forced measurements become ``fp_hists``.

    Parameters
    ----------
    alert : dict
        A packet; those of older schemas lack some values, which are null then.

    Raises
    ------
    AlertError
        If it has no band, position, time or PSF flux: ZTF's alerts have them all.
    """
    source: Row = alert["diaSource"]
    source_id = int(source["diaSourceId"])
    _refuse_incomplete(source, source_id)
    history, forced = (list(alert.get(name) or []) for name in ("prvDiaSources", "prvDiaForcedSources"))
    exposures = {row["visit"]: row.get("exposureTime") for row in (*history, source)}
    begin = _beginnings([source, *history, *forced], exposures, source.get("exposureTime"))
    beginnings = begin[0], begin[1 : 1 + len(history)], begin[1 + len(history) :]
    stamps = _read_stamps(alert, source)
    detected = {row["visit"] for row in (*history, source)}
    earlier = [_previous(row, jd) for row, jd in zip(history, beginnings[1], strict=True)]
    measured = list(zip(forced, beginnings[2], strict=True))
    earlier += [_limit(row, jd) for row, jd in measured if row["visit"] not in detected and _is_measured(row)]
    return {
        "schemavsn": VERSION,
        "publisher": PUBLISHER,
        "objectId": str(source.get("diaObjectId") or source_id),
        "candid": source_id,
        "candidate": _candidate(alert, source, begin, stamps),
        "prv_candidates": sorted((row for row in earlier if row), key=lambda row: float(row["jd"])) or None,
        "fp_hists": [_forced(row, jd, exposures) for row, jd in sorted(measured, key=lambda one: one[1])]
        or None,
        **_cutouts(source, stamps),
    }


def _refuse_incomplete(source: Row, source_id: int) -> None:
    if source.get("band") not in FIDS:
        message = f"alert {source_id} must have a band of {', '.join(FIDS)} to be told as ZTF would, found "
        raise AlertError(f"{message}{source.get('band')!r}", diaSourceId=source_id)
    for name in ("ra", "dec", "midpointMjdTai", "psfFlux", "psfFluxErr"):
        if not _finite(source.get(name)) or (name == "psfFlux" and source[name] == 0):
            message = f"alert {source_id} must have {name} to be told as ZTF would, found {source.get(name)}"
            raise AlertError(message, diaSourceId=source_id)


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _is_measured(row: Row) -> bool:
    return row.get("band") in FIDS and _finite(row.get("psfFluxErr")) and row["psfFluxErr"] > 0


def _beginnings(rows: Sequence[Row], exposures: Mapping[int, Any], default: Any) -> NDArray[np.float64]:
    """Begin of the exposure of each row [d, JD UTC]; one of unknown length is as long as the alert's."""
    from astropy.time import Time

    lengths = [exposures.get(row["visit"]) or default or 0.0 for row in rows]
    middles = np.array([row["midpointMjdTai"] for row in rows], dtype=np.float64)
    times = Time(
        middles - np.array(lengths, dtype=np.float64) / 2.0 / SECONDS_PER_DAY, format="mjd", scale="tai"
    )
    found: NDArray[np.float64] = times.utc.jd
    return found


def magnitude(flux: Any) -> float | None:
    """AB magnitude of the size of a flux [nJy]; None where there is none."""
    return AB_ZERO_POINT - 2.5 * math.log10(abs(flux)) if _finite(flux) and flux else None


def magnitude_error(flux: Any, flux_err: Any) -> float | None:
    """1-sigma error of `magnitude`."""
    return (
        MAG_PER_RELATIVE_FLUX * flux_err / abs(flux) if _finite(flux) and flux and _finite(flux_err) else None
    )


def _limit_mag(row: Row) -> float | None:
    return magnitude(LIMIT_SIGMA * row["psfFluxErr"]) if _finite(row.get("psfFluxErr")) else None


def _image(row: Row) -> dict[str, Any]:
    """Return what is told of the image of a row."""
    visit, detector = int(row["visit"]), int(row["detector"])
    return {
        "pid": 1000 * visit + detector,
        "rcid": detector,
        "programid": PUBLIC_PROGRAMME,
        "magzpsci": AB_ZERO_POINT,
        "fid": FIDS[row["band"]],
    }


def _detection(row: Row, jd: float) -> dict[str, Any]:
    """Return what a detection and an earlier one have in common."""
    flux, version = float(row["psfFlux"]), row.get("reliabilityVersion") or ""
    mag, mag_ap = magnitude(flux), magnitude(row.get("apFlux"))
    limit, chi2, n_data = _limit_mag(row), row.get("psfChi2"), row.get("psfNdata")
    return {
        **_image(row),
        "jd": float(jd),
        "diffmaglim": limit,
        "pdiffimfilename": f"{int(row['visit'])}_{int(row['detector'])}",
        "candid": int(row["diaSourceId"]),
        "isdiffpos": "t" if flux > 0 else "f",
        "field": int(healpix_pixels(row["ra"], row["dec"], FIELD_ORDER)[0]),
        "xpos": row["x"] + 1.0 if _finite(row.get("x")) else None,
        "ypos": row["y"] + 1.0 if _finite(row.get("y")) else None,
        "ra": float(row["ra"]),
        "dec": float(row["dec"]),
        "magpsf": mag,
        "sigmapsf": magnitude_error(flux, row.get("psfFluxErr")),
        "chipsf": chi2 / n_data if _finite(chi2) and n_data else None,
        "magap": mag_ap,
        "sigmagap": magnitude_error(row.get("apFlux"), row.get("apFluxErr")),
        "magdiff": None if mag is None or mag_ap is None else mag_ap - mag,
        "magfromlim": None if limit is None or mag_ap is None else limit - mag_ap,
        "classtar": 1.0 - row["extendedness"] if _finite(row.get("extendedness")) else None,
        "rb": row["reliability"] if _finite(row.get("reliability")) else None,
        "rbversion": version,
        "scorr": row["snr"] if _finite(row.get("snr")) else None,
        "ranr": NOT_THERE,
        "decnr": NOT_THERE,
    }


def _filled(record: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with all of its fields; those that are not given are null."""
    return {name: values.get(name) for name in _names(record)}


def _previous(row: Row, jd: float) -> dict[str, Any] | None:
    """Return an earlier detection; None for one without band or flux."""
    if row.get("band") not in FIDS or not _finite(row.get("psfFlux")) or not row["psfFlux"]:
        return None
    return _filled("prv_candidate", _detection(row, jd) | _nothing_near())


def _limit(row: Row, jd: float) -> dict[str, Any]:
    """Return a limit where nothing was detected."""
    values = {**_image(row), "jd": float(jd), "diffmaglim": _limit_mag(row), "rbversion": ""}
    return _filled("prv_candidate", values)


def _forced(row: Row, jd: float, exposures: Mapping[int, Any]) -> dict[str, Any]:
    flux, flux_err = row.get("psfFlux"), row.get("psfFluxErr")
    values = {
        "rcid": int(row["detector"]),
        "fid": FIDS.get(row.get("band") or "", 0),
        "pid": 1000 * int(row["visit"]) + int(row["detector"]),
        "rfid": 0,
        "magzpsci": AB_ZERO_POINT,
        "exptime": exposures.get(row["visit"]),
        "diffmaglim": _limit_mag(row),
        "programid": PUBLIC_PROGRAMME,
        "jd": float(jd),
        "forcediffimflux": flux if _finite(flux) else None,
        "forcediffimfluxunc": flux_err if _finite(flux_err) else None,
        "procstatus": "0",
        "ranr": NOT_THERE,
        "decnr": NOT_THERE,
    }
    return _filled("fp_hist", values)


def _nothing_near() -> dict[str, Any]:
    """Return ZTF's values for no solar-system body."""
    return {"ssdistnr": NOT_THERE, "ssmagnr": NOT_THERE, "ssnamenr": NO_NAME}


def _body(alert: Alert, source: Row) -> dict[str, Any]:
    """Return the solar-system body that a source is; its distance is 0 where it is not told."""
    if not source.get("ssObjectId"):
        return _nothing_near()
    found: Row = alert.get("ssSource") or {}
    offset, mag = found.get("ephOffset"), found.get("ephVmag")
    return {
        "ssdistnr": offset if _finite(offset) else 0.0,
        "ssmagnr": mag if _finite(mag) else NOT_THERE,
        "ssnamenr": str(found.get("designation") or source["ssObjectId"]),
    }


def _shape(source: Row, stamp: Stamp | None) -> dict[str, Any]:
    """Return sizes from second moments [arcsec**2], in pixels of the stamp."""
    moments = [number(source, name) for name in ("ixx", "ixy", "ixy", "iyy")]
    if stamp is None or stamp.matrix is None or not np.isfinite(moments).all():
        return {}
    scale = math.sqrt(abs(float(np.linalg.det(stamp.matrix))))
    low, high = np.linalg.eigvalsh(np.reshape(moments, (2, 2))).tolist()
    if not low > 0:
        return {}
    a, b, fwhm = (
        math.sqrt(high) / scale,
        math.sqrt(low) / scale,
        FWHM_PER_SIGMA * math.sqrt((high + low) / 2.0) / scale,
    )
    psf_area = number(source, "ixxPSF") + number(source, "iyyPSF")
    return {
        "fwhm": fwhm,
        "aimage": a,
        "bimage": b,
        "aimagerat": a / fwhm,
        "bimagerat": b / fwhm,
        "elong": a / b,
        "seeratio": math.sqrt((high + low) / psf_area) if psf_area > 0 else None,
    }


def _candidate(
    alert: Alert, source: Row, begin: NDArray[np.float64], stamps: Mapping[str, Stamp | None]
) -> dict[str, Any]:
    history = list(alert.get("prvDiaSources") or [])
    visits = {row["visit"] for row in (*history, *(alert.get("prvDiaForcedSources") or []), source)}
    dia_object: Row = alert.get("diaObject") or {}
    n_detections = int(dia_object.get("nDiaSources") or len(history) + 1)
    first = dia_object.get("firstDiaSourceMjdTai")
    reliability = source.get("reliability")
    values = {
        **_detection(source, begin[0]),
        **_body(alert, source),
        **_shape(source, stamps["science"]),
        **_core(alert, source, stamps["difference"]),
        **dict.fromkeys((*_NEAREST, *_GAIA), NOT_THERE),
        "ndethist": n_detections,
        "ncovhist": max(n_detections, len(visits)),
        "jdstarthist": float(_utc_jd([first])[0])
        if _finite(first)
        else float(begin[: 1 + len(history)].min()),
        "jdendhist": float(begin[0]),
        "tooflag": int((alert.get("observation_reason") or "").lower().startswith("too")),
        "nmtchps": 0,
        "rfid": 0,
        "jdstartref": NOT_THERE,
        "jdendref": NOT_THERE,
        "nframesref": 0,
        "nmatches": 0,
        "exptime": source.get("exposureTime"),
        "drb": reliability if _finite(reliability) else None,
        "drbversion": source.get("reliabilityVersion") or "",
    }
    return _filled("candidate", values)


def _utc_jd(mjd_tai: Iterable[Any]) -> NDArray[np.float64]:
    from astropy.time import Time

    found: NDArray[np.float64] = Time(
        np.array(list(mjd_tai), dtype=np.float64), format="mjd", scale="tai"
    ).utc.jd
    return found


def _sign(source: Row) -> float:
    """ZTF's stamps of what has become fainter are template minus science."""
    return 1.0 if source["psfFlux"] > 0 else -1.0


def _read_stamps(alert: Alert, source: Row) -> dict[str, Stamp | None]:
    ra, dec = float(source["ra"]), float(source["dec"])
    return {name: read_stamp(alert.get(field), ra=ra, dec=dec) for name, field in NAMES.items()}


def _core(alert: Alert, source: Row, difference: Stamp | None) -> dict[str, Any]:
    if difference is None:
        return {}
    counts = count_core(difference, alert[NAMES["difference"]], sign=_sign(source))
    return {"nneg": counts.n_negative, "nbad": counts.n_bad, "sumrat": counts.sum_ratio}


def _cutouts(source: Row, stamps: Mapping[str, Stamp | None]) -> dict[str, Any]:
    """Return the stamps as ZTF has them, with the names of files that it would have."""
    source_id, pid = int(source["diaSourceId"]), _image(source)["pid"]
    cutouts: dict[str, Any] = {}
    for name, stamp in stamps.items():
        sign = _sign(source) if name == "difference" else 1.0
        kind = "targ_refmsci" if name == "difference" and sign < 0 else _FILES[name]
        image = "" if name == "template" else f"_pid{pid}"
        cutouts[NAMES[name]] = None if stamp is None else {
            "fileName": f"candid{source_id}{image}_{kind}.fits.gz",
            "stampData": ztf_stamp(stamp, ra=float(source["ra"]), dec=float(source["dec"]), sign=sign),
        }  # fmt: skip
    return cutouts
