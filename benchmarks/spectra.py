"""CPU seconds of the analysis of spectra on one core, each step beside the naive way in the same run.

    python benchmarks/spectra.py

On synthetic spectra. Computation alone but for the signal-to-noise ratio, whose file is read each time.
"""

# ruff: noqa: I001

import os
import sys
import tempfile
import time
from pathlib import Path

import astra  # noqa: F401  # before numpy, so that it sets the number of threads
import numpy as np
from astropy.io import fits
from scipy.optimize import curve_fit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from astra.products.spectra import read_spectrum
from astra.spectra.barycentric import SITES, barycentric_correction
from astra.spectra.cannon import n_terms, quadratic_terms, train_cannon
from astra.spectra.cannon_labels import infer_labels
from astra.spectra.coadd import Visit, rest_visit
from astra.spectra.continuum import ContinuumConfig, design_matrix, fit_continuum, pixels_of
from astra.spectra.deposit import Deposit
from astra.spectra.grid import APSTAR_GRID, BOSS_GRID
from astra.spectra.line_fits import fit_lines
from astra.spectra.lines import LICK_LINES, measure_lines
from astra.spectra.quasars import quasar_class
from astra.spectra.radial_velocity import correlate, measure_velocities, prepare_spectra
from astra.spectra.redshift import class_model, fit_redshifts
from astra.spectra.templates import make_templates
from astra.spectra.velocities import SPEED_OF_LIGHT_KMS
from astra.tasks.spectra.signal_to_noise import measure
from tests.products.synthetic_spectra import write_ap_visit
from tests.spectra.synthetic_stars import Star, observe, visit_wavelength

WAVELENGTH = APSTAR_GRID.wavelength
STAR = Star()


def seconds(work, repeats=3):
    """Least CPU seconds of some repeats, after one that is not counted."""
    work()
    best = np.inf
    for _ in range(repeats):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def report(what, n, ours, naive=None, goal=None):
    """Print one line: n pieces in our seconds, and of the naive way (pieces, seconds)."""
    rate = n / ours
    other = f"{naive[0] / naive[1]:10.1f}" if naive else " " * 10
    print(f"{what:44s} {rate:10.1f} {other} {goal if goal else '':>8}", flush=True)


def stars(n, rng):
    """Spectra on the grid of stars."""
    level = 1000.0 * (1.0 + 0.3 * np.sin(WAVELENGTH / 400.0)) * rng.uniform(0.5, 2.0, (n, 1))
    error = level / 100.0
    return level * STAR(WAVELENGTH) + error * rng.standard_normal(level.shape), error**-2


def continuum(rng):
    flux, ivar = stars(160, rng)
    known = STAR(WAVELENGTH) > 0.99
    fixed = ContinuumConfig(n_clips=0)

    def naive():
        for row, weight in zip(flux[:20], ivar[:20], strict=True):
            for region in fixed.regions:
                part = pixels_of(WAVELENGTH, region)
                design = design_matrix(WAVELENGTH[part], fixed, region).T
                root = np.sqrt(weight[part] * known[part])
                np.linalg.lstsq(design * root[:, None], row[part] * root, rcond=None)

    ours = seconds(lambda: fit_continuum(WAVELENGTH, flux, ivar, fixed, known))
    report("continuum, known pixels (lstsq)", 160, ours, (20, seconds(naive)), 1500)

    def naive_clipped():
        for row, weight in zip(flux[:10], ivar[:10], strict=True):
            for region in fixed.regions:
                part = pixels_of(WAVELENGTH, region)
                design, use = (
                    design_matrix(WAVELENGTH[part], fixed, region).T,
                    np.ones(part.stop - part.start, bool),
                )
                for _ in range(5):
                    root = np.sqrt(weight[part] * use)
                    found = np.linalg.lstsq(design * root[:, None], row[part] * root, rcond=None)[0]
                    left = row[part] - design @ found
                    use = (left > -1.5 * left[use].std()) & (left < 3.0 * left[use].std())

    ours = seconds(lambda: fit_continuum(WAVELENGTH, flux, ivar))
    report("continuum, 4 times clipped (lstsq)", 160, ours, (10, seconds(naive_clipped)), 1500)


