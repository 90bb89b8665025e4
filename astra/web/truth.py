"""What was simulated, where that is known: which detections of a visit are of it, and what was missed."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import DataError
from astra.web.formats import significant
from astra.web.mosaic import Mark
from astra.web.plots import AB_ZERO_POINT

if TYPE_CHECKING:
    from astra.database.pages.places import Detection
    from astra.database.pages.visits import DetectorRow

FOLDER = "simulation"  # below the root: tables of transients, and of all else that changes
TRANSIENTS, CHANGING = "truth.fits", "changing.fits"
COLUMNS = ("visit", "detector", "ra", "dec", "flux")
RADIUS_ARCSEC = 1.0
MIN_SNR = 7.0  # from which on a transient ought to be found
LIMIT = "DiffIm:subtract.diffimLimitingMagnitude"
LIMIT_SIGMA = 5.0


@dataclass(frozen=True)
class Judged:
    """Detections of a visit beside what was simulated.

    Parameters
    ----------
    kinds : mapping of int to str
        By ``diaSourceId``: ``found`` (a transient), ``known`` (what else changes), or ``false``.
    missed : sequence of Mark
        Transients that ought to be found, and are not.
    n_expected, n_found : int
        Transients whose true flux is above `MIN_SNR`, and those of them that are detected.
    """

    kinds: Mapping[int, str] = field(default_factory=dict)
    missed: Sequence[Mark] = ()
    n_expected: int = 0
    n_found: int = 0

    @property
    def n_false(self) -> int:
        """Detections of nothing that changes."""
        return sum(kind == "false" for kind in self.kinds.values())

    @property
    def n_known(self) -> int:
        """Detections of what changes and is no transient."""
        return sum(kind == "known" for kind in self.kinds.values())


def judge_visit(
    root: Path | str, visit: int, detectors: Mapping[int, DetectorRow], detections: Sequence[Detection]
) -> Judged | None:
    """Compare the detections of a visit with the tables of what was simulated.

    Parameters
    ----------
    root : Path or str
        Folder of products.
    visit : int
        Which visit.
    detectors : mapping of int to DetectorRow
        Those that were subtracted: the limit of each tells what ought to be found.
    detections : sequence of Detection
        Of the visit.

    Returns
    -------
    judged : Judged or None
        None where nothing of the visit was simulated, or its tables cannot be read.
    """
    transients, changing = (_rows_of(Path(root) / FOLDER / name, visit) for name in (TRANSIENTS, CHANGING))
    if transients is None:
        return None
    near = _near(transients, detections)
    also_near = _near(changing, detections) if changing is not None else near[:0]
    limits = {number: _flux_error(row) for number, row in detectors.items()}
    errors = np.array([limits.get(int(number), np.inf) for number in transients["detector"]])
    snr = np.abs(transients["flux"]) / errors
    is_expected, is_found = snr > MIN_SNR, near.any(axis=1)
    kinds = {
        one.dia_source_id: "found" if mine else "known" if others else "false"
        for one, mine, others in zip(
            detections, np.any(near, axis=0).tolist(), np.any(also_near, axis=0).tolist(), strict=True
        )
    }
    missed = [_missed(row, ratio) for row, ratio in _pairs(transients, snr, is_expected & ~is_found)]
    return Judged(kinds, missed, int(is_expected.sum()), int((is_expected & is_found).sum()))


def _pairs(
    rows: NDArray[Any], snr: NDArray[np.float64], wanted: NDArray[np.bool_]
) -> list[tuple[Any, float]]:
    return list(zip(rows[wanted], snr[wanted].tolist(), strict=True))


def _missed(row: Any, snr: float) -> Mark:
    hint = f"a transient of S/N {significant(snr)} was simulated here, and not found"
    return Mark(float(row["ra"]), float(row["dec"]), hint=hint, kind="missed")


def _flux_error(detector: DetectorRow) -> float:
    """Error of a flux on the difference [nJy], by its limit of 5 sigma; infinite where it is not known."""
    limit = detector.figures.get(LIMIT)
    if not isinstance(limit, (int, float)) or not np.isfinite(limit):
        return float(np.inf)
    return float(10.0 ** ((AB_ZERO_POINT - limit) / 2.5) / LIMIT_SIGMA)


def _rows_of(path: Path, visit: int) -> NDArray[Any] | None:
    """Rows of a table that are of a visit; None without such a table, or without a row."""
    try:
        rows = _read(str(path), path.stat().st_mtime_ns)
    except (DataError, OSError):
        return None
    here = rows[rows["visit"] == visit] if set(COLUMNS) <= set(rows.dtype.names or ()) else rows[:0]
    return here if len(here) else None


@functools.lru_cache(maxsize=8)
def _read(path: str, _modified_ns: int) -> NDArray[Any]:
    from astra.products.catalogs import read_catalog

    return read_catalog(path)


def _near(rows: NDArray[Any], detections: Sequence[Detection]) -> NDArray[np.bool_]:
    """Say which detections lie on which rows, shape (n_rows, n_detections)."""
    ra, dec = (np.array([getattr(one, name) for one in detections], float) for name in ("ra", "dec"))
    east = (ra[None, :] - rows["ra"][:, None] + 180.0) % 360.0 - 180.0
    east = east * np.cos(np.radians(rows["dec"][:, None]))
    distance = np.hypot(east, dec[None, :] - rows["dec"][:, None]) * 3600.0
    near: NDArray[np.bool_] = distance <= RADIUS_ARCSEC
    return near
