"""Table definitions: importing this package defines them all on one metadata object."""

import importlib

from astra.database.models.base import Base, BigInt, metadata

_MODULES = (
    *("state", "survey", "apdb", "corrections", "spectra", "calibrations", "templates", "efficiency"),
    *("night", "outbox", "jobs"),
)

for _name in _MODULES:
    importlib.import_module(f"{__name__}.{_name}")

__all__ = ["Base", "BigInt", "metadata"]
