"""Artefacts put into a pair of calibrated exposures, as examples of what is no source of the sky.

Frames have too few artefacts of each kind to learn from. Those made here are of the kinds that are left on
differences of real surveys: stars that do not subtract, particle tracks, defects that no mask names, the
surroundings of saturated stars, and sky that is not flat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.images.exposure import MASK_SAT, Exposure
from astra.images.injection import INJECTION_DTYPE, inject_sources
from astra.images.injection_plan import point_source_error
from astra.images.masks import grow_square

FOOTPRINT_GROW_PIXEL = 3
SPIKE_SIGMA_PIXEL = 0.9
CHUNKS_PER_PIXEL = 4  # points along a track


@dataclass(frozen=True)
class ArtefactConfig:
    """How many artefacts of each kind are made, in a million pixels.

    Parameters
    ----------
    n_moved : float
        Stars that are not at the same place in both images: dipoles.
    n_blurred : float
        Stars that are broader, or longer, in one of the images than its PSF.
    n_scaled : float
        Bright stars whose fluxes differ by up to two per cent.
    n_tracks : float
        Tracks of particles in one of the images, without a mask.
    n_columns : float
        Pieces of rows and columns that are brighter or darker, without a mask.
    n_halos : float
        Saturated stars whose surroundings differ.
    n_bumps : float
        Broad bumps and hollows of the sky.
    """

    n_moved: float = 70.0
    n_blurred: float = 70.0
    n_scaled: float = 30.0
    n_tracks: float = 110.0
    n_columns: float = 30.0
    n_halos: float = 12.0
    n_bumps: float = 30.0


@dataclass
class _Pair:
    """The two images while they are changed: both are copies."""

    science: Exposure
    template: Exposure
    footprint: NDArray[np.bool_]
    sigma: tuple[float, float]
    rng: np.random.Generator

    @property
    def shape(self) -> tuple[int, int]:
        return self.science.shape

    def count(self, per_million: float) -> int:
        """Draw the number of artefacts on an image of this size."""
        return int(self.rng.poisson(per_million * self.shape[0] * self.shape[1] / 1e6))

    def places(self, n: int, margin: float = 5.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw positions [pixel]."""
        ny, nx = self.shape
        return self.rng.uniform(margin, nx - 1 - margin, n), self.rng.uniform(margin, ny - 1 - margin, n)

    def one_of_them(self) -> tuple[Exposure, float]:
        """Choose either image, with the noise of its pixels."""
        chosen = int(self.rng.random() < 0.5)
        return (self.science, self.template)[chosen], self.sigma[chosen]

    def mark(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        """Note where an artefact is."""
        ny, nx = self.shape
        columns, rows = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
        inside = (columns >= 0) & (rows >= 0) & (columns < nx) & (rows < ny)
        self.footprint[rows[inside], columns[inside]] = True


def log_uniform(rng: np.random.Generator, low: float, high: float, size: int) -> NDArray[np.float64]:
    """Draw numbers even in their logarithm."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def add_artefacts(
    science: Exposure, template: Exposure, rng: np.random.Generator, config: ArtefactConfig | None = None
) -> tuple[Exposure, Exposure, NDArray[np.bool_]]:
    """Put artefacts into a pair of exposures.

    Parameters
    ----------
    science, template : Exposure, shape (ny, nx)
        Calibrated [nJy], on one grid, with PSF.
    rng : numpy.random.Generator
    config : ArtefactConfig, optional

    Returns
    -------
    science, template : Exposure
        Copies with the artefacts.
    footprint : bool ndarray, shape (ny, nx)
        Where the artefacts are.

    Raises
    ------
    ValueError
        If the shapes differ.
    DataError
        If the exposures are not calibrated.
    """
    if science.shape != template.shape:
        message = f"artefacts need images of one shape, found {science.shape} and {template.shape}"
        raise ValueError(message)
    config = config or ArtefactConfig()
    sigma = tuple(_pixel_sigma(exposure) for exposure in (science, template))
    footprint = np.zeros(science.shape, dtype=bool)
    pair = _Pair(science.copy(), template.copy(), footprint, (sigma[0], sigma[1]), rng)
    _add_halos(pair, pair.count(config.n_halos))
    _add_stars(pair, config)
    for _ in range(pair.count(config.n_tracks)):
        _add_track(pair)
    for _ in range(pair.count(config.n_columns)):
        _add_line(pair)
    for _ in range(pair.count(config.n_bumps)):
        _add_bump(pair)
    return pair.science, pair.template, grow_square(pair.footprint, FOOTPRINT_GROW_PIXEL)


def _pixel_sigma(exposure: Exposure) -> float:
    """Typical noise of a pixel [nJy]."""
    good = np.isfinite(exposure.variance) & (exposure.variance > 0)
    return float(np.sqrt(np.median(exposure.variance[good]))) if good.any() else 1.0


def _add_stars(pair: _Pair, config: ArtefactConfig) -> None:
    """Add stars that do not subtract."""
    counts = [pair.count(n) for n in (config.n_moved, config.n_blurred, config.n_scaled)]
    rows = np.zeros(sum(counts), dtype=INJECTION_DTYPE)
    rows["x"], rows["y"] = pair.places(len(rows))
    low = np.repeat([20.0, 100.0, 300.0], counts)
    snr = low * (2000.0 / low) ** pair.rng.uniform(0.0, 1.0, len(rows))
    with np.errstate(divide="ignore"):  # where there is no data
        rows["flux"] = snr * point_source_error(pair.science, pair.template, rows)
    measured = np.isfinite(rows["flux"])
    rows, kind = rows[measured], np.repeat([0, 1, 2], counts)[measured]
    pair.mark(rows["x"], rows["y"])
    changed = np.concatenate(
        [
            _moved(pair.rng, rows[kind == 0]),
            _blurred(pair.rng, rows[kind == 1]),
            _scaled(pair, rows[kind == 2]),
        ]
    )
    swapped = bool(pair.rng.random() < 0.5)
    for name, stars in (
        ("science", rows if swapped else changed),
        ("template", changed if swapped else rows),
    ):
        exposure = inject_sources(getattr(pair, name), stars, pair.rng)
        planes = getattr(pair, name).mask
        setattr(pair, name, exposure.replace(mask=planes.copy()))


def _moved(rng: np.random.Generator, rows: NDArray[np.void]) -> NDArray[np.void]:
    """Stars a fraction of a pixel away."""
    moved = rows.copy()
    step, angle = log_uniform(rng, 0.05, 1.5, len(rows)), rng.uniform(0, 2 * np.pi, len(rows))
    moved["x"] += step * np.cos(angle)
    moved["y"] += step * np.sin(angle)
    return moved


def _blurred(rng: np.random.Generator, rows: NDArray[np.void]) -> NDArray[np.void]:
    """Stars whose light is spread over five places (round) or two (along a line)."""
    parts = []
    width, angle = log_uniform(rng, 0.2, 0.8, len(rows)), rng.uniform(0, 2 * np.pi, len(rows))
    is_round = rng.random(len(rows)) < 0.5
    for turn in range(4):
        part = rows.copy()
        direction = np.where(is_round, angle + 0.5 * np.pi * turn, angle + np.pi * turn)
        part["x"] += width * np.cos(direction)
        part["y"] += width * np.sin(direction)
        part["flux"] /= 4.0
        parts.append(part)
    return np.concatenate(parts)


def _scaled(pair: _Pair, rows: NDArray[np.void]) -> NDArray[np.void]:
    """Stars a little brighter or fainter."""
    scaled = rows.copy()
    scaled["flux"] *= 1.0 + pair.rng.choice([-1.0, 1.0], len(rows)) * log_uniform(
        pair.rng, 0.002, 0.02, len(rows)
    )
    return scaled


def _add_track(pair: _Pair) -> None:
    """Add charge along a straight line, much narrower than the PSF; one in three is a point."""
    exposure, sigma = pair.one_of_them()
    [x], [y] = pair.places(1)
    length = 0.0 if pair.rng.random() < 1 / 3 else float(log_uniform(pair.rng, 1.0, 12.0, 1)[0])
    charge = sigma * float(log_uniform(pair.rng, 12.0, 200.0, 1)[0]) * np.sqrt(1.0 + length)
    angle = pair.rng.uniform(0, np.pi)
    n = 1 + int(CHUNKS_PER_PIXEL * length)
    along = np.linspace(-0.5, 0.5, n) * length
    spread = pair.rng.normal(0.0, 0.25, (2, n))
    columns = np.rint(x + along * np.cos(angle) + spread[0]).astype(np.int64)
    rows = np.rint(y + along * np.sin(angle) + spread[1]).astype(np.int64)
    ny, nx = pair.shape
    inside = (columns >= 0) & (rows >= 0) & (columns < nx) & (rows < ny)
    share = pair.rng.gamma(4.0, 0.25, n)
    # Dead pixels lack charge: one point in four.
    sign = -1.0 if length == 0.0 and pair.rng.random() < 0.25 else 1.0
    np.add.at(exposure.image, (rows[inside], columns[inside]), (sign * charge * share / n)[inside])
    pair.mark(columns, rows)


def _add_line(pair: _Pair) -> None:
    """Add a piece of a row or column, one or two pixels wide."""
    exposure, sigma = pair.one_of_them()
    ny, nx = pair.shape
    is_column = bool(pair.rng.random() < 0.75)
    length = int(log_uniform(pair.rng, 10.0, 150.0, 1)[0])
    width = int(pair.rng.integers(1, 3))
    level = sigma * float(log_uniform(pair.rng, 1.5, 12.0, 1)[0]) * pair.rng.choice([-1.0, 1.0])
    first_row, first_column = int(pair.rng.integers(0, ny)), int(pair.rng.integers(0, nx))
    size = (length, width) if is_column else (width, length)
    place = (slice(first_row, first_row + size[0]), slice(first_column, first_column + size[1]))
    exposure.image[place] += np.float32(level)
    pair.footprint[place] = True


def _add_bump(pair: _Pair) -> None:
    """Make the sky broadly too bright or too dark."""
    exposure, sigma = pair.one_of_them()
    [x], [y] = pair.places(1)
    width = float(pair.rng.uniform(4.0, 12.0))
    level = sigma * float(log_uniform(pair.rng, 0.3, 3.0, 1)[0]) * pair.rng.choice([-1.0, 1.0])
    box, radius = _box(pair.shape, x, y, int(3 * width))
    exposure.image[box] += (level * np.exp(-0.5 * (radius / width) ** 2)).astype(np.float32)
    pair.footprint[box] |= radius < width


def _box(
    shape: tuple[int, int], x: float, y: float, half: int
) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
    """Pixels round a place, and their distances from it [pixel]."""
    rows = slice(max(int(y) - half, 0), min(int(y) + half + 1, shape[0]))
    columns = slice(max(int(x) - half, 0), min(int(x) + half + 1, shape[1]))
    dy, dx = np.arange(rows.start, rows.stop) - y, np.arange(columns.start, columns.stop) - x
    return (rows, columns), np.hypot(dy[:, None], dx[None, :])


def _add_halos(pair: _Pair, n: int) -> None:
    """Add saturated discs to both images, with wings and spikes that are not quite the same."""
    for x, y in zip(*pair.places(n), strict=True):
        core = float(pair.rng.uniform(3.0, 10.0))
        level = float(log_uniform(pair.rng, 20.0, 400.0, 1)[0]) * max(pair.sigma)
        spikes = float(log_uniform(pair.rng, 0.1, 1.0, 1)[0])
        for exposure in (pair.science, pair.template):
            scale, spike_scale = 1.0 + pair.rng.normal(0.0, [0.05, 0.2])
            at_x, at_y = np.array([x, y]) + pair.rng.normal(0.0, 0.3, 2)
            _add_halo(pair, exposure, (at_x, at_y), core, level * scale, level * spikes * spike_scale)


def _add_halo(  # noqa: PLR0917
    pair: _Pair, exposure: Exposure, place: tuple[float, float], core: float, level: float, spikes: float
) -> None:
    """Add one saturated star to one image: cubic wings, a cross of spikes, photon noise."""
    half = int(6 * core)
    box, radius = _box(pair.shape, *place, half)
    far = np.maximum(radius, core) / core
    light = level * far**-3.0
    dy = np.arange(box[0].start, box[0].stop)[:, None] - place[1]
    dx = np.arange(box[1].start, box[1].stop)[None, :] - place[0]
    across = np.minimum(np.abs(dx), np.abs(dy)) / SPIKE_SIGMA_PIXEL
    light += max(spikes, 0.0) * far**-1.5 * np.exp(-0.5 * across**2)
    taper = np.clip(2.0 - radius / (3.0 * core), 0.0, 1.0)
    light *= taper
    # In units of the sky's noise: light of twice its variance doubles it.
    sigma = pair.sigma[0 if exposure is pair.science else 1]
    extra = light * sigma * 0.1
    exposure.image[box] += (light + pair.rng.normal(size=light.shape) * np.sqrt(extra)).astype(np.float32)
    exposure.variance[box] += extra.astype(np.float32)
    exposure.mask[box] |= np.where(radius < core, MASK_SAT, np.uint32(0)).astype(np.uint32)
    pair.footprint[box] |= radius < 3.0 * core
