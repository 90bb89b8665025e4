"""File tasks of SDSS-III and SDSS-IV (data releases 13 to 17), in the namespace ``sdss4``."""

from __future__ import annotations

import luigi

from astra.tasks.io.sdss import SDSSDataModelTask
from astra.tasks.parameters import IdParameter

__all__ = ["ApStarFile", "ApVisitFile", "SDSS4DataModelTask", "SpecFile"]


class SDSS4DataModelTask(SDSSDataModelTask):
    """A file of SDSS-III or SDSS-IV."""

    task_namespace = "sdss4"

    release = luigi.Parameter(default="dr16", description="SDSS release: dr13 to dr17.")


class ApVisitFile(SDSS4DataModelTask):
    """The APOGEE spectrum of one visit of a star."""

    sdss_data_model_name = "apVisit"

    fiber = IdParameter(description="Fibre, 1 to 300.")
    plate = luigi.Parameter(batch_method=tuple, description="Plate.")
    field = luigi.Parameter(batch_method=tuple, default="", description="Name of the field; not before dr16.")
    mjd = IdParameter(description="Night, SDSS MJD.")
    apred = luigi.Parameter(batch_method=tuple, description="Version of the APOGEE reduction.")
    telescope = luigi.Parameter(batch_method=tuple, description="apo25m, apo1m or lco25m.")
    prefix = luigi.Parameter(
        batch_method=tuple, default="", description="ap or as; default: that of the telescope."
    )


class ApStarFile(SDSS4DataModelTask):
    """The APOGEE spectra of all visits of a star, and their sum."""

    sdss_data_model_name = "apStar"

    obj = luigi.Parameter(batch_method=tuple, description="Name of the star, as 2M00452143+1634446.")
    field = luigi.Parameter(batch_method=tuple, description="Name of the field, up to dr14 its number.")
    apstar = luigi.Parameter(batch_method=tuple, default="stars", description="Kind of sum: stars.")
    apred = luigi.Parameter(batch_method=tuple, description="Version of the APOGEE reduction.")
    telescope = luigi.Parameter(batch_method=tuple, description="apo25m, apo1m or lco25m.")
    prefix = luigi.Parameter(
        batch_method=tuple, default="", description="ap or as; default: that of the telescope."
    )


class SpecFile(SDSS4DataModelTask):
    """The BOSS, eBOSS or SDSS-I/II spectrum of one fibre."""

    sdss_data_model_name = "spec"

    fiberid = IdParameter(description="Fibre, 1 to 1000.")
    plateid = IdParameter(description="Plate.")
    mjd = IdParameter(description="Night, SDSS MJD.")
    run2d = luigi.Parameter(batch_method=tuple, description="Version of the reduction, as 26 or v5_13_2.")
