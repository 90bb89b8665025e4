"""From pixels to PNG: blocks, stretches, turning to north up and east left, and the bytes of the file."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
GREY_BITS, GREY, INDEXED = 8, 0, 3
STRETCHES = ("asinh", "linear", "zscale")
COMPRESSION = 6  # 9 makes 1 % less of noise, in twice the time
NO_DATA = 0  # the grey value that is transparent; data have 1 to 255
LINEAR_SIGMA = 3.0  # of the sky: fainter is shown in proportion, brighter by its logarithm
SKY_BELOW_SIGMA, SKY_ABOVE_SIGMA = 2.0, 6.0
HIGH_PERCENT = 99.7
SAMPLE_PIXELS = 1 << 18
ZSCALE_PIXELS = 20_000  # fewer would give the detectors of a visit limits that differ by chance
SIGMA_PER_MAD = 1.4826


@dataclass(frozen=True)
class Stretch:
    """Which values are white and black, and the scatter of the sky: up to three of it the scale is linear."""

    low: float
    high: float
    sigma: float


def encode_png(grey: NDArray[np.uint8]) -> bytes:
    """Write an image of greys as PNG; the value 0 is transparent.

    Parameters
    ----------
    grey : uint8 ndarray, shape (ny, nx)
        Its first row is the top.
    """
    return _encode(grey, GREY, ((b"tRNS", struct.pack(">H", NO_DATA)),))


def encode_indexed(indices: NDArray[np.uint8], colours: Sequence[str], opacity: float) -> bytes:
    """Write an image of colours as PNG; the index 0 is transparent.

    Parameters
    ----------
    indices : uint8 ndarray, shape (ny, nx)
        0, or 1 and more for the first and further colours; its first row is the top.
    colours : sequence of str
        As ``#rrggbb``.
    opacity : float
        Of the colours, from 0 to 1.
    """
    palette = b"\0\0\0" + b"".join(bytes.fromhex(colour.removeprefix("#")) for colour in colours)
    opacities = bytes([0, *[round(255 * opacity)] * len(colours)])
    return _encode(indices, INDEXED, ((b"PLTE", palette), (b"tRNS", opacities)))


def _encode(pixels: NDArray[np.uint8], colour_type: int, chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    ny, nx = pixels.shape
    header = struct.pack(">IIBBBBB", nx, ny, GREY_BITS, colour_type, 0, 0, 0)
    rows = np.zeros((ny, nx + 1), np.uint8)  # each row begins with the number of its filter: none
    rows[:, 1:] = pixels
    data = (b"IDAT", zlib.compress(rows.tobytes(), COMPRESSION))
    return PNG_MAGIC + b"".join(
        _chunk(kind, part) for kind, part in ((b"IHDR", header), *chunks, data, (b"IEND", b""))
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bin_to_side(image: NDArray[np.floating], side_pixel: int) -> NDArray[np.float32]:
    """Average blocks of pixels, so that the longer side has at most ``side_pixel``.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Pixels without data are NaN.
    side_pixel : int
        Longest side wanted.

    Returns
    -------
    binned : float32 ndarray
        Mean of the finite pixels of each block, NaN where there is none. The last rows and columns have
        smaller blocks.
    """
    n = max(math.ceil(max(image.shape) / side_pixel), 1)
    if n == 1:
        return np.array(image, dtype=np.float32)
    starts = [np.arange(0, length, n) for length in image.shape]
    finite = np.isfinite(image)
    values = np.where(finite, image, 0.0).astype(np.float64)
    total = np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)
    number = np.add.reduceat(np.add.reduceat(finite.astype(np.int64), starts[0], axis=0), starts[1], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total / number).astype(np.float32)


def sky_of(image: NDArray[np.floating]) -> tuple[float, float]:
    """Median and scatter of the pixels that have data; (0, 1) without any."""
    step = max(image.size // SAMPLE_PIXELS, 1)
    pixels = image.ravel()[::step]
    pixels = pixels[np.isfinite(pixels)].astype(np.float64)
    if not len(pixels):
        return 0.0, 1.0
    middle = float(np.median(pixels))
    scatter = SIGMA_PER_MAD * float(np.median(np.abs(pixels - middle)))
    return middle, scatter or float(pixels.std()) or 1.0


def sky_stretch(*images: NDArray[np.floating]) -> Stretch:
    """Stretch of images that are compared by eye: from below the sky to their brightest parts."""
    lows, highs, sigmas = [], [], []
    for image in images:
        middle, sigma = sky_of(image)
        finite = image[np.isfinite(image)]
        high = float(np.percentile(finite, HIGH_PERCENT)) if finite.size else middle
        lows.append(middle - SKY_BELOW_SIGMA * sigma)
        highs.append(max(high, middle + SKY_ABOVE_SIGMA * sigma))
        sigmas.append(sigma)
    return Stretch(min(lows), max(highs), max(sigmas)) if images else Stretch(0.0, 1.0, 1.0)


def difference_stretch(image: NDArray[np.floating]) -> Stretch:
    """Stretch of a difference: as far above zero as below it, so that nothing is middle grey."""
    _, sigma = sky_of(image)
    sizes = np.abs(image[np.isfinite(image)])
    high = max(float(np.percentile(sizes, HIGH_PERCENT)) if sizes.size else 0.0, SKY_ABOVE_SIGMA * sigma)
    return Stretch(-high, high, sigma)


def zscale_stretch(image: NDArray[np.floating], *, symmetric: bool = False) -> Stretch:
    """Stretch about the median whose slope is that of the middle pixels, as IRAF's display has it.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        The image.
    symmetric : bool, optional
        As far above zero as below it, for a difference.
    """
    from astropy.visualization import ZScaleInterval

    middle, sigma = sky_of(image)
    finite = image[np.isfinite(image)]
    if not finite.size:
        return Stretch(middle, middle + 1.0, sigma)
    low, high = ZScaleInterval(n_samples=ZSCALE_PIXELS).get_limits(finite)
    if symmetric:
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    return Stretch(float(low), float(high) if high > low else float(low) + sigma, sigma)


def to_grey(image: NDArray[np.floating], stretch: Stretch, *, linear: bool = False) -> NDArray[np.uint8]:
    """Map values to greys, bright sources black; what has no data is 0, which is transparent.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        The values; NaN without data.
    stretch : Stretch
        Which are white and black.
    linear : bool, optional
        In proportion, and not by the inverse hyperbolic sine.
    """
    values, scale = np.asarray(image, np.float64), LINEAR_SIGMA * stretch.sigma
    low, high = stretch.low, stretch.high
    if not linear:
        low, high = np.arcsinh(low / scale), np.arcsinh(high / scale)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        part = ((values if linear else np.arcsinh(values / scale)) - low) / max(high - low, 1e-12)
        grey = np.rint(255.0 - 254.0 * np.clip(part, 0.0, 1.0))
    return np.where(np.isfinite(grey), grey, NO_DATA).astype(np.uint8)


def turn_to_sky(
    image: NDArray[np.floating],
    centre: tuple[float, float],
    matrix: NDArray[np.float64],
    *,
    side_pixel: int,
    half_arcsec: float,
) -> NDArray[np.float32]:
    """Turn an image so that north is up and east is left; each pixel takes the nearest one of the image.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        The image.
    centre : (float, float)
        x and y [pixel, 0-based] of the middle of the result.
    matrix : float64 ndarray, shape (2, 2)
        Offset east and north [arcsec] per pixel of x and y.
    side_pixel : int
        Side of the result.
    half_arcsec : float
        Half of its side on the sky.

    Returns
    -------
    turned : float32 ndarray, shape (side_pixel, side_pixel)
        Its first row is the top; NaN outside of the image.
    """
    offset = (np.arange(side_pixel) + 0.5) / side_pixel * 2.0 - 1.0
    east, north = np.meshgrid(-half_arcsec * offset, -half_arcsec * offset)
    inverse = np.linalg.inv(matrix)
    x = np.rint(centre[0] + inverse[0, 0] * east + inverse[0, 1] * north).astype(np.int64)
    y = np.rint(centre[1] + inverse[1, 0] * east + inverse[1, 1] * north).astype(np.int64)
    ny, nx = image.shape
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    turned = np.full((side_pixel, side_pixel), np.nan, np.float32)
    turned[inside] = image[y[inside], x[inside]]
    return turned
