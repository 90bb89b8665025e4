"""Headers of a raw file, searched as a reader of the file would: the image's own first, then the primary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.io import fits

from astra.errors import FormatError, MissingDataError

_LARGEST_IMAGE_PIXEL = 2**28  # twice the largest CCD; more is a damaged header


@dataclass(frozen=True)
class Card:
    """A value that was found.

    Parameters
    ----------
    value : text, number or bool
        As the header has it.
    hdu : str
        Number and name of the HDU.
    """

    value: Any
    hdu: str


class Headers:
    """The headers of an open file that bear on one image of it.

    Parameters
    ----------
    path : Path
        The file.
    hdus : fits.HDUList
        Its HDUs.
    own : int
        Number of the HDU of the image.
    """

    def __init__(self, path: Path, hdus: fits.HDUList, own: int = 0) -> None:
        self.path, self.hdus, self.own = Path(path), hdus, own

    def at(self, own: int) -> Headers:
        """Return the same for another image of the file."""
        return Headers(self.path, self.hdus, own)

    def find(self, key: str, hdu: int | str | None = None) -> Card | None:
        """Return the value of a keyword; None if no header has it, or it is undefined or blank.

        Parameters
        ----------
        key : str
            The keyword.
        hdu : int or str, optional
            Number or name of the one HDU to look in.

        Raises
        ------
        FormatError
            If the card cannot be read.
        """
        for index in self._places(hdu):
            header = self.hdus[index].header
            try:
                value = header.get(key)
            except (fits.VerifyError, ValueError) as exc:
                message = f"{self.path}: header key {key} of HDU {self.label(index)} cannot be read: {exc}"
                raise FormatError(message, path=str(self.path), key=key) from exc
            if value is not None and not isinstance(value, fits.card.Undefined) and value != "":
                return Card(value, self.label(index))
        return None

    def _places(self, hdu: int | str | None) -> Iterator[int]:
        if hdu is not None:
            index = find_hdu(self.hdus, hdu)
            yield from () if index is None else (index,)
            return
        yield self.own
        if self.own != 0:
            yield 0

    def label(self, index: int) -> str:
        """Return the number and, where it has one, the name of an HDU."""
        name = self.hdus[index].name
        return f"{index} {name}" if name and index else str(index)


def is_hdu(value: object) -> bool:
    """Whether a value can be the number or the name of an HDU."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value >= 0
    return isinstance(value, str) and bool(value.strip())


def find_hdu(hdus: fits.HDUList, wanted: int | str) -> int | None:
    """Return the number of the HDU with a number or name; None if there is none."""
    if isinstance(wanted, int):
        return wanted if wanted < len(hdus) else None
    names = [hdu.name for hdu in hdus]
    return names.index(wanted.upper()) if wanted.upper() in names else None


def image_hdu(hdus: fits.HDUList, wanted: int | str) -> int | None:
    """Return the number of the HDU in which an image stands.

    A primary image that fpack compressed stands in the first extension, with its header.
    """
    index = find_hdu(hdus, wanted)
    if index == 0 and hdus[0].header.get("NAXIS") == 0 and len(hdus) > 1:
        return 1 if isinstance(hdus[1], fits.CompImageHDU) else 0
    return index


def require_hdu(path: Path, hdus: fits.HDUList, wanted: int | str) -> int:
    """Return the number of the HDU of an image; MissingDataError if the file does not have it."""
    index = image_hdu(hdus, wanted)
    if index is None:
        message = f"{path} has no HDU {wanted!r}; it has {len(hdus)}"
        raise MissingDataError(message, path=str(path), hdu=wanted)
    return index


def image_shape(path: Path, hdus: fits.HDUList, index: int) -> tuple[int, int]:
    """Return the numbers of rows and columns of an image by its header alone.

    Raises
    ------
    FormatError
        If it is not two-dimensional, or absurdly large.
    """
    shape: Sequence[int] = tuple(getattr(hdus[index], "shape", ()))
    if len(shape) != 2 or not 0 < shape[0] * shape[1] <= _LARGEST_IMAGE_PIXEL:
        message = (
            f"{path}: HDU {index} must hold an image of two axes with at most {_LARGEST_IMAGE_PIXEL} "
            f"pixels, found shape {tuple(shape)}"
        )
        raise FormatError(message, path=str(path), hdu=index)
    return shape[0], shape[1]


def read_image(path: Path, hdus: fits.HDUList, index: int) -> Any:
    """Read the pixels of an image, in the byte order of this machine, shape (ny, nx)."""
    shape = image_shape(path, hdus, index)
    pixels = hdus[index].data
    if pixels is None or pixels.shape != shape:
        message = f"{path}: HDU {index} must hold an image of shape {shape}, found none"
        raise FormatError(message, path=str(path), hdu=index)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
