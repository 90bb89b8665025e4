"""What was observed in a night: by the survey's summary files, by a table of one's own, or by the tree.

No database is asked. A row is a mapping of the keys of a file's path, under the names of the task API.
"""

from __future__ import annotations

import csv
import glob
import io
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from astra.errors import ConfigError, FormatError
from astra.products.atomic import write_text
from astra.products.parameter_tables import read_parameter_table
from astra.products.sdss_path_templates import COMPRESSIONS
from astra.products.sdss_paths import SdssPath
from astra.products.summary_files import (
    SPECTRUM_COLUMNS,
    STAR_COLUMNS,
    VISIT_COLUMNS,
    SummaryTable,
    open_summary,
    rows_of,
)
from astra.products.survey_fits import read_primary_cards

Row = dict[str, Any]

VISIT_KEYS = ("fiber", "plate", "mjd", "telescope", "field", "apred")
STAR_KEYS = ("apred", "healpix", "telescope", "obj", "apstar")
SPECTRUM_KEYS = ("catalogid", "mjd", "plate", "run2d")
SPECTRUM_IV_KEYS = ("plateid", "fiberid", "mjd", "run2d")
_MWM = "mwm_"


@dataclass(frozen=True)
class NightFile:
    """One file of a night, or an earlier visit of a star that was seen in it.

    Parameters
    ----------
    product : str
        As in the survey's paths.
    path : str
        Below the SDSS tree, or absolute.
    mjd : int
        Night of the observation, SDSS MJD.
    obj : str
        Name of the star, for visits; empty if unknown.
    """

    product: str
    path: str
    mjd: int
    obj: str = ""


# -- summary files ------------------------------------------------------------------------------------------


def open_summaries(paths: Iterable[str | Path], kind: str) -> list[SummaryTable]:
    """Open those of some summary files that are of a kind: ``allVisit``, ``allStar`` or ``spAll``.

    Raises
    ------
    MissingDataError
        If one is not there.
    FormatError
        If one is no summary file.
    """
    tables = [open_summary(path) for path in paths]
    unknown = [str(table.path) for table in tables if not table.kind]
    if unknown:
        message = f"{unknown[0]} is none of allVisit, allStar and spAll: it has not the columns of any"
        raise FormatError(message, path=unknown[0])
    return [table for table in tables if table.kind == kind]


def visits_of_night(paths: Iterable[str | Path], mjd: int, **defaults: Any) -> list[Row]:
    """Return the APOGEE visits of a night, from allVisit files.

    Parameters
    ----------
    paths : iterable of path
        Summary files; those of other kinds are left out.
    mjd : int
        SDSS MJD.
    **defaults
        Keys that older releases have not in their tables: apred, telescope.

    Returns
    -------
    visits : list of dict
        With keys fiber, plate, mjd, telescope, field, apred, and obj and healpix where known.
    """
    return [
        row for table in open_summaries(paths, "allVisit") for row in _visits(table, {"mjd": [mjd]}, defaults)
    ]


def visits_of_stars(
    paths: Iterable[str | Path], objs: Collection[str], until: int, **defaults: Any
) -> list[Row]:
    """Return all visits of some stars up to and in a night, from allVisit files; see `visits_of_night`."""
    if not objs:
        return []
    rows = (
        row for table in open_summaries(paths, "allVisit") for row in _visits(table, {"obj": objs}, defaults)
    )
    return [row for row in rows if row["mjd"] <= until]


def _visits(table: SummaryTable, where: dict[str, Any], defaults: dict[str, Any]) -> list[Row]:
    columns = table.select(VISIT_COLUMNS, where)
    rows = rows_of(columns, (*VISIT_KEYS, "obj", "healpix"))
    return [_texts({**defaults, **row}) for row in rows]


