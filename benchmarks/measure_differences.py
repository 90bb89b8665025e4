"""CPU time of the measurement of detections on a simulated 4096 x 4096 difference, part by part.

python benchmarks/measure_differences.py [--side 4096] [--sources 1000] [--dipoles 100]
"""

import argparse
import cProfile
import os
import pstats
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # of one core, as in a worker: numpy looks when it is imported

import numpy as np

from astra.images.dia_detection_config import DiaDetectionConfig
from astra.images.dia_measurement_config import DiaMeasurementConfig
from astra.images.difference_detection import detect_dia_sources
from astra.images.difference_measurement import measure_dia_sources
from astra.images.psf import Psf, gaussian_psf
from tests.images.difference_field import add_stars, make_exposure, make_wcs

FWHM = 4.0
REPEATS = 5
PARTS = ("fit_points", "forced_photometry", "measure_shapes", "stamp_moments", "fit_trails", "fit_dipoles")


def make_images(rng, side, n_sources, n_dipoles):
    """Science image and template of one seeing with stars that came, went or moved by a pixel."""
    x, y = rng.uniform(30, side - 30, (2, n_sources))
    flux = np.exp(rng.uniform(np.log(800), np.log(20000), n_sources))
    moved = np.arange(n_sources) < n_dipoles
    gone = ~moved & (rng.random(n_sources) < 0.4)
    core, wide = (gaussian_psf(fwhm, 31).coefficients[0] for fwhm in (FWHM, 1.05 * FWHM))
    terms = np.stack([core] + 5 * [0.01 * (wide - core)])
    psf = Psf(terms, 2, side / 2, side / 2, side / 2)
    exposures = []
    for stars, shift, noise in ((~gone, 0.0, 8.0), (gone | moved, 1.0, 6.0)):
        table = x[stars] + shift * moved[stars], y[stars], flux[stars]
        wcs = make_wcs(side / 2, side / 2)
        exposures.append(make_exposure(rng, (side, side), ([], [], []), FWHM, noise=noise, wcs=wcs))
        image = exposures[-1].image.astype(np.float64)
        add_stars(image, *table, FWHM)
        exposures[-1] = exposures[-1].replace(image=image.astype(np.float32), psf=psf)
    return exposures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=4096, help="side of the images [pixel]")
    parser.add_argument("--sources", type=int, default=1000, help="stars that came, went or moved")
    parser.add_argument("--dipoles", type=int, default=100, help="how many of them moved")
    arguments = parser.parse_args()
    rng = np.random.default_rng(1)
    science, template = make_images(rng, arguments.side, arguments.sources, arguments.dipoles)
    difference = science.replace(
        image=science.image - template.image, variance=science.variance + template.variance
    )
    difference, peaks, _ = detect_dia_sources(science, template, difference, DiaDetectionConfig())
    images = difference, science, template, peaks, DiaMeasurementConfig()
    dia_sources, seconds = measure_dia_sources(*images), []
    for _ in range(REPEATS):
        began = time.process_time()
        measure_dia_sources(*images)
        seconds.append(time.process_time() - began)
    attempted = int(dia_sources["dipoleFitAttempted"].sum())
    print(
        f"{len(dia_sources)} detections, {attempted} dipoles fitted: {statistics.median(seconds):.3f} CPU s"
    )
    profile = cProfile.Profile(time.process_time)
    profile.runcall(measure_dia_sources, *images)
    for (_, _, name), (_, _, _, cumulative, _) in sorted(pstats.Stats(profile).stats.items()):
        if name in PARTS:
            print(f"  {name:<20}{cumulative:>8.3f}")


if __name__ == "__main__":
    main()
