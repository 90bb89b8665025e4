"""``astra instrument``: which cameras there are, how one reads a file, and a file to begin one's own with."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra.cli.terminal import escape, print_json, print_lines, table_lines
from astra.errors import ConfigError, DataError, FormatError

if TYPE_CHECKING:
    from astra.instruments.base import Instrument
    from astra.instruments.quantities import Reading

LONGEST_CELL = 44
CHECK_DESCRIPTION = """Tell how the header of a raw file is read: for each quantity the keyword and the HDU,
what stands there, what it was read as, and what is missing or wrong. Without --instrument or --camera it is
read by the camera that knows the file. With --camera alone the camera's file is checked. Exit with 1 if
something is wrong."""


def add_commands(commands: Any) -> None:
    """Add ``instrument``."""
    parser = commands.add_parser("instrument", help="cameras, and how they read a file")
    inner = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = inner.add_parser("list", help="cameras that are known, and where they come from")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(function=list_instruments)
    check = inner.add_parser("check", help="how a raw file is read", description=CHECK_DESCRIPTION)
    check.add_argument("file", nargs="?", type=Path, metavar="FILE", help="raw file")
    camera = check.add_mutually_exclusive_group()
    camera.add_argument("--instrument", metavar="NAME", help="camera, by its name")
    camera.add_argument("--camera", type=Path, metavar="TOML", help="camera, by its file")
    check.add_argument("--detector", type=int, metavar="N", help="detector to show [default: the first]")
    check.add_argument(
        "--pixels", action="store_true", help="read the pixels too: levels and noise of the amplifiers"
    )
    check.add_argument("--json", action="store_true", help="print JSON, of all detectors")
    check.set_defaults(function=check_file)
    template = inner.add_parser("template", help="print a camera's file to begin with, every key explained")
    template.set_defaults(function=print_template)


def list_instruments(options: argparse.Namespace) -> int:
    """Print the cameras that are known."""
    from astra.instruments.registry import get_instrument, instrument_origins

    rows = []
    for origin in instrument_origins():
        camera = get_instrument(origin.name)
        plan = getattr(camera, "plan", None)
        rows.append(
            {
                "name": origin.name,
                "from": origin.kind,
                "place": origin.place,
                "detectors": len(camera.detectors),
                "amplifiers": sum(len(d.amplifiers) for d in plan.detectors) if plan else None,
                "description": plan.description if plan else _first_line(camera),
            }
        )
    if options.json:
        print_json(rows)
    else:
        print_lines(table_lines(list(rows[0]), [list(row.values()) for row in rows]))
    return 0


def _first_line(camera: Instrument) -> str:
    return (type(camera).__doc__ or "").strip().partition("\n")[0].rstrip(".")


def print_template(options: argparse.Namespace) -> int:
    """Print a camera's file to begin with."""
    from astra.instruments.registry import shipped_file

    del options
    print(shipped_file("template.toml").read_text(encoding="utf-8"), end="")
    return 0


def check_file(options: argparse.Namespace) -> int:
    """Print how a raw file is read; return 1 if something is wrong."""
    if options.file is None:
        return _check_camera(options)
    camera, found = _inspect(options)
    if options.pixels:
        shown = found if options.json else found[:1]
        more = [(number, [*readings, *_levels(camera, options, number)]) for number, readings in shown]
        found = more + found[len(more) :]
    n_problems = sum(bool(reading.problem) for _, readings in found for reading in readings)
    if options.json:
        content = {
            "file": str(options.file),
            "instrument": camera.name,
            "detectors": [
                {"detector": number, "readings": [asdict(reading) for reading in readings]}
                for number, readings in found
            ],
            "problems": n_problems,
        }
        print_json(content)
    else:
        print_lines(_report(options, camera, found))
    return int(n_problems > 0)


def _check_camera(options: argparse.Namespace) -> int:
    """Check a camera's file alone."""
    if options.camera is None:
        raise ConfigError("astra instrument check needs a raw file, or --camera with a camera's file")
    from astra.instruments.toml_camera import TomlCamera

    camera = TomlCamera.from_file(options.camera)
    if options.json:
        print_json({"camera": str(options.camera), "instrument": camera.name, "problems": 0})
    else:
        print_lines(
            [f"{escape(options.camera)} is sound: camera {camera.name}, detectors: {len(camera.detectors)}"]
        )
    return 0


