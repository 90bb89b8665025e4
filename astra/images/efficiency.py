"""What a search finds of the sources that were injected: completeness, fluxes, positions, false positives.

Errors of completeness are the 68 % intervals of Clopper and Pearson (1934). The depth is where the
completeness, a cumulative Gaussian of magnitude fitted by maximum likelihood, falls to a half or to nine
tenths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.special import betaincinv, erfinv, expit, log_ndtr, ndtr

from astra.images.exposure import NJY_AB_ZERO_POINT_MAG
from astra.images.robust import SIGMA_PER_MAD

MATCH_RADIUS_PIXEL = 3.0
KNOWN_RADIUS_ARCSEC = 1.0
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
        ("nFalse", "i8"),
    ]
)

DETECTION_DTYPE = np.dtype(
    [
        *((name, "f8") for name in ("x", "xErr", "y", "yErr", "ra", "dec", "psfFlux", "psfFluxErr", "snr")),
        *((name, "?") for name in ("isNegative", "isFalse")),
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


def match_injections(
    injections: NDArray[np.void], dia_sources: NDArray[np.void], radius_pixel: float = MATCH_RADIUS_PIXEL
) -> NDArray[np.int64]:
    """Find the detection of every injected source.

    Parameters
    ----------
    injections : structured ndarray, shape (n,), dtype `astra.images.injection.INJECTION_DTYPE`
    dia_sources : structured ndarray, shape (m,)
        Detections with ``x``, ``y`` [pixel] and ``isNegative``.
    radius_pixel : float, optional
        Largest distance [pixel], from the nearest point of a trail.

    Returns
    -------
    row : int64 ndarray, shape (n,)
        Row of the detection, -1 where there is none. Of the right sign; each serves one injection, the
        nearest pairs first.
    """
    row = np.full(len(injections), -1, dtype=np.int64)
    if len(injections) == 0 or len(dia_sources) == 0:
        return row
    places = np.stack([dia_sources["x"], dia_sources["y"]], axis=-1)
    usable = np.flatnonzero(np.isfinite(places).all(axis=1))
    tree = cKDTree(places[usable])
    reach = radius_pixel + 0.5 * np.nan_to_num(injections["trailLength"])
    centres = np.stack([injections["x"], injections["y"]], axis=-1)
    near = tree.query_ball_point(centres, reach)
    first = np.repeat(np.arange(len(injections)), [len(part) for part in near])
    second = usable[np.concatenate([np.asarray(part, dtype=np.int64) for part in near])]
    distance = _distance(injections[first], places[second])
    good = distance < radius_pixel
    good &= dia_sources["isNegative"][second] == injections["isNegative"][first]
    taken = np.zeros(len(dia_sources), dtype=bool)
    for k in np.argsort(np.where(good, distance, np.inf), kind="stable")[: int(good.sum())]:
        if row[first[k]] < 0 and not taken[second[k]]:
            row[first[k]], taken[second[k]] = second[k], True
    return row


def _distance(injections: NDArray[np.void], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of places from injections or, for trails, from the nearest point of their line [pixel]."""
    dx, dy = places[:, 0] - injections["x"], places[:, 1] - injections["y"]
    angle = np.radians(np.nan_to_num(injections["trailAngle"]))
    half = 0.5 * np.nan_to_num(injections["trailLength"])
    along = dx * np.cos(angle) + dy * np.sin(angle)
    beyond = along - np.clip(along, -half, half)
    distance: NDArray[np.float64] = np.hypot(beyond, -dx * np.sin(angle) + dy * np.cos(angle))
    return distance


def binomial_interval(n_found: int, n: int, level: float = ONE_SIGMA) -> tuple[float, float]:
    """Central interval of a probability of which ``n_found`` of ``n`` trials were seen; (0, 1) of none."""
    tail = 0.5 * (1.0 - level)
    low = float(betaincinv(n_found, n - n_found + 1, tail)) if n_found > 0 else 0.0
    high = float(betaincinv(n_found + 1, n - n_found, 1.0 - tail)) if n_found < n else 1.0
    return low, high


@dataclass(frozen=True)
class Search:
    """What was injected and what was found.

    Parameters
    ----------
    matches : structured ndarray, shape (n,)
        Columns of `astra.images.injection.INJECTION_DTYPE`, and ``detection``: row of ``detections``, -1 if
        it was not found.
    detections : structured ndarray, shape (m,), dtype `DETECTION_DTYPE`
        What was detected; ``isFalse`` if it is neither injected nor known to be real.
    """

    matches: NDArray[np.void]
    detections: NDArray[np.void]

    @property
    def magnitude(self) -> NDArray[np.float64]:
        """AB magnitudes of what was injected."""
        return _magnitude(self.matches["flux"])

    @property
    def found(self) -> NDArray[np.bool_]:
        """Whether each injected source was found."""
        found: NDArray[np.bool_] = self.matches["detection"] >= 0
        return found


