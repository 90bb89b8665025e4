"""Import every module with tasks, so that Luigi knows them all by name."""

from __future__ import annotations

import importlib

from astra.tasks.hook import install

MODULES = (
    "base",
    "events",
    "chunks",
    "io.local",
    "io.sdss4",
    "io.sdss5",
    "spectra.signal_to_noise",
    "spectra.continuum",
    "spectra.velocities",
    "spectra.combine_visits",
    "spectra.lines_and_labels",
    "spectra.train_cannon",
    "spectra.train_templates",
    "spectra.export_results",
    "spectra.daily",
    "spectra.night_list",
    "spectra.night",
    "exposures",
    "visits",
    "reference_catalog",
    "calibrations",
    "ingest_calibrations",
    "process_ccd",
    "refine",
    "template",
    "get_template",
    "ingest_template",
    "diffim",
    "train_reliability",
    "injection",
    "efficiency",
    "association",
    "alerts",
    "send_alerts",
    "ap_pipe",
    "ap_night",
    "deduplicate",
    "demo_simulation",
    "demo_steps",
    "demo",
)

for _name in MODULES:
    importlib.import_module(f"astra.tasks.{_name}")

install()
