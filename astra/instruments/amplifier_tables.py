"""The amplifiers of a camera's file: sections, gain and noise, each a constant or the name of a keyword."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from astra.errors import ConfigError, FormatError
from astra.images.amplifier import LINEARITY_TYPES, READOUT_CORNERS, Amplifier
from astra.instruments.amplifier_sections import BLIND_PARTS, Sections, in_place, tile_problem
from astra.instruments.headers import Headers
from astra.instruments.kinds import Number
from astra.instruments.quantities import Quantity, Source, parse_quantity, require_value
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
class AmplifierPlan:
    """What a camera's file says of an amplifier; see `astra.images.amplifier.Amplifier`.

    Parameters
    ----------
    name : str
        Name of the amplifier.
    data : SectionSource
        The pixels that see light.
    assembled : SectionSource or None
        Their place in the image; None for all amplifiers of a detector that stand in it as in the file.
    blind : tuple of SectionSource
        The sections that see none, named as in `BLIND_PARTS`.
    values : mapping
        ``gain``, ``read_noise``, ``saturation`` and, if given, ``suspect``.
    linearity, linearity_type, linearity_knots
        The response.
    readout_corner : str or None
        None if the order of the ends of ``assembled`` says it.
    amplifier_corner : str
        Where its output is, if that is another one.
    is_dead : bool
        Whether it gives no signal.
    """

    name: str
    data: SectionSource
    assembled: SectionSource | None
    blind: tuple[SectionSource, ...]
    values: Mapping[str, Quantity]
    linearity: tuple[float, ...] = ()
    linearity_type: str = "polynomial"
    linearity_knots: tuple[float, ...] = ()
    readout_corner: str | None = None
    amplifier_corner: str = ""
    is_dead: bool = False

    @property
    def section_sources(self) -> tuple[SectionSource, ...]:
        """All sections."""
        return (self.data, *(() if self.assembled is None else (self.assembled,)), *self.blind)

    def sections(self, headers: Headers) -> Sections:
        """Return the sections; FormatError if a keyword does not have one. See also `read_sections`."""
        blind = {source.name: source.read(headers) for source in self.blind}
        data = self.data.read(headers)
        return Sections(self.name, data, self.assembled.read(headers) if self.assembled else data, blind)

    def constant_sections(self) -> Sections | None:
        """Return the sections, or None if one of them stands in a header. See also `known_sections`."""
        data = self.data.section
        assembled = self.assembled.section if self.assembled else data
        blind = {source.name: source.section for source in self.blind if source.section is not None}
        if data is None or assembled is None or len(blind) < len(self.blind):
            return None
        return Sections(self.name, data, assembled, blind)

    def with_values(self, **values: Quantity) -> AmplifierPlan:
        """Return the same amplifier with other values, such as its gain."""
        return replace(self, values={**self.values, **values})

    def corner(self, sections: Sections) -> str:
        """Readout corner: as named, else by the order of the ends of the assembled section."""
        return self.readout_corner or sections.assembled.corner

    def amplifier(self, where: Sections, headers: Headers) -> Amplifier:
        """Return the amplifier, at sections of the raw image; FormatError if a value is wrong."""
        values = {
            name: require_value(headers.path, quantity.read(headers))
            for name, quantity in self.values.items()
        }
        overscan, parallel = where.blind.get("overscan"), where.blind.get("parallel_overscan")
        return Amplifier(
            name=self.name,
            data=where.data.slices,
            overscan=(where.data.slices[0], slice(0, 0)) if overscan is None else overscan.slices,
            assembled=where.assembled.slices,
            readout_corner=self.corner(where),
            linearity=self.linearity,
            linearity_type=self.linearity_type,
            linearity_knots=self.linearity_knots,
            parallel_overscan=None if parallel is None else parallel.slices,
            amplifier_corner=self.amplifier_corner,
            is_dead=self.is_dead,
            **values,
        )


def parse_amplifiers(tables: Sequence[Table]) -> tuple[AmplifierPlan, ...]:
    """Read the amplifiers of a detector from a camera's file; ConfigError if something is wrong."""
    plans = tuple(_parse_amplifier(table) for table in tables)
    for table, plan in zip(tables, plans, strict=True):
        if sum(other.name == plan.name for other in plans) > 1:
            raise table.error("name", "a name that no other amplifier has")
        if plan.assembled is None and not stand_in_place(plans):
            raise table.error("assembled", "given for all amplifiers, or for none: they then stand in place")
    return plans


