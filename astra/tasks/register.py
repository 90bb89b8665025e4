"""Import every module with tasks, so that Luigi knows them all by name."""

from __future__ import annotations

import importlib

MODULES = ("base",)

for _name in MODULES:
    importlib.import_module(f"astra.tasks.{_name}")
