"""One picture of how a detector was calibrated: image, sky, PSF, residuals of positions and magnitudes."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.images.astrometry_fit import ARCSEC_PER_DEGREE, pixel_scale_arcsec
from astra.images.blocks import block_means
from astra.images.measurement import psf_moments
from astra.images.process_ccd import ProcessCcdResult
from astra.images.psf import FWHM_PER_SIGMA
from astra.products.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE_PIXEL = 400  # images are binned to about this for the screen
DPI = 100
FIGURE_INCH = 13.0, 8.0
WRAP_CHARACTERS = 36
N_WHISKERS = 8  # along the longer side
MAX_ARROWS = 400
LOW_PERCENT, HIGH_PERCENT = 1.0, 99.5
SKY_COLOURS, SCALE_COLOURS, DIFFERENCE_COLOURS = "viridis", "cividis", "RdBu_r"
FIGURES = (
    ("n_sources", "sources", "{:.0f}"),
    ("n_psf_stars", "PSF stars", "{:.0f}"),
    ("psf_fwhm_pixel", "FWHM of equal area", "{:.2f} pixel"),
    ("psf_residual", "PSF residual", "{:.2%} of peak"),
    ("n_astrometry_used", "stars for the WCS", "{:.0f}"),
    ("astrometry_scatter_ra_arcsec", "scatter in ra", '{:.3f}"'),
    ("astrometry_scatter_dec_arcsec", "scatter in dec", '{:.3f}"'),
    ("n_photometry_used", "stars for the zero point", "{:.0f}"),
    ("zero_point_scatter_mag", "zero point scatter", "{:.3f} mag"),
    ("sky_adu", "sky", "{:.1f} adu"),
    ("sky_noise_adu", "sky noise", "{:.2f} adu"),
)


def write_quality_picture(path: Path | str, result: ProcessCcdResult) -> None:
    """Draw the picture and write it as PNG; the file appears whole or not at all."""
    content = io.BytesIO()
    draw_quality(result).savefig(content, format="png", dpi=DPI)
    write_bytes(path, content.getvalue())


def draw_quality(result: ProcessCcdResult) -> Figure:
    """Draw how a detector was calibrated.

    Parameters
    ----------
    result : ProcessCcdResult
        Of `astra.images.process_ccd.process_ccd`.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Six panels; a panel of something that could not be fitted says why.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=FIGURE_INCH)
    FigureCanvasAgg(figure)
    panels = [_Panel(figure, row, column, result) for row in (0, 1) for column in (0, 1, 2)]
    info = result.calexp.info
    figure.suptitle(
        f"{info.instrument}   visit {info.visit}   detector {info.detector}   {info.physical_filter}   "
        f"{info.exposure_time_s:g} s   MJD {info.midpoint_mjd_tai:.5f} TAI"
    )
    _draw_image(panels[0], result)
    _draw_sky(panels[1], result)
    _draw_psf(panels[2], result)
    _draw_astrometry(panels[3], result)
    _draw_photometry(panels[4], result)
    _write_figures(panels[5], result)
    return figure


def bin_image(image: NDArray[Any], side_pixel: int = SIDE_PIXEL) -> NDArray[np.float64]:
    """Mean of blocks, so that the longer side has about ``side_pixel``; NaN where no pixel is finite."""
    return block_means(image, max(int(np.ceil(max(image.shape) / side_pixel)), 1))


class _Panel:
    """One panel with the frame of the detector, and room for its colour scale."""

    def __init__(self, figure: Figure, row: int, column: int, result: ProcessCcdResult) -> None:
        left, bottom = 0.045 + 0.325 * column, 0.54 - 0.47 * row
        ny, nx = result.calexp.shape
        self.figure = figure
        self.shape = ny, nx
        self.extent = (-0.5, nx - 0.5, -0.5, ny - 0.5)
        self.axes = figure.add_axes((left, bottom, 0.25, 0.37))
        self.axes.set(xlim=self.extent[:2], ylim=self.extent[2:], aspect="equal", anchor="W")
        self.axes.tick_params(labelsize="small")
        self.axes.locator_params(nbins=4)
        self._scale_place = (left + 0.255, bottom + 0.03, 0.008, 0.31)

    def title(self, text: str) -> None:
        """Say what is shown."""
        self.axes.set_title(text, fontsize="medium", loc="left")

    def scale(self, shown: Any) -> None:
        """Draw the colour scale beside the panel."""
        bar = self.figure.colorbar(shown, cax=self.figure.add_axes(self._scale_place))
        bar.ax.tick_params(labelsize="small")
        bar.ax.locator_params(axis="y", nbins=4)
        bar.ax.ticklabel_format(axis="y", useOffset=False)  # it would lie over the title of the panel

    def show(self, image: NDArray[np.float64], colours: str) -> None:
        """Show an image with its scale."""
        finite = image[np.isfinite(image)]
        low, high = np.percentile(finite, [LOW_PERCENT, HIGH_PERCENT]) if len(finite) else (0.0, 1.0)
        limits: dict[str, Any] = {"vmin": low, "vmax": max(high, low + 1e-9)}
        self.scale(self.axes.imshow(image, origin="lower", extent=self.extent, cmap=colours, **limits))

    def say_why(self, result: ProcessCcdResult, step: str) -> None:
        """Write into an empty panel why it is empty."""
        reason = next(
            (str(failure.error) for failure in result.failures if failure.step == step), "not fitted"
        )
        text = "\n".join(textwrap.wrap(reason.replace("$", r"\$"), WRAP_CHARACTERS))
        self.axes.text(
            0.5, 0.5, text, ha="center", va="center", transform=self.axes.transAxes, color="tab:red"
        )


