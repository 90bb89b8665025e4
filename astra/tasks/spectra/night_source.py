"""Where the tasks of a night learn what was observed in it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import AstraError, ConfigError, MissingDataError
from astra.products.sdss_path_tables import SDSS_IV
from astra.tasks.base import AstraTask
from astra.tasks.io.by_path import absolute_path
from astra.tasks.io.sdss import sdss_tree
from astra.tasks.parameters import PathParameter, PathsParameter

if TYPE_CHECKING:
    from astra.products.night_lists import NightFile

Row = dict[str, Any]
TELESCOPES = ("apo25m", "lco25m")


@dataclass(frozen=True)
class NightSource:
    """Where it is written what was observed: summary files, a table, or the tree itself.

    Parameters
    ----------
    release : str
        SDSS release.
    apred, run2d : str
        Versions of the reductions of APOGEE and BOSS; empty to leave the instrument out.
    telescope : str
        Of APOGEE; empty for those of both sites.
    boss_product : str
        Which files of BOSS spectra.
    summary : str
        Summary files separated by colons; empty for those of the tree.
    manifest : str
        A table of files, in their place.
    scan : bool
        Look into the tree, in their place.
    """

    release: str = "sdss5"
    apred: str = ""
    run2d: str = ""
    telescope: str = ""
    boss_product: str = "spec"
    summary: str = ""
    manifest: str = ""
    scan: bool = False

    def __post_init__(self) -> None:
        if not (self.apred or self.run2d or self.summary or self.manifest):
            message = (
                "a night needs apred or run2d of the reduction, summary files, or a manifest; none is given"
            )
            raise ConfigError(message)

    @property
    def telescopes(self) -> tuple[str, ...]:
        """Telescopes of APOGEE."""
        return (self.telescope,) if self.telescope else TELESCOPES

    def visits(self, mjd: int) -> list[Row]:
        """Return the keys of the APOGEE visits of a night."""
        from astra.products.night_lists import VISIT_KEYS, scan_tree, visits_of_night

        tree = sdss_tree(self.release)
        if self.manifest:
            return self._listed("apVisit", mjd)
        if self.scan:
            scans = [
                scan_tree(tree, "apVisit", apred=self.apred, telescope=telescope, mjd=mjd)
                for telescope in self.telescopes
                if self.apred
            ]
            return [row for rows in scans for row in rows]
        rows = visits_of_night(self.summaries("allVisit"), mjd, **self._defaults())
        chosen = [row for row in rows if row.get("telescope") in self.telescopes]
        return [{name: row[name] for name in (*VISIT_KEYS, "obj") if name in row} for row in chosen]

    def stars(self, mjd: int) -> list[Row]:
        """Return the keys of the stars whose last visit is in a night."""
        from astra.products.night_lists import scan_stars, stars_of_night

        if self.manifest:
            return self._listed("apStar", mjd)
        if self.scan:
            objs = {file.obj for file in self.files(mjd) if file.obj}
            keys = [{"apred": self.apred, "telescope": telescope} for telescope in self.telescopes if objs]
            return [row for some in keys for row in scan_stars(sdss_tree(self.release), mjd, objs, **some)]
        paths = [*self.summaries("allStar", required=False), *self.summaries("allVisit", required=False)]
        if not paths and self.apred:
            self.summaries("allStar")
        rows = stars_of_night(paths, mjd, **self._defaults())
        return [row for row in rows if row.get("telescope") in self.telescopes]

    def spectra(self, mjd: int, *, milky_way: bool = False, **same: Any) -> list[Row]:
        """Return the keys of the BOSS spectra of a night."""
        from astra.products.night_lists import scan_tree, spectra_of_night

        if self.manifest:
            return self._listed(self.boss_product, mjd)
        if self.scan:
            keys = {"run2d": self.run2d, "mjd": mjd}
            return scan_tree(sdss_tree(self.release), self.boss_product, **keys) if self.run2d else []
        same = {**({"run2d": self.run2d} if self.run2d else {}), **same}
        return spectra_of_night(self.summaries("spAll"), mjd, milky_way=milky_way, **same)

    def files(self, mjd: int) -> list[NightFile]:
        """Return the visits and BOSS spectra of a night, and earlier visits of its stars.

        Where the source does not name the stars their files do; the tree alone knows no earlier visits.
        """
        from astra.products.night_lists import NightFile, read_night_table, visits_of_stars

        if self.manifest:
            found = [_named(file) for file in read_night_table(self.manifest, mjd, self.tree_of)]
            seen = {file.obj for file in found if file.mjd == mjd}
            return [file for file in found if file.mjd == mjd or (file.obj and file.obj in seen)]
        tree = sdss_tree(self.release)
        visits = self.visits(mjd)
        if not self.scan:
            paths = self.summaries("allVisit")
            objs = {row["obj"] for row in visits if row.get("obj")}
            earlier = visits_of_stars(paths, objs, mjd - 1, **self._defaults())
            visits += [row for row in earlier if row.get("telescope") in self.telescopes]
        files = [
            NightFile("apVisit", tree.location("apVisit", **row), row["mjd"], row.get("obj", ""))
            for row in visits
        ]
        spectra = [
            NightFile(self.boss_product, tree.location(self.boss_product, **row), row["mjd"])
            for row in self.spectra(mjd)
        ]
        return [_named(file) for file in [*files, *spectra]]

    def summaries(self, kind: str, *, required: bool = True) -> list[str]:
        """Return the summary files of a kind: those that were named, else those of the tree.

        Raises
        ------
        MissingDataError
            If one is required and not there.
        """
        if self.summary:
            return [path for path in self.summary.split(os.pathsep) if path]
        tree = sdss_tree(self.release)
        keys = (
            [{"run2d": self.run2d}]
            if kind == "spAll"
            else [{"apred": self.apred, "telescope": telescope} for telescope in self.telescopes]
        )
        if not (self.run2d if kind == "spAll" else self.apred):
            return []
        places = [(tree.full(kind, **some), tree.url(kind, **some)) for some in keys]
        there = [path for path, _ in places if os.path.exists(path)]
        if required and not there:
            path, url = places[0]
            message = (
                f"{path} does not exist; the survey has it at {url}; "
                "or name summary files, a manifest, or scan the tree"
            )
            raise MissingDataError(message, path=path, url=url)
        return there

    def _defaults(self) -> dict[str, str]:
        return {"apred": self.apred, "telescope": self.telescope or TELESCOPES[0]}

    def tree_of(self, release: str) -> Any:
        """Return the paths of a release; of this one's own, if the name is empty."""
        return sdss_tree(release or self.release)

    def _listed(self, product: str, mjd: int) -> list[Row]:
        """Return the keys of those files of a product in the table that are of a night."""
        from astra.products.night_lists import read_night_table

        files = read_night_table(self.manifest, mjd, self.tree_of)
        tree = sdss_tree(self.release)
        return [
            tree.extract(product, file.path) for file in files if (file.product, file.mjd) == (product, mjd)
        ]


