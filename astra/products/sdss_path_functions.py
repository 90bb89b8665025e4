"""The parts of SDSS paths that are computed from keys, rather than being keys themselves.

Each function takes the product name and the keys as strings and returns a piece of the path. The rules are
those of sdss-access 3.0.11; `PATH_FUNCTIONS` says which keys each one reads, and how it looks in a path. A
wildcard (``*`` or ``?``) in a key gives one that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from astra.errors import ConfigError

Keys = Mapping[str, str]

PLATE_RUN2D = frozenset({"v6_0_1", "v6_0_2", "v6_0_3", "v6_0_4"})
LEGACY_RUN2D = frozenset({"26", "103", "104"})
_PREFIXES = {
    "telescope": {"apo25m": "ap", "apo1m": "ap", "lco25m": "as"},
    "instrument": {"apogee-n": "ap", "apogee-s": "as"},
}
_INSTRUMENTS = {"ap": "apogee-n", "as": "apogee-s"}
_SUMMARY_DAILY = frozenset({"conflist", "fieldlist", "spall", "spall-lite", "spallline"})
_SUMMARY_EPOCH = frozenset({"fieldlist_epoch", "spall_epoch", "spall-lite_epoch", "spallline_epoch"})
_DAILY = frozenset({"speclite", "specfull", "spallfield", "spalllinefield"})
_SPECTRA_EPOCH = frozenset(f"{name}_epoch" for name in _DAILY)
_SUMMARY_COADD = frozenset({"spall_coadd", "spall-lite_coadd", "spallline_coadd"})
_SPECTRA_COADD = frozenset(f"{name}_coadd" for name in _DAILY)


def is_wild(text: str) -> bool:
    """Say whether a key holds a wildcard."""
    return "*" in text or "?" in text


def is_ungrouped(run2d: str) -> bool:
    """Say whether a BOSS reduction keeps all fields in one folder, as before v6_2."""
    return run2d in LEGACY_RUN2D or any(name in run2d for name in ("v5", "v6_0", "v6_1"))


def _number(keys: Keys, name: str) -> int | None:
    """Return a key as a number; None for a wildcard.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    text = keys[name]
    if is_wild(text):
        return None
    if not (text.isascii() and text.isdigit()):
        message = f"key {name} must be a non-negative integer, not {text!r}"
        raise ConfigError(message, key=name, value=text)
    return int(text)


def _grouped(name: str, size: int, digits: int, ending: str) -> Callable[[str, Keys], str]:
    """Return what makes the folder of so many numbers of a key, as 0266XX."""

    def group(_product: str, keys: Keys) -> str:
        number = _number(keys, name)
        return "*" if number is None else f"{number // size:0{digits}d}{ending}"

    return group


def _spread(name: str) -> Callable[[str, Keys], str]:
    """Return what spreads identifiers over 100 x 100 folders by their last four digits."""

    def groups(_product: str, keys: Keys) -> str:
        number = _number(keys, name)
        return "*/*" if number is None else f"{number // 100 % 100:02d}/{number % 100:02d}"

    return groups


def _component_default(_product: str, keys: Keys) -> str:
    component = keys.get("component", "")
    if component[:1].isdigit():
        message = f"component {component!r} must begin with a letter: the number of the star is before it"
        raise ConfigError(message, component=component)
    return component


def _apgprefix(_product: str, keys: Keys) -> str:
    name = "telescope" if "telescope" in keys else "instrument"
    value, known = keys.get(name, ""), _PREFIXES[name]
    if is_wild(value):
        return "a?"
    if value not in known:
        message = f"{name} {value!r} has no file prefix; it must be one of {', '.join(known)}, or give prefix"
        raise ConfigError(message, **{name: value})
    return known[value]


def _prefix(product: str, keys: Keys) -> str:
    return keys.get("prefix") or _apgprefix(product, keys)


def _apginst(product: str, keys: Keys) -> str:
    return _INSTRUMENTS.get(_apgprefix(product, {"telescope": keys["telescope"]}), "apogee-?")


def _isplate(_product: str, keys: Keys) -> str:
    return "p" if keys["run2d"] in PLATE_RUN2D else ""


def _pad_fieldid(_product: str, keys: Keys) -> str:
    field = keys["fieldid"]
    return field.zfill(6) if field.isdigit() and keys["run2d"] not in PLATE_RUN2D else field


def _fieldgrp(_product: str, keys: Keys) -> str:
    field = keys["fieldid"]
    if is_ungrouped(keys["run2d"]):
        return ""
    if is_wild(field):
        return "*"
    return f"{int(field) // 1000:03d}XXX" if field.isdigit() else field


def _sptypefolder(product: str, keys: Keys) -> str:
    run2d, name = keys["run2d"], product.lower()
    if run2d in LEGACY_RUN2D or "v5" in run2d:
        return ""
    if is_ungrouped(run2d):
        if name in _SPECTRA_EPOCH:
            return "epoch/spectra"
        return "epoch" if "epoch" in name else ""
    folders = {"summary/epoch": _SUMMARY_EPOCH, "spectra/epoch": _SPECTRA_EPOCH}
    folders |= {"summary/daily": _SUMMARY_DAILY, "daily": _DAILY}
    return next((folder for folder, names in folders.items() if name in names), "fields")


def _spcoaddfolder(product: str, keys: Keys) -> str:
    if is_ungrouped(keys["run2d"]):
        return ""
    if product.lower() in _SUMMARY_COADD:
        return "summary"
    return keys["coadd"] if product.lower() in _SPECTRA_COADD else "fields"