def search_for(
    injections: NDArray[np.void], dia_sources: NDArray[np.void], known: NDArray[np.void] | None = None
) -> Search:
    """Compare the detections on a difference with what was injected.

    Parameters
    ----------
    injections : structured ndarray, shape (n,), dtype `astra.images.injection.INJECTION_DTYPE`
    dia_sources : structured ndarray, shape (m,)
    known : structured ndarray, optional
        ``ra``, ``dec`` [deg] of what really varies: a detection within an arcsecond of it is not false.

    Returns
    -------
    search : Search
    """
    row = match_injections(injections, dia_sources)
    matches = np.zeros(len(injections), dtype=[*injections.dtype.descr, ("detection", "i8")])
    for name in injections.dtype.names or ():
        matches[name] = injections[name]
    matches["detection"] = row
    detections = np.zeros(len(dia_sources), dtype=DETECTION_DTYPE)
    for name in DETECTION_DTYPE.names or ():
        if name != "isFalse":
            detections[name] = dia_sources[name]
    detections["isFalse"] = True
    detections["isFalse"][row[row >= 0]] = False
    if known is not None and len(known) and len(detections):
        detections["isFalse"] &= ~_is_near(detections, known)
    return Search(matches, detections)


def _is_near(detections: NDArray[np.void], known: NDArray[np.void]) -> NDArray[np.bool_]:
    """Tell which detections lie within an arcsecond of a known source."""
    found, real = (_unit_vectors(table["ra"], table["dec"]) for table in (detections, known))
    usable = np.isfinite(found).all(axis=1)
    near = np.zeros(len(found), dtype=bool)
    limit = np.radians(KNOWN_RADIUS_ARCSEC / 3600.0)
    near[usable] = cKDTree(real).query(found[usable])[0] < limit
    return near


def _unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    alpha, delta = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)], axis=-1)


def pool_searches(searches: Sequence[Search]) -> Search:
    """Put several searches together."""
    offsets = np.cumsum([0, *(len(search.detections) for search in searches)])
    matches = [search.matches.copy() for search in searches]
    for part, offset in zip(matches, offsets, strict=False):
        part["detection"][part["detection"] >= 0] += offset
    return Search(np.concatenate(matches), np.concatenate([search.detections for search in searches]))


def measure_search(search: Search) -> NDArray[np.void]:
    """Tabulate a search; see `measure_efficiency`."""
    false = search.detections["isFalse"]
    return measure_efficiency(search.matches, search.detections, search.matches["detection"], false)


def _magnitude(flux: NDArray[np.float64]) -> NDArray[np.float64]:
    """AB magnitudes of fluxes [nJy]; faint ones of nothing."""
    magnitude: NDArray[np.float64] = NJY_AB_ZERO_POINT_MAG - 2.5 * np.log10(np.maximum(flux, 1e-9))
    return magnitude


def measure_efficiency(
    injections: NDArray[np.void],
    dia_sources: NDArray[np.void],
    row: NDArray[np.int64],
    is_false: NDArray[np.bool_],
) -> NDArray[np.void]:
    """Tabulate what was found, by signal to noise and by magnitude.

    Parameters
    ----------
    injections : structured ndarray, shape (n,)
        Truth.
    dia_sources : structured ndarray, shape (m,)
        Detections with ``x``, ``xErr``, ``y``, ``yErr`` [pixel], ``psfFlux``, ``psfFluxErr`` [nJy], ``snr``.
    row : int64 ndarray, shape (n,)
        Of `match_injections`.
    is_false : bool ndarray, shape (m,)
        Detections that are neither injected nor known to be real.

    Returns
    -------
    table : structured ndarray, dtype `EFFICIENCY_DTYPE`
        One row per bin of ``snr`` or ``mag``. Fluxes and positions are those of the point sources found:
        ``fluxBias`` is the median of flux over truth less one, pulls in units of the stated errors.
    """
    magnitude = _magnitude(injections["flux"])
    false_mag = _magnitude(np.abs(dia_sources["psfFlux"][is_false]))
    tables = []
    for quantity, truth, false, edges in (
        ("snr", injections["snr"], dia_sources["snr"][is_false], np.array([*SNR_EDGES, np.inf])),
        ("mag", magnitude, false_mag, _magnitude_edges(magnitude)),
    ):
        for low, high in pairwise(edges):
            inside = (truth >= low) & (truth < high)
            line = _measure_bin(injections[inside], dia_sources, row[inside])
            line["quantity"], line["low"], line["high"] = quantity, low, high
            line["nFalse"] = np.sum((false >= low) & (false < high))
            tables.append(line)
    return np.concatenate(tables) if tables else np.zeros(0, dtype=EFFICIENCY_DTYPE)


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
