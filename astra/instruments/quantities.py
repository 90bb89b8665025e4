r"""Where a camera's headers have a quantity, and what was read there.

In a camera's file a quantity is a keyword, ``"EXPTIME"``, or a table::

    begin = { key = ["DATE-OBS", "UT"], scale = "utc" }       # two keywords, joined by T
    zenith_angle_deg = { key = "EL", factor = -1, add = 90 }
    seq_num = { filename = 'b(\d+)\.' }
    science_program = { value = "standards" }

or a list of these, of which the first counts whose keywords are there and whose conditions (``when``) hold.
There are no expressions: nothing of a camera's file is executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from astra.errors import ConfigError, FormatError
from astra.instruments.headers import Headers, is_hdu
from astra.instruments.kinds import (
    TIME_FORMATS,
    TIME_SCALES,
    Angle,
    Kind,
    Moment,
    Number,
    Reader,
    ZenithAngle,
)
from astra.instruments.tables import Table, is_number

_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}|(?:HIERARCH )?[A-Z0-9_-]+(?: [A-Z0-9_-]+)+")
_TRUE, _FALSE = ("T", "true", "True"), ("F", "false", "False")  # a logical card in the file's words
_KEYWORD_TEXT = 'a keyword in capitals, or a table such as {key = "EXPTIME"} or {value = 1}'


@dataclass(frozen=True)
class Reading:
    """What was read for one quantity.

    Parameters
    ----------
    name : str
        The quantity.
    source : str
        Keywords, ``constant``, ``file name`` or what it was derived from.
    hdu : str
        Number and name of the HDU; empty for what stands in no header.
    raw : object
        What stands there; None for nothing.
    value : object
        What it was read as; None if it could not be.
    unit : str
        Unit of the value.
    problem : str
        What is wrong, a sentence; empty if nothing.
    """

    name: str
    source: str = ""
    hdu: str = ""
    raw: Any = None
    value: Any = None
    unit: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Source:
    """One place where a quantity may stand.

    Parameters
    ----------
    keys : tuple of str
        Keywords; the text of several is joined.
    hdu : int, str or None
        The one HDU to look in; by default that of the image, then the primary.
    filename : re.Pattern, optional
        Takes it from the name of the file instead: the first group.
    constant : object
        A value instead.
    pattern : re.Pattern, optional
        The part of the text that counts: the first group.
    mapping : mapping
        Value of each text; a ``*`` in a text stands for anything.
    when : mapping
        Values that other keywords must have.
    joined_by : str
        Stands between the texts of several keywords.
    reader : Reader
        Unit and format.
    """

    keys: tuple[str, ...] = ()
    hdu: int | str | None = None
    filename: re.Pattern[str] | None = None
    constant: Any = None
    pattern: re.Pattern[str] | None = None
    mapping: Mapping[str, Any] = field(default_factory=dict)
    when: Mapping[str, Any] = field(default_factory=dict)
    joined_by: str = " "
    reader: Reader = field(default_factory=Reader)

    @property
    def text(self) -> str:
        """Where it stands, in words."""
        if self.filename is not None:
            return "file name"
        return " + ".join(self.keys) or "constant"

    def applies(self, headers: Headers) -> bool:
        """Whether the conditions hold."""
        for key, wanted in self.when.items():
            card = headers.find(key)
            if card is None or not matches(card.value, wanted):
                return False
        return True

    def find(self, headers: Headers) -> tuple[Any, str] | None:
        """Return the raw value and the HDU; None if it is not there."""
        if self.filename is not None:
            match = self.filename.search(headers.path.name)
            return (match[1], "") if match and match[1] is not None else None
        if not self.keys:
            return self.constant, ""
        cards = [headers.find(key, self.hdu) for key in self.keys]
        found = [card for card in cards if card is not None]
        if len(found) < len(cards):
            return None
        raw = found[0].value if len(found) == 1 else self.joined_by.join(str(card.value) for card in found)
        return raw, found[0].hdu

    def convert(self, raw: Any, kind: Kind) -> Any:
        """Return the value that a raw one means; ValueError with what is expected if it means none."""
        if self.pattern is not None:
            match = self.pattern.search(str(raw))
            if match is None or match[1] is None:
                raise ValueError(f"text that matches {self.pattern.pattern!r}")
            raw = match[1]
        if self.mapping:
            wanted = next((text for text in self.mapping if matches(raw, text)), None)
            if wanted is None:
                raise ValueError(f"one of {', '.join(map(repr, self.mapping))}")
            return kind.read(self.mapping[wanted], Reader())
        return kind.read(raw, Reader() if self.text == "constant" else self.reader)


@dataclass(frozen=True)
class Quantity:
    """A quantity and the places where it may stand, in the order in which they are tried."""

    name: str
    kind: Kind
    sources: tuple[Source, ...]

    def read(self, headers: Headers) -> Reading:
        """Read it; what is wrong stands in the `Reading`, and is no exception."""
        unit = self.kind.unit
        try:
            for source in self.sources:
                found = source.find(headers) if source.applies(headers) else None
                if found is not None:
                    return self._reading(source, *found)
        except FormatError as exc:
            return Reading(self.name, unit=unit, problem=str(exc).removeprefix(f"{headers.path}: "))
        keys = " or ".join(dict.fromkeys(source.text for source in self.sources))
        problem = f"header key {keys} must be {self.kind.describe()} ({self.name}), found nothing"
        return Reading(self.name, keys, unit=unit, problem=problem)

    def _reading(self, source: Source, raw: Any, hdu: str) -> Reading:
        try:
            value = source.convert(raw, self.kind)
        except ValueError as exc:
            where = f"header key {source.text}" if source.keys else source.text
            problem = f"{where} must be {exc} ({self.name}), found {raw!r}"
            return Reading(self.name, source.text, hdu, raw, None, self.kind.unit, problem)
        return Reading(self.name, source.text, hdu, raw, value, self.kind.unit)


def parse_quantity(table: Table, key: str, kind: Kind, *, required: bool = False) -> Quantity | None:
    """Read from a camera's file where a quantity stands; None if the file does not say.

    Raises
    ------
    ConfigError
        If what it says cannot be understood, or it says nothing and must.
    """
    value = table.take(key, *(() if required else (None,)), expected=_KEYWORD_TEXT)
    if value is None:
        return None
    entries = value if isinstance(value, list) else [value]
    if not entries:
        raise table.error(key, _KEYWORD_TEXT)
    sources = []
    for number, entry in enumerate(entries, start=1):
        place = f"{table.place}.{key}" + (f" {number}" if isinstance(value, list) else "")
        if isinstance(entry, Mapping):
            sources.append(_parse_source(Table(entry, table.source, place), kind))
        else:
            sources.append(_parse_short(table, key, entry, kind))
    return Quantity(key, kind, tuple(sources))


def _parse_short(table: Table, key: str, entry: object, kind: Kind) -> Source:
    """Read a keyword, or a number in the place of one."""
    if isinstance(entry, str) and _KEYWORD.fullmatch(entry):
        return Source(keys=(entry,), joined_by=_joint(kind))
    if not isinstance(kind, Number) or not is_number(entry):
        expected = f"{_KEYWORD_TEXT}" + (f", or {kind.describe()}" if isinstance(kind, Number) else "")
        raise table.error(key, expected)
    try:
        return Source(constant=kind.read(entry, Reader()))
    except ValueError as exc:
        raise table.error(key, str(exc)) from exc


def _parse_source(table: Table, kind: Kind) -> Source:
    places = [name for name in ("key", "value", "filename") if name in table]
    if len(places) != 1:
        found = " and ".join(places) or "none of them"
        message = f"{table.source}: [{table.place}] must have one of key, value and filename, found {found}"
        raise ConfigError(message, file=table.source, table=table.place)
    hdu = table.take("hdu", None)
    if hdu is not None and not is_hdu(hdu):
        raise table.error("hdu", "the number or the name of an HDU")
    joint = table.take("joined_by", _joint(kind))
    if not isinstance(joint, str):
        raise table.error("joined_by", "text")
    source = Source(
        keys=_parse_keys(table),
        hdu=hdu,
        filename=_parse_pattern(table, "filename"),
        constant=table.take("value", None),
        pattern=_parse_pattern(table, "pattern"),
        mapping=_parse_mapping(table, kind),
        when=_parse_when(table),
        joined_by=joint,
        reader=_parse_reader(table, kind),
    )
    table.finish()
    if places == ["value"]:
        try:
            source.convert(source.constant, kind)
        except ValueError as exc:
            raise table.error("value", str(exc)) from exc
    return source


def _parse_keys(table: Table) -> tuple[str, ...]:
    value = table.take("key", ())
    keys = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else (value,)
    if "key" in table and not (keys and all(isinstance(k, str) and _KEYWORD.fullmatch(k) for k in keys)):
        raise table.error("key", "a keyword in capitals, or a list of keywords to be joined")
    return () if "key" not in table else keys


def _parse_pattern(table: Table, key: str) -> re.Pattern[str] | None:
    expected = "a regular expression with one group"
    text = table.text(key, None, expected=expected)
    try:
        pattern = None if text is None else re.compile(text)
    except re.error as exc:
        raise table.error(key, f"{expected} ({exc})") from exc
    if pattern is not None and pattern.groups != 1:
        raise table.error(key, expected)
    return pattern


def _parse_mapping(table: Table, kind: Kind) -> dict[str, Any]:
    inner = table.table("map")
    for text in inner.values:
        try:
            kind.read(inner.take(text), Reader())
        except ValueError as exc:
            raise inner.error(text, str(exc)) from exc
    return dict(inner.values)


def _parse_when(table: Table) -> dict[str, Any]:
    inner = table.table("when")
    for key, value in inner.values.items():
        if not _KEYWORD.fullmatch(key) or not isinstance(value, str | int | float):
            raise inner.error(key, "a keyword in capitals with the text, the number or the flag it must have")
    return dict(inner.values)


def _parse_reader(table: Table, kind: Kind) -> Reader:
    unit, factor, add = "", 1.0, 0.0
    if isinstance(kind, Number):
        units = [*kind.units, *(["airmass"] if isinstance(kind, ZenithAngle) else [])]
        unit = table.choice("unit", units, "") if units else ""
        factor, add = table.number("factor", 1.0), table.number("add", 0.0)
    if not isinstance(kind, Moment):
        return Reader(unit, factor, add)
    time_format = table.choice("format", TIME_FORMATS, "iso")
    return Reader(time_format=time_format, time_scale=table.choice("scale", TIME_SCALES, "utc"))


def _joint(kind: Kind) -> str:
    return "T" if isinstance(kind, Moment) else ":" if isinstance(kind, Angle) else " "


def matches(found: object, wanted: object) -> bool:
    """Whether a value of a header is one of a camera's file; in a text ``*`` stands for anything."""
    if isinstance(found, bool):
        return found is wanted or wanted in (_TRUE if found else _FALSE)
    if isinstance(wanted, bool):
        return False
    if isinstance(wanted, str):
        pattern = ".*".join(re.escape(part) for part in wanted.strip().split("*"))
        return re.fullmatch(pattern, str(found).strip(), flags=re.DOTALL) is not None
    return is_number(found) and found == wanted


def require_value(path: Any, reading: Reading) -> Any:
    """Return the value of a reading; FormatError with its problem if it has one."""
    if reading.problem:
        context = {"key": reading.source, "quantity": reading.name}
        if reading.raw is not None:
            context["value"] = str(reading.raw)
        raise FormatError(f"{path}: {reading.problem}", path=str(path), **context)
    return reading.value
