"""A seeded piece of sky: stars, galaxies and transients, with ICRS positions [deg] and fluxes [nJy]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.images.exposure import NJY_AB_ZERO_POINT_MAG

# Magnitudes of a source of unit colour above those in r.
_COLOUR_SLOPES = {"u": 2.2, "g": 1.0, "r": 0.0, "i": -0.4, "z": -0.6, "y": -0.7}


@dataclass(frozen=True)
class Sky:
    """What there is to see.

    Parameters
    ----------
    stars : structured ndarray, shape (n_stars,)
        Columns ``ra``, ``dec`` [deg] and ``<band>_flux`` [nJy].
    galaxies : structured ndarray, shape (n_galaxies,)
        As the stars, with ``scale`` (scale length of the disk [arcsec]), ``e1`` and ``e2`` (ellipticity).
    transients : structured ndarray, shape (n_transients,)
        As the stars, with ``transient`` (its number), ``on_host``, and ``fading`` for one that shines in the
        template visits alone; with light curves also as `light_curve` takes.
    variables : structured ndarray, shape (n_variables,)
        As the stars, with ``variable`` (its number), ``period_d`` [d], ``amplitude`` (of a sine, relative)
        and ``phase``; the fluxes are means.
    movers : structured ndarray, shape (n_movers,)
        As the stars, with ``ssObjectId``, ``epoch_mjd_tai`` [d] of the position, and ``ra_rate`` and
        ``dec_rate`` on the sky [deg/d].
    """

    stars: NDArray[Any]
    galaxies: NDArray[Any]
    transients: NDArray[Any]
    variables: NDArray[Any] = field(default_factory=lambda: np.zeros(0))
    movers: NDArray[Any] = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class SkySettings:
    """How full the sky is.

    Parameters
    ----------
    ra, dec : float
        Centre [deg].
    width_arcsec, height_arcsec : float
        Size along right ascension and declination [arcsec].
    n_stars, n_galaxies, n_transients : int
        Numbers of sources.
    brightest_mag, faintest_mag : float
        Range of the stars in r [AB mag]; numbers rise by ``slope_dex`` a magnitude.
    slope_dex : float
        Slope of the logarithm of the number of stars [dex/mag].
    transient_flux : (float, float)
        Range of the transients in r [nJy], uniform in the logarithm.
    bands : tuple of str
        Bands with fluxes.
    n_variables, n_movers : int
        Numbers of variable stars and of movers.
    movers_mjd_tai : float
        When the movers are in the field [d].
    starts_mjd_tai : (float, float), optional
        Between which times transients begin to shine, or to fade [d]; by default each shot tells how bright
        they are.
    """

    ra: float = 150.1
    dec: float = 2.2
    width_arcsec: float = 540.0
    height_arcsec: float = 250.0
    n_stars: int = 550
    n_galaxies: int = 180
    n_transients: int = 26
    brightest_mag: float = 15.8
    faintest_mag: float = 24.0
    slope_dex: float = 0.22
    transient_flux: tuple[float, float] = (900.0, 15000.0)
    bands: tuple[str, ...] = ("r",)
    n_variables: int = 0
    n_movers: int = 0
    movers_mjd_tai: float = 0.0
    starts_mjd_tai: tuple[float, float] | None = None


def make_sky(rng: np.random.Generator, settings: SkySettings) -> Sky:
    """Draw a sky.

    Half of the transients lie on galaxies, one in six fades; no two are closer than 6 arcsec.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    settings : SkySettings
        What to draw.
    """
    stars = _make_stars(rng, settings)
    galaxies = _make_galaxies(rng, settings)
    transients = _make_transients(rng, settings, galaxies)
    return Sky(stars, galaxies, transients, _make_variables(rng, settings), _make_movers(rng, settings))


def light_curve(transients: NDArray[Any], mjd_tai: float) -> NDArray[np.float64]:
    """Brightness of transients at a time, relative to their peak or, of those that fade, to before.

    Parameters
    ----------
    transients : structured ndarray, shape (n,)
        Columns ``start_mjd_tai`` and ``rise_d`` [d], and ``fading``.
    mjd_tai : float
        Time [d, MJD TAI].

    Returns
    -------
    brightness : float64 ndarray, shape (n,)
        ``x exp(1 - x)`` with x the time since the start in units of the rise; a fading one has 1 before and
        0 after.
    """
    age = np.maximum((mjd_tai - transients["start_mjd_tai"]) / transients["rise_d"], 0.0)
    brightness: NDArray[np.float64] = np.where(transients["fading"], age == 0.0, age * np.exp(1.0 - age))
    return brightness


def moved_to(movers: NDArray[Any], mjd_tai: float) -> NDArray[Any]:
    """Return movers where they are at a time [d, MJD TAI]."""
    there = movers.copy()
    if len(movers):
        days = mjd_tai - movers["epoch_mjd_tai"]
        there["dec"] += movers["dec_rate"] * days
        there["ra"] += movers["ra_rate"] * days / np.cos(np.radians(there["dec"]))
    return there


def make_reference_catalog(
    rng: np.random.Generator,
    sky: Sky,
    bands: Sequence[str],
    *,
    faintest_mag: float = 22.5,
    position_err_mas: float = 10.0,
    relative_flux_err: float = 0.01,
) -> NDArray[Any]:
    """Make the catalogue of a survey that has measured the stars before.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the errors.
    sky : Sky
        What there is.
    bands : sequence of str
        Bands of the catalogue; the first one limits it.
    faintest_mag : float
        Limit [AB mag].
    position_err_mas : float
        1-sigma error of each coordinate on the sky [mas].
    relative_flux_err : float
        1-sigma relative error of the fluxes.

    Returns
    -------
    catalog : structured ndarray, shape (n,)
        ``ra``, ``dec`` [deg], ``<band>_flux`` and ``<band>_fluxErr`` [nJy].
    """
    limit = _flux_from_mag(np.array(faintest_mag))
    stars = sky.stars[sky.stars[f"{bands[0]}_flux"] > limit]
    names = ["ra", "dec", *(f"{band}_{part}" for band in bands for part in ("flux", "fluxErr"))]
    catalog = np.zeros(len(stars), dtype=[(name, np.float64) for name in names])
    error_deg = position_err_mas / 3.6e6
    catalog["dec"] = stars["dec"] + rng.normal(0, error_deg, len(stars))
    catalog["ra"] = stars["ra"] + rng.normal(0, error_deg, len(stars)) / np.cos(np.radians(stars["dec"]))
    for band in bands:
        flux = stars[f"{band}_flux"]
        catalog[f"{band}_flux"] = flux * (1.0 + rng.normal(0, relative_flux_err, len(stars)))
        catalog[f"{band}_fluxErr"] = flux * relative_flux_err
    return catalog


def _make_stars(rng: np.random.Generator, settings: SkySettings) -> NDArray[Any]:
    stars = _empty(settings.n_stars, settings.bands)
    _place(rng, stars, settings)
    bright, faint = (
        10 ** (settings.slope_dex * mag) for mag in (settings.brightest_mag, settings.faintest_mag)
    )
    r_mag = np.log10(rng.uniform(bright, faint, len(stars))) / settings.slope_dex
    _paint(stars, r_mag, rng.normal(0.7, 0.3, len(stars)), settings.bands)
    return stars


def _make_galaxies(rng: np.random.Generator, settings: SkySettings) -> NDArray[Any]:
    shape = [("scale", np.float64), ("e1", np.float64), ("e2", np.float64)]
    galaxies = _empty(settings.n_galaxies, settings.bands, shape)
    _place(rng, galaxies, settings)
    r_mag = np.log10(rng.uniform(10 ** (0.3 * 19.0), 10 ** (0.3 * 24.0), len(galaxies))) / 0.3
    _paint(galaxies, r_mag, rng.normal(0.9, 0.3, len(galaxies)), settings.bands)
    galaxies["scale"] = 0.35 * rng.lognormal(0.0, 0.3, len(galaxies)) * 10 ** (0.1 * (22.0 - r_mag))
    ellipticity, angle = rng.uniform(0, 0.6, len(galaxies)), rng.uniform(0, 2 * np.pi, len(galaxies))
    galaxies["e1"], galaxies["e2"] = ellipticity * np.cos(angle), ellipticity * np.sin(angle)
    return galaxies


def _make_transients(rng: np.random.Generator, settings: SkySettings, galaxies: NDArray[Any]) -> NDArray[Any]:
    extra: list[tuple[str, Any]] = [("transient", np.int64), ("on_host", np.bool_), ("fading", np.bool_)]
    if settings.starts_mjd_tai is not None:
        extra += [("start_mjd_tai", np.float64), ("rise_d", np.float64)]
    transients = _empty(settings.n_transients, settings.bands, extra)
    transients["transient"] = np.arange(1, len(transients) + 1)
    transients["on_host"] = (np.arange(len(transients)) % 2 == 0) & (len(galaxies) > 0)
    transients["fading"] = np.arange(len(transients)) % 6 == 5
    for index in range(len(transients)):
        _place_apart(rng, settings, transients, index, galaxies)
    low, high = np.log10(settings.transient_flux)
    r_flux = 10 ** rng.uniform(low, high, len(transients))
    r_mag = NJY_AB_ZERO_POINT_MAG - 2.5 * np.log10(r_flux)
    _paint(transients, r_mag, rng.normal(0.1, 0.2, len(transients)), settings.bands)
    if settings.starts_mjd_tai is not None:
        transients["start_mjd_tai"] = rng.uniform(*settings.starts_mjd_tai, len(transients))
        transients["rise_d"] = rng.uniform(4.0, 15.0, len(transients))
    return transients


def _make_variables(rng: np.random.Generator, settings: SkySettings) -> NDArray[Any]:
    """Pulsating stars of half a day to a month."""
    names = ("period_d", "amplitude", "phase")
    extra: list[tuple[str, Any]] = [("variable", np.int64), *((name, np.float64) for name in names)]
    variables = _empty(settings.n_variables, settings.bands, extra)
    number = len(variables)
    variables["variable"] = np.arange(1, number + 1)
    _place(rng, variables, settings)
    _paint(variables, rng.uniform(18.0, 21.5, number), rng.normal(0.3, 0.2, number), settings.bands)
    variables["period_d"] = 10 ** rng.uniform(-0.3, 1.5, number)
    variables["amplitude"] = rng.uniform(0.1, 0.5, number)
    variables["phase"] = rng.uniform(0.0, 1.0, number)
    return variables


def _make_movers(rng: np.random.Generator, settings: SkySettings) -> NDArray[Any]:
    """Asteroids of the main belt: a tenth to a quarter of a degree a day, mostly along the ecliptic."""
    rates = [(name, np.float64) for name in ("epoch_mjd_tai", "ra_rate", "dec_rate")]
    movers = _empty(settings.n_movers, settings.bands, [("ssObjectId", np.int64), *rates])
    number = len(movers)
    movers["ssObjectId"] = np.arange(1, number + 1)
    movers["epoch_mjd_tai"] = settings.movers_mjd_tai
    _place(rng, movers, settings)
    _paint(movers, rng.uniform(19.0, 21.0, number), rng.normal(0.5, 0.1, number), settings.bands)
    rate, angle = rng.uniform(0.1, 0.25, number), np.radians(rng.normal(204.0, 15.0, number))
    movers["ra_rate"], movers["dec_rate"] = rate * np.cos(angle), rate * np.sin(angle)
    return movers


def _place_apart(
    rng: np.random.Generator,
    settings: SkySettings,
    transients: NDArray[Any],
    index: int,
    galaxies: NDArray[Any],
) -> None:
    """Place one transient away from those placed before it."""
    row, others = transients[index : index + 1], transients[:index]
    for _ in range(1000):
        _place(rng, row, settings)
        if row["on_host"][0]:
            host = galaxies[rng.integers(len(galaxies))]
            offset = rng.normal(0, host["scale"], 2) / 3600.0
            row["dec"] = host["dec"] + offset[0]
            row["ra"] = host["ra"] + offset[1] / np.cos(np.radians(host["dec"]))
        apart = np.hypot(
            (others["ra"] - row["ra"]) * np.cos(np.radians(row["dec"])), others["dec"] - row["dec"]
        )
        if not len(others) or apart.min() * 3600.0 > 6.0:
            return
    raise ValueError(f"{settings.n_transients} transients do not fit the field without overlap")


def _empty(n: int, bands: Sequence[str], extra: Sequence[tuple[str, Any]] = ()) -> NDArray[Any]:
    fluxes = [(f"{band}_flux", np.float64) for band in bands]
    return np.zeros(n, dtype=[("ra", np.float64), ("dec", np.float64), *fluxes, *extra])


def _place(rng: np.random.Generator, sources: NDArray[Any], settings: SkySettings) -> None:
    """Spread sources over the field."""
    u, v = rng.uniform(-0.5, 0.5, (2, len(sources)))
    dec = settings.dec + v * settings.height_arcsec / 3600.0
    sources["dec"] = dec
    sources["ra"] = (settings.ra + u * settings.width_arcsec / 3600.0 / np.cos(np.radians(dec))) % 360.0


def _paint(
    sources: NDArray[Any], r_mag: NDArray[np.float64], colour: NDArray[np.float64], bands: Sequence[str]
) -> None:
    for band in bands:
        sources[f"{band}_flux"] = _flux_from_mag(r_mag + colour * _COLOUR_SLOPES[band])


def _flux_from_mag(mag: NDArray[np.float64]) -> NDArray[np.float64]:
    flux: NDArray[np.float64] = 10 ** (0.4 * (NJY_AB_ZERO_POINT_MAG - mag))
    return flux
