"""Coadd on the part of a tile of the sky that the exposures cover, and write it with its row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from astra.errors import NoOverlapError
from astra.tasks.template_rows import register_template

if TYPE_CHECKING:
    from pathlib import Path

    from astropy.wcs import WCS

    from astra.images.coadd import Coadd, CoaddInput
    from astra.sky.sky_tiles import SkyTiles, Tile
    from astra.tasks.base import AstraTask

Images = Sequence[tuple["WCS", tuple[int, int]]]


def coadd_on(tile: Tile, inputs: Sequence[CoaddInput], images: Images, what: str) -> Coadd:
    """Coadd exposures on the part of a tile that they cover.

    Parameters
    ----------
    tile : Tile
        The tile.
    inputs : sequence of CoaddInput
        The exposures.
    images : sequence of (WCS, shape)
        Where they lie, with shapes ``(ny, nx)`` [pixel].
    what : str
        Names the coadd in errors.

    Raises
    ------
    NoOverlapError
        If none has a good pixel on the tile.
    """
    from astra.images.coadd import coadd_onto_tile
    from astra.sky.tile_frames import covered_frame

    frame = covered_frame(tile, images)
    if frame is None:
        message = f"none of {len(images)} exposures reaches {what}"
        raise NoOverlapError(message, n_exposures=len(images), tile=tile.number)
    coadd = coadd_onto_tile(inputs, frame.wcs, frame.shape)
    (y0, x0), metadata = frame.corner, coadd.exposure.metadata
    cards = {"TILE": tile.number, "TILEX0": x0, "TILEY0": y0}
    return replace(coadd, exposure=coadd.exposure.replace(metadata={**metadata, **cards}))


def write_template(
    task: AstraTask,
    tiles: SkyTiles,
    coadd: Coadd,
    values: Mapping[str, Any],
    inputs: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Write a template and its row; return its figures.

    Parameters
    ----------
    task : AstraTask
        A single task.
    tiles : SkyTiles
        Division of the sky.
    coadd : Coadd
        The template.
    values : mapping
        ``band``, ``path``, ``nInputs`` and what else `register_template` needs.
    inputs : iterable of mapping
        Rows of ``template_input``.
    """
    from astra.products.exposures import write_exposure
    from astra.products.template_files import psf_fwhm_arcsec

    template = coadd.exposure
    tile = tiles.tile(int(template.metadata["TILE"]))
    path: Path | str = values["path"]
    write_exposure(path, template)
    figures = {
        "nInputs": values["nInputs"],
        "coverage": float((coadd.coverage > 0).sum() / (tile.shape[0] * tile.shape[1])),
        "fwhm_arcsec": psf_fwhm_arcsec(template.psf, template.wcs, template.shape),
    }
    register_template(task, tiles, {**values, **figures, "tile": tile.number}, inputs)
    return figures
