"""What the pages of a visit and of a detector show: images at their places, figures, tasks and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from astra.web.formats import significant
from astra.web.image_view import ImageView, make_mask
from astra.web.links import Links
from astra.web.mosaic import LAYERS, SIDE_PIXEL, Mark, Tile, draw_mosaic, make_image, tiles_of
from astra.web.pictures import PictureStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astra.database.pages.places import Detection
    from astra.database.pages.visits import DetectorRow
    from astra.web.measures import MeasuredVisit
    from astra.web.truth import Judged

LARGE_PIXEL = 900  # side of the images of the page of a detector
MAX_PICTURE_BYTES = 8 << 20
DEFAULT_VIEW = ImageView()
# Measures in the table of detectors and on the page of one: (name, title, unit, digits).
COLUMNS = (
    ("seeing", "Seeing", "arcsec", 2),
    ("zero_point", "Zero point", "mag", 3),
    ("zero_point_scatter", "ZP scatter", "mag", 3),
    ("astrometric_scatter", "Astrometry", "mas", 0),
    ("mag_lim", "Limit", "mag", 2),
    ("n_sources", "Sources", "", 0),
    ("template_coverage", "Template", "%", 1),
    ("difference_noise", "Diff. noise", "", 3),
    ("star_residual", "Star residual", "%", 2),
    ("n_dia_sources", "DIA sources", "", 0),
    ("n_alerts", "Alerts", "", 0),
)


def visit_mosaics(
    visit: MeasuredVisit,
    links: Links,
    store: PictureStore,
    *,
    regions: Mapping[int, NDArray[np.float64]],
    detections: Sequence[Detection] = (),
    layers: Sequence[str] = tuple(LAYERS),
    judged: Judged | None = None,
    view: ImageView = DEFAULT_VIEW,
) -> list[Markup]:
    """Draw the focal plane of a visit, once for each layer; detections are marked on the difference.

    Parameters
    ----------
    visit : MeasuredVisit
        The visit.
    links : Links
        Makes addresses.
    store : PictureStore
        Where pictures go.
    regions : mapping of int to float64 ndarray, shape (n, 2)
        What detectors cover [deg]: outlines of those that were not calibrated.
    detections : sequence of Detection, optional
        What was detected.
    layers : sequence of str, optional
        Among `LAYERS`.
    judged : Judged, optional
        Where it is known what was simulated.
    view : ImageView, optional
        Stretch of the greys, and planes of the mask over them.
    """
    instrument, detectors = visit.row.instrument, visit.detectors
    drawn = []
    for layer in layers:
        pictures = {
            number: make_image(row, layer, store, stretch=view.stretch) for number, row in detectors.items()
        }
        masks = {
            number: make_mask(row, layer, view, store, side_pixel=SIDE_PIXEL)
            for number, row in detectors.items()
        }
        tiles = tiles_of(detectors, pictures, links, instrument=instrument, over=masks)
        placed = {tile.label for tile in tiles}
        # Regions are wider than detectors: they lie below the images.
        outlines = [
            _outline(visit, number, regions[number], links)
            for number in sorted(visit.detectors)
            if str(number) not in placed and len(regions.get(number, ())) >= 3
        ]
        tiles = outlines + tiles
        marks = _marks(detections, links, judged) if layer == "difference" else []
        title = f"{layer.capitalize()} of visit {visit.row.visit}"
        name = layer if len(layers) > 1 else f"visit {visit.row.visit}"
        drawn.append(draw_mosaic(tiles, links, title=title, name=name, marks=marks))
    return drawn


def _outline(visit: MeasuredVisit, number: int, corners: NDArray[np.float64], links: Links) -> Tile:
    """Make the tile of a detector that has no calibrated image."""
    href = _detector_href(visit, number, links)
    return Tile(str(number), corners, None, href, f"detector {number}: no image", failed=True)


def _detector_href(visit: MeasuredVisit, number: int, links: Links) -> str | None:
    return links.to("detector", instrument=visit.row.instrument, visit=visit.row.visit, detector=number)


KIND_WORDS = {
    "found": ": a transient that was simulated",
    "known": ": a variable star or a body that was simulated",
    "false": ": nothing was simulated here",
}


def _marks(detections: Sequence[Detection], links: Links, judged: Judged | None) -> list[Mark]:
    marks = list(judged.missed) if judged is not None else []
    for one in detections:
        snr, reliability = significant(one.snr), significant(one.reliability)
        hint = f"diaSource {one.dia_source_id}: S/N {snr}, reliability {reliability}"
        href = links.to("object", object=one.dia_object_id) if one.dia_object_id else None
        kind = judged.kinds.get(one.dia_source_id, "pointer") if judged is not None else "pointer"
        marks.append(Mark(one.ra, one.dec, one.is_negative, hint + KIND_WORDS.get(kind, ""), href, kind))
    return marks


def detector_lines(visit: MeasuredVisit, links: Links) -> list[dict[str, Any]]:
    """Return a line for each detector of the table of a visit."""
    return [
        {
            "detector": number,
            "state": row.state,
            "measures": visit.by_detector[number],
            "levels": detector_levels(visit, number),
            "href": _detector_href(visit, number, links),
            "message": next(
                (task.message for task in row.tasks if task.state == "failed" and task.message), ""
            ),
        }
        for number, row in sorted(visit.detectors.items())
    ]


def _message(row: DetectorRow) -> str:
    """Return what the first task that failed said."""
    return next((task.message for task in row.tasks if task.state == "failed" and task.message), "")


def detector_levels(visit: MeasuredVisit, number: int) -> dict[str, str]:
    """Return the level of each measure of a detector that has thresholds."""
    measures = visit.by_detector[number]
    return {
        name: light.threshold.level(measures[name], visit.row.band)
        for name, light in visit.lights.items()
        if name in measures
    }


def detector_images(
    row: DetectorRow, links: Links, store: PictureStore, view: ImageView = DEFAULT_VIEW
) -> list[dict[str, Any]]:
    """Draw the images of a detector as they lie on its pixels, with the mask over them where it is chosen."""
    found = []
    for layer in LAYERS:
        name = make_image(row, layer, store, side_pixel=LARGE_PIXEL, stretch=view.stretch)
        if name is not None:
            mask = make_mask(row, layer, view, store, side_pixel=LARGE_PIXEL)
            over = None if mask is None else links.picture(mask)
            src, alt = links.picture(name), _image_text(row, layer)
            found.append({"name": layer, "src": src, "alt": alt, "over": over})
    return found


def _image_text(row: DetectorRow, layer: str) -> str:
    return f"{layer} image of detector {row.detector} of visit {row.visit}, x to the right and y upwards"


def quality_picture(row: DetectorRow, links: Links, store: PictureStore) -> str | None:
    """Bring the picture of quality that the calibration has drawn; None without one."""
    product = row.products.get("qa")
    if product is None:
        return None
    path = Path(product.path)
    try:
        if not 0 < path.stat().st_size <= MAX_PICTURE_BYTES:
            return None
        name = store.get(("qa", product.path, product.size, str(product.created)), path.read_bytes)
    except OSError:
        return None
    return None if name is None else links.picture(name)


def grouped_figures(row: DetectorRow) -> list[tuple[str, list[tuple[str, Any]]]]:
    """Return the figures of a detector by task and step, without timings of the process or passwords."""
    from astra.database.engine import mask_url

    groups: dict[str, list[tuple[str, Any]]] = {}
    for key, value in sorted(row.figures.items()):
        step, _, item = key.rpartition(".")
        if not step.endswith(":run") and item and isinstance(value, (int, float, str)):
            shown = mask_url(value) if isinstance(value, str) and "://" in value else value
            groups.setdefault(step.replace(":", ": "), []).append((item, shown))
    order = {task.family: n for n, task in enumerate(row.tasks)}
    return sorted(
        groups.items(), key=lambda item: (order.get(item[0].partition(":")[0], len(order)), item[0])
    )


def detector_values(
    visit: MeasuredVisit,
    row: DetectorRow,
    links: Links,
    store: PictureStore,
    view: ImageView = DEFAULT_VIEW,
) -> dict[str, Any]:
    """Return what the template ``detector.html`` shows, but for what it shares with that of the visit.

    Parameters
    ----------
    visit : MeasuredVisit
        The visit.
    row : DetectorRow
        The detector, with all its figures.
    links : Links
        Makes addresses.
    store : PictureStore
        Where pictures go.
    view : ImageView, optional
        How images are shown.
    """
    return {
        "detector": row,
        "measures": visit.by_detector.get(row.detector, {}),
        "levels": detector_levels(visit, row.detector),
        "images": detector_images(row, links, store, view),
        "quality": quality_picture(row, links, store),
        "figures": grouped_figures(row),
    }