def _draw_image(panel: _Panel, result: ProcessCcdResult) -> None:
    panel.title(f"calibrated image, mean of blocks [{result.calexp.unit}]")
    panel.show(bin_image(result.calexp.image), "gray_r")


def _draw_sky(panel: _Panel, result: ProcessCcdResult) -> None:
    panel.title(f"sky that was subtracted [{result.calexp.unit}]")
    panel.show(bin_image(result.background), SKY_COLOURS)


def _draw_psf(panel: _Panel, result: ProcessCcdResult) -> None:
    """FWHM as colour, ellipticity as whiskers, and the stars behind them."""
    from matplotlib.collections import LineCollection

    psf = result.calexp.psf
    panel.title("PSF")
    if psf is None:
        panel.say_why(result, "psf")
        return
    ny, nx = panel.shape
    n_x, n_y = (max(round(N_WHISKERS * side / max(nx, ny)), 2) for side in (nx, ny))
    x, y = np.meshgrid((np.arange(n_x) + 0.5) * nx / n_x - 0.5, (np.arange(n_y) + 0.5) * ny / n_y - 0.5)
    ixx, ixy, iyy = psf_moments(psf, x.ravel(), y.ravel(), (ny, nx)).T
    panel.show(FWHM_PER_SIGMA * ((ixx * iyy - ixy**2) ** 0.25).reshape(x.shape), SCALE_COLOURS)
    e1, e2 = (ixx - iyy) / (ixx + iyy), 2.0 * ixy / (ixx + iyy)
    size, angle = np.hypot(e1, e2), 0.5 * np.arctan2(e2, e1)
    length = 0.4 * nx / n_x * size / max(float(size.max()), 1e-9)
    step = np.stack([length * np.cos(angle), length * np.sin(angle)], axis=-1)
    middle = np.stack([x.ravel(), y.ravel()], axis=-1)
    lines = list(np.stack([middle - step, middle + step], axis=1))
    panel.axes.add_collection(LineCollection(lines, colors="w", linewidths=1.8))
    stars = result.characterisation.star_positions
    panel.axes.plot(stars[:, 0], stars[:, 1], ".", color="tab:red", markersize=3)
    panel.title(f"PSF: FWHM of the core [pixel], ellipticity up to {size.max():.3f}")


def _draw_astrometry(panel: _Panel, result: ProcessCcdResult) -> None:
    """Residuals of the positions as arrows."""
    panel.title("positions: source minus reference")
    wcs = result.calexp.wcs
    if wcs is None:
        panel.say_why(result, "wcs")
        return
    used = result.matches[result.matches["calib_astrometry_used"]]
    used = used[:: max(len(used) // MAX_ARROWS, 1)]
    # East and north turned into the directions of x and y on the image.
    sky = np.stack([used["ra_residual_arcsec"], used["dec_residual_arcsec"]]) / ARCSEC_PER_DEGREE
    dx, dy = np.linalg.inv(wcs.pixel_scale_matrix) @ sky
    typical = float(np.median(used["separation_arcsec"])) if len(used) else 0.0
    shown_arcsec = 10.0 ** np.ceil(np.log10(max(1.5 * typical, 1e-4)))
    shown_pixel = shown_arcsec / pixel_scale_arcsec(wcs)
    arrows = panel.axes.quiver(
        used["x"], used["y"], dx, dy, angles="xy", scale_units="width", scale=6 * shown_pixel, width=0.004
    )
    label = f"{1000 * shown_arcsec:g} mas"
    panel.axes.quiverkey(arrows, 1.14, 0.95, shown_pixel, label, labelpos="S", coordinates="axes")


def _draw_photometry(panel: _Panel, result: ProcessCcdResult) -> None:
    """Residuals of the magnitudes as colours."""
    panel.title("magnitudes: source minus reference")
    if result.calexp.photo_calib is None:
        panel.say_why(result, "photoCalib")
        return
    used = result.matches[result.matches["calib_photometry_used"]]
    limit = max(2.5 * float(np.std(used["mag_residual"])), 1e-4) if len(used) else 1.0
    how: dict[str, Any] = {
        "vmin": -limit,
        "vmax": limit,
        "cmap": DIFFERENCE_COLOURS,
        "edgecolors": "0.4",
        "linewidths": 0.3,
    }
    panel.scale(panel.axes.scatter(used["x"], used["y"], c=used["mag_residual"], s=14, **how))


def _write_figures(panel: _Panel, result: ProcessCcdResult) -> None:
    """List the figures."""
    panel.axes.set_axis_off()
    lines = [(name, form.format(result.metrics[key])) for key, name, form in FIGURES if key in result.metrics]
    for column, left in ((0, 0.0), (1, 0.62)):
        text = "\n".join(line[column] for line in lines)
        panel.axes.text(left, 1.0, text, transform=panel.axes.transAxes, va="top", linespacing=1.7)
