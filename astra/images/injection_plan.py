"""Where sources are injected, and how bright: on blank sky, on galaxies, as trails, into the template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astra.compiled import compiled
from astra.images.exposure import MASK_BAD, MASK_DETECTED, MASK_EDGE, MASK_NO_DATA, MASK_SAT, Exposure
from astra.images.injection import INJECTION_DTYPE
from astra.images.masks import grow_square
from astra.images.stamps import cut_stamps, psf_stamps

if TYPE_CHECKING:
    from astropy.wcs import WCS

UNUSABLE = MASK_BAD | MASK_SAT | MASK_EDGE | MASK_NO_DATA
DEFECT_FLAGS = ("flag_crCenter", "flag_interpolatedCenter", "flag_bad", "flag_saturated", "flag_suspect")
TRIES_PER_SOURCE = 30
NO_HOST = -1


@dataclass(frozen=True)
class InjectionConfig:
    """How many sources are injected, of which kinds, and how bright.

    Parameters
    ----------
    n_isolated, n_hosted, n_trails : int
        Point sources on blank sky and on galaxies, and trails, in the science image.
    n_negative : int
        Point sources that are brighter in the template: negative on the difference; half of them on galaxies.
    snr_min, snr_max : float
        Range of the signal to noise, evenly in its logarithm.
    trail_length_min_pixel, trail_length_max_pixel : float
        Range of the lengths of trails [pixel].
    spacing_pixel : float
        Least distance between injected sources [pixel].
    edge_pixel : int
        Least distance from the edge of the image and from saturated or missing pixels [pixel].
    host_min_snr : float
        Least signal to noise of a galaxy.
    host_scale : float
        Mean distance from the centre of a galaxy, in units of its rms radius.
    """

    n_isolated: int = 200
    n_hosted: int = 200
    n_trails: int = 20
    n_negative: int = 80
    snr_min: float = 4.0
    snr_max: float = 100.0
    trail_length_min_pixel: float = 5.0
    trail_length_max_pixel: float = 40.0
    spacing_pixel: float = 30.0
    edge_pixel: int = 20
    host_min_snr: float = 10.0
    host_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.snr_min <= self.snr_max:
            message = (
                f"injected sources need 0 < snr_min <= snr_max, found {self.snr_min:g} and {self.snr_max:g}"
            )
            raise ValueError(message)


def plan_injections(
    science: Exposure,
    template: Exposure,
    sources: NDArray[np.void],
    rng: np.random.Generator,
    config: InjectionConfig | None = None,
) -> NDArray[np.void]:
    """Draw sources to inject.

    Parameters
    ----------
    science, template : Exposure, shape (ny, nx)
        On one grid, with PSF and WCS.
    sources : structured ndarray
        What was measured on the science image; the galaxies among them are hosts, unless a flag tells of a
        defect.
    rng : numpy.random.Generator
    config : InjectionConfig, optional

    Returns
    -------
    injections : structured ndarray, dtype `astra.images.injection.INJECTION_DTYPE`
        ``snr`` is the flux over the error that a PSF flux has there on the difference; a trail's is that of
        a point of its flux. Fewer than asked for where there is no room.
    """
    config = config or InjectionConfig()
    free, detected = _free_pixels(science, template, config.edge_pixel)
    blank = _PixelsToDraw(free & ~grow_square(detected, int(np.ceil(config.edge_pixel / 2))))
    hosts = _hosts(sources, config)
    taken: list[NDArray[np.float64]] = []
    parts = []
    for name, n, hosted in (
        ("point", config.n_isolated, False),
        ("point", config.n_hosted, True),
        ("negative", config.n_negative // 2, False),
        ("negative", config.n_negative - config.n_negative // 2, True),
        ("trail", config.n_trails, False),
    ):
        part = _host_positions(hosts, n, rng, config) if hosted else _blank_positions(blank, n, rng)
        part = _keep_apart(part, free, taken, n, config.spacing_pixel)
        part["isNegative"] = name == "negative"
        if name == "trail":
            lengths = config.trail_length_min_pixel, config.trail_length_max_pixel
            part["trailLength"] = rng.uniform(*lengths, len(part))
            part["trailAngle"] = rng.uniform(-90.0, 90.0, len(part))
        parts.append(part)
    injections = np.concatenate(parts)
    injections["injectionId"] = np.arange(len(injections))
    injections["snr"] = np.exp(rng.uniform(np.log(config.snr_min), np.log(config.snr_max), len(injections)))
    injections["flux"] = injections["snr"] * point_source_error(science, template, injections)
    _set_sky_positions(injections, science.wcs)
    return injections


def _free_pixels(
    science: Exposure, template: Exposure, edge: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pixels far from what cannot be used and from the edge of the image, and those of sources."""
    unusable, detected = np.empty(science.shape, dtype=bool), np.empty(science.shape, dtype=bool)
    pairs = (science.image, science.mask), (template.image, template.mask)
    _sort_pixels(*pairs, unusable, detected)
    free: NDArray[np.bool_] = ~grow_square(unusable, edge)
    ny, nx = free.shape
    for edges in (np.s_[:edge], np.s_[max(ny - edge, 0) :], np.s_[:, :edge], np.s_[:, max(nx - edge, 0) :]):
        free[edges] = False
    return free, detected


