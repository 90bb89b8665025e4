"""Ingredients that are chosen by name, some built in, others registered by installed distributions.

Another distribution adds one under the entry-point group of its kind, and takes precedence over a built-in
one of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from astra.errors import ConfigError


@dataclass(frozen=True)
class Registry:
    """Names of ingredients of one kind.

    Parameters
    ----------
    group : str
        Entry-point group.
    kind : str
        What they are, for messages.
    base : str
        Their base class, as ``module:class``.
    built_in : mapping
        Name to ``module:class``.
    """

    group: str
    kind: str
    base: str
    built_in: Mapping[str, str]

    def names(self) -> list[str]:
        """Return all known names, sorted."""
        return sorted({*self.built_in, *(entry.name for entry in entry_points(group=self.group))})

    def get(self, name: str) -> Any:
        """Make the ingredient of a given name; its module is imported now.

        Raises
        ------
        ConfigError
            If nothing has this name, or the plug-in is no subclass of the base.
        """
        for entry in entry_points(group=self.group):
            if entry.name == name:
                return self._make(name, entry.load())
        if name not in self.built_in:
            known = ", ".join(self.names())
            raise ConfigError(f"{self.kind} {name!r} is unknown; known are {known}", name=name)
        return self._make(name, _load(self.built_in[name]))

    def _make(self, name: str, found: object) -> Any:
        base = _load(self.base)
        if not (isinstance(found, type) and issubclass(found, base)):
            expected = self.base.replace(":", ".")
            message = f"{self.kind} {name!r} must be a subclass of {expected}, found {found!r}"
            raise ConfigError(message, name=name)
        return found()


def _load(path: str) -> Any:
    module, attribute = path.split(":")
    return getattr(import_module(module), attribute)


GROUPERS = Registry(
    "astra.groupers",
    "grouping",
    "astra.sky.grouping:Grouper",
    {
        "one-to-one": "astra.sky.grouping:OneToOne",
        "by-group-metadata": "astra.sky.grouping:ByGroupMetadata",
        "one-to-one-and-by-counter": "astra.sky.grouping:OneToOneAndByCounter",
    },
)
VISIT_REGIONS = Registry(
    "astra.visit_regions",
    "visit region algorithm",
    "astra.sky.visit_regions:VisitRegionAlgorithm",
    {
        "single-raw-wcs": "astra.sky.visit_regions:SingleRawWcs",
        "raw-corners": "astra.sky.visit_regions:RawCorners",
    },
)
SUBTRACTION_METHODS = Registry(
    "astra.subtraction_methods",
    "method of subtraction",
    "astra.images.subtraction_method:SubtractionMethod",
    {
        "alard-lupton": "astra.images.alard_lupton:AlardLupton",
        "zogy": "astra.images.zogy:Zogy",
    },
)
ALERT_SINKS = Registry(
    "astra.alert_sinks",
    "alert sink",
    "astra.alerts.sinks:AlertSink",
    {
        "files": "astra.alerts.sinks:FilesSink",
        "kafka": "astra.alerts.kafka:KafkaSink",
        "ztf": "astra.alerts.ztf_sinks:ZtfFilesSink",
        "ztf-kafka": "astra.alerts.ztf_sinks:ZtfKafkaSink",
    },
)
EXECUTORS = Registry(
    "astra.executors",
    "executor",
    "astra.executors.interface:Executor",
    {
        "slurm": "astra.executors.slurm:SlurmExecutor",
        "dask": "astra.executors.dask:DaskExecutor",
    },
)
