"""The live pages: for each kind a function from what is asked to what is shown."""

from __future__ import annotations

from astra.web.live import about, alerts, nights, objects, pictures, spectra, tasks
from astra.web.site import PageFunction

LIVE_PAGES: dict[str, PageFunction] = {
    "nights": nights.nights_page,
    "night": nights.night_of,
    "visit": nights.visit_of,
    "detector": nights.detector_of,
    "efficiency": nights.efficiency_of,
    "tasks": tasks.tasks_page,
    "task": tasks.task_page,
    "alerts": alerts.alerts_page,
    "object": objects.object_page,
    "spectra": spectra.spectra_page,
    "spectrum": spectra.spectrum_page,
    "about": about.about_page,
}
# What is made of a row of the database: by address.
BYTES = {
    "/pictures/{picture}": pictures.named_picture,
    "/alert/{alert}/stamps.png": pictures.stamps_png,
    "/alert/{alert}/packet.avro": pictures.packet_avro,
    "/alert/{alert}/packet.json": pictures.packet_json,
    "/alert/{alert}/science.fits": pictures.stamp_fits("cutoutScience"),
    "/alert/{alert}/template.fits": pictures.stamp_fits("cutoutTemplate"),
    "/alert/{alert}/difference.fits": pictures.stamp_fits("cutoutDifference"),
}
