"""Names of SDSS products: from keys to a path or an address, and back.

`SdssPath` keeps everything in the instance, so that paths of two releases can be made side by side; it reads
``SAS_BASE_DIR`` once, and neither creates a folder nor changes the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import normpath
from string import Formatter
from typing import Any

from astra.errors import ConfigError
from astra.products.sdss_path_functions import PATH_FUNCTIONS, PLATE_RUN2D
from astra.products.sdss_path_tables import (
    ALIASES,
    NUMERIC_KEYS,
    OPTIONAL_KEYS,
    RELEASES,
    SDSS_V,
    SP_SPEC_2021,
    roots,
    templates,
)

PUBLIC_DOMAIN = "data.sdss.org"
COLLABORATION_DOMAIN = "data.sdss5.org"
MIRROR_DOMAIN = "data.mirror.sdss.org"
_OPTIONAL_FOLDERS = {"sptypefolder()", "fieldgrp()"}
COMPRESSIONS = (".gz", ".bz2", ".zip", ".fz")


def available_releases() -> tuple[str, ...]:
    """Return the names of the releases whose paths are known; ``sdss5`` and ``work`` mean ``sdsswork``."""
    return RELEASES


def release_of(location: str) -> str | None:
    """Return the release that a path below the SAS belongs to.

    Parameters
    ----------
    location : str
        Relative path, as `SdssPath.location` makes it.

    Returns
    -------
    release : str or None
        None if its first folder is none of a known release.
    """
    name = normpath(location).split("/")[0].replace("ipl-", "ipl")
    return name if name in RELEASES else None


class SdssPath:
    """Paths of the spectral products of one SDSS release.

    Parameters
    ----------
    release : str
        Release name, as ``dr17``, ``ipl3`` or ``sdss5``, in either case of letters.
    sas_base_dir : str or Path, optional
        Root of the local copy of the Science Archive Server; by default that of the environment variable
        ``SAS_BASE_DIR``, and ``~/sas`` where it is not set. It need not exist.
    public : bool, optional
        Whether the address is that of the public server. Data releases always are.
    mirror : bool, optional
        Whether the address is that of the public server's mirror.

    Raises
    ------
    ConfigError
        If there is no such release.
    """

    def __init__(
        self,
        release: str,
        sas_base_dir: str | Path | None = None,
        public: bool = False,
        mirror: bool = False,
    ) -> None:
        name = str(release).lower()
        self.release = ALIASES.get(name, name)
        if self.release not in RELEASES:
            known = ", ".join((*RELEASES, *ALIASES))
            message = f"SDSS release {release!r} is not known; it must be one of {known}"
            raise ConfigError(message, release=release)
        self.public = bool(public) or self.release.startswith("dr")
        self.domain = PUBLIC_DOMAIN if self.public else COLLABORATION_DOMAIN
        if mirror and self.public:
            self.domain = MIRROR_DOMAIN
        self.sas_base_dir = str(sas_base_dir or os.environ.get("SAS_BASE_DIR") or Path.home() / "sas")
        self._templates = templates(self.release)
        self._roots = roots(self.release)

    def __repr__(self) -> str:
        return f"SdssPath({self.release!r}, sas_base_dir={self.sas_base_dir!r}, public={self.public})"

    def lookup_names(self) -> list[str]:
        """Return the names of the products that this release has, sorted."""
        return sorted(self._templates)

    def lookup_keys(self, name: str) -> list[str]:
        """Return the keys that the path of a product takes.

        Parameters
        ----------
        name : str
            Product name.

        Returns
        -------
        keys : list of str
            In the order of the path. ``apstar``, ``component`` and ``prefix`` may be left out.

        Raises
        ------
        ConfigError
            If this release has no such product.
        """
        return list(dict.fromkeys(_template_keys(self._template(name))))

    def location(self, name: str, /, **keys: Any) -> str:
        """Return the path of a product below the SAS; the file system is not looked at.

        Parameters
        ----------
        name : str
            Product name.
        **keys
            Values of `lookup_keys`, numbers as int or str; others are ignored.

        Returns
        -------
        location : str
            Relative path.

        Raises
        ------
        ConfigError
            If this release has no such product, or a key is missing or not a number where it must be.
        """
        texts = self._complete(name, keys)
        template = self._template(name, texts.get("run2d", ""))
        filled = "".join(_render(name, part, texts) for part in Formatter().parse(template))
        return normpath(self._expand(filled))

    def full(self, name: str, /, **keys: Any) -> str:
        """Return the local path of a product.

        Parameters
        ----------
        name : str
            Product name.
        **keys
            As for `location`.

        Returns
        -------
        path : str
            Absolute if the SAS root is. If there is no such file, but a compressed or uncompressed form of
            it, that one.

        Raises
        ------
        ConfigError
            As for `location`.
        """
        return _existing_sibling(os.path.join(self.sas_base_dir, self.location(name, **keys)))

    def url(self, name: str, /, **keys: Any) -> str:
        """Return the address of a product on the Science Archive Server.

        Parameters
        ----------
        name : str
            Product name.
        **keys
            As for `location`.

        Returns
        -------
        url : str
            Address; nothing is fetched.

        Raises
        ------
        ConfigError
            As for `location`.
        """
        return f"https://{self.domain}/sas/{self.location(name, **keys)}"

    def extract(self, name: str, path: str | Path) -> dict[str, int | str]:
        """Return the keys of a product from its path.

        Parameters
        ----------
        name : str
            Product name.
        path : str or Path
            Local path, address, or path below the SAS; compressed or not.

        Returns
        -------
        keys : dict
            `location` of them is the path again. Fibers, nights and identifiers are int, the rest str.

        Raises
        ------
        ConfigError
            If this release has no such product, or the path is not of one.
        """
        location = self._below_sas(str(path))
        candidates = [self._template(name)]
        if name == "spec" and self.release in SDSS_V:
            candidates.append(SP_SPEC_2021)
        for template in candidates:
            match = re.fullmatch(self._pattern(template), location)
            if match:
                keys = {key: _typed(key, value) for key, value in match.groupdict().items()}
                if self.location(name, **keys) == location:
                    return keys
        message = f"{path} is not the path of a {name} file of {self.release}"
        raise ConfigError(message, path=str(path), name=name, release=self.release)

    def _template(self, name: str, run2d: str = "") -> str:
        if name not in self._templates:
            known = ", ".join(self.lookup_names())
            message = f"{self.release} has no product {name!r}; it has {known}"
            raise ConfigError(message, name=name, release=self.release)
        if name == "spec" and self.release in SDSS_V and run2d in PLATE_RUN2D:
            return SP_SPEC_2021
        return self._templates[name]

    def _complete(self, name: str, keys: dict[str, Any]) -> dict[str, str]:
        """Return the keys of a product as text, with defaults; say all that are missing at once."""
        given = {key: value for key, value in keys.items() if value is not None and value != ""}
        if "fieldid" not in given and "plate" in given:
            given["fieldid"] = given["plate"]  # the task API of 2021 calls the field of BOSS its plate
        wanted = self.lookup_keys(name)
        missing = [key for key in wanted if key not in given and key not in OPTIONAL_KEYS]
        if missing:
            one = "key is" if len(missing) == 1 else "keys are"
            message = f"{one} missing for a {name} path of {self.release}: {', '.join(missing)}"
            raise ConfigError(message, name=name, release=self.release, missing=missing)
        chosen = {key: given.get(key, OPTIONAL_KEYS.get(key)) for key in wanted}
        return {key: _text(key, value) for key, value in chosen.items() if value is not None}

    def _expand(self, path: str) -> str:
        return re.sub(r"\$(\w+)", lambda match: self._roots[match.group(1)], path)

    def _below_sas(self, path: str) -> str:
        """Strip the local root or the server, and a compression."""
        root = self.sas_base_dir.rstrip("/") + "/"
        path = path.removeprefix(root) if path.startswith(root) else re.sub(r"^https?://[^/]+/sas/", "", path)
        return normpath(_uncompressed(path))

    def _pattern(self, template: str) -> str:
        """Return the regular expression of a template; an empty part takes its slash with it."""
        seen: set[str] = set()
        pieces: list[str] = []
        after_folder = False
        for literal, field, _, _ in Formatter().parse(template):
            text = self._expand(literal)
            pieces.append(re.escape(text[1:] if after_folder else text))
            after_folder = bool(field) and field in _OPTIONAL_FOLDERS
            if field:
                pieces.append(_field_pattern(field, seen))
        return "".join(pieces)


def _template_keys(template: str) -> Iterator[str]:
    """Yield the keys of a template, those that its functions read among them."""
    for _, field, _, _ in Formatter().parse(template):
        if field and field.endswith("()"):
            yield from PATH_FUNCTIONS[field[:-2]].keys
        elif field:
            yield field


def _render(name: str, part: tuple[str, str | None, str | None, str | None], keys: dict[str, str]) -> str:
    """Fill one part of a template, as `string.Formatter.parse` splits it."""
    literal, field, width, _ = part
    if not field:
        return literal
    if field.endswith("()"):
        return literal + PATH_FUNCTIONS[field[:-2]].value(name, keys)
    value = keys[field]
    return literal + (value.zfill(int(width)) if width and value.isdigit() else value)


def _text(key: str, value: Any) -> str:
    """Return a key as text; a number loses its leading zeros, a wildcard passes."""
    text = str(value).strip()
    if key not in NUMERIC_KEYS or "*" in text or "?" in text:
        return text
    if not text.isdigit():
        message = f"key {key} must be a non-negative integer, not {value!r}"
        raise ConfigError(message, key=key, value=text)
    return str(int(text))


def _typed(key: str, value: str) -> int | str:
    """Return a key read from a path as the type of its parameter."""
    if key in NUMERIC_KEYS:
        return int(value)
    return (value.lstrip("0") or "0") if key == "fieldid" and value.isdigit() else value


def _field_pattern(field: str, seen: set[str]) -> str:
    """Return the pattern of a key or function; what was seen before must be the same again."""
    if field.endswith("()"):
        pattern = PATH_FUNCTIONS[field[:-2]].pattern
    else:
        pattern = f"(?P<{field}>{'[0-9]+' if field in NUMERIC_KEYS else '[^/]+?'})"
    group = re.search(r"\(\?P<(\w+)>", pattern)
    if not group:
        return pattern
    if group.group(1) in seen:
        return f"(?P={group.group(1)})"
    seen.add(group.group(1))
    return pattern


def _uncompressed(path: str) -> str:
    for ending in COMPRESSIONS:
        if path.endswith(ending):
            return path.removesuffix(ending)
    return path


def _existing_sibling(path: str) -> str:
    """Return the file itself, or that form of it which exists."""
    if os.path.exists(path):
        return path
    plain = _uncompressed(path)
    candidates = (plain, *(plain + ending for ending in COMPRESSIONS))
    return next((candidate for candidate in candidates if os.path.exists(candidate)), path)
