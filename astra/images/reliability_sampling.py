"""Examples of sources and of artefacts, out of the difference of two exposures with sources put into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astra.images.decorrelation import FOURIER_SIDE
from astra.images.difference import DifferenceConfig, DifferenceResult, difference_images
from astra.images.exposure import Exposure
from astra.images.injection import INJECTION_DTYPE, inject_sources
from astra.images.injection_plan import InjectionConfig, plan_injections, point_source_error
from astra.images.reliability_artefacts import ArtefactConfig, add_artefacts
from astra.images.reliability_features import reliability_features
from astra.images.warp import make_pixel_map, warp_exposure, warp_noise_power

REAL, ARTEFACT, UNKNOWN = 1, 0, -1
MATCH_PIXEL = 2.0  # a detection this near to an injected source is that source
NEAR_PIXEL = 8.0  # one this near, and not it, may be a part of it
MIN_VARIABLE_SNR, MAX_VARIABLE_SNR = 15.0, 500.0  # of stars that are made variable
LEAST_CHANGE = 0.04  # of the flux of a variable star: less may be an error of the subtraction

# A residual of a frame without a list of what is real on it may be a source that nobody knows, if it looks
# like one: nothing in the other image, the shape of the PSF, well above the noise.
UNKNOWN_OTHER_SNR, UNKNOWN_CHI2, UNKNOWN_SNR = 3.0, 1.5, 6.0


@dataclass(frozen=True)
class SamplingConfig:
    """How examples are made out of a pair of exposures.

    Parameters
    ----------
    injections : InjectionConfig
        Sources in a million pixels, on blank sky and on galaxies.
    n_variables : float
        Stars in a million pixels that are made brighter in one of the images.
    artefacts : ArtefactConfig
        Artefacts in a million pixels.
    difference : DifferenceConfig
        How images are subtracted and sources detected.
    is_truth_known : bool
        Whether all real sources of the frame are known; if not, what looks like one is left out.
    """

    injections: InjectionConfig = field(
        default_factory=lambda: InjectionConfig(
            n_isolated=130,
            n_hosted=150,
            n_trails=15,
            n_negative=90,
            trail_length_min_pixel=2.0,
            trail_length_max_pixel=10.0,
            spacing_pixel=22.0,
        )
    )
    n_variables: float = 50.0
    artefacts: ArtefactConfig = field(default_factory=ArtefactConfig)
    difference: DifferenceConfig = field(default_factory=DifferenceConfig)
    is_truth_known: bool = True


@dataclass(frozen=True)
class Examples:
    """Detections with their features and what they are.

    Parameters
    ----------
    features : structured ndarray, shape (n,)
        Of `astra.images.reliability_features`.
    labels : int8 ndarray, shape (n,)
        1 real, 0 artefact.
    snr : float64 ndarray, shape (n,)
        Signal to noise of the detection.
    groups : int64 ndarray, shape (n,)
        Number of the frame: what is of one frame is never on both sides of a test.
    """

    features: NDArray[Any]
    labels: NDArray[np.int8]
    snr: NDArray[np.float64]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: NDArray[Any]) -> Examples:
        """Return some of the examples, by index or mask."""
        return Examples(self.features[rows], self.labels[rows], self.snr[rows], self.groups[rows])


def join_examples(parts: Sequence[Examples]) -> Examples:
    """Join examples; of their features those that all have."""
    names = [
        name
        for name in parts[0].features.dtype.names or ()
        if all(name in (part.features.dtype.names or ()) for part in parts)
    ]
    features = np.empty(sum(map(len, parts)), dtype=[(name, "f4") for name in names])
    for name in names:
        features[name] = np.concatenate([part.features[name] for part in parts])
    columns = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "snr", "groups")
    )
    return Examples(features, *columns)


def balance_examples(examples: Examples, rng: np.random.Generator) -> Examples:
    """As many real ones as artefacts, drawn at random, in the order of the examples."""
    rows = [np.flatnonzero(examples.labels == label) for label in (ARTEFACT, REAL)]
    least = min(map(len, rows))
    chosen = [rng.choice(part, least, replace=False) for part in rows]
    return examples.select(np.sort(np.concatenate(chosen)))


@dataclass(frozen=True)
class SampledPair:
    """The difference of a pair with injected sources.

    Parameters
    ----------
    science : Exposure
        With what was injected.
    result : DifferenceResult
    injections : structured ndarray, dtype `astra.images.injection.INJECTION_DTYPE`
    labels : int8 ndarray, shape (n_detections,)
        1 real, 0 artefact, -1 not known.
    """

    science: Exposure
    result: DifferenceResult
    injections: NDArray[np.void]
    labels: NDArray[np.int8]

    def examples(self, group: int) -> Examples:
        """Return the detections that are known to be real or artefacts."""
        rows = self.result.dia_sources
        features = reliability_features(
            rows, self.result.difference, self.science, self.result.matched_template
        )
        groups = np.full(len(rows), group, dtype=np.int64)
        examples = Examples(features, self.labels, rows["snr"].astype(float), groups)
        return examples.select(self.labels != UNKNOWN)


def on_grid_of(science: Exposure, template: Exposure) -> Exposure:
    """Warp a template to the pixels of the science image, with the power of its noise."""
    pixel_map = make_pixel_map(science.wcs, template.wcs, science.shape)
    warped = warp_exposure(template, pixel_map, science.wcs)
    return warped.replace(noise_power=warp_noise_power(pixel_map, FOURIER_SIDE))


def sample_pair(
    science: Exposure,
    template: Exposure,
    sources: NDArray[np.void],
    rng: np.random.Generator,
    config: SamplingConfig,
    *,
    known: NDArray[np.float64] | None = None,
) -> SampledPair:
    """Inject sources and artefacts into a pair, subtract, and tell what each detection is.

    Parameters
    ----------
    science, template : Exposure, shape (ny, nx)
        Calibrated [nJy], on one grid, with PSF.
    sources : structured ndarray
        What was measured on the science image.
    rng : numpy.random.Generator
    config : SamplingConfig
    known : float64 ndarray, shape (m, 2), optional
        Real differences of the two, x and y [pixel]: transients, variables, bodies of the solar system.

    Returns
    -------
    sampled : SampledPair
    """
    science, template, footprint = add_artefacts(science, template, rng, config.artefacts)
    size = science.shape[0] * science.shape[1] / 1e6
    counts = {name: round(size * getattr(config.injections, name)) for name in _COUNTS}
    injections = plan_injections(science, template, sources, rng, replace(config.injections, **counts))
    variables = plan_variables(science, template, sources, rng, round(size * config.n_variables))
    injections = np.concatenate([injections, variables])
    is_negative = injections["isNegative"]
    science = inject_sources(science, injections[~is_negative], rng)
    template = inject_sources(template, injections[is_negative], rng, into_template=True)
    result = difference_images(science, template, config.difference)
    labels = label_detections(result.dia_sources, injections, footprint, known)
    if not config.is_truth_known:
        labels[(labels == ARTEFACT) & looks_real(result.dia_sources)] = UNKNOWN
    return SampledPair(science, result, injections, labels)


_COUNTS = ("n_isolated", "n_hosted", "n_trails", "n_negative")


def plan_variables(
    science: Exposure, template: Exposure, sources: NDArray[np.void], rng: np.random.Generator, n: int
) -> NDArray[np.void]:
    """Draw stars that are brighter in one of the images; parameters as in `sample_pair`.

    Returns
    -------
    injections : structured ndarray, dtype `astra.images.injection.INJECTION_DTYPE`
        ``hostId`` is the star, ``flux`` what is added to it [nJy].
    """
    is_star = np.isfinite(sources["x"]) & np.isfinite(sources["y"]) & (sources["extendedness"] < 0.5)
    is_star &= (sources["snr"] > MIN_VARIABLE_SNR) & (sources["snr"] < MAX_VARIABLE_SNR)
    stars = sources[is_star]
    stars = stars[rng.permutation(len(stars))[:n]]
    injections = np.zeros(len(stars), dtype=INJECTION_DTYPE)
    for axis in ("x", "y"):
        injections[axis] = stars[axis]
    injections["hostId"], injections["injectionId"] = stars["id"], -1 - np.arange(len(stars))
    injections["ra"] = injections["dec"] = np.nan
    injections["isNegative"] = rng.random(len(stars)) < 0.5
    with np.errstate(divide="ignore"):  # where there is no data
        error = point_source_error(science, template, injections)
    snr = np.maximum(np.exp(rng.uniform(np.log(5.0), np.log(100.0), len(stars))), LEAST_CHANGE * stars["snr"])
    injections["snr"], injections["flux"] = snr, snr * error
    measured: NDArray[np.void] = injections[np.isfinite(injections["flux"])]
    return measured


def label_detections(
    dia_sources: NDArray[Any],
    injections: NDArray[np.void],
    footprint: NDArray[np.bool_],
    known: NDArray[np.float64] | None = None,
) -> NDArray[np.int8]:
    """Tell what each detection is.

    Parameters
    ----------
    dia_sources : structured ndarray, shape (n,)
    injections : structured ndarray
        What was injected.
    footprint : bool ndarray, shape (ny, nx)
        Where artefacts were made: a source on one is neither.
    known : float64 ndarray, shape (m, 2), optional
        Other real sources, x and y [pixel].

    Returns
    -------
    labels : int8 ndarray, shape (n,)
        1 for the detection next to a source and of its sign, -1 for others near one, 0 for the rest.
    """
    labels = np.zeros(len(dia_sources), dtype=np.int8)
    if len(dia_sources) == 0:
        return labels
    places = np.stack([dia_sources["x"], dia_sources["y"]], axis=1)
    tree = cKDTree(places)
    for row in injections:
        reach = 0.5 * row["trailLength"]
        near = np.array(tree.query_ball_point((row["x"], row["y"]), NEAR_PIXEL + reach), dtype=int)
        if len(near) == 0:
            continue
        labels[near] = UNKNOWN
        distance = np.hypot(*(places[near] - (row["x"], row["y"])).T)
        right = near[
            (distance < MATCH_PIXEL + reach) & (dia_sources["isNegative"][near] == row["isNegative"])
        ]
        if len(right):
            labels[right[np.argmax(dia_sources["snr"][right])]] = REAL
    for place in () if known is None else known:
        near = np.array(tree.query_ball_point(place, NEAR_PIXEL), dtype=int)
        labels[near[labels[near] != REAL]] = UNKNOWN
    ny, nx = footprint.shape
    columns, rows = (np.clip(np.rint(places[:, k]).astype(int), 0, n - 1) for k, n in ((0, nx), (1, ny)))
    labels[(labels == REAL) & footprint[rows, columns]] = UNKNOWN
    return labels


def looks_real(dia_sources: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether a detection may be a source of the sky that nobody knows of, shape (n,)."""
    other = np.where(dia_sources["isNegative"], dia_sources["scienceFlux"], dia_sources["templateFlux"])
    error = np.where(dia_sources["isNegative"], dia_sources["scienceFluxErr"], dia_sources["templateFluxErr"])
    with np.errstate(invalid="ignore", divide="ignore"):
        chi2 = dia_sources["psfChi2"] / dia_sources["psfNdata"]
        alone = np.abs(other) < UNKNOWN_OTHER_SNR * error
    found: NDArray[np.bool_] = alone & (chi2 < UNKNOWN_CHI2) & (dia_sources["snr"] > UNKNOWN_SNR)
    return found
