"""Headers of stamps, and where they lie: put together from text, as thousands are made for an exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra.images.exposure import MaskPlane

if TYPE_CHECKING:
    from astra.images.exposure import Exposure

MIN_SIDE_PIXEL = 30
MAX_SIDE_PIXEL = 102  # Rubin: a trail of 10 deg/d in 30 s, and a margin for the PSF
BLOCK = 2880  # bytes of which a FITS file has a whole number

_BITPIX = {"f4": -32, "i4": 32}
_INTEGER, _FLOAT = "%20d", "%24.16E"  # all digits of a float64

Card = tuple[str, Any]


@dataclass(frozen=True)
class CutoutConfig:
    """How stamps are cut.

    Parameters
    ----------
    size_pixel : int, optional
        Side of all stamps [pixel]; None: that of the footprint, kept within 30 and 102.
    use_average_psf : bool
        Give every stamp the PSF of the middle of the image, not that at its own place.
    detector_rotation_deg : float
        Angle from the focal plane's x axis to the rows' direction, counter-clockwise [deg]; for ``ROTPA``.

    Raises
    ------
    ValueError
        If the side is not a positive number.
    """

    size_pixel: int | None = None
    use_average_psf: bool = False
    detector_rotation_deg: float = 0.0

    def __post_init__(self) -> None:
        if self.size_pixel is not None and self.size_pixel < 1:
            raise ValueError(f"the side of a cutout must be 1 pixel or more, found {self.size_pixel}")

    def sides(self, wanted: ArrayLike) -> NDArray[np.int64]:
        """Sides [pixel] of stamps for those of footprints [pixel], shape (n,)."""
        footprint = np.nan_to_num(np.atleast_1d(np.asarray(wanted, dtype=np.float64)))
        if self.size_pixel is not None:
            return np.full(footprint.shape, self.size_pixel, dtype=np.int64)
        return np.clip(np.ceil(footprint), MIN_SIDE_PIXEL, MAX_SIDE_PIXEL).astype(np.int64)


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


def linearize_wcs(wcs: Any, x: float, y: float) -> LocalWcs:
    """Gnomonic projection that agrees with a WCS at a position, by central differences over a pixel.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        0-based pixels to ICRS [deg].
    x, y : float
        Position [pixel].
    """
    ra, dec, *matrix = linearize_at(wcs, np.array([x]), np.array([y]))[0].tolist()
    return LocalWcs(ra, dec, np.array(matrix).reshape(2, 2))


def linearize_at(wcs: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """`linearize_wcs` at many positions.

    Returns
    -------
    linear : float64 ndarray, shape (n, 6)
        ra, dec [deg] and the elements of the matrix, row by row [deg/pixel].
    """
    dx, dy = np.array([[0.0, -0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, -0.5, 0.5]])
    points = np.stack([x[:, None] + dx, y[:, None] + dy], axis=-1).reshape(-1, 2)
    ra, dec = np.deg2rad(wcs.all_pix2world(points, 0)).T.reshape(2, len(x), 5)
    turn = ra - ra[:, :1]
    sin0, cos0 = np.sin(dec[:, :1]), np.cos(dec[:, :1])
    cosine = sin0 * np.sin(dec) + cos0 * np.cos(dec) * np.cos(turn)
    east = np.rad2deg(np.cos(dec) * np.sin(turn) / cosine)
    north = np.rad2deg((cos0 * np.sin(dec) - sin0 * np.cos(dec) * np.cos(turn)) / cosine)
    steps = [plane[:, last] - plane[:, first] for plane in (east, north) for first, last in ((1, 2), (3, 4))]
    return np.column_stack([np.rad2deg(ra[:, 0]), np.rad2deg(dec[:, 0]), *steps])


def is_same_wcs(first: Any, second: Any) -> bool:
    """Whether two `astropy.wcs.WCS` without lookup tables, or None, put every pixel at the same place."""
    if first is second or first is None or second is None:
        return first is second
    for one in (first, second):
        if any(getattr(one, name) is not None for name in ("cpdis1", "cpdis2", "det2im1", "det2im2")):
            return False
        one.wcs.set()  # what its first use does; before, it differs from one that has been used
    if not first.wcs.compare(second.wcs):
        return False
    if first.sip is None or second.sip is None:
        return first.sip is second.sip
    pairs = [(getattr(first.sip, name), getattr(second.sip, name)) for name in ("a", "b", "crpix")]
    return all(np.array_equal(*pair) for pair in pairs)


def corners(x: NDArray[np.float64], y: NDArray[np.float64], side: NDArray[np.int64]) -> NDArray[np.int64]:
    """First row and column of stamps, which may be beyond the edge [pixel], shape (n, 2)."""
    centre = np.floor(np.column_stack([y, x]) + 0.5)
    found: NDArray[np.int64] = (
        np.where(np.isfinite(centre), centre, 0.0).astype(np.int64) - side[:, None] // 2
    )
    return found


def is_on_image(x: NDArray[np.float64], y: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether positions [pixel] are on an image (ny, nx); those that are no numbers are not."""
    n_rows, n_columns = shape
    on: NDArray[np.bool_] = (x >= -0.5) & (x <= n_columns - 0.5) & (y >= -0.5) & (y <= n_rows - 0.5)
    return on