def constant(name: str, kind: Number, value: float) -> Quantity:
    """Return a quantity of one value."""
    return Quantity(name, kind, (Source(constant=value),))


def stand_in_place(plans: Sequence[AmplifierPlan]) -> bool:
    """Whether the amplifiers of a detector stand in the file as in the image."""
    return all(plan.assembled is None for plan in plans)


def read_sections(plans: Sequence[AmplifierPlan], headers: Sequence[Headers]) -> list[Sections]:
    """Return the sections of the amplifiers of a detector; FormatError if a keyword does not have one."""
    sections = [plan.sections(own) for plan, own in zip(plans, headers, strict=True)]
    return in_place(sections) if stand_in_place(plans) else sections


def known_sections(plans: Sequence[AmplifierPlan]) -> list[Sections] | None:
    """Return the sections of the amplifiers of a detector, or None if one of them stands in a header."""
    found = [plan.constant_sections() for plan in plans]
    sections = [each for each in found if each is not None]
    if len(sections) < len(found):
        return None
    return in_place(sections) if stand_in_place(plans) else sections


def check_tiling(
    source: str, place: str, plans: Sequence[AmplifierPlan], shape: tuple[int, int], *, share_hdu: bool
) -> None:
    """Check amplifiers whose sections are all constants; ConfigError if they do not tile the image."""
    known = known_sections(plans)
    problem = "" if known is None else tile_problem(known, shape, share_hdu=share_hdu)
    if problem:
        raise ConfigError(f"{source}: [{place}] {problem}", file=source, table=place)


def _parse_amplifier(table: Table) -> AmplifierPlan:
    corners = tuple(READOUT_CORNERS)
    plan = AmplifierPlan(
        name=table.text("name"),
        data=_parse_section(table, "data"),
        assembled=_parse_section(table, "assembled") if table.has("assembled") else None,
        blind=tuple(_parse_section(table, key) for key in BLIND_PARTS if table.has(key)),
        values=_parse_values(table),
        linearity=_parse_numbers(table, "linearity"),
        linearity_type=table.choice("linearity_type", LINEARITY_TYPES, "polynomial"),
        linearity_knots=_parse_numbers(table, "linearity_knots"),
        readout_corner=table.choice("readout_corner", corners, None),
        amplifier_corner=table.choice("amplifier_corner", corners, ""),
        is_dead=table.flag("is_dead", False),
    )
    table.finish()
    section, corner = plan.assembled.section if plan.assembled else None, plan.readout_corner
    if corner is not None and section is not None and section.corner not in {"LL", corner}:
        raise table.error("readout_corner", f"{section.corner!r}, by the order of the ends of {section}")
    _check_linearity(table, plan)
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


def _parse_values(table: Table) -> dict[str, Quantity]:
    quantities = {
        "gain": parse_quantity(table, "gain", GAIN, required=True),
        "read_noise": parse_quantity(table, "read_noise", READ_NOISE, required=True),
        "saturation": parse_quantity(table, "saturation", SATURATION, required=True),
        "suspect": parse_quantity(table, "suspect", SATURATION),
    }
    return {name: quantity for name, quantity in quantities.items() if quantity is not None}


def _parse_numbers(table: Table, key: str) -> tuple[float, ...]:
    values = table.items(key, (int, float), "a list of numbers")
    if not all(is_number(value) for value in values):
        raise table.error(key, "a list of numbers")
    return tuple(float(value) for value in values)


def _check_linearity(table: Table, plan: AmplifierPlan) -> None:
    """Let an amplifier itself say what its type of linearity needs."""
    nowhere = (slice(0, 1), slice(0, 1))
    response = {
        "linearity": plan.linearity,
        "linearity_type": plan.linearity_type,
        "linearity_knots": plan.linearity_knots,
    }
    try:
        Amplifier(plan.name, nowhere, nowhere, nowhere, 1.0, 1.0, 1.0, **response)  # type: ignore[arg-type]
    except ValueError as exc:
        needed = str(exc).partition(": ")[2].partition("; found")[0]
        raise table.error("linearity", f"what its type needs: {needed}") from exc
