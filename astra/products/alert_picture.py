"""One picture of an alert: its stamps with north up and east left, and its light curve."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.alerts.stamps import Stamp
from astra.alerts.views import AB_ZERO_POINT, AlertView
from astra.products.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
FIGURE_INCH = 10.0, 7.2
STAMP_INCH = 3.0
GREYS = "gray_r"
TITLES = {"science": "science", "template": "template", "difference": "science \N{MINUS SIGN} template"}
LINEAR_SIGMA = 3.0  # of the sky: fainter is shown in proportion, brighter by its logarithm
SKY_BELOW_SIGMA, SKY_ABOVE_SIGMA = 2.0, 6.0
HIGH_PERCENT = 99.7
BAR_FRACTION = 0.3  # of the width of a stamp, at most
BAR_ARCSEC = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
MARKER_COLOUR = "tab:red"
# Bands as Rubin draws them, and the same in ZTF's case.
BAND_COLOURS = {
    "u": "#0c71ff", "g": "#49be61", "r": "#c61c00", "i": "#ffc200", "z": "#f341a2", "y": "#5d0000",
}  # fmt: skip
BAND_MARKERS = {"u": "o", "g": "^", "r": "v", "i": "s", "z": "D", "y": "p"}
UNITS = ((1e6, "mJy"), (1e3, "µJy"), (1.0, "nJy"))


def write_alert_picture(path: Path | str, view: AlertView, stamps: Mapping[str, Stamp | None]) -> None:
    """Draw the picture and write it as PNG; the file appears whole or not at all."""
    content = io.BytesIO()
    draw_alert(view, stamps).savefig(content, format="png", dpi=DPI)
    write_bytes(path, content.getvalue())


def draw_alert(view: AlertView, stamps: Mapping[str, Stamp | None]) -> Figure:
    """Draw an alert.

    Parameters
    ----------
    view : AlertView
        Of `astra.alerts.views.view_packet`.
    stamps : mapping of str to Stamp or None
        ``science``, ``template`` and ``difference``.

    Returns
    -------
    figure : matplotlib.figure.Figure
        A panel without a stamp, or a light curve without a point, says so.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=FIGURE_INCH, facecolor="w")
    FigureCanvasAgg(figure)
    width, height = FIGURE_INCH
    _write_title(figure, view)
    shared = _common_limits(stamps)
    for column, name in enumerate(TITLES):
        left = (0.25 + column * (STAMP_INCH + 0.25)) / width
        place = (left, (height - 4.05) / height, STAMP_INCH / width, STAMP_INCH / height)
        axes = figure.add_axes(place)
        axes.set_title(TITLES[name], fontsize="medium", loc="left")
        stamp = stamps.get(name)
        limits = _difference_limits(stamp) if name == "difference" else shared
        _draw_stamp(axes, stamp, limits)
    axes = figure.add_axes((0.95 / width, 0.62 / height, (width - 2.0) / width, 2.1 / height))
    _draw_light_curve(axes, view)
    return figure


def plain_text(text: str) -> str:
    """Make text from anywhere safe to draw: no control characters, and no formulae."""
    shown = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
    return shown.replace("$", r"\$")


def _write_title(figure: Figure, view: AlertView) -> None:
    from astropy.coordinates import SkyCoord

    name = f"{view.survey.upper()} {view.source_id}" + (
        f"   object {view.object_name}" if view.object_name else ""
    )
    figure.text(0.025, 0.965, plain_text(name), fontsize="large", fontweight="bold", va="center")
    parts = []
    if math.isfinite(view.ra) and abs(view.dec) <= 90.0:
        place = SkyCoord(view.ra, view.dec, unit="deg")
        parts.append(place.to_string("hmsdms", sep=":", precision=2, pad=True))
    parts.append(f"MJD {view.mjd_tai:.5f} TAI")
    error = f" ± {1.0857 * view.flux_err / abs(view.flux):.2f}" if view.flux_err > 0 and view.flux else ""
    if math.isfinite(view.mag_ab):
        change = "  (fainter than the template)" if view.flux < 0 else ""
        parts.append(f"{view.band or 'm'} = {view.mag_ab:.2f}{error} AB{change}")
    if math.isfinite(view.snr):
        parts.append(f"S/N {view.snr:.1f}")
    if math.isfinite(view.reliability):
        parts.append(f"reliability {view.reliability:.2f}")
    figure.text(0.025, 0.93, plain_text("     ".join(parts)), fontsize="small", va="center")


def _sky(image: NDArray[np.float32]) -> tuple[float, float]:
    """Median and scatter of the pixels that have data."""
    pixels = image[np.isfinite(image)].astype(np.float64)
    if not len(pixels):
        return 0.0, 1.0
    middle = float(np.median(pixels))
    scatter = 1.4826 * float(np.median(np.abs(pixels - middle)))
    return middle, scatter or float(np.std(pixels)) or 1.0


