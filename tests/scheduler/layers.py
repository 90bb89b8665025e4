"""Layers of trivial tasks of plain Luigi: each leaves a file, and a line for each time that it ran."""

import os
import time
from pathlib import Path

import luigi

if os.environ.get("LAYERS_WORKER", "astra") == "astra":
    import astra  # noqa: F401  # so that its worker is used

ROOT = Path(os.environ.get("LAYERS_ROOT", "."))
PAUSE_S = float(os.environ.get("LAYERS_PAUSE_S", "0"))


class LayerStep(luigi.Task):
    chain = luigi.IntParameter(description="The chain.")
    step = luigi.IntParameter(description="The step in it.")

    def requires(self):
        return [self.clone(step=self.step - 1)] if self.step else []

    def output(self):
        return luigi.LocalTarget(str(ROOT / f"{self.chain}_{self.step}"))

    def run(self):
        descriptor = os.open(ROOT / "ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{self.chain} {self.step}\n".encode())
        os.close(descriptor)
        time.sleep(PAUSE_S)
        Path(self.output().path).touch()


class Layers(luigi.WrapperTask):
    chains = luigi.IntParameter(description="Number of chains.")
    steps = luigi.IntParameter(description="Steps of each.")

    def requires(self):
        return [LayerStep(chain=chain, step=self.steps - 1) for chain in range(self.chains)]
