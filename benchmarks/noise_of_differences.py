"""How white the noise of difference images is, and how true their variance planes.

    python benchmarks/noise_of_differences.py [--size 4096]

Prints four tables: simulated pairs of equal seeing, sharper and broader templates, warped or not; the two
DECam stacks against the difference of them that was published with SFFT; the real field of Stripe 82 by
either method, where the sky's own structure shows in the scatter of the matched filter before a local mean of
33 pixels is subtracted; and CPU seconds. Real data are read beside the project (../shared/data), and skipped
where they are absent.
"""

import argparse
import os
import sys
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # of one core, as in a worker: numpy looks when it is imported

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
DATA = PROJECT.parent / "shared" / "data"
SHAPE = (900, 1100)
# Widths of the matching kernel [pixel], noise of science and template, which image is convolved.
CASES = {
    "equal seeing": (0.0, 10.0, 10.0, False),
    "template sharper": (2.6, 10.0, 10.0, False),
    "template much sharper, noisy": (6.0, 3.0, 10.0, False),
    "template broader": (2.6, 10.0, 10.0, True),
    "template much broader, deep": (6.0, 10.0, 3.0, True),
}


def print_table(title, rows):
    """Print rows of equal names, with their labels."""
    names = list(next(iter(rows.values())))
    width = max(len(title), *(len(label) for label in rows)) + 2
    print(f"\n{title:<{width}}" + "".join(f"{name:>15}" for name in names))
    for label, row in rows.items():
        print(f"{label:<{width}}" + "".join(f"{row[name]:>15.4g}" for name in names))


def whiteness(image, variance, free, side=0):
    """Chi square and lag-1 correlations of pulls, with the local mean of a box subtracted or without."""
    from astra.images.blank_sky import subtract_sky_mean
    from astra.images.noise_power import lag_correlations

    pulls = np.where(free, image / np.sqrt(variance), 0).astype(np.float32)
    pulls = subtract_sky_mean(pulls, free, side) if side else pulls - np.median(pulls[free]) * free
    along_x, along_y = lag_correlations(pulls, free)
    return {"chi2": float(np.var(pulls[free])), "lag-1 x": along_x, "lag-1 y": along_y}


def simulate(case, *, warped):
    """Whiteness of the difference of two images of noise."""
    from astra.images.decorrelation import decorrelate, noise_model
    from astra.images.kernel import MatchingKernel
    from astra.images.psf import gaussian_psf
    from astra.images.spatial import SpatialKernel
    from astra.images.subtraction import subtract_template
    from astra.images.warp import make_pixel_map, warp_exposure, warp_noise_power
    from tests.images.difference_field import make_exposure, make_wcs

    fwhm, noise, template_noise, convolve_science = CASES[case]
    rng = np.random.default_rng(11)
    science = make_exposure(rng, SHAPE, ([], [], []), 4.0, noise=noise, wcs=make_wcs(550.0, 450.0))
    wcs = make_wcs(580.3, 470.2, 0.4)
    shape = (SHAPE[0] + 50, SHAPE[1] + 70) if warped else SHAPE
    template = make_exposure(rng, shape, ([], [], []), 3.0, noise=template_noise, wcs=wcs)
    if warped:
        pixel_map = make_pixel_map(science.wcs, wcs, SHAPE)
        power = warp_noise_power(pixel_map, 64)
        template = warp_exposure(template, pixel_map, science.wcs).replace(noise_power=power)
    stamp = np.zeros((1, 31, 31))
    stamp[0, 15, 15] = 1.0
    kernel = SpatialKernel(gaussian_psf(fwhm, 31).coefficients if fwhm else stamp)
    matching = MatchingKernel(kernel, np.zeros(1), 0, 1.0, 1, 1, 1.0)
    _, difference = subtract_template(science, template, matching, convolve_science=convolve_science)
    other, convolved = (template, science) if convolve_science else (science, template)
    planes = {"other_variance": other.variance, "convolved_variance": convolved.variance}
    white = decorrelate(difference, kernel, noise_model(other, convolved), **planes)
    free = np.zeros(SHAPE, bool)
    free[40:-40, 40:-40] = True
    before = whiteness(difference.image, difference.variance, free)
    return {
        "chi2 before": before["chi2"],
        "lag-1 before": before["lag-1 x"],
        **whiteness(white.image, white.variance, free),
    }


def judge_decam():
    """Figures of the published difference of the DECam stacks and of ours."""
    from tests.images.decam_pair import noise_figures, our_psf, published_psf, read_pair, subtract

    pair = read_pair(DATA / "decam_sfft")
    rows = {"published (SFFT)": noise_figures(pair, pair.published, published_psf(pair))}
    for label, strength in (("whitened", 1.0), ("whitened in part (0.7)", 0.7)):
        white, _ = subtract(pair, strength)
        rows[label] = noise_figures(pair, white.image, our_psf(white))
    return rows


