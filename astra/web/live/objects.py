"""The page of an object: its light curve, and the stamps of one of its detections."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from markupsafe import Markup

from astra.database.pages.alerts import get_object, objects_near
from astra.database.pages.light_curves import LightPoint, light_curve
from astra.errors import AstraError, MissingDataError
from astra.web.curve_view import CurveView
from astra.web.filters import MAX_ID, Query
from astra.web.live.packets import packet_is_there
from astra.web.site import Answer, Site

if TYPE_CHECKING:
    from astra.web.links import ServerLinks

MAX_POINTS = 2_000  # of each kind, the newest
NEAR_ARCSEC = 30.0
COLUMNS = (
    *("source_id", "is_forced", "mjd_tai", "band", "flux", "flux_err", "science_flux", "science_flux_err"),
    *("snr", "reliability", "visit", "detector", "is_dipole", "is_negative"),
)
TABLE_ROWS = 200


def object_page(site: Site, query: Query, keys: Mapping[str, str]) -> Answer:
    """Make the page of an object."""
    number = int(keys["object"])
    chosen = query.integer("source", 0, MAX_ID)
    view = CurveView.of(query)
    with site.database.reading() as connection:
        found = get_object(connection, number) if number <= MAX_ID else None
        if found is None:
            message = f"There is no object {number}."
            raise MissingDataError(message)
        points = light_curve(connection, number, max_points=MAX_POINTS)
        near = objects_near(connection, found["ra"], found["dec"], NEAR_ARCSEC)
    detections = [point for point in points if not point.is_forced]
    shown = _choose(detections, chosen)
    chosen_id = shown.source_id if shown is not None else None
    values = {
        "object": found,
        "object_id": number,
        "points": points[-TABLE_ROWS:][::-1],
        "n_points": len(points),
        "n_detections": len(detections),
        "chosen": shown,
        "view": view.keys(),
        "switches": view.switches(site.links, number, chosen_id),
        "plots": view.draw(points, name=str(number), marked=chosen_id),
        "has_packet": shown is not None and packet_is_there(site, shown.visit, shown.detector),
        "triptych": None
        if shown is None
        else triptych_of(site, shown.source_id, (shown.visit, shown.detector)),
        "near": [row for row in near if row["diaObjectId"] != number],
        "elsewhere": elsewhere(found["ra"], found["dec"]),
        "newer": _next(site.links, detections, shown, 1, number=number, view=view),
        "older": _next(site.links, detections, shown, -1, number=number, view=view),
        "bands": _bands(found),
    }
    rows = [point.as_dict() for point in points]
    data = {"diaObject": found, "points": rows, "near": near}
    return Answer("object.html", "object", values, data, rows, COLUMNS)


def _choose(detections: Sequence[LightPoint], wanted: int | None) -> LightPoint | None:
    """Return the wanted detection, else the brightest."""
    by_id = {point.source_id: point for point in detections}
    if wanted in by_id:
        return by_id[wanted]
    return max(detections, key=lambda point: abs(point.snr or 0.0), default=None)


def _next(
    links: ServerLinks,
    detections: Sequence[LightPoint],
    shown: LightPoint | None,
    step: int,
    *,
    number: int,
    view: CurveView,
) -> str | None:
    """Address of the page with the next detection in time."""
    ids = [point.source_id for point in detections]
    if shown is None:
        return None
    place = ids.index(shown.source_id) + step
    if not 0 <= place < len(ids):
        return None
    return links.to("object", object=number, source=ids[place], **view.keys())


def triptych_of(site: Site, source_id: int, place: tuple[int, int]) -> Markup | None:
    """Draw the stamps of a detection of a visit and detector; None where there are none."""
    from astra.web.live.pictures import packet_of
    from astra.web.triptych import draw_triptych, make_triptych

    try:
        made = make_triptych(packet_of(site, source_id), site.pictures, key=place)
    except AstraError:
        return None  # the page says that there is no packet
    return draw_triptych(made, site.links, title=f"Stamps of detection {source_id}")


def elsewhere(ra: float, dec: float) -> list[tuple[str, str]]:
    """Addresses of other services at a place [deg]: (name, address)."""
    if not (math.isfinite(ra) and math.isfinite(dec)):
        return []
    place = f"{ra:.6f} {dec:+.6f}"
    return [
        ("Simbad", "https://simbad.cds.unistra.fr/simbad/sim-coo?"
         + urlencode({"Coord": place, "CooFrame": "ICRS", "Radius": "10", "Radius.unit": "arcsec"})),
        ("NED", "https://ned.ipac.caltech.edu/conesearch?"
         + urlencode({"search_type": "Near Position Search", "coordinates": f"{ra:.6f}d {dec:+.6f}d",
                      "radius": "0.2", "in_csys": "Equatorial", "in_equinox": "J2000"})),
        ("TNS", "https://www.wis-tns.org/search?"
         + urlencode({"ra": f"{ra:.6f}", "decl": f"{dec:.6f}", "radius": "5", "coords_unit": "arcsec"})),
        ("Legacy Survey", "https://www.legacysurvey.org/viewer?"
         + urlencode({"ra": f"{ra:.6f}", "dec": f"{dec:.6f}", "zoom": "15", "layer": "ls-dr10"})),
        ("Aladin", "https://aladin.cds.unistra.fr/AladinLite/?"
         + urlencode({"target": place, "fov": "0.05"})),
    ]  # fmt: skip


def _bands(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Figures of an object by band, of those in which it was detected."""
    return [
        {
            "band": band,
            "number": found[f"{band}_psfFluxNdata"],
            "mean": found[f"{band}_psfFluxMean"],
            "mean_err": found[f"{band}_psfFluxMeanErr"],
            "scatter": found[f"{band}_psfFluxSigma"],
        }
        for band in "ugrizy"
        if found.get(f"{band}_psfFluxNdata")
    ]
