"""Package alerts: one file of packets for each detector of each visit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from astra.errors import ConfigError
from astra.tasks.associated import AssociatedTask
from astra.tasks.association import Associate
from astra.tasks.batch import per_member
from astra.tasks.diffim import DiffIm
from astra.tasks.get_template import GetTemplate
from astra.tasks.parameters import PathParameter
from astra.tasks.process_ccd import ProcessCcd

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astra.alerts.cutout_batch import StampCutter
    from astra.alerts.cutout_headers import CutoutConfig
    from astra.alerts.encoder import AlertBatch, Chosen, Related
    from astra.database.alert_rows import AlertColumns, History

SRC, REFERENCE = "src", "reference"
NEIGHBOUR_ARCSEC = 120.0  # over which the depth of a visit is nearly the same


class PackageAlerts(AssociatedTask):
    """Write an alert for every associated detection, with its history and cutouts.

    Product: ``<visit>_<detector>.avro`` in ``alerts`` below the root, or in another folder.
    """

    alert_schema = luigi.Parameter(
        default="11.1",
        description="Version of the schema: 11.1, 11.0 or 10.0 of Rubin, or astra-1.0, which is 11.1 and "
        "then upper limits and the nearest stars and galaxies.",
    )
    history_days = luigi.FloatParameter(
        default=365.25, description="How far the history of an object looks back [d]."
    )
    cutout_size = luigi.OptionalIntParameter(
        default=None,
        description="Side of all cutouts [pixel]; by default that of the footprint, from 30 to 102.",
    )
    use_average_psf = luigi.BoolParameter(
        default=False,
        description="Whether all cutouts have the PSF of the middle of the image, not that of their place.",
    )
    alert_write_location = PathParameter(
        default="", description="Folder of the files of alerts; alerts below the root if empty."
    )
    nearby_catalogs = luigi.Parameter(
        default=SRC,
        description="With astra-1.0: catalogues of the nearest stars and galaxies, separated by commas: src "
        "(the sources of the same exposure), reference (the reference catalogue).",
    )
    nearby_radius_arcsec = luigi.FloatParameter(
        default=30.0, description="With astra-1.0: largest distance of a star or galaxy [arcsec]."
    )
    n_nearest = luigi.IntParameter(
        default=3, description="With astra-1.0: how many stars, and galaxies, of each catalogue are listed."
    )

    step = "diaPipe"
    kinds: ClassVar[tuple[str, ...]] = ("alerts",)

    @per_member
    def requires(self) -> dict[str, luigi.Task]:
        """Associate the detections; cutouts come from the images that they were found on."""
        return {
            "associate": self.require(Associate),
            "diffim": self.require(DiffIm),
            "template": self.require(GetTemplate),
            "calexp": self.require(ProcessCcd),
        }

    def stale_ids(self) -> set[str]:
        """Return the ids of members whose association another task has replaced since."""
        stale = self.require(Associate).stale_ids()
        if not stale:
            return set()
        return {
            member.task_id for member in self.get_batch_tasks() if member.require(Associate).task_id in stale
        }

    def path(self, kind: str) -> Path:
        """Path of the alerts of a single task; there is one association, so one file."""
        from astra.products.layout import alert_path

        path = alert_path(self.root, self.visit, self.detector)
        return Path(self.alert_write_location) / path.name if self.alert_write_location else path

    def run(self) -> None:
        """Read the rows and the images, and write the packets."""
        self.sweep()  # once: all alerts lie in one folder
        for task in self.pending_tasks():
            with task.recording():
                task.check()
                batch = task.load_batch()
                cutters = task.load_cutters()
                with task.timer("package"):
                    n_alerts = task.write(batch, cutters)
                task.add_figures("package", {"nAlerts": n_alerts})
                task.record_timing(batch)

    def record_timing(self, batch: AlertBatch) -> None:
        """Note when the alerts of a single task were written."""
        from astropy.time import Time

        from astra.database.alert_timing import record_written
        from astra.database.engine import transaction

        names = ("diaSourceId", "midpointMjdTai", "exposureTime", "timeProcessedMjdTai")
        columns = zip(*(batch.dia_sources[name].tolist() for name in names), strict=True)
        rows = [dict(zip(names, values, strict=True)) for values in columns]
        place = (self.instrument, self.visit, self.detector)
        with transaction(self.database_url) as connection:
            record_written(connection, place, rows, float(Time.now().tai.mjd))

    def check(self) -> None:
        """Refuse parameters that no packet can be made with.

        Raises
        ------
        ConfigError
            If one is impossible.
        AlertError
            If there is no such schema.
        """
        from astra.alerts.schemas import load_schema

        if not self.history_days >= 0:
            raise ConfigError(f"history_days must not be negative, found {self.history_days} [d]")
        unknown = sorted(set(self.nearby_names()) - {SRC, REFERENCE})
        if unknown:
            message = f"nearby_catalogs can be {SRC} and {REFERENCE}, found {', '.join(unknown)}"
            raise ConfigError(message, nearby_catalogs=self.nearby_catalogs)
        try:
            load_schema(self.alert_schema)
        except ValueError as exc:
            raise ConfigError(f"alert_schema: {exc}", alert_schema=self.alert_schema) from exc

    def nearby_names(self) -> list[str]:
        """Names of the catalogues of stars and galaxies."""
        return [name.strip() for name in self.nearby_catalogs.split(",") if name.strip()]

    def write(self, batch: AlertBatch, cutters: dict[str, StampCutter]) -> int:
        """Write the packets of a single task; return how many."""
        from astra.alerts.encoder import encode_alerts
        from astra.alerts.files import write_encoded

        packets = encode_alerts(batch, cutters, version=self.alert_schema)
        return write_encoded(self.path("alerts"), packets, version=self.alert_schema)

    def cutout_config(self) -> CutoutConfig:
        """Return how cutouts are made.

        Raises
        ------
        ConfigError
            If their side is not positive.
        """
        from astra.alerts.cutout_headers import CutoutConfig
        from astra.instruments.registry import get_instrument

        rotation = get_instrument(self.instrument).detector(self.detector).rotation_deg
        try:
            return CutoutConfig(self.cutout_size, self.use_average_psf, rotation)
        except ValueError as exc:
            raise ConfigError(f"cutout_size: {exc}", cutout_size=self.cutout_size) from exc

    def load_cutters(self) -> dict[str, StampCutter]:
        """Read the images of a single task."""
        from astra.alerts.cutout_batch import StampCutter
        from astra.images.injection import refuse_injected
        from astra.products.exposures import read_exposure

        required, config = self.requires(), self.cutout_config()
        paths = {
            "difference": required["diffim"].path("diffexp"),
            "science": required["calexp"].path("calexp"),
            "template": required["template"].path("template"),
        }
        images = {name: read_exposure(path) for name, path in paths.items()}
        refuse_injected(*images.values())
        return {name: StampCutter(image, config) for name, image in images.items()}

    def load_batch(self) -> AlertBatch:
        """Read the rows of a single task.

        Raises
        ------
        MissingDataError
            If it has not been associated.
        """
        from astra.alerts.schemas import extra_fields
        from astra.database.alert_rows import load_alert_columns, load_neighbour_history
        from astra.database.engine import reading
        from astra.database.survey import get_visit, visit_system_id
        from astra.tasks.alert_batches import make_batch

        has_extra, neighbours = bool(extra_fields(self.alert_schema)), None
        with reading(self.database_url) as connection:
            alerts = load_alert_columns(
                connection, self.instrument, self.visit, self.detector, history_days=self.history_days
            )
            if has_extra:
                neighbours = load_neighbour_history(
                    connection, alerts, NEIGHBOUR_ARCSEC, history_days=self.history_days
                )
            system = visit_system_id(connection, self.visit_system)
            visit = get_visit(connection, self.instrument, self.visit, system)
        return make_batch(
            alerts,
            observation_reason=getattr(visit, "observation_reason", None),
            target_name=getattr(visit, "target_name", None),
            extra={} if neighbours is None else self.own_lists(alerts, neighbours),
            bodies=self.bodies(alerts),
        )

    def bodies(self, alerts: AlertColumns) -> Chosen | None:
        """Return the geometry of a single task's solar-system bodies; None without any."""
        from astra.instruments.registry import get_instrument
        from astra.sky.ephemerides import observer_position
        from astra.tasks.alert_batches import make_bodies
        from astra.tasks.solar_system import expected_bodies

        if not alerts.dia_sources["ssObjectId"].any():
            return None
        associate, time = self.requires()["associate"], alerts.marker.midpointMjdTai
        expected = expected_bodies(self.instrument, self.visit, time, associate.ephemeris, associate.orbits)
        observer = observer_position(time, get_instrument(self.instrument).observatory)
        return make_bodies(alerts, expected, observer)

    def own_lists(self, alerts: AlertColumns, neighbours: History) -> dict[str, Related]:
        """Return what only our own schema has, for a single task."""
        from astra.alerts.nearby import NearbyConfig, nearest_sources
        from astra.tasks.alert_batches import make_upper_limits

        try:
            config = NearbyConfig(self.nearby_radius_arcsec, self.n_nearest)
        except ValueError as exc:
            raise ConfigError(str(exc)) from exc
        ra, dec = (alerts.dia_sources[name].data for name in ("ra", "dec"))
        band = alerts.marker.band
        catalogs = [self.nearby_catalog(name, band) for name in self.nearby_names()]
        lists: dict[str, Any] = nearest_sources(ra, dec, catalogs, config)
        return lists | {"upperLimits": make_upper_limits(alerts, neighbours)}

    def nearby_catalog(self, name: str, band: str) -> NDArray[np.void]:
        """Read a catalogue of stars and galaxies round a single task's detector.

        Raises
        ------
        ConfigError
            If it is the reference catalogue, and none is named.
        """
        from astra.alerts.nearby import nearby_catalog
        from astra.products.catalogs import read_catalog
        from astra.products.exposures import read_exposure_wcs
        from astra.products.reference_catalog import image_region, read_reference_catalog

        calexp = self.requires()["calexp"]
        if name == SRC:
            table = read_catalog(calexp.path(SRC))
            table = table[table["extendedness"] >= 0]  # NaN where the shape is not known
            return nearby_catalog(SRC, table, table["extendedness"] < 0.5, band, "psfFlux")
        if not self.reference_catalog:
            raise ConfigError("nearby_catalogs has reference, but no reference_catalog is named")
        region = image_region(*read_exposure_wcs(calexp.path("calexp")), self.nearby_radius_arcsec)
        table = read_reference_catalog(self.reference_catalog, band, region=region)
        return nearby_catalog(REFERENCE, table, table["isStar"], band)
