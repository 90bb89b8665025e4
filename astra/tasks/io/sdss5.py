"""File tasks of SDSS-V: apVisit, apStar and BOSS spectra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi

from astra.products.sdss_path_tables import SPEC_KINDS
from astra.tasks.io.keys import NameKey, NumberKey
from astra.tasks.io.sdss import SDSSDataModelTask, SDSSDataProduct

if TYPE_CHECKING:
    from astra.products.spectrum import Spectrum

__all__ = [
    "ApStarFile",
    "ApVisitFile",
    "SDSS5DataModelTask",
    "SDSSDataModelTask",
    "SDSSDataProduct",
    "SpecFile",
]


class SDSS5DataModelTask(SDSSDataModelTask):
    """A file of SDSS-V."""

    release = luigi.Parameter(default="sdss5", description="SDSS release: sdss5, ipl1 to ipl4, dr18 to dr20.")
    public = luigi.BoolParameter(
        default=False,
        significant=False,
        parsing=luigi.BoolParameter.IMPLICIT_PARSING,
        description="Whether the release is on the public server; data releases always are.",
    )


class ApVisitFile(SDSS5DataModelTask):
    """The APOGEE spectrum of one visit of a star."""

    sdss_data_model_name = "apVisit"

    fiber = NumberKey(description="Fibre, 1 to 300.")
    plate = NameKey(description="Plate, or configuration of the robots.")
    field = NameKey(description="Name of the field.")
    mjd = NumberKey(description="Night, SDSS MJD.")
    apred = NameKey(default="", description="Version of the APOGEE reduction; default: the release's.")
    telescope = NameKey(description="apo25m, apo1m or lco25m.")


class ApStarFile(SDSS5DataModelTask):
    """The APOGEE spectra of all visits of a star, and their sum."""

    sdss_data_model_name = "apStar"

    obj = NameKey(description="Name of the star, as 2M00452143+1634446.")
    healpix = NumberKey(description="HEALPix pixel, nside 128, as the survey has it.")
    apstar = NameKey(default="stars", description="Kind of sum: stars.")
    apred = NameKey(default="", description="Version of the APOGEE reduction; default: the release's.")
    telescope = NameKey(description="apo25m, apo1m or lco25m.")

    @staticmethod
    def writer(spectrum: Spectrum, path: str | Path, **kwargs: Any) -> bool:
        """Write a spectrum of a star like the survey's apStar files; the file appears whole or not at all.

        Parameters
        ----------
        spectrum : Spectrum
            What to write, as `astra.products.apogee.read_ap_star` reads it.
        path : str or Path
            Where to.
        **kwargs
            Of `astra.products.star_files.write_ap_star`.

        Returns
        -------
        is_written : bool
            True.
        """
        from astra.products.star_files import write_ap_star

        write_ap_star(spectrum, path, **kwargs)
        return True

    def get_or_create_data_model_relationships(self) -> dict[str, tuple[int, ...]]:
        """Return the keywords that refer to the survey's files of this task, as analyses keep them.

        Returns
        -------
        keywords : dict
            ``apogee_star_pk``: the keys of the state rows whose parameters identify the file, or the files of
            a batch in order. Rows that are not there are made.
        """
        keys = self.create_state()
        if not self.is_batch_mode:
            return {"apogee_star_pk": keys}
        own = dict(zip(dict.fromkeys(self.member_ids()), keys[1:], strict=True))
        return {"apogee_star_pk": tuple(own[task_id] for task_id in self.member_ids())}


class SpecFile(SDSS5DataModelTask):
    """The BOSS spectrum of one target.

    The reductions of the plates, v6_0_1 to v6_0_4, have it as spSpec alone, beside the lite file.
    """

    sdss_data_model_name = "spec"

    catalogid = NumberKey(description="SDSS-V catalogue identifier.")
    mjd = NumberKey(description="Night, SDSS MJD.")
    plate = NameKey(description="Plate or field.")
    run2d = NameKey(default="", description="Version of the BOSS reduction; default: the release's.")
    kind = luigi.ChoiceParameter(
        choices=list(SPEC_KINDS),
        default="full",
        description="Which file: full, lite (coadd alone) or spSpec.",
    )
