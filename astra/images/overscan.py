"""Levels of overscan regions: one for an amplifier, one for each row, or a smooth curve along the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.polynomial import Chebyshev, Legendre, Polynomial
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator, CubicSpline
from scipy.ndimage import median_filter

from astra.compiled import compiled
from astra.images.robust import SIGMA_PER_MAD

FloatArray = NDArray[np.float64]

METHODS = (
    "mean",
    "clipped_mean",
    "median",
    "mean_per_row",
    "median_per_row",
    "polynomial",
    "chebyshev",
    "legendre",
    "spline",
    "akima_spline",
)
_POLYNOMIALS = {"polynomial": Polynomial, "chebyshev": Chebyshev, "legendre": Legendre}
_ONE_LEVEL = ("mean", "clipped_mean", "median")
_SIGMA_PER_IQR = 0.7413  # of a Gaussian
_CLIP_ITERATIONS = 8
_NEIGHBOURS = 5  # rows on each side that stand in for one without values
_MAX_FIT_ITERATIONS = 10


@dataclass(frozen=True)
class OverscanConfig:
    """How the level of an overscan is measured.

    Parameters
    ----------
    method : str
        One of `METHODS`. ``mean``, ``clipped_mean`` and ``median`` give one level for the amplifier;
        ``mean_per_row`` (clipped) and ``median_per_row`` one for each row; the others a curve through the
        clipped means of the rows.
    order : int
        Degree of a polynomial; number of knots of a spline.
    clip_sigma : float
        Values further than this from the median are left out [sigma].
    max_deviation_adu : float
        So are values further than this from the median of the section [adu].
    leading_skip, trailing_skip : int
        Columns at the beginning and the end that are left out [pixel].
    row_outlier_sigma : float
        Rows whose level is further than this from that of their neighbours [sigma] take theirs; 0 for none.
    """

    method: str = "mean_per_row"
    order: int = 1
    clip_sigma: float = 3.0
    max_deviation_adu: float = 1000.0
    leading_skip: int = 0
    trailing_skip: int = 0
    row_outlier_sigma: float = 0.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(
                f"the overscan method must be one of {', '.join(METHODS)}, found {self.method!r}"
            )
        least = {"spline": 2, "akima_spline": 2}.get(self.method, 0)
        if self.order < least or min(self.leading_skip, self.trailing_skip) < 0:
            message = (
                f"overscan {self.method}: order must be at least {least} and skips not negative, found "
                f"{self.order}, {self.leading_skip} and {self.trailing_skip} columns"
            )
            raise ValueError(message)


@dataclass(frozen=True)
class Overscan:
    """What the overscan of one amplifier says.

    Parameters
    ----------
    level : float64 ndarray, shape (n_rows,)
        Level to subtract from each row [adu].
    noise_adu : float
        Read noise, from the scatter about the level [adu].
    bad_rows : bool ndarray, shape (n_rows,)
        Rows without a value of their own: their level is that of their neighbours.
    """

    level: FloatArray
    noise_adu: float
    bad_rows: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))


def measure_overscan(section: NDArray[Any], config: OverscanConfig | None = None) -> Overscan:
    """Measure the level and the noise of a serial overscan.

    Parameters
    ----------
    section : ndarray, shape (n_rows, n_columns)
        Raw values of the overscan [adu].
    config : OverscanConfig, optional
        Options.

    Returns
    -------
    overscan : Overscan

    Raises
    ------
    ValueError
        If the section is empty, without the columns to skip, or has no finite value.
    """
    config = config or OverscanConfig()
    values = _cut(np.asarray(section), config)
    finite = _is_plausible(values, config)
    bad_rows: NDArray[np.bool_] = ~np.any(finite, axis=1)
    if bad_rows.all():
        raise ValueError("an overscan has no finite value in any row")
    if config.method in _ONE_LEVEL:
        single, noise = _one_level(values, finite, config)
        return Overscan(np.full(len(values), single), noise, bad_rows)
    rows = _measure_rows(values, finite, config)
    level = _smooth(_mend(rows.level, bad_rows, config), ~bad_rows, config)
    return Overscan(level, _noise(rows), bad_rows)


def measure_parallel_overscan(
    section: NDArray[Any], *, saturation_adu: float, smoothing_pixel: int = 5
) -> FloatArray:
    """Measure the level of each column from a parallel overscan.

    Parameters
    ----------
    section : ndarray, shape (n_rows, n_columns)
        Values of the overscan, the serial level subtracted [adu].
    saturation_adu : float
        Values from here on are charge that has bled, and left out [adu].
    smoothing_pixel : int
        Width of the running median over the columns [pixel].

    Returns
    -------
    level : float64 ndarray, shape (n_columns,)
        [adu]; zero where no column has a value.
    """
    values = np.asarray(section, dtype=np.float64)
    kept = np.isfinite(values) & (values < saturation_adu)
    usable = kept.any(axis=0)
    if values.size == 0 or not usable.any():
        return np.zeros(values.shape[1])
    level = np.full(values.shape[1], np.nan)
    level[usable] = np.nanmedian(np.where(kept, values, np.nan)[:, usable], axis=0)
    columns = np.arange(len(level))
    level = np.interp(columns, columns[usable], level[usable])
    smooth: FloatArray = median_filter(level, size=smoothing_pixel, mode="nearest")
    return smooth


def _cut(section: NDArray[Any], config: OverscanConfig) -> NDArray[np.float32]:
    """Return the columns to use, as float32: whole adu fit in it."""
    if section.ndim != 2 or section.size == 0:
        raise ValueError(f"an overscan section is 2-d and not empty, found shape {section.shape}")
    stop = section.shape[1] - config.trailing_skip
    if stop <= config.leading_skip:
        message = (
            f"the overscan has {section.shape[1]} columns, of which {config.leading_skip} and "
            f"{config.trailing_skip} are to be skipped"
        )
        raise ValueError(message)
    return np.ascontiguousarray(section[:, config.leading_skip : stop], dtype=np.float32)


def _is_plausible(values: NDArray[np.float32], config: OverscanConfig) -> NDArray[np.bool_]:
    """Tell which values are finite and near the median of all."""
    spread = float(values.max()) - float(values.min())  # not finite if any value is not
    if spread <= config.max_deviation_adu:
        return np.ones(values.shape, dtype=np.bool_)
    finite = np.isfinite(values)
    if not finite.any():
        return finite
    sample = values[finite]
    middle = np.partition(sample, sample.size // 2)[sample.size // 2]
    plausible: NDArray[np.bool_] = finite & (np.abs(values - middle) <= config.max_deviation_adu)
    return plausible


def _one_level(
    values: NDArray[np.float32], finite: NDArray[np.bool_], config: OverscanConfig
) -> tuple[float, float]:
    """Level of a whole section and the scatter about it [adu]."""
    line = values.ravel() if finite.all() else values[finite]
    middle = np.float32(_median(line))
    sigma = SIGMA_PER_MAD * _median(np.abs(line - middle))
    kept = line[np.abs(line - middle) <= config.clip_sigma * max(sigma, 1.0)]
    if config.method == "median":
        level = _median(kept)
    else:
        level = float(np.mean(line if config.method == "mean" else kept, dtype=np.float64))
    scatter = float(np.sqrt(np.sum((kept - level) ** 2, dtype=np.float64) / max(len(kept) - 1, 1)))
    return level, _before_cut(scatter, config.clip_sigma * max(sigma, 1.0))


def _median(values: NDArray[np.float32]) -> float:
    """Median of values that are all finite; numpy's own looks at them several times."""
    half = values.size // 2
    ordered = np.partition(values, half)
    lower = ordered[half] if values.size % 2 else ordered[:half].max()
    return 0.5 * (float(lower) + float(ordered[half]))


