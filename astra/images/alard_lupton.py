"""Subtraction with a matching kernel (Alard & Lupton 1998), whitened afterwards."""

from __future__ import annotations

from dataclasses import replace

from astra.images.decorrelation import decorrelate, noise_model
from astra.images.difference_config import DifferenceConfig
from astra.images.exposure import Exposure
from astra.images.kernel import MatchingKernel, fit_kernel
from astra.images.kernel_direction import choose_mode
from astra.images.preconvolution import make_score, preconvolve
from astra.images.spatial import SpatialKernel
from astra.images.subtraction import subtract_template
from astra.images.subtraction_method import Subtraction, SubtractionMethod


class AlardLupton(SubtractionMethod):
    """Convolve the sharper image with a kernel that makes it look like the other.

    If neither is the sharper one in every direction, the science image is correlated with its PSF first; the
    subtraction has a score image then, and its matched template the seeing of the correlated image.
    """

    def subtract(self, science: Exposure, template: Exposure, config: DifferenceConfig) -> Subtraction:
        """Subtract; see `SubtractionMethod.subtract`."""
        mode = _choose_mode(science, template, config)
        if mode == "preconvolve":
            return _subtract_preconvolved(science, template, config)
        if mode == "convolve_science":
            matching = fit_kernel(science, template, config.matching, noise_power=science.noise_power)
        else:
            matching = fit_kernel(template, science, config.matching, noise_power=template.noise_power)
        return _finish(science, template, matching, config, convolve_science=mode == "convolve_science")


def _choose_mode(science: Exposure, template: Exposure, config: DifferenceConfig) -> str:
    """Mode of the configuration, or the one that the PSFs ask for; the template if one is not known."""
    if config.mode != "auto":
        return config.mode
    if science.psf is None or template.psf is None:
        return "convolve_template"
    return choose_mode(science.psf, template.psf, science.shape, config.matching.max_sharpening)


def _subtract_preconvolved(science: Exposure, template: Exposure, config: DifferenceConfig) -> Subtraction:
    """Match the template to the science image correlated with its PSF, and make the score."""
    target = preconvolve(science, config.matching.kernel_half_width_pixel)
    ny, nx = science.shape
    peaks = [e.psf.stamp(nx / 2, ny / 2).max() for e in (target, science) if e.psf is not None]
    # A star has a lower peak after its correlation, over the same white-equivalent noise.
    least_snr = config.matching.stamp_min_peak_snr * float(peaks[0] / peaks[1])
    options = replace(config.matching, stamp_min_peak_snr=least_snr)
    matching = fit_kernel(template, target, options, noise_power=template.noise_power)
    plain = _finish(target, template, matching, replace(config, decorrelate=False), convolve_science=False)
    score = make_score(plain.difference, science, template, matching.kernel)
    difference = plain.difference
    if config.decorrelate:
        difference = _whiten(difference, matching.kernel, (target, template), per_pixel=False)
    metrics = plain.metrics | {"preconvolved": 1.0}
    return Subtraction(difference, plain.matched_template, matching.kernel, score, metrics)


def _finish(
    science: Exposure,
    template: Exposure,
    matching: MatchingKernel,
    config: DifferenceConfig,
    *,
    convolve_science: bool,
) -> Subtraction:
    """Subtract with a kernel, and whiten."""
    matched, difference = subtract_template(science, template, matching, convolve_science=convolve_science)
    if config.decorrelate:
        pair = (template, science) if convolve_science else (science, template)
        difference = _whiten(difference, matching.kernel, pair, per_pixel=config.pixel_variance)
    metrics = {**_kernel_metrics(matching), "convolvedScience": float(convolve_science), "preconvolved": 0.0}
    return Subtraction(difference, matched, matching.kernel, metrics=metrics)


def _whiten(
    difference: Exposure, kernel: SpatialKernel, pair: tuple[Exposure, Exposure], *, per_pixel: bool
) -> Exposure:
    """Whiten a difference of the image left alone and the one that the kernel convolves."""
    planes = [exposure.variance if per_pixel else None for exposure in pair]
    return decorrelate(
        difference,
        kernel,
        noise_model(*pair),
        other_variance=planes[0],
        convolved_variance=planes[1],
    )


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
