"""Ingest raw frames: a row for each exposure, and one for the raw file of each detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import luigi

from astra.errors import DataError, MissingDataError
from astra.tasks.base import AstraTask
from astra.tasks.parameters import PathParameter
from astra.tasks.runner import utc_now


class IngestRaws(AstraTask):
    """Ingest a raw file, or all raws of the camera below a folder.

    Running again ingests what is new or has changed; what is there already is left alone.
    """

    instrument = luigi.Parameter(description="Camera name, e.g. sdss.")
    path = PathParameter(batch_method=tuple, description="Raw file, or folder of raws.")

    def run(self) -> None:
        """Read the headers and write the rows, one transaction for each path."""
        from astra.database.engine import transaction
        from astra.database.survey import ingest_raw, note_files
        from astra.instruments.registry import get_instrument

        camera = get_instrument(self.instrument)
        for task in self.pending_tasks():
            with task.recording():
                frames, refused = _read_frames(camera, task.raw_files())
                with transaction(task.database_url) as connection:
                    for exposure, raw in frames:
                        ingest_raw(connection, exposure, raw)
                    note_files(connection, [raw for _, raw in frames], utc_now())
                task.add_figures("ingest", {"nRaws": len(frames), "nRefused": len(refused)})
                if refused:
                    raise DataError(
                        f"{len(refused)} of {len(refused) + len(frames)} raws below {task.path} are refused, "
                        f"the others are ingested; the first: {refused[0]}",
                        path=task.path,
                        n_refused=len(refused),
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
        from astra.database.survey import raw_stamps

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


def _read_frames(camera: Any, files: list[Path]) -> tuple[list[tuple[Any, Any]], list[str]]:
    """Read the headers of raws: rows of (exposure, raw), and why some are refused."""
    frames, refused = [], []
    for file in files:
        try:
            frames += [_rows(frame) for frame in camera.read_frames(file)]
        except DataError as exc:
            if len(files) == 1:
                raise
            refused.append(str(exc))
    return frames, refused


def _rows(frame: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows of ``exposure`` and ``raw`` of one frame."""
    from astra.products.atomic import checksum
    from astra.sky.regions import convex_hull, encode

    key = {"instrument": frame.instrument, "exposure": frame.exposure}
    names = (
        "obs_id day_obs seq_num band physical_filter begin_mjd_tai end_mjd_tai exposure_time_s "
        "observation_type observation_reason target_name science_program group_name tracking_ra tracking_dec "
        "can_see_sky"
    )
    exposure = {
        **key,
        **{name: getattr(frame, name) for name in names.split()},
        "seq_start": frame.seq_num if frame.seq_start is None else frame.seq_start,
        "seq_end": frame.seq_num if frame.seq_end is None else frame.seq_end,
        "dark_time": frame.dark_time_s,
        "sky_angle": frame.sky_angle_deg,
        "azimuth": frame.azimuth_deg,
        "zenith_angle": frame.zenith_angle_deg,
    }
    status = frame.path.stat()
    raw = {
        **key,
        "detector": frame.detector,
        "path": str(frame.path),
        "size": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "checksum": checksum(frame.path),
        "region": encode(convex_hull(frame.corners[:, 0], frame.corners[:, 1])),
    }
    return exposure, raw
