"""Take templates that were made elsewhere, and put them on the tiles of the sky."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import ConfigError, NoOverlapError
from astra.tasks.base import AstraTask
from astra.tasks.parameters import PathParameter
from astra.tasks.template_rows import forget_others
from astra.tasks.template_rule import tiles_of_camera
from astra.tasks.tile_coadd import coadd_on, write_template

if TYPE_CHECKING:
    from astra.images.exposure import Exposure
    from astra.products.template_source import TemplateSource
    from astra.sky.sky_tiles import SkyTiles, Tile


class IngestTemplate(AstraTask):
    """Take a FITS image of any software as a template, under the name of a collection.

    It is resampled onto the tiles of the sky; ``--template-name`` of ApPipe, DiffIm and GetTemplate chooses
    the collection. A place is the name or number of an extension, a file, or both as in FILE[EXT]. A file
    without WCS or zero point, of another band, or without a usable pixel is refused by name.
    """

    instrument = luigi.Parameter(description="Camera that the template is for, e.g. sdss.")
    path = PathParameter(batch_method=tuple, description="FITS file.")
    band = luigi.Parameter(batch_method=tuple, description="Band, e.g. r.")
    name = luigi.Parameter(batch_method=tuple, description="Name of the collection that it belongs to.")
    image = luigi.Parameter(default="", description="Extension of the image; by default the first.")
    variance = luigi.Parameter(
        default="",
        batch_method=tuple,
        description="Place of the variance [count**2]; by default an extension VARIANCE or VAR.",
    )
    weight = luigi.Parameter(
        default="",
        batch_method=tuple,
        description="Place of the inverse variance [1/count**2]; by default extension WEIGHT, WHT or IVAR.",
    )
    noise = luigi.OptionalFloatParameter(
        default=None, description="1-sigma of the noise in every pixel, in place of these [count]."
    )
    mask = luigi.Parameter(
        default="", batch_method=tuple, description="Place of a mask, not zero where pixels are bad."
    )
    njy_per_count = luigi.OptionalFloatParameter(default=None, description="Flux of one count [nJy].")
    zero_point_mag = luigi.OptionalFloatParameter(
        default=None, description="AB magnitude of one count [mag]; by default BUNIT tells the flux."
    )
    zero_point_key = luigi.Parameter(
        default="", description="Header key with the AB magnitude of one count [mag], e.g. MAGZERO."
    )
    psf = luigi.Parameter(
        default="", batch_method=tuple, description="Place of a stamp of the PSF, in pixels of the image."
    )
    psf_fwhm_arcsec = luigi.OptionalFloatParameter(
        default=None, description="FWHM of a Gaussian PSF [arcsec]; by default its stars tell the PSF."
    )
    sky_tile_order = luigi.OptionalIntParameter(
        default=None, description="HEALPix order of the tiles of the sky; by default that of the camera."
    )

    def output(self) -> Any:
        """Return the list of the tiles; for a batch, those of all members."""
        from astra.products.layout import template_manifest_path

        if self.is_batch_mode:
            return [member.output() for member in self.get_batch_tasks()]
        return {
            "manifest": luigi.LocalTarget(
                str(template_manifest_path(self.root, self.instrument, self.task_id))
            )
        }

    def input_files(self) -> list[str | Path]:
        """Return the file of a single task, and those that its other parameters name."""
        places = (self.variance, self.weight, self.mask, self.psf)
        files = [Path(place.partition("[")[0]) for place in places if place]
        return [self.path, *(file for file in files if file.is_file())]

    def run(self) -> None:
        """Read each file, and write what it makes on the tiles."""
        from astra.products.atomic import write_text

        for task in self.pending_tasks():
            with task.recording():
                template = task.read()
                with task.timer("resample"):
                    written = task.put_on_tiles(template)
                forget_others(task, set(written.values()))
                write_text(task.output()["manifest"].path, json.dumps(written, indent=1))

    def source(self) -> TemplateSource:
        """Return how the file of a single task is read.

        Raises
        ------
        ConfigError
            If parameters contradict each other, or the camera is unknown.
        """
        from astra.instruments.registry import get_instrument
        from astra.products.template_source import TemplateSource

        get_instrument(self.instrument)  # a name that no camera has would never be found again
        if not self.name:
            raise ConfigError("the collection of an ingested template needs a name, found none")
        for names in (("njy_per_count", "zero_point_mag", "zero_point_key"), ("psf", "psf_fwhm_arcsec")):
            given = [name for name in names if getattr(self, name) not in {None, ""}]
            if len(given) > 1:
                raise ConfigError(f"give one of {' and '.join(given)}, which say the same", given=given)
        fields = TemplateSource.__dataclass_fields__
        return TemplateSource(**{name: getattr(self, name) for name in fields})

    def read(self) -> Exposure:
        """Read the file of a single task, and measure its PSF if nothing tells it."""
        from astra.images.injection import refuse_injected
        from astra.products.template_source import read_template_source, with_measured_psf

        template = read_template_source(self.path, self.source())
        refuse_injected(template)
        if template.psf is not None:
            return template
        with self.timer("psf"):
            return with_measured_psf(template, self.path)

    def put_on_tiles(self, template: Exposure) -> dict[int, str]:
        """Write a template on each tile that it has pixels on; return the files.

        Raises
        ------
        NoOverlapError
            If there is none.
        """
        tiles = tiles_of_camera(self.instrument, self.sky_tile_order)
        written = {}
        for number in tiles.touching(template.wcs, template.shape):
            path = self._put_on_tile(template, tiles, tiles.tile(number))
            if path:
                written[number] = path
        if not written:
            raise NoOverlapError(f"template {self.path} has no good pixel on any tile", path=self.path)
        self.add_figures("ingest", {"nTiles": len(written)})
        return written

    def _put_on_tile(self, template: Exposure, tiles: SkyTiles, tile: Tile) -> str:
        """Write a template on one tile; return the file, empty if it has no pixel there."""
        from astra.images.coadd import CoaddInput
        from astra.products.layout import template_path

        inputs, images = [CoaddInput(self.path, lambda: template)], [(template.wcs, template.shape)]
        try:
            coadd = coadd_on(tile, inputs, images, f"tile {tile.number}")
        except NoOverlapError:
            return ""
        path = str(template_path(self.root, self.instrument, tile.number, self.task_id))
        values = {"band": self.band, "path": path, "nInputs": 1}
        write_template(self, tiles, coadd, {**values, "collection": self.name, "source": self.path})
        return path
