"""Keys of SDSS paths: their text in a path, their type outside it, and what is said of wrong ones."""

from __future__ import annotations

import numbers
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from astra.errors import ConfigError
from astra.products.sdss_path_functions import is_wild
from astra.products.sdss_path_tables import NUMBER_OR_NAME_KEYS, NUMERIC_KEYS, OPTIONAL_KEYS


def key_text(key: str, value: Any) -> str:
    """Return a key as text; a number loses its leading zeros, a wildcard passes.

    Parameters
    ----------
    key : str
        Its name.
    value : object
        Its value.

    Returns
    -------
    text : str
        Without space around it.

    Raises
    ------
    ConfigError
        If it is no number where it must be one, or would leave its place in the path.
    """
    if isinstance(value, float) and value.is_integer() and key in NUMERIC_KEYS:
        value = int(value)  # as tables with missing values have it
    text = str(value).strip()
    if "/" in text or "\\" in text or text in (".", "..") or not text.isprintable():
        message = f"key {key} must be a single name in a path, not {value!r}"
        raise ConfigError(message, key=key, value=text)
    is_number = text.isascii() and text.isdigit()
    if key in NUMERIC_KEYS and not is_number and not is_wild(text):
        message = f"key {key} must be a non-negative integer, not {value!r}"
        raise ConfigError(message, key=key, value=text)
    if is_number and (
        key in NUMERIC_KEYS or key in NUMBER_OR_NAME_KEYS or isinstance(value, numbers.Integral)
    ):
        return str(int(text))
    return text


def typed_key(key: str, value: str) -> int | str:
    """Return a key read from a path as the type of its parameter.

    Parameters
    ----------
    key : str
        Its name.
    value : str
        As it stands in the path.
    """
    if key in NUMERIC_KEYS:
        return int(value)
    is_number = value.isascii() and value.isdigit()
    return str(int(value)) if is_number and key in NUMBER_OR_NAME_KEYS else value


def require_keys(wanted: Iterable[str], values: Mapping[str, Any], given: Collection[str], what: str) -> None:
    """Refuse to go on without a key, naming all that are missing.

    Parameters
    ----------
    wanted : iterable of str
        Keys of the path.
    values : mapping
        What is known, with defaults.
    given : collection of str
        What has been given.
    what : str
        The path, for the message.

    Raises
    ------
    ConfigError
        If one is missing that has no default.
    """
    wanted = list(wanted)
    missing = [key for key in wanted if key not in values and key not in OPTIONAL_KEYS]
    if not missing:
        return
    one = "key is" if len(missing) == 1 else "keys are"
    message = f"{one} missing for {what}: {', '.join(missing)}"
    unused = [key for key in given if key not in wanted]
    near = {key: get_close_matches(key, missing, 1) for key in unused}
    hints = [f"{key} is no key of it, {found[0]} may be meant" for key, found in near.items() if found]
    raise ConfigError("; ".join([message, *hints]), missing=missing)


def near_spellings(name: str, known: Collection[str]) -> str:
    """Return a clause with the names that may be meant by one, empty if none is near."""
    lower = {one.lower(): one for one in known}
    found = [lower[near] for near in get_close_matches(str(name).lower(), lower, 3, 0.7)]
    return f"; {' or '.join(found)} may be meant" if found else ""
