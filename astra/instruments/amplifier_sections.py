"""Where the amplifiers of a detector stand in a raw image, and whether they make a whole image."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from astra.instruments.sections import FitsSection

BLIND_PARTS = ("overscan", "prescan", "parallel_overscan")


@dataclass(frozen=True)
class Sections:
    """Where the pixels of an amplifier are in its HDU, and where they go in the image.

    Parameters
    ----------
    name : str
        Name of the amplifier.
    data, assembled : FitsSection
        The pixels that see light, and their place in the image.
    blind : mapping
        Sections that see none, by the names of `BLIND_PARTS`.
    """

    name: str
    data: FitsSection
    assembled: FitsSection
    blind: Mapping[str, FitsSection]

    def shifted(self, columns: int) -> Sections:
        """Return the same where the HDU begins at a column of a wider raw image."""
        return replace(
            self,
            data=self.data.shifted(columns),
            blind={name: section.shifted(columns) for name, section in self.blind.items()},
        )


def in_place(sections: Sequence[Sections]) -> list[Sections]:
    """Put the data of amplifiers into the image as they stand in the file, its first pixel in the corner."""
    x0, y0 = (min(getattr(each.data, edge) for each in sections) for edge in ("x0", "y0"))
    return [replace(each, assembled=each.data.shifted(-x0, -y0)) for each in sections]


def tile_problem(sections: Sequence[Sections], shape: tuple[int, int], *, share_hdu: bool) -> str:
    """Say why amplifiers do not make an image; nothing if they do.

    Parameters
    ----------
    sections : sequence of Sections
        Of the amplifiers of one detector.
    shape : (int, int)
        Rows and columns of its image.
    share_hdu : bool
        Whether they all stand in one HDU, where their data must not overlap.
    """
    found = [problem for each in sections if (problem := _own_problem(each, shape))]
    for first, second in itertools.combinations(sections, 2):
        found += _collision(second, ("assembled", second.assembled), first, ("assembled", first.assembled))
        if share_hdu:
            found += _collision(second, ("data", second.data), first, ("data", first.data))
    if share_hdu:
        for one, other in itertools.permutations(sections, 2):
            for part in one.blind.items():
                found += _collision(one, part, other, ("data", other.data))
    if found:
        return found[0]
    n_covered = sum(each.assembled.shape[0] * each.assembled.shape[1] for each in sections)
    if n_covered != shape[0] * shape[1]:
        return (
            f"the assembled sections must tile an image of {shape[0]} rows and {shape[1]} columns, "
            f"they cover {n_covered} of its {shape[0] * shape[1]} pixels"
        )
    return ""


def _own_problem(sections: Sections, shape: tuple[int, int]) -> str:
    """Say what is wrong with one amplifier by itself."""
    data, assembled, name = sections.data, sections.assembled, f"amplifier {sections.name!r}"
    overscan, parallel = (sections.blind.get(key, data) for key in ("overscan", "parallel_overscan"))
    if assembled.y1 > shape[0] or assembled.x1 > shape[1]:
        return f"{name}: assembled {assembled} must lie in an image of {shape[0]} rows and {shape[1]} columns"
    if data.shape != assembled.shape:
        return f"{name}: data {data} must have the shape of assembled {assembled}"
    if (overscan.y0, overscan.y1) != (data.y0, data.y1):
        return f"{name}: overscan {overscan} must have the rows of data {data}"
    if (parallel.x0, parallel.x1) != (data.x0, data.x1):
        return f"{name}: parallel_overscan {parallel} must have the columns of data {data}"
    collisions = [
        problem
        for part in sections.blind.items()
        for problem in _collision(sections, part, sections, ("data", data))
    ]
    return next(iter(collisions), "")


def _collision(
    one: Sections, part: tuple[str, FitsSection], other: Sections, other_part: tuple[str, FitsSection]
) -> list[str]:
    """Say that two sections overlap, if they do."""
    if not part[1].overlaps(other_part[1]):
        return []
    place = f"{other_part[0]} {other_part[1]} of amplifier {other.name!r}"
    return [f"amplifier {one.name!r}: {part[0]} {part[1]} must not overlap {place}"]
