"""What a search finds of the sources that were injected: completeness, fluxes, positions, false positives.

Errors of completeness are the 68 % intervals of Clopper and Pearson (1934). The depth is where the
completeness, a cumulative Gaussian of magnitude fitted by maximum likelihood, falls to a half or to nine
tenths.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaincinv, erfinv, expit, log_ndtr, ndtr

from astra.images.injection_search import Search, magnitudes_ab
from astra.images.robust import SIGMA_PER_MAD

ONE_SIGMA = 0.6826894921370859
SNR_EDGES = (3.0, 5.0, 7.0, 10.0, 20.0, 50.0, 100.0)
MAG_STEP = 0.5
MIN_FOR_FIT = 10  # injections of which some are found and some are not

EFFICIENCY_DTYPE = np.dtype(
    [
        ("quantity", "U3"),
        *((name, "f8") for name in ("low", "high")),
        *((name, "i8") for name in ("nInjected", "nFound")),
        *((name, "f8") for name in ("completeness", "completenessLow", "completenessHigh")),
        *((name, "f8") for name in ("fluxBias", "fluxBiasErr", "fluxPullMedian", "fluxPullSigma")),
        *((name, "f8") for name in ("positionErrorPixel", "positionPullSigma")),
        *((name, "i8") for name in ("nFalse", "nFalseNew")),
    ]
)


@dataclass(frozen=True)
class Depth:
    """Where the completeness falls, and how steeply.

    Parameters
    ----------
    mag50, mag90 : float
        AB magnitude at which it is a half, and nine tenths, of what it is for bright sources; NaN if unknown.
    mag50_err : float
        1-sigma error of ``mag50``.
    plateau : float
        Completeness of bright sources.
    width_mag : float
        Sigma of the cumulative Gaussian [mag].
    """

    mag50: float
    mag90: float
    mag50_err: float
    plateau: float
    width_mag: float

    def completeness(self, magnitude: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fitted completeness at AB magnitudes."""
        value: NDArray[np.float64] = self.plateau * ndtr((self.mag50 - magnitude) / self.width_mag)
        return value


def binomial_interval(n_found: int, n: int, level: float = ONE_SIGMA) -> tuple[float, float]:
    """Central interval of a probability of which ``n_found`` of ``n`` trials were seen; (0, 1) of none."""
    tail = 0.5 * (1.0 - level)
    low = float(betaincinv(n_found, n - n_found + 1, tail)) if n_found > 0 else 0.0
    high = float(betaincinv(n_found + 1, n - n_found, 1.0 - tail)) if n_found < n else 1.0
    return low, high


def measure_search(search: Search) -> NDArray[np.void]:
    """Tabulate what was found, by signal to noise and by magnitude.

    Parameters
    ----------
    search : Search

    Returns
    -------
    table : structured ndarray, dtype `EFFICIENCY_DTYPE`
        One row per bin of ``snr`` or ``mag``. Fluxes and positions are those of the point sources found:
        ``fluxBias`` is the median of flux over truth less one, pulls in units of the stated errors. False
        detections are binned by their own brightness; ``nFalseNew`` counts those that are not on the
        difference without injected sources.
    """
    injections, row = search.matches, search.matches["detection"]
    false = search.detections[search.detections["isFalse"]]
    false_mag = magnitudes_ab(np.abs(false["psfFlux"]))
    tables = []
    for quantity, truth, brightness, edges in (
        ("snr", injections["snr"], false["snr"], np.array([*SNR_EDGES, np.inf])),
        ("mag", search.magnitude, false_mag, _magnitude_edges(search.magnitude)),
    ):
        for low, high in pairwise(edges):
            inside = (truth >= low) & (truth < high)
            line = _measure_bin(injections[inside], search.detections, row[inside])
            line["quantity"], line["low"], line["high"] = quantity, low, high
            among = (brightness >= low) & (brightness < high)
            line["nFalse"], line["nFalseNew"] = np.sum(among), np.sum(among & false["isNew"])
            tables.append(line)
    return np.concatenate(tables)


