"""Readers of the SDSS imaging files that belong to one corrected frame: fpC, fpM, tsField, psField, asTrans.

Data model: http://classic.sdss.org/dr7/dm/flatFiles. SDSS row and column are y + 0.5 and x + 0.5 of 0-based
pixels. Arrays over bands are in the order ``ugriz``, but for asTrans, which uses ``riuzg``.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astra.errors import FormatError, MissingDataError
from astra.images.exposure import MASK_CR, MASK_EDGE, MASK_INTRP, MASK_SAT, MASK_SUSPECT
from astra.images.psf import Psf, polynomial_powers

BANDS = "ugriz"
ASTRANS_BANDS = "riuzg"
N_COLUMNS, N_ROWS = 2048, 1489
# fpM plane to mask bit; plane 2 is "not checked for objects": the frame's border, and hopeless cores.
MASK_BITS = {0: MASK_INTRP, 1: MASK_SAT, 2: MASK_SUSPECT, 9: MASK_CR}
BORDER_PIXEL = 5
PSF_SCALE_PIXEL = 1000.0  # the polynomials of psField are in units of 1000 rows and columns


@dataclass(frozen=True)
class FieldCalibration:
    """What tsField says of one band of a field.

    Parameters
    ----------
    gain : float
        [e-/adu].
    dark_variance : float
        Variance of dark current and read noise [adu**2].
    zero_point, extinction, airmass : float
        ``aa`` [mag], ``kk`` [mag/airmass] and airmass of the survey's own calibration.
    """

    gain: float
    dark_variance: float
    zero_point: float
    extinction: float
    airmass: float


@dataclass(frozen=True)
class DriftScanSolution:
    """Astrometric solution of one field and band (asTrans): pixels to great-circle coordinates to ICRS.

    Parameters
    ----------
    linear : tuple of float
        ``a b c d e f`` [deg, deg/pixel]: mu = a + b row' + c col', nu = d + e row' + f col'.
    row_terms, column_terms : tuple of float
        Cubic corrections of row and column as polynomials in the column [pixel].
    node, inclination : float
        Of the great circle [deg].
    """

    linear: tuple[float, ...]
    row_terms: tuple[float, ...]
    column_terms: tuple[float, ...]
    node: float
    inclination: float

    def to_sky(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """ICRS ra in 0..360, dec [deg] of 0-based positions [pixel], for an object of colour zero."""
        row, column = np.asarray(y) + 0.5, np.asarray(x) + 0.5
        row_true = row + np.polynomial.polynomial.polyval(column, self.row_terms)
        column_true = column + np.polynomial.polynomial.polyval(column, self.column_terms)
        a, b, c, d, e, f = self.linear
        mu = np.radians(a + b * row_true + c * column_true - self.node)
        nu = np.radians(d + e * row_true + f * column_true)
        tilt = np.radians(self.inclination)
        north = np.sin(mu) * np.cos(nu) * np.cos(tilt) - np.sin(nu) * np.sin(tilt)
        ra = (self.node + np.degrees(np.arctan2(north, np.cos(mu) * np.cos(nu)))) % 360.0
        sin_dec = np.sin(mu) * np.cos(nu) * np.sin(tilt) + np.sin(nu) * np.cos(tilt)
        return ra, np.degrees(np.arcsin(np.clip(sin_dec, -1.0, 1.0)))


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever goes wrong in reading a file into a `FormatError` that names it."""
    if not path.is_file():
        raise MissingDataError(f"{kind} file {path} is not there", path=str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # RADECSYS, datfix: known of these headers
            yield
    except (OSError, EOFError, zlib.error, KeyError, ValueError, TypeError, IndexError) as error:
        cause = f"{type(error).__name__}: {error}"
        message = f"{path} cannot be read as an SDSS {kind} file ({cause}); fetch it again or exclude it"
        raise FormatError(message, path=str(path), kind=kind) from error


def read_frame_header(path: Path) -> dict[str, Any]:
    """Read the header of an fpC file as a dict and check that it is one."""
    with reading(path, "fpC"):
        header = fits.getheader(path)
        if (header["NAXIS1"], header["NAXIS2"]) != (N_COLUMNS, N_ROWS):
            size = f"{header['NAXIS1']} x {header['NAXIS2']}"
            message = f"expected {N_COLUMNS} x {N_ROWS} pixels, found {size}"
            raise ValueError(message)
        return dict(header)


def read_frame_image(path: Path) -> NDArray[np.float32]:
    """Read the pixels of an fpC file [adu], soft bias included, shape (N_ROWS, N_COLUMNS)."""
    with reading(path, "fpC"):
        image: NDArray[np.float32] = fits.getdata(path).astype(np.float32)
        if image.shape != (N_ROWS, N_COLUMNS):
            message = f"expected {N_ROWS} rows of {N_COLUMNS} pixels, found {image.shape}"
            raise ValueError(message)
        return image


def read_mask(path: Path) -> NDArray[np.uint32]:
    """Read an fpM file into mask bits, shape (N_ROWS, N_COLUMNS)."""
    mask = np.zeros((N_ROWS, N_COLUMNS), dtype=np.uint32)
    with reading(path, "fpM"), fits.open(path, memmap=False) as hdus:
        for plane, bit in MASK_BITS.items():
            for spans in hdus[plane + 1].data["s"]:
                _set_spans(mask, spans, bit)
    border = np.ones(mask.shape, dtype=np.bool_)
    border[BORDER_PIXEL:-BORDER_PIXEL, BORDER_PIXEL:-BORDER_PIXEL] = False
    border &= (mask & MASK_SUSPECT) != 0
    mask[border] ^= MASK_SUSPECT | MASK_EDGE
    return mask


def _set_spans(mask: NDArray[np.uint32], spans: NDArray[np.uint8], bit: np.uint32) -> None:
    """Set one object's spans: triples of row, first and last column, inclusive."""
    for row, first, last in np.frombuffer(spans.tobytes(), dtype=">u2").reshape(-1, 3).tolist():
        mask[row, first : last + 1] |= bit


def read_field_calibration(path: Path, band: str) -> FieldCalibration:
    """Read gain, dark variance and the survey's calibration of one band from a tsField file."""
    with reading(path, "tsField"):
        row = fits.getdata(path, 1)[0]
        index = BANDS.index(band)
        columns = ("gain", "dark_variance", "aa", "kk", "airmass")
        return FieldCalibration(*(float(row[name][index]) for name in columns))


def read_psf(path: Path, band: str) -> Psf:
    """Read the Karhunen-Loeve PSF of one band from a psField file as a polynomial in position.

    Notes
    -----
    Component k has weight sum_lm c_k[l, m] (row/1000)**l (col/1000)**m (Lupton et al. 2001, ASPC 238, 269):
    the coefficient stamp of column power i and row power j is sum_k c_k[j, i] component_k.
    """
    with reading(path, "psField"):
        table = fits.getdata(path, 1 + BANDS.index(band))
        n_rows, n_columns = int(table["nrow_b"].max()), int(table["ncol_b"].max())
        order = n_rows + n_columns - 2
        size = int(table["RNROW"][0])
        stamps = np.zeros((n_rows, n_columns, size, size))
        for component in table:
            weights = component["c"][: component["nrow_b"], : component["ncol_b"]].astype(np.float64)
            image = np.asarray(component["RROWS"], dtype=np.float64).reshape(size, size)
            stamps[: weights.shape[0], : weights.shape[1]] += weights[..., None, None] * image
    powers = polynomial_powers(order)
    empty = np.zeros((size, size))
    terms = [stamps[j, i] if j < n_rows and i < n_columns else empty for i, j in powers]
    normal = np.array(terms) / stamps[0, 0].sum()
    return Psf(normal, order=order, x_centre=-0.5, y_centre=-0.5, scale=PSF_SCALE_PIXEL)


def read_drift_scan_solution(path: Path, camcol: int, band: str, field: int) -> DriftScanSolution:
    """Read the astrometric solution of one field, camera column and band from an asTrans file."""
    with reading(path, "asTrans"):
        header = fits.getheader(path)
        table = fits.getdata(path, 1 + (camcol - 1) * len(ASTRANS_BANDS) + ASTRANS_BANDS.index(band))
        chosen = table[table["field"] == field]
        if len(chosen) != 1:
            message = f"expected one row for field {field}, camcol {camcol}, band {band}, found {len(chosen)}"
            raise ValueError(message)
        row = chosen[0]
        return DriftScanSolution(
            linear=tuple(float(row[name]) for name in "abcdef"),
            row_terms=tuple(float(row[f"dRow{k}"]) for k in range(4)),
            column_terms=tuple(float(row[f"dCol{k}"]) for k in range(4)),
            node=float(header["NODE"]),
            inclination=float(header["INCL"]),
        )