def _image_limits(image: NDArray[np.float32]) -> tuple[float, float, float]:
    """Lowest and highest value that is told apart, and the scatter of the sky."""
    middle, scatter = _sky(image)
    pixels = image[np.isfinite(image)]
    high = float(np.percentile(pixels, HIGH_PERCENT)) if len(pixels) else middle
    low = middle - SKY_BELOW_SIGMA * scatter
    return low, max(high, middle + SKY_ABOVE_SIGMA * scatter), scatter


def _difference_limits(stamp: Stamp | None) -> tuple[float, float, float] | None:
    """Limits on both sides of zero."""
    if stamp is None:
        return None
    _, scatter = _sky(stamp.image)
    sizes = np.abs(stamp.image[np.isfinite(stamp.image)])
    high = max(float(np.percentile(sizes, HIGH_PERCENT)) if len(sizes) else 0.0, 4.0 * scatter)
    return -high, high, scatter


def _common_limits(stamps: Mapping[str, Stamp | None]) -> tuple[float, float, float] | None:
    """Limits that science and template share, where both are fluxes: then they can be compared by eye."""
    pair = [stamps.get(name) for name in ("science", "template")]
    images = [stamp.image for stamp in pair if stamp is not None and stamp.unit == "nJy"]
    if len(images) < 2:
        return None
    lows, highs, scatters = zip(*map(_image_limits, images), strict=True)
    return min(lows), max(highs), max(scatters)


def _draw_stamp(axes: Axes, stamp: Stamp | None, limits: tuple[float, float, float] | None) -> None:
    from matplotlib.colors import AsinhNorm
    from matplotlib.transforms import Affine2D

    axes.set(xticks=[], yticks=[], facecolor="0.85")
    if stamp is None:
        axes.text(0.5, 0.5, "none", ha="center", va="center", transform=axes.transAxes, color="0.4")
        return
    low, high, scatter = limits or _image_limits(stamp.image)
    norm = AsinhNorm(linear_width=LINEAR_SIGMA * scatter, vmin=low, vmax=high)
    ny, nx = stamp.image.shape
    matrix = stamp.matrix if stamp.matrix is not None else np.diag([-1.0, 1.0])
    (a, c), (b, d) = matrix.tolist()
    on_sky = Affine2D.from_values(a, b, c, d, 0.0, 0.0)
    place = Affine2D().translate(-stamp.x, -stamp.y) + on_sky + axes.transData
    axes.imshow(
        stamp.image,
        origin="lower",
        extent=(-0.5, nx - 0.5, -0.5, ny - 0.5),
        transform=place,
        norm=norm,
        cmap=GREYS,
        interpolation="nearest",
    )
    half = max(nx, ny) / 2.0 * math.sqrt(abs(np.linalg.det(matrix)))
    axes.set(xlim=(half, -half), ylim=(-half, half), aspect="equal")
    _draw_marker(axes, half)
    _draw_scale(axes, half, known=stamp.matrix is not None)


def _draw_marker(axes: Axes, half: float) -> None:
    """Point to the source from two sides, and leave it free."""
    for x, y in ((0.0, 1.0), (-1.0, 0.0)):
        ends = np.array([0.24, 0.42]) * half
        axes.plot(x * ends, y * ends, color=MARKER_COLOUR, linewidth=1.4, solid_capstyle="butt")


def _draw_scale(axes: Axes, half: float, *, known: bool) -> None:
    """Draw a bar of a round length, and where north and east are; pixels without both."""
    from matplotlib.patheffects import withStroke

    style: dict[str, Any] = {"path_effects": [withStroke(linewidth=2.5, foreground="w")]}
    if not known:
        axes.text(0.04, 0.04, "orientation not told", transform=axes.transAxes, fontsize="small", **style)
        return
    length = max((bar for bar in BAR_ARCSEC if bar <= 2.0 * BAR_FRACTION * half), default=BAR_ARCSEC[0])
    left, low = 0.92 * half, -0.90 * half
    axes.plot([left, left - length], [low, low], color="k", linewidth=1.8, **style)
    middle = left - length / 2.0
    axes.text(middle, low + 0.035 * half, f"{length:g}″", ha="center", va="bottom", fontsize="small", **style)
    corner, arm = (-0.86 * half, -0.90 * half), 0.22 * half
    for (east, north), letter in (((1.0, 0.0), "E"), ((0.0, 1.0), "N")):
        tip = corner[0] + arm * east, corner[1] + arm * north
        axes.annotate(
            "", tip, corner, arrowprops={"arrowstyle": "->", "lw": 1.1, "shrinkA": 0, "shrinkB": 0, **style}
        )
        beyond = corner[0] + 1.35 * arm * east, corner[1] + 1.35 * arm * north
        axes.text(*beyond, letter, ha="center", va="center", fontsize="small", **style)


