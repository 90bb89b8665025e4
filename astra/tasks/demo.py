"""A demonstration: a simulated field from raw frames to alerts, without network."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import luigi

from astra.tasks.ap_pipe import ApPipe
from astra.tasks.base import AstraTask
from astra.tasks.parameters import PathParameter

MATCH_RADIUS_ARCSEC = 1.0


class SimulateNight(AstraTask):
    """Simulate three template visits and two science visits of two detectors of a camera."""

    seed = luigi.IntParameter(default=42, description="Seed of the sky, the camera and the noise.")

    @property
    def folder(self) -> Path:
        """Folder of the simulated files."""
        return self.root / f"simulation-{self.seed}"

    def output(self) -> dict[str, luigi.LocalTarget]:
        """Return what the night holds, the reference catalogue and the truth."""
        names = {"night": "night.json", "reference": "reference.fits", "truth": "truth.fits"}
        return {kind: luigi.LocalTarget(str(self.folder / name)) for kind, name in names.items()}

    def run(self) -> None:
        """Render the frames and write them."""
        from astra.products.atomic import write_text
        from astra.simulation.night import LOWER_ROW, simulate_night

        night = simulate_night(self.folder, self.seed, detectors=LOWER_ROW)
        content = {
            "template_visits": night.template_visits,
            "science_visits": night.science_visits,
            "detectors": LOWER_ROW,
        }
        write_text(self.output()["night"].path, json.dumps(content))


class Demo(AstraTask):
    """Simulate a night, process it from raw frames to alerts, and count what was found."""

    runs_in_place = True

    output_root = PathParameter(
        default="astra-demo", significant=False, description="Folder of all that the demonstration writes."
    )
    seed = luigi.IntParameter(default=42, description="Seed of the simulation.")

    def run(self) -> Generator[Any, Any, None]:
        """Simulate, process, and report."""
        simulation = SimulateNight(seed=self.seed, output_root=self.output_root)
        yield simulation
        pipeline = self.pipeline(simulation)
        yield pipeline
        report = self.report(simulation, pipeline)
        self.add_figures("report", report)
        sys.stdout.write(self.describe(report))

    def pipeline(self, simulation: SimulateNight) -> ApPipe:
        """Return the task that processes the science visits."""
        night = json.loads(Path(simulation.output()["night"].path).read_text())
        pairs = [(visit, detector) for visit in night["science_visits"] for detector in night["detectors"]]
        return ApPipe(
            instrument="simcam",
            raw=str(simulation.folder / "raw"),
            visit=tuple(visit for visit, _ in pairs),
            detector=tuple(detector for _, detector in pairs),
            template_visits="^".join(map(str, night["template_visits"])),
            reference_catalog=simulation.output()["reference"].path,
            output_root=self.output_root,
        )

    def report(self, simulation: SimulateNight, pipeline: ApPipe) -> dict[str, Any]:
        """Count tasks, transients and alerts."""
        from astra.alerts.files import read_alerts
        from astra.database.engine import reading
        from astra.database.queries import family_counts
        from astra.products.catalogs import read_catalog
        from astra.products.layout import alert_path

        truth = read_catalog(simulation.output()["truth"].path)
        found, n_alerts, n_false = set(), 0, 0
        for member in pipeline.get_batch_tasks():
            on_detector = (truth["visit"] == member.visit) & (truth["detector"] == member.detector)
            alerts = read_alerts(alert_path(self.root, member.visit, member.detector))
            matched, false = _match(truth[on_detector], [alert["diaSource"] for alert in alerts])
            found |= matched
            n_false += false
            n_alerts += len(alerts)
        with reading(self.database_url) as connection:
            counts = family_counts(connection)
        return {
            "nTasksDone": sum(count.done for count in counts),
            "nTasksFailed": sum(count.failed + count.blocked for count in counts),
            "nInjected": len(set(truth["transient"].tolist())),
            "nRecovered": len(found),
            "nFalse": n_false,
            "nAlerts": n_alerts,
        }

    def describe(self, report: dict[str, Any]) -> str:
        """Return the report as text."""
        found, injected = report["nRecovered"], report["nInjected"]
        percent = 100.0 * found / max(injected, 1)
        return (
            f"{report['nTasksDone']} tasks done, {report['nTasksFailed']} failed\n"
            f"{found} of {injected} injected transients recovered ({percent:.0f} %)\n"
            f"{report['nAlerts']} alerts written, {report['nFalse']} of them of nothing injected: "
            f"{self.root / 'alerts'}\n"
            f"products: {self.root / 'products'}\n"
            f"state: astra --root {self.root} status\n"
        )


def _match(truth: Any, sources: Any) -> tuple[set[int], int]:
    """Return the transients with a detection on them, and the number of detections on none of them."""
    import numpy as np

    if len(sources) == 0 or len(truth) == 0:
        return set(), len(sources)
    scale = np.cos(np.deg2rad(truth["dec"][:, None]))
    ra, dec = (np.array([source[name] for source in sources]) for name in ("ra", "dec"))
    east = ((ra[None, :] - truth["ra"][:, None] + 180.0) % 360.0 - 180.0) * scale
    north = dec[None, :] - truth["dec"][:, None]
    near = np.hypot(east, north) * 3600.0 <= MATCH_RADIUS_ARCSEC
    return set(truth["transient"][near.any(axis=1)].tolist()), int((~near.any(axis=0)).sum())
