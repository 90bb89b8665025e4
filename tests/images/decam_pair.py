"""The two DECam stacks, the difference that was published of them, and ours: what their noise is."""

from dataclasses import dataclass, replace

import numpy as np
from astropy.io import fits
from scipy import ndimage

from astra.images.blank_sky import find_source_free, subtract_sky_mean
from astra.images.characterise import characterise
from astra.images.decorrelation import decorrelate, noise_model, stamp_from_transform, transform_stamp
from astra.images.exposure import Exposure, VisitInfo
from astra.images.failures import Attempts
from astra.images.kernel import fit_kernel
from astra.images.matching_config import MatchingConfig
from astra.images.noise_power import lag_correlations, with_measured_noise
from astra.images.process_ccd_config import ProcessCcdConfig
from astra.images.robust import SIGMA_PER_MAD
from astra.images.subtraction import subtract_template

GAIN = 20.0  # of a mean of five frames of 4 e-/adu
EDGE_PIXEL = 25
PSF_HALF_WIDTH = 20
SKY_SIDE_PIXEL = 25
CONFIG = MatchingConfig(kernel_order=0, background_order=0, stamps_per_cell=40)


@dataclass(frozen=True)
class Pair:
    """Stacks with measured PSF and noise, their blank sky, and the published results."""

    science: Exposure
    template: Exposure
    free: np.ndarray
    published: np.ndarray
    published_kernel_sum: float
    published_filter: np.ndarray


def read_pair(folder):
    """Read stacks and results; the published difference is OBS04 minus convolved OBS18."""

    def read(name):
        return fits.getdata(folder / name).astype(np.float32)

    stacks = [make_stack(read(f"4check/Stack-DEC-OBS{number}.fits")) for number in ("04", "18")]
    free = find_source_free(stacks[0]) & find_source_free(stacks[1])
    science, template = (with_measured_noise(with_measured_psf(stack), free) for stack in stacks)
    free[:EDGE_PIXEL], free[-EDGE_PIXEL:], free[:, :EDGE_PIXEL], free[:, -EDGE_PIXEL:] = (False,) * 4
    published = read("4check/FinalDifference.DeCorr.fits")
    kernel_sum = float(read("input_data/FinalMatchKernel.fits").sum())
    return Pair(science, template, free, published, kernel_sum, read("4check/DeCorrKernel.fits"))


def make_stack(image):
    """Exposure of a stack, its variance that of the blank sky's pixels and of the photons."""
    image = image - np.median(image)
    info = VisitInfo("decam", 1, 37, "i", "i", 57600.0, 1.0)
    plane = np.full(image.shape, (SIGMA_PER_MAD * np.median(np.abs(image))) ** 2, np.float32)
    exposure = Exposure(image, plane, np.zeros(image.shape, np.uint32), info, "nJy")
    free = find_source_free(exposure)
    image = image - np.median(image[free])
    variance = np.var(image[free]) + np.clip(ndimage.gaussian_filter(image, 1.0), 0, None) / GAIN
    return exposure.replace(image=image, variance=variance.astype(np.float32))


def with_measured_psf(exposure):
    """Fit the PSF to the stars of the stack."""
    config = ProcessCcdConfig(repair_cosmic_rays=False)
    config = replace(config, psf=replace(config.psf, order=0, min_stars=3))
    _, found = characterise(exposure.copy(), config, Attempts())
    assert found.psf_fit is not None
    return exposure.replace(psf=found.psf)


def subtract(pair, strength=1.0):
    """Our difference of the stacks, with its noise whitened, and the kernel's sum."""
    science, template = pair.science, pair.template
    matching = fit_kernel(template, science, CONFIG, noise_power=template.noise_power)
    _, difference = subtract_template(science, template, matching, convolve_science=False)
    planes = {"other_variance": science.variance, "convolved_variance": template.variance}
    noise = noise_model(science, template)
    return decorrelate(difference, matching.kernel, noise, strength=strength, **planes), matching.flux_ratio


def published_psf(pair):
    """PSF of the published difference: that of the stack left alone, through the published filter."""
    x, y = pair.science.shape[1] / 2, pair.science.shape[0] / 2
    stamps = (pair.science.psf.stamp(x, y), pair.published_filter.astype(float))
    transforms = [transform_stamp(stamp, 128) for stamp in stamps]
    return stamp_from_transform(transforms[0] * transforms[1], PSF_HALF_WIDTH)


def noise_figures(pair, image, psf):
    """Figures of the noise of a difference whose stars have this PSF, of unit sum, times their flux."""
    free = pair.free
    flat = subtract_sky_mean(np.where(free, image, 0).astype(np.float32), free, SKY_SIDE_PIXEL)
    along_x, along_y = lag_correlations(flat, free)
    level = np.median(image[free])
    filtered = ndimage.correlate(np.where(free, image - level, 0), psf, mode="constant") / np.sum(psf**2)
    seen = ndimage.uniform_filter(free.astype(float), 15) > 0.97
    values = flat[free]
    return {
        "pixel": float(values.std()),
        "pixel robust": float(SIGMA_PER_MAD * np.median(np.abs(values - np.median(values)))),
        "lag-1 x": along_x,
        "lag-1 y": along_y,
        "point source": float(filtered[seen].std()),
    }


def our_psf(white):
    """PSF of our difference in the middle of the frame."""
    stamp = white.psf.stamp(white.shape[1] / 2, white.shape[0] / 2)
    margin = stamp.shape[0] // 2 - PSF_HALF_WIDTH
    return stamp[margin : stamp.shape[0] - margin, margin : stamp.shape[1] - margin]
