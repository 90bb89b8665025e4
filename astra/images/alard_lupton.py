"""Subtraction with a matching kernel (Alard & Lupton 1998), whitened afterwards."""

from __future__ import annotations

from dataclasses import replace

from astra.images.decorrelation import decorrelate, noise_model
from astra.images.difference_config import DifferenceConfig
from astra.images.exposure import Exposure
from astra.images.kernel import MatchingKernel, fit_kernel
from astra.images.kernel_direction import choose_mode, choose_sharper, width_ratios
from astra.images.preconvolution import make_score, preconvolve
from astra.images.subtraction import subtract_template
from astra.images.subtraction_method import Subtraction, SubtractionMethod


class AlardLupton(SubtractionMethod):
    """Convolve the sharper image with a kernel that makes it look like the other.

    If neither is the sharper one in every direction, the subtraction has a score image too, to detect on: the
    science image was correlated with its PSF for it, so that nothing is sharpened.
    """

    def subtract(self, science: Exposure, template: Exposure, config: DifferenceConfig) -> Subtraction:
        """Subtract; see `SubtractionMethod.subtract`."""
        mode = _choose_mode(science, template, config)
        if mode != "preconvolve":
            return _subtract(science, template, mode, config)
        sharper = "convolve_template"
        if science.psf is not None and template.psf is not None:
            sharper = choose_sharper(width_ratios(science.psf, template.psf, science.shape))
        found = _subtract(science, template, sharper, config)
        score = _preconvolved_score(science, template, config)
        return replace(found, score=score, metrics=found.metrics | {"preconvolved": 1.0})


def _choose_mode(science: Exposure, template: Exposure, config: DifferenceConfig) -> str:
    """Mode of the configuration, or the one that the PSFs ask for; the template if one is not known."""
    if config.mode != "auto":
        return config.mode
    if science.psf is None or template.psf is None:
        return "convolve_template"
    return choose_mode(science.psf, template.psf, science.shape, config.matching.max_sharpening)


def _subtract(science: Exposure, template: Exposure, mode: str, config: DifferenceConfig) -> Subtraction:
    """Match one image to the other, subtract and whiten."""
    convolve_science = mode == "convolve_science"
    convolved, other = (science, template) if convolve_science else (template, science)
    matching = fit_kernel(convolved, other, config.matching, noise_power=convolved.noise_power)
    matched, difference = subtract_template(science, template, matching, convolve_science=convolve_science)
    if config.decorrelate:
        planes = [e.variance if config.pixel_variance else None for e in (other, convolved)]
        difference = decorrelate(
            difference,
            matching.kernel,
            noise_model(other, convolved),
            other_variance=planes[0],
            convolved_variance=planes[1],
            strength=config.decorrelation_strength,
        )
    metrics = {**_kernel_metrics(matching), "convolvedScience": float(convolve_science), "preconvolved": 0.0}
    return Subtraction(difference, matched, matching.kernel, metrics=metrics)


def _preconvolved_score(science: Exposure, template: Exposure, config: DifferenceConfig) -> Exposure:
    """Match the template to the science image correlated with its PSF, and make the score."""
    target = preconvolve(science, config.matching.kernel_half_width_pixel)
    ny, nx = science.shape
    peaks = [e.psf.stamp(nx / 2, ny / 2).max() for e in (target, science) if e.psf is not None]
    # A star has a lower peak after its correlation, over the same white-equivalent noise.
    least_snr = config.matching.stamp_min_peak_snr * float(peaks[0] / peaks[1])
    options = replace(config.matching, stamp_min_peak_snr=least_snr)
    matching = fit_kernel(template, target, options, noise_power=template.noise_power)
    _, difference = subtract_template(target, template, matching, convolve_science=False)
    return make_score(difference, science, template, matching.kernel)


def _kernel_metrics(matching: MatchingKernel) -> dict[str, float]:
    """Figures of the kernel, with the names of the Rubin metrics where there are such."""
    return {
        "spatialKernelSum": matching.flux_ratio,
        "spatialKernelSumStdev": matching.flux_scatter * abs(matching.flux_ratio),
        "spatialConditionNum": matching.condition_number,
        "nPsfSources": float(matching.n_kept),
        "nPsfCandidates": float(matching.n_stamps),
        "kernelOrder": float(matching.kernel.order),
        "kernelChi2": matching.chi2,
    }