@compiled
def _sort_pixels(science, template, unusable, detected):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Tell where one of two images cannot be used, and where the first has a source."""
    (image, mask), (other, other_mask) = science, template
    ny, nx = unusable.shape
    for y in range(ny):
        for x in range(nx):
            flagged = ((mask[y, x] | other_mask[y, x]) & UNUSABLE) != 0
            # A difference with itself is 0 for finite values alone.
            unusable[y, x] = flagged | (image[y, x] - image[y, x] != 0) | (other[y, x] - other[y, x] != 0)
            detected[y, x] = (mask[y, x] & MASK_DETECTED) != 0


def _hosts(sources: NDArray[np.void], config: InjectionConfig) -> NDArray[np.void]:
    """Galaxies with a shape, and no defects that look like one."""
    chosen = np.isfinite(sources["ixx"]) & np.isfinite(sources["iyy"]) & np.isfinite(sources["ixy"])
    chosen &= (sources["extendedness"] > 0.5) & (sources["snr"] > config.host_min_snr)
    for name in DEFECT_FLAGS:
        if name in (sources.dtype.names or ()):
            chosen &= ~sources[name]
    hosts: NDArray[np.void] = sources[chosen]
    return hosts


class _PixelsToDraw:
    """The True pixels of a mask, of which any number is drawn without a list of all."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask = mask
        self.ends = np.cumsum(np.count_nonzero(mask, axis=1))  # how many there are to the end of each line

    def draw(self, n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw rows and columns of n pixels, shape (n,); none if there is none."""
        total = int(self.ends[-1]) if len(self.ends) else 0
        ranks = rng.integers(0, max(total, 1), size=n if total else 0)
        rows = np.searchsorted(self.ends, ranks, side="right")
        columns = np.empty(len(rows), dtype=np.int64)
        _find_true(self.mask, rows, ranks - np.append(0, self.ends)[rows], columns)
        return rows, columns


@compiled
def _find_true(mask, rows, ranks, columns):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Column of the True pixel of a rank, from 0, in its row."""
    for k in range(len(rows)):
        line, left, x = mask[rows[k]], ranks[k], 0
        while left > 0 or not line[x]:
            left -= line[x]
            x += 1
        columns[k] = x


def _blank_positions(blank: _PixelsToDraw, n: int, rng: np.random.Generator) -> NDArray[np.void]:
    """Candidates on pixels without a source."""
    rows, columns = blank.draw(n * TRIES_PER_SOURCE, rng)
    candidates = np.zeros(len(rows), dtype=INJECTION_DTYPE)
    candidates["x"] = columns + rng.uniform(-0.5, 0.5, len(rows))
    candidates["y"] = rows + rng.uniform(-0.5, 0.5, len(rows))
    candidates["hostId"], candidates["hostOffset"] = NO_HOST, np.nan
    return candidates


def _host_positions(
    hosts: NDArray[np.void], n: int, rng: np.random.Generator, config: InjectionConfig
) -> NDArray[np.void]:
    """Candidates on galaxies: exponential from the centre outwards, along the ellipse of the moments."""
    size = n * TRIES_PER_SOURCE if len(hosts) else 0
    chosen = hosts[rng.integers(0, max(len(hosts), 1), size)]
    candidates = np.zeros(size, dtype=INJECTION_DTYPE)
    angle = rng.uniform(0.0, 2.0 * np.pi, size)
    radius = rng.gamma(2.0, config.host_scale / 2.0, size)  # surface density falls as exp(-r)
    xx = np.maximum(chosen["ixx"].astype(float), 0.1)
    along = np.sqrt(xx)
    cross = chosen["ixy"] / along
    across = np.sqrt(np.maximum(chosen["iyy"] - cross**2, 0.1))  # Cholesky factor of the moments
    dx = radius * along * np.cos(angle)
    dy = radius * (cross * np.cos(angle) + across * np.sin(angle))
    candidates["x"], candidates["y"] = chosen["x"] + dx, chosen["y"] + dy
    candidates["hostId"], candidates["hostOffset"] = chosen["id"], np.hypot(dx, dy)
    return candidates


def _keep_apart(
    candidates: NDArray[np.void],
    free: NDArray[np.bool_],
    taken: list[NDArray[np.float64]],
    n: int,
    spacing: float,
) -> NDArray[np.void]:
    """Take the first n candidates on free pixels that are apart from each other and from those taken."""
    ny, nx = free.shape
    columns, rows = np.rint(candidates["x"]).astype(np.int64), np.rint(candidates["y"]).astype(np.int64)
    inside = (columns >= 0) & (rows >= 0) & (columns < nx) & (rows < ny)
    inside[inside] = free[rows[inside], columns[inside]]
    candidates = candidates[inside]
    places = np.stack([candidates["x"], candidates["y"]], axis=-1)
    dropped = np.zeros(len(places), dtype=bool)
    if taken and len(places):
        dropped = cKDTree(np.array(taken)).query(places)[0] < spacing
    tree, kept = cKDTree(places.reshape(-1, 2)), list[int]()
    for k in range(len(places)):
        if len(kept) == n:
            break
        if not dropped[k]:
            kept.append(k)
            dropped[tree.query_ball_point(places[k], spacing)] = True
    taken.extend(places[kept])
    return candidates[kept]


def point_source_error(
    science: Exposure, template: Exposure, positions: NDArray[np.void]
) -> NDArray[np.float64]:
    """Error of a point source's flux at ``x``, ``y`` on the difference of two exposures [nJy], shape (n,).

    That of the sky and of the sources that are there, for the PSF and the flux scale of the science image.
    """
    psf = science.psf
    if psf is None:
        raise ValueError("the error of a point source needs an exposure with a PSF")
    x, y = positions["x"].astype(float), positions["y"].astype(float)
    model = psf_stamps(psf, x, y)
    columns, rows = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    total = cut_stamps(science.variance, columns, rows, model.shape[1])
    total += cut_stamps(template.variance, columns, rows, model.shape[1])
    weight = np.where(np.isfinite(total) & (total > 0), 1.0 / np.where(total > 0, total, 1.0), 0.0)
    factor = float(science.metadata.get("APCORR", 1.0))
    error: NDArray[np.float64] = factor / np.sqrt(np.einsum("nij,nij,nij->n", model, model, weight))
    return error


def _set_sky_positions(injections: NDArray[np.void], wcs: WCS | None) -> None:
    """Fill ra and dec [deg], in place; NaN without a WCS."""
    if wcs is None:
        injections["ra"] = injections["dec"] = np.nan
    elif len(injections):
        injections["ra"], injections["dec"] = wcs.all_pix2world(injections["x"], injections["y"], 0)
