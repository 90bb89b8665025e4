"""Find the alignment of sources and reference stars that is no accident, and fit the pixels' correction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.errors import AlgorithmError, NotConvergedError, TooFewSourcesError
from astra.images.pixel_correction import Correction, choose_correction
from astra.images.star_match import (
    Alignment,
    FloatArray,
    IntArray,
    Search,
    chance_probability,
    find_alignments,
    match_mutual,
    n_empty_cells,
)
from astra.images.tan_sip import project_gnomonic

BRIGHTEST = 200, 500, 1200  # sources and references in the search: few, then more if they do not align
CHECKED = 500  # brightest sources in the test against chance
CLIP_SIGMA = 3.0
GROWTH_ROUNDS = 8
MIN_OF_A_KIND = 10  # sources that look extended, and that do not, to have errors of their own
MAX_EMPTY_CELLS = 2  # parts of the image that may lack matches
LEAST_PIXEL = 0.01  # radius of the test against chance, of perfect positions
FLOOR_PIXEL = 1e-4  # keeps a perfect centroid from taking all the weight
ARCSEC_PER_DEGREE = 3600.0


@dataclass(frozen=True)
class AstrometryConfig:
    """How to match and fit.

    Parameters
    ----------
    search_arcsec : float
        Largest error of the initial WCS in the middle of the image.
    max_rotation_deg : float
        Largest rotation of the initial WCS, either way.
    max_scale_error : float
        Largest relative error of its pixel scale, either way.
    match_arcsec : float
        Match radius once the alignment is known.
    floor_arcsec : float
        First guess of the error per axis that the centroids' own errors leave out (reference positions,
        atmosphere, blends); the residuals then tell it.
    max_order : int
        Highest degree of the correction; the Bayesian information criterion chooses up to it.
    wcs_order : int
        Least degree of the TAN-SIP solution that is returned.
    min_matches : int
        Fewer are an error.
    max_chance : float
        Largest probability that so many matches come by accident somewhere in the search; more is an error.
    """

    search_arcsec: float = 30.0
    max_rotation_deg: float = 1.0
    max_scale_error: float = 0.01
    match_arcsec: float = 1.0
    floor_arcsec: float = 0.03
    max_order: int = 4
    wcs_order: int = 3
    min_matches: int = 6
    max_chance: float = 1e-6

    def search(self, scale_arcsec: float) -> Search:
        """Return the limits in pixels of a given scale [arcsec]."""
        return Search(
            shift_pixel=self.search_arcsec / scale_arcsec,
            rotation_deg=self.max_rotation_deg,
            scale_error=self.max_scale_error,
            clump_pixel=self.match_arcsec / scale_arcsec,
        )

    def margin_arcsec(self, wcs: WCS, shape: tuple[int, int]) -> float:
        """How far outside an image reference stars may lie that are on it [arcsec]."""
        scale = pixel_scale_arcsec(wcs)
        return self.search(scale).reach_pixel(float(np.hypot(*shape)) / 2) * scale


def pixel_scale_arcsec(wcs: WCS) -> float:
    """Side of a pixel [arcsec], from its area at the reference pixel."""
    return float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))) * ARCSEC_PER_DEGREE


def is_extended(sources: NDArray[np.void]) -> NDArray[np.bool_]:
    """Tell which sources are classed as extended; none without such a column."""
    if "extendedness" not in (sources.dtype.names or ()):
        return np.zeros(len(sources), dtype=np.bool_)
    extended: NDArray[np.bool_] = sources["extendedness"] == 1
    return extended


def reference_on_image(
    reference: NDArray[np.void], wcs: WCS, shape: tuple[int, int], margin_pixel: float
) -> tuple[IntArray, FloatArray]:
    """Find the reference stars on the image or a margin of it: their indices and positions [pixel]."""
    ny, nx = shape
    centre = wcs.all_pix2world([[(nx - 1) / 2, (ny - 1) / 2]], 0)[0]
    reach = (np.hypot(nx, ny) / 2 + margin_pixel) * pixel_scale_arcsec(wcs) / ARCSEC_PER_DEGREE
    # all_world2pix diverges far from the image, so only stars near it are asked for.
    distance = np.hypot(*project_gnomonic(reference["ra"], reference["dec"], *centre))
    near = np.flatnonzero(distance < 1.05 * reach)
    if len(near) == 0:
        return near, np.zeros((0, 2))
    sky = np.stack([reference["ra"][near], reference["dec"][near]], axis=-1)
    xy: FloatArray = wcs.all_world2pix(sky, 0, quiet=True)
    inside = (xy >= -margin_pixel).all(axis=1) & (xy <= np.array([nx, ny]) - 1 + margin_pixel).all(axis=1)
    return near[inside], xy[inside]


@dataclass(frozen=True)
class Fitted:
    """A correction, the pairs behind it, the error floor [pixel] and the chance that it is an accident."""

    correction: Correction
    pairs: tuple[IntArray, IntArray]
    floor_pixel: float
    chance: float


@dataclass(frozen=True)
class Fitter:
    """Sources and the references expected on the image, in pixels, the brightest first."""

    xy: FloatArray
    error: FloatArray
    extended: NDArray[np.bool_]
    by_flux: IntArray
    inside: IntArray
    expected: FloatArray
    expected_by_flux: IntArray
    shape: tuple[int, int]
    scale: float
    config: AstrometryConfig

    @classmethod
    def prepare(
        cls,
        sources: NDArray[np.void],
        reference: NDArray[np.void],
        wcs: WCS,
        shape: tuple[int, int],
        config: AstrometryConfig,
    ) -> Fitter:
        """Project the references with the initial solution."""
        scale = pixel_scale_arcsec(wcs)
        margin = config.margin_arcsec(wcs, shape) / scale
        inside, expected = reference_on_image(reference, wcs, shape, margin)
        return cls(
            xy=np.stack([sources["x"], sources["y"]], axis=-1),
            error=np.hypot(sources["xErr"], sources["yErr"]) / np.sqrt(2.0),
            extended=is_extended(sources),
            by_flux=np.argsort(-np.nan_to_num(sources["psfInstFlux"]), kind="stable"),
            inside=inside,
            expected=expected,
            expected_by_flux=np.argsort(-np.nan_to_num(reference["flux"][inside]), kind="stable"),
            shape=shape,
            scale=scale,
            config=config,
        )

    @property
    def search(self) -> Search:
        """The limits in pixels."""
        return self.config.search(self.scale)

    def solve(self) -> Fitted:
        """Fit the first alignment that is no accident.

        Raises
        ------
        TooFewSourcesError, NotConvergedError
            As `fit_astrometry`: why the alignment with most matches fails.
        """
        failures: list[AlgorithmError] = []
        for alignment, n in self._alignments():
            try:
                return self._refine(alignment, n)
            except AlgorithmError as error:
                failures.append(error)
        raise max(failures, key=lambda error: error.context["n_sources"], default=self._too_few(0))

    def _alignments(self) -> Iterator[tuple[Alignment, int]]:
        """Yield alignments, the likeliest first, and how many of the brightest they come from."""
        centre = np.array([(self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2])
        for n in BRIGHTEST:
            xy, expected = self.xy[self.by_flux[:n]], self.expected[self.expected_by_flux[:n]]
            for alignment in find_alignments(xy - centre, expected - centre, self.search):
                yield alignment, n
            if max(len(self.xy), len(self.expected)) <= n:
                return

    def _refine(self, alignment: Alignment, n: int) -> Fitted:
        """Narrow the match radius with the brightest stars, then fit all."""
        first = Correction.linear(alignment.shift, alignment.slopes, self.shape)
        radius, floor = self.config.match_arcsec / self.scale, self.config.floor_arcsec / self.scale
        clump = max(self.search.clump_at(float(np.hypot(*self.shape)) / 2), radius)
        fit = self._grow(first, (self.by_flux[:n], self.expected_by_flux[:n]), (2.0 * clump, clump))
        everything = np.arange(len(self.xy)), np.arange(len(self.expected))
        pairs = self._match(fit, everything, radius)
        floors = self._floors(self._fit(pairs, first, floor), pairs[0])
        fit = self._fit(pairs, first, floors)
        return Fitted(fit, pairs, float(floors.min()), self._check(fit, n))

    def _floors(self, fit: Correction, sources: IntArray) -> FloatArray:
        """Find the errors [pixel] of matched sources that those of the centroids leave out, shape (m,).

        Sources that look extended match stars if they are blends, whose centroids are worse than they say.
        """
        error, extended = self.error[sources], self.extended[sources]
        apart = extended.sum() >= MIN_OF_A_KIND <= (fit.used & ~extended).sum()
        floors = np.full(len(sources), fit.floor(error, fit.used & ~extended if apart else fit.used))
        if apart:
            floors[extended] = max(fit.floor(error, extended), floors[0])
        return floors

    def _grow(
        self, first: Correction, among: tuple[IntArray, IntArray], radii: tuple[float, float]
    ) -> Correction:
        """Fit the linear terms, then all, for as long as ever more stars match."""
        fit, floor = first, self.config.floor_arcsec / self.scale
        for radius in radii:
            fit = self._fit(self._match(fit, among, radius), first, floor, max_order=1)
        n_before = 0
        for _ in range(GROWTH_ROUNDS):
            pairs = self._match(fit, among, self.config.match_arcsec / self.scale)
            if len(pairs[0]) <= n_before:
                break
            n_before, fit = len(pairs[0]), self._fit(pairs, first, floor)
        return fit

    def _match(
        self, fit: Correction, among: tuple[IntArray, IntArray], radius: float
    ) -> tuple[IntArray, IntArray]:
        """Match under a correction.

        Raises
        ------
        TooFewSourcesError
            If there are fewer pairs than needed.
        """
        first, second = among
        found = match_mutual(self.xy[first] + fit(self.xy[first]), self.expected[second], radius)
        if len(found[0]) < self.config.min_matches:
            raise self._too_few(len(found[0]))
        return first[found[0]], second[found[1]]

    def _fit(
        self,
        pairs: tuple[IntArray, IntArray],
        start: Correction,
        floor: float | FloatArray,
        max_order: int | None = None,
    ) -> Correction:
        """Fit the correction to pairs."""
        first, second = pairs
        return choose_correction(
            self.xy[first],
            self.expected[second],
            np.hypot(self.error[first], np.maximum(floor, FLOOR_PIXEL)),
            start,
            self.config.max_order if max_order is None else max_order,
            clip_sigma=CLIP_SIGMA,
        )

    def _too_few(self, n: int) -> TooFewSourcesError:
        required = self.config.min_matches
        message = (
            f"{n} sources match reference stars within {self.config.match_arcsec:g} arcsec, but "
            f"{required} are required; check the reference catalogue's region and the initial WCS"
        )
        return TooFewSourcesError(message, n_sources=n, n_required=required)

    def _check(self, fit: Correction, n: int) -> float:
        """Return the probability that the matches of the brightest are accidental.

        Raises
        ------
        NotConvergedError
            If it is too large, or parts of the image do not match.
        """
        bright, radius = self.by_flux[: max(n, CHECKED)], self.config.match_arcsec / self.scale
        aligned = self.xy[bright] + fit(self.xy[bright])
        # True pairs lie as close as the fit is good; accidental ones fill the match radius.
        close = min(radius, max(2.0 * CLIP_SIGMA * fit.scatter, LEAST_PIXEL))
        area = float(np.prod(self.shape))
        trials = self.search.n_trials(float(np.hypot(*self.shape)) / 2)
        n_matches, n_chance, chance = chance_probability(aligned, self.expected, close, area, trials)
        if chance > self.config.max_chance:
            found = (
                f"{n_matches} of {len(bright)} bright sources match reference stars within "
                f"{close * self.scale:.2g} arcsec where {n_chance:.3g} would by "
                f"chance (probability {chance:.2g})"
            )
            raise self._not_converged(found, n_sources=n_matches, n_chance=n_chance, probability=chance)
        n_empty = n_empty_cells(aligned, self.expected, radius, self.shape)
        if n_empty > MAX_EMPTY_CELLS:
            found = (
                f"{n_matches} bright sources match reference stars, but none in {n_empty} parts of the image"
            )
            raise self._not_converged(found, n_sources=n_matches, n_empty=n_empty)
        return chance

    def _not_converged(self, found: str, **context: float) -> NotConvergedError:
        limits = (
            f"{self.config.search_arcsec:g} arcsec, {self.config.max_rotation_deg:g} deg or "
            f"{100.0 * self.config.max_scale_error:g} % in scale"
        )
        return NotConvergedError(f"{found}; is the initial WCS wrong by more than {limits}?", **context)
