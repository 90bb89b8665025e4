"""A process that associates three visits of two detectors, overlapping all, and packages their alerts.

    python -m tests.tasks.association_worker URL FOLDER VISIT:DETECTOR ...

What is there already is left as it is; the order is that of the command line.
"""

import sys
from pathlib import Path

import numpy as np

from astra.alerts.files import read_alerts, write_alerts
from astra.alerts.packets import make_alert
from astra.database.apdb import load_alert_rows, load_marker
from astra.database.engine import reading, transaction
from astra.sky.regions import convex_hull
from astra.tasks.association_plan import DetectorVisit
from astra.tasks.association_steps import associate_in_order

MEMBERS = [(visit, detector) for visit in (1, 2, 3) for detector in (0, 1)]
FLUXES = ("psfFlux", "psfFluxErr", "scienceFlux", "scienceFluxErr")
COLUMNS = ("ra", "dec", "raErr", "decErr", "x", "y", *FLUXES)
N_OBJECTS = 20


def detections(visit, detector):
    """Detections of one detector: most of the objects of a field, shaken, and some of no other visit."""
    field, own = np.random.default_rng(5), np.random.default_rng([visit, detector])
    seen = own.permutation(N_OBJECTS)[:15]
    rows = np.zeros(20, [(name, "f8") for name in COLUMNS])
    for name, centre in (("ra", 10.0), ("dec", 0.0)):
        rows[name][:15] = (centre + field.uniform(0.0, 0.006, N_OBJECTS))[seen]
        rows[name] += own.normal(0, 0.1 / 3600, 20)
        rows[name][15:] += centre + own.uniform(0.0, 0.006, 5)
    rows["raErr"] = rows["decErr"] = 0.1 / 3600
    rows["psfFlux"], rows["psfFluxErr"], rows["scienceFluxErr"] = own.normal(900, 90, 20), 30.0, 30.0
    rows["scienceFlux"] = rows["psfFlux"] + 50.0
    return rows


def forced_photometry(ra, dec):
    """Fluxes that depend on the positions, so that these show in the tables."""
    rows = np.ones(len(ra), [(name, "f8") for name in FLUXES])
    rows["psfFlux"] = 1e6 * (ra - 10.0) + 1e3 * dec
    return rows


def detector_visit(visit, detector):
    """All that one detector is associated with."""
    return DetectorVisit(
        instrument="camera",
        visit=visit,
        detector=detector,
        band="r",
        midpoint_mjd_tai=60000.0 + visit / 1000,
        region=convex_hull([10.0, 10.006, 10.006, 10.0], [0.0, 0.0, 0.006, 0.006]),
        dia_sources=detections(visit, detector),
        forced_photometry=forced_photometry,
        time_processed_mjd_tai=61000.0,
        task_id=f"Associate_{visit}_{detector}",
        packed_visit_detector=(visit << 4) + detector,
    )


def associate(url, visit, detector):
    """Associate one detector, unless it is; what comes after it is done again."""
    with transaction(url) as connection:
        if load_marker(connection, "camera", visit, detector) is None:
            associate_in_order(
                connection, detector_visit(visit, detector), lambda m: detector_visit(m.visit, m.detector)
            )


def package(url, path, visit, detector):
    """Write the alerts of one detector, unless they are there."""
    if not path.exists():
        with reading(url) as connection:
            _, rows = load_alert_rows(connection, "camera", visit, detector)
        write_alerts(
            path, [make_alert(r.dia_source, r.prv_sources, r.prv_forced, r.dia_object) for r in rows]
        )


def main():
    url, folder, *members = sys.argv[1:]
    members = [tuple(map(int, member.split(":"))) for member in members]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for visit, detector in members:
        associate(url, visit, detector)
    for visit, detector in members:
        package(url, Path(folder) / f"{visit}_{detector}.avro", visit, detector)


def packets(folder):
    """All packets of a folder by file, without the times at which they were made."""
    return {
        path.name: [without_clock(alert) for alert in read_alerts(path)]
        for path in sorted(folder.glob("[0-9]*.avro"))
    }


def without_clock(value):
    """A packet without the times of processing."""
    if isinstance(value, dict):
        return {k: without_clock(v) for k, v in value.items() if k not in CLOCK}
    return [without_clock(item) for item in value] if isinstance(value, list) else value


CLOCK = {"timeProcessedMjdTai"}

if __name__ == "__main__":
    main()
