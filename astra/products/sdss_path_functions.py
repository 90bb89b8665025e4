"""The parts of SDSS paths that are computed from keys, rather than being keys themselves.

Each function takes the product name and the keys as strings and returns a piece of the path. The rules are
those of sdss-access 3.0.11; `PATH_FUNCTIONS` says which keys each one reads, and how it looks in a path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from astra.errors import ConfigError

Keys = Mapping[str, str]

PLATE_RUN2D = frozenset({"v6_0_1", "v6_0_2", "v6_0_3", "v6_0_4"})
LEGACY_RUN2D = frozenset({"26", "103", "104"})
_PREFIXES = {"apo25m": "ap", "apo1m": "ap", "lco25m": "as"}
_SUMMARY_DAILY = frozenset({"confList", "fieldlist", "spAll", "spAll-lite", "spAllLine"})
_SUMMARY_EPOCH = frozenset({"fieldlist_epoch", "spAll_epoch", "spAll-lite_epoch", "spAllLine_epoch"})
_DAILY = frozenset({"specLite", "specFull", "spec", "spAllField", "spAllLineField"})


def is_ungrouped(run2d: str) -> bool:
    """Say whether a BOSS reduction keeps all fields in one folder, as before v6_2."""
    return run2d in LEGACY_RUN2D or run2d.startswith(("v5", "v6_0", "v6_1"))


def _healpixgrp(_product: str, keys: Keys) -> str:
    return str(int(keys["healpix"]) // 1000) if keys["healpix"].isdigit() else "*"


def _groups(identifier: str) -> str:
    """Spread identifiers over 100 x 100 folders by their last four digits."""
    if not identifier.isdigit():
        return "*/*"
    number = int(identifier)
    return f"{number // 100 % 100:02d}/{number % 100:02d}"


def _sdss_id_groups(_product: str, keys: Keys) -> str:
    return _groups(keys["sdss_id"])


def _cat_id_groups(_product: str, keys: Keys) -> str:
    return _groups(keys["cat_id"])


def _component_default(_product: str, keys: Keys) -> str:
    return keys["component"]


def _apgprefix(_product: str, keys: Keys) -> str:
    if keys.get("prefix"):
        return keys["prefix"]
    telescope = keys["telescope"]
    if telescope not in _PREFIXES:
        known = ", ".join(_PREFIXES)
        message = f"telescope {telescope!r} has no file prefix; it must be one of {known}, or give prefix"
        raise ConfigError(message, telescope=telescope)
    return _PREFIXES[telescope]


def _isplate(_product: str, keys: Keys) -> str:
    return "p" if keys["run2d"] in PLATE_RUN2D else ""


def _pad_fieldid(_product: str, keys: Keys) -> str:
    field = keys["fieldid"]
    return field.zfill(6) if field.isdigit() and keys["run2d"] not in PLATE_RUN2D else field


def _fieldgrp(_product: str, keys: Keys) -> str:
    field = keys["fieldid"]
    if is_ungrouped(keys["run2d"]):
        return ""
    return f"{int(field) // 1000:03d}XXX" if field.isdigit() else field


def _sptypefolder(product: str, keys: Keys) -> str:
    run2d = keys["run2d"]
    if run2d in LEGACY_RUN2D or run2d.startswith("v5"):
        return ""
    epoch = "epoch" in product
    if is_ungrouped(run2d):
        in_spectra = product in {
            "specLite_epoch",
            "specFull_epoch",
            "spAllField_epoch",
            "spAllLineField_epoch",
        }
        return ("epoch/spectra" if in_spectra else "epoch") if epoch else ""
    if epoch:
        return "summary/epoch" if product in _SUMMARY_EPOCH else "spectra/epoch"
    if product in _SUMMARY_DAILY:
        return "summary/daily"
    return "daily" if product in _DAILY else "fields"


def _spectrodir(_product: str, keys: Keys) -> str:
    return "$SPECTRO_REDUX" if keys["run2d"] in LEGACY_RUN2D else "$BOSS_SPECTRO_REDUX"


@dataclass(frozen=True)
class PathFunction:
    """One computed part of a path.

    Parameters
    ----------
    keys : tuple of str
        Keys it reads.
    value : callable
        Takes the product name and the keys, returns the part; it may be empty.
    pattern : str
        Regular expression of the part, with the keys that can be read back from it as named groups; that of
        a folder that may be empty has its slash.
    """

    keys: tuple[str, ...]
    value: Callable[[str, Keys], str]
    pattern: str


PATH_FUNCTIONS = {
    "healpixgrp": PathFunction(("healpix",), _healpixgrp, r"\d+"),
    "sdss_id_groups": PathFunction(("sdss_id",), _sdss_id_groups, r"\d\d/\d\d"),
    "cat_id_groups": PathFunction(("cat_id",), _cat_id_groups, r"\d\d/\d\d"),
    "component_default": PathFunction(("component",), _component_default, r"(?P<component>[^/0-9]*)"),
    "apgprefix": PathFunction(("prefix", "telescope"), _apgprefix, r"(?P<prefix>[a-z]+)"),
    "isplate": PathFunction(("run2d",), _isplate, "p?"),
    "pad_fieldid": PathFunction(("fieldid", "run2d"), _pad_fieldid, r"(?P<fieldid>[^/]+?)"),
    "fieldgrp": PathFunction(("fieldid", "run2d"), _fieldgrp, r"(?:[^/]+/)?"),
    "sptypefolder": PathFunction(("run2d",), _sptypefolder, r"(?:[a-z/]+/)?"),
    "spectrodir": PathFunction(("run2d",), _spectrodir, r".*"),
}
