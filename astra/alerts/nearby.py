"""What our own schema adds to Rubin's: nearest stars and galaxies, and upper limits of earlier visits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astra.alerts.encoder import Related
from astra.sky.regions import ARCSEC_PER_RADIAN, unit_vectors

LIMIT_SNR = 5.0


@dataclass(frozen=True)
class NearbyConfig:
    """Which stars and galaxies are near.

    Parameters
    ----------
    radius_arcsec : float
        Largest distance [arcsec].
    n_nearest : int
        How many of each kind of each catalogue.
    """

    radius_arcsec: float = 30.0
    n_nearest: int = 3

    def __post_init__(self) -> None:
        if not (0 < self.radius_arcsec < np.inf and self.n_nearest >= 1):
            message = (
                f"the nearest sources need a positive radius [arcsec] and number, found {self.radius_arcsec} "
                f"and {self.n_nearest}"
            )
            raise ValueError(message)


def nearby_catalog(
    name: str, table: NDArray[Any], is_star: NDArray[np.bool_], band: str, flux: str = "flux"
) -> NDArray[Any]:
    """Bring a catalogue to the columns that `nearest_sources` takes.

    Parameters
    ----------
    name : str
        Name of the catalogue.
    table : structured ndarray, shape (n,)
        ``id``, ``ra``, ``dec`` [deg], and the flux and its error [nJy].
    is_star : bool ndarray, shape (n,)
        Which are stars; the others are galaxies.
    band : str
        Band of the flux.
    flux : str, optional
        Column of the flux.
    """
    kinds = [("catalog", "U9"), ("id", "i8"), ("ra", "f8"), ("dec", "f8"), ("band", "U8"), ("isStar", "?")]
    rows = np.zeros(len(table), [*kinds, ("flux", "f4"), ("fluxErr", "f4")])
    rows["catalog"], rows["band"], rows["isStar"] = name, band, is_star
    for column in ("id", "ra", "dec"):
        rows[column] = table[column]
    for column, source in (("flux", flux), ("fluxErr", f"{flux}Err")):
        values = np.asarray(table[source], dtype=np.float64)
        rows[column] = np.where(np.abs(values) < np.finfo(np.float32).max, values, np.nan)
    placed: NDArray[Any] = rows[np.isfinite(rows["ra"]) & np.isfinite(rows["dec"])]
    return placed


def nearest_sources(
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    catalogs: Sequence[NDArray[Any]],
    config: NearbyConfig | None = None,
) -> dict[str, Related]:
    """Find the nearest stars and galaxies of positions.

    Parameters
    ----------
    ra, dec : float64 ndarray, shape (n,)
        Detections [deg, ICRS].
    catalogs : sequence of structured ndarray
        See `nearby_catalog`.
    config : NearbyConfig, optional
        How far, and how many.

    Returns
    -------
    lists : dict of str to Related
        ``nearestStars`` and ``nearestGalaxies``, nearest first.
    """
    chosen = config or NearbyConfig()
    return {
        name: _lists(ra, dec, [one[one["isStar"] == is_star] for one in catalogs], chosen)
        for name, is_star in (("nearestStars", True), ("nearestGalaxies", False))
    }


def _lists(
    ra: NDArray[np.float64], dec: NDArray[np.float64], catalogs: list[NDArray[Any]], config: NearbyConfig
) -> Related:
    """Nearest sources of one kind, of all catalogues together."""
    found = [_pairs(ra, dec, catalog, config) for catalog in catalogs if len(catalog)]
    if not found:
        return Related({}, np.zeros(0, np.int64), np.zeros(len(ra) + 1, np.int64))
    owner = np.concatenate([one for one, _ in found])
    rows = np.concatenate([part for _, part in found])
    order = np.lexsort([rows["separation"], owner])
    start = np.searchsorted(owner[order], np.arange(len(ra) + 1)).astype(np.int64)
    return Related(rows[order], np.arange(len(rows)), start)


def _pairs(
    ra: NDArray[np.float64], dec: NDArray[np.float64], catalog: NDArray[Any], config: NearbyConfig
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the number of the detection, and the row, of each source that is near."""
    chord = 2 * np.sin(min(config.radius_arcsec / ARCSEC_PER_RADIAN, np.pi) / 2)
    tree = cKDTree(unit_vectors(catalog["ra"], catalog["dec"]))
    count = min(config.n_nearest, len(catalog))
    distance, index = tree.query(unit_vectors(ra, dec), k=[*range(1, count + 1)], distance_upper_bound=chord)
    owner, place = np.nonzero(np.isfinite(distance))
    source = catalog[index[owner, place]]
    fields = [*catalog.dtype.descr, ("separation", "f4"), ("positionAngle", "f4")]
    rows = np.zeros(len(owner), fields)
    for name in catalog.dtype.names or ():
        rows[name] = source[name]
    east, north = _offsets(ra[owner], dec[owner], source["ra"], source["dec"])
    rows["separation"] = 2 * np.arcsin(distance[owner, place] / 2) * ARCSEC_PER_RADIAN
    rows["positionAngle"] = np.rad2deg(np.arctan2(east, north)) % 360.0
    return owner, rows


