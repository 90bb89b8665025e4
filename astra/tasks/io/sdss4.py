"""File tasks of SDSS-III and SDSS-IV (data releases 13 to 17), in the namespace ``sdss4``."""

from __future__ import annotations

import luigi

from astra.tasks.io.keys import NameKey, NumberKey
from astra.tasks.io.sdss import SDSSDataModelTask

__all__ = ["ApStarFile", "ApVisitFile", "SDSS4DataModelTask", "SpecFile"]


class SDSS4DataModelTask(SDSSDataModelTask):
    """A file of SDSS-III or SDSS-IV."""

    task_namespace = "sdss4"

    release = luigi.Parameter(default="dr16", description="SDSS release: dr13 to dr17.")


class ApVisitFile(SDSS4DataModelTask):
    """The APOGEE spectrum of one visit of a star."""

    sdss_data_model_name = "apVisit"

    fiber = NumberKey(description="Fibre, 1 to 300.")
    plate = NameKey(description="Plate.")
    field = NameKey(default="", description="Name of the field; not before dr16.")
    mjd = NumberKey(description="Night, SDSS MJD.")
    apred = NameKey(default="", description="Version of the APOGEE reduction; default: the release's.")
    telescope = NameKey(description="apo25m, apo1m or lco25m.")
    prefix = NameKey(default="", description="ap or as; default: that of the telescope.")


class ApStarFile(SDSS4DataModelTask):
    """The APOGEE spectra of all visits of a star, and their sum."""

    sdss_data_model_name = "apStar"

    obj = NameKey(description="Name of the star, as 2M00452143+1634446.")
    field = NameKey(description="Name of the field, up to dr14 its number.")
    apstar = NameKey(default="stars", description="Kind of sum: stars.")
    apred = NameKey(default="", description="Version of the APOGEE reduction; default: the release's.")
    telescope = NameKey(description="apo25m, apo1m or lco25m.")
    prefix = NameKey(default="", description="ap or as; default: that of the telescope.")


class SpecFile(SDSS4DataModelTask):
    """The BOSS, eBOSS or SDSS-I/II spectrum of one fibre."""

    sdss_data_model_name = "spec"

    fiberid = NumberKey(description="Fibre, 1 to 1000.")
    plateid = NumberKey(description="Plate.")
    mjd = NumberKey(description="Night, SDSS MJD.")
    run2d = NameKey(default="", description="Version of the reduction, as 26; default: the release's.")