def _inspect(options: argparse.Namespace) -> tuple[Instrument, list[tuple[int, list[Reading]]]]:
    """Return the camera, and what it reads of each detector, or of the one that was asked for."""
    from astra.instruments.registry import get_instrument
    from astra.instruments.toml_camera import TomlCamera

    if options.camera is not None:
        camera: Instrument = TomlCamera.from_file(options.camera)
    else:
        camera = get_instrument(options.instrument or _recognise(options.file))
    found = camera.inspect(options.file)
    if options.detector is None:
        return camera, found
    chosen = [(number, readings) for number, readings in found if number == options.detector]
    if not chosen:
        held = ", ".join(str(number) for number, _ in found)
        message = f"{options.file} holds the detectors {held}, wanted is {options.detector}"
        raise FormatError(message, path=str(options.file))
    return camera, chosen


def _recognise(path: Path) -> str:
    """Return the name of the one camera that takes a file for its own."""
    from astra.instruments.registry import get_instrument, instrument_names

    reasons = {}
    for name in instrument_names():
        try:
            get_instrument(name).inspect(path)
        except FormatError as exc:
            reasons[name] = str(exc)
    known = [name for name in instrument_names() if name not in reasons]
    if len(known) == 1:
        return known[0]
    found = ", ".join(known) or "none does: " + "; ".join(reasons.values())
    message = f"{path} must be known to one camera, or be given --instrument or --camera; found {found}"
    raise FormatError(message, path=str(path))


def _report(
    options: argparse.Namespace, camera: Instrument, found: list[tuple[int, list[Reading]]]
) -> Iterator[str]:
    """Lines about the first detector, and about what is wrong with any."""
    number, readings = found[0]
    name = camera.detector(number).name
    yield f"{escape(options.file)}: camera {camera.name}, detector {number} ({escape(name)})"
    yield ""
    yield from table_lines(
        ("quantity", "from", "HDU", "stands there", "read as", "unit", ""), map(_row, readings)
    )
    if len(found) > 1:
        yield ""
        yield f"further detectors: {', '.join(str(other) for other, _ in found[1:])}"
    problems = [
        f"detector {other}: {reading.name}: {reading.problem}"
        for other, each in found
        for reading in each
        if reading.problem
    ]
    yield ""
    yield f"problems: {len(problems)}" if problems else "nothing is wrong"
    yield from map(escape, problems)


def _row(reading: Reading) -> tuple[str, ...]:
    verdict = "WRONG" if reading.problem else "missing" if reading.value is None else ""
    raw = "" if reading.raw is None else repr(reading.raw)
    value = "" if reading.value is None else _value_text(reading)
    cells = (reading.name, reading.source, reading.hdu, raw, value, reading.unit, verdict)
    return tuple(cell if len(cell) <= LONGEST_CELL else f"{cell[: LONGEST_CELL - 3]}..." for cell in cells)


def _value_text(reading: Reading) -> str:
    if reading.name in {"begin_mjd_tai", "end_mjd_tai"} and isinstance(reading.value, float):
        from astropy.time import Time

        moment = Time(reading.value, format="mjd", scale="tai")
        return f"{reading.value:.7f} ({moment.isot[:21]})"
    return f"{reading.value:.10g}" if isinstance(reading.value, float) else str(reading.value)


def _levels(camera: Instrument, options: argparse.Namespace, detector: int) -> list[Reading]:
    """Levels and noise of the amplifiers of a detector, by its pixels."""
    from astra.images.assembly import has_overscan
    from astra.images.overscan import measure_overscan
    from astra.instruments.quantities import Reading

    try:
        raw = camera.read_raw(options.file, detector)
    except (DataError, ConfigError) as exc:
        return [Reading("pixels", "pixels", problem=str(exc))]
    found = []
    for amplifier in raw.amplifiers:
        signal = raw.pixels[amplifier.data]
        here = Reading(f"{amplifier.name}.median", "pixels", value=float(_median(signal)), unit="adu")
        n_saturated = int((signal >= amplifier.saturation).sum())
        found += [here, replace(here, name=f"{amplifier.name}.saturated", value=n_saturated, unit="pixel")]
        if has_overscan(amplifier):
            overscan = measure_overscan(raw.pixels[amplifier.overscan])
            noise = overscan.noise_adu * amplifier.gain
            level = float(overscan.level.mean())
            found.append(replace(here, name=f"{amplifier.name}.overscan_level", value=level))
            found.append(replace(here, name=f"{amplifier.name}.overscan_noise", value=noise, unit="e-"))
    return found


def _median(values: Any) -> Any:
    import numpy as np

    return np.median(values)
