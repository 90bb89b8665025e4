"""How images are shown: the stretch of their greys, and which planes of the mask lie over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from astra.errors import DataError
from astra.images.exposure import MaskPlane, mask_bits
from astra.web import svg
from astra.web.filters import BadFilterError, Query
from astra.web.mosaic import layer_product, read_drawn
from astra.web.pictures import PictureStore
from astra.web.pixels import STRETCHES, encode_indexed

if TYPE_CHECKING:
    from astra.database.pages.visits import DetectorRow

# Planes that the tasks of a night set; those of injected sources are in a collection of their own.
PLANES = tuple(
    str(plane.name)
    for plane in MaskPlane
    if plane.name not in {"SPIKE", "NOT_DEBLENDED", "SENSOR_EDGE"} and "INJECTED" not in str(plane.name)
)
# From the palette of Okabe and Ito, which those tell apart who do not see all colours.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
OPACITY = 0.7


@dataclass(frozen=True)
class ImageView:
    """A stretch of `STRETCHES`, and the names of some of `PLANES` in the order of their colours."""

    stretch: str = STRETCHES[0]
    planes: tuple[str, ...] = ()

    @classmethod
    def of(cls, query: Query) -> ImageView:
        """Read it from an address.

        Raises
        ------
        BadFilterError
            If a word is none of those that there are, or more planes are named than there are colours.
        """
        stretch = query.choice("stretch", STRETCHES, STRETCHES[0]) or STRETCHES[0]
        words = (query.text("mask") or "").replace(" ", "").split(",")
        planes = tuple(dict.fromkeys(word for word in words if word))
        wrong = [word for word in planes if word not in PLANES]
        if wrong:
            message = f"mask must name some of {', '.join(PLANES)}, not {wrong[0]!r}"
            raise BadFilterError(message)
        if len(planes) > len(COLOURS):
            message = f"mask may name {len(COLOURS)} planes, but names {len(planes)}"
            raise BadFilterError(message)
        return cls(stretch, planes)

    def stretches(self, query: Query, path: str) -> list[dict[str, Any]]:
        """Return the switches of the stretch: text, address, whether it is on."""
        return [
            {
                "text": word,
                "address": query.address(path, stretch=word if word != STRETCHES[0] else None, format=None),
                "on": word == self.stretch,
            }
            for word in STRETCHES
        ]

    def masks(self, query: Query, path: str) -> list[dict[str, Any]]:
        """Return the switches of the planes: name, address (None where no colour is left), swatch if on."""
        made = []
        for name in PLANES:
            is_on = name in self.planes
            wanted = [one for one in self.planes if one != name] + ([] if is_on else [name])
            address = query.address(path, mask=",".join(wanted) or None, format=None)
            swatch = self._swatch(self.planes.index(name)) if is_on else None
            has_room = is_on or len(self.planes) < len(COLOURS)
            made.append({"text": name, "address": address if has_room else None, "swatch": swatch})
        return made

    @staticmethod
    def _swatch(number: int) -> Markup:
        square = svg.element("rect", x=0, y=0, width=10, height=10, fill=COLOURS[number], stroke="#ffffff")
        return svg.element("svg", square, viewBox="0 0 10 10", aria_hidden="true")


def make_mask(
    detector: DetectorRow, layer: str, view: ImageView, store: PictureStore, *, side_pixel: int
) -> str | None:
    """Draw the chosen planes of the mask of a detector; its first row is the top.

    Returns
    -------
    name : str or None
        Of the picture; None if no plane is chosen, or there is no such product, or it cannot be read.
    """
    product = layer_product(detector, layer)
    if product is None or not view.planes:
        return None
    key = ("mask", product.path, product.size, str(product.created), view.planes, side_pixel)
    try:
        return store.get(key, lambda: _draw(Path(product.path), view.planes, side_pixel))
    except (DataError, OSError):
        return None


def _draw(path: Path, planes: Sequence[str], side_pixel: int) -> bytes:
    binned = any_in_blocks(read_drawn(path).mask, side_pixel)
    indices = np.zeros(binned.shape, np.uint8)
    for number, name in reversed(list(enumerate(planes, 1))):  # the first one lies on top
        indices[(binned & mask_bits([name])) != 0] = number
    return encode_indexed(indices[::-1], COLOURS[: len(planes)], OPACITY)


def any_in_blocks(mask: NDArray[np.uint32], side_pixel: int) -> NDArray[np.uint32]:
    """Return the bits that any pixel of each block has; blocks are those of `astra.web.pixels.bin_to_side`.

    Parameters
    ----------
    mask : uint32 ndarray, shape (ny, nx)
        The mask.
    side_pixel : int
        Longest side wanted.
    """
    n = max(-(-max(mask.shape) // side_pixel), 1)
    starts = [np.arange(0, length, n) for length in mask.shape]
    rows = np.bitwise_or.reduceat(np.asarray(mask), starts[0], axis=0)
    return np.asarray(np.bitwise_or.reduceat(rows, starts[1], axis=1), np.uint32)
