"""The detectors of a camera's file, with their amplifiers and defects."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astra.errors import ConfigError, DataError
from astra.instruments.amplifier_tables import (
    GAIN,
    READ_NOISE,
    SATURATION,
    AmplifierPlan,
    check_tiling,
    constant,
    known_sections,
    parse_amplifiers,
    stand_in_place,
)
from astra.instruments.base import Detector
from astra.instruments.headers import is_hdu
from astra.instruments.kinds import Number
from astra.instruments.sections import FitsSection, parse_section
from astra.instruments.tables import Table

DEFECT_COLUMNS = ("detector", "x0", "y0", "width", "height")
_OWN_VALUES = (
    ("gains", "gain", GAIN),
    ("read_noises", "read_noise", READ_NOISE),
    ("saturations", "saturation", SATURATION),
)


@dataclass(frozen=True)
class DetectorPlan:
    """What a camera's file says of a detector.

    Parameters
    ----------
    value : Detector
        Its size and place.
    hdus : tuple of int or str
        Where it stands in a file, or each of its amplifiers; empty where the headers tell.
    amplifiers : tuple of AmplifierPlan
        Its amplifiers.
    defects : tuple of FitsSection
        Boxes of bad pixels in the assembled image.
    """

    value: Detector
    hdus: tuple[int | str, ...]
    amplifiers: tuple[AmplifierPlan, ...]
    defects: tuple[FitsSection, ...] = ()

    def bad_pixels(self) -> NDArray[np.bool_] | None:
        """Return the bad pixels, True where bad, shape (ny, nx); None if there are none."""
        if not self.defects:
            return None
        bad = np.zeros((self.value.n_rows, self.value.n_columns), dtype=np.bool_)
        for box in self.defects:
            bad[box.slices] = True
        return bad


def parse_detectors(top: Table, folder: Path, layout: str) -> tuple[DetectorPlan, ...]:
    """Read the detectors of a camera's file; ConfigError if something is wrong."""
    shared = parse_amplifiers(top.tables("amplifiers"))
    boxes = _read_defects_file(top, folder)
    tables = top.tables("detectors", required=True)
    plans = tuple(_parse_detector(table, shared, layout, boxes) for table in tables)
    numbers = [plan.value.detector for plan in plans]
    for table, number in zip(tables, numbers, strict=True):
        if numbers.count(number) > 1:
            raise table.error("detector", "a number that no other detector has")
    unknown = sorted(set(boxes) - set(numbers))
    if unknown:
        raise top.error("defects_file", f"a file of boxes on the detectors given, not on {unknown[0]}")
    return plans


def _parse_detector(
    table: Table, shared: tuple[AmplifierPlan, ...], layout: str, boxes: dict[int, list[FitsSection]]
) -> DetectorPlan:
    own = parse_amplifiers(table.tables("amplifiers"))
    amplifiers = _with_own_values(table, own or shared)
    if not amplifiers:
        raise table.error("amplifiers", "given as [[detectors.amplifiers]], or [[amplifiers]] for all")
    number = table.integer("detector", high=2**31 - 1)
    if layout == "amplifiers" and stand_in_place(amplifiers):
        raise table.error("amplifiers", "with assembled sections, for each stands in an extension of its own")
    n_rows, n_columns = _parse_size(table, amplifiers)
    value = Detector(
        detector=number,
        name=table.text("name", f"{number}"),
        n_rows=n_rows,
        n_columns=n_columns,
        x_mm=table.number("x_mm", 0.0, unit="mm"),
        y_mm=table.number("y_mm", 0.0, unit="mm"),
        rotation_deg=table.number("rotation_deg", 0.0, low=-360.0, high=360.0, unit="deg"),
        serial=table.text("serial", ""),
    )
    hdus = _parse_hdus(table, layout, len(amplifiers))
    check_tiling(table.source, table.place, amplifiers, (n_rows, n_columns), share_hdu=layout != "amplifiers")
    defects = (*_parse_defects(table), *boxes.get(number, ()))
    for box in defects:
        if box.y1 > n_rows or box.x1 > n_columns:
            expected = f"boxes in an image of {n_rows} rows and {n_columns} columns, not {box}"
            raise table.error("defects", expected)
    table.finish()
    return DetectorPlan(value, hdus, amplifiers, defects)


