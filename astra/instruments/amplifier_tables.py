"""The amplifiers of a camera's file: sections, gain and noise, each a constant or the name of a keyword."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from astra.errors import ConfigError, FormatError
from astra.images.amplifier import READOUT_CORNERS
from astra.instruments.headers import Headers
from astra.instruments.kinds import Number
from astra.instruments.quantities import Quantity, Source, parse_quantity
from astra.instruments.sections import FitsSection, is_section, parse_section
from astra.instruments.tables import Table, is_number

GAIN = Number(low=0.0, high=1000.0, unit="e-/adu", is_open=True)
READ_NOISE = Number(low=0.0, high=10000.0, unit="e-")
SATURATION = Number(low=0.0, high=1e12, unit="adu", is_open=True)


@dataclass(frozen=True)
class SectionSource:
    """A section, or the keyword that has it."""

    name: str
    section: FitsSection | None
    key: str = ""

    def read(self, headers: Headers) -> FitsSection:
        """Return the section; FormatError if the keyword is absent or has none."""
        if self.section is not None:
            return self.section
        card = headers.find(self.key)
        found = None if card is None else card.value
        try:
            return parse_section(found)
        except ValueError as exc:
            value = "nothing" if found is None else repr(found)
            message = f"{headers.path}: header key {self.key} must be {exc} ({self.name}), found {value}"
            raise FormatError(message, path=str(headers.path), key=self.key, value=value) from exc


@dataclass(frozen=True)
class Sections:
    """Where the pixels of an amplifier are in its HDU, and where they go in the image."""

    name: str
    data: FitsSection
    overscan: FitsSection
    assembled: FitsSection
    prescan: FitsSection | None = None
    parallel_overscan: FitsSection | None = None

    def shifted(self, columns: int) -> Sections:
        """Return the same where the HDU begins at a column of a wider raw image."""
        return replace(
            self,
            data=self.data.shifted(columns),
            overscan=self.overscan.shifted(columns),
            prescan=None if self.prescan is None else self.prescan.shifted(columns),
            parallel_overscan=None
            if self.parallel_overscan is None
            else self.parallel_overscan.shifted(columns),
        )

    def blind(self) -> list[tuple[str, FitsSection]]:
        """Return the sections that see no light, with their names."""
        named = (
            ("overscan", self.overscan),
            ("prescan", self.prescan),
            ("parallel_overscan", self.parallel_overscan),
        )
        return [(name, section) for name, section in named if section is not None]


@dataclass(frozen=True)
class AmplifierPlan:
    """What a camera's file says of an amplifier; see `astra.images.amplifier.Amplifier`."""

    name: str
    data: SectionSource
    overscan: SectionSource
    assembled: SectionSource
    prescan: SectionSource | None
    parallel_overscan: SectionSource | None
    gain: Quantity
    read_noise: Quantity
    saturation: Quantity
    linearity: tuple[float, ...]
    readout_corner: str | None

    @property
    def is_constant(self) -> bool:
        """Whether no section comes from a header."""
        return all(
            source is None or source.section is not None
            for source in (self.data, self.overscan, self.assembled, self.prescan, self.parallel_overscan)
        )

    def sections(self, headers: Headers) -> Sections:
        """Return the sections; FormatError if a keyword does not have one."""
        return Sections(
            self.name,
            self.data.read(headers),
            self.overscan.read(headers),
            self.assembled.read(headers),
            None if self.prescan is None else self.prescan.read(headers),
            None if self.parallel_overscan is None else self.parallel_overscan.read(headers),
        )

    def constant_sections(self) -> Sections | None:
        """Return the sections, or None if one of them stands in a header."""
        data, overscan, assembled = self.data.section, self.overscan.section, self.assembled.section
        if not self.is_constant or data is None or overscan is None or assembled is None:
            return None
        blind = (self.prescan, self.parallel_overscan)
        prescan, parallel = (None if source is None else source.section for source in blind)
        return Sections(self.name, data, overscan, assembled, prescan, parallel)

    def with_values(self, **values: Quantity) -> AmplifierPlan:
        """Return the same amplifier with another gain, read noise or saturation."""
        return AmplifierPlan(**{**vars(self), **values})

    def corner(self, sections: Sections) -> str:
        """Readout corner: as named, else by the order of the ends of the assembled section."""
        return self.readout_corner or sections.assembled.corner


