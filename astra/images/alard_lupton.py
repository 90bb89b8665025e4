"""Subtraction with a matching kernel (Alard & Lupton 1998), whitened afterwards."""

from __future__ import annotations

import numpy as np

from astra.images.decorrelation import FOURIER_SIDE, NoiseModel
from astra.images.difference_config import DifferenceConfig
from astra.images.exposure import Exposure
from astra.images.kernel import MatchingKernel, fit_kernel
from astra.images.subtraction import decorrelate, noise_level, subtract_template
from astra.images.subtraction_method import Subtraction, SubtractionMethod

SAME_SEEING = 1.02  # ratio of widths within which the template is the one to convolve


class AlardLupton(SubtractionMethod):
    """Convolve the sharper image with a kernel that makes it look like the other."""

    def subtract(self, science: Exposure, template: Exposure, config: DifferenceConfig) -> Subtraction:
        """Subtract; see `SubtractionMethod.subtract`."""
        convolve_science = _is_science_convolved(science, template, config)
        flat = np.ones((FOURIER_SIDE, FOURIER_SIDE))
        power = flat if template.noise_power is None else template.noise_power
        if convolve_science:
            matching = fit_kernel(science, template, config.matching)
            noise = NoiseModel(noise_level(template), noise_level(science), power, flat)
        else:
            matching = fit_kernel(template, science, config.matching, noise_power=power)
            noise = NoiseModel(noise_level(science), noise_level(template), flat, power)
        matched, difference = subtract_template(
            science, template, matching, convolve_science=convolve_science
        )
        if config.decorrelate:
            difference = decorrelate(difference, matching.kernel, noise)
        return Subtraction(difference, matched, matching.kernel, metrics=_kernel_metrics(matching))


def _is_science_convolved(science: Exposure, template: Exposure, config: DifferenceConfig) -> bool:
    """Convolve the sharper of the two."""
    if config.mode != "auto":
        return config.mode == "convolve_science"
    ny, nx = science.shape
    widths = [e.psf.fwhm_pixel(nx / 2, ny / 2) for e in (science, template) if e.psf is not None]
    return widths[1] > SAME_SEEING * widths[0]


def _kernel_metrics(matching: MatchingKernel) -> dict[str, float]:
    """Figures of the kernel."""
    return {
        "kernelFluxRatio": matching.flux_ratio,
        "kernelOrder": float(matching.kernel.order),
        "kernelStamps": float(matching.n_stamps),
        "kernelStampsKept": float(matching.n_kept),
        "kernelChi2": matching.chi2,
    }