def _offsets(
    ra0: NDArray[np.float64], dec0: NDArray[np.float64], ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Components to the east and north of the direction from one position to another."""
    turn, first, second = np.deg2rad(ra - ra0), np.deg2rad(dec0), np.deg2rad(dec)
    # 2 sin**2 keeps the digits that a difference of cosines loses over arcseconds.
    north = np.sin(second - first) + 2 * np.sin(first) * np.cos(second) * np.sin(turn / 2) ** 2
    return np.cos(second) * np.sin(turn), north


def upper_limits(
    forced: Mapping[str, NDArray[Any]],
    lists: Sequence[NDArray[np.int64]],
    detected: Sequence[set[tuple[int, int]]],
    methods: Sequence[str],
) -> Related:
    """Limits of visits that did not detect an object: `LIMIT_SNR` times the noise of forced photometry.

    Parameters
    ----------
    forced : mapping of str to ndarray
        Rows of forced measurements, columns of DiaForcedSource; masked where they are null.
    lists : sequence of int64 ndarray
        Rows of each detection's object, oldest first, or of an object next to it.
    detected : sequence of set of (visit, detector)
        Where the object of each detection was detected.
    methods : sequence of str
        Where the noise of each was measured: ``forced`` or ``neighbour``.

    Returns
    -------
    limits : Related
        One row for each visit with a finite noise that did not detect the object.
    """
    noise = np.ma.filled(np.ma.asarray(forced["psfFluxErr"], dtype=np.float64), np.nan)
    pairs = list(zip(_plain(forced["visit"]), _plain(forced["detector"]), strict=True))
    usable = np.isfinite(noise) & (noise > 0)
    kept = [
        [row for row in rows.tolist() if usable[row] and pairs[row] not in seen]
        for rows, seen in zip(lists, detected, strict=True)
    ]
    rows = np.array([row for one in kept for row in one], dtype=np.int64)
    columns: dict[str, Any] = {
        name: forced[name][rows] for name in ("visit", "detector", "band", "midpointMjdTai")
    }
    columns["limitFlux"] = LIMIT_SNR * noise[rows]
    columns["limitSnr"] = np.full(len(rows), LIMIT_SNR, dtype=np.float32)
    columns["method"] = np.array(
        [method for method, one in zip(methods, kept, strict=True) for _ in one], dtype="U9"
    )
    start = np.zeros(len(kept) + 1, dtype=np.int64)
    np.cumsum([len(one) for one in kept], out=start[1:])
    return Related(columns, np.arange(len(rows)), start)


def _plain(column: NDArray[Any]) -> list[int]:
    values: list[int] = np.ma.getdata(column).tolist()
    return values