def _magnitude_edges(magnitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of the bins that hold all magnitudes."""
    if len(magnitude) == 0:
        return np.zeros(0)
    low = np.floor(magnitude.min() / MAG_STEP) * MAG_STEP
    n_bins = int(np.floor((magnitude.max() - low) / MAG_STEP)) + 1
    edges: NDArray[np.float64] = low + MAG_STEP * np.arange(n_bins + 1)
    return edges


def _measure_bin(
    injections: NDArray[np.void], dia_sources: NDArray[np.void], row: NDArray[np.int64]
) -> NDArray[np.void]:
    """One row of the table, but for its bin and false positives."""
    line = np.zeros(1, dtype=EFFICIENCY_DTYPE)
    n, n_found = len(injections), int(np.sum(row >= 0))
    line["nInjected"], line["nFound"] = n, n_found
    line["completeness"] = n_found / n if n else np.nan
    line["completenessLow"], line["completenessHigh"] = binomial_interval(n_found, n)
    point = (row >= 0) & (np.nan_to_num(injections["trailLength"]) == 0)
    truth, found = injections[point], dia_sources[row[point]]
    flux = np.where(truth["isNegative"], -truth["flux"], truth["flux"])
    with np.errstate(invalid="ignore", divide="ignore"):
        bias, pull = found["psfFlux"] / flux - 1.0, (found["psfFlux"] - flux) / found["psfFluxErr"]
        dx, dy = found["x"] - truth["x"], found["y"] - truth["y"]
        place_pull = np.concatenate([dx / found["xErr"], dy / found["yErr"]])
    line["fluxBias"], scatter, number = _middle(bias)
    line["fluxBiasErr"] = np.sqrt(0.5 * np.pi) * scatter / np.sqrt(number) if number else np.nan
    line["fluxPullMedian"], line["fluxPullSigma"], _ = _middle(pull)
    line["positionErrorPixel"] = _middle(np.hypot(dx, dy))[0]
    line["positionPullSigma"] = _middle(place_pull)[1]
    return line


def _middle(values: NDArray[np.float64]) -> tuple[float, float, int]:
    """Median, robust scatter and number of the finite values; NaN of none."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return float("nan"), float("nan"), 0
    median = float(np.median(finite))
    return median, SIGMA_PER_MAD * float(np.median(np.abs(finite - median))), len(finite)


def fit_depth(magnitude: NDArray[np.float64], found: NDArray[np.bool_]) -> Depth:
    """Fit the completeness as a function of magnitude.

    Parameters
    ----------
    magnitude : float64 ndarray, shape (n,)
        AB magnitudes of the injected sources.
    found : bool ndarray, shape (n,)

    Returns
    -------
    depth : Depth
        All NaN if there are too few sources, or all or none of them were found.
    """
    nothing = Depth(*[float("nan")] * 5)
    if len(magnitude) < MIN_FOR_FIT or found.all() or not found.any():
        return nothing
    start = np.array([float(np.median(magnitude)), np.log(0.3), 3.0])

    def minus_log_likelihood(parameters: NDArray[np.float64]) -> float:
        middle, log_width, logit = parameters
        log_seen = log_ndtr((middle - magnitude) / np.exp(log_width)) + np.log(expit(logit))
        log_missed = np.log(np.maximum(-np.expm1(log_seen), 1e-300))
        # Weak priors keep the width and the plateau finite where the data do not tell.
        prior = 0.5 * ((log_width - np.log(0.3)) / 1.5) ** 2 + 0.5 * ((logit - 3.0) / 3.0) ** 2
        return float(prior - np.sum(np.where(found, log_seen, log_missed)))

    best = minimize(
        minus_log_likelihood, start, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-6}
    )
    middle, width, plateau = float(best.x[0]), float(np.exp(best.x[1])), float(expit(best.x[2]))
    step = 1e-3 + 0.05 * width
    curvature = sum(minus_log_likelihood(best.x + np.array([s * step, 0, 0])) for s in (-1, 1)) - 2 * best.fun
    error = step / np.sqrt(curvature) if curvature > 0 else float("nan")
    mag90 = middle - width * float(np.sqrt(2.0) * erfinv(0.8))
    return Depth(middle, mag90, float(error), plateau, width)