@dataclass(frozen=True)
class _Rows:
    """Level of each row [adu], and the sums over the values kept, about the row's median."""

    level: FloatArray
    middle: NDArray[np.float32]
    total: FloatArray
    squares: FloatArray
    count: FloatArray
    limit: float


def _measure_rows(values: NDArray[np.float32], finite: NDArray[np.bool_], config: OverscanConfig) -> _Rows:
    """Clipped mean, or median, of each row."""
    middle = _row_medians(values, finite)
    residual = np.abs(values - middle[:, None])
    residual = residual.ravel() if finite.all() else residual[finite]
    half = residual.size // 2
    sigma = SIGMA_PER_MAD * float(np.partition(residual, half)[half])
    # Whole adu: a quiet overscan may have a median deviation of zero.
    limit = np.float32(config.clip_sigma * max(sigma, 1.0))
    total, squares, count = _sum_clipped(values, finite, middle, limit)
    level = middle + total / np.maximum(count, 1.0)
    if config.method == "median_per_row":
        kept = finite & (np.abs(values - middle[:, None]) <= limit)
        level = _row_medians(values, kept).astype(np.float64)
    return _Rows(level, middle, total, squares, count, float(limit))


def _noise(rows: _Rows) -> float:
    """Scatter of the values kept about the means of their rows, corrected for the cut and for these means."""
    sums = rows.squares - rows.total**2 / np.maximum(rows.count, 1.0)
    n_free = max(float(np.maximum(rows.count - 1.0, 0.0).sum()), 1.0)
    return _before_cut(float(np.sqrt(max(float(sums.sum()), 0.0) / n_free)), rows.limit)


