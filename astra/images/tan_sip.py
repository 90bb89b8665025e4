"""Tangent-plane coordinates with SIP polynomials: fitted to points, and made from any smooth mapping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.wcs import WCS, Sip
from numpy.typing import NDArray

from astra.images.psf import polynomial_powers

FloatArray = NDArray[np.float64]


def project_gnomonic(
    ra: FloatArray, dec: FloatArray, ra0: float, dec0: float
) -> tuple[FloatArray, FloatArray]:
    """Project onto the tangent plane.

    Parameters
    ----------
    ra, dec : float64 ndarray, shape (n,)
        ICRS [deg].
    ra0, dec0 : float
        Tangent point [deg].

    Returns
    -------
    xi, eta : float64 ndarray, shape (n,)
        Standard coordinates, east and north [deg]; NaN on the far hemisphere.
    """
    delta = np.radians(np.asarray(ra) - ra0)
    sin, cos = np.sin(np.radians(dec)), np.cos(np.radians(dec))
    sin0, cos0 = np.sin(np.radians(dec0)), np.cos(np.radians(dec0))
    depth = sin0 * sin + cos0 * cos * np.cos(delta)
    depth = np.where(depth > 0, depth, np.nan)
    xi = cos * np.sin(delta) / depth
    eta = (cos0 * sin - sin0 * cos * np.cos(delta)) / depth
    return np.degrees(xi), np.degrees(eta)


def deproject_gnomonic(
    xi: NDArray[np.floating[Any]], eta: NDArray[np.floating[Any]], ra0: float, dec0: float
) -> tuple[FloatArray, FloatArray]:
    """Inverse of `project_gnomonic`: ra in 0..360, dec [deg]."""
    x, y = np.radians(xi), np.radians(eta)
    sin0, cos0 = np.sin(np.radians(dec0)), np.cos(np.radians(dec0))
    along = cos0 - y * sin0
    ra = (ra0 + np.degrees(np.arctan2(x, along))) % 360.0
    dec = np.degrees(np.arctan2(sin0 + y * cos0, np.hypot(x, along)))
    return ra, dec


def polynomial_design(u: FloatArray, v: FloatArray, order: int) -> FloatArray:
    """Terms u**i v**j of total degree up to ``order``, shape (n, n_terms)."""
    u_powers, v_powers = [np.ones_like(u)], [np.ones_like(v)]
    for _ in range(order):  # multiplied up: a power costs far more than a product
        u_powers.append(u_powers[-1] * u)
        v_powers.append(v_powers[-1] * v)
    return np.stack([u_powers[i] * v_powers[j] for i, j in polynomial_powers(order)], axis=-1)


def fit_tan_sip(
    x: FloatArray,
    y: FloatArray,
    ra: FloatArray,
    dec: FloatArray,
    *,
    order: int,
    shape: tuple[int, int],
    weights: FloatArray | None = None,
) -> WCS:
    """Fit a TAN-SIP solution to points by linear least squares (Shupe et al. 2005, ASPC 347, 491).

    Parameters
    ----------
    x, y : float64 ndarray, shape (n,)
        0-based positions [pixel].
    ra, dec : float64 ndarray, shape (n,)
        ICRS [deg].
    order : int
        Total degree of the distortion; 1 is a plain TAN.
    shape : tuple of int
        Rows and columns of the image [pixel]; its centre is the reference pixel.
    weights : float64 ndarray, shape (n,), optional
        Inverse standard deviations, any scale.

    Returns
    -------
    wcs : astropy.wcs.WCS
        For 0-based pixels with ``origin=0``; with the inverse polynomials where order > 1.

    Raises
    ------
    ValueError
        If there are fewer points than terms.
    """
    n_terms = len(polynomial_powers(order))
    if len(x) < n_terms:
        message = f"a TAN-SIP fit of order {order} needs at least {n_terms} points, found {len(x)}"
        raise ValueError(message)
    centre = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    scale = max(shape) / 2
    design = polynomial_design((x - centre[0]) / scale, (y - centre[1]) / scale, order)
    weight = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    ra0, dec0 = _mean_direction(ra, dec)
    solution: NDArray[np.floating[Any]] = np.zeros((n_terms, 2))
    for _ in range(5):  # moves the tangent point until the constant terms vanish
        target = np.stack(project_gnomonic(ra, dec, ra0, dec0), axis=-1)
        solution = np.linalg.lstsq(design * weight[:, None], target * weight[:, None], rcond=None)[0]
        moved = deproject_gnomonic(solution[:1, 0], solution[:1, 1], ra0, dec0)
        ra0, dec0 = float(moved[0][0]), float(moved[1][0])
    return _make_wcs(solution, order, (ra0, dec0), shape)


def approximate_tan_sip(
    mapping: Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]],
    *,
    order: int,
    shape: tuple[int, int],
    n_grid: int = 24,
    max_order: int = 0,
    tolerance_arcsec: float = 0.0005,
) -> WCS:
    """Approximate a mapping from pixels to the sky by a TAN-SIP solution.

    Parameters
    ----------
    mapping : callable
        Takes 0-based x, y [pixel], float64 ndarrays of shape (n,), and returns ra, dec [deg].
    order : int
        Total degree of the distortion.
    shape : tuple of int
        Rows and columns of the image [pixel].
    n_grid : int, optional
        Grid points along each axis.
    max_order : int, optional
        The degree is raised up to this one while the approximation is worse than the tolerance.
    tolerance_arcsec : float, optional
        Largest error between the grid points that needs no higher degree [arcsec].

    Returns
    -------
    wcs : astropy.wcs.WCS
        For 0-based pixels with ``origin=0``.
    """
    x, y = grid_positions(shape, n_grid)
    ra, dec = mapping(x, y)
    between = grid_positions(shape, n_grid - 7)
    wanted = mapping(*between)
    wcs = fit_tan_sip(x, y, ra, dec, order=order, shape=shape)
    while order < max_order and _largest_error_arcsec(wcs, between, wanted) > tolerance_arcsec:
        order += 1
        wcs = fit_tan_sip(x, y, ra, dec, order=order, shape=shape)
    return wcs


def _largest_error_arcsec(
    wcs: WCS, xy: tuple[FloatArray, FloatArray], sky: tuple[FloatArray, FloatArray]
) -> float:
    """Largest distance on the sky between what a solution and a mapping make of positions [arcsec]."""
    ra, dec = wcs.all_pix2world(*xy, 0)
    east = ((ra - sky[0] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(sky[1]))
    return float(np.hypot(east, dec - sky[1]).max()) * 3600.0


def grid_positions(shape: tuple[int, int], n_grid: int) -> tuple[FloatArray, FloatArray]:
    """Positions [pixel] of a regular grid that reaches the borders, shape (n_grid**2,) each."""
    x, y = np.meshgrid(np.linspace(-0.5, shape[1] - 0.5, n_grid), np.linspace(-0.5, shape[0] - 0.5, n_grid))
    return x.ravel(), y.ravel()


def _mean_direction(ra: FloatArray, dec: FloatArray) -> tuple[float, float]:
    """Direction [deg] of the mean unit vector, safe at the poles and at ra 0."""
    x = float(np.mean(np.cos(np.radians(dec)) * np.cos(np.radians(ra))))
    y = float(np.mean(np.cos(np.radians(dec)) * np.sin(np.radians(ra))))
    z = float(np.mean(np.sin(np.radians(dec))))
    return float(np.degrees(np.arctan2(y, x)) % 360.0), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def _make_wcs(
    solution: NDArray[np.floating[Any]],
    order: int,
    tangent: tuple[float, float],
    shape: tuple[int, int],
) -> WCS:
    """Turn the coefficients of (xi, eta) in normalised pixels into CD matrix, A and B."""
    centre, scale = ((shape[1] - 1) / 2, (shape[0] - 1) / 2), max(shape) / 2
    powers = polynomial_powers(order)
    coefficients = np.zeros((order + 1, order + 1, 2))
    for (i, j), term in zip(powers, solution, strict=True):
        coefficients[i, j] = term / scale ** (i + j)
    cd = np.array([coefficients[1, 0], coefficients[0, 1]]).T
    forward = coefficients @ np.linalg.inv(cd).T
    forward[0, 0] = forward[1, 0] = forward[0, 1] = 0.0
    wcs = WCS(naxis=2)
    suffix = "-SIP" if order > 1 else ""
    wcs.wcs.ctype = [f"RA---TAN{suffix}", f"DEC--TAN{suffix}"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = tangent
    wcs.wcs.crpix = [centre[0] + 1, centre[1] + 1]
    wcs.wcs.cd = cd
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.lonpole = 180.0  # the default differs for a tangent point on the pole itself
    if order > 1:
        inverse = _invert(forward, centre, shape, order + 1)
        wcs.sip = Sip(forward[..., 0], forward[..., 1], inverse[..., 0], inverse[..., 1], wcs.wcs.crpix)
    wcs.pixel_shape = (shape[1], shape[0])
    wcs.wcs.set()
    return wcs


def _invert(
    forward: FloatArray, centre: tuple[float, float], shape: tuple[int, int], order: int
) -> FloatArray:
    """Polynomials that undo the distortion over the image, shape (order + 1, order + 1, 2)."""
    x, y = grid_positions(shape, 3 * order + 3)
    u, v = x - centre[0], y - centre[1]
    bent_u = u + np.polynomial.polynomial.polyval2d(u, v, forward[..., 0])
    bent_v = v + np.polynomial.polynomial.polyval2d(u, v, forward[..., 1])
    scale = max(shape) / 2
    design = polynomial_design(bent_u / scale, bent_v / scale, order)
    target = np.stack([u - bent_u, v - bent_v], axis=-1)
    fitted = np.linalg.lstsq(design, target, rcond=None)[0]
    inverse = np.zeros((order + 1, order + 1, 2))
    for (i, j), term in zip(polynomial_powers(order), fitted, strict=True):
        inverse[i, j] = term / scale ** (i + j)
    return inverse
