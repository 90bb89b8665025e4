"""Names of SDSS products: from keys to a path or an address, and back.

`SdssPath` keeps everything in the instance, so that paths of two releases can be made side by side; it reads
``SAS_BASE_DIR`` once, and neither creates a folder nor changes the environment. The products of
`astra.products.sdss_path_tables` are always there, all others where the files of sdss-tree are.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from posixpath import isabs, normpath
from typing import Any
from urllib.parse import quote, unquote

from astra.errors import ConfigError
from astra.products.sdss_path_functions import is_wild
from astra.products.sdss_path_keys import key_text, near_spellings, require_keys, typed_key
from astra.products.sdss_path_tables import ALIASES, DEFAULT_VERSIONS, OPTIONAL_KEYS, RELEASES
from astra.products.sdss_path_templates import COMPRESSIONS, uncompressed
from astra.products.sdss_release_templates import ReleaseTemplates
from astra.products.sdss_tree_files import TreeRelease, read_tree, tree_folder, tree_releases

PUBLIC_DOMAIN = "data.sdss.org"
COLLABORATION_DOMAIN = "data.sdss5.org"
MIRROR_DOMAIN = "data.mirror.sdss.org"
RSYNC_DOMAIN = "dtn.sdss.org"


def available_releases() -> tuple[str, ...]:
    """Return the names of the releases whose paths are known; ``sdss5`` and ``work`` mean ``sdsswork``."""
    return RELEASES


def default_versions(release: str) -> Mapping[str, str]:
    """Return the versions that are meant where none is named; none of a release that is not known."""
    return DEFAULT_VERSIONS.get(_plain_release(release), {})


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


def file_or_sibling(path: str) -> str:
    """Return a path, or that compressed or uncompressed form of it which exists where it does not."""
    if os.path.exists(path):
        return path
    plain = uncompressed(path)
    candidates = (plain, *(plain + ending for ending in COMPRESSIONS))
    return next((candidate for candidate in candidates if os.path.exists(candidate)), path)


class SdssPath:
    """Paths of the products of one SDSS release.

    Parameters
    ----------
    release : str
        Release name, as ``dr17``, ``ipl3``, ``IPL-3`` or ``sdss5``, in either case of letters.
    sas_base_dir : str or Path, optional
        Root of the local copy of the Science Archive Server; by default that of the environment variable
        ``SAS_BASE_DIR``, and ``~/sas`` where it is not set. It need not exist.
    public : bool, optional
        Whether the address is that of the public server. Data releases always are.
    mirror : bool, optional
        Whether the address is that of the public server's mirror.
    server : str, optional
        Address in place of that of SDSS, below which the files are: of a mirror of one's own.
    rsync_server : str, optional
        The same for rsync, as ``rsync://host:port``.
    tree_dir : str or Path, optional
        Folder of the files of sdss-tree (``sdsswork.cfg``, ...); by default that below ``TREE_DIR`` of the
        environment, else that of the installed package, if there is one.
    use_environment : bool, optional
        Whether folders like ``APOGEE_REDUX`` are those of the environment, where it has them.

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
        *,
        server: str = "",
        rsync_server: str = "",
        tree_dir: str | Path | None = None,
        use_environment: bool = False,
    ) -> None:
        folder = Path(tree_dir) if tree_dir else tree_folder()
        self.release = _known_release(release, folder)
        self.public = bool(public) or self.release.startswith("dr")
        domain = PUBLIC_DOMAIN if self.public else COLLABORATION_DOMAIN
        if not self.public and self.release.startswith("mpl"):
            domain = PUBLIC_DOMAIN
        self.domain = MIRROR_DOMAIN if mirror and self.public else domain
        self.server = (server or f"https://{self.domain}/sas").rstrip("/")
        user = "" if self.public else "sdss5@" if domain == COLLABORATION_DOMAIN else "sdss@"
        self.rsync_server = (rsync_server or f"rsync://{user}{RSYNC_DOMAIN}").rstrip("/")
        self.sas_base_dir = str(sas_base_dir or os.environ.get("SAS_BASE_DIR") or Path.home() / "sas")
        tree = read_tree(folder, self.release) if folder else TreeRelease({}, {})
        environment = dict(os.environ) if use_environment else {}
        self._products = ReleaseTemplates(self.release, tree, environment)

    def __repr__(self) -> str:
        return f"SdssPath({self.release!r}, sas_base_dir={self.sas_base_dir!r}, public={self.public})"

    @property
    def defaults(self) -> Mapping[str, str]:
        """Versions that are meant where none is named: apred, aspcap, run2d and v_astra."""
        return self._products.defaults

    def lookup_names(self) -> list[str]:
        """Return the names of the products that this release has, sorted."""
        return self._products.names()

    def has_name(self, name: str) -> bool:
        """Say whether this release has a product."""
        return self._products.has(name)

    def lookup_keys(self, name: str) -> list[str]:
        """Return the keys that the path of a product takes.

        Parameters
        ----------
        name : str
            Product name.

        Returns
        -------
        keys : list of str
            In the order of the path. ``apstar``, ``component``, ``kind``, ``num``, ``obs`` and ``prefix`` may
            be left out, and so may the versions of `defaults`.

        Raises
        ------
        ConfigError
            If this release has no such product.
        """
        return list(self._products.keys(name))

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
            If this release has no such product; if a key is missing, is not a number where it must be, or
            holds what would leave its place in the path; if the product is not below the SAS.
        """
        found = self._path(name, keys)
        if isabs(found):
            message = f"{found} is not below the SAS: it has neither location nor address"
            raise ConfigError(message, name=name, path=found)
        return found

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
        return file_or_sibling(os.path.join(self.sas_base_dir, self._path(name, keys)))

    def url(self, name: str, /, **keys: Any) -> str:
        """Return the address of a product on the Science Archive Server; nothing is fetched.

        Arguments and errors are those of `location`.
        """
        return self.address(self.location(name, **keys))

    def address(self, location: str) -> str:
        """Return the address of a path below the SAS."""
        return f"{self.server}/{quote(location, safe='/+:@*,;=~!$&()')}"

    def dir(self, name: str, /, **keys: Any) -> str:
        """Return the local folder of a product; arguments and errors are those of `location`."""
        return os.path.dirname(self.full(name, **keys))

    def name(self, name: str, /, **keys: Any) -> str:
        """Return the file name of a product; arguments and errors are those of `location`."""
        return os.path.basename(self.full(name, **keys))

    def exists(self, name: str, /, remote: bool = False, **keys: Any) -> bool:
        """Say whether a product is there.

        Parameters
        ----------
        name : str
            Product name.
        remote : bool, optional
            Ask the server, rather than looking for the file here, compressed or not.
        **keys
            As for `location`.

        Raises
        ------
        ConfigError
            As for `location`; if the server wants a login.
        DataError
            If the server does not answer.
        """
        if not remote:
            return os.path.isfile(self.full(name, **keys))
        from astra.products.download import exists_remotely

        return exists_remotely(self.url(name, **keys))

    def expand(self, name: str, /, **keys: Any) -> list[str]:
        """Return the files of a product that are here.

        Parameters
        ----------
        name : str
            Product name.
        **keys
            As for `location`; ``*`` and ``?`` in a value stand for anything, and a key that is left out,
            without a default, for any value.

        Returns
        -------
        paths : list of str
            Sorted; a compressed file only where the uncompressed one is not here.

        Raises
        ------
        ConfigError
            As for `location`, but for missing keys.
        """
        given = {key: value for key, value in keys.items() if value is not None and value != ""}
        known = {*given, *self.defaults, *OPTIONAL_KEYS, *({"fieldid"} if "plate" in given else ())}
        given |= {key: "*" for key in self.lookup_keys(name) if key not in known}
        found: dict[str, str] = {}
        for run2d in self._reductions(name, given):
            values = given | run2d
            template = self._products.of(name, values)
            for candidate in _matches(self.sas_base_dir, self._path(name, values)):
                plain = uncompressed(candidate)
                if template.read(plain) is not None and found.get(plain) != plain:
                    found[plain] = candidate
        return sorted(os.path.join(self.sas_base_dir, path) for path in found.values())

    def any(self, name: str, /, **keys: Any) -> bool:
        """Say whether `expand` finds anything."""
        return bool(self.expand(name, **keys))

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
            `location` of them is the path again. Fibers, nights and identifiers are int, the rest str;
            ``kind`` is left out if it is that of no choice.

        Raises
        ------
        ConfigError
            If this release has no such product, or the path is not of one.
        """
        location = self._below_sas(uncompressed(str(path)))
        reason = f"is not the path of a {name} file of {self.release}"
        for template, fixed in self._products.candidates(name):
            found = template.read(location)
            hidden = [key for key in template.keys if key not in {*(found or ()), *OPTIONAL_KEYS}]
            if found is not None and hidden:
                reason = f"does not show the key {hidden[0]} of a {name} file of {self.release}"
            elif found is not None:
                keys = {key: typed_key(key, value) for key, value in found.items()} | fixed
                if uncompressed(self._path(name, keys)) == location:
                    return keys
        message = f"{path} {reason}"
        raise ConfigError(message, path=str(path), name=name, release=self.release)

    def _path(self, name: str, keys: Mapping[str, Any]) -> str:
        """Return the path of a product: relative, or absolute if it is not below the SAS."""
        given = {key: value for key, value in keys.items() if value is not None and value != ""}
        if "fieldid" not in given and "plate" in given:
            given["fieldid"] = given["plate"]  # the task API of 2021 calls the field of BOSS its plate
        wanted = self.lookup_keys(name)
        values = {**OPTIONAL_KEYS, **self.defaults, **given}
        require_keys(wanted, values, given, f"a {name} path of {self.release}")
        texts = {key: key_text(key, values[key]) for key in wanted if values.get(key) is not None}
        return self._products.of(name, texts).render(texts)

    def _below_sas(self, path: str) -> str:
        """Strip the local root or the server."""
        root = self.sas_base_dir.rstrip("/") + "/"
        for top in (root, self.server + "/"):
            if path.startswith(top):
                rest = path.removeprefix(top)
                return normpath(rest if top == root else unquote(rest))
        found = re.match(r"https?://[^/]+/sas/(.*)", path, re.DOTALL)
        return normpath(unquote(found[1]) if found else path)

    def _reductions(self, name: str, keys: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return what ``run2d`` may be if it is a wildcard: the folders of a path depend on it."""
        wanted = str(keys.get("run2d") or "")
        if not is_wild(wanted) or "run2d" not in self.lookup_keys(name):
            return [{}]
        tops = {self._products.roots.get(top) for top in ("BOSS_SPECTRO_REDUX", "SPECTRO_REDUX")} - {None}
        names: set[str] = set()
        for top in tops:
            folder = Path(self.sas_base_dir, str(top))
            names |= {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        return [{"run2d": found} for found in sorted(names) if fnmatchcase(found, wanted.replace("[", "[[]"))]


def _plain_release(release: str) -> str:
    name = str(release).strip().lower().replace("-", "")
    return ALIASES.get(name, name)


def _known_release(release: str, folder: Path | None) -> str:
    """Return the name of a release as the tables have it."""
    name = _plain_release(release)
    if name in RELEASES:
        return name
    others = tree_releases(folder) if folder else []
    if name in others:
        return name
    known = [*RELEASES, *ALIASES, *(other for other in others if other not in RELEASES)]
    message = (
        f"SDSS release {release!r} is not known{near_spellings(name, known)}; it must be one of "
        f"{', '.join(known)}"
    )
    raise ConfigError(message, release=release)


def _matches(root: str, path: str) -> list[str]:
    """Return the files that a path with wildcards stands for, below a root; then their other forms."""
    plain = uncompressed(path)
    forms = dict.fromkeys([path, plain, *(plain + ending for ending in COMPRESSIONS)])
    escaped = (form.replace("[", "[[]") for form in forms)
    found = [match for form in escaped for match in glob.glob(form, root_dir=root)]
    return [match for match in found if os.path.isfile(os.path.join(root, match))]
