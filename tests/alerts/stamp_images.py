"""Images that stamps are cut from."""

import numpy as np
from astropy.wcs import WCS

from astra.images.exposure import Exposure, MaskPlane, VisitInfo
from astra.images.psf import Psf, gaussian_psf

INFO = VisitInfo("camera", 2**33, 3, "r", "r1", 60000.0, 30.0)


def tilted_wcs(ra=359.9999, dec=60.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], [80.0, 40.0]
    wcs.wcs.cd = 1e-4 * np.array([[-np.cos(0.3), np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    return wcs


def varying_psf(size=25):
    base = gaussian_psf(4.0, size).coefficients[0]
    terms = np.stack([base, 0.1 * base**1.2, -0.05 * base**0.9])
    return Psf(terms, 1, 100.0, 60.0, 100.0)


def make_exposure(seed=5, shape=(120, 200), psf=None):
    """A noisy image of 200 by 120 pixels with a tilted WCS, flags, and a PSF that varies."""
    rng = np.random.default_rng(seed)
    mask = rng.choice(np.array([0, MaskPlane.SAT, MaskPlane.DETECTED], dtype=np.uint32), shape)
    return Exposure(
        rng.normal(0, 50, shape).astype(np.float32),
        rng.uniform(1, 2, shape).astype(np.float32),
        mask,
        INFO,
        unit="nJy",
        wcs=tilted_wcs(),
        psf=psf or varying_psf(),
    )
