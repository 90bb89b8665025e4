"""File tasks of SDSS-V: apVisit, apStar and BOSS spectra."""

from __future__ import annotations

import luigi

from astra.tasks.io.sdss import SDSSDataModelTask, SDSSDataProduct
from astra.tasks.parameters import IdParameter

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

    fiber = IdParameter(description="Fibre, 1 to 300.")
    plate = luigi.Parameter(batch_method=tuple, description="Plate, or configuration of the robots.")
    field = luigi.Parameter(batch_method=tuple, description="Name of the field.")
    mjd = IdParameter(description="Night, SDSS MJD.")
    apred = luigi.Parameter(batch_method=tuple, description="Version of the APOGEE reduction.")
    telescope = luigi.Parameter(batch_method=tuple, description="apo25m, apo1m or lco25m.")


class ApStarFile(SDSS5DataModelTask):
    """The APOGEE spectra of all visits of a star, and their sum."""

    sdss_data_model_name = "apStar"

    obj = luigi.Parameter(batch_method=tuple, description="Name of the star, as 2M00452143+1634446.")
    healpix = IdParameter(description="HEALPix pixel, nside 128, as the survey has it.")
    apstar = luigi.Parameter(batch_method=tuple, default="stars", description="Kind of sum: stars.")
    apred = luigi.Parameter(batch_method=tuple, description="Version of the APOGEE reduction.")
    telescope = luigi.Parameter(batch_method=tuple, description="apo25m, apo1m or lco25m.")


class SpecFile(SDSS5DataModelTask):
    """The BOSS spectrum of one target."""

    sdss_data_model_name = "spec"

    catalogid = IdParameter(description="SDSS-V catalogue identifier.")
    mjd = IdParameter(description="Night, SDSS MJD.")
    plate = luigi.Parameter(batch_method=tuple, description="Plate or field.")
    run2d = luigi.Parameter(batch_method=tuple, description="Version of the BOSS reduction.")
