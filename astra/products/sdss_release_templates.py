"""The templates of one SDSS release: ours, and those of sdss-tree for all other products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from astra.errors import ConfigError
from astra.products.sdss_path_functions import PLATE_RUN2D
from astra.products.sdss_path_keys import near_spellings
from astra.products.sdss_path_tables import (
    DEFAULT_VERSIONS,
    RELEASES,
    SDSS_V,
    SP_SPEC_2021,
    SPEC_KINDS,
    roots,
    templates,
)
from astra.products.sdss_path_templates import Template
from astra.products.sdss_tree_files import PACKAGE, TreeRelease

_SPEC_2021 = "spec of 2021"


class ReleaseTemplates:
    """The templates of one release.

    A BOSS spectrum of SDSS-V has no product ``spec`` of its own: what goes by that name is one of
    `SPEC_KINDS`, or for the reductions of the plates the file of the task API of 2021.

    Parameters
    ----------
    release : str
        Name of the release.
    tree : TreeRelease
        What sdss-tree says of it; empty if it is not there.
    environment : mapping
        Folders by name that come before those of the release.
    """

    def __init__(self, release: str, tree: TreeRelease, environment: Mapping[str, str]) -> None:
        self.release = release
        self.defaults: Mapping[str, str] = DEFAULT_VERSIONS.get(release, {})
        self.has_tree = bool(tree.templates)
        own = roots(release) if release in RELEASES else {}
        self.roots = {**tree.roots, **own, **environment}
        self._texts = {**tree.templates, **templates(release)}
        self._made: dict[str, Template] = {}

    def names(self) -> list[str]:
        """Return the names of the products, sorted."""
        return sorted({*self._texts, *(["spec"] if self.release in SDSS_V else [])})

    def has(self, name: str) -> bool:
        """Say whether there is a product."""
        return name in self._texts or self._is_plain_spec(name)

    def keys(self, name: str) -> tuple[str, ...]:
        """Return the keys of a product; ConfigError if there is none of the name."""
        if self._is_plain_spec(name):
            return (*self._template("specFull").keys, "kind")
        return self._template(name).keys

    def of(self, name: str, keys: Mapping[str, Any]) -> Template:
        """Return the template of a product for some keys.

        Raises
        ------
        ConfigError
            If there is no such product, or no such kind of it.
        """
        if not self._is_plain_spec(name):
            return self._template(name)
        chosen = {**self.defaults, **keys}
        kind = str(chosen.get("kind") or "full")
        if kind not in SPEC_KINDS:
            message = f"kind of a spec file must be one of {', '.join(SPEC_KINDS)}, not {kind!r}"
            raise ConfigError(message, kind=kind)
        is_of_2021 = str(chosen.get("run2d")) in PLATE_RUN2D and kind != "lite"
        return self._template(_SPEC_2021 if is_of_2021 else SPEC_KINDS[kind])

    def candidates(self, name: str) -> Iterator[tuple[Template, dict[str, int | str]]]:
        """Yield the templates that a path of a product may have, with the keys that it does not show."""
        if not self._is_plain_spec(name):
            yield self._template(name), {}
            return
        yield self._template(_SPEC_2021), {}
        for kind, product in SPEC_KINDS.items():
            yield self._template(product), {} if kind == "full" else {"kind": kind}

    def _is_plain_spec(self, name: str) -> bool:
        return name == "spec" and self.release in SDSS_V

    def _template(self, name: str) -> Template:
        if name not in self._made:
            if name == _SPEC_2021:
                self._made[name] = Template("spSpec", SP_SPEC_2021, self.roots)
            elif name in self._texts:
                self._made[name] = Template(name, self._texts[name], self.roots)
            else:
                raise self._no_such_product(name)
        return self._made[name]

    def _no_such_product(self, name: str) -> ConfigError:
        names = self.names()
        elsewhere = [release for release in RELEASES if name in templates(release)]
        message = f"{self.release} has no product {name!r}{near_spellings(name, names)}"
        if elsewhere:
            message += f"; it is in {', '.join(elsewhere)}"
        if not self.has_tree:
            message += f"; products beyond {', '.join(names)} need the package {PACKAGE}"
        return ConfigError(message, name=name, release=self.release)
