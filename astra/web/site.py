"""What the live pages have in common: the database, the folders of files, the links; and what a page is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astra.database.read_only import ReadOnlyDatabase
from astra.errors import MissingDataError
from astra.web.filters import Query
from astra.web.links import ServerLinks
from astra.web.live_pictures import LivePictures

FILE_ENDINGS = (
    *(".fits", ".fits.fz", ".fits.gz", ".fit", ".fz", ".png", ".avro"),
    *(".json", ".csv", ".ecsv", ".parquet", ".npz", ".txt", ".toml"),
)


@dataclass(frozen=True)
class Site:
    """What all pages read.

    Parameters
    ----------
    database : ReadOnlyDatabase
        The database.
    root : Path
        Folder of products.
    further_roots : tuple of Path
        Further folders whose files may be shown, as that of the SDSS tree.
    scheduler_url : str
        Address of the scheduler's pages; empty if there is none.
    links : ServerLinks
        Makes addresses.
    pictures : LivePictures
        Pictures that pages have named.
    """

    database: ReadOnlyDatabase
    root: Path
    further_roots: tuple[Path, ...] = ()
    scheduler_url: str = ""
    links: ServerLinks = field(default_factory=ServerLinks)
    pictures: LivePictures = field(default_factory=LivePictures)

    def open_path(self, path: str | Path) -> Path:
        """Return the real path of a recorded file that may be read.

        Raises
        ------
        MissingDataError
            If it is not there, lies outside the folders, or has an ending that no product has.
        """
        given = self.root / path
        real = Path(os.path.realpath(given))
        roots = [Path(os.path.realpath(root)) for root in (self.root, *self.further_roots)]
        if not any(real.is_relative_to(root) for root in roots):
            message = f"file {given.name} lies outside the folders that are shown"
            raise MissingDataError(message)
        if not real.name.lower().endswith(FILE_ENDINGS) or not real.is_file():
            message = f"file {given.name} is not there, or no product"
            raise MissingDataError(message)
        return real


@dataclass(frozen=True)
class Answer:
    """A page: for people, for programs, as a table.

    Parameters
    ----------
    template : str
        Name of the template.
    page : str
        Kind of page, one of `astra.web.links.PAGES`.
    values : mapping
        What the template shows.
    data : object
        What JSON tells.
    rows : sequence of mapping
        The rows of CSV.
    columns : sequence of str
        Its columns.
    scope : mapping
        What the links of the head are about.
    """

    template: str
    page: str
    values: Mapping[str, Any]
    data: Any
    rows: Sequence[Mapping[str, Any]]
    columns: Sequence[str]
    scope: Mapping[str, Any] = field(default_factory=dict)


PageFunction = Callable[[Site, Query, Mapping[str, str]], Answer]
