"""Chains of tasks that tell when a run begins, and what it has an effect on: of plain Luigi, and with state.

The effect is what a careful task leaves: a file that comes to be whole, in one step, or not at all. A run
that finds it made already says so.
"""

import os
import re
import time
from collections import Counter
from pathlib import Path

import luigi

import astra  # noqa: F401  # so that its worker is used
from astra.tasks.base import AstraTask

ROOT = Path(os.environ.get("EFFECTS_ROOT", "."))
EFFECT = re.compile(r"\d+_\d+")
PAUSE_S = float(os.environ.get("EFFECTS_PAUSE_S", "0"))
LONG_S = float(os.environ.get("EFFECTS_LONG_S", "0"))


def note(name, *words):
    """Append a line to a file, with the process that does."""
    descriptor = os.open(ROOT / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{' '.join(map(str, words))} {os.getpid()} {time.time():.3f}\n".encode())
    os.close(descriptor)


def publish(path, *words):
    """Make a file whole, in one step, and note that; or note that it was there."""
    part = Path(f"{path}.{os.getpid()}.part")
    part.write_text("made\n")
    try:
        os.link(part, path)
    except FileExistsError:
        note("again", *words)
    else:
        note("made", *words)
    part.unlink()


def effects(folder):
    """How often each effect was made, by chain and step, as words.

    A process that is killed between an effect and the note of it leaves the file alone.
    """
    path = folder / "made"
    noted = path.read_text().splitlines() if path.exists() else []
    made = Counter(tuple(line.split()[:2]) for line in noted)
    files = {tuple(one.name.split("_")) for one in folder.iterdir() if EFFECT.fullmatch(one.name)}
    return made + Counter(files - made.keys())


class EffectStep(luigi.Task):
    chain = luigi.IntParameter(description="The chain.")
    step = luigi.IntParameter(description="The step in it.")
    long = luigi.BoolParameter(description="Whether it takes long.")

    def requires(self):
        return [self.clone(step=self.step - 1)] if self.step else []

    def output(self):
        return luigi.LocalTarget(str(ROOT / f"{self.chain}_{self.step}"))

    def run(self):
        note("begun", self.chain, self.step)
        time.sleep(LONG_S if self.long else PAUSE_S)
        publish(self.output().path, self.chain, self.step)


class StatedEffectStep(AstraTask):
    chain = luigi.IntParameter(description="The chain.")
    step = luigi.IntParameter(description="The step in it.")

    def requires(self):
        return [self.clone(step=self.step - 1)] if self.step else []

    def run(self):
        note("begun", self.chain, self.step)
        time.sleep(PAUSE_S)
        note("made", self.chain, self.step)


class Effects(luigi.WrapperTask):
    chains = luigi.IntParameter(description="Number of chains.")
    steps = luigi.IntParameter(description="Steps of each.")
    stated = luigi.BoolParameter(description="Whether the tasks have state.")
    long = luigi.IntParameter(default=-1, description="The chain that takes long; -1 for none.")

    def requires(self):
        if self.stated:
            return [StatedEffectStep(chain=chain, step=self.steps - 1) for chain in range(self.chains)]
        return [
            EffectStep(chain=chain, step=self.steps - 1, long=chain == self.long)
            for chain in range(self.chains)
        ]
