"""Resample a template onto a CCD and compare cost and quality with the usual programs.

    python benchmarks/template_warp.py [--size 4096] [--angle 0.1 30] [--fwhm 3.5] [--repeat 3]

A field of Gaussian stars with sky noise is resampled onto pixels that are shifted, turned by each of the
angles [deg], and of another scale. Prints one row a program: CPU seconds (the least of some runs after the
first, which compiles), the ratio to astra, the largest memory beyond the input, the error of the star
images against exact ones (of the peak), and the scatter of the aperture fluxes. Only astra resamples the
variance and the mask as well. Programs that are not installed are skipped: reproject, SWarp.
"""

import argparse
import importlib.util
import os
import resource
import shutil
import subprocess
import tempfile
import time
import tracemalloc
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # of one core, as in a worker: numpy looks when it is imported

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy import ndimage

from astra.images.exposure import Exposure, VisitInfo
from astra.images.psf import gaussian_psf, sigma_from_fwhm
from astra.images.warp import make_pixel_map, warp_exposure, warp_planes

SCALE_ARCSEC = 0.2
SCALE_RATIO = 1.003  # of output to input pixels
STEP_PIXEL = 61  # between stars
HALF = 12
APERTURE_PIXEL = 9.0
SWARP_OPTIONS = (
    "-RESAMPLING_TYPE LANCZOS4 -SUBTRACT_BACK N -COMBINE N -WEIGHT_TYPE NONE -NTHREADS 1 -WRITE_XML N "
    "-VERBOSE_TYPE QUIET"
)


