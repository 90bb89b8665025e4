"""What a reliability model is trained on: simulated and real pairs of exposures, and labelled detections."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import DataError

if TYPE_CHECKING:
    from astra.images.exposure import Exposure
    from astra.images.reliability_sampling import Examples
    from astra.products.reliability_labels import Labels
    from astra.tasks.diffim import DiffIm
    from astra.tasks.get_template import GetTemplate
    from astra.tasks.process_ccd import ProcessCcd

INSTRUMENT = "simcam"


@dataclass(frozen=True)
class TrainingPair:
    """Two exposures of one piece of sky.

    Parameters
    ----------
    name : str
        For messages.
    science, template : Exposure
        Calibrated [nJy], on grids of their own.
    sources : structured ndarray
        What was measured on the science image.
    known : float64 ndarray, shape (m, 2), optional
        Where the two really differ, x and y on the science image [pixel]; None if nobody knows.
    """

    name: str
    science: Exposure
    template: Exposure
    sources: NDArray[Any]
    known: NDArray[np.float64] | None


def simulated_pairs(folder: Path, seed: int, seeing: float = 1.0) -> Iterator[TrainingPair]:
    """Simulate a night, calibrate its frames, and pair each science frame with the template.

    Parameters
    ----------
    folder : Path
        Where the raw files are while they are needed; removed in the end.
    seed : int
        Seed of the sky, the camera and the noise.
    seeing : float, optional
        Factor of the seeing; 1 is a FWHM of about 3 pixel.
    """
    from astra.images.coadd import coadd_exposures
    from astra.images.process_ccd import process_ccd
    from astra.instruments.registry import get_instrument
    from astra.products.catalogs import read_catalog
    from astra.products.reference_catalog import read_reference_catalog
    from astra.simulation.night import LOWER_ROW, simulate_night

    try:
        night = simulate_night(folder, seed, seeing=seeing)
        truth = read_catalog(night.truth_path)
        camera = get_instrument(INSTRUMENT)
        reference = read_reference_catalog(night.reference_catalog_path, "r")
        for detector in LOWER_ROW:
            raws = [path for path in night.raw_paths if path.stem.endswith(f"_{detector}")]
            results = [process_ccd(camera.load(path, detector), reference) for path in raws]
            by_visit = {result.calexp.info.visit: result for result in results}
            template = coadd_exposures([by_visit[visit].calexp for visit in night.template_visits])
            for visit in night.science_visits:
                found, rows = (
                    by_visit[visit],
                    truth[(truth["visit"] == visit) & (truth["detector"] == detector)],
                )
                known = np.stack([rows["x"], rows["y"]], axis=1).astype(float)
                name = f"simulation {seed}, visit {visit}, detector {detector}"
                yield TrainingPair(name, found.calexp, template, found.sources, known)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_pair(calexp: ProcessCcd, template: GetTemplate, known_sources: str) -> TrainingPair:
    """Read a visit and its template from the products of their tasks.

    Parameters
    ----------
    calexp, template : tasks
        Done.
    known_sources : str
        Table with ``ra`` and ``dec`` [deg] of what really differs; empty if there is none.
    """
    from astra.products.catalogs import read_catalog
    from astra.products.exposures import read_exposure
    from astra.products.reliability_labels import read_positions

    science = read_exposure(calexp.path("calexp"))
    known = None
    if known_sources:
        wcs: Any = science.wcs
        known = np.stack(wcs.all_world2pix(*read_positions(known_sources), 0), axis=1)
    return TrainingPair(
        name=f"{calexp.instrument}, visit {calexp.visit}, detector {calexp.detector}",
        science=science,
        template=read_exposure(template.path("template")),
        sources=read_catalog(calexp.path("src")),
        known=known,
    )


def labelled_frames(
    labels: Labels, path: str, tasks: Sequence[tuple[DiffIm, ProcessCcd]]
) -> Iterator[tuple[str, Examples]]:
    """Take the detections of some frames that have labels.

    Parameters
    ----------
    labels : Labels
        Of any detections, each of which must be on one of the frames.
    path : str
        Where the labels are from, for messages.
    tasks : sequence of (DiffIm, ProcessCcd)
        Done, for each frame.

    Yields
    ------
    name : str
        Of the frame.
    examples : Examples
        Its labelled detections.

    Raises
    ------
    DataError
        If a label is of a detection on none of the frames.
    """
    from astra.images.reliability_sampling import Examples
    from astra.instruments.registry import get_instrument

    found = np.zeros(len(labels.ids), dtype=bool)
    for group, (diffim, calexp) in enumerate(tasks):
        instrument = get_instrument(diffim.instrument)
        packed = instrument.pack_visit_detector(diffim.visit, diffim.detector)
        features, snr = _features_of(diffim, calexp)
        rows = source_rows(labels.ids, packed, len(features), instrument.ccd_exposure_id_bits)
        here = rows >= 0
        found |= here
        name = f"{diffim.instrument}, visit {diffim.visit}, detector {diffim.detector}, labelled"
        chosen = rows[here]
        groups = np.full(len(chosen), group, dtype=np.int64)
        yield name, Examples(features[chosen], labels.labels[here], snr[chosen], groups)
    if not found.all():
        lost = labels.ids[~found]
        message = (
            f"{path} has labels of {len(lost)} detections that are on none of the {len(tasks)} named frames, "
            f"first of diaSourceId {lost[0]}; name the visits and detectors that they are of"
        )
        raise DataError(message, n_lost=len(lost), diaSourceId=int(lost[0]))


def source_rows(
    ids: NDArray[np.int64], packed: int, n_sources: int, ccd_exposure_id_bits: int = 38
) -> NDArray[np.int64]:
    """Rows in the catalogue of a visit and detector of detections, -1 for those of others.

    The counter in a ``diaSourceId`` is the number of the row, from 1.
    """
    from astra.sky.identifiers import unpack_source_id

    rows = np.full(len(ids), -1, dtype=np.int64)
    for index, source_id in enumerate(ids):
        _, place, counter = unpack_source_id(int(source_id), ccd_exposure_id_bits=ccd_exposure_id_bits)
        if place == packed and 1 <= counter <= n_sources:
            rows[index] = counter - 1
    return rows


def _features_of(diffim: DiffIm, calexp: ProcessCcd) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Features and signal to noise of all detections of a frame."""
    from astra.images.reliability_features import reliability_features
    from astra.products.catalogs import read_catalog
    from astra.products.exposures import read_exposure

    dia_sources = read_catalog(diffim.path("diaSrc"))
    difference, template = (read_exposure(diffim.path(kind)) for kind in ("diffexp", "matchedTemplate"))
    science = read_exposure(calexp.path("calexp"))
    features = reliability_features(dia_sources, difference, science, template)
    return features, dia_sources["snr"].astype(float)