def primary_headers(
    exposure: Exposure,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    side: NDArray[np.int64],
    rotation_deg: float,
) -> NDArray[np.uint8]:
    """Headers of the primary HDUs of stamps.

    Parameters
    ----------
    exposure : Exposure
        Whose WCS they have.
    x, y : float64 ndarray, shape (n,)
        Positions on the image [pixel].
    side : int64 ndarray, shape (n,)
        Sides [pixel].
    rotation_deg : float
        Angle from the focal plane's x axis to the rows' direction [deg].

    Returns
    -------
    headers : uint8 ndarray, shape (n, size)
    """
    corner = corners(x, y, side)
    values: list[NDArray[Any]] = [side, side, corner[:, 1], corner[:, 0]]
    if exposure.wcs is not None:
        linear = linearize_at(exposure.wcs, x, y)
        # FITS counts pixels from 1
        values += [x - corner[:, 1] + 1.0, y - corner[:, 0] + 1.0, *linear.T, _rotpa(linear, rotation_deg)]
    template = _primary_template(len(values) > 4)
    rows = zip(*(value.tolist() for value in values), strict=True)
    text = "".join([template % row for row in rows]).encode("ascii")
    size = len(text) // len(x) if len(x) else 0
    return np.frombuffer(bytearray(text), dtype=np.uint8).reshape(len(x), size)


def _rotpa(linear: NDArray[np.float64], rotation_deg: float) -> NDArray[np.float64]:
    """Position angle of the y axis of the focal plane, from north over east [deg]."""
    angle = np.deg2rad(rotation_deg)
    along_x, along_y = np.sin(angle), np.cos(angle)  # where that axis points, in pixels of the image
    east, north = (along_x * linear[:, i] + along_y * linear[:, i + 1] for i in (2, 4))
    return np.asarray(np.rad2deg(np.arctan2(east, north)))


def _primary_template(with_wcs: bool) -> str:
    """Text of a primary header, with places for what differs from stamp to stamp."""
    cards = [
        *[("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", _INTEGER), ("NAXIS2", _INTEGER)],
        *[("EXTEND", True), ("CUTMINX", _INTEGER), ("CUTMINY", _INTEGER), ("BUNIT", "nJy")],
        *(_WCS_CARDS if with_wcs else []),
    ]
    text = "".join(_place(*card) if card[1] in {_INTEGER, _FLOAT} else _card(*card) for card in cards)
    size = len(text) - sum(len(place) - width for place, width in _widths(cards)) + 80
    return text + f"{'END':80}" + " " * (-size % BLOCK)


def _widths(cards: list[Card]) -> list[tuple[str, int]]:
    """Places of a template, and the length of what comes there."""
    lengths = {_INTEGER: 20, _FLOAT: 24}
    return [(value, lengths[value]) for _, value in cards if value in lengths]


def _place(key: str, place: str) -> str:
    """One line of 80 characters, once a value is in its place."""
    width = {_INTEGER: 20, _FLOAT: 24}[place]
    return f"{key:8}= {place}{'':{70 - width}}"


def plane_header(name: str, kind: str, side: int, cards: list[Card]) -> bytes:
    """Header of an extension with a square image of ``f4`` or ``i4``."""
    lines: list[Card] = [
        *[("XTENSION", "IMAGE"), ("BITPIX", _BITPIX[kind]), ("NAXIS", 2), ("NAXIS1", side), ("NAXIS2", side)],
        *[("PCOUNT", 0), ("GCOUNT", 1), ("EXTNAME", name)],
        *cards,
    ]
    header = "".join(_card(*line) for line in lines) + f"{'END':80}"
    return header.encode("ascii") + b" " * (-len(header) % BLOCK)


def _card(key: str, value: Any) -> str:
    """One line of 80 characters."""
    if isinstance(value, str):
        text = f"'{value:8}'".ljust(20)
    elif isinstance(value, bool):
        text = f"{'FT'[value]:>20}"
    else:
        text = str(value).rjust(20)
    head = f"{key:8}= " if len(key) <= 8 else f"HIERARCH {key} = "
    return f"{head}{text}".ljust(80)


_WCS_CARDS: list[Card] = [
    *[("WCSAXES", 2), ("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN"), ("CUNIT1", "deg"), ("CUNIT2", "deg")],
    *[("CDELT1", 1), ("CDELT2", 1), ("RADESYS", "ICRS"), ("CRPIX1", _FLOAT), ("CRPIX2", _FLOAT)],
    *[("CRVAL1", _FLOAT), ("CRVAL2", _FLOAT), ("PC1_1", _FLOAT), ("PC1_2", _FLOAT), ("PC2_1", _FLOAT)],
    *[("PC2_2", _FLOAT), ("ROTPA", _FLOAT)],
]
MASK_CARDS: list[Card] = [(f"MP_{plane.name}", plane.value.bit_length() - 1) for plane in MaskPlane]
VARIANCE_CARDS: list[Card] = [("UTYPE", "VarianceUncertainty"), ("BUNIT", "nJy2")]
