"""Lines and indices: equivalent widths over windows, with a continuum between two others, and their errors.

The pseudo-continuum is the straight line through the means of two side bands, as for the Lick indices
(Worthey et al. 1994, ApJS 94, 687). An equivalent width is positive for absorption. Pixels that only partly
lie in a window count in part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.spectra.air import vacuum_of
from astra.spectra.flags import SpectrumFlag

Window = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A window over a line and the two beside it.

    Parameters
    ----------
    name : str
        Of the line.
    window, blue, red : (float, float)
        First and last wavelength at rest [Angstrom].
    medium : str
        ``vacuum`` or ``air``: what the wavelengths are in.
    """

    name: str
    window: Window
    blue: Window
    red: Window
    medium: str

    def __post_init__(self) -> None:
        if self.medium not in ("vacuum", "air"):
            message = f"wavelengths of line {self.name} must be in vacuum or air, not {self.medium!r}"
            raise ValueError(message)
        edges = (*self.blue, *self.window, *self.red)
        if any(low >= high for low, high in (self.blue, self.window, self.red)) or self.blue[0] > self.red[0]:
            message = f"windows of line {self.name} must be blue, line, red, from low to high, not {edges}"
            raise ValueError(message)

    def in_vacuum(self) -> Line:
        """Return the line with wavelengths in vacuum."""
        if self.medium == "vacuum":
            return self
        window, blue, red = ((float(vacuum_of(low)), float(vacuum_of(high))) for low, high in self.windows)
        return Line(self.name, window, blue, red, "vacuum")

    @property
    def windows(self) -> tuple[Window, Window, Window]:
        """Of the line, blue, red."""
        return self.window, self.blue, self.red


LICK_LINES = (
    Line("Hdelta_A", (4083.500, 4122.250), (4041.600, 4081.500), (4128.500, 4161.000), "air"),
    Line("Hgamma_A", (4319.750, 4363.500), (4283.500, 4319.750), (4367.250, 4419.750), "air"),
    Line("Hbeta", (4847.875, 4876.625), (4827.875, 4847.875), (4876.625, 4891.625), "air"),
    Line("Mg_b", (5160.125, 5192.625), (5117.700, 5142.700), (5191.375, 5206.375), "air"),
    Line("Fe5270", (5245.650, 5285.650), (5233.150, 5248.150), (5285.650, 5318.150), "air"),
    Line("Fe5335", (5312.125, 5352.125), (5304.625, 5317.250), (5353.375, 5363.375), "air"),
    Line("NaD", (5876.875, 5909.375), (5860.625, 5875.675), (5922.125, 5948.125), "air"),
)
"""Indices of the Lick system (Worthey et al. 1994; Worthey & Ottaviani 1997 for the higher Balmer lines)."""


@dataclass(frozen=True)
class LineStrengths:
    """Strengths of lines in spectra, shape (n_rows, n_lines) each.

    Parameters
    ----------
    width, width_err : float64 ndarray
        Equivalent width, positive for absorption, and its error [Angstrom]; NaN if not measured.
    flux, flux_err : float64 ndarray
        Of what lies above the continuum, positive for emission [unit of the flux times Angstrom].
    continuum : float64 ndarray
        In the middle of the window.
    coverage : float64 ndarray
        Fraction of the three windows, the worst of them, that good pixels cover.
    flags : int64 ndarray
        `SpectrumFlag`.
    """

    width: NDArray[np.float64]
    width_err: NDArray[np.float64]
    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    continuum: NDArray[np.float64]
    coverage: NDArray[np.float64]
    flags: NDArray[np.int64]


def measure_lines(
    wavelength: NDArray[np.float64],
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    lines: Sequence[Line],
    *,
    min_coverage: float = 0.8,
) -> LineStrengths:
    """Measure lines in spectra at rest.

    Parameters
    ----------
    wavelength : float64 ndarray, shape (n_pixels,)
        At rest, in vacuum, increasing [Angstrom].
    flux, ivar : float64 ndarray, shape (n_rows, n_pixels)
        Flux and its inverse variance; 0 where there is no measurement.
    lines : sequence of Line
        In vacuum or air.
    min_coverage : float, optional
        Fraction of each window that good pixels must cover.

    Returns
    -------
    strengths : LineStrengths
        Bad pixels are taken to be as the mean of the good ones of their window.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    good = good_pixels(wavelength, flux, ivar)
    edges = _pixel_edges(wavelength)
    columns = [_measure_line(edges, flux, ivar, good, line.in_vacuum(), min_coverage) for line in lines]
    stacked = [np.stack(values, axis=1) for values in zip(*columns, strict=True)]
    if not lines:
        stacked = [np.empty((len(flux), 0)) for _ in range(6)] + [np.empty((len(flux), 0), np.int64)]
    return LineStrengths(*stacked)


def good_pixels(
    wavelength: NDArray[np.float64], flux: NDArray[np.float64], ivar: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which pixels of spectra are measured, shape (n_rows, n_pixels).

    Raises
    ------
    ValueError
        If the shapes of the spectra differ.
    """
    if flux.ndim != 2 or flux.shape != ivar.shape or wavelength.shape != flux.shape[1:]:
        message = (
            "flux and ivar must have shape (n_rows, n_pixels) and wavelength (n_pixels,), not"
            f" {flux.shape}, {ivar.shape} and {wavelength.shape}"
        )
        raise ValueError(message)
    good: NDArray[np.bool_] = (ivar > 0) & np.isfinite(flux) & np.isfinite(ivar)
    return good