def make_wcs(size, offset, angle_deg, scale_arcsec):
    """Tangent plane turned by an angle, its centre off the middle of the image by an offset [pixel]."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix = [size / 2 + offset[0], size / 2 + offset[1]]
    wcs.wcs.crval = [150.0, 2.2]
    cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    wcs.wcs.cd = scale_arcsec / 3600 * np.array([[-cosine, sine], [sine, cosine]])
    return wcs


def star_stamp(dx, dy, fwhm):
    """Gaussian of unit flux, off the middle of a stamp."""
    sigma = sigma_from_fwhm(fwhm)
    y, x = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]
    return np.exp(-((x - dx) ** 2 + (y - dy) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


class Field:
    """Stars on a grid of the input, and where they fall on the output."""

    def __init__(self, size, angle_deg, fwhm):
        rng = np.random.default_rng(1)
        self.size, self.fwhm = size, fwhm
        self.wcs = make_wcs(size, (0.0, 0.0), 0.0, SCALE_ARCSEC)
        self.wcs_out = make_wcs(size, (10.3, -7.6), angle_deg, SCALE_RATIO * SCALE_ARCSEC)
        places = np.arange(2 * HALF, size - 2 * HALF, STEP_PIXEL, dtype=float)
        x, y = (a.ravel() + rng.uniform(-0.5, 0.5, a.size) for a in np.meshgrid(places, places))
        self.flux = 1e5
        self.image = rng.normal(scale=0.01, size=(size, size)).astype(np.float32)
        for k in range(len(x)):
            column, row = round(x[k]), round(y[k])
            window = np.s_[row - HALF : row + HALF + 1, column - HALF : column + HALF + 1]
            self.image[window] += self.flux * star_stamp(x[k] - column, y[k] - row, fwhm)
        out_x, out_y = self.wcs_out.all_world2pix(*self.wcs.all_pix2world(x, y, 0), 0)
        inside = (np.minimum(out_x, out_y) > 2 * HALF) & (np.maximum(out_x, out_y) < size - 2 * HALF)
        self.x, self.y = out_x[inside], out_y[inside]

    def exposure(self):
        """The input with variance, mask, WCS and PSF."""
        variance = np.ones_like(self.image)
        mask = np.zeros(self.image.shape, dtype=np.uint32)
        info = VisitInfo("simulated", 1, 1, "r", "r", 60000.0, 30.0)
        psf = gaussian_psf(self.fwhm, 41)
        return Exposure(self.image, variance, mask, info, "nJy", wcs=self.wcs, psf=psf)

    def quality(self, warped, area=1.0):
        """Largest and typical error of the star images, and bias and scatter of the aperture fluxes."""
        errors, fluxes = [], []
        distance = np.hypot(*np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1])
        for x, y in zip(self.x, self.y, strict=True):
            column, row = round(x), round(y)
            stamp = warped[row - HALF : row + HALF + 1, column - HALF : column + HALF + 1] * area / self.flux
            expected = star_stamp(x - column, y - row, self.fwhm / SCALE_RATIO)
            errors.append(np.abs(stamp - expected).max() / expected.max())
            fluxes.append(stamp[distance < APERTURE_PIXEL].sum())
        fluxes = np.array(fluxes)
        return (
            f"star error max {100 * max(errors):.2f} %, median {100 * np.median(errors):.2f} %; "
            f"flux {100 * (np.median(fluxes) - 1):+.3f} % +- {100 * fluxes.std():.3f} %"
        )


def timed(function, repeat):
    """Result, least CPU seconds of some runs after the first, and peak memory of numpy [Mbyte]."""
    result = function()
    seconds = []
    for _ in range(repeat):
        start = time.process_time()
        result = function()
        seconds.append(time.process_time() - start)
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return result, min(seconds), peak


def scipy_warp(field):
    """Cubic spline of scipy at positions that are given (from the grid of astra), the Jacobian aside."""
    pixel_map = make_pixel_map(field.wcs_out, field.wcs, field.image.shape)
    x, y = (pixel_map.spread(grid.astype(np.float32)) for grid in (pixel_map.x, pixel_map.y))
    return lambda: ndimage.map_coordinates(field.image, [y, x], order=3, mode="mirror", output=np.float32)


def reproject_warp(field):
    """Bicubic interpolation of reproject, which keeps surface brightness."""
    from reproject import reproject_interp

    shape = field.image.shape
    return lambda: reproject_interp(
        (field.image, field.wcs), field.wcs_out, shape, order="bicubic", return_footprint=False
    )


def output_header(field):
    """Header of the frame that SWarp is to fill: it reads the size, and a CD matrix but no PC matrix."""
    header = field.wcs_out.to_header()
    for i in (1, 2):
        header[f"NAXIS{i}"] = field.image.shape[2 - i]
        for j in (1, 2):
            header[f"CD{i}_{j}"] = field.wcs_out.pixel_scale_matrix[i - 1, j - 1]
            header.remove(f"PC{i}_{j}", ignore_missing=True)
        header.remove(f"CDELT{i}")
    return header


def placed(path, shape):
    """Pixels of a frame that SWarp has cut to where it has input, on the whole frame; NaN elsewhere."""
    part, header = fits.getdata(path, header=True)
    row, column = header["COMIN2"] - 1, header["COMIN1"] - 1
    whole = np.full(shape, np.nan, dtype=np.float32)
    whole[row : row + part.shape[0], column : column + part.shape[1]] = part
    return whole


def swarp_warp(field, folder):
    """Resampled image and CPU seconds of SWarp with Lanczos-4, or None."""
    program = shutil.which("SWarp") or shutil.which("swarp")
    if program is None:
        return None
    fits.writeto(folder / "in.fits", field.image, field.wcs.to_header(), overwrite=True)
    (folder / "out.head").write_text(output_header(field).tostring(sep="\n", endcard=True, padding=False))
    command = f"{program} in.fits -IMAGEOUT_NAME out.fits -RESAMPLE_SUFFIX .resamp.fits {SWARP_OPTIONS}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return placed(folder / "in.resamp.fits", field.image.shape), seconds


def print_row(name, seconds, own_seconds, peak, quality):
    """One row of the table."""
    memory = "" if peak is None else f"{peak:.0f}"
    print(f"{name:<34}{seconds:8.2f}{seconds / own_seconds:8.1f}{memory:>8}  {quality}", flush=True)


def compare(field, repeat):
    """Print the rows of one field."""
    exposure = field.exposure()
    pixel_map = make_pixel_map(field.wcs_out, field.wcs, field.image.shape)
    (image, _, _), seconds, peak = timed(lambda: warp_planes(exposure, pixel_map), repeat)
    print_row("astra: image, variance, mask", seconds, seconds, peak, field.quality(image))

    def whole():
        found = make_pixel_map(field.wcs_out, field.wcs, field.image.shape)
        return warp_exposure(exposure, found, field.wcs_out)

    _, with_psf, peak = timed(whole, repeat)
    print_row("  with WCS map, PSF, noise power", with_psf, seconds, peak, "")
    area = SCALE_RATIO**2
    result, peer, peak = timed(scipy_warp(field), repeat)
    print_row("scipy map_coordinates, maps given", peer, seconds, peak, field.quality(result, area))
    if importlib.util.find_spec("reproject") is None:
        print("reproject is not installed: skipped")
    else:
        result, peer, peak = timed(reproject_warp(field), 1)
        print_row("reproject_interp bicubic", peer, seconds, peak, field.quality(result, area))
    with tempfile.TemporaryDirectory() as folder:
        found = swarp_warp(field, Path(folder))
    if found is None:
        print("SWarp is not installed: skipped")
    else:
        print_row("SWarp Lanczos-4, with files", found[1], seconds, None, field.quality(found[0]))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--angle", type=float, nargs="+", default=[0.1, 30.0])
    parser.add_argument("--fwhm", type=float, default=3.5)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(f"{options.size} x {options.size} pixels, stars of {options.fwhm} pixels")
    for angle in options.angle:
        print(f"\nturned by {angle} deg\n{'':<34}{'CPU s':>8}{'ratio':>8}{'Mbyte':>8}  quality")
        compare(Field(options.size, angle, options.fwhm), options.repeat)


if __name__ == "__main__":
    main()