def _named(file: NightFile) -> NightFile:
    """Return a file with the name of its star, if it is a visit and the file says it."""
    if file.obj or not file.product.startswith("apVisit"):
        return file
    from astra.products.survey_fits import read_primary_cards, text_of

    try:
        return replace(file, obj=text_of(read_primary_cards(absolute_path(file.path)), "OBJID"))
    except AstraError:
        return file  # its own tasks say what is wrong with it


class NightTask(AstraTask):
    """A task on a night, with where it learns what was observed."""

    mjd = luigi.IntParameter(description="Night, SDSS MJD.")
    release = luigi.Parameter(default="sdss5", description="SDSS release: sdss5, ipl1 to ipl4, dr13 to dr20.")
    apred = luigi.Parameter(default="", description="Version of the APOGEE reduction; empty for none.")
    run2d = luigi.Parameter(default="", description="Version of the BOSS reduction; empty for none.")
    telescope = luigi.Parameter(default="", description="Telescope of APOGEE; empty for both sites.")
    boss_product = luigi.Parameter(
        default="spec", description="Files of BOSS spectra: spec, spec-lite, specLite or spSpec."
    )
    summary = PathsParameter(
        default="",
        description="Summary files (allVisit, allStar, spAll), separated by colons; empty: of the tree.",
    )
    manifest = PathParameter(
        default="",
        description="Table (CSV, ECSV, FITS, Parquet) of files in place of summary files: path, or the keys "
        "of paths, and optionally product, mjd, obj and release.",
    )
    scan = luigi.BoolParameter(default=False, description="Look into the tree in place of summary files.")

    @property
    def source(self) -> NightSource:
        """Where it is written what was observed."""
        names = ("release", "apred", "run2d", "telescope", "boss_product", "summary", "manifest", "scan")
        return NightSource(**{name: getattr(self, name) for name in names})

    def input_files(self) -> Iterable[str]:
        """Return none: what was observed is asked for anew in each run."""
        return ()


def is_fourth(release: str) -> bool:
    """Say whether a release is one of SDSS-III or SDSS-IV."""
    return release.lower() in SDSS_IV