def _draw_light_curve(axes: Axes, view: AlertView) -> None:
    """Draw fluxes by band: detections filled, forced open, limits as arrows, this alert ringed."""
    series = (view.detections, view.forced, view.limits)
    fluxes = np.concatenate([points["flux"] for points in series])
    if not len(fluxes):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no light curve", ha="center", va="center", transform=axes.transAxes, color="0.4")
        return
    scale, unit = next((step for step in UNITS if np.abs(fluxes).max() >= step[0]), UNITS[-1])
    times = np.concatenate([points["mjd_tai"] for points in series])
    zero = view.mjd_tai if math.isfinite(view.mjd_tai) else float(times.max())
    in_hours = np.ptp(times) < 0.5
    step = 1.0 / 24.0 if in_hours else 1.0
    axes.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
    for band in sorted({str(band) for points in series for band in points["band"]}, key=_band_rank):
        _draw_band(axes, band, [points[points["band"] == band] for points in series], (zero, step, scale))
    if math.isfinite(view.flux):
        axes.plot(
            0.0, view.flux / scale, "o", mfc="none", mec="k", markersize=13, markeredgewidth=1.1, zorder=5
        )
    axes.set_xlabel(f"{'hours' if in_hours else 'days'} from MJD {zero:.5f} TAI")
    axes.set_ylabel(f"difference flux [{unit}]")
    axes.margins(x=0.04, y=0.16)
    _draw_legend(axes, view)
    _draw_magnitudes(axes, scale)


def _band_rank(band: str) -> tuple[int, str]:
    return ("ugrizy".index(band) if band in BAND_COLOURS else 9), band


def _filled(band: str) -> dict[str, Any]:
    """How detections in a band are marked."""
    colour = BAND_COLOURS.get(band, "0.3")
    return {
        "linestyle": "none",
        "marker": BAND_MARKERS.get(band, "X"),
        "color": colour,
        "markersize": 6.5,
        "markerfacecolor": colour,
        "markeredgecolor": "k",
        "markeredgewidth": 0.6,
    }


def _draw_band(axes: Axes, band: str, series: list[NDArray[Any]], units: tuple[float, float, float]) -> None:
    zero, step, scale = units
    detections, forced, limits = series
    colour = BAND_COLOURS.get(band, "0.3")
    is_open = {"marker": "o", "markersize": 4.5, "markerfacecolor": "w", "markeredgecolor": colour}
    for points, how in ((forced, is_open | {"zorder": 3}), (detections, {"zorder": 4})):
        if len(points):
            x, y = (points["mjd_tai"] - zero) / step, points["flux"] / scale
            errors = np.nan_to_num(points["flux_err"]) / scale
            axes.errorbar(x, y, errors, capsize=0, elinewidth=0.9, **{**_filled(band), **how})
    if len(limits):
        x, y = (limits["mjd_tai"] - zero) / step, limits["flux"] / scale
        axes.plot(x, y, marker=r"$\downarrow$", color=colour, linestyle="none", markersize=7, alpha=0.7)


def _draw_legend(axes: Axes, view: AlertView) -> None:
    from matplotlib.lines import Line2D

    series = (view.detections, view.forced, view.limits)
    bands = sorted({str(band) for points in series for band in points["band"]}, key=_band_rank)
    handles = [Line2D([], [], label=plain_text(band) or "no band", **_filled(band)) for band in bands]
    if len(view.forced):
        handles.append(Line2D([], [], ls="none", marker="o", mfc="w", color="0.3", ms=4.5, label="forced"))
    if len(view.limits):
        handles.append(
            Line2D([], [], ls="none", marker=r"$\downarrow$", color="0.3", label=r"5$\sigma$ limit")
        )
    handles.append(Line2D([], [], ls="none", marker="o", mfc="none", mec="k", ms=10, label="this alert"))
    axes.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(handles), fontsize="small",
        frameon=False, handletextpad=0.2, columnspacing=1.2, borderaxespad=0.2,
    )  # fmt: skip


def _draw_magnitudes(axes: Axes, scale: float) -> None:
    """Write AB magnitudes of positive fluxes at the right."""
    low, high = axes.get_ylim()
    if high < 0.2 * (high - low):
        return
    brightest = AB_ZERO_POINT - 2.5 * math.log10(high * scale)
    right = axes.twinx()
    right.set_ylim(low, high)
    marks: list[tuple[float, str]] = []
    above = 0.0
    for mag in np.arange(math.ceil(2.0 * brightest) / 2.0, brightest + 6.0, 0.5):
        value = 10.0 ** ((AB_ZERO_POINT - mag) / 2.5) / scale
        if not marks or above - value > 0.11 * (high - low):
            marks.append((value, f"{mag:g}"))
            above = value
    marks = [mark for mark in marks if mark[0] > 0.03 * (high - low)]
    right.set_yticks([value for value, _ in marks], [label for _, label in marks])
    right.set_ylabel("AB mag")
