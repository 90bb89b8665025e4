"""Templates of SDSS paths: what stands in them, filling them in, and reading keys back.

The spelling is that of sdss-tree: ``$NAME`` is a folder, ``{key}`` or ``{key:format}`` a key, ``@name|`` a
function of `astra.products.sdss_path_functions`. All names of folders are resolved when a template is made,
so that nothing in a key can stand for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from posixpath import normpath

from astra.errors import ConfigError
from astra.products.sdss_path_functions import PATH_FUNCTIONS, is_wild
from astra.products.sdss_path_tables import NUMERIC_KEYS

COMPRESSIONS = (".gz", ".bz2", ".zip", ".fz")
_TOKEN = re.compile(r"@(?P<function>\w+)\||\{(?P<key>[^{}:]+)(?::(?P<format>[^{}]*))?\}")
_FOLDER = re.compile(r"\$(\w+)")
_DEEPEST = 20  # folders that stand in folders


def expand_folders(text: str, roots: Mapping[str, str]) -> str:
    """Return a template with the folders that ``$NAME`` stands for, as far as they are known."""
    for _ in range(_DEEPEST):
        expanded = _FOLDER.sub(lambda match: roots.get(match[1].upper(), match[0]), text)
        if expanded == text:
            break
        text = expanded
    return text


@dataclass(frozen=True)
class Part:
    """A piece of a template.

    Parameters
    ----------
    kind : str
        ``literal``, ``key`` or ``function``.
    text : str
        The literal, or the name of the key or the function.
    format : str
        Format of a key.
    """

    kind: str
    text: str
    format: str = ""


class Template:
    """The template of one product of one release.

    Parameters
    ----------
    product : str
        Name that its functions know the product by.
    text : str
        The template.
    roots : mapping
        Folder below the SAS by name, which may begin with others; absolute where it is not below it.

    Raises
    ------
    ConfigError
        If it has a function that is not known.
    """

    def __init__(self, product: str, text: str, roots: Mapping[str, str]) -> None:
        self.product = product
        self.roots = roots
        self.text = re.sub("/{2,}", "/", expand_folders(text, roots)).removeprefix("./")
        self.parts = tuple(_parts(self.text))
        unknown = [part.text for part in self.parts if _is_unknown(part)]
        if unknown:
            message = f"the path of {product} needs the function {unknown[0]}, which astra does not know"
            raise ConfigError(message, product=product, function=unknown[0])

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Keys that it takes, in order, those of its functions among them."""
        found: list[str] = []
        for part in self.parts:
            if part.kind == "key":
                found.append(part.text)
            elif part.kind == "function":
                found += PATH_FUNCTIONS[part.text].keys
        return tuple(dict.fromkeys(found))

    def render(self, keys: Mapping[str, str]) -> str:
        """Return the path for some keys.

        Parameters
        ----------
        keys : mapping of str to str
            Text of each key. One with a wildcard is not formatted.

        Returns
        -------
        path : str
            Below the SAS, or absolute.

        Raises
        ------
        ConfigError
            If a key is not as a format or a function needs it, or a folder is not known.
        """
        path = normpath("".join(self._filled(part, keys) for part in self.parts))
        if "$" in path and (unknown := _FOLDER.search(self.text)):
            message = (
                f"the path of {self.product} begins with ${unknown[1]}, which is not below the SAS;"
                " set it in the environment and ask with use_environment=True"
            )
            raise ConfigError(message, product=self.product, folder=unknown[1])
        return path

    def read(self, path: str) -> dict[str, str] | None:
        """Return the keys that stand in a path, without the zeros that it has added; None if it is another's.

        Parameters
        ----------
        path : str
            As `render` makes it, without compression.
        """
        match = self.pattern.fullmatch(path)
        if match is None:
            return None
        found = {key: match.groupdict().get(_group(key)) for key in self.keys}
        return {key: value for key, value in found.items() if value is not None}

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Regular expression of its paths, without compression, with the keys as groups."""
        seen: set[str] = set()
        pieces: list[str] = []
        after_folder = False
        for place, part in enumerate(self.parts, start=1):
            if part.kind == "literal":
                text = uncompressed(part.text) if place == len(self.parts) else part.text
                pieces.append(re.escape(text.removeprefix("/") if after_folder else text))
                after_folder = False
                continue
            after_folder = part.kind == "function" and PATH_FUNCTIONS[part.text].may_be_no_folder
            pieces.append(self._part_pattern(part, seen))
        return re.compile("".join(pieces))

    def _filled(self, part: Part, keys: Mapping[str, str]) -> str:
        if part.kind == "literal":
            return part.text
        if part.kind == "function":
            value = PATH_FUNCTIONS[part.text].value(self.product, keys)
            return expand_folders(value, self.roots) if part.text == "spectrodir" else value
        return _formatted(part, keys[part.text])

    def _part_pattern(self, part: Part, seen: set[str]) -> str:
        """Return the pattern of a key or function; what was seen before must be the same again."""
        again = ""
        if part.text == "spectrodir":
            names = ("$BOSS_SPECTRO_REDUX", "$SPECTRO_REDUX")
            return f"(?:{'|'.join(re.escape(expand_folders(name, self.roots)) for name in names)})"
        if part.kind == "function":
            function = PATH_FUNCTIONS[part.text]
            pattern, again = function.pattern, function.again
            pattern = f"(?:{pattern}/)?" if function.may_be_no_folder else pattern
        elif "." in part.format:
            return "[^/]*?"  # cut short: another place has it whole
        else:
            pattern = f"(?P<{_group(part.text)}>{'[0-9]+' if part.text in NUMERIC_KEYS else '[^/]+?'})"
        filling = "0*" if part.format.startswith("0") else ""
        group = re.search(r"\(\?P<(\w+)>", pattern)
        if not group:
            return pattern
        if group[1] in seen:
            return again or f"{filling}(?P={group[1]})"
        seen.add(group[1])
        return filling + pattern


def uncompressed(path: str) -> str:
    """Return the name of a file without the ending of a compression."""
    for ending in COMPRESSIONS:
        if path.endswith(ending):
            return path.removesuffix(ending)
    return path


def _parts(text: str) -> Iterator[Part]:
    end = 0
    for match in _TOKEN.finditer(text):
        if match.start() > end:
            yield Part("literal", text[end : match.start()])
        end = match.end()
        if match["function"]:
            yield Part("function", match["function"])
        else:
            yield Part("key", match["key"], match["format"] or "")
    if end < len(text):
        yield Part("literal", text[end:])


def _group(key: str) -> str:
    """Return the name of the group of a key."""
    return re.sub(r"\W", "_", key)


def _is_unknown(part: Part) -> bool:
    return part.kind == "function" and part.text not in PATH_FUNCTIONS


def _formatted(part: Part, text: str) -> str:
    """Return a key in the format that its place asks for."""
    if not part.format or is_wild(text):
        return text
    try:
        return format(int(text) if part.format[-1] in "bdoxX" else text, part.format)
    except ValueError as exc:
        message = f"key {part.text} must fit the format {part.format!r}, but is {text!r}"
        raise ConfigError(message, key=part.text, value=text) from exc
