"""Point sources put into a science frame, and how many of them the difference gives back, how bright."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree

from astra.images.difference import difference_images
from astra.images.exposure import (
    MASK_BAD,
    MASK_DETECTED,
    MASK_DETECTED_NEGATIVE,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
)
from astra.images.injection import INJECTION_DTYPE, electrons_per_njy, inject_sources
from astra.images.masks import grow_square
from astra.images.stamps import cut_stamps, psf_stamps

SNR_BINS = (5.0, 7.0, 10.0, 20.0, 50.0)
EDGE_PIXEL = 25
DEFECT_PIXEL = 13  # from saturated and missing pixels: no source is expected within their masks' growth
APART_PIXEL = 25.0
KNOWN_PIXEL = 8  # from footprints on the difference without injections
MATCH_PIXEL = 2.5
HOST_OFFSET_PIXEL = 2.0
HOST_SNR = 10.0
STAMP_PIXEL = 19


@dataclass(frozen=True)
class Injections:
    """Injected sources: positions [pixel], flux and its error on the difference [nJy], and if on a galaxy."""

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    error: np.ndarray
    hosted: np.ndarray

    @property
    def snr(self):
        return self.flux / self.error


def plan_injections(science, result, sources, rng, n):
    """Choose at most ``n`` places, half of them on galaxies, and fluxes, as many in each range of S/N.

    ``result`` is the difference without injections, ``sources`` the catalogue of the science frame.
    """
    difference = result.difference
    # Faint hosts would be those that noise made bright in this very frame.
    hosts = (sources["extendedness"] > 0.5) & (sources["snr"] > HOST_SNR)
    hosts = rng.permutation(np.stack([sources["x"][hosts], sources["y"][hosts]], axis=1))
    hosts = hosts + rng.uniform(-HOST_OFFSET_PIXEL, HOST_OFFSET_PIXEL, hosts.shape)
    ny, nx = science.shape
    blank = np.stack([rng.uniform(0, nx, 20 * n), rng.uniform(0, ny, 20 * n)], axis=1)
    clean = np.isfinite(sources["x"])
    to_source = cKDTree(np.stack([sources["x"], sources["y"]], axis=1)[clean]).query(blank)[0]
    chosen, hosted = [], []
    for places, on_galaxy in ((hosts, True), (blank[to_source > APART_PIXEL / 2], False)):
        free = is_usable(difference, places)
        for place in places[free]:
            if len(chosen) >= (n // 2 if on_galaxy else 2 * sum(hosted)):
                break
            if not chosen or np.min(np.hypot(*(np.array(chosen) - place).T)) > APART_PIXEL:
                chosen.append(place)
                hosted.append(on_galaxy)
    x, y = np.array(chosen).T
    which = rng.integers(len(SNR_BINS) - 1, size=len(x))
    low, high = np.log(np.array(SNR_BINS)[which]), np.log(np.array(SNR_BINS)[which + 1])
    flux, error = flux_of_snr(science, result, x, y, np.exp(rng.uniform(low, high)))
    return Injections(x, y, flux, error, np.array(hosted))


def is_usable(difference, places):
    """Tell for each place (x, y) whether it is away from edges, defects, and what is detected anyway."""
    ny, nx = difference.shape
    bad = grow_square(
        (difference.mask & (MASK_BAD | MASK_NO_DATA | MASK_SAT | MASK_SAT_TEMPLATE)) > 0, DEFECT_PIXEL
    )
    bad |= grow_square((difference.mask & (MASK_DETECTED | MASK_DETECTED_NEGATIVE)) > 0, KNOWN_PIXEL)
    x, y = np.rint(places).astype(int).T
    inside = (np.minimum(x, y) >= EDGE_PIXEL) & (x < nx - EDGE_PIXEL) & (y < ny - EDGE_PIXEL)
    return inside & ~bad[np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)]


def flux_of_snr(science, result, x, y, snr):
    """Flux of a point source with a given S/N on the difference, its own photons included, and its error.

    A pixel that is interpolated in either image tells nothing of its own.
    """
    difference, columns, rows = result.difference, np.rint(x).astype(int), np.rint(y).astype(int)
    made_up = ((science.mask | result.matched_template.mask) & MASK_INTRP) > 0
    stamp = psf_stamps(difference.psf, x, y, STAMP_PIXEL)
    variance = cut_stamps(np.where(made_up, np.inf, difference.variance), columns, rows, STAMP_PIXEL)
    photon = np.maximum(stamp, 0) / electrons_per_njy(science)
    flux = np.zeros(len(x))
    for _ in range(20):
        error = np.sum(stamp**2 / (variance + photon * flux[:, None, None]), axis=(1, 2)) ** -0.5
        flux = snr * error
    return flux, error


def recover(science, template, injections, rng, config=None):
    """Inject, subtract, detect: S/N, host, whether found, and the measured flux, one row per injection."""
    rows = np.zeros(
        len(injections.x),
        dtype=[
            ("snr", "f8"), ("hosted", "?"), ("found", "?"), ("flux", "f8"),
            ("psfFlux", "f8"), ("psfFluxErr", "f8"), ("x", "f8"), ("y", "f8"),
        ],
    )  # fmt: skip
    table = np.zeros(len(injections.x), dtype=INJECTION_DTYPE)
    table["x"], table["y"], table["flux"] = injections.x, injections.y, injections.flux
    frame = inject_sources(science, table, rng)
    found = difference_images(frame, template, config).dia_sources
    found = found[~found["isNegative"]]
    distance, nearest = cKDTree(np.stack([found["x"], found["y"]], axis=1)).query(
        np.stack([injections.x, injections.y], axis=1)
    )
    for name in ("snr", "hosted", "flux", "x", "y"):
        rows[name] = getattr(injections, name)
    rows["found"] = distance < MATCH_PIXEL
    for name in ("psfFlux", "psfFluxErr"):
        rows[name] = np.where(rows["found"], found[name][nearest], np.nan)
    return rows


def flux_bias(rows):
    """Mean relative bias of the fluxes of found sources, each weighted by its S/N, and its error."""
    rows = rows[rows["found"]]
    weight = rows["snr"] ** 2
    deviation = rows["psfFlux"] / rows["flux"] - 1
    return np.sum(weight * deviation) / np.sum(weight), np.sum(weight) ** -0.5


def table(rows):
    """Completeness and flux bias by S/N and by place, a dictionary of dictionaries to print."""
    lines = {}
    for low, high in [*pairwise(SNR_BINS), (10.0, 50.0)]:
        for place, here in (("sky", ~rows["hosted"]), ("galaxy", rows["hosted"])):
            some = rows[here & (rows["snr"] >= low) & (rows["snr"] < high)]
            if len(some) == 0:
                continue
            bias, error = flux_bias(some)
            lines[f"{low:g}-{high:g} {place}"] = {
                "injected": len(some),
                "found": int(some["found"].sum()),
                "completeness": float(some["found"].mean()),
                "bias %": 100 * float(bias),
                "+- %": 100 * float(error),
            }
    return lines
