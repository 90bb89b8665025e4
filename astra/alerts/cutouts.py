"""Stamps of alerts: small FITS files with image, mask, variance and PSF.

They are laid out so that `astropy.nddata.CCDData.read` takes them as they are: primary image [nJy], ``MASK``
(bits, named by ``MP_*`` keywords), ``UNCERT`` (variance), ``PSFIMAGE``. The headers are put together from
strings: thousands of stamps are made for each exposure, and `astropy.io.fits` takes milliseconds for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.images.exposure import MASK_NO_DATA, Exposure, MaskPlane

MIN_SIDE_PIXEL = 30
MAX_SIDE_PIXEL = 102  # Rubin: a trail of 10 deg/d in 30 s, and a margin for the PSF

_BLOCK = 2880
_BITPIX = {"f4": -32, "i4": 32}

Card = tuple[str, Any]


@dataclass(frozen=True)
class LocalWcs:
    """Gnomonic projection that agrees with a WCS, to first order, at one position.

    Parameters
    ----------
    ra, dec : float
        ICRS position [deg].
    matrix : float64 ndarray, shape (2, 2)
        Tangent-plane offset east and north [deg] per pixel of x and y.
    """

    ra: float
    dec: float
    matrix: NDArray[np.float64]

    @property
    def rotation_deg(self) -> float:
        """Position angle of the y axis, from north over east [deg]."""
        return float(np.rad2deg(np.arctan2(self.matrix[0, 1], self.matrix[1, 1])))


def make_cutout(exposure: Exposure, x: float, y: float, size_pixel: float) -> bytes | None:
    """Cut a square stamp around a position.

    Pixels beyond the image are NaN, with the bit ``NO_DATA`` in the mask.

    Parameters
    ----------
    exposure : Exposure
        In [nJy], or in [adu] with a photometric calibration.
    x, y : float
        Position [pixel].
    size_pixel : float
        Side that is wanted [pixel], ``bboxSize`` for example; kept within 30 and 102.

    Returns
    -------
    stamp : bytes or None
        A FITS file; None if the position is not on the image.

    Raises
    ------
    ValueError
        If the exposure is not calibrated to flux.
    """
    n_rows, n_columns = exposure.shape
    if not (-0.5 <= x <= n_columns - 0.5 and -0.5 <= y <= n_rows - 0.5):
        return None
    scale = _njy_per_unit(exposure)
    side = int(np.clip(np.ceil(size_pixel), MIN_SIDE_PIXEL, MAX_SIDE_PIXEL))
    x_min, y_min = int(np.floor(x + 0.5)) - side // 2, int(np.floor(y + 0.5)) - side // 2
    corner = (y_min, x_min)
    cards = [("CUTMINX", x_min), ("CUTMINY", y_min), ("BUNIT", "nJy"), *_wcs_cards(exposure, x, y, corner)]
    parts = [
        _hdu(None, _cut(exposure.image, corner, side, np.nan) * np.float32(scale), cards),
        _hdu("MASK", _cut(exposure.mask, corner, side, MASK_NO_DATA), _MASK_CARDS),
        _hdu("UNCERT", _cut(exposure.variance, corner, side, np.nan) * np.float32(scale**2), _VARIANCE_CARDS),
    ]
    if exposure.psf is not None:
        parts.append(_hdu("PSFIMAGE", exposure.psf.stamp(x, y), []))
    return b"".join(parts)


def _njy_per_unit(exposure: Exposure) -> float:
    """Flux of one unit of the image [nJy]."""
    if exposure.unit == "nJy":
        return 1.0
    if exposure.photo_calib is None:
        message = (
            f"a cutout is in nJy, but the exposure is in {exposure.unit} and has no photometric calibration"
        )
        raise ValueError(message)
    return exposure.photo_calib.njy_per_count


def _cut(plane: NDArray[Any], corner: tuple[int, int], side: int, outside: Any) -> NDArray[Any]:
    """Square part of a plane from a corner (row, column), which may lie outside."""
    stamp = np.full((side, side), outside, dtype=plane.dtype)
    low = [max(0, -start) for start in corner]
    high = [min(side, length - start) for start, length in zip(corner, plane.shape, strict=True)]
    target = tuple(slice(*ends) for ends in zip(low, high, strict=True))
    source = tuple(slice(a + start, b + start) for a, b, start in zip(low, high, corner, strict=True))
    stamp[target] = plane[source]
    return stamp


def linearize_wcs(wcs: Any, x: float, y: float) -> LocalWcs:
    """Gnomonic projection that agrees with a WCS at a position, by central differences over a pixel.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        0-based pixels to ICRS [deg].
    x, y : float
        Position [pixel].
    """
    points = np.array([[x, y], [x - 0.5, y], [x + 0.5, y], [x, y - 0.5], [x, y + 0.5]])
    ra, dec = np.deg2rad(wcs.all_pix2world(points, 0)).T
    cosine = np.sin(dec[0]) * np.sin(dec) + np.cos(dec[0]) * np.cos(dec) * np.cos(ra - ra[0])
    east = np.cos(dec) * np.sin(ra - ra[0]) / cosine
    north = np.cos(dec[0]) * np.sin(dec) - np.sin(dec[0]) * np.cos(dec) * np.cos(ra - ra[0])
    plane = np.rad2deg(np.array([east, north / cosine]))
    matrix = np.column_stack([plane[:, 2] - plane[:, 1], plane[:, 4] - plane[:, 3]])
    return LocalWcs(float(np.rad2deg(ra[0])), float(np.rad2deg(dec[0])), matrix)


def _wcs_cards(exposure: Exposure, x: float, y: float, corner: tuple[int, int]) -> list[Card]:
    """Cards of the local WCS, and the rotation of the image; none without a WCS."""
    if exposure.wcs is None:
        return []
    local = linearize_wcs(exposure.wcs, x, y)
    (pc11, pc12), (pc21, pc22) = local.matrix.tolist()
    return [
        *[
            ("WCSAXES", 2),
            ("CTYPE1", "RA---TAN"),
            ("CTYPE2", "DEC--TAN"),
            ("CUNIT1", "deg"),
            ("CUNIT2", "deg"),
        ],
        *[("CRPIX1", x - corner[1] + 1.0), ("CRPIX2", y - corner[0] + 1.0)],  # FITS counts pixels from 1
        *[("CRVAL1", local.ra), ("CRVAL2", local.dec), ("CDELT1", 1.0), ("CDELT2", 1.0)],
        *[("PC1_1", pc11), ("PC1_2", pc12), ("PC2_1", pc21), ("PC2_2", pc22), ("RADESYS", "ICRS")],
        ("ROTPA", local.rotation_deg),
    ]


def _hdu(name: str | None, data: NDArray[Any], cards: list[Card]) -> bytes:
    """One header and data unit, padded to whole blocks; the primary one has no name."""
    kind = "i4" if data.dtype.kind in "iu" else "f4"
    first: list[Card] = [("SIMPLE", True)] if name is None else [("XTENSION", "IMAGE")]
    shape: list[Card] = [("BITPIX", _BITPIX[kind]), ("NAXIS", 2)]
    shape += [("NAXIS1", data.shape[1]), ("NAXIS2", data.shape[0])]
    last: list[Card] = (
        [("EXTEND", True)] if name is None else [("PCOUNT", 0), ("GCOUNT", 1), ("EXTNAME", name)]
    )
    header = "".join(_card(*card) for card in (*first, *shape, *last, *cards)) + f"{'END':80}"
    body = data.astype(f">{kind}").tobytes()
    return b"".join(
        [header.encode("ascii"), b" " * (-len(header) % _BLOCK), body, b"\0" * (-len(body) % _BLOCK)]
    )


def _card(key: str, value: Any) -> str:
    """One line of 80 characters."""
    if isinstance(value, str):
        text = f"'{value:8}'".ljust(20)
    elif isinstance(value, bool):
        text = f"{'FT'[value]:>20}"
    else:
        # repr has all digits of a float, but FITS wants a capital E
        text = f"{value!r}".upper().rjust(20)
    head = f"{key:8}= " if len(key) <= 8 else f"HIERARCH {key} = "
    return f"{head}{text}".ljust(80)


_MASK_CARDS: list[Card] = [(f"MP_{plane.name}", plane.value.bit_length() - 1) for plane in MaskPlane]
_VARIANCE_CARDS: list[Card] = [("UTYPE", "VarianceUncertainty"), ("BUNIT", "nJy2")]