def barycentric(rng):
    n = 4000
    ra, dec, jd = rng.uniform(0, 360, n), rng.uniform(-30, 80, n), rng.uniform(2456000, 2460000, n)
    ours = seconds(lambda: barycentric_correction(ra, dec, jd, SITES["apo25m"]))

    def naive():
        for one in zip(ra[:10], dec[:10], jd[:10], strict=True):
            barycentric_correction(*one, SITES["apo25m"])

    report("barycentric (one at a time)", n, ours, (10, seconds(naive)), 3000)


def velocities(rng):
    widths = np.linspace(6.0, 20.0, 36)
    templates = make_templates(
        APSTAR_GRID, WAVELENGTH, np.stack([STAR(WAVELENGTH, sigma_kms=width) for width in widths])
    )
    seen = [observe(STAR, v, 60.0, rng, sky=True) for v in rng.uniform(-150, 150, 96)]

    def prepare(some):
        return Deposit.stack(
            [prepare_spectra(APSTAR_GRID, w, f[None], i[None], (m != 0)[None]) for w, f, i, m in seen[:some]]
        )

    prepared = prepare(96)

    def naive():
        shifts = np.arange(-150.0, 151.0, 4.0)
        w, f, i, _ = seen[0]
        for template in templates.residual:
            for v in shifts:
                model = np.interp(w, WAVELENGTH * (1.0 + v / SPEED_OF_LIGHT_KMS), template)
                ((f - model) ** 2 * i).sum()

    blocks = [prepared.rows(slice(first, first + 16)) for first in range(0, 96, 16)]
    ours = seconds(lambda: [correlate(block, templates) for block in blocks])
    report("correlation with 36 templates (interpolation)", 96, ours, (1, seconds(naive, 1)), 800)
    report(
        "the same, with clipping and refinement", 96, seconds(lambda: measure_velocities(prepared, templates))
    )
    report("continuum, masks and grid of visits", 24, seconds(lambda: prepare(24)))
    return seen


def coadd(seen):
    chip = visit_wavelength()[1]
    visits = [Visit(w, chip, f, i, m) for w, f, i, m in seen[:12]]
    ours = seconds(lambda: [rest_visit(visit, 30.0) for visit in visits])

    def naive():
        visit, width = visits[0], 4.25
        for number in range(3):
            w, f = visit.wavelength[chip == number], visit.flux[chip == number]
            inside = WAVELENGTH[(w[0] < WAVELENGTH) & (w[-1] > WAVELENGTH)]
            for x in np.interp(inside, w, np.arange(w.size)):
                near = np.arange(max(int(x) - 22, 0), min(int(x) + 23, w.size))
                kernel = np.sinc((near - x) * 2 / width) * np.exp(-(((near - x) / (1.625 * width)) ** 2))
                (kernel * f[near]).sum() / kernel.sum()

    report("visit to rest by damped sinc (pixel by pixel)", 12, ours, (1, seconds(naive, 1)), 60)


