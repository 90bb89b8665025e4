"""Alerts as cards: stamps, light curve, and what is told of them in a line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from astra.errors import AlertError, DataError, MissingDataError
from astra.products.layout import alert_path
from astra.web.links import Links
from astra.web.pictures import PictureStore
from astra.web.plots import AB_ZERO_POINT, light_curve
from astra.web.triptych import draw_triptych, make_triptych

if TYPE_CHECKING:
    from astra.alerts.reading import Packet
    from astra.database.pages.best_alerts import BestAlert
    from astra.database.pages.light_curves import LightPoint

CURVE_SIZE = (360.0, 190.0)
ENOUGH_TIMES = 4  # of a light curve, more of which show no more


@dataclass(frozen=True)
class AlertCard:
    """An alert as it is shown.

    Parameters
    ----------
    alert : BestAlert
        The detection.
    triptych : Markup or None
        Its stamps; None where the alert is not written, or cannot be read.
    curve : Markup
        Its light curve.
    position : str
        On the sky, as hours and degrees.
    mag : float or None
        AB magnitude of the size of the difference.
    href, visit_href : str or None
        Pages of its object and of its detector.
    problem : str
        Why there are no stamps.
    n_times : int
        Times at which a flux was measured.
    """

    alert: BestAlert
    triptych: Markup | None
    curve: Markup
    position: str
    mag: float | None
    href: str | None
    visit_href: str | None
    problem: str = ""
    n_times: int = 0


def make_cards(
    alerts: Sequence[BestAlert],
    curves: Mapping[int, Sequence[LightPoint]],
    *,
    bodies: Mapping[int, Sequence[LightPoint]] | None = None,
    root: Path,
    instrument: str,
    links: Links,
    store: PictureStore,
) -> list[AlertCard]:
    """Make the cards of alerts, whose stamps are in the files that ``PackageAlerts`` wrote.

    Parameters
    ----------
    alerts : sequence of BestAlert
        The alerts.
    curves : mapping of int to sequence of LightPoint
        Light curves by object.
    bodies : mapping of int to sequence of LightPoint, optional
        Detections of bodies of the solar system, by ``ssObjectId``.
    root : Path
        Folder of products.
    instrument : str
        Camera name.
    links : Links
        Makes addresses.
    store : PictureStore
        Where pictures go.
    """
    packets, problems = read_wanted(root, alerts)
    cards = []
    for alert in alerts:
        packet, problem = packets.get(alert.dia_source_id), problems.get((alert.visit, alert.detector), "")
        name = f"diaSource {alert.dia_source_id}"
        drawn = None
        if packet is not None:
            try:
                drawn = draw_triptych(make_triptych(packet, store, key=_key(packet)), links, title=name)
            except (AlertError, DataError) as exc:
                problem = str(exc)
        points = _points_of(alert, curves, bodies or {})
        curve = light_curve(points, name=name, marked=alert.dia_source_id, size=CURVE_SIZE)
        said = problem or "the alert is not written yet"
        card = _card(alert, drawn, curve, instrument=instrument, links=links, problem=said)
        cards.append(replace(card, n_times=_n_times(points)))
    return cards


def _points_of(
    alert: BestAlert, curves: Mapping[int, Sequence[LightPoint]], bodies: Mapping[int, Sequence[LightPoint]]
) -> Sequence[LightPoint]:
    return curves.get(alert.dia_object_id or 0) or bodies.get(alert.ss_object_id or 0, ())


def _n_times(points: Sequence[LightPoint]) -> int:
    return len({point.mjd_tai for point in points})


def with_history(
    alerts: Sequence[BestAlert],
    curves: Mapping[int, Sequence[LightPoint]],
    bodies: Mapping[int, Sequence[LightPoint]],
) -> list[BestAlert]:
    """Order alerts so that those whose light curves show something come first, and else as they are."""
    return sorted(alerts, key=lambda alert: -min(_n_times(_points_of(alert, curves, bodies)), ENOUGH_TIMES))


def _card(
    alert: BestAlert, drawn: Markup | None, curve: Markup, *, instrument: str, links: Links, problem: str
) -> AlertCard:
    place = {"instrument": instrument, "visit": alert.visit, "detector": alert.detector}
    return AlertCard(
        alert=alert,
        triptych=drawn,
        curve=curve,
        position=position_text(alert.ra, alert.dec),
        mag=AB_ZERO_POINT - 2.5 * math.log10(abs(alert.flux)) if alert.flux else None,
        href=links.to("object", object=alert.dia_object_id) if alert.dia_object_id else None,
        visit_href=links.to("detector", **place),
        problem="" if drawn is not None else problem,
    )


def _key(packet: Packet) -> tuple[Any, ...]:
    """Return what tells the stamps of an alert from those of an older file."""
    stat = packet.path.stat()
    return str(packet.path), stat.st_size, stat.st_mtime_ns


def read_wanted(
    root: Path, alerts: Sequence[BestAlert]
) -> tuple[dict[int, Packet], dict[tuple[int, int], str]]:
    """Read the packets of some alerts; and say why those of a visit and detector cannot be read."""
    from astra.alerts.packet_index import find_packet

    wanted: dict[tuple[int, int], set[int]] = {}
    for alert in alerts:
        wanted.setdefault((alert.visit, alert.detector), set()).add(alert.dia_source_id)
    packets: dict[int, Packet] = {}
    problems: dict[tuple[int, int], str] = {}
    for place, ids in wanted.items():
        path = alert_path(root, *place)
        for source_id in ids if path.is_file() else ():
            try:
                packets[source_id] = find_packet(path, source_id)
            except MissingDataError:
                continue  # not written yet
            except (AlertError, DataError) as exc:
                problems[place] = str(exc)
    return packets, problems


def position_text(ra: float, dec: float) -> str:
    """Write a position [deg] in hours and degrees, as ``10:00:31.98 +02:11:57.1``."""
    hours = (ra % 360.0) / 15.0
    hundredths = round(hours * 360_000)
    h, rest = divmod(hundredths % 8_640_000, 360_000)
    m, s = divmod(rest, 6000)
    tenths = round(abs(dec) * 36_000)
    d, rest = divmod(tenths, 36_000)
    dm, ds = divmod(rest, 600)
    sign = "\N{MINUS SIGN}" if dec < 0 and tenths else "+"
    return f"{h:02d}:{m:02d}:{s / 100:05.2f} {sign}{d:02d}:{dm:02d}:{ds / 10:04.1f}"