def _spcoaddgrp(_product: str, keys: Keys) -> str:
    return "" if is_ungrouped(keys["run2d"]) else keys["coadd"]


def _spcoaddobs(_product: str, keys: Keys) -> str:
    obs, run2d = keys.get("obs", "").lower(), keys["run2d"]
    if not obs or (obs == "apo" and ("v6_0" in run2d or "v6_1" in run2d)):
        return ""
    return obs if obs == "*" else f"_{obs}"


def _epochflag(_product: str, keys: Keys) -> str:
    return "" if is_ungrouped(keys["run2d"]) else "-epoch"


def _spectrodir(_product: str, keys: Keys) -> str:
    return "$SPECTRO_REDUX" if keys["run2d"] in LEGACY_RUN2D else "$BOSS_SPECTRO_REDUX"


def _plateid6(_product: str, keys: Keys) -> str:
    number = _number(keys, "plateid")
    return "*" if number is None else f"{number:06d}"


def _plategrp(product: str, keys: Keys) -> str:
    return _grouped("plate" if "plate" in keys else "plateid", 100, 4, "XX")(product, keys)


def _platedir(product: str, keys: Keys) -> str:
    group = _grouped("plateid", 100, 4, "XX")(product, keys)
    return f"{group}/{_plateid6(product, keys)}"


def _numbered(digits: int) -> Callable[[str, Keys], str]:
    """Return what makes the number of a part of a targeting catalogue; tables of Parquet have no parts."""

    def number(_product: str, keys: Keys) -> str:
        if keys.get("ftype", "fits").lower() == "parquet":
            return ""
        value = _number(keys, "num") if "num" in keys else 0
        return "-*" if value is None else f"-{value:0{digits}d}" if value else ""

    return number


@dataclass(frozen=True)
class PathFunction:
    """One computed part of a path.

    Parameters
    ----------
    keys : tuple of str
        Keys it reads, beside those of the template that it finds by itself.
    value : callable
        Takes the product name and the keys, returns the part; it may be empty.
    pattern : str
        Regular expression of the part, with the keys that can be read back from it as named groups.
    may_be_no_folder : bool
        Whether an empty part takes its slash with it.
    again : str
        Pattern where its group has been met before; empty if that is the plain reference to it.
    """

    keys: tuple[str, ...]
    value: Callable[[str, Keys], str]
    pattern: str
    may_be_no_folder: bool = False
    again: str = ""


_PART = r"(?:-0*(?P<num>\d+))?"
_OBS_AGAIN = "(?(obs)_(?P=obs))"
PATH_FUNCTIONS = {
    "apginst": PathFunction(("telescope",), _apginst, "apogee-[ns]"),
    "apgprefix": PathFunction((), _apgprefix, "a[ps]"),
    "cat_id_groups": PathFunction(("cat_id",), _spread("cat_id"), r"\d\d/\d\d"),
    "component_default": PathFunction(
        ("component",), _component_default, r"(?P<component>(?:[^/0-9][^/]*?)?)"
    ),
    "configgrp": PathFunction(("configid",), _grouped("configid", 100, 4, "XX"), r"\d+XX"),
    "configsubmodule": PathFunction(("configid",), _grouped("configid", 1000, 3, "XXX"), r"\d+XXX"),
    "definitiondir": PathFunction(("designid",), _grouped("designid", 100, 4, "XX"), r"\d+XX"),
    "epochflag": PathFunction(("run2d",), _epochflag, "(?:-epoch)?"),
    "fieldgrp": PathFunction(("fieldid", "run2d"), _fieldgrp, "[^/]+", may_be_no_folder=True),
    "healpixgrp": PathFunction(("healpix",), _grouped("healpix", 1000, 1, ""), r"\d+"),
    "isplate": PathFunction(("run2d",), _isplate, "p?"),
    "mos_target_num": PathFunction(("ftype", "num"), _numbered(1), _PART),
    "mos_target_num2": PathFunction(("ftype", "num"), _numbered(2), _PART),
    "mos_target_num3": PathFunction(("ftype", "num"), _numbered(3), _PART),
    "pad_fieldid": PathFunction(("fieldid", "run2d"), _pad_fieldid, r"(?P<fieldid>[^/]+?)"),
    "platedir": PathFunction(("plateid",), _platedir, r"\d+XX/(?P<plateid>\d{6,})"),
    "plategrp": PathFunction((), _plategrp, r"\d+XX"),
    "plateid6": PathFunction(("plateid",), _plateid6, r"(?P<plateid>\d{6,})"),
    "prefix": PathFunction(("prefix",), _prefix, r"(?P<prefix>[a-z]+)"),
    "sdss_id_groups": PathFunction(("sdss_id",), _spread("sdss_id"), r"\d\d/\d\d"),
    "spcoaddfolder": PathFunction(("run2d",), _spcoaddfolder, "[^/]+", may_be_no_folder=True),
    "spcoaddgrp": PathFunction(("run2d",), _spcoaddgrp, "[^/]+", may_be_no_folder=True),
    "spcoaddobs": PathFunction(("obs", "run2d"), _spcoaddobs, "(?:_(?P<obs>[a-z0-9]+))?", again=_OBS_AGAIN),
    "spectrodir": PathFunction(("run2d",), _spectrodir, ""),
    "sptypefolder": PathFunction(("run2d",), _sptypefolder, "[a-z]+(?:/[a-z]+)?", may_be_no_folder=True),
    "tilegrp": PathFunction(("tileid",), _grouped("tileid", 1000, 4, "XX"), r"\d+XX"),
}
