"""Table definitions: importing this package defines them all on one metadata object."""

import importlib

from astra.database.models.base import Base, BigInt, metadata

for _name in ("state", "survey", "apdb", "spectra", "calibrations", "templates", "efficiency", "outbox"):
    importlib.import_module(f"{__name__}.{_name}")

__all__ = ["Base", "BigInt", "metadata"]
