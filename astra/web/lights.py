"""Traffic lights: figures of a night against thresholds, all of which stand in one file."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from astra.errors import ConfigError

LEVELS = ("ok", "warn", "bad", "unknown")
WORDS = {"ok": "good", "warn": "to be looked at", "bad": "bad", "unknown": "not measured"}
GOOD = ("low", "high")
TEXTS, NUMBERS = ("title", "unit", "good"), ("warn", "bad")
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Threshold:
    """When the light of a figure turns.

    Parameters
    ----------
    name, title, unit : str
        What it is.
    good : str
        ``low`` or ``high``: which values are good.
    warn, bad : float
        Beyond them it is to be looked at, and bad [unit].
    bands : mapping of str to Threshold
        Where a band has its own.
    """

    name: str
    title: str
    unit: str
    good: str
    warn: float
    bad: float
    bands: Mapping[str, Threshold] = field(default_factory=dict)

    def level(self, value: float | None, band: str | None = None) -> str:
        """Return the level of a value, one of `LEVELS`."""
        limit = self.bands.get(band or "", self)
        if value is None or not math.isfinite(value):
            return "unknown"
        sign = 1.0 if self.good == "low" else -1.0
        if sign * value <= sign * limit.warn:
            return "ok"
        return "warn" if sign * value <= sign * limit.bad else "bad"

    def rule(self, band: str | None = None) -> str:
        """Say when the light is good and bad."""
        limit = self.bands.get(band or "", self)
        below, above = ("≤", ">") if self.good == "low" else ("≥", "<")
        return f"good {below} {limit.warn:g}, bad {above} {limit.bad:g}"


@dataclass(frozen=True)
class Light:
    """A light: the figure, its level, and what is said of it."""

    threshold: Threshold
    value: float | None
    level: str
    rule: str

    @property
    def words(self) -> str:
        """What those are told who do not see it."""
        return f"{self.threshold.title}: {WORDS[self.level]}"


def make_light(threshold: Threshold, value: float | None, band: str | None = None) -> Light:
    """Make the light of a value."""
    return Light(threshold, value, threshold.level(value, band), threshold.rule(band))


def worst(levels: Any) -> str:
    """Return the worst of some levels; what is not measured counts only where nothing is."""
    found = set(levels)
    return next((level for level in ("bad", "warn", "ok") if level in found), "unknown")


def load_thresholds(own: Path | str | None = None) -> dict[str, Threshold]:
    """Return the thresholds by name: those that come with the package, changed by a file of one's own.

    Parameters
    ----------
    own : Path or str, optional
        TOML file; what it does not name stays.

    Raises
    ------
    ConfigError
        If it cannot be read, or names what is not known.
    """
    shipped = _parse(files("astra.web").joinpath("thresholds.toml").read_text(), "thresholds.toml")
    made = {name: _threshold(name, table, None, "thresholds.toml") for name, table in shipped.items()}
    if not own:
        return made
    for name, table in _parse(_read(Path(own)), str(own)).items():
        if name not in made:
            message = f"{own} has thresholds of {name!r}, which is no figure of a night; {_choices(made)}"
            raise ConfigError(message, path=str(own), name=name)
        made[name] = _threshold(name, table, made[name], str(own))
    return made


def _choices(made: Mapping[str, Any]) -> str:
    return f"it must be one of {', '.join(made)}"


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES).decode()
    except OSError as exc:
        message = f"thresholds {path} cannot be read: {exc.strerror}"
        raise ConfigError(message, path=str(path)) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"thresholds {path} must be UTF-8 text, but are not", path=str(path)) from exc


def _parse(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"thresholds {path} are not TOML: {exc}", path=path) from exc


def _threshold(name: str, table: Any, base: Threshold | None, path: str) -> Threshold:
    """Read one table, on top of what is there."""
    if not isinstance(table, dict):
        raise ConfigError(f"{name} of {path} must be a table with warn and bad, found {table!r}", path=path)
    bands = table.get("band", {})
    given = {key: value for key, value in table.items() if key != "band"}
    _check(name, given, path)
    made = replace(base, **given) if base is not None else Threshold(name=name, **given)
    if not isinstance(bands, dict):
        raise ConfigError(f"{name}.band of {path} must be tables by band, found {bands!r}", path=path)
    own = {band: _band(name, band, limits, made, path) for band, limits in bands.items()}
    made = replace(made, bands={**made.bands, **own})
    for one in (made, *made.bands.values()):
        _check_order(one, path)
    return made


def _band(name: str, band: str, limits: Any, base: Threshold, path: str) -> Threshold:
    if not isinstance(limits, dict):
        raise ConfigError(f"{name}.band.{band} of {path} must be a table, found {limits!r}", path=path)
    _check(f"{name}.band.{band}", limits, path, known=NUMBERS)
    return replace(base, **limits, bands={})


def _check(
    name: str, given: Mapping[str, Any], path: str, known: tuple[str, ...] = (*TEXTS, *NUMBERS)
) -> None:
    """Refuse keys that are not known, and values of another kind."""
    for key, value in given.items():
        if key not in known:
            message = (
                f"{name} of {path} has the key {key!r}, which is not known; {_choices(dict.fromkeys(known))}"
            )
            raise ConfigError(message, path=path, name=name, key=key)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if key in NUMBERS and not is_number:
            raise ConfigError(
                f"{name}.{key} of {path} must be a number, found {value!r}", path=path, name=name
            )
        if key in TEXTS and not isinstance(value, str):
            raise ConfigError(f"{name}.{key} of {path} must be text, found {value!r}", path=path, name=name)
    if given.get("good", "low") not in GOOD:
        message = f"{name}.good of {path} must be low or high, found {given['good']!r}"
        raise ConfigError(message, path=path, name=name)


def _check_order(one: Threshold, path: str) -> None:
    sign = 1.0 if one.good == "low" else -1.0
    if sign * one.bad < sign * one.warn:
        where = "above" if one.good == "low" else "below"
        message = f"{one.name} of {path}: bad ({one.bad:g}) must be {where} warn ({one.warn:g}) [{one.unit}]"
        raise ConfigError(message, path=path, name=one.name)
