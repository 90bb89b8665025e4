"""What is made of an alert's packet: its stamps as one picture or as FITS, the packet itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.database.pages.alerts import get_detection
from astra.errors import MissingDataError
from astra.products.layout import alert_path
from astra.web.filters import Query
from astra.web.pixels import difference_stretch, encode_png, sky_stretch, to_grey, turn_to_sky
from astra.web.site import Site

if TYPE_CHECKING:
    from pathlib import Path

    from astra.alerts.reading import Packet
    from astra.alerts.stamps import Stamp

STAMP_NAMES = ("science", "template", "difference")
SIDE_PIXEL = 112
SPACE_PIXEL = 4
NO_STAMP_GREY = 230
CACHED_PICTURES = 2048  # some 20 MB
MAX_HALF_ARCSEC = 30.0

Made = tuple[str, str, bytes]


def packet_of(site: Site, source_id: int) -> Packet:
    """Return the packet of a detection.

    Raises
    ------
    MissingDataError
        If there is no such detection, or no packet of it.
    """
    from astra.alerts.packet_index import find_packet

    return find_packet(_file_of(site, source_id), source_id)


def _file_of(site: Site, source_id: int) -> Path:
    """Return the file that would hold the packet of a detection."""
    with site.database.reading() as connection:
        row = get_detection(connection, source_id)
    if row is None:
        message = f"there is no detection {source_id}"
        raise MissingDataError(message)
    return site.open_path(alert_path(site.root, row["visit"], row["detector"]))


def _number(keys: Mapping[str, str]) -> int:
    number = int(keys["alert"])
    if number >= 2**63:
        message = f"there is no detection {number}"
        raise MissingDataError(message)
    return number


def stamps_png(site: Site, _query: Query, keys: Mapping[str, str]) -> Made:
    """Draw science, template and difference beside each other, north up and east left."""
    source_id = _number(keys)
    path = _file_of(site, source_id)
    return "image/png", "", _stamps(str(path), path.stat().st_mtime_ns, source_id)


@functools.lru_cache(maxsize=CACHED_PICTURES)
def _stamps(path: str, _modified_ns: int, source_id: int) -> bytes:
    from astra.alerts.packet_index import find_packet
    from astra.alerts.views import packet_stamps

    return draw_stamps(packet_stamps(find_packet(path, source_id)))


def draw_stamps(stamps: Mapping[str, Stamp | None], side_pixel: int = SIDE_PIXEL) -> bytes:
    """Draw stamps as one PNG, each ``side_pixel`` wide; one that is missing is grey."""
    width = 3 * side_pixel + 2 * SPACE_PIXEL
    whole = np.zeros((side_pixel, width), np.uint8)  # between them it is transparent
    pair = [stamp.image for name in STAMP_NAMES[:2] if (stamp := stamps.get(name)) is not None]
    shared = sky_stretch(*pair) if pair else None
    for number, name in enumerate(STAMP_NAMES):
        left = number * (side_pixel + SPACE_PIXEL)
        stamp = stamps.get(name)
        panel: NDArray[np.uint8] = np.full((side_pixel, side_pixel), NO_STAMP_GREY, np.uint8)
        if stamp is not None:
            stretch = difference_stretch(stamp.image) if name == "difference" or not shared else shared
            panel = to_grey(_turned(stamp, side_pixel), stretch)
        whole[:, left : left + side_pixel] = panel
    return encode_png(whole)


def _turned(stamp: Stamp, side_pixel: int) -> NDArray[np.float32]:
    matrix = stamp.matrix if stamp.matrix is not None else np.diag([-1.0, 1.0])
    half = max(stamp.image.shape) / 2.0 * float(np.sqrt(abs(np.linalg.det(matrix))))
    if stamp.matrix is not None:
        half = min(half, MAX_HALF_ARCSEC)
    return turn_to_sky(stamp.image, (stamp.x, stamp.y), matrix, side_pixel=side_pixel, half_arcsec=half)


def named_picture(site: Site, _query: Query, keys: Mapping[str, str]) -> Made:
    """Send a picture that a page has named."""
    content = site.pictures.content(keys["picture"])
    if content is None:
        message = "there is no such picture; load the page that shows it again"
        raise MissingDataError(message)
    return "image/png", "", content


def packet_avro(site: Site, _query: Query, keys: Mapping[str, str]) -> Made:
    """Send the packet as an Avro container of its own."""
    from astra.alerts.packet_index import packet_bytes

    source_id = _number(keys)
    return "application/octet-stream", f"{source_id}.avro", packet_bytes(packet_of(site, source_id))


def packet_json(site: Site, _query: Query, keys: Mapping[str, str]) -> Made:
    """Send the packet as JSON, without its stamps."""
    from astra.web.exports import to_json

    record = packet_of(site, _number(keys)).record
    plain = {name: value for name, value in record.items() if not name.startswith("cutout")}
    return "application/json; charset=UTF-8", "", to_json(plain).encode()


def stamp_fits(field: str) -> Callable[[Site, Query, Mapping[str, str]], Made]:
    """Make the function that sends a stamp as the FITS file that it is."""

    def send(site: Site, _query: Query, keys: Mapping[str, str]) -> Made:
        source_id = _number(keys)
        content: Any = packet_of(site, source_id).record.get(field)
        if not isinstance(content, bytes):
            message = f"alert {source_id} has no {field}"
            raise MissingDataError(message)
        return "application/fits", f"{source_id}_{field}.fits", content

    return send