def _parse_size(table: Table, amplifiers: tuple[AmplifierPlan, ...]) -> tuple[int, int]:
    """Rows and columns: as given, else as far as the assembled sections reach."""
    known = known_sections(amplifiers)
    if known is None:
        return table.integer("n_rows", low=1, high=10**6), table.integer("n_columns", low=1, high=10**6)
    reach = max(each.assembled.y1 for each in known), max(each.assembled.x1 for each in known)
    return (
        table.integer("n_rows", reach[0], low=1, high=10**6),
        table.integer("n_columns", reach[1], low=1, high=10**6),
    )


def _with_own_values(table: Table, amplifiers: tuple[AmplifierPlan, ...]) -> tuple[AmplifierPlan, ...]:
    """Put the constants of a detector in the place of those that all share."""
    for key, attribute, kind in _OWN_VALUES:
        if not table.has(key):
            continue
        expected = f"a list of {len(amplifiers)} values, each {kind.describe()}"
        values = table.items(key, (int, float), expected)
        if len(values) != len(amplifiers) or not all(_is_within(value, kind) for value in values):
            raise table.error(key, expected)
        own = [{attribute: constant(attribute, kind, float(value))} for value in values]
        amplifiers = tuple(plan.with_values(**each) for plan, each in zip(amplifiers, own, strict=True))
    expected = f"a list of names of amplifiers ({', '.join(plan.name for plan in amplifiers)})"
    dead = table.items("dead", str, expected)
    if not set(dead) <= {plan.name for plan in amplifiers}:
        raise table.error("dead", expected)
    return tuple(replace(plan, is_dead=plan.is_dead or plan.name in dead) for plan in amplifiers)


def _is_within(value: float, kind: Number) -> bool:
    return kind.low <= value <= kind.high and not (kind.is_open and value == kind.low)


def _parse_hdus(table: Table, layout: str, n_amplifiers: int) -> tuple[int | str, ...]:
    value = table.take("hdu", None)
    hdus = () if value is None else tuple(value) if isinstance(value, list) else (value,)
    n_wanted = {"detector": 0, "extensions": 1, "amplifiers": n_amplifiers}[layout]
    if not all(map(is_hdu, hdus)) or (len(hdus) != n_wanted and (hdus or layout == "amplifiers")):
        raise table.error("hdu", f"{n_wanted} numbers or names of HDUs in the layout {layout!r}")
    return hdus


def _parse_defects(table: Table) -> list[FitsSection]:
    expected = "a list of sections [x1:x2,y1:y2] counted from 1"
    try:
        return [parse_section(text) for text in table.items("defects", str, expected)]
    except ValueError as exc:
        raise table.error("defects", expected) from exc


def _read_defects_file(top: Table, folder: Path) -> dict[int, list[FitsSection]]:
    """Read boxes of bad pixels by detector from a CSV, ECSV or FITS table beside the camera's file."""
    name = top.text("defects_file", None)
    if name is None:
        return {}
    path = folder / name
    try:
        rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _fits_rows(path)
        boxes: dict[int, list[FitsSection]] = defaultdict(list)
        for detector, x0, y0, width, height in rows:
            if min(x0, y0) < 0 or min(width, height) < 1:
                raise ValueError(f"a box of {width} x {height} pixels at ({x0}, {y0})")  # noqa: TRY301
            boxes[detector].append(FitsSection(x0, x0 + width, y0, y0 + height))
    except (OSError, ValueError, KeyError, TypeError, DataError) as exc:
        expected = f"a CSV or FITS table with the integer columns {', '.join(DEFECT_COLUMNS)}, 0-based"
        message = f"{top.source}: defects_file must be {expected}, found {path}: {exc}"
        raise ConfigError(message, file=top.source, key="defects_file") from exc
    return boxes


def _csv_rows(path: Path) -> list[tuple[int, ...]]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.DictReader(line for line in stream if not line.startswith("#"))
        return [tuple(int(row[column]) for column in DEFECT_COLUMNS) for row in rows]


def _fits_rows(path: Path) -> list[tuple[int, ...]]:
    from astra.products.catalogs import read_catalog

    table = read_catalog(path)
    return [tuple(int(row[column]) for column in DEFECT_COLUMNS) for row in table]
