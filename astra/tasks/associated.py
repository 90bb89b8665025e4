"""What the tasks on associated detections share with `Associate`, so that they require the same one."""

from __future__ import annotations

from typing import Any

import luigi

from astra.errors import ConfigError
from astra.tasks.parameters import PathParameter
from astra.tasks.template_rule import DifferenceTask

FURTHER, ALL, RUBIN = "further", "all", "rubin"


class StatisticsParameter(luigi.Parameter):
    """Names of statistics separated by commas, or the name of a set of them; kept sorted, without blanks."""

    def normalize(self, value: Any) -> Any:
        """Sort the names, so that their order makes no other task; of a tuple, each."""
        if isinstance(value, (list, tuple)):
            return tuple(self.normalize(item) for item in value)
        return ",".join(sorted({name for name in (item.strip() for item in value.split(",")) if name}))


class AssociatedTask(DifferenceTask):
    """A task that associates detections, or that needs them to be associated."""

    statistics = StatisticsParameter(
        default=FURTHER,
        description="Statistics of objects beside those that DiaObject has columns for: further "
        "(all but the periodograms), all, rubin (none), or Rubin's names as in ap_madFlux,ap_skewFlux.",
    )
    ephemeris = PathParameter(
        default="",
        description="Table (FITS, Parquet, ECSV, CSV) of where known bodies are seen: ssObjectId, ra, dec "
        "[deg], and visit or mjdTai [d]; perhaps raErr, decErr [deg].",
    )
    orbits = PathParameter(
        default="",
        description="Table of orbits of known bodies: ssObjectId, e, inclination, node, argPeri [deg, J2000] "
        "and q [AU], tPeri [MJD TDB] or a [AU], meanAnomaly [deg], epochMjdTdb; perhaps positionErr "
        "[arcsec]. Without perturbations: Mars is off by 1 arcsec after 10 days, by 6 after 30.",
    )


def chosen_plugins(text: str) -> tuple[str, ...]:
    """Return the plugins that a value of ``--statistics`` names, those of DiaObject's columns first.

    Parameters
    ----------
    text : str
        Names separated by commas; ``further``, ``all`` and ``rubin`` name a set.

    Raises
    ------
    ConfigError
        If there is no such statistic.
    """
    from astra.sky.light_curve_plugins import DEFAULT_PLUGINS, FURTHER_PLUGINS, PLUGINS

    sets = {FURTHER: FURTHER_PLUGINS, ALL: tuple(PLUGINS), RUBIN: ()}
    chosen: dict[str, None] = dict.fromkeys(DEFAULT_PLUGINS)
    for name in filter(None, text.split(",")):
        if name not in {*sets, *PLUGINS, *DEFAULT_PLUGINS}:
            known = ", ".join([*sets, *PLUGINS])
            raise ConfigError(f"there is no statistic {name!r}; known are {known}", statistic=name)
        chosen |= dict.fromkeys(sets.get(name, (name,)))
    return tuple(chosen)