def stars_of_night(paths: Iterable[str | Path], mjd: int, **defaults: Any) -> list[Row]:
    """Return the stars whose last visit is in a night.

    From allStar files if they say when that was and, as in the survey's own list, without stars that have no
    good velocity; else from allVisit files.

    Parameters
    ----------
    paths : iterable of path
        Summary files; those of other kinds are left out.
    mjd : int
        SDSS MJD.
    **defaults
        Keys that older releases have not in their tables: apred, telescope.

    Returns
    -------
    stars : list of dict
        With keys apred, healpix, telescope, obj, apstar, and field where known.
    """
    paths = list(paths)
    dated = [table for table in open_summaries(paths, "allStar") if "MJDEND" in map(str.upper, table.names)]
    rows: list[Row] = []
    for table in dated:
        columns = table.select(STAR_COLUMNS, {"mjd": [mjd]})
        rows += [row for row in rows_of(columns, (*STAR_COLUMNS,)) if int(row.get("ngoodrvs", 1)) > 0]
    if not dated:
        rows = _last_seen(paths, mjd, defaults)
    names = (*STAR_KEYS, "field")
    found = ({**defaults, "apstar": "stars", **row} for row in rows)
    return [_texts({name: row[name] for name in names if name in row}) for row in found]


def _last_seen(paths: Sequence[str | Path], mjd: int, defaults: dict[str, Any]) -> list[Row]:
    """Return the stars of a night that were not seen later, by their visits; once for each file of a star."""
    tables = open_summaries(paths, "allVisit")
    seen = {row["obj"] for table in tables for row in _visits(table, {"mjd": [mjd]}, defaults)}
    last: dict[tuple[Any, ...], Row] = {}
    for table in tables if seen else ():
        for row in _visits(table, {"obj": seen}, defaults):
            star = tuple(row.get(name) for name in ("obj", "telescope", "field", "healpix"))
            if star not in last or row["mjd"] > last[star]["mjd"]:
                last[star] = row
    return [row for row in last.values() if row["mjd"] == mjd]


def spectra_of_night(
    paths: Iterable[str | Path], mjd: int, *, milky_way: bool = False, **same: Any
) -> list[Row]:
    """Return the BOSS spectra of a night, from spAll files.

    Parameters
    ----------
    paths : iterable of path
        Summary files; those of other kinds are left out.
    mjd : int
        SDSS MJD.
    milky_way : bool, optional
        Only targets of the Milky Way Mapper.
    **same
        Values of plate (or field) and run2d that spectra must have.

    Returns
    -------
    spectra : list of dict
        With keys catalogid, mjd, plate, run2d of SDSS-V; plateid, fiberid, mjd, run2d of earlier surveys.
    """
    found: list[Row] = []
    for table in open_summaries(paths, "spAll"):
        columns = table.select(SPECTRUM_COLUMNS, {"mjd": [mjd], **{name: [same[name]] for name in same}})
        is_fifth = "catalogid" in columns
        names = SPECTRUM_KEYS if is_fifth else SPECTRUM_IV_KEYS
        cartons = columns.get("firstcarton", [""] * len(columns["mjd"]))
        rows = zip(rows_of(columns, names), cartons, strict=True)
        found += [_texts(row) for row, carton in rows if not milky_way or carton.lower().startswith(_MWM)]
    return found


def _texts(row: Row) -> Row:
    """Return a row whose names are texts and whose numbers are integers."""
    return {name: int(value) if name in _NUMBERS else str(value).strip() for name, value in row.items()}


_NUMBERS = frozenset({"fiber", "mjd", "healpix", "catalogid", "plateid", "fiberid"})


# -- a table of one's own -----------------------------------------------------------------------------------


