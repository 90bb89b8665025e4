"""The files of a night as tasks, and what was observed in it as rows of keys.

Names and keys are those of the task API of 2021. What was observed is read from the survey's public summary
files, from a table of one's own, or from the tree; there is no database of the survey.
"""

from __future__ import annotations

from typing import Any

import luigi

from astra.tasks.base import flat_requirements
from astra.tasks.batch import merge_tasks
from astra.tasks.io import sdss4, sdss5
from astra.tasks.io.by_path import file_task
from astra.tasks.spectra.night_source import NightSource, NightTask, Row, is_fourth

__all__ = [
    "GetDailyApStarFiles",
    "GetDailyApVisitFiles",
    "GetDailyReducedDataProducts",
    "GetDailySpecFiles",
    "get_bhm_mwm_visits",
    "get_spectra",
    "get_stars",
    "get_visits",
    "get_visits_given_star",
]

_VISIT_KEYS = ("fiber", "plate", "mjd", "telescope", "field", "apred")
_STAR_KEYS = ("apred", "healpix", "telescope", "obj", "apstar")


def get_visits(mjd: int, **source: Any) -> list[Row]:
    """Return the APOGEE visits of a night.

    Parameters
    ----------
    mjd : int
        SDSS MJD.
    **source
        Fields of `NightSource`: where it is written.

    Returns
    -------
    visits : list of dict
        With keys fiber, plate, mjd, telescope, field, apred.
    """
    return _only(NightSource(**source).visits(mjd), _VISIT_KEYS)


def get_stars(mjd: int, **source: Any) -> list[Row]:
    """Return the stars whose last visit is in a night.

    Parameters
    ----------
    mjd : int
        SDSS MJD.
    **source
        Fields of `NightSource`.

    Returns
    -------
    stars : list of dict
        With keys apred, healpix, telescope, obj, apstar; of SDSS-IV with field in place of healpix.
    """
    return _only(NightSource(**source).stars(mjd), (*_STAR_KEYS, "field"))


def get_visits_given_star(obj: str, apred: str, **source: Any) -> list[Row]:
    """Return all visits of a star, from summary files.

    Parameters
    ----------
    obj : str
        Name of the star.
    apred : str
        Version of the APOGEE reduction.
    **source
        Fields of `NightSource`.

    Returns
    -------
    visits : list of dict
        As those of `get_visits`, in the order of time.
    """
    from astra.products.night_lists import visits_of_stars

    nights = NightSource(apred=apred, **source)
    rows = visits_of_stars(nights.summaries("allVisit"), [obj], _NEVER, apred=apred)
    chosen = [row for row in rows if row.get("telescope", "") in ("", *nights.telescopes)]
    return _only(sorted(chosen, key=lambda row: (row["mjd"], row["fiber"])), _VISIT_KEYS)


_NEVER = 10**9


def get_spectra(mjd: int, **source: Any) -> list[Row]:
    """Return the BOSS spectra of a night: catalogid, mjd, plate, run2d; or plateid, fiberid, mjd, run2d."""
    return NightSource(**source).spectra(mjd)


def get_bhm_mwm_visits(mjd: int, plate: Any = None, run2d: str = "", **source: Any) -> list[Row]:
    """Return the BOSS spectra of a night that were taken for the Milky Way Mapper.

    Parameters
    ----------
    mjd : int
        SDSS MJD.
    plate : int or str, optional
        Field.
    run2d : str, optional
        Version of the BOSS reduction.
    **source
        Fields of `NightSource`.

    Returns
    -------
    spectra : list of dict
        With keys catalogid, mjd, plate, run2d.
    """
    same = {} if plate is None else {"plate": plate}
    return NightSource(run2d=run2d, **source).spectra(mjd, milky_way=True, **same)


def _only(rows: list[Row], names: tuple[str, ...]) -> list[Row]:
    return [{name: row[name] for name in names if name in row} for row in rows]


class DailyFiles(NightTask):
    """The files of a night; done when they are all there."""

    use_remote = luigi.BoolParameter(
        default=True,
        significant=False,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="Fetch the files that are not there.",
    )
    public = luigi.BoolParameter(
        default=False,
        significant=False,
        description="Whether the release is on the public server; data releases always are.",
    )

    def complete(self) -> bool:
        """Say whether all files are there."""
        return all(needed.complete() for needed in flat_requirements(self))

    def run(self) -> None:
        """Note how many there are."""
        sizes = [needed.get_batch_size() for needed in flat_requirements(self)]
        self.add_figures("night", {"n_files": sum(sizes)})

    def files_of(self, product: str, rows: list[Row]) -> list[Any]:
        """Return the file tasks of some rows of keys, as one batch."""
        common = {"release": self.release, "use_remote": self.use_remote, "public": self.public}
        task_class = getattr(sdss4 if is_fourth(self.release) else sdss5, product)
        names = [name for name in task_class.batch_param_names() if rows and name in rows[0]]
        columns = {name: tuple(row[name] for row in rows) for name in names}
        return [task_class(**common, **columns)] if rows else []

    def listed(self, *products: str) -> list[Any]:
        """Return the file tasks of those rows of the manifest that are of a night."""
        files = self.source.files(self.mjd)
        return merge_tasks(
            file_task(file.product, file.path, self.use_remote)
            for file in files
            if file.mjd == self.mjd and file.product in products
        )


class GetDailyApVisitFiles(DailyFiles):
    """The apVisit files of a night."""

    def requires(self) -> list[Any]:
        """Return the files."""
        if self.manifest:
            return self.listed("apVisit")
        return self.files_of("ApVisitFile", self.source.visits(self.mjd))


class GetDailyApStarFiles(DailyFiles):
    """The apStar files of the stars whose last visit is in a night."""

    def requires(self) -> list[Any]:
        """Return the files."""
        if self.manifest:
            return self.listed("apStar")
        return self.files_of("ApStarFile", self.source.stars(self.mjd))


class GetDailySpecFiles(DailyFiles):
    """The BOSS spectra of a night."""

    def requires(self) -> list[Any]:
        """Return the files."""
        if self.manifest:
            return self.listed(self.boss_product)
        return self.files_of("SpecFile", self.source.spectra(self.mjd) if self.run2d or self.summary else [])


class GetDailyReducedDataProducts(DailyFiles):
    """All files of a night: visits, stars, and BOSS spectra if their reduction is named."""

    def requires(self) -> list[Any]:
        """Return the tasks of each kind of file."""
        kinds = (GetDailyApVisitFiles, GetDailyApStarFiles, GetDailySpecFiles)
        return [kind(**self.get_common_param_kwargs(kind)) for kind in kinds]
