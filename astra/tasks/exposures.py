"""Ingest raw frames: a row for each exposure, and one for the raw image of each detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from astra.errors import DataError, MissingDataError
from astra.tasks.base import AstraTask
from astra.tasks.parameters import PathParameter
from astra.tasks.recording import logger
from astra.tasks.runner import utc_now

if TYPE_CHECKING:
    from astra.database.raws import Ingested, RawFile
    from astra.instruments.base import Instrument, RawFrame

ALL_RAWS = "raw/all"
_COLUMNS = (
    "obs_id",
    "day_obs",
    "seq_num",
    "band",
    "physical_filter",
    "begin_mjd_tai",
    "exposure_time_s",
    "observation_type",
    "observation_reason",
    "target_name",
    "science_program",
    "group_name",
    "can_see_sky",
)
_RENAMED = {
    "tracking_ra": "tracking_ra",
    "tracking_dec": "tracking_dec",
    "sky_angle": "sky_angle_deg",
    "azimuth": "azimuth_deg",
    "zenith_angle": "zenith_angle_deg",
    "dark_time": "dark_time_s",
}


class IngestRaws(AstraTask):
    """Ingest a raw file, or all raws of the camera below a folder; a file may hold several detectors.

    Running again ingests what is new or has changed; what is there already is left alone. A file that is cut
    off, of another camera, or contradicts others is refused by name, and the rest goes in.
    """

    instrument = luigi.Parameter(description="Camera name, e.g. sdss.")
    path = PathParameter(batch_method=tuple, description="Raw file, or folder of raws.")
    collection = luigi.Parameter(
        default=ALL_RAWS, description="Name of the collection of raws that they become members of."
    )

    selecting_params: ClassVar[frozenset[str]] = frozenset({"collection"})

    def run(self) -> None:
        """Read the headers and write the rows, one transaction for each path."""
        from astra.database.engine import transaction
        from astra.database.raws import ingest_files
        from astra.instruments.registry import get_instrument

        camera = get_instrument(self.instrument)
        for task in self.pending_tasks():
            with task.recording():
                paths = task.raw_files()
                files, refused = _read_files(camera, paths)
                with transaction(task.database_url) as connection:
                    result = ingest_files(connection, files, utc_now(), task.collection)
                task._finish(result, refused, len(paths))  # noqa: SLF001  # of this very class

    def _finish(self, result: Ingested, refused: dict[str, DataError], n_files: int) -> None:
        """Keep the figures, and name each file that was refused."""
        errors = refused | {path: DataError(text, path=path) for path, text in result.refused.items()}
        self.add_figures(
            "ingest",
            {
                "nFiles": n_files,
                "nRaws": result.n_raws,
                "nWritten": result.n_written,
                "nRefused": len(errors),
                "refused": sorted(errors),
            },
        )
        for path in sorted(errors):
            logger.error("refused: %s", errors[path])
        if not errors:
            return
        first = errors[min(errors)]
        if n_files == 1:
            raise first
        names = ", ".join(Path(path).name for path in sorted(errors)[:10])
        more = f" and {len(errors) - 10} more" if len(errors) > 10 else ""
        raise DataError(
            f"{len(errors)} of {n_files} raw files below {self.path} are refused, the others are ingested: "
            f"{names}{more}; the first: {first}",
            path=self.path,
            n_refused=len(errors),
            refused=sorted(errors),
        )

    def raw_files(self) -> list[Path]:
        """Return the raw files at the path of a single task.

        Raises
        ------
        MissingDataError
            If the path is not there, or holds no raw of the camera.
        """
        from astra.instruments.registry import get_instrument

        path = Path(self.path)
        if not path.exists():
            message = f"raw file or folder {path} does not exist"
            raise MissingDataError(message, path=str(path))
        files = get_instrument(self.instrument).find_raws(path) if path.is_dir() else [path]
        if not files:
            message = f"folder {path} holds no raw frame of instrument {self.instrument}"
            raise MissingDataError(message, path=str(path))
        return files

    def stale_ids(self) -> set[str]:
        """Return the ids of members with files that are new or have changed."""
        from astra.database.engine import reading
        from astra.database.raws import raw_stamps

        files = {task.task_id: task._known_files() for task in self.get_batch_tasks()}  # noqa: SLF001
        with reading(self.database_url) as connection:
            known = raw_stamps(connection, [str(file) for some in files.values() for file in some])
        return {
            task_id
            for task_id, some in files.items()
            if any(str(file) not in known or not known[str(file)].is_of(file.stat()) for file in some)
        }

    def _known_files(self) -> list[Path]:
        try:
            return self.raw_files()
        except MissingDataError:
            return []  # what is ingested stays so: raws may be archived


def _read_files(camera: Instrument, paths: Sequence[Path]) -> tuple[list[RawFile], dict[str, DataError]]:
    """Read the headers of raws; return them, and why some cannot be used, by path."""
    files, refused = [], {}
    for path in paths:
        try:
            files.append(_read_file(camera, path))
        except DataError as exc:
            refused[str(path)] = exc
        except OSError as exc:
            refused[str(path)] = MissingDataError(f"{path} cannot be read: {exc.strerror}", path=str(path))
    return files, refused


def _read_file(camera: Instrument, path: Path) -> RawFile:
    from astra.database.raws import RawFile
    from astra.products.checksums import FileStamp, with_checksum
    from astra.products.whole_fits import is_fits, require_whole

    status = path.stat()
    if is_fits(path):
        require_whole(path)
    frames = camera.read_frames(path)
    stamp = with_checksum(FileStamp(str(path), status.st_size, status.st_mtime_ns))
    if not stamp.checksum:
        raise DataError(f"{path} has changed while it was read; ingest it again", path=str(path))
    rows = [(exposure_row(frame), _raw_row(frame)) for frame in frames]
    return RawFile(stamp.path, stamp.size, stamp.modified_ns, stamp.checksum, rows)


def exposure_row(frame: RawFrame) -> dict[str, Any]:
    """Return the row of ``exposure`` that one frame makes.

    A time that is not finite is none, and an exposure that ends before it begins ends then.
    """
    begin, end = _finite(frame.begin_mjd_tai), _finite(frame.end_mjd_tai)
    if begin is not None and end is not None and end < begin:
        text = (
            "%s: exposure %s ends at %s [d, MJD TAI], before it begins at %s; the end is taken as the begin"
        )
        logger.warning(text, frame.path, frame.exposure, end, begin)
        end = begin
    return {
        "instrument": frame.instrument,
        "exposure": frame.exposure,
        **{name: getattr(frame, name) for name in _COLUMNS},
        **{name: _finite(getattr(frame, own)) for name, own in _RENAMED.items()},
        "begin_mjd_tai": begin,
        "end_mjd_tai": end,
        "seq_start": frame.seq_num if frame.seq_start is None else frame.seq_start,
        "seq_end": frame.seq_num if frame.seq_end is None else frame.seq_end,
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _raw_row(frame: RawFrame) -> dict[str, Any]:
    from astra.sky.regions import encode
    from astra.sky.visit_regions import corners_region

    region = corners_region(frame.corners)
    return {
        "instrument": frame.instrument,
        "exposure": frame.exposure,
        "detector": frame.detector,
        "region": None if region is None else encode(region),
    }