def parse_amplifiers(tables: Sequence[Table]) -> tuple[AmplifierPlan, ...]:
    """Read the amplifiers of a detector from a camera's file; ConfigError if something is wrong."""
    plans = tuple(_parse_amplifier(table) for table in tables)
    for table, plan in zip(tables, plans, strict=True):
        if sum(other.name == plan.name for other in plans) > 1:
            raise table.error("name", "a name that no other amplifier has")
    return plans


def _parse_amplifier(table: Table) -> AmplifierPlan:
    corner = table.choice("readout_corner", tuple(READOUT_CORNERS), None)
    plan = AmplifierPlan(
        name=table.text("name"),
        data=_parse_section(table, "data"),
        overscan=_parse_section(table, "overscan"),
        assembled=_parse_section(table, "assembled"),
        prescan=_parse_section(table, "prescan") if "prescan" in table else None,
        parallel_overscan=_parse_section(table, "parallel_overscan")
        if "parallel_overscan" in table
        else None,
        gain=_required(table, "gain", GAIN),
        read_noise=_required(table, "read_noise", READ_NOISE),
        saturation=_required(table, "saturation", SATURATION),
        linearity=_parse_linearity(table),
        readout_corner=corner,
    )
    for key in ("prescan", "parallel_overscan"):
        table.take(key, None)
    table.finish()
    section = plan.assembled.section
    if corner is not None and section is not None and section.corner not in {"LL", corner}:
        raise table.error("readout_corner", f"{section.corner!r}, by the order of the ends of {section}")
    return plan


def _parse_section(table: Table, key: str) -> SectionSource:
    expected = "a section [x1:x2,y1:y2] counted from 1, or the keyword that has one"
    text = table.text(key, expected=expected)
    if not is_section(text):
        if not text.isupper():
            raise table.error(key, expected)
        return SectionSource(key, None, text)
    try:
        return SectionSource(key, parse_section(text))
    except ValueError as exc:
        raise table.error(key, expected) from exc


def _parse_linearity(table: Table) -> tuple[float, ...]:
    expected = "a list of the coefficients c_k of s + sum_k c_k s**(k + 2) [adu**-(k + 1)]"
    values = table.items("linearity", (int, float), expected)
    if not all(is_number(value) for value in values):
        raise table.error("linearity", expected)
    return tuple(float(value) for value in values)


def _required(table: Table, key: str, kind: Number) -> Quantity:
    quantity = parse_quantity(table, key, kind, required=True)
    if quantity is None:
        raise table.error(key, kind.describe())
    return quantity


def constant(name: str, kind: Number, value: float) -> Quantity:
    """Return a quantity of one value."""
    return Quantity(name, kind, (Source(constant=value),))


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
            for blind in one.blind():
                found += _collision(one, blind, other, ("data", other.data))
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
    data, assembled, overscan = sections.data, sections.assembled, sections.overscan
    name = f"amplifier {sections.name!r}"
    if assembled.y1 > shape[0] or assembled.x1 > shape[1]:
        return f"{name}: assembled {assembled} must lie in an image of {shape[0]} rows and {shape[1]} columns"
    if data.shape != assembled.shape:
        return f"{name}: data {data} must have the shape of assembled {assembled}"
    if (overscan.y0, overscan.y1) != (data.y0, data.y1):
        return f"{name}: overscan {overscan} must have the rows of data {data}"
    collisions = [
        problem
        for blind in sections.blind()
        for problem in _collision(sections, blind, sections, ("data", data))
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


def check_tiling(
    source: str, place: str, plans: Sequence[AmplifierPlan], shape: tuple[int, int], *, share_hdu: bool
) -> None:
    """Check amplifiers whose sections are all constants; ConfigError if they do not tile the image."""
    sections = [plan.constant_sections() for plan in plans]
    known = [each for each in sections if each is not None]
    problem = tile_problem(known, shape, share_hdu=share_hdu) if len(known) == len(sections) else ""
    if problem:
        raise ConfigError(f"{source}: [{place}] {problem}", file=source, table=place)
