"""Alerts with stamps of which one knows where everything is."""

import numpy as np
from astropy.wcs import WCS

from astra.alerts.cutouts import make_cutout
from astra.images.exposure import Exposure, VisitInfo
from tests.alerts.simple import packet

SCALE_ARCSEC = 0.25
RA, DEC = 149.5, 2.25
SHAPE = 91, 101
X, Y = 52.3, 40.6  # where RA, DEC is [pixel]


def rotated_wcs(angle_deg, *, flipped=False):
    """A gnomonic WCS with RA, DEC at X, Y."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = RA, DEC
    wcs.wcs.crpix = X + 1, Y + 1
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    axes = np.array([[-cos, sin], [sin, cos]]) * SCALE_ARCSEC / 3600.0
    wcs.wcs.cd = axes @ np.diag([-1.0 if flipped else 1.0, 1.0])
    return wcs


def exposure(wcs, stars=(), seed=0):
    """An image with noise, and stars at offsets east and north [arcsec] with their peaks [nJy]."""
    noise = np.random.default_rng(seed).normal(0.0, 5.0, SHAPE)
    ny, nx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for east, north, peak in stars:
        ra = RA + east / 3600.0 / np.cos(np.deg2rad(DEC))
        x, y = wcs.all_world2pix(ra, DEC + north / 3600.0, 0)
        noise += peak * np.exp(-((nx - x) ** 2 + (ny - y) ** 2) / 2.0 / 1.5**2)
    variance = np.full(SHAPE, 25.0, dtype=np.float32)
    info = VisitInfo("cam", 12, 3, "r", "r", 60000.25, 30.0)
    mask = np.zeros(SHAPE, dtype=np.uint32)
    return Exposure(noise.astype(np.float32), variance, mask, info, unit="nJy", wcs=wcs)


def stamped(number=7, *, angle_deg=0.0, flipped=False, star=(4.0, 2.0), side=40, **changes):
    """An alert of a source that has brightened, with a star east and north of it [arcsec]."""
    wcs = rotated_wcs(angle_deg, flipped=flipped)
    neighbour = (*star, 900.0)
    images = {
        "cutoutScience": exposure(wcs, [neighbour, (0.0, 0.0, 400.0)]),
        "cutoutTemplate": exposure(wcs, [neighbour], seed=1),
        "cutoutDifference": exposure(wcs, [(0.0, 0.0, 400.0)], seed=2),
    }
    cutouts = {name: make_cutout(image, X, Y, side) for name, image in images.items()}
    return packet(number, 50, ra=RA, dec=DEC, x=X, y=Y, **changes) | cutouts
