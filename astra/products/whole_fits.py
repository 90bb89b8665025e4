"""Whether a FITS file is all there: as long as its headers promise, to the last extension.

Only headers are read, so that the check costs little. A gzipped file has to be unpacked for that, which
checks its own checksum too; of an fpacked one it is the compressed tables that must be complete.
"""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from pathlib import Path
from typing import IO

from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from astra.errors import FormatError, MissingDataError

BLOCK_BYTES = 2880
_FITS_MAGIC = b"SIMPLE  ="
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20


def is_fits(path: Path | str) -> bool:
    """Say whether a file begins as a FITS file does, or as a gzipped one."""
    with Path(path).open("rb") as stream:
        begin = stream.read(9)
    return begin == _FITS_MAGIC or begin.startswith(_GZIP_MAGIC)


def require_whole(path: Path | str) -> int:
    """Make sure that a FITS file, plain, fpacked or gzipped, has not been cut off.

    Parameters
    ----------
    path : Path or str
        The file.

    Returns
    -------
    n_hdus : int
        Number of header and data units in it.

    Raises
    ------
    MissingDataError
        If there is no such file, or it may not be read.
    FormatError
        If it ends before its headers say, or is no FITS file.
    """
    try:
        with Path(path).open("rb") as stream:
            is_packed = stream.read(2) == _GZIP_MAGIC
            stream.seek(0)
            if not is_packed:
                return _walk(path, stream)
            with gzip.GzipFile(fileobj=stream) as unpacked:
                return _walk(path, unpacked)  # type: ignore[arg-type]  # it is a binary stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        message = f"{path} is a gzipped file that is cut off or damaged: {exc}"
        raise FormatError(message, path=str(path), reason=str(exc)) from exc
    except OSError as exc:
        message = f"{path} cannot be read: {exc.strerror or exc}"
        raise MissingDataError(message, path=str(path)) from exc


def _walk(path: Path | str, stream: IO[bytes]) -> int:
    """Go from header to header to the end of a file; return their number."""
    n_hdus = 0
    while (header := _next_header(path, stream, n_hdus)) is not None:
        try:
            n_bytes = data_bytes(header)
        except (KeyError, ValueError, TypeError) as exc:
            message = f"{path} has a header in HDU {n_hdus} that does not say how long its data are: {exc}"
            raise FormatError(message, path=str(path), hdu=n_hdus) from exc
        found = _skip(stream, n_bytes)
        if found < n_bytes:
            raise _cut(path, n_hdus, f"its data end after {found} of {n_bytes} bytes")
        n_hdus += 1
        _skip(stream, -n_bytes % BLOCK_BYTES)  # some writers leave the last block open
    return n_hdus


def _next_header(path: Path | str, stream: IO[bytes], n_hdus: int) -> fits.Header | None:
    """Read the next header; None at the end of the file."""
    text = stream.read(BLOCK_BYTES)
    if n_hdus and not text.strip(b"\0 "):
        return None
    if not text.startswith(b"XTENSION=" if n_hdus else _FITS_MAGIC):
        if n_hdus:
            _read_to_the_end(stream)  # special records, which the standard allows there, say nothing
            return None
        raise FormatError(f"{path} is not a FITS file: it does not begin with SIMPLE", path=str(path))
    while not _has_end(text):
        more = stream.read(BLOCK_BYTES)
        if len(more) < BLOCK_BYTES:
            raise _cut(path, n_hdus, "its header has no END")
        text += more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            return fits.Header.fromfile(io.BytesIO(text), endcard=True)
        except (OSError, ValueError) as exc:
            message = f"{path} has a header in HDU {n_hdus} that cannot be read: {exc}"
            raise FormatError(message, path=str(path), hdu=n_hdus) from exc


def _has_end(text: bytes) -> bool:
    """Say whether a card of the last block of a header is END."""
    last = text[-BLOCK_BYTES:] if len(text) % BLOCK_BYTES == 0 else b""
    return any(last[i : i + 80].rstrip() == b"END" for i in range(0, len(last), 80))


def _read_to_the_end(stream: IO[bytes]) -> None:
    while stream.read(_CHUNK_BYTES):
        pass


def data_bytes(header: fits.Header) -> int:
    """Return the size of the data after a header, without what fills the last block [byte].

    Raises
    ------
    KeyError
        If a mandatory card is missing.
    """
    n_axes = int(header["NAXIS"])
    if n_axes == 0:
        return 0
    axes = [int(header[f"NAXIS{axis + 1}"]) for axis in range(n_axes)]
    n_values = 1
    for size in axes[1:] if header.get("GROUPS") is True and axes[0] == 0 else axes:
        n_values *= size
    groups = int(header.get("GCOUNT", 1)) * (int(header.get("PCOUNT", 0)) + n_values)
    return abs(int(header["BITPIX"])) // 8 * groups


def _skip(stream: IO[bytes], n_bytes: int) -> int:
    """Skip bytes; return how many there were."""
    if isinstance(stream, io.BufferedReader):
        here = stream.tell()
        end = stream.seek(0, io.SEEK_END)
        stream.seek(min(here + n_bytes, end))
        return min(n_bytes, end - here)
    left = n_bytes
    while left > 0 and (chunk := stream.read(min(left, _CHUNK_BYTES))):
        left -= len(chunk)
    return n_bytes - left


def _cut(path: Path | str, n_hdus: int, what: str) -> FormatError:
    return FormatError(f"{path} is cut off in HDU {n_hdus}: {what}", path=str(path), hdu=n_hdus)