def window_coverage(
    wavelength: NDArray[np.float64], good: NDArray[np.bool_], line: Line
) -> NDArray[np.float64]:
    """Return the fraction of the windows of a line, the worst of them, that good pixels cover.

    Parameters
    ----------
    wavelength : float64 ndarray, shape (n_pixels,)
        In the medium of the line, increasing [Angstrom].
    good : bool ndarray, shape (n_rows, n_pixels)
        Pixels that count.
    line : Line
        Its windows.

    Returns
    -------
    coverage : float64 ndarray, shape (n_rows,)
    """
    edges = _pixel_edges(wavelength)
    covered = []
    for window in line.windows:
        part, share = _shares(edges, window)
        covered.append((good[:, part] @ share) / (window[1] - window[0]))
    return np.asarray(np.min(covered, axis=0), np.float64)


def _measure_line(  # noqa: PLR0917
    edges: NDArray[np.float64],
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    good: NDArray[np.bool_],
    line: Line,
    min_coverage: float,
) -> tuple[NDArray[np.float64], ...]:
    """Measure one line in all spectra; return the fields of `LineStrengths`."""
    shares = [_shares(edges, window) for window in line.windows]
    used = slice(int(min(part.start for part, _ in shares)), int(max(part.stop for part, _ in shares)))
    planes = np.zeros((3, used.stop - used.start))
    for plane, (part, share) in zip(planes, shares, strict=True):
        plane[part.start - used.start : part.stop - used.start] = share
    ok = good[:, used]
    value = np.where(ok, flux[:, used], 0.0)
    variance = np.where(ok, 1.0 / np.where(ok, ivar[:, used], 1.0), 0.0)
    length = np.array([high - low for low, high in line.windows])
    covered = ok @ planes.T
    # Weights of means over windows, shape (3, n_rows, n_pixels): bad pixels are as the mean of the others.
    means = planes[:, None] * ok / np.where(covered > 0, covered, np.inf).T[:, :, None]
    middle = [0.5 * (low + high) for low, high in line.windows]
    slope = (middle[0] - middle[1]) / (middle[2] - middle[1])
    continuum_weight = (1.0 - slope) * means[1] + slope * means[2]
    continuum = (continuum_weight * value).sum(axis=1)
    mean = (means[0] * value).sum(axis=1)
    usable = np.where(continuum > 0, continuum, np.nan)
    by_pixel = means[0] / usable[:, None] - continuum_weight * (mean / usable**2)[:, None]
    coverage = (covered / length).min(axis=1)
    missing = coverage < min_coverage
    flags = np.where(missing, int(SpectrumFlag.OUTSIDE_COVERAGE), 0)
    flags |= np.where(~missing & ~(continuum > 0), int(SpectrumFlag.FIT_FAILED), 0)
    fields = (
        length[0] * (1.0 - mean / usable),
        length[0] * np.sqrt((by_pixel**2 * variance).sum(axis=1)),
        length[0] * (mean - continuum),
        length[0] * np.sqrt(((means[0] - continuum_weight) ** 2 * variance).sum(axis=1)),
        continuum,
    )
    return (*(np.where(missing, np.nan, values) for values in fields), coverage, flags.astype(np.int64))


def _pixel_edges(wavelength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the borders of pixels, half-way between their centres, shape (n_pixels + 1,)."""
    inner = 0.5 * (wavelength[1:] + wavelength[:-1])
    return np.concatenate([[2 * wavelength[0] - inner[0]], inner, [2 * wavelength[-1] - inner[-1]]])


def _shares(edges: NDArray[np.float64], window: Window) -> tuple[slice, NDArray[np.float64]]:
    """Return the pixels that a window touches, and how much of each lies in it [Angstrom]."""
    first = max(int(np.searchsorted(edges, window[0], "right")) - 1, 0)
    last = min(int(np.searchsorted(edges, window[1], "left")), edges.size - 1)
    last = max(last, first)
    low, high = np.maximum(edges[first:last], window[0]), np.minimum(edges[first + 1 : last + 1], window[1])
    return slice(first, last), np.maximum(high - low, 0.0)
