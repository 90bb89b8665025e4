"""Simulated pairs of exposures for the tests of image subtraction."""

import numpy as np
from astropy.wcs import WCS

from astra.images.exposure import Exposure, PhotoCalib, VisitInfo
from astra.images.psf import gaussian_psf, sigma_from_fwhm

INFO = VisitInfo("test", 1, 2, "r", "r", 60000.0, 30.0)


def make_wcs(  # noqa: PLR0917
    x=0.0, y=0.0, angle_deg=0.0, scale_arcsec=0.4, ra=10.0, dec=0.5
):
    """TAN WCS whose reference pixel is (x, y), 0-based."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix = [x + 1, y + 1]
    wcs.wcs.crval = [ra, dec]
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    wcs.wcs.cd = scale_arcsec / 3600 * np.array([[c, -s], [s, c]])
    return wcs


def add_stars(image, x, y, flux, fwhm):
    """Add Gaussian stars in place."""
    ny, nx = image.shape
    sigma = sigma_from_fwhm(fwhm)
    half = int(6 * sigma) + 1
    for xk, yk, fk in zip(
        np.atleast_1d(x), np.atleast_1d(y), np.broadcast_to(flux, np.shape(x)), strict=True
    ):
        x0, y0 = round(xk), round(yk)
        ya, yb, xa, xb = max(y0 - half, 0), min(y0 + half + 1, ny), max(x0 - half, 0), min(x0 + half + 1, nx)
        if ya >= yb or xa >= xb:
            continue
        rows, columns = np.mgrid[ya:yb, xa:xb]
        profile = np.exp(-((columns - xk) ** 2 + (rows - yk) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
        image[ya:yb, xa:xb] += fk * profile


def make_exposure(  # noqa: PLR0917
    rng, shape, stars, fwhm, noise=10.0, wcs=None, photons=True
):
    """Exposure of Gaussian stars (x, y, flux) with white noise and, by default, photon noise of gain 1."""
    image = np.zeros(shape)
    add_stars(image, *stars, fwhm)
    variance = noise**2 + photons * np.clip(image, 0, None)
    image += rng.normal(size=shape) * np.sqrt(variance)
    return Exposure(
        image.astype(np.float32),
        variance.astype(np.float32),
        np.zeros(shape, np.uint32),
        INFO,
        "nJy",
        1.0,
        wcs if wcs is not None else make_wcs(),
        gaussian_psf(fwhm, 31),
        PhotoCalib(),
    )


def make_stars(  # noqa: PLR0917
    rng, shape, n, low=300.0, high=60000.0, margin=-10.0
):
    """Random positions and log-uniform fluxes."""
    ny, nx = shape
    return (
        rng.uniform(margin, nx - margin, n),
        rng.uniform(margin, ny - margin, n),
        np.exp(rng.uniform(np.log(low), np.log(high), n)),
    )


def make_pair(  # noqa: PLR0917
    rng, shape=(420, 510), science_fwhm=4.0, template_fwhm=3.2, n_stars=180, angle_deg=0.3
):
    """Science and template of the same stars, on grids that differ by a shift and a rotation."""
    ny, nx = shape
    x, y, flux = make_stars(rng, shape, n_stars, margin=-25.0)
    science = make_exposure(rng, shape, (x, y, flux), science_fwhm, wcs=make_wcs(nx / 2, ny / 2))
    wide = (ny + 40, nx + 50)
    template_wcs = make_wcs(nx / 2 + 25.3, ny / 2 + 20.6, angle_deg)
    ra, dec = science.wcs.all_pix2world(x, y, 0)
    xt, yt = template_wcs.all_world2pix(ra, dec, 0)
    template = make_exposure(rng, wide, (xt, yt, flux), template_fwhm, noise=8.0, wcs=template_wcs)
    return science, template, (x, y, flux)
