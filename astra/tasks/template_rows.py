"""Templates as tasks note and find them in the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from astra.errors import MissingDataError, NoOverlapError

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from astra.sky.sky_tiles import SkyTiles
    from astra.tasks.base import AstraTask


def register_template(
    task: AstraTask, tiles: SkyTiles, values: Mapping[str, Any], inputs: Iterable[Mapping[str, Any]] = ()
) -> None:
    """Note a template that a single task has written on a tile.

    Parameters
    ----------
    task : AstraTask
        The task.
    tiles : SkyTiles
        Division of the sky.
    values : mapping
        ``band``, ``tile``, ``path``, ``nInputs``, ``coverage`` (fraction) and ``fwhm_arcsec``; for one that
        is ingested also its ``collection`` and ``source``.
    inputs : iterable of mapping
        Rows of ``template_input``.
    """
    from astra.database.engine import transaction
    from astra.database.templates import write_template_row
    from astra.tasks.runner import utc_now

    row = {
        **{name: values[name] for name in ("band", "tile", "path", "coverage", "fwhm_arcsec")},
        **{name: values.get(name, "") for name in ("collection", "source")},
        "instrument": task.param_kwargs["instrument"],
        "tile_order": tiles.order,
        "pixel_scale_arcsec": tiles.pixel_scale_arcsec,
        "task_id": task.task_id,
        "n_inputs": values["nInputs"],
        "created": utc_now(),
    }
    with transaction(task.database_url) as connection:
        write_template_row(connection, row, inputs)


def forget_others(task: AstraTask, paths: set[str]) -> None:
    """Remove the rows of templates that a single task wrote once, and not among some paths this time."""
    from astra.database.engine import transaction
    from astra.database.templates import forget_templates

    with transaction(task.database_url) as connection:
        forget_templates(connection, task.task_id, paths)


def find_ingested(
    url: str, instrument: str, name: str, band: str, image: tuple[WCS, tuple[int, int]]
) -> list[Any]:
    """Return the rows of the templates of a collection that an image lies on.

    Of a file that was ingested more than once it is what was made of it last.

    Parameters
    ----------
    url : str
        Of the database.
    instrument, name, band : str
        Camera, collection and band.
    image : tuple
        WCS and shape ``(ny, nx)`` [pixel].

    Raises
    ------
    MissingDataError
        If there is no such collection, or none of its templates is in the band.
    NoOverlapError
        If the image lies on none of them.
    """
    from astra.database.engine import reading
    from astra.database.templates import collections_of, divisions_of, templates_on_tiles
    from astra.sky.sky_tiles import sky_tiles

    with reading(url) as connection:
        divisions = divisions_of(connection, instrument, band, name)
        if not divisions:
            known = ", ".join(f"{one} ({its})" for one, its in collections_of(connection, instrument))
            message = (
                f"no template in {band} is ingested as {name!r} for {instrument}; known are {known or 'none'}"
            )
            raise MissingDataError(message, template_name=name, band=band)
        tiles = {(order, scale): sky_tiles(scale, order).overlapping(*image) for order, scale in divisions}
        rows = templates_on_tiles(connection, instrument, tiles, band=band, collection=name)
    latest: dict[str, str] = {}
    rows = [row for row in rows if latest.setdefault(row.source, row.task_id) == row.task_id]
    if not rows:
        message = f"none of the templates in {band} that are ingested as {name!r} covers the image"
        raise NoOverlapError(message, template_name=name, band=band)
    return rows
