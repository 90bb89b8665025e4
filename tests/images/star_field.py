"""A synthetic CCD image whose every star is known: sampled Gaussians, so that no code under test makes it."""

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

from astra.images.exposure import Exposure, VisitInfo
from astra.products.reference_catalog import DTYPE as REFERENCE_DTYPE

SHAPE = 330, 460
SKY, GAIN, READ_VARIANCE = 100.0, 2.0, 4.0
NJY_PER_ADU = 18.0
PIXEL_ARCSEC = 0.4
INFO = VisitInfo("test", 7, 2, "r", "r", 60000.0, 30.0)


@dataclass(frozen=True)
class StarField:
    exposure: Exposure
    truth: np.ndarray
    reference: np.ndarray
    wcs: WCS


def gaussian_image(shape, x, y, flux, sigma_x, sigma_y=None):  # noqa: PLR0917
    """One sampled Gaussian of unit sum times flux on a whole image."""
    sigma_y = sigma_x if sigma_y is None else sigma_y
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    profile_x = np.exp(-0.5 * ((columns - x) / sigma_x) ** 2) / (np.sqrt(2 * np.pi) * sigma_x)
    profile_y = np.exp(-0.5 * ((rows - y) / sigma_y) ** 2) / (np.sqrt(2 * np.pi) * sigma_y)
    return flux * np.outer(profile_y, profile_x)


def make_exposure(image, variance=None, mask=None, **fields):
    """An exposure of an image [adu] with unit variance unless given."""
    image = np.asarray(image, dtype=np.float32)
    variance = np.ones(image.shape) if variance is None else variance
    mask = np.zeros(image.shape, dtype=np.uint32) if mask is None else mask
    return Exposure(image, np.asarray(variance, dtype=np.float32), mask, INFO, **fields)


def make_wcs(shape=SHAPE, ra=10.0, dec=-25.0, rotation_deg=20.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    cos, sin = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg))
    wcs.wcs.cd = PIXEL_ARCSEC / 3600 * np.array([[-cos, sin], [sin, cos]])
    wcs.wcs.set()
    return wcs


def grid_stars(shape, spacing, rng):
    """Positions that nowhere come close to each other, sub-pixel offsets at random."""
    x, y = np.meshgrid(
        np.arange(spacing, shape[1] - spacing, spacing), np.arange(spacing, shape[0] - spacing, spacing)
    )
    return [axis.ravel() + rng.uniform(-3, 3, axis.size) for axis in (x, y)]


def make_star_field(seed=1, spacing=26, shape=SHAPE, sigma_at=lambda x, y: 1.4 + 0.0 * x, noise=True):
    """A field of stars of S/N 10 to 1000 on a flat sky."""
    rng = np.random.default_rng(seed)
    x, y = grid_stars(shape, spacing, rng)
    flux = 10 ** rng.uniform(3.0, 5.2, x.size)
    image = np.full(shape, SKY)
    for star in zip(x, y, flux, sigma_at(x, y), strict=True):
        image += gaussian_image(shape, *star)
    variance = image / GAIN + READ_VARIANCE
    if noise:
        image = image + rng.normal(size=shape) * np.sqrt(variance)
    truth = np.zeros(x.size, dtype=[("x", "f8"), ("y", "f8"), ("flux", "f8")])
    truth["x"], truth["y"], truth["flux"] = x, y, flux
    wcs = make_wcs(shape)
    reference = np.zeros(x.size, dtype=REFERENCE_DTYPE)
    reference["id"], reference["isStar"] = np.arange(x.size), True
    reference["ra"], reference["dec"] = wcs.all_pix2world(x, y, 0)
    reference["flux"], reference["fluxErr"] = flux * NJY_PER_ADU, 0.01 * flux * NJY_PER_ADU
    exposure = make_exposure(image, variance, gain=GAIN, wcs=wcs)
    return StarField(exposure, truth, reference, wcs)