def judge_field(band):
    """Whiteness of the difference of the real field by either method, variances scaled."""
    from astra.images.blank_sky import find_source_free
    from astra.images.decorrelation import decorrelate, noise_model
    from astra.images.difference_config import DifferenceConfig
    from astra.images.kernel import fit_kernel
    from astra.images.subtraction import repair, subtract_template
    from astra.images.variance_scale import scale_variance
    from astra.images.zogy import Zogy

    science, template = (repair(exposure) for exposure in read_field(band))
    (science, factor), (template, template_factor) = (scale_variance(e) for e in (science, template))
    config = DifferenceConfig()
    matching = fit_kernel(template, science, config.matching, noise_power=template.noise_power)
    _, plain = subtract_template(science, template, matching, convolve_science=False)
    planes = {"other_variance": science.variance, "convolved_variance": template.variance}
    found = {
        "Alard-Lupton": decorrelate(plain, matching.kernel, noise_model(science, template), **planes),
        "ZOGY": Zogy().subtract(science, template, config).difference,
    }
    free = find_source_free(science) & find_source_free(template) & np.isfinite(plain.image)
    free[:30], free[-30:], free[:, :30], free[:, -30:] = (False,) * 4
    rows = {}
    for method, difference in found.items():
        flat = whiteness(difference.image, difference.variance, free, side=33)
        rows[f"{band} {method}"] = {
            "scale science": factor,
            "scale template": template_factor,
            **whiteness(difference.image, difference.variance, free),
            "chi2 flat": flat["chi2"],
            **dict(zip(("filtered", "filtered flat"), filtered_scatter(difference, free), strict=True)),
        }
    return rows


def filtered_scatter(difference, free):
    """Scatter of the signal to noise of point sources on blank sky, and without the local mean."""
    from astra.images.blank_sky import subtract_sky_mean
    from astra.images.difference_detection import make_matched_filter, robust_scatter

    matched_filter = make_matched_filter(difference)
    image = np.where(free, difference.image, np.float32(0))
    images = image - np.median(image[free]) * free, subtract_sky_mean(image, free, 33)
    return [robust_scatter(matched_filter.snr(one.astype(np.float32))[free]) for one in images]


def read_field(band):
    """Calibrated science image of run 4192, and run 6377 warped onto it."""
    from astra.images.process_ccd import process_ccd
    from astra.images.warp import make_pixel_map, warp_exposure, warp_noise_power
    from astra.instruments.sdss import SdssCamera
    from astra.products.reference_catalog import read_reference_catalog

    reference = read_reference_catalog(DATA / "sdss_s82" / "ref_cat" / "stars.fits", band)
    calexps = []
    for run, field in ((4192, 300), (6377, 399)):
        name = f"fpC-{run:06d}-{band}4-{field:04d}.fit.gz"
        path = DATA / "sdss_s82" / str(run) / "40" / "corr" / "4" / name
        calexps.append(process_ccd(SdssCamera().load(path), reference).calexp)
    science, template = calexps
    pixel_map = make_pixel_map(science.wcs, template.wcs, science.shape)
    warped = warp_exposure(template, pixel_map, science.wcs)
    return science, warped.replace(noise_power=warp_noise_power(pixel_map, 64))


def time_steps(size):
    """CPU seconds at size x size, the least of three runs."""
    from astra.images.decorrelation import decorrelate, white_noise
    from astra.images.exposure import Exposure, VisitInfo
    from astra.images.noise_power import measure_noise_power
    from astra.images.psf import gaussian_psf
    from astra.images.spatial import fit_spatial_kernel
    from astra.images.variance_scale import scale_variance

    rng = np.random.default_rng(1)
    shape = (size, size)
    variance = np.ones(shape, np.float32)
    variance[::40, ::40] = 3.0  # so that no part of the plane counts as smooth
    image, mask = rng.standard_normal(shape, dtype=np.float32), np.zeros(shape, np.uint32)
    info = VisitInfo("test", 1, 1, "r", "r", 60000.0, 30.0)
    exposure = Exposure(image, variance, mask, info, "nJy", psf=gaussian_psf(4.0, 41))
    kernel = fit_spatial_kernel(
        lambda x, y: gaussian_psf(2.2 + 0.5 * x / size + 0.3 * y / size, 31).coefficients[0], shape, 2
    )
    noise = white_noise(1.0, 1.0)
    planes = {"other_variance": variance, "convolved_variance": variance}
    steps = {
        "whitening": lambda: decorrelate(exposure, kernel, noise),
        "whitening and variance of pixels": lambda: decorrelate(exposure, kernel, noise, **planes),
        "scale of the variance": lambda: scale_variance(exposure),
        "power spectrum of the noise": lambda: measure_noise_power(exposure),
    }
    return {label: {"CPU s": min(cpu_seconds(step) for _ in range(3))} for label, step in steps.items()}


def cpu_seconds(step):
    """CPU seconds of a call."""
    start = time.process_time()
    step()
    return time.process_time() - start


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=4096, help="side of the timed images [pixel]")
    size = parser.parse_args().size
    rows = {}
    for case in CASES:
        rows[case] = simulate(case, warped=False)
        rows[f"{case}, warped"] = simulate(case, warped=True)
    print_table("simulated", rows)
    if (DATA / "decam_sfft").is_dir():
        print_table("DECam stacks", judge_decam())
    if (DATA / "sdss_s82").is_dir():
        print_table("Stripe 82", judge_field("g") | judge_field("r"))
    print_table(f"{size} x {size}", time_steps(size))


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))  # for the simulated fields of the tests
    main()
