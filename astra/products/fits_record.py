"""What exposures and catalogues share as FITS files: opening, checksums, and the record.

The record is a table extension whose one cell is JSON in ASCII. It keeps what header cards cannot: any
text, every digit, names of any length. Cards repeat what fits them, for other programs; astra reads the
record.
"""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from astra.errors import FormatError, MissingDataError
from astra.products.atomic import atomic_path
from astra.products.fits_table import table_hdu

RECORD_EXTENSION = "ASTRA_RECORD"
_LONGEST_CARD_TEXT = 60
_LARGEST_CARD_INTEGER = 10**18
# What astropy is known to raise on damaged files, besides its own warnings.
_PART_PIXELS = 1 << 17
_PLANE_TYPES = (np.dtype(np.float32), np.dtype(np.int32))  # in the order of this machine
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    fits.VerifyError,
    AstropyWarning,
)


@functools.cache
def software_version() -> str:
    """Version of astra that writes, or ``unknown`` where it is not installed as a distribution."""
    try:
        return version("astra-pipeline")
    except PackageNotFoundError:
        return "unknown"


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a mapping with numpy scalars made plain.

    Raises
    ------
    ValueError
        If a value is not text, an integer, a float or a bool.
    """
    return {str(key): _plain_value(str(key), value) for key, value in values.items()}


def _plain_value(key: str, value: Any) -> str | int | float | bool:
    plain = value.item() if isinstance(value, np.generic) else value
    if not isinstance(plain, str | int | float | bool):
        message = (
            f"metadata {key!r} must be text, an integer, a float or a bool, found {type(value).__name__}"
        )
        raise ValueError(message)  # noqa: TRY004  (a wrong value in a mapping)
    return plain


def add_cards(header: fits.Header, values: Mapping[str, Any]) -> None:
    """Add those values to a header that a card can hold, except under names that the header has."""
    for key, value in values.items():
        if _fits_a_card(key, value) and key not in header:
            header[key] = value


def _fits_a_card(key: str, value: Any) -> bool:
    if not (1 <= len(key) <= 8 and key.isascii() and key.replace("_", "").replace("-", "").isalnum()):
        return False
    if key != key.upper() or key in {"END", "COMMENT", "HISTORY", "CONTINUE", "XTENSION"}:
        return False
    if isinstance(value, str):
        return value.isascii() and value.isprintable() and len(value) <= _LONGEST_CARD_TEXT
    if isinstance(value, float):
        return bool(np.isfinite(value))
    return -_LARGEST_CARD_INTEGER <= int(value) <= _LARGEST_CARD_INTEGER


def record_hdu(content: Mapping[str, Any]) -> Any:
    """Make the record extension from what JSON can hold."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    cell = np.array([(text,)], dtype=[("JSON", f"S{len(text)}")])
    return table_hdu(RECORD_EXTENSION, cell)


class PlaneHDU(fits.ImageHDU):  # type: ignore[misc]  # astropy has no types
    """An image of four-byte numbers that is written without a turn of its bytes in place.

    astropy turns all bytes of an image, and back, for its checksum and again for the file.
    """

    def _calculate_datasum(self) -> int:
        """Ones' complement sum of the words: in the machine's own order they are the same numbers."""
        total = int(self.data.reshape(-1).view(np.uint32).sum(dtype=np.uint64))
        while total >> 32:
            total = (total & 0xFFFFFFFF) + (total >> 32)
        return total

    def _writedata_internal(self, fileobj: Any) -> int:
        """Write the data, some that fit into the cache of a core at a time; return their size [byte]."""
        flat = self.data.reshape(-1)
        for first in range(0, len(flat), _PART_PIXELS):
            fileobj.writearray(flat[first : first + _PART_PIXELS].astype(flat.dtype.newbyteorder(">")))
        return int(flat.nbytes)


def plane_hdu(name: str, plane: NDArray[Any], header: fits.Header) -> fits.ImageHDU:
    """Make the extension of an image."""
    data = np.ascontiguousarray(plane)
    kind = PlaneHDU if data.dtype in _PLANE_TYPES else fits.ImageHDU
    return kind(data, header=header, name=name)


def read_record(hdus: fits.HDUList) -> dict[str, Any] | None:
    """Read the record of an open file; None if it has none."""
    if RECORD_EXTENSION not in hdus:
        return None
    content: dict[str, Any] = json.loads(str(hdus[RECORD_EXTENSION].data["JSON"][0]))
    return content


def write_hdus(path: Path | str, hdus: Sequence[Any]) -> None:
    """Write HDUs, each with CHECKSUM and DATASUM, to a file that appears whole or not at all.

    Equal content gives equal bytes: the checksum cards carry no time of writing.
    """
    hdu_list = fits.HDUList(list(hdus))
    hdu_list.update_extend()
    for hdu in hdu_list:
        hdu.add_checksum(when="checksum of this HDU")
    with atomic_path(path) as temporary:
        hdu_list.writeto(temporary)


@contextmanager
def open_fits(path: Path | str, *, verify: bool = False) -> Iterator[fits.HDUList]:
    """Open a FITS file; whatever is wrong with it becomes an error that names it.

    Parameters
    ----------
    path : Path or str
        The file.
    verify : bool, optional
        Check the checksum of every HDU first.

    Raises
    ------
    MissingDataError
        If there is no such file, or it may not be read.
    FormatError
        If it is damaged, truncated or not FITS, or if the block finds it unlike what it expects.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            warnings.filterwarnings("error", message=".*(truncated|corrupt)", category=AstropyWarning)
            with Path(path).open("rb") as stream, fits.open(stream, memmap=False) as hdus:
                if verify:
                    _verify_checksums(Path(path), hdus)
                yield hdus
    except (FileNotFoundError, PermissionError, IsADirectoryError) as exc:
        message = f"{path} cannot be read: {exc.strerror or exc}"
        raise MissingDataError(message, path=str(path)) from exc
    except _DAMAGE as exc:
        message = f"{path} is not a usable FITS file of the expected kind: {type(exc).__name__}: {exc}"
        raise FormatError(message, path=str(path), reason=str(exc)) from exc


def _verify_checksums(path: Path, hdus: fits.HDUList) -> None:
    for hdu in hdus:
        name = hdu.name or "PRIMARY"
        if "CHECKSUM" not in hdu.header:
            raise FormatError(f"{path} has no CHECKSUM in HDU {name}", path=str(path), hdu=name)
        if not _is_intact(hdu.fileinfo()):
            raise FormatError(f"{path} fails the checksum of HDU {name}", path=str(path), hdu=name)


def _is_intact(place: Mapping[str, Any]) -> bool:
    """Whether the ones' complement sum of an HDU's words is all ones (FITS standard 4.0, appendix J)."""
    stream = place["file"]
    stream.seek(place["hdrLoc"])
    content = stream.read(place["datLoc"] - place["hdrLoc"] + place["datSpan"])
    total = int(np.sum(np.frombuffer(content, dtype=">u4"), dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total == 0xFFFFFFFF


def native(data: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Make an array contiguous and of the machine's byte order, as sep and numba need it."""
    return np.ascontiguousarray(data, dtype=dtype)