def _before_cut(scatter: float, limit: float) -> float:
    """Scatter of a Gaussian from that of its values within a limit.

    The limit is of whole adu, like the median deviation that it comes from, and may cut at 2.5 sigma.
    """
    sigma = scatter
    for _ in range(_CLIP_ITERATIONS if scatter > 0 else 0):
        cut = limit / sigma
        inside = math.erf(cut / math.sqrt(2.0))
        lost = 2.0 * cut * math.exp(-0.5 * cut**2) / math.sqrt(2.0 * math.pi) / inside
        sigma = scatter / math.sqrt(max(1.0 - lost, 0.1))
    return sigma


def _row_medians(values: NDArray[np.float32], kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Median of the values kept of each row; zero where there is none."""
    if kept.all():
        ordered, count = np.sort(values, axis=1), np.full(len(values), values.shape[1])
    else:
        ordered, count = np.sort(np.where(kept, values, np.inf), axis=1), kept.sum(axis=1)
    rows = np.arange(len(values))
    middle = np.float32(0.5) * (ordered[rows, np.maximum(count - 1, 0) // 2] + ordered[rows, count // 2])
    return np.where(count > 0, middle, np.float32(0.0))


def _mend(rows: FloatArray, bad: NDArray[np.bool_], config: OverscanConfig) -> FloatArray:
    """Give rows without a value, or with one unlike their neighbours', the median of these."""
    wrong = bad.copy()
    if config.row_outlier_sigma > 0:
        local = median_filter(rows, size=2 * _NEIGHBOURS + 1, mode="nearest")
        low, high = np.percentile((rows - local)[~bad], [25, 75])
        wrong |= np.abs(rows - local) > config.row_outlier_sigma * max(_SIGMA_PER_IQR * (high - low), 1e-3)
    mended = rows.copy()
    good = np.flatnonzero(~wrong)
    for row in np.flatnonzero(wrong):
        near = good[np.argsort(np.abs(good - row), kind="stable")[: 2 * _NEIGHBOURS]]
        mended[row] = np.median(rows[near])
    return mended


def _smooth(rows: FloatArray, kept: NDArray[np.bool_], config: OverscanConfig) -> FloatArray:
    """Return the levels of rows, or the curve through them that the method asks for."""
    if config.method in _POLYNOMIALS:
        return _fit_polynomial(rows, kept, config)
    return _fit_spline(rows, kept, config) if "spline" in config.method else rows


def _fit_polynomial(rows: FloatArray, kept: NDArray[np.bool_], config: OverscanConfig) -> FloatArray:
    """Fit a polynomial to the levels of rows, clipped."""
    x = np.arange(len(rows), dtype=np.float64)
    domain = [0.0, max(len(rows) - 1.0, 1.0)]
    curve = rows
    for _ in range(_MAX_FIT_ITERATIONS):
        degree = min(config.order, int(kept.sum()) - 1)
        curve = _POLYNOMIALS[config.method].fit(x[kept], rows[kept], degree, domain=domain)(x)
        sigma = SIGMA_PER_MAD * float(np.median(np.abs(rows - curve)[kept]))
        again = kept & (np.abs(rows - curve) <= config.clip_sigma * max(sigma, 1e-6))
        if (again == kept).all() or again.sum() <= config.order + 1:
            break
        kept = again
    return curve


def _fit_spline(rows: FloatArray, kept: NDArray[np.bool_], config: OverscanConfig) -> FloatArray:
    """Lay a spline through the medians of as many groups of rows as it has knots."""
    x = np.arange(len(rows), dtype=np.float64)
    groups = np.array_split(np.flatnonzero(kept), min(config.order, int(kept.sum())))
    knots = np.array([x[group].mean() for group in groups])
    values = np.array([np.median(rows[group]) for group in groups])
    if len(knots) == 1:
        return np.full(len(rows), values[0])
    if config.method == "akima_spline":
        return np.asarray(Akima1DInterpolator(knots, values, extrapolate=True)(x), dtype=np.float64)
    return np.asarray(CubicSpline(knots, values, bc_type="natural")(x), dtype=np.float64)


@compiled
def _sum_clipped(values, kept, middle, limit):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Sum, sum of squares and number, about each row's middle, of the values within a limit of it."""
    n_rows = values.shape[0]
    total, squares, count = np.zeros(n_rows), np.zeros(n_rows), np.zeros(n_rows)
    for y in range(n_rows):
        for x in range(values.shape[1]):
            offset = values[y, x] - middle[y]
            if kept[y, x] and abs(offset) <= limit:
                total[y] += offset
                squares[y] += offset * offset
                count[y] += 1.0
    return total, squares, count
