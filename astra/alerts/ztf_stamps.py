"""Stamps as ZTF has them, 63 x 63 pixels in gzipped FITS, and what it counts on the middle of them."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.alerts.fits_units import read_image, read_units
from astra.alerts.stamps import MAX_SIDE_PIXEL, Stamp

SIDE_PIXEL = 63
BAD_PLANES = ("BAD", "SAT", "CR", "NO_DATA")

_CORE_REACH = 2  # ZTF counts on 5 x 5 pixels
_BLOCK = 2880


@dataclass(frozen=True)
class CoreCounts:
    """What is counted on the 5 x 5 pixels around a source.

    Parameters
    ----------
    n_negative, n_bad : int
        Pixels below zero, and pixels that are masked or without data.
    sum_ratio : float or None
        Sum of the pixels over the sum of their sizes; None where all are zero or without data.
    """

    n_negative: int
    n_bad: int
    sum_ratio: float | None


def ztf_stamp(stamp: Stamp, *, ra: float, dec: float, sign: float = 1.0) -> bytes:
    """Write a stamp as ZTF does.

    It is cut or filled with NaN to 63 x 63 pixels with the source in the middle one, and turned by whole
    right angles and mirrored so that east is at smaller x and north at smaller y, as on ZTF's detectors.

    Parameters
    ----------
    stamp : Stamp
        Of `astra.alerts.stamps.read_stamp`.
    ra, dec : float
        Position of the source [deg].
    sign : float, optional
        -1 turns a difference round, so that what has become fainter is positive.

    Returns
    -------
    content : bytes
        Gzipped FITS; the same for the same stamp.
    """
    turned = _turned(stamp)
    middle = SIDE_PIXEL // 2
    x, y = round(turned.x), round(turned.y)
    square = _cut(turned.image, x, y, middle) * np.float32(sign)
    cards = _cards(turned, ra, dec, turned.x - x + middle, turned.y - y + middle)
    header = "".join(f"{card:80}" for card in (*cards, "END"))
    body = square.astype(">f4").tobytes()
    content = header.encode("ascii") + b" " * (-len(header) % _BLOCK) + body + b"\0" * (-len(body) % _BLOCK)
    return gzip.compress(content, 6, mtime=0)


def _turned(stamp: Stamp) -> Stamp:
    """Mirror and transpose a stamp towards the orientation of ZTF's detectors."""
    if stamp.matrix is None:
        return stamp
    image, matrix, x, y = stamp.image, stamp.matrix, stamp.x, stamp.y
    if abs(matrix[0, 1]) + abs(matrix[1, 0]) > abs(matrix[0, 0]) + abs(matrix[1, 1]):
        image, matrix, x, y = image.T, matrix[:, ::-1], y, x
    ny, nx = image.shape
    if matrix[0, 0] > 0:
        image, matrix, x = image[:, ::-1], matrix * [-1.0, 1.0], nx - 1 - x
    if matrix[1, 1] > 0:
        image, matrix, y = image[::-1], matrix * [1.0, -1.0], ny - 1 - y
    return Stamp(image, stamp.unit, x, y, matrix)


def _cut(image: NDArray[np.float32], x: int, y: int, reach: int) -> NDArray[np.float32]:
    """Square of an image around a pixel, NaN where there is none."""
    padded = np.pad(image, reach, constant_values=np.float32(np.nan))
    x, y = int(np.clip(x, 0, image.shape[1] - 1)), int(np.clip(y, 0, image.shape[0] - 1))
    return padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1]


def _cards(stamp: Stamp, ra: float, dec: float, x: float, y: float) -> list[str]:
    def number(key: str, value: Any) -> str:
        return f"{key:8}= {value!r:>20}"

    cards = [f"{'SIMPLE':8}= {'T':>20}", number("BITPIX", -32), number("NAXIS", 2)]
    cards += [number("NAXIS1", SIDE_PIXEL), number("NAXIS2", SIDE_PIXEL), f"BUNIT   = '{stamp.unit:8}'"]
    if stamp.matrix is None:
        return cards
    (a, b), (c, d) = (stamp.matrix / 3600.0).tolist()
    cards += [f"CTYPE1  = '{'RA---TAN'}'", f"CTYPE2  = '{'DEC--TAN'}'"]
    values = {"CRVAL1": ra, "CRVAL2": dec, "CRPIX1": x + 1.0, "CRPIX2": y + 1.0}
    values |= {"CD1_1": a, "CD1_2": b, "CD2_1": c, "CD2_2": d}
    return cards + [number(key, float(value)).upper() for key, value in values.items()]


def count_core(stamp: Stamp, content: bytes, *, sign: float = 1.0) -> CoreCounts:
    """Count on the middle of a difference.

    Parameters
    ----------
    stamp : Stamp
        The difference.
    content : bytes
        The FITS file that it was read from; its mask is looked at, if it has one.
    sign : float, optional
        As in `ztf_stamp`.
    """
    x, y = round(stamp.x), round(stamp.y)
    core = sign * _cut(stamp.image, x, y, _CORE_REACH)
    bad = ~np.isfinite(core)
    masked = _bad_pixels(content, stamp.image.shape)
    if masked is not None:
        bad |= _cut(masked.astype(np.float32), x, y, _CORE_REACH) > 0
    used = np.where(np.isfinite(core), core, 0.0)
    size = float(np.abs(used).sum())
    return CoreCounts(int((used < 0).sum()), int(bad.sum()), float(used.sum()) / size if size > 0 else None)


def _bad_pixels(content: bytes, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Pixels that the mask of a stamp calls bad; None without a mask."""
    unit = next((unit for unit in read_units(content) if unit.name == "MASK"), None)
    if unit is None:
        return None
    mask = read_image(content, unit, max_side=MAX_SIDE_PIXEL)
    if mask.shape != shape:
        return None
    planes = [unit.header.get(f"MP_{name}") for name in BAD_PLANES]
    bits = sum(1 << plane for plane in planes if type(plane) is int and 0 <= plane < 63)
    found: NDArray[np.bool_] = (mask.astype(np.int64) & bits) != 0
    return found
