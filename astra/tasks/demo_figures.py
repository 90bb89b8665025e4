"""What the demonstration has found, measured against what was simulated."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.alerts.files import read_alerts
from astra.alerts.packet_checks import validate_alert
from astra.errors import AlertError
from astra.images.forced import forced_photometry
from astra.products.exposures import read_exposure

if TYPE_CHECKING:
    from astra.images.exposure import Exposure

MATCH_RADIUS_ARCSEC = 1.0
MIN_SNR = 7.0


@dataclass(frozen=True)
class DetectorResult:
    """What there is of one detector of one visit.

    Parameters
    ----------
    visit, detector : int
        Which.
    difference : Path
        Its difference image.
    alerts : Path
        Its alerts.
    """

    visit: int
    detector: int
    difference: Path
    alerts: Path


@dataclass(frozen=True)
class TransientCounts:
    """Transients that were found, and what else was.

    Parameters
    ----------
    n_injected : int
        Transients that are above `MIN_SNR` in a visit, by their true flux and the noise at their place.
    n_recovered : int
        Those of them with an alert in such a visit.
    n_false : int
        Alerts where nothing has changed.
    """

    n_injected: int
    n_recovered: int
    n_false: int


def count_transients(
    results: Sequence[DetectorResult], truth: NDArray[Any], changing: NDArray[Any]
) -> TransientCounts:
    """Count what was found of the transients, and what else was.

    Parameters
    ----------
    results : sequence of DetectorResult
        Of the visits that count.
    truth, changing : structured ndarray
        Transients, and what else changes, as `astra.simulation.demo_night.DemoNight.write_tables` writes.
    """
    injected: set[int] = set()
    recovered: set[int] = set()
    n_false = 0
    for result in results:
        alerts = read_alerts(result.alerts)
        here, others = (_rows_on(rows, result) for rows in (truth, changing))
        sources = [alert["diaSource"] for alert in alerts]
        bright = here[_true_snr(read_exposure(result.difference), here) > MIN_SNR]
        injected |= set(bright["transient"].tolist())
        recovered |= set(bright["transient"][_near(bright, sources).any(axis=1)].tolist())
        known = _near(here, sources).any(axis=0) | _near(others, sources).any(axis=0)
        n_false += int((~known).sum())
    return TransientCounts(len(injected), len(recovered), n_false)


def count_alerts(paths: Sequence[Path]) -> tuple[int, int]:
    """Return the number of alerts in some files, and of those that do not satisfy their schema."""
    valid = [_is_valid(alert) for path in paths for alert in read_alerts(path)]
    return len(valid), valid.count(False)


def _is_valid(alert: Any) -> bool:
    try:
        validate_alert(alert)
    except AlertError:
        return False
    return True


def _rows_on(rows: NDArray[Any], result: DetectorResult) -> NDArray[Any]:
    here: NDArray[Any] = rows[(rows["visit"] == result.visit) & (rows["detector"] == result.detector)]
    return here


def _true_snr(difference: Exposure, truth: NDArray[Any]) -> NDArray[np.float64]:
    """Return true flux over the error of a flux at the place, shape (n,); 0 without good pixels."""
    if not len(truth):
        return np.zeros(0)
    wcs: Any = difference.wcs
    x, y = wcs.all_world2pix(truth["ra"], truth["dec"], 0)
    error = forced_photometry(difference, x, y)["psfFluxErr"]
    snr: NDArray[np.float64] = np.nan_to_num(np.abs(truth["flux"]) / error, nan=0.0, posinf=0.0)
    return snr


def _near(rows: NDArray[Any], sources: Sequence[dict[str, Any]]) -> NDArray[np.bool_]:
    """Say which detections lie on which rows, shape (n_rows, n_sources)."""
    ra, dec = (np.array([source[name] for source in sources], dtype=float) for name in ("ra", "dec"))
    east = ((ra[None, :] - rows["ra"][:, None] + 180.0) % 360.0 - 180.0) * np.cos(
        np.radians(rows["dec"][:, None])
    )
    near: NDArray[np.bool_] = (
        np.hypot(east, dec[None, :] - rows["dec"][:, None]) * 3600.0 <= MATCH_RADIUS_ARCSEC
    )
    return near


def velocity_errors(truth: Path, measured: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """Return measured less true velocities of visits [km/s], shape (n,).

    Parameters
    ----------
    truth : Path
        Table of `astra.simulation.spectra.SpectralNight`.
    measured : sequence of dict
        Rows of ``radial_velocity``.
    """
    with truth.open(newline="", encoding="utf-8") as stream:
        true = {row["path"]: float(row["v_rad"]) for row in csv.DictReader(stream)}
    return np.array(list(_differences(true, measured)), dtype=float)


def _differences(true: dict[str, float], measured: Sequence[dict[str, Any]]) -> Iterator[float]:
    for row in measured:
        if row["path"] in true and row["v_rad"] is not None:
            yield row["v_rad"] - true[row["path"]]