def read_night_table(path: str | Path, mjd: int, tree_of: Callable[[str], SdssPath]) -> list[NightFile]:
    """Read a table of files (CSV, ECSV, FITS, Parquet).

    Parameters
    ----------
    path : path
        With columns ``path``, or the keys of the files' paths; and, optionally, ``product`` (default
        apVisit), ``mjd``, ``obj`` and ``release``.
    mjd : int
        Night, which rows without ``mjd`` are of.
    tree_of : callable
        Returns the paths of a release by its name, which is empty for rows that name none.

    Returns
    -------
    files : list of NightFile
        Those of the night and of earlier ones.

    Raises
    ------
    FormatError
        If the table cannot be read, or the night of a row is no number.
    ConfigError
        If a row has no path and a key of one is missing, or there is no such release.
    """
    columns = read_parameter_table(path)
    files = []
    for number, values in enumerate(zip(*columns.values(), strict=True), start=1):
        row = {name: value for name, value in zip(columns, values, strict=True) if value not in (None, "")}
        night = _night(path, number, row.get("mjd", mjd))
        if night > mjd:
            continue
        product = str(row.get("product", "apVisit"))
        if "path" in row:
            place = str(row["path"])
        else:
            keys = {name: value for name, value in row.items() if name not in ("product", "release")}
            place = tree_of(str(row.get("release", ""))).location(product, **{"mjd": night, **keys})
        files.append(NightFile(product, place, night, str(row.get("obj", ""))))
    return files


def _night(path: str | Path, number: int, value: Any) -> int:
    try:
        return int(str(value))
    except ValueError as exc:
        message = f"{path}: row {number} must have a whole number as mjd, found {value!r}"
        raise FormatError(message, path=str(path), row=number) from exc


def write_night_list(path: str | Path, files: Iterable[NightFile]) -> None:
    """Write files as a table (CSV) that `read_night_table` reads; it appears whole or not at all."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [field.name for field in fields(NightFile)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, files))
    write_text(path, stream.getvalue())


def read_night_list(path: str | Path) -> list[NightFile]:
    """Read what `write_night_list` has written."""
    columns = read_parameter_table(path)
    rows = zip(*(columns[field.name] for field in fields(NightFile)), strict=True)
    return [NightFile(str(product), str(place), int(str(mjd)), str(obj)) for product, place, mjd, obj in rows]


# -- the tree -----------------------------------------------------------------------------------------------


def scan_tree(tree: SdssPath, product: str, **keys: Any) -> list[Row]:
    """Return the keys of the files of a product that are in the tree, compressed or not.

    Parameters
    ----------
    tree : SdssPath
        Paths of a release.
    product : str
        As in the survey's paths.
    **keys
        Keys that are known; the others may be any.

    Raises
    ------
    ConfigError
        If the release has no such product, or a key that must be known is not given.
    """
    names = [name for name in tree.lookup_keys(product) if name != "prefix"]
    unknown = {name: "*" for name in names if not keys.get(name) and name not in ("apstar", "component")}
    pattern = tree.location(product, **{**unknown, **keys})
    found: set[str] = set()
    for ending in ("", *COMPRESSIONS):
        found.update(glob.iglob(pattern + ending, root_dir=tree.sas_base_dir))
    rows = []
    for place in sorted(found):
        try:
            extracted = tree.extract(product, place)
        except ConfigError:
            continue  # named by others
        rows.append({**{name: value for name, value in keys.items() if value}, **extracted})
    return rows


def scan_stars(tree: SdssPath, mjd: int, objs: Collection[str], **keys: Any) -> list[Row]:
    """Return the keys of those stars in the tree, among some, whose last visit is in a night.

    Parameters
    ----------
    tree : SdssPath
        Paths of a release.
    mjd : int
        SDSS MJD.
    objs : collection of str
        Names of the stars.
    **keys
        Keys that are known.
    """
    rows = [row for row in scan_tree(tree, "apStar", **keys) if row["obj"] in objs]
    return [
        row for row in rows if last_night(read_primary_cards(tree.full("apStar", **{**keys, **row}))) == mjd
    ]


def last_night(cards: Row) -> int:
    """Return the last night [SDSS MJD] of a star, from the names of its visits in its header; 0 if none."""
    names = (str(value) for key, value in cards.items() if key.startswith("SFILE"))
    nights = (name.rsplit("-", 2)[-2] for name in names if name.count("-") >= 2)
    return max((int(night) for night in nights if night.isdigit()), default=0)