def cannon(rng, n_labels, n_iterations, goals):
    n, n_pixels = 2000, WAVELENGTH.size
    theta = rng.normal(0.0, 0.01, (n_terms(n_labels), n_pixels)) * (
        rng.random((n_terms(n_labels), n_pixels)) < 0.1
    )
    theta[0] = 1.0
    theta[1 : n_labels + 1] *= 3.0
    labels = rng.standard_normal((n, n_labels))
    flux = quadratic_terms(labels / 2.0) @ theta + 0.01 * rng.standard_normal((n, n_pixels))
    ivar = 1e4 * rng.uniform(0.5, 1.5, flux.shape)
    names = tuple(f"l{k}" for k in range(n_labels))
    began = time.process_time()
    model = train_cannon(flux, ivar, labels, names, n_iterations=n_iterations)
    taken = time.process_time() - began
    print(f"The Cannon, train 2000 stars, {n_labels} labels: {taken:.1f} s (goal {goals[0]})", flush=True)

    def predict(_, *values):
        return quadratic_terms(np.array([values]))[0] @ model.coefficients

    def naive():
        for row, weight in zip(flux[:3], ivar[:3], strict=True):
            sigma = np.sqrt(1.0 / weight + np.minimum(model.scatter2, 1.0))
            curve_fit(predict, WAVELENGTH, row, p0=np.zeros(n_labels), sigma=sigma, absolute_sigma=True)

    ours = seconds(lambda: infer_labels(model, flux[:160], ivar[:160]))
    report(f"The Cannon, {n_labels} labels (curve_fit)", 160, ours, (3, seconds(naive, 1)), goals[1])


def signal_to_noise():
    """Read and measure one visit again and again; the naive way is that of astropy's own objects."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_ap_visit(Path(folder) / "apVisit.fits", n_pixels=4096)

        def naive():
            for _ in range(10):
                with fits.open(path, memmap=False) as file:
                    flux, error, flags = (file[k].data for k in (1, 2, 3))
                    _ = file[0].header, file[4].data
                    with np.errstate(divide="ignore", invalid="ignore"):
                        ratio = flux / error
                    good = (flags & 16639 == 0) & (error > 0) & np.isfinite(ratio)
                    [np.median(ratio[good & (np.arange(3)[:, None] == k)]) for k in range(3)]

        ours = seconds(lambda: [measure(read_spectrum("apVisit", path)) for _ in range(50)])
        report("S/N of a visit, with reading (astropy)", 50, ours, (10, seconds(naive)), 400)


def lines_and_classes(rng):
    flux = 10.0 + rng.standard_normal((64, BOSS_GRID.n_pixels))
    ivar = np.ones_like(flux)
    ours = seconds(lambda: measure_lines(BOSS_GRID.wavelength, flux, ivar, LICK_LINES))
    report("7 Lick indices", 64, ours, goal=1000)

    def gauss(x, level, slope, depth, centre, sigma):  # noqa: PLR0917
        return level + slope * (x - 5000.0) + depth * np.exp(-0.5 * ((x - centre) / sigma) ** 2)

    def naive_fits():
        for line in (one.in_vacuum() for one in LICK_LINES):
            part = slice(*np.searchsorted(BOSS_GRID.wavelength, [line.blue[0], line.red[1]]))
            first = (10.0, 0.0, -1.0, sum(line.window) / 2, 5.0)
            curve_fit(gauss, BOSS_GRID.wavelength[part], flux[0, part], p0=first, maxfev=4000)

    ours = seconds(lambda: fit_lines(BOSS_GRID.wavelength, flux, ivar, LICK_LINES))
    report("7 Gaussian fits (curve_fit)", 64, ours, (1, seconds(naive_fits)))
    classes = [quasar_class(z_max=3.5)]

    def naive_scan():
        for z in 10.0 ** np.arange(0.0, 0.01, 1e-4) - 1.0:  # 100 of the 6,500 redshifts
            class_model(BOSS_GRID, flux[0], ivar[0], classes[0], z)

    ours = seconds(lambda: fit_redshifts(BOSS_GRID, flux[:8], ivar[:8], classes))
    report("redshift, 2 templates, 4 polynomials (lstsq)", 8, ours, (100 / 6500, seconds(naive_scan)))


def main():
    rng = np.random.default_rng(1)
    print(
        f"{'spectra a CPU second':44s} {'astra':>10} {'naive':>10} {'goal':>8}  load {os.getloadavg()[0]:.1f}"
    )
    continuum(rng)
    signal_to_noise()
    barycentric(rng)
    coadd(velocities(rng))
    lines_and_classes(rng)
    cannon(rng, 3, 2, ("-", 900))
    cannon(rng, 15, 1, ("16", 85))
    print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
